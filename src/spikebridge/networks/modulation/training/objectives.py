"""The objectives of the backbone's units, and the pairs of tasks that they are trained on.

Similar tasks get similar signals. S is the similarity of two tasks, S_V the cosine of the signals of two samples, one
of each task; a loss is the mean over all pairs of samples, for P pairs of tasks at once.

| objective | loss of a pair | minimum of a free pair |
|---|---|---|
| `similarity` (as printed) | `(S_V - S)^2 - weight S S_V` | `S_V = min(1, (1 + weight / 2) S)`: one gate a group |
| `dissimilarity` (released code) | `(D - Y)^2 - weight D Y`, D = 1 - S_V, Y = 1 - S | graded gates |

Source: R. Zhao et al., Nature Communications 13:3427 (2022), eqs. 14-16, its released code, and CH-HNN for bins.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from spikebridge.data.tasks.permuted import GroupedPermutations
from spikebridge.data.tasks.tasks import BalancedPairs, disjoint_image_sets
from spikebridge.errors import ConfigError, ShapeError

Pairs: TypeAlias = Float[Tensor, "P n C"]
"""P pairs of tasks, n samples, signals of C neurons."""


def cosines(first: Pairs, second: Pairs) -> Float[Tensor, "P n n"]:
    """The cosine of every sample of one task with every sample of the other.

    Example:
        >>> cosines(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[3.0, 4.0]]])).item()  # 3 / 5
        0.6...
    """
    unit = [v / v.norm(dim=-1, keepdim=True).clamp(min=1e-12) for v in (first, second)]
    return unit[0] @ unit[1].transpose(-1, -2)


def _similarity_loss(cosine: Float[Tensor, "P n n"], target: Float[Tensor, " P"], weight: float = 1.0) -> Tensor:
    """`(S_V - S)^2 - weight S S_V`, the printed objective.

    Example:
        >>> _similarity_loss(torch.full((1, 1, 1), 0.75), torch.tensor([0.5]), weight=1.0).item()  # 1/16 - 3/8
        -0.3125
    """
    target = target[:, None, None]
    return ((cosine - target).square() - weight * target * cosine).mean()


def _dissimilarity_loss(cosine: Float[Tensor, "P n n"], target: Float[Tensor, " P"], weight: float = 1.0) -> Tensor:
    """`(D - Y)^2 - weight D Y` with D = 1 - S_V and Y = 1 - S, the released code's objective.

    Example:
        >>> _dissimilarity_loss(torch.full((1, 1, 1), 0.25), torch.tensor([0.5]), weight=1.0).item()  # 1/16 - 3/8
        -0.3125
    """
    return _similarity_loss(1 - cosine, 1 - target, weight)


OBJECTIVES: dict[str, Callable[..., Tensor]] = {"similarity": _similarity_loss, "dissimilarity": _dissimilarity_loss}


def density_floor_loss(signals: Sequence[Float[Tensor, "P n _"]], rho: float) -> Tensor:
    """The penalty of a mean signal below a minimum, `max(rho - mean V, 0)`, summed over layers.

    Example:
        >>> round(density_floor_loss([torch.full((1, 1, 4), 0.1)], rho=0.3).item(), 4)
        0.2
    """
    return torch.stack([(rho - v.mean()).clamp(min=0) for v in signals]).sum()


def bin_loss(
    first: Sequence[Float[Tensor, "P n _ b"]],
    second: Sequence[Float[Tensor, "P n _ b"]],
    target: Float[Tensor, " P"],
    use_weight: float = 0.05,
) -> Tensor:
    """Every bin follows the similarity, and bins are used evenly: the worst layer of `mean |D_bin - Y|^4` and of use.

    Args:
        first, second: softmax over b bins, one tensor a hidden layer.
        target: S of each pair of tasks.
        use_weight: of `max |use of a bin - 1 / b|`.

    Returns:
        the loss.

    Example:
        >>> one = [torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])]
        >>> bin_loss(one, one, torch.tensor([1.0])).item()  # equal samples, each bin used by half of the neurons
        0.0
    """
    wanted = (1 - target)[:, None, None]
    apart = []
    uneven = []

    for a, b in zip(first, second, strict=True):
        num_bins = a.shape[-1]
        away = [((1 - cosines(a[..., k], b[..., k])) - wanted).pow(4).mean() for k in range(num_bins)]
        apart.append(torch.stack(away).mean())
        use = torch.cat([a, b]).mean((0, 1, 2))
        uneven.append((use - 1 / num_bins).abs().max())

    return torch.stack(apart).max() + use_weight * torch.stack(uneven).max()


class PairBatch(NamedTuple):
    """P pairs of tasks: time-means of n samples on each side, and the similarity of the two tasks."""

    first: Float[Tensor, "P n d"]
    second: Float[Tensor, "P n d"]
    similarity: Float[Tensor, " P"]


class TaskPairDataset:
    """Pairs of tasks with samples of both, all drawn at construction, so that a resumed training sees the same ones.

    Args:
        tasks: all permutations.
        allowed: the tasks that the backbone is trained on.
        means: time-means of training samples `(N, d)`, not permuted.
        num_pairs: to draw.
        num_samples: samples n on each side; the two sides have none in common.
        same_group: share of pairs of one group; half of these are one task twice.
        generator: draws all of it.

    Attributes:
        share_in_group: the share of pairs of one group that came out.

    Raises:
        ConfigError: no pair.
        ShapeError: samples and permutations of different length.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> tasks = GroupedPermutations(6, 8, generator=draw)
        >>> seen = torch.arange(8)
        >>> pairs = TaskPairDataset(tasks, seen, torch.rand(20, 6), num_pairs=10, num_samples=3, generator=draw)
        >>> batch = pairs.select(torch.tensor([0, 7]))
        >>> batch.first.shape, batch.similarity.shape
        (torch.Size([2, 3, 6]), torch.Size([2]))
    """

    def __init__(
        self,
        tasks: GroupedPermutations,
        allowed: Int64[Tensor, " A"],
        means: Shaped[Tensor, "N d"],
        num_pairs: int,
        num_samples: int = 8,
        same_group: float = 0.5,
        *,
        generator: torch.Generator,
    ) -> None:
        if num_pairs < 1:
            raise ConfigError(f"the backbone needs num_pairs of 1 or more, but got {num_pairs}")

        if means.ndim != 2 or means.shape[1] != tasks.num_features:
            raise ShapeError(
                f"the permutations have {tasks.num_features} features, but got means of shape {tuple(means.shape)}"
            )

        self.tasks = tasks
        self.means = means
        balanced = BalancedPairs(allowed, tasks.group, same_group)
        self.pairs = balanced.draw(num_pairs, generator)
        self.share_in_group = balanced.share_in_group(self.pairs)
        drawn = [disjoint_image_sets(len(means), num_samples, generator) for _ in range(num_pairs)]
        self.samples = [torch.stack([sets[side] for sets in drawn]) for side in (0, 1)]

    def __len__(self) -> int:
        return len(self.pairs.first)

    def select(self, indices: Int64[Tensor, " P"]) -> PairBatch:
        """The pairs of these numbers as one batch."""
        first, second = (tasks[indices] for tasks in self.pairs)
        sides = [self._permuted(tasks, self.samples[side][indices]) for side, tasks in enumerate((first, second))]
        return PairBatch(sides[0], sides[1], self.tasks.similarity[first, second])

    def _permuted(self, tasks: Tensor, samples: Tensor) -> Tensor:
        means = self.means[samples].float()
        return means.gather(2, self.tasks.permutations[tasks].unsqueeze(1).expand_as(means))
