"""The training of one cell, in whatever process or machine it runs: a command line of `train`, and what came of it."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import spikebridge
from spikebridge.cli.command import add_settings, parse_command, set_threads_from
from spikebridge.cli.failure import explain
from spikebridge.cli.recipes import load_recipe
from spikebridge.cli.sweep.study import Pruning, open_trial
from spikebridge.cli.train import Train
from spikebridge.errors import SpikebridgeError
from spikebridge.training.run.config_io import from_plain
from spikebridge.training.run.run import follow_rows

_ONE_AT_A_TIME = threading.Lock()  # torch's generators, stdout and stderr are those of the whole process


@dataclass(frozen=True)
class Order:
    """What a worker needs to train a cell.

    Attributes:
        recipe: its name, or the absolute path of a recipe file.
        folder: of the run.
        words: further options of `train`.
        log: file for what the training prints.
        config: all settings as plain values, where words do not give them.
        pruning: of a trial of a search.
        version: of the program that gives the order.
    """

    recipe: str
    folder: str
    words: tuple[str, ...]
    log: str
    config: dict[str, Any] | None = None
    pruning: Pruning | None = None
    version: str = spikebridge.__version__


class Outcome(NamedTuple):
    """What came of a cell.

    Attributes:
        results: None where it failed.
        error: one line, None where it did not fail.
        is_final: whether the same would come of another attempt.
        is_pruned: whether the search stopped it.
        seconds: it took, in the worker.
        cpu_seconds: of its process.
    """

    results: dict[str, Any] | None = None
    error: str | None = None
    is_final: bool = False
    is_pruned: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class _PrunedError(Exception):
    """Raised inside a training that a search stops."""


def train_cell(order: Order) -> Outcome:
    """Trains a cell, or resumes its training; whatever goes wrong there is an outcome, and the sweep continues."""
    if order.version != spikebridge.__version__:
        return Outcome(
            error=f"the worker has spikebridge {spikebridge.__version__}, the sweep {order.version}; install the same "
            "on both",
            is_final=True,
        )

    with _ONE_AT_A_TIME:
        wall = time.perf_counter()
        cpu = time.process_time()
        outcome = _train(order)
        return outcome._replace(seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu)


def _train(order: Order) -> Outcome:
    try:
        with _printing_to(order.log), _reporting(order.pruning):
            set_threads_from(["--threads", "auto", *order.words])
            return Outcome(results=_command(order).execute().data.get("results"))
    except _PrunedError:
        return Outcome(is_pruned=True)
    except (KeyboardInterrupt, SystemExit) as stop:
        return Outcome(error=f"stopped ({type(stop).__name__})")
    except BaseException as failure:  # noqa: BLE001  # a library may raise anything
        # a mistake in the settings stays one; a full disk may be emptied
        final = isinstance(failure, SpikebridgeError) and not isinstance(failure, OSError)
        return Outcome(error=" ".join(explain(failure)[0].removeprefix("error: ").split()), is_final=final)


def _command(order: Order) -> Train:
    """What `spikebridge train` would execute."""
    if order.config is not None:
        settings = from_plain(load_recipe(order.recipe).Config, order.config)
        form: Any = add_settings(Train, "recipe", order.recipe, settings)
        return cast(Train, form(out=Path(order.folder), resume=True, quiet=True))

    words = [order.recipe, "--out", order.folder, "--resume", "--quiet", *order.words]
    # None stands for a help that was asked for: no word does
    return cast(Train, parse_command(Train, "spikebridge train", words))


@contextlib.contextmanager
def _printing_to(log: str) -> Iterator[None]:
    """What the block prints goes into a file, or nowhere where the file cannot be written."""
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
