"""Class-incremental tasks: each task brings classes that no other task has.

The interface is that of `GroupedPermutations`. Two samples of one task have similarity 1; two tasks have 0, or the
cosine of the mean embeddings of their classes where embeddings are given.
"""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Generator, Tensor

from spikebridge.data.tasks.tasks import TaskSamples, TaskSplit, split_groups
from spikebridge.errors import ConfigError, ShapeError


class ClassSplits:
    """Disjoint sets of classes, one a task.

    Args:
        num_classes: of the data set.
        num_tasks: K; divides the number of classes.
        embeddings: `(num_classes, E)`, what is known about how alike classes are; None for nothing.
        generator: deals the classes out at random; None deals them out in order.

    Attributes:
        classes: `(K, C)`, int64, growing in each task.
        similarity: `(K, K)`, from 0 to 1.
        group: `(K,)`, int64: each task is its own group.

    Raises:
        ConfigError: a number of tasks that does not divide the classes.
        ShapeError: not one embedding a class.

    Example:
        >>> tasks = ClassSplits(num_classes=4, num_tasks=2)
        >>> tasks.classes.tolist(), tasks.similarity.tolist()
        ([[0, 1], [2, 3]], [[1.0, 0.0], [0.0, 1.0]])
    """

    def __init__(
        self,
        num_classes: int,
        num_tasks: int,
        embeddings: Float[Tensor, "num_classes E"] | None = None,
        generator: Generator | None = None,
    ) -> None:
        if num_tasks < 1 or num_classes < num_tasks or num_classes % num_tasks:
            raise ConfigError(f"num_tasks should divide the {num_classes} classes, but is {num_tasks}")

        order = torch.arange(num_classes) if generator is None else torch.randperm(num_classes, generator=generator)
        self.classes: Int64[Tensor, "K C"] = order.reshape(num_tasks, -1).sort(dim=1).values
        self.group: Int64[Tensor, " K"] = torch.arange(num_tasks)
        self.similarity: Float[Tensor, "K K"] = torch.eye(num_tasks)

        if embeddings is not None:
            self.similarity = self._cosines(embeddings)

    def __len__(self) -> int:
        return len(self.classes)

    def split(self, num_eval_tasks: int, seen_positions: tuple[int, ...] = ()) -> TaskSplit:
        """The last tasks apart from those before; none of them is seen, unless `seen_positions=(0,)` says that all are.

        Args:
            num_eval_tasks: number of last tasks, learnt one after the other.
            seen_positions: places in a group of one task.

        Raises:
            ConfigError: more tasks than there are, or a place other than 0.

        Example:
            >>> [index.tolist() for index in ClassSplits(6, 3).split(2)]
            [[0], [], [1, 2]]
        """
        return split_groups(self.group, 1, num_eval_tasks, seen_positions)

    def samples(
        self, task: int, inputs: Shaped[Tensor, "..."], labels: Int64[Tensor, " N"], batch_axis: int = 0
    ) -> TaskSamples:
        """The samples whose class is one of the task's; the labels stay what they are.

        Args:
            task: from 0.
            inputs: `(N, *shape)`, or `(T, N, *shape)` with `batch_axis=1`.
            labels: `(N,)`.
            batch_axis: the axis of the samples.

        Raises:
            ShapeError: not one label a sample.

        Example:
            >>> few = ClassSplits(4, 2).samples(1, torch.zeros(3, 5), torch.tensor([0, 3, 2]))
            >>> few.select(torch.tensor([0, 1])).labels.tolist()
            [3, 2]
        """
        subset = torch.isin(labels, self.classes[task].to(labels.device)).nonzero()[:, 0]
        return TaskSamples(inputs, labels, batch_axis, subset=subset)

    def _cosines(self, embeddings: Tensor) -> Tensor:
        if embeddings.shape[0] != self.classes.numel():
            raise ShapeError(f"{self.classes.numel()} classes need an embedding each, but got {len(embeddings)}")
        means = torch.nn.functional.normalize(embeddings[self.classes].mean(1), dim=1)
        similarity = (means @ means.T).clamp(0, 1)
        return similarity.fill_diagonal_(1)
