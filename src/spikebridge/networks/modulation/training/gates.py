"""Gates of a method's tasks: drawn at random, drawn for each group, or made by hybrid units trained on task pairs.

Only training samples are used.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.networks.modulation.model.backbone import Backbone, BinUnit, Gating
from spikebridge.networks.modulation.model.gating import KWinners, share_gates
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes, prototype_features
from spikebridge.networks.modulation.training.methods import TrialSettings, UnitSettings
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

_NUM_BINS = 10
_NUM_PASSES = 6
_NUM_PROJECTIONS = 64


def build_gating(settings: TrialSettings, sequence: TaskSequence) -> Gating:
    """The backbone and units of a method, untrained."""
    units = settings.units
    source = settings.method.gates
    hidden = () if source == "projection" else units.hidden
    if source == "untrained" and not hidden:
        hidden = (256,)

    backbone = Backbone(
        sequence.train.inputs.shape[-1],
        units.num_hidden,
        sequence.train.num_steps,
        hidden,
        _NUM_BINS if source == "bins" else 1,
        units.scale,
    )

    discretizers = [KWinners(units.rho) for _ in units.num_hidden]
    # one open bin for nine closed ones gives about the density that k-winners then set exactly
    bins = BinUnit(_NUM_BINS, _NUM_BINS - max(1, round(_NUM_BINS * units.rho))) if source == "bins" else None

    return Gating(_initialised(backbone, settings.seed, sequence), discretizers, bins)


def input_projection(sequence: TaskSequence, seed: int) -> Gating:
    """A fixed random projection of the input to a few values: finds the task where no unit makes the gates."""
    train = sequence.train
    backbone = Backbone(train.inputs.shape[-1], (_NUM_PROJECTIONS // 2, _NUM_PROJECTIONS // 2), train.num_steps)
    return Gating(_initialised(backbone, seed, sequence), [KWinners(1.0), KWinners(1.0)])


def _initialised(backbone: Backbone, seed: int, sequence: TaskSequence) -> Backbone:
    backbone.initialise(torch.Generator().manual_seed(derive_seed(seed, 1)))
    return backbone.fit_mean(sequence.train.time_means.unsqueeze(0))


def train_gating(
    gating: Gating, settings: TrialSettings, sequence: TaskSequence, run: Run | None, quiet: bool
) -> dict[str, Any]:
    """Trains the units of a method, if it has units to train.

    Returns:
        notes for the results: the share of pairs in one group, and the last loss.
    """
    units = settings.units
    source = settings.method.gates
    if source not in ("similarity", "dissimilarity", "bins"):
        return {}

    pairs = TaskPairDataset(
        sequence.all_tasks,
        sequence.split.backbone,
        sequence.train.time_means,
        units.num_pairs,
        units.num_samples,
        generator=torch.Generator().manual_seed(derive_seed(settings.seed, 2)),
    )

    phase = Phase(
        f"units, {source}",
        train=WHOLE,
        objective=partial(_gating_loss, objective=source, units=units),
        epochs=_NUM_PASSES,
        optimizer=partial(torch.optim.Adam, lr=units.lr),
        scheduler=partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[_NUM_PASSES - 1], gamma=0.1),
    )

    loop = Settings(seed=settings.seed, batch_size=16, accelerator="cpu", quiet=quiet)
    rows = fit(gating, [phase], pairs, settings=loop, run=run)

    return {"share of pairs in one group": pairs.share_in_group, "loss of the units": rows[-1]["loss"]}


def _gating_loss(gating: nn.Module, batch: PairBatch, *, objective: str, units: UnitSettings) -> Tensor:
    """The difference between the similarity of signals and that of their tasks."""
    if not isinstance(gating, Gating):
        raise ConfigError(f"the objective needs a Gating, but got {type(gating).__name__}")

    backbone = gating.backbone
    bins = gating.bins
    first, second = (backbone.preactivations(side) for side in (batch.first, batch.second))
    if bins is not None:
        shape = (*batch.first.shape[:2], -1, bins.num_bins)
        sides = [[bins.bins(layer.flatten(0, 1)).reshape(shape) for layer in side] for side in (first, second)]
        return bin_loss(sides[0], sides[1], batch.similarity)

    layers = list(zip(backbone.signals(first), backbone.signals(second), strict=True))
    losses = [OBJECTIVES[objective](cosines(a, b), batch.similarity, units.weight) for a, b in layers]

    return torch.stack(losses).sum() + units.floor * density_floor_loss([torch.cat(pair) for pair in layers], units.rho)


def task_gates(settings: TrialSettings, sequence: TaskSequence, gating: Gating | None) -> list[Tensor] | None:
    """The gates of all tasks, `(K, C)` a layer; None for a method without gates.

    Random gates have the same density as those of the units.
    """
    method = settings.method
    units = settings.units
    if not method.is_gated:
        return None

    if gating is not None:
        preactivations = _task_preactivations(gating, sequence)
        own = gating.gates(preactivations, num_samples=1)
        return share_gates(own, preactivations, method.shared_fraction) if method.shared_fraction else own

    draw = RandomGates(units.num_hidden, units.rho, derive_seed(settings.seed, 3))
    rows = [draw(number) for number in (sequence.group if method.gates == "group" else sequence.numbers)]

    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


def _task_preactivations(gating: Gating, sequence: TaskSequence) -> list[Tensor]:
    """The mean preactivation of each task over its training samples, `(K, C)` a layer."""
    rows = []
    with torch.no_grad():
        for permutation in sequence.permutations:
            batches = [gating.preactivations(batch) for batch in sequence.train.permuted_batches(permutation)]
            rows.append([torch.cat(layer).mean(0) for layer in zip(*batches, strict=True)])

    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


def task_prototypes(gating: Gating, sequence: TaskSequence) -> GaussianPrototypes:
    """A Gaussian of each task on a few preactivations of its training samples."""
    samples = []
    with torch.no_grad():
        for permutation in sequence.permutations:
            batches = sequence.train.permuted_batches(permutation)
            samples.append(torch.cat([prototype_features(gating.preactivations(batch)) for batch in batches]))

    return GaussianPrototypes.fit(samples)
