"""What the backbone is trained on: pairs of tasks, each with some training pictures as that task shows them."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from spikebridge.data.permutations import GroupedPermutations
from spikebridge.data.task_splits import BalancedPairs, two_sets_of_images
from spikebridge.errors import ConfigError, ShapeError


class PairBatch(NamedTuple):
    """P pairs of tasks: time-means of n pictures on each side, and how alike the two tasks are."""

    first: Float[Tensor, "P n d"]
    second: Float[Tensor, "P n d"]
    similarity: Float[Tensor, " P"]


class PairedPictures:
    """Pairs of tasks with pictures, all drawn beforehand: a stopped training goes on with the same ones.

    Args:
        tasks: all orders there are.
        allowed: those that the backbone may see.
        means: time-means of training pictures `(N, d)`, in no task's order.
        num_pairs: to draw.
        num_samples: pictures n on each side; the two sides share none.
        same_group: share of pairs of one group; half of these are one task twice.
        generator: draws all of it.

    Attributes:
        share_in_group: the share of pairs of one group that came out.

    Raises:
        ConfigError: no pair.
        ShapeError: pictures of another size than the orders.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> tasks = GroupedPermutations(6, 8, generator=draw)
        >>> seen = torch.arange(8)
        >>> pairs = PairedPictures(tasks, seen, torch.rand(20, 6), num_pairs=10, num_samples=3, generator=draw)
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
            raise ShapeError(f"the orders are of {tasks.num_features} features, but got means {tuple(means.shape)}")
        self.tasks, self.means = tasks, means
        balanced = BalancedPairs(allowed, tasks.group, same_group)
        self.pairs = balanced.draw(num_pairs, generator)
        self.share_in_group = balanced.share_in_group(self.pairs)
        drawn = [two_sets_of_images(len(means), num_samples, generator) for _ in range(num_pairs)]
        self.pictures = [torch.stack([sets[side] for sets in drawn]) for side in (0, 1)]

    def __len__(self) -> int:
        return len(self.pairs.first)

    def select(self, indices: Int64[Tensor, " P"]) -> PairBatch:
        """The pairs of these numbers as one batch."""
        first, second = (tasks[indices] for tasks in self.pairs)
        sides = [self._shown(tasks, self.pictures[side][indices]) for side, tasks in enumerate((first, second))]
        return PairBatch(sides[0], sides[1], self.tasks.similarity[first, second])

    def _shown(self, tasks: Tensor, pictures: Tensor) -> Tensor:
        shown = self.means[pictures].float()
        return shown.gather(2, self.tasks.permutations[tasks].unsqueeze(1).expand_as(shown))
