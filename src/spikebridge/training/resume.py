"""Exact resume: rows, checkpoints and Ctrl-C, for every training loop.

All that the numbers depend on is in the checkpoint, or is a function of what is in it. On a CPU a killed training that
is resumed ends with the bits of one that was never stopped.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any, Protocol, runtime_checkable

from torch import nn

from spikebridge.errors import ConfigError
from spikebridge.training.callbacks.callback import Callback, Training, load_states, names_with_state, states_of
from spikebridge.training.callbacks.loggers import make_loggers
from spikebridge.training.run.checkpoint import load_checkpoint, save_checkpoint
from spikebridge.training.run.metrics import Row
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import check_compatible, load_exactly

_log = logging.getLogger(__name__)


class Interrupt:
    """Remembers the first Ctrl-C inside the block; the second stops at once."""

    # only the main thread can catch signals; elsewhere, or with `active=False`, nothing is changed

    def __init__(self, active: bool = True) -> None:
        self.asked = False
        self._active = active and threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> "Interrupt":
        if self._active:
            self._before = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(self, *error: object) -> None:
        if self._active:
            signal.signal(signal.SIGINT, self._before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        _log.warning("stopping after this step; Ctrl-C once more stops at once, without a checkpoint")


@runtime_checkable
class _Position(Protocol):
    """The counters of a training, a dataclass; a checkpoint holds them."""

    step: int
    num_rows: int


class ResumableLoop:
    """The base of a training loop. A subclass says what its checkpoint holds besides weights and counters."""

    # a training resumes from checkpoints of the same identity; callbacks are called besides the loggers of the run, and
    # their states are in the checkpoint

    def __init__(
        self,
        module: nn.Module,
        run: Run | None,
        position: _Position,
        identity: dict[str, Any],
        interrupt: Interrupt,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.module = module
        self.run = run
        self.interrupt = interrupt
        self.identity = identity | {"callbacks": names_with_state(callbacks)}
        self.callbacks = (*callbacks, *make_loggers(() if run is None else run.loggers))
        self.training = Training(module, run)
        self.position: Any = position
        self.rows: list[Row] = self.training.rows

    def log(self, row: Row) -> None:
        """Adds a row to the result and to metrics.jsonl."""
        self.rows.append(row)
        self.position.num_rows += 1
        if self.run is not None:
            self.run.log(row)

    def pause(self, due: bool, state: Callable[[], dict[str, Any]]) -> None:
        """Between two steps: writes a checkpoint where one is due, and stops where Ctrl-C asked for it."""
        if (due or self.interrupt.asked) and self.run is not None:
            # in every process, since they may have to gather the state together
            tree = {"identity": self.identity, "position": asdict(self.position), **state()}
            tree["callbacks"] = states_of(self.callbacks)
            if self.run.writes:
                save_checkpoint(self.run.checkpoint, self.position.step, tree, self.run.root)

        if self.interrupt.asked:
            raise KeyboardInterrupt(
                f"stopped at step {self.position.step}; its checkpoint is written (--resume continues from it)"
            )

    def resume(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint, None where there is none; weights, counters and rows are restored."""
        saved = None if self.run is None else load_checkpoint(self.run.checkpoint, self.run.root)
        if saved is not None and self.run is not None:
            _check_identity(saved["identity"], self.identity, self.run.checkpoint)
            check_compatible(saved["weights"], self.module, str(self.run.checkpoint))
            load_exactly(saved["weights"], self.module)
            self.position = type(self.position)(**saved["position"])
            self.rows[:] = self.run.metrics.rows()[: self.position.num_rows]

        return saved

    @contextmanager
    def calling_back(self, saved: dict[str, Any] | None) -> Iterator[None]:
        """Starts the callbacks, restores their states, and ends them with the block, whatever ends it."""
        self.training.step = self.position.step
        started: list[Callback] = []

        try:
            for callback in self.callbacks:
                callback.on_fit_start(self.training)
                started.append(callback)

            if saved is not None:
                load_states(self.callbacks, saved.get("callbacks") or [])
            yield
            self.training.finished = True
        finally:
            for callback in started:
                callback.on_fit_end(self.training)

    def end_step(self, values: Mapping[str, float]) -> None:
        self.training.step = self.position.step
        for callback in self.callbacks:
            callback.on_step_end(self.training, values)

    def end_epoch(self, row: Row) -> None:
        self.training.step = self.position.step
        for callback in self.callbacks:
            callback.on_epoch_end(self.training, row)

    def begin_writing(self, **environment: Any) -> None:
        """Cuts metrics.jsonl back to the rows of the checkpoint and writes environment.json."""
        if self.run is not None and self.run.writes:
            self.run.metrics.truncate(self.position.num_rows)
            self.run.save_environment(**environment)


def _check_identity(saved: dict[str, Any], current: dict[str, Any], folder: object) -> None:
    """Refuses a checkpoint of another training; the message names the first difference."""
    for name, value in current.items():
        if saved.get(name) != value:
            raise ConfigError(
                f"{folder} is of another training: {name} was {saved.get(name)!r} and is {value!r} now; "
                "give the same settings, or train in another run"
            )
