"""One step of the optimizer: the objective on one or several batches, their gradient, clipping, the update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from spikebridge.errors import ConfigError, DataError
from spikebridge.neurons.state import detach
from spikebridge.ops.checks import checks, is_finite
from spikebridge.training.callbacks.monitor import metric_of
from spikebridge.training.distributed import call_objective
from spikebridge.training.loader import BatchSource, LoadedBatch, naming_collate
from spikebridge.training.phase import Phase, Result, loss_and_metrics, refuse_other_metrics
from spikebridge.training.rng import preserve_rng_state
from spikebridge.training.run.metrics import Row

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Stage:
    """A phase that is set up: network and host, data, the optimizer and its Fabric wrapper."""

    phase: Phase
    source: BatchSource
    network: nn.Module
    host: Any
    optimizer: Optimizer
    driven: Any
    scheduler: LRScheduler | None


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
        with fabric.no_backward_sync(stage.host, enabled=number < len(batches) and fabric.world_size > 1):
            result = call_objective(fabric, stage.host, stage.phase.objective, fabric.to_device(data))
            share = num_samples / total
            values = _backward(fabric, result, weight, share, where)

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
        answer = call_objective(fabric, stage.host, phase.objective, piece, state)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ConfigError(f"the objective of {where} works on slices, so it must give (loss, state)")

        result, state = answer
        stage.driven.zero_grad()
        steps.append(_backward(fabric, result, batch.weight, 1.0, where))
        _update(fabric, stage, where)
        refuse_other_metrics(steps[-1], steps[0], f"the objective of {where}")
        state = detach(state)

    if not steps:
        raise ConfigError(f"the slices of {where} are none: the batch has no time step")

    return {name: sum(values[name] for values in steps) / len(steps) for name in steps[0]}


def _backward(fabric: "Fabric", result: Result, weight: float, share: float, where: str) -> dict[str, float]:
    """Adds the gradient of one batch, which is `share` of the step's samples."""
    loss, metrics = loss_and_metrics(result, f"the objective of {where}")
    if not loss.requires_grad:
        raise ConfigError(
            f"the loss of {where} depends on nothing that the phase trains; name what it depends on in train"
        )

    values = _global_means(fabric, {"loss": loss, **metrics}, weight)
    if not math.isfinite(values["loss"]):
        raise DataError(_diverged(f"the loss is {values['loss']}", where))

    fabric.backward(loss * (weight * share))
    return values


def _update(fabric: "Fabric", stage: Stage, where: str) -> None:
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
    """One step of the schedule of the learning rate; a row is there at the end of an epoch, for one that watches it."""
    phase = stage.phase
    scheduler = stage.scheduler
    if scheduler is None:
        return

    try:
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
