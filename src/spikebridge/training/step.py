"""One step: the objective on this process's share of a global batch, gradients of the whole, one move of the optimizer.

With slices a step makes one move a slice.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.errors import ConfigError, DataError
from spikebridge.neurons.state import detach
from spikebridge.training.batches import Dataset
from spikebridge.training.order import share
from spikebridge.training.phase import Phase, Result

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Stage:
    """A phase, set up: the network in its host, the data, the optimizer as it is and as Fabric drives it."""

    phase: Phase
    data: Dataset
    network: nn.Module
    host: Any
    optimizer: Optimizer
    driven: Any
    scheduler: LRScheduler | None


def take_step(fabric: "Fabric", stage: Stage, indices: Tensor, where: str) -> dict[str, float]:
    """One step on one global batch.

    Args:
        fabric: knows the processes.
        stage: the running phase.
        indices: `(n,)` samples of the global batch.
        where: the step's name in messages.

    Returns:
        loss and metrics: means over the global batch (and over its slices), before the step.

    Raises:
        DataError: a loss or gradient that is not finite; the network is left as it was before the step.
        ConfigError: an objective that gives something else than a loss.
    """
    phase = stage.phase
    mine, weight = share(indices, fabric.global_rank, fabric.world_size)
    batch = fabric.to_device(stage.data.select(mine))
    if phase.slices is None:
        return _move(fabric, stage, stage.host(phase.objective, batch), weight, where)
    state: Any = None
    moves = []
    for piece in phase.slices(batch):
        answer = stage.host(phase.objective, piece, state)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ConfigError(f"the objective of {where} works on slices, so it must give (loss, state)")
        result, state = answer
        moves.append(_move(fabric, stage, result, weight, where))
        state = detach(state)
    if not moves:
        raise ConfigError(f"the slices of {where} are none: the batch has no time step")
    return {name: sum(move[name] for move in moves) / len(moves) for name in moves[0]}


def _move(fabric: "Fabric", stage: Stage, result: Result, weight: float, where: str) -> dict[str, float]:
    loss, metrics = _parts(result, where)
    values = _global_means(fabric, {"loss": loss, **metrics}, weight)
    if not math.isfinite(values["loss"]):
        raise DataError(_not_finite(f"the loss is {values['loss']}", where))
    stage.driven.zero_grad()
    fabric.backward(loss * weight)
    norm: Any = fabric.clip_gradients(
        stage.host, stage.driven, max_norm=stage.phase.clip or math.inf, error_if_nonfinite=False
    )
    # a gradient scaler meets infinite gradients on purpose and leaves such a move out by itself
    if getattr(fabric.strategy.precision, "scaler", None) is None and not math.isfinite(norm):
        raise DataError(_not_finite("the loss is finite but its gradient is not,", where))
    stage.driven.step()
    return values


def _parts(result: Result, where: str) -> tuple[Tensor, dict[str, Any]]:
    loss, metrics = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    if not isinstance(loss, Tensor) or loss.ndim != 0 or not isinstance(metrics, dict):
        form = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ConfigError(
            f"the objective of {where} must give one number, or that and a dict of metrics, but gave {form}"
        )
    if not loss.requires_grad:
        raise ConfigError(
            f"the loss of {where} depends on nothing that the phase trains; name what it depends on in train"
        )
    if "loss" in metrics:
        raise ConfigError(f"the objective of {where} has a metric called 'loss'; that name is the loss's own")
    return loss, metrics


def _global_means(fabric: "Fabric", values: dict[str, Any], weight: float) -> dict[str, float]:
    """The means over the global batch; every process learns of a loss that is not finite in the same moment."""
    kind = torch.promote_types(values["loss"].dtype, torch.float32)
    numbers = [torch.as_tensor(value, device=fabric.device).detach().to(kind) for value in values.values()]
    means: Any = fabric.all_reduce(torch.stack(numbers) * weight, reduce_op="mean")
    return dict(zip(values, means.tolist(), strict=True))


def _not_finite(what: str, where: str) -> str:
    return (
        f"{what} in {where}: the training has diverged; take a lower learning rate, clip the gradient (Phase.clip), "
        "or look for NaN in the data"
    )
