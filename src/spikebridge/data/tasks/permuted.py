"""Permuted tasks: each task permutes the features of one data set; tasks of a group have similar permutations.

The overlap of two permutations is the share of features at the same place: in a group about .85, .72, .61 for tasks 1,
2, 3 apart, between groups about 0. Labels do not change. A batch is permuted when it is drawn; no copy of the data is
made.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), eq. 16 and the released code.
"""

from jaxtyping import Float, Int64, Shaped
from torch import Generator, Tensor, arange, int64, isin, randint, randperm, stack, tensor

from spikebridge.data.tasks.tasks import TaskSamples, TaskSplit
from spikebridge.errors import ConfigError, ShapeError

# share of the features: the released code shuffles 300 to 399 of 2312
_MIN_WINDOW = 300 / 2312
_MAX_WINDOW = 399 / 2312


class GroupedPermutations:
    """Permutations of features, one a task, in groups of similar ones.

    The first order of each group is random. Every other one is the order before it with the entries of one window, of
    random length and place, shuffled.

    Args:
        num_features: length d of an input.
        num_tasks: number K of tasks.
        group_size: tasks in a group; the last group may have fewer.
        window: smallest and largest length of the window; without it .130 d and .173 d (those of the released code),
            at least 2.
        generator: draws the orders.

    Attributes:
        permutations: `(K, d)`, int64; task k sees `x[..., permutations[k]]`.
        similarity: `(K, K)`, the share of equal places of each two orders (eq. 16).
        group: `(K,)`, int64, the group of each task.

    Raises:
        ConfigError: no task, no feature, no group, or a window that no order has.

    Example:
        >>> import torch
        >>> tasks = GroupedPermutations(100, 6, group_size=3, generator=torch.Generator().manual_seed(0))
        >>> tasks.group.tolist()
        [0, 0, 0, 1, 1, 1]
        >>> [bool(tasks.similarity[0, k] > 0.5) for k in range(6)]
        [True, True, True, False, False, False]
    """

    def __init__(
        self,
        num_features: int,
        num_tasks: int,
        group_size: int = 4,
        window: tuple[int, int] | None = None,
        *,
        generator: Generator,
    ) -> None:
        minimum = {"num_features": (num_features, 2), "num_tasks": (num_tasks, 1), "group_size": (group_size, 1)}
        for name, (value, lowest) in minimum.items():
            if value < lowest:
                raise ConfigError(f"{name} should be at least {lowest}, but is {value}")

        low, high = _default_window(num_features) if window is None else window
        if not 1 <= low <= high <= num_features:
            raise ConfigError(f"window should be (min, max) of 1 to {num_features} features, but is ({low}, {high})")

        # each task of a group changes the order of the one before
        orders: list[Tensor] = []
        for task in range(num_tasks):
            if task % group_size == 0:
                orders.append(randperm(num_features, generator=generator))
            else:
                orders.append(_shuffled_window(orders[-1], low, high, generator))

        self.group_size = group_size
        self.window = (low, high)
        self.permutations: Int64[Tensor, "K d"] = stack(orders)
        self.group: Int64[Tensor, " K"] = arange(num_tasks) // group_size
        self.similarity: Float[Tensor, "K K"] = _overlaps(self.permutations)

    def __len__(self) -> int:
        return len(self.permutations)

    @property
    def num_features(self) -> int:
        """Length of an input."""
        return self.permutations.shape[1]

    def split(self, num_eval_groups: int, seen_positions: tuple[int, ...] = (1, 2)) -> TaskSplit:
        """Tasks that come before, and tasks that are learned one after the other, seen or unseen by the backbone.

        Args:
            num_eval_groups: number of last groups, whose tasks are learned one after the other.
            seen_positions: places in those groups, from 0, whose tasks the backbone sees too; `()` for none.

        Returns:
            Tasks of the groups before, and the seen and the unseen tasks of the last groups.

        Raises:
            ConfigError: more groups than there are, or a place that a group does not have.

        Example:
            >>> import torch
            >>> tasks = GroupedPermutations(10, 8, generator=torch.Generator())
            >>> [index.tolist() for index in tasks.split(num_eval_groups=1)]
            [[0, 1, 2, 3], [5, 6], [4, 7]]
        """
        num_groups = int(self.group[-1]) + 1
        if not 1 <= num_eval_groups <= num_groups:
            raise ConfigError(
                f"num_eval_groups should be from 1 to {num_groups} (all groups), but is {num_eval_groups}"
            )

        wrong = [position for position in seen_positions if not 0 <= position < self.group_size]
        if wrong:
            raise ConfigError(
                f"seen_positions should be from 0 to {self.group_size - 1} (places in a group), but has {wrong}"
            )

        learned = self.group >= num_groups - num_eval_groups
        position = arange(len(self.group)) % self.group_size
        seen = isin(position, tensor(seen_positions, dtype=int64))
        parts = (~learned, learned & seen, learned & ~seen)

        return TaskSplit(*(part.nonzero()[:, 0] for part in parts))

    def samples(
        self, task: int, inputs: Shaped[Tensor, "..."], labels: Int64[Tensor, " N"], batch_axis: int = 0
    ) -> TaskSamples:
        """The data set with the features in the order of one task.

        Args:
            task: number of the task, from 0.
            inputs: `(N, *shape)`, or `(T, N, *shape)` with `batch_axis=1`; the shape has d entries.
            labels: `(N,)`.
            batch_axis: the axis of the samples.

        Returns:
            Samples that are permuted when they are drawn; the tensors are shared, not copied.

        Raises:
            ShapeError: an input does not have d entries, or not one label a sample.
        """
        num_features = inputs.shape[batch_axis + 1 :].numel()
        if num_features != self.num_features:
            shape = tuple(inputs.shape[batch_axis + 1 :])
            raise ShapeError(
                f"the orders are of {self.num_features} features, but a sample of shape {shape} does not fit"
            )

        return TaskSamples(inputs, labels, batch_axis, order=self.permutations[task])

    def reshuffled(self, task: int, share: float, generator: Generator) -> Int64[Tensor, " d"]:
        """An order that was never learned, but is similar to a task's: a window of it is shuffled again (Fig. 3f).

        Args:
            task: number of the task, from 0.
            share: share of the features in the window, 0 to 1.
            generator: draws the place of the window and its new order.

        Raises:
            ConfigError: a share outside 0 to 1.

        Example:
            >>> import torch
            >>> tasks = GroupedPermutations(10, 1, generator=torch.Generator().manual_seed(0))
            >>> bool((tasks.reshuffled(0, 0.0, torch.Generator()) == tasks.permutations[0]).all())
            True
        """
        if not 0 <= share <= 1:
            raise ConfigError(f"share should be from 0 to 1, but is {share}")

        length = round(share * self.num_features)
        return _shuffled_window(self.permutations[task], length, length, generator)


def _default_window(num_features: int) -> tuple[int, int]:
    low, high = (max(2, round(share * num_features)) for share in (_MIN_WINDOW, _MAX_WINDOW))
    return low, high


def _shuffled_window(base: Tensor, low: int, high: int, generator: Generator) -> Tensor:
    length = int(randint(low, high + 1, (), generator=generator))
    start = int(randint(0, len(base) - length + 1, (), generator=generator))
    inside = base[start : start + length]
    order = base.clone()
    order[start : start + length] = inside[randperm(length, generator=generator)]

    return order


def _overlaps(orders: Tensor) -> Tensor:
    # row by row: all pairs at once would take K times K times d bytes
    return stack([(order == orders).float().mean(1) for order in orders])
