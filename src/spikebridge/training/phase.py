"""A phase of training: the trained parameters, the objective, the number of epochs. A training is a list of phases.

All that a phase does not name is frozen and in eval mode, or the statistics of its batch normalisation would drift. The
three ways of the framework (Zhao et al. 2022, Fig. 1e) to train a hybrid unit are three lists:

| a unit is trained | phases |
|---|---|
| with the network it is installed in | `[Phase("front", ("what", "unit"), ...), Phase("back", ("where",), ...)]` |
| alone, on an objective of its own | `[Phase("unit", ("unit",), ...), Phase("rest", ("what", "where"), ...)]` |
| with the complete network | `[Phase("all", WHOLE, ...)]` |
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.errors import ConfigError, did_you_mean, in_words, is_integer, is_number
from spikebridge.ops.modes import preserve_modes
from spikebridge.training.batches import Batch, TrainingData

Loss: TypeAlias = Tensor | Mapping[str, Tensor]
Result: TypeAlias = Loss | tuple[Loss, dict[str, Any]] | tuple[Loss, dict[str, Any], Any]
"""A loss, or a loss and metrics, or these and the activity for `Phase.gradients`; all are means over the samples."""

_COLUMNS = ("kind", "phase", "epoch", "step", "lr", "loss")  # of a row, besides metrics

_Optimizer: TypeAlias = Callable[[Iterable[Parameter]], Optimizer]
_Schedule: TypeAlias = Callable[[Optimizer], LRScheduler]
_OPTIMIZER = "such as partial(torch.optim.Adam, lr=1e-3), which gets the trained parameters"
WHOLE = ("",)
"""The name of everything: `train=WHOLE`."""


@dataclass(frozen=True)
class Phase:
    """The parameters that are trained, on which objective, for how long.

    Args:
        name: name of the phase in rows and messages; unique.
        train: parts and units of a hybrid network by name, or submodules and parameters by dotted path. Parameters of
            a part that were frozen, `requires_grad_(False)`, stay so, unless they are named themselves.
        objective: `(module, batch) -> loss` or `-> (loss, {name: number})`. The loss is a mean over the samples, so
            that a batch split over processes gives the gradient of the whole. With `slices` it is `(module, slice,
            state) -> (loss, state)` or `-> ((loss, {name: number}), state)`; the first slice's state is None.
        epochs: passes over the data, at least 1.
        optimizer: makes the optimizer from the trained parameters, e.g. `partial(torch.optim.Adam, lr=1e-3)`. It steps
            without a closure, so LBFGS cannot be used. Several are a mapping from names, as those of `train`:
            `{"actor": partial(Adam, lr=1e-4), "critic": partial(Adam, lr=1e-3)}`; each parameter belongs to one. The
            objective may then give `{name: loss}`; each loss trains the parameters of its optimizer alone.
        scheduler: makes the schedule of the learning rate from each optimizer; or a mapping from their names.
        scheduler_interval: the schedule steps after every `"epoch"` or after every `"step"` of the optimizer.
        scheduler_metric: the number of the epoch's row that `ReduceLROnPlateau` watches, e.g. `"validation/loss"`.
        clip: the largest norm of the whole gradient; None leaves it as it is.
        accumulate: batches of one step of the optimizer; their gradients are averaged over all of their samples.
        slices: cuts a batch in time (see `TimeSlices`): truncated back-propagation through time, one step of the
            optimizer a slice, no gradient from one slice into the one before.
        data: samples of this phase alone, in any form that `fit` takes; None takes those of the training.
        gradients: `(module, batch, activity) -> None`, called without gradients after the backward pass: writes or adds
            to `.grad` of the trained parameters, means over the samples of this batch, which are 0 where the loss gives
            none. `activity` is the third item of the objective's result, `(loss, metrics, activity)`, or None.

    Raises:
        ConfigError: nothing to train, a number out of range, or slices whose gradients are to be accumulated.

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
    optimizer: _Optimizer | Mapping[str, _Optimizer]
    scheduler: _Schedule | Mapping[str, _Schedule] | None = None
    scheduler_interval: Literal["epoch", "step"] = "epoch"
    scheduler_metric: str = "loss"
    clip: float | None = None
    accumulate: int = 1
    slices: Callable[[Batch], Iterable[Batch]] | None = None
    data: TrainingData | None = None
    gradients: Callable[[nn.Module, Batch, Any], None] | None = None

    def __post_init__(self) -> None:
        for name in ("objective", "optimizer", "scheduler", "slices", "gradients"):
            value = getattr(self, name)
            is_several = isinstance(value, Mapping) and bool(value) and name in ("optimizer", "scheduler")
            for one in value.values() if is_several else [value]:
                if not callable(one) and (one is not None or is_several or name in ("objective", "optimizer")):
                    form = f", {_OPTIMIZER}" if name == "optimizer" else ""
                    raise ConfigError(
                        f"phase {self.name!r} needs its {name} as a function{form}, but got {in_words(one)}"
                    )

        self._check_names()
        if isinstance(self.train, str):
            raise ConfigError(f"phase {self.name!r}: train is a tuple of names; write train=({self.train!r},)")
        if not isinstance(self.train, list | tuple) or not self.train:
            raise ConfigError(f"phase {self.name!r} trains nothing: name parts, units or paths, or train=WHOLE")
        if not is_integer(self.epochs) or self.epochs < 1:
            raise ConfigError(f"phase {self.name!r} needs an integer of at least 1 epoch, but got {self.epochs}")
        if self.clip is not None and not (is_number(self.clip) and self.clip > 0):
            raise ConfigError(f"phase {self.name!r} needs clip > 0, but got {self.clip}; clip=None clips nothing")

        if self.scheduler_interval not in ("epoch", "step"):
            raise ConfigError(
                f"phase {self.name!r}: scheduler_interval should be 'epoch' or 'step', but is "
                f"{self.scheduler_interval!r}"
            )

        if not is_integer(self.accumulate) or self.accumulate < 1:
            raise ConfigError(f"phase {self.name!r}: accumulate should be at least 1 batch, but is {self.accumulate}")
        if self.accumulate > 1 and self.slices is not None:
            raise ConfigError(f"phase {self.name!r}: every slice makes a step, so accumulate must be 1 with slices")

    @property
    def optimizers(self) -> Mapping[str, _Optimizer]:
        """The functions that make the optimizers, by name; one that has no name is called `""`."""
        return self.optimizer if isinstance(self.optimizer, Mapping) else {"": self.optimizer}

    @property
    def schedulers(self) -> Mapping[str, _Schedule]:
        """The functions that make the schedules, by the name of their optimizer."""
        if isinstance(self.scheduler, Mapping):
            return self.scheduler
        return {} if self.scheduler is None else dict.fromkeys(self.optimizers, self.scheduler)

    def _check_names(self) -> None:
        if not all(isinstance(name, str) for name in self.optimizers):
            raise ConfigError(f"phase {self.name!r} names its optimizers by words, but got {list(self.optimizers)}")

        for name in self.schedulers:
            if name not in self.optimizers:
                near = did_you_mean(name, self.optimizers) if isinstance(self.optimizer, Mapping) else "it has only one"
                raise ConfigError(f"phase {self.name!r}: scheduler names {name!r}, which is no optimizer: {near}")


@dataclass(frozen=True)
class Outcome:
    """The result of an objective in one form; a loss without a name is called `""`."""

    losses: dict[str, Tensor]
    metrics: dict[str, Any]
    activity: Any

    @property
    def loss(self) -> Tensor:
        """The sum of all losses."""
        first, *others = self.losses.values()
        return sum(others, start=first)

    @property
    def values(self) -> dict[str, Any]:
        """Loss, single losses and metrics by the names of their columns."""
        single = {f"loss/{name}": loss for name, loss in self.losses.items() if name}
        return {"loss": self.loss, **single, **self.metrics}


def read_result(result: Any, objective: str) -> Outcome:
    """Losses, metrics and activity of a result; a `ConfigError` names the objective that gave something else."""
    parts = result if isinstance(result, tuple) and len(result) in (2, 3) else (result, {})
    loss, metrics, *activity = parts
    losses = dict(loss) if isinstance(loss, Mapping) and loss else {"": loss}
    for one in losses.values():
        if not isinstance(one, Tensor) or one.ndim != 0 or not isinstance(metrics, dict):
            form = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
            raise ConfigError(
                f"{objective} must give one number, or one for each optimizer by name, or that and a dict of metrics, "
                f"but gave {form}"
            )

    own = (*_COLUMNS, *(f"loss/{name}" for name in losses))
    for name, value in metrics.items():
        if name in own:
            raise ConfigError(f"{objective} has a metric called {name!r}; that name is the {name}'s own")
        check_number(value, f"the metric {name!r} of {objective}")

    return Outcome(losses, metrics, activity[0] if activity else None)


def check_number(value: Any, what: str) -> None:
    """Raises a `ConfigError` where a metric is not one number; of a tensor it reads no value."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ConfigError(f"{what} must be one number, but is a tensor {tuple(value.shape)}")
    elif not isinstance(value, Real) and getattr(value, "size", None) != 1:
        raise ConfigError(f"{what} must be one number, but is {in_words(value)}")


def refuse_other_metrics(metrics: Mapping[str, Any], before: Mapping[str, Any], objective: str) -> None:
    """Raises a `ConfigError` where an objective gives other metrics than before, whose means would lack samples."""
    if before and metrics.keys() != before.keys():
        raise ConfigError(
            f"{objective} gave {', '.join(metrics)}, but {', '.join(before)} before; give the same at every step"
        )


def check_phases(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """The phases, if there are any and each has a name of its own; else a `ConfigError`."""
    if isinstance(phases, Phase) or not isinstance(phases, Sequence) or not all(isinstance(p, Phase) for p in phases):
        raise ConfigError(f"phases is a list, [Phase(...), ...], but got {in_words(phases)}")
    if not phases:
        raise ConfigError("training needs at least one phase")

    names = [phase.name for phase in phases]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two phases are called {twice!r}; rows and checkpoints need a name for each")

    return tuple(phases)


def find(module: nn.Module, name: str) -> nn.Module | Parameter:
    """The module or parameter of a dotted path, or of a part or unit of a hybrid network; `""` is everything."""
    # a path wins over a part, a part over a unit
    named: dict[str, nn.Module | Parameter] = {"": module}
    for group in ("units", "parts"):
        holder = getattr(module, group, None)
        if isinstance(holder, nn.Module):
            named.update({path: part for path, part in _everything(holder) if path})

    named.update(_everything(module))
    if name not in named:
        near = [path for path in named if path and path.count(".") <= name.count(".")]
        raise ConfigError(f"nothing is called {name!r} in {type(module).__name__}: {did_you_mean(name, near)}")

    return named[name]


def _everything(module: nn.Module) -> Iterator[tuple[str, nn.Module | Parameter]]:
    yield from module.named_modules(remove_duplicate=False)
    yield from module.named_parameters(remove_duplicate=False)


@contextmanager
def trainable_only(module: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Trains the named parts and freezes the rest inside the block; modes and flags are restored afterwards."""
    # in a part, what was frozen before stays frozen; a parameter named by its own path is trained, and does not change
    # the mode of its module
    chosen = [(name, find(module, name)) for name in names]
    trained = []
    for name, part in chosen:
        inside = list(part.parameters()) if isinstance(part, nn.Module) else [part]
        own = [parameter for parameter in inside if parameter.requires_grad or parameter is part]
        trained += own
        if not inside:
            raise ConfigError(f"{name!r} has no parameters, so it cannot be trained: leave it out of the phase")
        if not own:
            raise ConfigError(
                f"{name or 'the network'!r} is frozen: none of its parameters requires a gradient; call "
                "requires_grad_(), or leave it out of the phase"
            )

    before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    with preserve_modes(module):
        module.eval().requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        for _, part in chosen:
            if isinstance(part, nn.Module):
                part.train()

        try:
            yield
        finally:
            for parameter, requires_grad in before:
                parameter.requires_grad_(requires_grad)
                parameter.grad = None
