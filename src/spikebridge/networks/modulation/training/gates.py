"""Where the gates of the modulation recipe come from: chance, the group, or hybrid units trained on pairs of tasks.

Everything here sees training pictures alone.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.networks.modulation.model.backbone import Backbone, BinUnit, Gating
from spikebridge.networks.modulation.model.gating import KWinners, share_gates
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes, prototype_features
from spikebridge.networks.modulation.training.methods import Method
from spikebridge.networks.modulation.training.objectives import (
    OBJECTIVES,
    PairBatch,
    TaskPairDataset,
    bin_loss,
    cosines,
    density_floor_loss,
)
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.training.continual.xdg import RandomGates
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.rng import derive_seed
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings

BINS = 10
PASSES = 6


@dataclass(frozen=True)
class UnitSettings:
    """How the backbone and its units are made and trained.

    Args:
        num_hidden: neurons C of each hidden layer of the branch.
        rho: share of open neurons.
        hidden: sizes of the backbone's body; `untrained` without any takes one layer of 256.
        num_pairs: pairs of tasks; each is shown `PASSES` times.
        num_samples: pictures on each side of a pair.
        lr: learning rate of Adam, a tenth of it in the last pass.
        scale: slope of the sigmoid.
        weight: lambda of the objective.
        floor: mu, what opening below `rho` costs.
    """

    num_hidden: tuple[int, int]
    rho: float
    hidden: tuple[int, ...] = ()
    num_pairs: int = 1600
    num_samples: int = 8
    lr: float = 3e-3
    scale: float = 5.0
    weight: float = 1.0
    floor: float = 10.0


def build_gating(method: Method, sequence: TaskSequence, settings: UnitSettings, seed: int) -> Gating:
    """The backbone and units of a method, untrained."""
    hidden = settings.hidden
    if method.gates == "projection":
        hidden = ()
    if method.gates == "untrained" and not hidden:
        hidden = (256,)
    has_bins = method.gates == "bins"
    train = sequence.train
    backbone = Backbone(
        train.inputs.shape[-1],
        settings.num_hidden,
        train.num_steps,
        hidden,
        BINS if has_bins else 1,
        settings.scale,
    )
    backbone.initialise(torch.Generator().manual_seed(derive_seed(seed, 1)))
    backbone.fit_mean(train.means.unsqueeze(0))
    opening = [KWinners(settings.rho) for _ in settings.num_hidden]
    # one bin opens for each nine that close: about the opening that k-winners then set exactly
    return Gating(backbone, opening, BinUnit(BINS, BINS - max(1, round(BINS * settings.rho))) if has_bins else None)


def train_gating(
    gating: Gating,
    method: Method,
    sequence: TaskSequence,
    settings: UnitSettings,
    seed: int,
    run: Run | None,
    quiet: bool,
) -> dict[str, Any]:
    """Trains the units of a method where it has any to train.

    Returns:
        what is worth writing down: the share of pairs in one group, the last loss.
    """
    if method.gates not in ("similarity", "dissimilarity", "bins"):
        return {}
    pairs = TaskPairDataset(
        sequence.orders,
        sequence.split.backbone,
        sequence.train.means,
        settings.num_pairs,
        settings.num_samples,
        generator=torch.Generator().manual_seed(derive_seed(seed, 2)),
    )
    phase = Phase(
        f"units, {method.gates}",
        train=WHOLE,
        objective=partial(objective, kind=method.gates, settings=settings),
        epochs=PASSES,
        optimizer=partial(torch.optim.Adam, lr=settings.lr),
        scheduler=partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[PASSES - 1], gamma=0.1),
    )
    how = Settings(seed=seed, batch_size=16, accelerator="cpu", quiet=quiet)
    rows = fit(gating, [phase], pairs, settings=how, run=run)
    return {"share of pairs in one group": pairs.share_in_group, "loss of the units": rows[-1]["loss"]}


def objective(gating: nn.Module, batch: PairBatch, *, kind: str, settings: UnitSettings) -> Tensor:
    """How far signals are from being as alike as their tasks."""
    if not isinstance(gating, Gating):
        raise ConfigError(f"the objective is for Gating, but got {type(gating).__name__}")
    backbone = gating.backbone
    first, second = (backbone.preactivations(side) for side in (batch.first, batch.second))
    if gating.bins is not None:
        bins = gating.bins
        shape = (*batch.first.shape[:2], -1, bins.num_bins)
        sides = [
            [bins.bins(d.flatten(0, 1)).reshape(shape) for d in preactivations] for preactivations in (first, second)
        ]
        return bin_loss(sides[0], sides[1], batch.similarity)
    sides = [backbone.signals(preactivations) for preactivations in (first, second)]
    layers = list(zip(*sides, strict=True))
    apart = torch.stack([OBJECTIVES[kind](cosines(a, b), batch.similarity, settings.weight) for a, b in layers]).sum()
    return apart + settings.floor * density_floor_loss([torch.cat(pair) for pair in layers], settings.rho)


def task_preactivations(gating: Gating, sequence: TaskSequence, chunk: int = 2000) -> list[Tensor]:
    """The mean drive of each task to learn over its training pictures, `(K, C)` a layer."""
    rows = []
    with torch.no_grad():
        for task in sequence.learnt:
            shown = sequence.train.permuted_batches(sequence.orders.permutations[task], chunk)
            parts = [gating.preactivations(part) for part in shown]
            rows.append([torch.cat(layer).mean(0) for layer in zip(*parts, strict=True)])
    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


def task_prototypes(gating: Gating, sequence: TaskSequence, chunk: int = 2000) -> GaussianPrototypes:
    """What tells the tasks to learn apart: of each a Gaussian on a few drives of its training pictures."""
    samples = []
    with torch.no_grad():
        for task in sequence.learnt:
            shown = sequence.train.permuted_batches(sequence.orders.permutations[task], chunk)
            samples.append(torch.cat([prototype_features(gating.preactivations(part)) for part in shown]))
    return GaussianPrototypes.fit(samples)


def input_projection(sequence: TaskSequence, seed: int, number: int = 64) -> Gating:
    """A fixed random projection of the input to a few numbers, for methods whose gates no unit makes."""
    train = sequence.train
    backbone = Backbone(train.inputs.shape[-1], (number // 2, number // 2), train.num_steps)
    backbone.initialise(torch.Generator().manual_seed(derive_seed(seed, 1))).fit_mean(train.means.unsqueeze(0))
    return Gating(backbone, [KWinners(1.0), KWinners(1.0)])


def task_gates(
    method: Method, sequence: TaskSequence, settings: UnitSettings, seed: int, gating: Gating | None
) -> list[Tensor] | None:
    """The gates of all tasks to learn, `(K, C)` a layer; None where nothing is closed.

    Chance and group give a gate of the same opening as the units.
    """
    if not method.is_gated:
        return None
    if gating is not None:
        preactivations = task_preactivations(gating, sequence)
        own = gating.gates(preactivations, num_samples=1)
        return share_gates(own, preactivations, method.shares) if method.shares else own
    draw = RandomGates(settings.num_hidden, settings.rho, derive_seed(seed, 3))
    numbers = sequence.group if method.gates == "group" else sequence.learnt
    rows = [draw(number) for number in numbers]
    return [torch.stack(layer) for layer in zip(*rows, strict=True)]
