"""Training of the units on pairs of tasks, and the gates and prototypes that they make of all tasks.

Similar tasks get similar signals. S is the similarity of two tasks, S_V the cosine of the signals of two samples, one
of each task; D = 1 - S_V and Y = 1 - S. The loss of a pair is `(D - Y)^2 - D Y`, the mean over all pairs of samples.
Only training samples are used.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), eqs. 14-16, and its released code.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.data.tasks.tasks import BalancedPairs, disjoint_image_sets
from spikebridge.hybrid import KWinners
from spikebridge.networks.modulation.config import BranchConfig, TrialSettings
from spikebridge.networks.modulation.model.gating import Backbone, Gating
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes, prototype_features
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.training.continual.xdg import RandomGates
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.rng import derive_seed
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings

_NUM_PASSES = 6  # over the pairs
_NUM_SAMPLES = 8  # of each task of a pair
_NUM_PROJECTIONS = 64
_SLOPE = 5.0  # of the sigmoid
_FLOOR_WEIGHT = 10.0  # a mean signal below the share of open neurons costs more than dissimilar signals

Signals: TypeAlias = Float[Tensor, "P n C"]
"""Signals of C neurons for n samples of each of P tasks."""


def make_gating(
    settings: TrialSettings, sequence: TaskSequence, run: Run | None = None, quiet: bool = True
) -> tuple[Gating, dict[str, Any]]:
    """The trained units, and notes on their training."""
    gating = build_gating(settings.config.network, sequence.train.inputs.shape[-1])
    initialise_gating(gating, settings.seed, sequence)
    notes = train_gating(gating, settings, sequence, run, quiet)

    return gating.eval(), notes


def build_gating(network: BranchConfig, num_inputs: int) -> Gating:
    """The backbone and units, not yet initialised."""
    backbone = Backbone(num_inputs, (network.num_hidden, network.num_hidden), scale=_SLOPE)
    return Gating(backbone, [KWinners(network.rho), KWinners(network.rho)])


def initialise_gating(gating: Gating, seed: int, sequence: TaskSequence) -> Gating:
    """Draws the weights of the backbone, and centres it on the training samples."""
    gating.backbone.initialise(torch.Generator().manual_seed(derive_seed(seed, 1)))
    gating.backbone.fit_mean(sequence.train.inputs.unsqueeze(0))

    return gating


def input_projection(sequence: TaskSequence, seed: int) -> Gating:
    """A fixed random projection of the input to 64 values: infers the task if no unit makes the gates."""
    gating = build_gating(BranchConfig(_NUM_PROJECTIONS // 2), sequence.train.inputs.shape[-1])
    return initialise_gating(gating, seed, sequence)


class PairBatch(NamedTuple):
    """P pairs of tasks: n samples of both tasks, and the similarity of the two tasks."""

    first: Float[Tensor, "P n d"]
    second: Float[Tensor, "P n d"]
    similarity: Float[Tensor, " P"]


class TaskPairDataset:
    """Pairs of the tasks that the backbone is trained on, with samples of both tasks."""

    def __init__(self, sequence: TaskSequence, num_pairs: int, generator: torch.Generator) -> None:
        # all is drawn here, so that a resumed training has the same pairs
        self.tasks = sequence.all_tasks
        self.inputs = sequence.train.inputs
        balanced = BalancedPairs(sequence.split.backbone, self.tasks.group, 0.5)
        self.pairs = balanced.draw(num_pairs, generator)
        self.share_in_group = balanced.share_in_group(self.pairs)

        # the two tasks of a pair have no sample in common
        drawn = [disjoint_image_sets(len(self.inputs), _NUM_SAMPLES, generator) for _ in range(num_pairs)]
        self.samples = [torch.stack([sets[side] for sets in drawn]) for side in (0, 1)]

    def __len__(self) -> int:
        return len(self.pairs.first)

    def select(self, indices: Int64[Tensor, " P"]) -> PairBatch:
        """The pairs of these numbers as one batch."""
        first, second = (tasks[indices] for tasks in self.pairs)
        sides = [self._permuted(tasks, self.samples[side][indices]) for side, tasks in enumerate((first, second))]
        return PairBatch(sides[0], sides[1], self.tasks.similarity[first, second])

    def _permuted(self, tasks: Tensor, samples: Tensor) -> Tensor:
        inputs = self.inputs[samples].float()
        return inputs.gather(2, self.tasks.permutations[tasks].unsqueeze(1).expand_as(inputs))


def cosines(first: Float[Tensor, "P n C"], second: Float[Tensor, "P m C"]) -> Float[Tensor, "P n m"]:
    """The cosine of every sample of one task with every sample of the other."""
    unit = [v / v.norm(dim=-1, keepdim=True).clamp(min=1e-12) for v in (first, second)]
    return unit[0] @ unit[1].transpose(-1, -2)


def dissimilarity_loss(cosine: Float[Tensor, "P n n"], similarity: Float[Tensor, " P"]) -> Tensor:
    """`(D - Y)^2 - D Y` with D = 1 - S_V and Y = 1 - S, the objective of the released code.

    Example:
        >>> dissimilarity_loss(torch.full((1, 1, 1), 0.25), torch.tensor([0.5])).item()  # 1/16 - 3/8
        -0.3125
    """
    dissimilarity = 1 - cosine
    target = (1 - similarity)[:, None, None]

    return ((dissimilarity - target).square() - target * dissimilarity).mean()


def density_floor_loss(signals: Sequence[Float[Tensor, "P n _"]], rho: float) -> Tensor:
    """The penalty of a mean signal below a minimum, `max(rho - mean V, 0)`, summed over layers."""
    return torch.stack([(rho - v.mean()).clamp(min=0) for v in signals]).sum()


def _pair_loss(gating: Any, batch: PairBatch, *, rho: float) -> Tensor:
    """The difference between the similarity of signals and that of their tasks, with a floor of the density."""
    backbone: Backbone = gating.backbone
    first, second = (backbone.signals(backbone.preactivations(side)) for side in (batch.first, batch.second))
    layers = list(zip(first, second, strict=True))
    losses = [dissimilarity_loss(cosines(a, b), batch.similarity) for a, b in layers]

    return torch.stack(losses).sum() + _FLOOR_WEIGHT * density_floor_loss([torch.cat(pair) for pair in layers], rho)


def train_gating(
    gating: Gating,
    settings: TrialSettings,
    sequence: TaskSequence,
    run: Run | None,
    quiet: bool,
    loss: Callable[..., Tensor] = _pair_loss,
) -> dict[str, Any]:
    """Trains the units of a method on pairs of tasks; returns the share of pairs in one group, and the last loss."""
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, 2))
    pairs = TaskPairDataset(sequence, settings.config.units.num_pairs, generator)

    phase = Phase(
        "units",
        train=WHOLE,
        objective=partial(loss, rho=settings.config.network.rho),
        epochs=_NUM_PASSES,
        optimizer=partial(torch.optim.Adam, lr=settings.config.units.lr),
        scheduler=partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[_NUM_PASSES - 1], gamma=0.1),
    )
    loop = Settings(seed=settings.seed, batch_size=16, accelerator="cpu", quiet=quiet)
    rows = fit(gating, [phase], pairs, settings=loop, run=run)

    return {"share of pairs in one group": pairs.share_in_group, "loss of the units": rows[-1]["loss"]}


def task_gates(settings: TrialSettings, sequence: TaskSequence, gating: Gating | None) -> list[Tensor] | None:
    """The gates of all tasks, `(K, C)` a layer; None for a method without gates."""
    network = settings.config.network
    if not settings.method.is_gated:
        return None
    if gating is not None:
        return gating.gates(task_preactivations(gating, sequence), num_samples=1)

    random_gates = RandomGates((network.num_hidden, network.num_hidden), network.rho, derive_seed(settings.seed, 3))
    rows = [random_gates(number) for number in sequence.numbers]

    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


def task_preactivations(gating: Gating, sequence: TaskSequence) -> list[Tensor]:
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
