"""Parts of a sequence of tasks, pairs of tasks to compare, and samples of one task."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Generator, Tensor

from spikebridge.errors import ConfigError, ShapeError


class TaskSplit(NamedTuple):
    """Tasks by number: `prior` come before; `seen` and `unseen` are learned one after the other.

    The backbone sees images of prior and seen tasks, never of unseen ones.
    """

    prior: Int64[Tensor, " P"]
    seen: Int64[Tensor, " S"]
    unseen: Int64[Tensor, " U"]

    @property
    def learnt(self) -> Int64[Tensor, " L"]:
        """All tasks that are learned one after the other, in their order."""
        return torch.cat([self.seen, self.unseen]).sort().values

    @property
    def backbone(self) -> Int64[Tensor, " B"]:
        """All tasks that the backbone may see."""
        return torch.cat([self.prior, self.seen])


class TaskPairs(NamedTuple):
    """Pairs of tasks, by number."""

    first: Int64[Tensor, " P"]
    second: Int64[Tensor, " P"]


@dataclass(frozen=True)
class BalancedPairs:
    """A source of pairs of tasks in which similar ones are not rare: random tasks nearly never share a group.

    In half of the share `same_group` a pair is one task twice (to be shown with two sets of images), in the other half
    two tasks of one group. The other pairs are two tasks of different groups. If no group has two tasks, all of the
    share are one task twice; if there is one group alone, all others are two tasks of it as well.
    """

    # to draw from
    tasks: Int64[Tensor, " M"]
    # of every task
    group: Int64[Tensor, " K"]
    same_group: float = 0.5

    def __post_init__(self) -> None:
        if len(self.tasks) == 0:
            raise ConfigError("pairs need at least one task to draw from")
        if not 0 <= self.same_group <= 1:
            raise ConfigError(f"same_group is a share from 0 to 1, but is {self.same_group}")

    def draw(self, num_pairs: int, generator: Generator) -> TaskPairs:
        """Draws pairs of tasks."""
        group = self.group[self.tasks]
        same_group = group[:, None] == group
        same_task = torch.eye(len(group), dtype=torch.bool)
        mates = same_group & ~same_task
        others = ~same_group if (~same_group).any() else same_group
        kind = torch.rand(num_pairs, generator=generator)[:, None]

        # a first task is drawn from those that have a mate, so that the shares hold for groups of any size
        is_mate = (kind >= self.same_group / 2) & (kind < self.same_group) & mates.any()
        first = _choose(torch.where(is_mate, mates.any(1), True), generator)
        similar = torch.where(is_mate, mates[first], same_task[first])
        second = _choose(torch.where(kind < self.same_group, similar, others[first]), generator)

        return TaskPairs(self.tasks[first], self.tasks[second])

    def share_in_group(self, pairs: TaskPairs) -> float:
        """The share of pairs in one group, to be logged."""
        return float((self.group[pairs.first] == self.group[pairs.second]).float().mean())


def _choose(allowed: Bool[Tensor, "P M"], generator: Generator) -> Int64[Tensor, " P"]:
    """One allowed column for each row, all with the same chance."""
    return torch.multinomial(allowed.float(), 1, generator=generator)[:, 0]


def disjoint_image_sets(num_images: int, size: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Indices of two disjoint sets of images, one for each task of a pair."""
    if not 0 < size <= num_images // 2:
        raise ConfigError(f"two disjoint sets of {size} images need {2 * size}, but there are {num_images}")

    order = torch.randperm(num_images, generator=generator)
    return order[:size], order[size : 2 * size]


class LabelledBatch(NamedTuple):
    """Inputs `(B, d)` or `(T, B, d)`, as floating-point numbers, and labels `(B,)`."""

    x: Tensor
    labels: Int64[Tensor, " B"]


class TaskSamples:
    """The samples of one task: a data set with permuted features.

    The tensors are shared by all tasks; a batch is selected, permuted and made floating-point when it is drawn.

    Args:
        inputs: `(N, *shape)`, or `(T, N, *shape)` with `batch_axis=1`; integers (events in bytes) too.
        labels: `(N,)`.
        batch_axis: the axis of the samples, 0 or 1.
        order: `(d,)`, the place of the data set's feature for each feature of the task; None leaves them.

    Raises:
        ShapeError: not one label a sample, a batch axis that is not 0 or 1, or an order that is no permutation.

    Example:
        >>> import torch
        >>> samples = TaskSamples(torch.tensor([[1, 2], [3, 4]]), torch.tensor([0, 1]), order=torch.tensor([1, 0]))
        >>> samples.select(torch.tensor([1]))
        LabelledBatch(x=tensor([[4., 3.]]), labels=tensor([1]))
    """

    def __init__(
        self,
        inputs: Shaped[Tensor, "..."],
        labels: Int64[Tensor, " N"],
        batch_axis: int = 0,
        order: Int64[Tensor, " d"] | None = None,
    ) -> None:
        if batch_axis not in (0, 1) or inputs.ndim <= batch_axis or inputs.shape[batch_axis] != len(labels):
            shape = f"{len(labels)} labels, but batch_axis={batch_axis} and inputs of shape {tuple(inputs.shape)}"
            raise ShapeError(f"inputs need one sample a label along batch_axis 0 or 1: {shape}")

        size = inputs.shape[batch_axis + 1 :].numel()
        if order is not None and not torch.equal(order.cpu().sort().values, torch.arange(size)):
            raise ShapeError(
                f"order needs each of the {size} features of a sample once, as integers from 0 to {size - 1}, but got "
                f"{order.dtype} {tuple(order.shape)}"
            )

        self.inputs = inputs
        self.labels = labels
        self.batch_axis = batch_axis
        self.order = order

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Int64[Tensor, " B"]) -> LabelledBatch:
        """The samples of these numbers, in this order.

        Args:
            indices: `(B,)`, from 0 to `len(self) - 1`.
        """
        chosen = indices.to(self.inputs.device)
        x = self.inputs.index_select(self.batch_axis, chosen).flatten(self.batch_axis + 1)
        if self.order is not None:
            x = x.index_select(-1, self.order.to(x.device))

        return LabelledBatch(x if x.is_floating_point() else x.float(), self.labels[chosen.to(self.labels.device)])
