"""The change of a whole sequence over some steps, with gradients: one difference, in memory that is used again."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.ops.native_layout import groups_of
from spikebridge.ops.sequence import refuse_second_derivative


def change(
    x: Float[Tensor, "T B *N"], last: Float[Tensor, "n B *N"], started: Bool[Tensor, " B"], lag: int | None = None
) -> Float[Tensor, "T B *N"]:
    """`x[t] - x[t - lag]`, or without a lag the change since the one step before.

    Args:
        x: the signal.
        last: the steps before the first, oldest first: as many as the lag, or one.
        started: which samples have such steps; for others their first value stands in.
        lag: steps to look back.

    Example:
        >>> x, last = torch.tensor([3.0, 5.0, 4.0]).reshape(3, 1, 1), torch.tensor([[[2.0]]])
        >>> change(x, last, torch.tensor([True]), lag=1).flatten().tolist()
        [1.0, 2.0, -1.0]
        >>> change(x, last, torch.tensor([False])).flatten().tolist()
        [0.0, 2.0, 1.0]
    """
    difference: Tensor = _Change.apply(x, last, started, lag)
    return difference


def steps_before(x_0: Float[Tensor, "B *N"], last: Float[Tensor, "n B *N"], started: Bool[Tensor, " B"]) -> Tensor:
    """The steps before the first, with the first value where there are none."""
    return torch.where(_beside(started, last), last, x_0)


class _Change(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, last: Tensor, started: Tensor, lag: int | None) -> Tensor:
        ctx.lag, ctx.num_before = lag, len(last)
        ctx.like = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
        ctx.save_for_backward(started)
        before = steps_before(x[0], last, started)
        y = groups_of(x).room_for(x, x)
        if lag is None:
            return torch.sub(x, before, out=y)
        torch.sub(x[:lag], before[: len(x)], out=y[:lag])
        if lag < len(x):
            torch.sub(x[lag:], x[:-lag], out=y[lag:])
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("a kernel")
        grad_x = groups_of(ctx.like).room_for(ctx.like, grad)
        grad_before = grad.new_zeros((ctx.num_before, *grad.shape[1:]))
        if ctx.lag is None:
            grad_x.copy_(grad)
            torch.sum(grad, 0, out=grad_before[0]).neg_()
        else:
            seen = max(0, len(grad) - ctx.lag)  # steps that a later one looks back on
            torch.neg(grad[: ctx.lag], out=grad_before[: len(grad)])
            torch.sub(grad[:seen], grad[len(grad) - seen :], out=grad_x[:seen])
            grad_x[seen:] = grad[seen:]
        (started,) = ctx.saved_tensors
        of_last = grad_before * _beside(started, grad_before)
        grad_x[0] += (grad_before - of_last).sum(0)
        return grad_x, of_last, None, None


def _beside(started: Tensor, steps: Tensor) -> Tensor:
    """Flags of samples beside steps `(n, B, *N)`."""
    return started.reshape(-1, *[1] * (steps.ndim - 2))
