"""Leaky sums over a whole sequence, with gradients: the scheme of a neuron that never fires."""

from contextlib import nullcontext
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.ops.filters.fir import last_response, powers
from spikebridge.ops.filters.one_pass import last_of_sums, sums_of, wants_gradients
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.selection import SINGLE, is_native, runs_in_one_pass, supports_one_pass
from spikebridge.ops.sequence.autograd import refuse_unusual_backward, run_sequence
from spikebridge.ops.sequence.layout import groups_of
from spikebridge.ops.sequence.spec import NeuronMemory, NeuronParams, NeuronSpec, Value
from spikebridge.ops.sequence.tiling import in_block, is_number, time_blocks
from spikebridge.ops.switches import without_native

# 1 at steps before which there is nothing, else 0: of all samples as bytes, where sums run in one pass; or of each
Restarts: TypeAlias = bytes | Float[Tensor, "T #B ..."]
_SMALL_SUM = 2**19  # numbers; below it PyTorch's own sum begins sooner


def leaky_sum(
    x: Float[Tensor, "T B *N"],
    start: Float[Tensor, "B ..."] | None,
    decay: Value = 1.0,
    restarts: Restarts | None = None,
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """`h[t] = decay h[t - 1] + x[t]`, to the bit as step by step.

    Args:
        x: the signal, T >= 1, for which `supports_sequence`.
        start: the sum before the first step, which may have 1 for each axis of neurons; None for nothing.
        decay: what is left of it after a step, 0 to 1.
        restarts: where it starts from zero; None for no reset.

    Returns:
        The sums, and the last one in memory of its own.

    Example:
        >>> import torch
        >>> sums, last = leaky_sum(torch.ones(3, 1, 1), torch.zeros(1, 1), decay=0.5)
        >>> sums.flatten().tolist(), last.item()
        ([1.0, 1.5, 1.75], 1.75)
    """
    if isinstance(restarts, bytes) or (restarts is None and runs_in_one_pass(x, decay)):
        return sums_of(x, start, decay, restarts)
    start = torch.zeros_like(x[0]) if start is None else start.expand(x.shape[1:])
    if restarts is not None and _is_plain(x, start, decay):
        sums = _sum_of_stretches(x, start, decay, restarts)
        return sums, sums[-1].clone()
    # in C a decay of its own for every step and neuron would be spread over the batch first
    spread = restarts is not None and isinstance(decay, Tensor) and decay.ndim > 0 and x.shape[1] > 1
    with without_native() if spread else nullcontext():
        sums, end = run_sequence(NeuronSpec(), x, NeuronMemory(start), NeuronParams(_left(decay, restarts)))
    return sums, end.v


def last_sum(x: Float[Tensor, "T B *N"], decay: Value = 1.0) -> Float[Tensor, "B *N"]:
    """The leaky sum of a signal after its last step, from nothing before the first: no other is ever in memory.

    Args:
        x: the signal, T >= 1, for which `supports_sequence`.
        decay: what is left of the sum after a step; a number, or a tensor `()` or `(*N)`.

    Example:
        >>> import torch
        >>> last_sum(torch.ones(3, 1, 1), decay=0.5).item()
        1.75
    """
    if is_number(decay, 1) and (x.numel() < _SMALL_SUM or wants_gradients(x)):
        return x.sum(0)
    if supports_one_pass(x, decay):
        return last_of_sums(x, decay)
    return x.sum(0) if is_number(decay, 1) else last_response(x, powers(decay, x)[1])


def sum_of_sums(
    x: Float[Tensor, "T B *N"],
    inner: Float[Tensor, "B *N"],
    outer: Float[Tensor, "B *N"],
    decay: Value,
    restarts: Float[Tensor, "T #B ..."] | None = None,
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"], Float[Tensor, "B *N"]]:
    """A leaky sum of a leaky sum in one pass: `f[t] = decay f[t - 1] + x[t]`, `z[t] = decay z[t - 1] + f[t]`.

    Args:
        x: the signal, T >= 1, for which `supports_sequence`.
        inner: `f` before the first step.
        outer: `z` before the first step.
        decay: what is left of each after a step.
        restarts: where both start from zero; None for no reset.

    Returns:
        `z` at all steps, and the last `f` and `z`.

    Example:
        >>> import torch
        >>> z, *_ = sum_of_sums(torch.ones(3, 1, 1), torch.zeros(1, 1), torch.zeros(1, 1), decay=1.0)
        >>> z.flatten().tolist()  # of 1, 2, 3
        [1.0, 3.0, 6.0]
    """
    if restarts is not None and _is_plain(x, inner, decay):
        f = _sum_of_stretches(x, inner, decay, restarts)
        z = _sum_of_stretches(f, outer, decay, restarts)
        return z, f[-1].clone(), z[-1].clone()
    left = _left(decay, restarts)
    z, end = run_sequence(NeuronSpec(), x, NeuronMemory(outer, inner), NeuronParams(left, decay_syn=left))
    return z, end.i if end.i is not None else inner, end.v


def one_step_late(
    sums: Float[Tensor, "T B *N"], before: Float[Tensor, "B *N"], decay: Value, factor: float
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """`decay factor sums[t - 1]`, and the last of `decay sums[t - 1]`.

    Args:
        sums: at all steps.
        before: the one before the first step.
        decay: a number, or a tensor without gradient, which may have a time.
        factor: for all steps.

    Example:
        >>> sums, before = torch.tensor([4.0, 6.0]).reshape(2, 1, 1), torch.tensor([[2.0]])
        >>> y, last = one_step_late(sums, before, decay=0.5, factor=10.0)
        >>> y.flatten().tolist(), last.item()
        ([10.0, 20.0], 2.0)
    """
    late: tuple[Tensor, Tensor] = _OneStepLate.apply(sums, before, decay, factor)
    return late


def _left(decay: Value, restarts: Tensor | None) -> Value:
    return decay if restarts is None else decay * (1 - restarts)


def _is_plain(x: Tensor, start: Tensor, decay: Value) -> bool:
    """Whether a sum with resets runs in PyTorch without gradients, where a loop of few operations is fastest."""
    if x.dtype not in SINGLE or x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if wants_gradients(x, start, decay):
        return False
    return not is_native(x) or (isinstance(decay, Tensor) and decay.ndim > 0 and x.shape[1] > 1)


def _sum_of_stretches(x: Tensor, start: Tensor, decay: Value, restarts: Tensor) -> Tensor:
    sums, before, left = pool_empty(x.shape, x), start, torch.empty_like(start)
    factor, decays = (1.0, decay) if isinstance(decay, Tensor) else (decay, None)
    for x_t, row, flag in zip(x.unbind(0), sums.unbind(0), (1 - restarts).unbind(0), strict=True):
        if decays is not None:
            before = torch.mul(before, decays, out=left)
        # the flag is 0 or 1, so that nothing is lost where product and sum are one operation
        before = torch.addcmul(x_t, before, flag, value=factor, out=row)
    return sums


class _OneStepLate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: Tensor, before: Tensor, decay: Value, factor: float) -> tuple[Tensor, Tensor]:
        ctx.decay, ctx.factor, ctx.shape = decay, factor, sums.shape
        ctx.set_materialize_grads(False)
        y = groups_of(sums).pool_empty(sums, sums)
        torch.mul(before, _at(decay, 0, sums), out=y[0]).mul_(factor)
        for block in time_blocks(sums):
            late = slice(max(block.start, 1), block.stop)
            found = sums[late.start - 1 : late.stop - 1]
            torch.mul(found, in_block(decay, late, sums), out=y[late]).mul_(factor)
        return y, (sums[-2] if len(sums) > 1 else before) * _at(decay, len(sums) - 1, sums)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a kernel", grad, grad_last)
        some = grad if grad is not None else grad_last
        if some is None:
            return None, None, None, None
        decay = ctx.decay
        grad_sums = pool_empty(ctx.shape, some) if grad is None else groups_of(grad).pool_empty(grad, grad)
        before = some.new_zeros(ctx.shape[1:])
        if grad is None:
            grad_sums.zero_()
        else:
            for block in time_blocks(grad):
                late = slice(max(block.start, 1), block.stop)
                found = grad_sums[late.start - 1 : late.stop - 1]
                torch.mul(grad[late], in_block(decay, late, grad), out=found).mul_(ctx.factor)
            grad_sums[-1] = 0
            before = grad[0] * _at(decay, 0, grad_sums) * ctx.factor
        if grad_last is not None:
            place = grad_sums[-2] if len(grad_sums) > 1 else before
            place += grad_last * _at(decay, len(grad_sums) - 1, grad_sums)
        return grad_sums, before, None, None


def _at(decay: Value, t: int, x: Tensor) -> Tensor:
    """A decay at one step."""
    row = in_block(decay, slice(t, t + 1), x)
    return row[0] if row.ndim == x.ndim else row
