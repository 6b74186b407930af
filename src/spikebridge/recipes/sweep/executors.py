"""Where the cells of a sweep run: executors of `concurrent.futures`, on this machine, a Dask cluster, or Slurm.

`run_orders` gives cells to an executor as workers become free; one that was lost with its worker is tried again.

| option | executor | extra |
|---|---|---|
| none | processes of this machine | - |
| `--scheduler tcp://HOST:PORT` | that of a Dask client (`Client.get_executor`) | cluster |
| `--slurm` | jobs of submitit | cluster |
"""

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from importlib import import_module
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from spikebridge.cli.recipes import recipe_files
from spikebridge.cli.sweep.cell import Order, Outcome, train_cell
from spikebridge.data.io.number_text import parse_integer
from spikebridge.errors import ConfigError

K = TypeVar("K")
T = TypeVar("T")
_MOST_JOBS = 16  # of Slurm at a time, where the user gives no number
_CONNECT_SECONDS = "10s"
# a process with threads cannot be forked safely, nor one that has loaded the system libraries of other platforms
_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
_LOADED = ("lightning_fabric", "spikebridge.cli.sweep.cell", "spikebridge.training.loop")
# no module comes from the working directory, and the linear algebra of NumPy starts no threads
_ENVIRONMENT = {"PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"}


class Workers(NamedTuple):
    """An executor, and how many cells it is given at a time."""

    executor: Executor
    number: int


def begin_to_load(recipe: str) -> None:
    """Begins to load what local workers need, PyTorch above all, in the process that they are forked from.

    It runs beside this one, so that one that loads PyTorch too waits for nothing.

    Args:
        recipe: its name, or the path of a recipe file.
    """
    if _METHOD == "forkserver":
        own = [f"spikebridge.networks.{recipe}.recipe"] if recipe in recipe_files() else []
        forkserver.set_forkserver_preload([*_LOADED, *own])
        before = dict(os.environ)
        resource_tracker.ensure_running()  # else it lets Ctrl-C through again
        os.environ |= _ENVIRONMENT

        try:
            with _without_ctrl_c():
                forkserver.ensure_running()
        finally:
            _use_environment(before)


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Ctrl-C takes effect at the end of the block; a process that is started inside does not get it."""
    if _METHOD != "forkserver" or threading.current_thread() is not threading.main_thread():
        yield
        return

    caught: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    # processes inherit what is blocked; other threads of this one get it
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, handler)
        if caught:
            signal.raise_signal(signal.SIGINT)


def _use_environment(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ |= variables


def _become_worker(variables: dict[str, str]) -> None:
    """A process that was forked from one with other variables, which does not get Ctrl-C."""
    _use_environment(variables)
    if _METHOD == "forkserver":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextlib.contextmanager
def local_workers(number: int | None, recipe: str) -> Iterator[Workers]:
    """Processes of this machine; by default one a core.

    Args:
        number: of processes.
        recipe: that they will train.
    """
    begin_to_load(recipe)
    number = number or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    executor = LocalExecutor()

    try:
        yield Workers(executor, number)
    except BaseException:
        executor.shutdown(cancel_futures=True)
        raise

    executor.shutdown()


class LocalExecutor(Executor):
    """Processes that each run one call at a time, and last for many. One that is killed takes no other call with it.

    A `ProcessPoolExecutor` of several processes ends all of them where one is killed, so each is a pool of its own.

    Example:
        >>> with LocalExecutor() as executor:
        ...     executor.submit(abs, -3).result()
        3
    """

    def __init__(self) -> None:
        self._free: list[ProcessPoolExecutor] = []
        self._all: set[ProcessPoolExecutor] = set()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Runs a call in a free process, or in a new one where there is none."""
        pool = self._free.pop() if self._free else _new_process()
        self._all.add(pool)
        # a process that is half started complains where this one ends
        with _without_ctrl_c():
            future = pool.submit(fn, *args, **kwargs)

        def give_back(done: "Future[T]") -> None:
            if not done.cancelled() and isinstance(done.exception(), BrokenExecutor):
                # it ends itself, with its lock held while it says so: a shutdown from here waits for ever (Python 3.12)
                self._all.discard(pool)
            else:
                self._free.append(pool)

        future.add_done_callback(give_back)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the processes; with `cancel_futures` at once."""
        for pool in list(self._all):
            if cancel_futures:
                for process in list((pool._processes or {}).values()):
                    process.terminate()
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def _new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context(_METHOD), _become_worker, (dict(os.environ),))


@contextlib.contextmanager
def dask_workers(address: str, number: int | None) -> Iterator[Workers]:
    """The workers of a Dask cluster; by default as many cells at a time as there are.

    Raises:
        ConfigError: Dask is not installed, no scheduler answers, or it has no worker.
    """
    distributed = _import("distributed", "cluster")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a failure is reported in one line

    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except Exception as error:  # noqa: BLE001  # whatever an address that is none raises
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({reason}); start one: dask scheduler, and workers: dask worker "
            f"{address} --nthreads 1"
        ) from None

    with client:
        there = len(client.nthreads())
        if there == 0:
            raise ConfigError(f"the Dask scheduler at {address} has no workers: dask worker {address} --nthreads 1")
        executor = client.get_executor(pure=False)
        try:
            yield Workers(executor, number or there)
        finally:
            executor.shutdown(wait=False)


@contextlib.contextmanager
def slurm_workers(
    folder: Path, options: tuple[str, ...], number: int | None, cluster: str = "slurm"
) -> Iterator[Workers]:
    """Jobs of Slurm, one a cell; by default 16 at a time.

    Args:
        folder: for the files of the jobs; all machines see it.
        options: NAME=VALUE, parameters of submitit: timeout_min=60, slurm_partition=gpu, cpus_per_task=4.
        number: of jobs at a time.
        cluster: of submitit; "local" runs them as processes here.

    Raises:
        ConfigError: submitit is not installed, there is no Slurm, or an option that it does not have.
    """
    submitit = _import("submitit", "cluster")
    if cluster == "slurm" and shutil.which("srun") is None:
        raise ConfigError("there is no Slurm on this machine (no srun); leave --slurm out, or run it on a login node")

    jobs = submitit.AutoExecutor(folder=folder, cluster=cluster)
    try:
        jobs.update_parameters(name="spikebridge", **dict(map(_parameter, options)))
    except (NameError, TypeError, ValueError) as error:
        raise ConfigError(f"--slurm-option: {' '.join(str(error).split())}") from None

    executor = _JobExecutor(jobs, number or _MOST_JOBS)
    try:
        yield Workers(executor, number or _MOST_JOBS)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


class _JobExecutor(ThreadPoolExecutor):
    """Jobs of submitit as calls of an executor: a thread waits for each."""

    def __init__(self, jobs: Any, number: int) -> None:
        super().__init__(number)
        self._jobs = jobs

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        job = self._jobs.submit(fn, *args, **kwargs)
        return super().submit(job.result)


def _parameter(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigError(f"--slurm-option takes NAME=VALUE, such as timeout_min=60, but got {word!r}")

    try:
        return name, parse_integer(value)
    except ValueError:
        return name, value


def _import(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} is not installed ({error}); it comes with the extra: spikebridge[{extra}]") from None


def run_orders(
    workers: Workers, orders: Iterator[tuple[K, Order]], retry: int, on_outcome: Callable[[K, Outcome], None]
) -> None:
    """Trains cells until there are no more.

    Args:
        workers: the executor, and how many cells it gets at a time.
        orders: one is taken when a worker is free, so that a search knows by then what came of those before.
        retry: how often a cell is tried again that failed in a way that another attempt may not.
        on_outcome: is called with the key of a cell and what came of it, in the order of their ends.
    """
    running: dict[Future[Outcome], tuple[K, Order]] = {}
    attempts: Counter[str] = Counter()
    again: list[tuple[K, Order]] = []

    while True:
        while len(running) < workers.number and (following := again.pop() if again else next(orders, None)) is not None:
            running[workers.executor.submit(train_cell, following[1])] = following

        if not running:
            return

        for future in wait(running, return_when=FIRST_COMPLETED).done:
            key, order = running.pop(future)
            outcome = _outcome_of(future)
            attempts[order.folder] += 1
            if outcome.error is not None and not outcome.is_final and attempts[order.folder] <= retry:
                again.append((key, order))
            else:
                on_outcome(key, outcome)


def _outcome_of(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001  # of an executor: a killed worker, one without this program, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        return Outcome(error=f"the worker was lost ({type(error).__name__}: {reason:.300})")
