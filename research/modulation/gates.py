"""Other ways to make gates: shared between similar tasks, drawn for each group, of bins, of other objectives.

Gates of similar tasks overlap by about two thirds, and only the overlap transfers. `share_gates` lets a task copy a
part of the gate of the most similar earlier task. Similarity is the cosine of the tasks' own gates; no group label is
used.

Sources: for bins CH-HNN (Q. Shi et al., Nature Communications, 2025); for `similarity` the printed objective of R. Zhao
et al., Nature Communications 13:3427 (2022), eqs. 14-16, whose minimum of a free pair is one gate for a group.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.hybrid import KWinners
from spikebridge.networks.modulation import Backbone, Gating
from spikebridge.networks.modulation.config import TrialSettings
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.networks.modulation.training.units import (
    PairBatch,
    build_gating,
    cosines,
    density_floor_loss,
    initialise_gating,
    task_preactivations,
    train_gating,
)
from spikebridge.training.continual.xdg import RandomGates
from spikebridge.training.rng import derive_seed
from spikebridge.training.run.run import Run

SHARE = 0.9  # of the open neurons that a task copies, chosen on tuning tasks
_SIMILAR = 0.3
_NUM_BINS = 10
_HIDDEN = 256  # ReLU units of the untrained backbone
_SLOPE = 5.0  # of the sigmoid
_FLOOR_WEIGHT = 10.0


def share_gates(
    own: Sequence[Bool[Tensor, "K _"]],
    preactivations: Sequence[Float[Tensor, "K _"]],
    share: float = SHARE,
    threshold: float = _SIMILAR,
) -> list[Bool[Tensor, "K _"]]:
    """Gates of the same density, each with a share of the gate of the most similar earlier task.

    The later task copies if the cosine of the own gates is above the threshold; that of unrelated gates is about their
    density.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"share, of the open neurons that are copied, should be from 0 to 1, but is {share}")

    directions = torch.cat([layer.float() for layer in own], 1)
    directions = directions / directions.norm(dim=1, keepdim=True).clamp(min=1)
    gates = [layer.clone() for layer in own]

    for task in range(1, len(directions)):
        cosine, nearest = (directions[:task] @ directions[task]).max(0)
        if cosine <= threshold:
            continue
        for layer, preactivation in zip(gates, preactivations, strict=True):
            layer[task] = _part_of(layer[nearest], preactivation[task], int(layer[task].sum()), share)

    return gates


def _part_of(other: Tensor, preactivation: Tensor, number: int, share: float) -> Tensor:
    """A gate of `number` neurons: a share of them the strongest of the other gate, the rest the strongest of all."""
    num_copied = min(round(share * number), int(other.sum()))
    gate = torch.zeros_like(other)
    gate[preactivation.masked_fill(~other, -torch.inf).topk(num_copied).indices] = True
    gate[preactivation.masked_fill(gate, -torch.inf).topk(number - num_copied).indices] = True

    return gate


def shared_gates(gating: Gating, sequence: TaskSequence, share: float = SHARE) -> list[Tensor]:
    """The gates of all tasks, `(K, C)` a layer, with shares of similar ones."""
    preactivations = task_preactivations(gating, sequence)
    return share_gates(gating.gates(preactivations, num_samples=1), preactivations, share)


def group_gates(settings: TrialSettings, sequence: TaskSequence) -> list[Tensor]:
    """A random gate for each group: the oracle, which needs the number of the group."""
    network = settings.config.network
    draw = RandomGates((network.num_hidden, network.num_hidden), network.rho, derive_seed(settings.seed, 3))
    rows = [draw(number) for number in sequence.group]

    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


def projection_gating(settings: TrialSettings, sequence: TaskSequence) -> Gating:
    """A fixed random projection: the units of the recipe before their training."""
    gating = build_gating(settings.config.network, sequence.train.inputs.shape[-1])
    return initialise_gating(gating, settings.seed, sequence).eval()


def untrained_gating(settings: TrialSettings, sequence: TaskSequence) -> Gating:
    """A random backbone with one ReLU layer."""
    network = settings.config.network
    sizes = (network.num_hidden, network.num_hidden)
    backbone = Backbone(sequence.train.inputs.shape[-1], sizes, hidden=(_HIDDEN,), scale=_SLOPE)
    gating = Gating(backbone, [KWinners(network.rho), KWinners(network.rho)])

    return initialise_gating(gating, settings.seed, sequence).eval()


def similarity_loss(cosine: Float[Tensor, "P n n"], similarity: Float[Tensor, " P"], weight: float = 1.0) -> Tensor:
    """`(S_V - S)^2 - weight S S_V`, with S the similarity of two tasks, and S_V the cosine of two signals."""
    target = similarity[:, None, None]
    return ((cosine - target).square() - weight * target * cosine).mean()


def _similarity_pair_loss(gating: Any, batch: PairBatch, *, rho: float) -> Tensor:
    backbone: Backbone = gating.backbone
    first, second = (backbone.signals(backbone.preactivations(side)) for side in (batch.first, batch.second))
    layers = list(zip(first, second, strict=True))
    losses = [similarity_loss(cosines(a, b), batch.similarity) for a, b in layers]

    return torch.stack(losses).sum() + _FLOOR_WEIGHT * density_floor_loss([torch.cat(pair) for pair in layers], rho)


def similarity_gating(settings: TrialSettings, sequence: TaskSequence, run: Run | None = None) -> Gating:
    """Units that are trained on the printed objective."""
    gating = build_gating(settings.config.network, sequence.train.inputs.shape[-1])
    initialise_gating(gating, settings.seed, sequence)
    train_gating(gating, settings, sequence, run, True, _similarity_pair_loss)

    return gating.eval()


class BinGating(Gating):
    """Each neuron has some bins, of which the strongest decides: an opening bin or a closing one.

    The preactivation of a neuron is its strongest opening bin minus its strongest closing bin.
    """

    def __init__(self, num_inputs: int, num_hidden: tuple[int, int], rho: float, num_bins: int = _NUM_BINS) -> None:
        # one open bin for nine closed ones gives about the density that k-winners then set exactly
        num_closed = num_bins - max(1, round(num_bins * rho))
        if not 0 < num_closed < num_bins:
            raise ConfigError(f"bins need an opening and a closing one, but {num_closed} of {num_bins} close")

        backbone = Backbone(num_inputs, [size * num_bins for size in num_hidden], scale=_SLOPE)
        super().__init__(backbone, [KWinners(rho), KWinners(rho)])
        self.num_bins = num_bins
        self.num_closed = num_closed

    def preactivations(self, x: Float[Tensor, "T B N"]) -> list[Float[Tensor, "B _"]]:
        return [self.score(preactivation) for preactivation in self.backbone(x)]

    def score(self, preactivation: Float[Tensor, "B M"]) -> Float[Tensor, "B C"]:
        """The strongest opening bin minus the strongest closing bin; above 0 the neuron is open."""
        grouped = preactivation.unflatten(-1, (-1, self.num_bins))
        closed = grouped[..., : self.num_closed]
        opened = grouped[..., self.num_closed :]

        return opened.amax(-1) - closed.amax(-1)

    def shares(self, mean: Float[Tensor, "P n N"], scale: float = 50.0) -> list[Float[Tensor, "P n C b"]]:
        """The softmax over the bins of each neuron."""
        grouped = [layer.unflatten(-1, (-1, self.num_bins)) for layer in self.backbone.preactivations(mean)]
        return [torch.softmax(scale * layer, -1) for layer in grouped]


def bin_loss(
    first: Sequence[Float[Tensor, "P n _ b"]],
    second: Sequence[Float[Tensor, "P n _ b"]],
    similarity: Float[Tensor, " P"],
    use_weight: float = 0.05,
) -> Tensor:
    """The worst layer of `mean |D_bin - Y|^4`, and the worst deviation from an even use of the bins."""
    target = (1 - similarity)[:, None, None]
    distances = []
    uneven = []

    for a, b in zip(first, second, strict=True):
        num_bins = a.shape[-1]
        errors = [((1 - cosines(a[..., k], b[..., k])) - target).pow(4).mean() for k in range(num_bins)]
        distances.append(torch.stack(errors).mean())
        use = torch.cat([a, b]).mean((0, 1, 2))
        uneven.append((use - 1 / num_bins).abs().max())

    return torch.stack(distances).max() + use_weight * torch.stack(uneven).max()


def _bin_pair_loss(gating: Any, batch: PairBatch, *, rho: float) -> Tensor:
    return bin_loss(gating.shares(batch.first), gating.shares(batch.second), batch.similarity)


def bin_gating(settings: TrialSettings, sequence: TaskSequence, run: Run | None = None) -> Gating:
    """Trained units of bins."""
    network = settings.config.network
    gating = BinGating(sequence.train.inputs.shape[-1], (network.num_hidden, network.num_hidden), network.rho)
    initialise_gating(gating, settings.seed, sequence)
    train_gating(gating, settings, sequence, run, True, _bin_pair_loss)

    return gating.eval()
