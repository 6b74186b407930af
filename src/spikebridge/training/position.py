"""Where a training stands, and what it must have in common with the one that goes on from there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from spikebridge.errors import ConfigError
from spikebridge.training.phase import Phase
from spikebridge.training.settings import Settings


@dataclass
class Position:
    """Counters of a training; all are in its checkpoint.

    Attributes:
        phase: number of the running phase.
        epoch: epochs of it that are done.
        batch: batches of the running epoch that are done.
        step: batches of the whole training that are done.
        num_rows: rows that are written.
        sums: of the loss and metrics over the samples of the running epoch.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    num_rows: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, values: dict[str, float], num_samples: int) -> None:
        """Counts one batch.

        Example:
            >>> position = Position()
            >>> position.add({"loss": 0.5}, num_samples=4)
            >>> (position.batch, position.step, position.sums)
            (1, 1, {'loss': 2.0})
        """
        self.batch += 1
        self.step += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * num_samples

    def end_epoch(self, num_epochs: int) -> None:
        """Counts one epoch, and the phase if that was its last.

        Example:
            >>> position = Position(epoch=1, batch=9)
            >>> position.end_epoch(num_epochs=2)
            >>> (position.phase, position.epoch, position.batch)
            (1, 0, 0)
        """
        last = self.epoch + 1 == num_epochs
        self.phase, self.epoch = (self.phase + 1, 0) if last else (self.phase, self.epoch + 1)
        self.batch, self.sums = 0, {}


def identity(phases: Sequence[Phase], sizes: Sequence[int], settings: Settings) -> dict[str, Any]:
    """What two trainings must have in common for one to go on with the other's checkpoint.

    Args:
        phases: of the training.
        sizes: samples of each phase.
        settings: of the training; where it runs may change, what it computes may not.
    """
    return {
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "precision": settings.precision,
        "phases": [[phase.name, list(phase.train), phase.epochs] for phase in phases],
        "num_samples": list(sizes),
    }


def check_identity(there: dict[str, Any], here: dict[str, Any], folder: object) -> None:
    """Whether a checkpoint is of this training.

    Raises:
        ConfigError: it is of another; the message names the first difference.

    Example:
        >>> check_identity({"seed": 1}, {"seed": 2}, "run/checkpoint")
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: run/checkpoint is of another training: seed is 1 there and 2 here; ...
    """
    for name, value in here.items():
        if there.get(name) != value:
            raise ConfigError(
                f"{folder} is of another training: {name} is {there.get(name)!r} there and {value!r} here; "
                "give the same settings, or train in another run"
            )
