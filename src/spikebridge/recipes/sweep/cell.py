"""The training of one cell, in whatever process or machine it runs."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import spikebridge
from spikebridge.errors import SpikebridgeError
from spikebridge.recipes.load import load_recipe
from spikebridge.recipes.messages import explain
from spikebridge.recipes.sweep.grid import Cell, Pruning
from spikebridge.recipes.sweep.study import open_trial
from spikebridge.recipes.sweep.table import CellResult, result_of
from spikebridge.recipes.training import train_recipe
from spikebridge.threads import parse_threads, set_threads
from spikebridge.training.run.config_io import from_plain
from spikebridge.training.run.lock import FolderInUseError
from spikebridge.training.run.run import Run, follow_rows

_ONE_AT_A_TIME = threading.Lock()  # torch's generators, stdout and stderr are those of the whole process
_LOCK_TIMEOUT = 130.0  # seconds for which a cell waits for another worker; the lock of a killed one is stale by then
_LOCK_PAUSE = 0.5


@dataclass(frozen=True)
class Order:
    """A cell as a worker gets it: the recipe by name or absolute path, all settings, the run folder, a file for output.

    A worker with another version of the program refuses it.
    """

    cell: Cell
    recipe: str
    config: dict[str, Any]
    folder: str
    log: str
    threads: str = "auto"
    version: str = spikebridge.__version__


class _PrunedError(Exception):
    """Raised inside a training that a search stops."""


def train_cell(order: Order) -> tuple[CellResult, bool]:
    """Trains a cell, or resumes its training; gives its result, and True if another attempt may have another one.

    Whatever goes wrong is a result, and the sweep continues.
    """
    if order.version != spikebridge.__version__:
        versions = f"the worker has spikebridge {spikebridge.__version__}, the sweep {order.version}"
        return result_of(order.cell, error=f"{versions}; install the same on both"), False

    with _ONE_AT_A_TIME:
        start = time.perf_counter()
        cpu_start = time.process_time()
        result, is_retryable = _train(order)
        seconds = time.perf_counter() - start
        return replace(result, seconds=seconds, cpu_seconds=time.process_time() - cpu_start), is_retryable


def _train(order: Order) -> tuple[CellResult, bool]:
    cell = order.cell
    try:
        with _printing_to(order.log), _reporting(cell.pruning):
            # before the recipe loads PyTorch, which reads the number once
            set_threads(parse_threads(order.threads))
            settings = from_plain(load_recipe(order.recipe).Config, order.config)
            return _train_alone(order, settings), False
    except _PrunedError:
        return replace(result_of(cell), state="pruned"), False
    except (KeyboardInterrupt, SystemExit) as stop:
        return result_of(cell, error=f"stopped ({type(stop).__name__})"), True
    except BaseException as failure:  # noqa: BLE001  # a library may raise anything
        # a mistake in the settings stays one; a full disk may be emptied
        is_retryable = not isinstance(failure, SpikebridgeError) or isinstance(failure, OSError)
        line = explain(failure)[0].removeprefix("error: ")
        return result_of(cell, error=" ".join(line.split())), is_retryable


def _train_alone(order: Order, settings: Any) -> CellResult:
    """Trains a cell; a worker of a lost scheduler that still trains it is waited for."""
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        # such a worker may have finished it
        if (finished := finished_result(order)) is not None:
            return finished

        try:
            trained = train_recipe(order.recipe, settings, Path(order.folder), resume=True, quiet=True)
            return result_of(order.cell, trained.results)
        except FolderInUseError:
            if time.monotonic() > deadline:
                raise

        time.sleep(_LOCK_PAUSE)


def finished_result(order: Order) -> CellResult | None:
    """The result of a cell whose run is finished; None for another one."""
    folder = Path(order.folder)
    return result_of(order.cell, Run.open(folder).results()) if (folder / "results.json").is_file() else None


@contextlib.contextmanager
def _printing_to(log: str) -> Iterator[None]:
    """Stdout and stderr go into a file, or nowhere where the file cannot be written."""
    try:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        file = Path(log).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115
    except OSError:
        file = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115

    with file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield


@contextlib.contextmanager
def _reporting(pruning: Pruning | None) -> Iterator[None]:
    """Rows of metrics go to the study of a search, which may stop the training."""
    if pruning is None:
        yield
        return

    trial, step = open_trial(pruning)

    def report(row: dict[str, Any]) -> None:
        nonlocal step
        value = row.get(pruning.metric, row.get(f"validation/{pruning.metric}"))
        if row.get("kind") != "epoch" or not isinstance(value, float):
            return

        step += 1
        trial.report(value, step)
        if trial.should_prune():
            raise _PrunedError

    with follow_rows(report):
        yield
