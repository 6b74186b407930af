"""One step of the optimizer: the objective on one or several batches, their gradient, clipping, the update."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from spikebridge.errors import ConfigError, DataError
from spikebridge.neurons.state import detach
from spikebridge.ops.checks import checks, is_finite
from spikebridge.training.callbacks.monitor import metric_of
from spikebridge.training.distributed import call_objective
from spikebridge.training.loader import BatchSource, LoadedBatch, naming_collate
from spikebridge.training.optimizers import SeveralOptimizers, parameters_of
from spikebridge.training.phase import Phase, Result, read_result, refuse_other_metrics
from spikebridge.training.rng import preserve_rng_state
from spikebridge.training.run.metrics import Row

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Stage:
    """A phase that is set up: network and host, data, the optimizer, its Fabric wrapper, schedules."""

    phase: Phase
    source: BatchSource
    network: nn.Module
    host: Any
    optimizer: Optimizer
    driven: Any
    schedulers: dict[str, LRScheduler]  # by the name of their optimizer

    @property
    def trained(self) -> list[Parameter]:
        """The parameters of all optimizers."""
        return parameters_of(self.optimizer)

    @property
    def averages(self) -> bool:
        """True where the step itself averages gradients over processes, since there are several backward passes."""
        return isinstance(self.optimizer, SeveralOptimizers) or self.phase.gradients is not None

    def without_exchange(self, fabric: "Fabric", is_last: bool = True) -> AbstractContextManager[Any]:
        """Inside, a backward pass exchanges no gradients where a later one does, or the step."""
        waits = self.averages or not is_last
        return fabric.no_backward_sync(self.host, enabled=waits and fabric.world_size > 1)

    def state_of_schedules(self) -> dict[str, Any] | None:
        """The states of the schedules by optimizer, or that of the only one."""
        states = {name: scheduler.state_dict() for name, scheduler in self.schedulers.items()}
        return states if isinstance(self.optimizer, SeveralOptimizers) else states.get("")

    def load_schedules(self, state: dict[str, Any] | None) -> None:
        """Restores what `state_of_schedules` gave."""
        states: Any = state if isinstance(self.optimizer, SeveralOptimizers) else {"": state}
        for name, scheduler in self.schedulers.items():
            scheduler.load_state_dict(states[name])


def take_step(fabric: "Fabric", stage: Stage, batches: Sequence[LoadedBatch], where: str) -> dict[str, float]:
    """One step on the batches whose gradients are accumulated; with slices, one on each slice of the only batch.

    Returns loss and metrics before the step, means over the samples (and over the slices). A `DataError` names the
    origin of NaN or infinity, and leaves the network as it was before the step.
    """
    try:
        with naming_collate(stage.source):
            if stage.phase.slices is not None:
                return _step_slices(fabric, stage, batches[0], where)
            return _step_batches(fabric, stage, batches, where)
    except DataError as error:
        origin = _origin(fabric, stage, batches)
        raise DataError(f"{error}; {origin}") if origin else error from None


def _step_batches(fabric: "Fabric", stage: Stage, batches: Sequence[LoadedBatch], where: str) -> dict[str, float]:
    """One step on the mean gradient over the samples of all batches."""
    total = sum(batch.num_samples for batch in batches)
    stage.driven.zero_grad()
    means: dict[str, float] = {}

    for number, (data, num_samples, weight) in enumerate(batches, start=1):
        # processes exchange gradients once a step
        with stage.without_exchange(fabric, is_last=number == len(batches)):
            batch = fabric.to_device(data)
            result = call_objective(fabric, stage.host, stage.phase.objective, batch)
            share = num_samples / total
            values = _add_gradient(fabric, stage, batch, result, weight, share, where)

        refuse_other_metrics(values, means, f"the objective of {where}")
        for name, value in values.items():
            means[name] = means.get(name, 0.0) + value * share

    _update(fabric, stage, where)
    return means


def _step_slices(fabric: "Fabric", stage: Stage, batch: LoadedBatch, where: str) -> dict[str, float]:
    """One step on each slice, with the state of the slice before, without its gradient."""
    phase = stage.phase
    state: Any = None
    steps = []

    for piece in phase.slices(fabric.to_device(batch.data)) if phase.slices is not None else ():
        with stage.without_exchange(fabric):
            answer = call_objective(fabric, stage.host, phase.objective, piece, state)
            if not isinstance(answer, tuple) or len(answer) != 2:
                raise ConfigError(f"the objective of {where} works on slices, so it must give (loss, state)")

            result, state = answer
            stage.driven.zero_grad()
            steps.append(_add_gradient(fabric, stage, piece, result, batch.weight, 1.0, where))

        _update(fabric, stage, where)
        refuse_other_metrics(steps[-1], steps[0], f"the objective of {where}")
        state = detach(state)

    if not steps:
        raise ConfigError(f"the slices of {where} are none: the batch has no time step")

    return {name: sum(values[name] for values in steps) / len(steps) for name in steps[0]}


def _add_gradient(
    fabric: "Fabric", stage: Stage, batch: Any, result: Result, weight: float, share: float, where: str
) -> dict[str, float]:
    """Adds the gradient of one batch, which is `share` of the step's samples."""
    outcome = read_result(result, f"the objective of {where}")
    values = _global_means(fabric, outcome.values, weight)
    if not math.isfinite(values["loss"]):
        raise DataError(_diverged(f"the loss is {values['loss']}", where))

    rule = stage.phase.gradients
    if rule is None:
        _backward(fabric, stage, outcome.losses, weight * share, where)
        return values

    # a rule of the user's sees the gradient of this batch alone
    before = [parameter.grad for parameter in stage.trained]
    stage.driven.zero_grad()
    _backward(fabric, stage, outcome.losses, 1.0, where)
    for parameter in stage.trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    with torch.no_grad():
        rule(stage.network, batch, outcome.activity)

    for parameter, earlier in zip(stage.trained, before, strict=True):
        # a new tensor: the rule may have given one that it keeps
        own = None if parameter.grad is None else parameter.grad * (weight * share)
        parameter.grad = own if earlier is None else earlier if own is None else earlier + own

    return values


def _backward(fabric: "Fabric", stage: Stage, losses: dict[str, Tensor], factor: float, where: str) -> None:
    """Adds the gradients of losses, of several by name each to the parameters of its optimizer alone."""
    members = stage.optimizer.members if isinstance(stage.optimizer, SeveralOptimizers) else {}
    shares: dict[str, Any] = {name: parameters_of(member) for name, member in members.items()}
    if losses.keys() == {""}:
        shares = {"": None}
    if losses.keys() != shares.keys():
        raise ConfigError(
            f"the objective of {where} gave losses called {', '.join(map(str, losses))}, but the optimizers are "
            f"called {', '.join(members) or 'nothing: there is one'}; give one loss, or one for each by its name"
        )

    for number, (name, parameters) in enumerate(shares.items(), start=1):
        loss = losses[name]
        if loss.requires_grad:
            fabric.backward(loss * factor, inputs=parameters, retain_graph=number < len(shares))

        reached = loss.requires_grad if parameters is None else any(p.grad is not None for p in parameters)
        if not reached and stage.phase.gradients is None:
            what = f"the loss {name!r} of {where}" if name else f"the loss of {where}"
            who = "its optimizer" if name else "the phase"
            raise ConfigError(f"{what} depends on nothing that {who} trains; name what it depends on in train")


def _average(fabric: Any, parameters: Sequence[Parameter]) -> None:
    """Averages gradients over the processes; one that no process has stays none."""
    has = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=fabric.device)
    for parameter, number in zip(parameters, fabric.all_reduce(has, reduce_op="sum").tolist(), strict=True):
        if number > 0:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = fabric.all_reduce(own, reduce_op="mean")


def _update(fabric: "Fabric", stage: Stage, where: str) -> None:
    if stage.averages and fabric.world_size > 1:
        _average(fabric, stage.trained)

    norm: Any = fabric.clip_gradients(
        stage.host, stage.driven, max_norm=stage.phase.clip or math.inf, error_if_nonfinite=False
    )
    # a gradient scaler produces infinite gradients on purpose and skips such a step by itself
    if getattr(fabric.strategy.precision, "scaler", None) is None and not math.isfinite(norm):
        raise DataError(_diverged("the loss is finite but its gradient is not,", where))

    stage.driven.step()
    if stage.phase.scheduler_interval == "step":
        step_scheduler(stage, None)


def step_scheduler(stage: Stage, row: Row | None) -> None:
    """One step of the schedules of the learning rates; a row is there at the end of an epoch, for one to watch."""
    phase = stage.phase
    try:
        for scheduler in stage.schedulers.values():
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()
            elif row is None:
                raise ConfigError(f"phase {phase.name!r}: ReduceLROnPlateau watches epochs; scheduler_interval='epoch'")
            else:
                scheduler.step(metric_of(row, phase.scheduler_metric, f"the schedule of phase {phase.name!r}"))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(
            f"the schedule of phase {phase.name!r} ended before the phase ({error}); it steps once a "
            f"{phase.scheduler_interval}, {phase.epochs} epochs long"
        ) from error


def _global_means(fabric: "Fabric", values: dict[str, Any], weight: float) -> dict[str, float]:
    """The means over the global batch; every process learns of a loss that is not finite in the same moment."""
    dtype = torch.promote_types(values["loss"].dtype, torch.float32)
    numbers = [torch.as_tensor(value, device=fabric.device).detach().to(dtype).reshape(()) for value in values.values()]
    means: Any = fabric.all_reduce(torch.stack(numbers) * weight, reduce_op="mean")
    return dict(zip(values, means.tolist(), strict=True))


def _origin(fabric: "Fabric", stage: Stage, batches: Sequence[LoadedBatch]) -> str:
    """The origin of NaN or infinity in words: parameters, or the part that a second forward pass names; maybe empty."""
    bad = [name for name, value in stage.network.named_parameters() if not is_finite(value)]
    if bad:
        return f"parameters that are not finite: {', '.join(bad[:3])}" + (", ..." if len(bad) > 3 else "")

    phase = stage.phase
    state = None
    with checks("always"), torch.no_grad(), fabric.autocast(), preserve_rng_state():
        try:
            for batch in batches:
                data = fabric.to_device(batch.data)
                if phase.slices is None:
                    phase.objective(stage.network, data)
                else:
                    for piece in phase.slices(data):
                        _, state = phase.objective(stage.network, piece, state)
        except DataError as error:
            return str(error)

    return ""


def _diverged(what: str, where: str) -> str:
    return (
        f"{what} in {where}: the training has diverged; take a lower learning rate, clip the gradient (Phase.clip), "
        "or look for NaN in the data"
    )
