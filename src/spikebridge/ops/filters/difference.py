"""The change of a whole sequence over some steps, with gradients: one difference, in memory that is used again."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.ops.native.layout import Outline, groups_of
from spikebridge.ops.sequence.autograd import refuse_unusual_backward


class Before(NamedTuple):
    """Steps before a signal; samples that have none take their first value for them."""

    last: Float[Tensor, "n B *N"]  # oldest first
    started: Bool[Tensor, " B"]  # samples that have them

    def steps(self, x_0: Float[Tensor, "B *N"]) -> Float[Tensor, "n B *N"]:
        """The steps, or the first value `x_0` where there are none."""
        return torch.where(_expand(self.started, self.last), self.last, x_0)


def change(x: Float[Tensor, "T B *N"], lag: int | None = None, before: Before | None = None) -> Float[Tensor, "T B *N"]:
    """`x[t] - x[t - lag]` with as many steps before `x`; without a lag the change since the one step before."""
    difference: Tensor = _Change.apply(x, lag, *(before or (None, None)))
    return difference


class _Change(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lag: int | None, last: Tensor | None, started: Tensor | None) -> Tensor:
        ctx.lag = lag
        ctx.like = Outline.of(x)
        ctx.save_for_backward(started)
        before = x[:1] if last is None or started is None else Before(last, started).steps(x[0])
        y = groups_of(x).pool_empty(x, x)

        if lag is None:
            return torch.sub(x, before, out=y)

        torch.sub(x[:lag], before[: len(x)], out=y[:lag])
        if lag < len(x):
            torch.sub(x[lag:], x[:-lag], out=y[lag:])

        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a kernel")
        grad_x = ctx.like.groups.pool_empty(ctx.like, grad)
        lag = ctx.lag
        if lag is None:
            grad_x.copy_(grad)
            grad_before = -grad.sum(0, keepdim=True)
        else:
            num_read = max(0, len(grad) - lag)  # steps that a later one looks back on
            torch.sub(grad[:num_read], grad[len(grad) - num_read :], out=grad_x[:num_read])
            grad_x[num_read:] = grad[num_read:]
            grad_before = -grad[:lag]

        (started,) = ctx.saved_tensors
        if started is None:
            grad_x[0] += grad_before.sum(0)
            return grad_x, None, None, None

        # the first value stood in where a sample had no steps before
        flags = _expand(started, grad_before)
        grad_last = grad.new_zeros((lag or 1, *grad.shape[1:]))
        grad_last[: len(grad_before)] = grad_before.masked_fill(~flags, 0)
        grad_x[0] += grad_before.masked_fill(flags, 0).sum(0)

        return grad_x, None, grad_last, None


def _expand(started: Tensor, steps: Tensor) -> Tensor:
    return started.reshape(-1, *[1] * (steps.ndim - 2))
