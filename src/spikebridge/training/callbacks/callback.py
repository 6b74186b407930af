"""The callback protocol: four moments of a training at which other code runs.

`fit` calls every callback on every process. A callback that keeps something over epochs has `state_dict()` and
`load_state_dict(state)` too: the checkpoint holds its state, and a resumed training restores it after `on_fit_start`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from spikebridge.errors import ConfigError, in_words
from spikebridge.training.run.metrics import Row
from spikebridge.training.run.run import Run


@dataclass
class Training:
    """The running training, as a callback sees it.

    Attributes:
        module: the network.
        run: the run that the training writes; None writes nothing.
        rows: all rows so far, those of a resumed training included.
        phase: name of the running phase.
        epoch: number of the running epoch in its phase, from 1.
        step: steps of the whole training that are done.
        weights: gives all weights by name; every process must call it, as weights may be sharded.
        finished: true if the training has ended as planned; False in `on_fit_end` after an error or Ctrl-C.
        stop_reason: why the running phase ends early; empty while it does not.
    """

    module: nn.Module
    run: Run | None
    rows: list[Row] = field(default_factory=list)
    phase: str = ""
    epoch: int = 0
    step: int = 0
    weights: Callable[[], Mapping[str, Tensor]] = dict
    finished: bool = False
    stop_reason: str = ""

    @property
    def writes(self) -> bool:
        """True in the process that writes files."""
        return self.run is not None and self.run.writes

    def end_phase(self, reason: str) -> None:
        """Ends the running phase after the current step, and its epoch with it; the next phase follows.

        Every process must call this at the same step.

        Args:
            reason: shown to the user.

        Example:
            >>> training = Training(nn.Linear(1, 1), run=None)
            >>> training.end_phase("the budget of 10 minutes is used")
            >>> training.stop_reason
            'the budget of 10 minutes is used'
        """
        self.stop_reason = reason or "a callback ended it"


# type checkers take a method of a protocol without a statement for an abstract one
@runtime_checkable
class Callback(Protocol):
    """Four methods that `fit` calls. Derive a class from this one and override those that it needs.

    Example:
        >>> class Losses(Callback):
        ...     def on_epoch_end(self, training, row):
        ...         print(row["phase"], row["epoch"], round(row["loss"], 3))
    """

    def on_fit_start(self, training: Training) -> None:
        """Before the first step; of a resumed training, too, with the rows so far."""
        return

    def on_step_end(self, training: Training, values: Mapping[str, float]) -> None:
        """After each step: its loss and metrics, means over the global batch."""
        return

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """After each epoch and its validation: the row, as in metrics.jsonl; before the checkpoint is written."""
        return

    def on_fit_end(self, training: Training) -> None:
        """After the last step, also after an error or Ctrl-C (see `training.finished`)."""
        return


_METHODS = ("on_fit_start", "on_step_end", "on_epoch_end", "on_fit_end")


def check_callbacks(callbacks: Sequence[Any]) -> tuple[Callback, ...]:
    """The callbacks, if each has the four methods; else a `ConfigError`."""
    if not isinstance(callbacks, Iterable):
        raise ConfigError(f"callbacks is a list of callbacks, but got {in_words(callbacks)}; put it into a list")

    for one in callbacks:
        missing = [name for name in _METHODS if not callable(getattr(one, name, None))]
        if missing:
            raise ConfigError(
                f"a callback needs {', '.join(_METHODS)}, but {one!r} lacks {', '.join(missing)}; derive it from "
                "spikebridge.training.Callback and override only what it needs"
            )

        # a class has the four methods, too
        if isinstance(one, type):
            raise ConfigError(f"expected a callback, but got the class {one.__name__}: call it, {one.__name__}(...)")

    return tuple(callbacks)


def states_of(callbacks: Sequence[Callback]) -> list[dict[str, Any]]:
    """The states of the callbacks that have one, in order."""
    return [one.state_dict() for one in callbacks if hasattr(one, "state_dict")]


def names_with_state(callbacks: Sequence[Callback]) -> list[str] | None:
    """Class names of the callbacks that have a state, which a resumed training must have again; None where none has."""
    return [type(one).__name__ for one in callbacks if hasattr(one, "state_dict")] or None


def load_states(callbacks: Sequence[Callback], states: Sequence[dict[str, Any]]) -> None:
    """Restores the states that `states_of` gave."""
    for one, state in zip((one for one in callbacks if hasattr(one, "load_state_dict")), states, strict=True):
        one.load_state_dict(state)
