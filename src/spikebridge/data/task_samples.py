"""Samples of one task out of a data set that all tasks share."""

from typing import NamedTuple

from jaxtyping import Int64, Shaped
from torch import Tensor

from spikebridge.errors import ShapeError


class LabelledBatch(NamedTuple):
    """Inputs `(B, d)` or `(T, B, d)`, as floating-point numbers, and labels `(B,)`."""

    x: Tensor
    labels: Int64[Tensor, " B"]


class TaskSamples:
    """A data set as one task sees it: some of the samples, their features in the task's order.

    The tensors are shared by all tasks; a batch is cut out, put in order and made floating-point when it is drawn.

    Args:
        inputs: `(N, *shape)`, or `(T, N, *shape)` with `batch_axis=1`; whole numbers (events in bytes) too.
        labels: `(N,)`.
        batch_axis: the axis of the samples, 0 or 1.
        order: `(d,)`, where each feature of the flattened shape comes from; None leaves them.
        subset: numbers of the samples that belong to the task; None for all.

    Raises:
        ShapeError: not one label a sample, or a batch axis that is not 0 or 1.

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
        subset: Int64[Tensor, " M"] | None = None,
    ) -> None:
        if batch_axis not in (0, 1) or inputs.ndim <= batch_axis or inputs.shape[batch_axis] != len(labels):
            raise ShapeError(
                f"inputs need one sample a label along batch_axis 0 or 1: {len(labels)} labels, "
                f"but batch_axis={batch_axis} and inputs of shape {tuple(inputs.shape)}"
            )
        self.inputs = inputs
        self.labels = labels
        self.batch_axis = batch_axis
        self.order = order
        self.subset = subset

    def __len__(self) -> int:
        return len(self.labels if self.subset is None else self.subset)

    def select(self, indices: Int64[Tensor, " B"]) -> LabelledBatch:
        """The samples of these numbers, in this order.

        Args:
            indices: `(B,)`, from 0 to `len(self) - 1`.
        """
        chosen = indices if self.subset is None else self.subset[indices]
        chosen = chosen.to(self.inputs.device)
        x = self.inputs.index_select(self.batch_axis, chosen).flatten(self.batch_axis + 1)
        if self.order is not None:
            x = x.index_select(-1, self.order.to(x.device))
        return LabelledBatch(x if x.is_floating_point() else x.float(), self.labels[chosen.to(self.labels.device)])
