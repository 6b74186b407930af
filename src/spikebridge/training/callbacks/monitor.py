"""Callbacks that watch one metric of the epochs: early stopping and the best weights."""

import math
from typing import Any, Literal

from torch import Tensor

from spikebridge.errors import ConfigError, did_you_mean, is_integer, is_number
from spikebridge.training.callbacks.callback import Callback, Training
from spikebridge.training.run.metrics import Row
from spikebridge.training.run.weights import cpu_copy, load_exactly, read_weights, save_weights

_Mode = Literal["min", "max"]
_BEST = "best.safetensors"


def metric_of(row: Row, metric: str, watcher: str) -> float:
    """A number of a row of an epoch; a `ConfigError` where the row does not have it."""
    value = row.get(metric)
    if isinstance(value, bool) or not isinstance(value, int | float):
        numbers = [name for name, number in row.items() if isinstance(number, float)]
        raise ConfigError(f"{watcher} watches {metric!r}, which no row has: {did_you_mean(metric, numbers)}")

    return float(value)


class _Best:
    """The best value of a metric so far, and the epoch that reached it."""

    def __init__(self, metric: str, mode: _Mode, min_delta: float, watcher: str) -> None:
        if mode not in ("min", "max"):
            raise ConfigError(f"{watcher}: mode should be 'min' (a loss) or 'max' (an accuracy), but is {mode!r}")
        if not is_number(min_delta) or not 0 <= min_delta < math.inf:
            raise ConfigError(f"{watcher}: min_delta should be 0 or more, but is {min_delta}")

        self.metric = metric
        self.mode = mode
        self.min_delta = min_delta
        self.watcher = watcher
        self.value: float | None = None
        self.phase = ""
        self.epoch = 0

    def update(self, row: Row) -> bool:
        """True if the row is better than all before by more than `min_delta`; NaN never is."""
        value = metric_of(row, self.metric, self.watcher)
        # the first value that is a number is the best one
        gain = math.inf if self.value is None else (value - self.value) * (1 if self.mode == "max" else -1)
        better = not math.isnan(value) and gain > (0 if self.value is None else self.min_delta)
        if better:
            self.value = value
            self.phase = row["phase"]
            self.epoch = row["epoch"]

        return better

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "phase": self.phase, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]
        self.phase = state["phase"]
        self.epoch = state["epoch"]


class EarlyStopping(Callback):
    """Ends a phase when a metric has not improved for some epochs. Each phase is watched on its own.

    Args:
        metric: a number of the epochs' rows, such as `"loss"` or `"validation/accuracy"`.
        mode: `"min"` if a smaller value is better, `"max"` if a larger one is.
        patience: epochs without improvement after which the phase ends, at least 1.
        min_delta: an improvement must exceed this.

    Raises:
        ConfigError: a number out of range, or a metric that the rows do not have.

    Example:
        >>> from functools import partial
        >>> import torch
        >>> from spikebridge.training import WHOLE, Batches, EarlyStopping, Phase, Settings, fit
        >>> line = torch.nn.Linear(1, 1)
        >>> data = Batches({"x": torch.ones(2, 1)}, batch={"x": 0})
        >>> still = partial(torch.optim.SGD, lr=0.0)
        >>> phase = Phase("still", WHOLE, lambda module, batch: module(batch["x"]).square().mean(), 9, still)
        >>> stop = EarlyStopping("loss", "min", patience=2)
        >>> len(fit(line, [phase], data, settings=Settings(accelerator="cpu", quiet=True), callbacks=[stop]))
        3
    """

    def __init__(self, metric: str, mode: _Mode, *, patience: int, min_delta: float = 0.0) -> None:
        if not is_integer(patience) or patience < 1:
            raise ConfigError(f"EarlyStopping: patience should be at least 1 epoch, but is {patience}")

        self.patience = patience
        self._make = lambda: _Best(metric, mode, min_delta, "EarlyStopping")
        self._watch("")

    def _watch(self, phase: str) -> None:
        self._watched = phase
        self._best = self._make()
        self._num_worse = 0

    def on_fit_start(self, training: Training) -> None:
        self._watch("")

    def on_epoch_end(self, training: Training, row: Row) -> None:
        # the metric of another phase may have another scale
        if training.phase != self._watched:
            self._watch(training.phase)

        self._num_worse = 0 if self._best.update(row) else self._num_worse + 1
        if self._num_worse >= self.patience:
            best = self._best
            training.end_phase(
                f"{best.metric} has not improved on {best.value} of epoch {best.epoch} for {self.patience} epochs"
                if best.value is not None
                else f"{best.metric} has been {row[best.metric]} for {self.patience} epochs"
            )

    def state_dict(self) -> dict[str, Any]:
        """Best value, epochs without improvement, and their phase."""
        return {"best": self._best.state_dict(), "num_worse": self._num_worse, "watched": self._watched}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of `state_dict`."""
        self._best.load_state_dict(state["best"])
        self._num_worse = state["num_worse"]
        self._watched = state["watched"]


class BestWeights(Callback):
    """Keeps the weights of the epoch with the best value of a metric, and gives them to the network at the end.

    With a run they are in its file `best.safetensors`, from the first epoch on.

    Args:
        metric: a number of the epochs' rows, such as `"validation/accuracy"`; it must mean the same in all phases.
        mode: `"min"` if a smaller value is better, `"max"` if a larger one is.
        restore: the network ends with the best weights; False leaves it with the last ones.

    Attributes:
        value: the best value so far; None before the first epoch.
        epoch: the epoch that reached it.

    Raises:
        ConfigError: an unknown mode, or a metric that the rows do not have.

    Example:
        >>> from spikebridge.training import BestWeights
        >>> BestWeights("validation/accuracy", "maximum")
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: BestWeights: mode should be 'min' (a loss) or 'max' (an accuracy), but is ...
    """

    def __init__(self, metric: str, mode: _Mode, *, restore: bool = True) -> None:
        self.restore = restore
        self._make = lambda: _Best(metric, mode, 0.0, "BestWeights")
        self._best = self._make()
        self._kept: dict[str, Tensor] | None = None

    @property
    def value(self) -> float | None:
        return self._best.value

    @property
    def epoch(self) -> int:
        return self._best.epoch

    def on_fit_start(self, training: Training) -> None:
        self._best = self._make()
        self._kept = None

    def on_epoch_end(self, training: Training, row: Row) -> None:
        if not self._best.update(row):
            return

        # in every process, since weights may have to be gathered
        weights = training.weights()
        if training.run is None:
            self._kept = {name: cpu_copy(tensor) for name, tensor in weights.items()}
        elif training.writes:
            save_weights(training.run.file(_BEST), weights)

    def on_fit_end(self, training: Training) -> None:
        if not (self.restore and training.finished) or self._best.value is None:
            return
        kept = self._kept if training.run is None else read_weights(training.run.file(_BEST))
        if kept is not None:
            load_exactly(kept, training.module)

    def state_dict(self) -> dict[str, Any]:
        """Best value and its epoch; the weights are in their file."""
        return self._best.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of `state_dict`."""
        self._best.load_state_dict(state)
