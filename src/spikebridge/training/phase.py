"""A phase of training: what is trained, on which objective, for how long. A training is a list of phases.

What a phase does not name is frozen and in eval mode, or the statistics of its batch normalisation would drift. The
three ways of the framework (Zhao et al. 2022, Fig. 1e) to train a hybrid unit are three lists:

| a unit is trained | phases |
|---|---|
| with the network it is installed in | `[Phase("front", ("what", "unit"), ...), Phase("back", ("where",), ...)]` |
| alone, on an objective of its own | `[Phase("unit", ("unit",), ...), Phase("rest", ("what", "where"), ...)]` |
| with the complete network | `[Phase("all", WHOLE, ...)]` |
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.errors import ConfigError
from spikebridge.training.batches import Batch, Dataset

Result: TypeAlias = Tensor | tuple[Tensor, dict[str, Any]]
"""A loss, or a loss and what else is to be written down; all are means over the samples of the batch."""

WHOLE = ("",)
"""The name of everything: `train=WHOLE`."""


@dataclass(frozen=True)
class Phase:
    """What is trained, on which objective, for how long.

    Args:
        name: how rows and messages call it; unlike the name of any other phase.
        train: parts and units of a hybrid network by name, or submodules and parameters by dotted path.
        objective: `(module, batch) -> loss` or `-> (loss, {name: number})`. The loss is a mean over the samples, so
            that a batch split over processes gives the gradient of the whole. With `slices` it is `(module, slice,
            state) -> (loss, state)` or `-> ((loss, {name: number}), state)`; the first slice's state is None.
        epochs: passes over the data, at least 1.
        optimizer: makes the optimizer from the trained parameters, e.g. `partial(torch.optim.Adam, lr=1e-3)`. It steps
            without a closure, so LBFGS is not for here.
        scheduler: makes the schedule of the learning rate from the optimizer; it steps once an epoch.
        clip: the largest norm of the whole gradient; None leaves it as it is.
        slices: cuts a batch in time (see `TimeSlices`): truncated back-propagation through time, one step of the
            optimizer a slice, no gradient from one slice into the one before.
        data: samples of this phase alone; None takes those of the training.

    Raises:
        ConfigError: nothing to train, no epoch, or a norm that is not above 0.

    Example:
        >>> from functools import partial
        >>> import torch
        >>> error = lambda module, batch: (module(batch["x"]) - batch["y"]).square().mean()
        >>> Phase("unit alone", ("unit",), error, 3, partial(torch.optim.SGD, lr=0.1)).epochs
        3
    """

    name: str
    train: tuple[str, ...]
    objective: Callable[..., Any]
    epochs: int
    optimizer: Callable[[Iterable[Parameter]], Optimizer]
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    clip: float | None = None
    slices: Callable[[Batch], Iterable[Batch]] | None = None
    data: Dataset | None = None

    def __post_init__(self) -> None:
        if isinstance(self.train, str):
            raise ConfigError(f"phase {self.name!r}: train is a tuple of names; write train=({self.train!r},)")
        if not self.train:
            raise ConfigError(f"phase {self.name!r} trains nothing: name parts, units or paths, or train=WHOLE")
        if self.epochs < 1:
            raise ConfigError(f"phase {self.name!r} needs at least 1 epoch, but got {self.epochs}")
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"phase {self.name!r} needs clip > 0, but got {self.clip}; clip=None clips nothing")


def check_phases(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """The phases, if there are any and each has a name of its own.

    Raises:
        ConfigError: no phase, or a name that two of them have.

    Example:
        >>> check_phases([])
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: a training needs at least one phase
    """
    if not phases:
        raise ConfigError("a training needs at least one phase")
    names = [phase.name for phase in phases]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two phases are called {twice!r}; rows and checkpoints need a name for each")
    return tuple(phases)
