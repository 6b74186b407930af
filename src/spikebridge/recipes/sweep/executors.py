"""Workers of a sweep: any executor of `concurrent.futures`, of this machine, of a Dask cluster, or of Slurm."""

import contextlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from spikebridge.data.io.number_text import parse_integer
from spikebridge.errors import ConfigError, import_extra
from spikebridge.recipes.sweep.cell import Order, finished_result, train_cell
from spikebridge.recipes.sweep.grid import Cell
from spikebridge.recipes.sweep.local import LocalExecutor, num_cores, start_server
from spikebridge.recipes.sweep.table import CellResult, result_of

T = TypeVar("T")
_MAX_JOBS = 16  # of Slurm at a time, where the user gives no number
_CONNECT_TIMEOUT = "10s"
_POLL_SECONDS = 1.0


class LostSchedulerError(ConfigError):
    """The workers of a sweep cannot be reached any more."""


class Workers(NamedTuple):
    """An executor, the number of cells that it gets at a time, and a function that says that it can be reached."""

    executor: Executor
    number: int
    is_reachable: Callable[[], bool] = lambda: True


@contextlib.contextmanager
def local_workers(number: int | None, recipe: str) -> Iterator[Workers]:
    """Processes of this machine; by default one a core."""
    start_server(recipe)
    executor = LocalExecutor()

    try:
        yield Workers(executor, number or num_cores())
    # after Ctrl-C cells that are training are stopped, too
    except BaseException:
        executor.shutdown(cancel_futures=True)
        raise

    executor.shutdown()


@contextlib.contextmanager
def dask_workers(address: str, number: int | None) -> Iterator[Workers]:
    """The workers of a Dask cluster; by default as many cells at a time as there are."""
    distributed = import_extra("distributed", "cluster", "Dask workers need")
    # a failure is reported in one line
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    try:
        client = distributed.Client(address, timeout=_CONNECT_TIMEOUT, set_as_default=False)
    except Exception as error:  # noqa: BLE001  # an address that is none raises many kinds
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({reason}); start one: dask scheduler, and workers: dask worker "
            f"{address} --nthreads 1"
        ) from None

    with client:
        num_workers = len(client.nthreads())
        if num_workers == 0:
            raise ConfigError(f"the Dask scheduler at {address} has no workers: dask worker {address} --nthreads 1")
        # a cell that is tried again is the same call, which a pure function would not repeat
        executor = client.get_executor(pure=False)
        try:
            yield Workers(executor, number or num_workers, lambda: client.status == "running")
        finally:
            executor.shutdown(wait=False)


@contextlib.contextmanager
def slurm_workers(
    folder: Path, options: tuple[str, ...], number: int | None, cluster: str = "slurm"
) -> Iterator[Workers]:
    """Jobs of Slurm, one a cell, with parameters of submitit as NAME=VALUE; all machines see the folder of their files.

    The cluster "local" of submitit runs them as processes of this machine.
    """
    submitit = import_extra("submitit", "cluster", "jobs of Slurm need")
    if cluster == "slurm" and shutil.which("srun") is None:
        raise ConfigError("there is no Slurm on this machine (no srun); leave --slurm out, or run it on a login node")

    jobs = submitit.AutoExecutor(folder=folder, cluster=cluster)
    try:
        jobs.update_parameters(name="spikebridge", **dict(map(_parameter, options)))
    except (NameError, TypeError, ValueError) as error:
        raise ConfigError(f"--slurm-option: {' '.join(str(error).split())}") from None

    executor = _JobExecutor(jobs, number or _MAX_JOBS)
    try:
        yield Workers(executor, number or _MAX_JOBS)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


class _JobExecutor(ThreadPoolExecutor):
    """Jobs of submitit as calls of an executor: a thread waits for each."""

    def __init__(self, jobs: Any, number: int) -> None:
        super().__init__(number)
        self._jobs = jobs

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        return super().submit(self._jobs.submit(fn, *args, **kwargs).result)


def _parameter(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigError(f"--slurm-option takes NAME=VALUE, such as timeout_min=60, but got {word!r}")

    try:
        return name, parse_integer(value)
    except ValueError:
        return name, value


def train_cells(workers: Workers, orders: Iterator[Order], retry: int) -> Iterator[tuple[Cell, CellResult]]:
    """Trains cells until there are no more; gives each with its result, in the order of their ends.

    An order is taken when a worker is free, so that a search has the earlier results. A cell that was lost with its
    worker, or whose error another attempt may not have, is tried again up to `retry` times. Where all workers are lost
    at once, as with the scheduler of a cluster, a `LostSchedulerError` ends the training.
    """
    running: dict[Future[tuple[CellResult, bool]], Order] = {}
    attempts: Counter[str] = Counter()
    retries: list[Order] = []

    while True:
        while len(running) < workers.number:
            order = retries.pop() if retries else next(orders, None)
            if order is None:
                break
            running[_submitted(workers, order)] = order

        if not running:
            return

        done = wait(running, _POLL_SECONDS, FIRST_COMPLETED).done
        _check_reachable(workers)
        for future in done:
            order = running.pop(future)
            result, is_retryable = _result_of(future, order)
            attempts[order.folder] += 1
            if is_retryable and attempts[order.folder] <= retry:
                retries.append(order)
            else:
                yield order.cell, result


def _submitted(workers: Workers, order: Order) -> Future[tuple[CellResult, bool]]:
    try:
        return workers.executor.submit(train_cell, order)
    except Exception:
        _check_reachable(workers)
        raise


def _check_reachable(workers: Workers) -> None:
    if not workers.is_reachable():
        raise LostSchedulerError("the scheduler of the workers was lost")


def _result_of(future: Future[tuple[CellResult, bool]], order: Order) -> tuple[CellResult, bool]:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001  # of an executor: a killed worker, one without this program, ...
        # a worker may be lost after the end of its training
        if (finished := finished_result(order)) is not None:
            return finished, False

        reason = " ".join(str(error).split()) or type(error).__name__
        return result_of(order.cell, error=f"the worker was lost ({type(error).__name__}: {reason:.300})"), True
