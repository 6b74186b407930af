"""Leaky sums of a whole sequence, and sums of them, with gradients.

A leaky sum is a neuron that never fires. In plain C, where it takes the numbers (`runs_in_one_pass`), a signal is read
and written once instead: see `one_pass.py`.
"""

from contextlib import nullcontext
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.ops.filters.fir import last_response, powers
from spikebridge.ops.filters.one_pass import one_pass_last, one_pass_sums, wants_gradients
from spikebridge.ops.native.layout import groups_of
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.selection import SINGLE, is_native, runs_in_one_pass, supports_one_pass, without_native
from spikebridge.ops.sequence.autograd import refuse_unusual_backward, run_sequence
from spikebridge.ops.sequence.spec import NeuronMemory, NeuronParams, NeuronSpec, Value
from spikebridge.ops.sequence.tiling import slice_time, time_blocks

# 1 at steps before which there is nothing, else 0: of all samples as bytes, where sums run in one pass; or of each
Resets: TypeAlias = bytes | Float[Tensor, "T #B ..."]
_SMALL_SUM = 2**19  # numbers; below it PyTorch's own sum begins sooner


def leaky_sum(
    x: Float[Tensor, "T B *N"],
    start: Float[Tensor, "B ..."] | None,
    decay: Value = 1.0,
    resets: Resets | None = None,
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """`h[t] = decay h[t - 1] + x[t]` for T >= 1, to the bit as step by step, and the last sum in memory of its own."""
    if isinstance(resets, bytes) or (resets is None and runs_in_one_pass(x, decay)):
        return one_pass_sums(x, start, decay, resets)

    start = torch.zeros_like(x[0]) if start is None else start.expand(x.shape[1:])
    if resets is not None and _loops_over_resets(x, start, decay):
        sums = _sum_with_resets(x, start, decay, resets)
        return sums, sums[-1].clone()

    # in C a decay of its own for every step and neuron would be expanded over the batch first
    expands = resets is not None and isinstance(decay, Tensor) and decay.ndim > 0 and x.shape[1] > 1
    with without_native() if expands else nullcontext():
        values = NeuronParams(_decay_with_resets(decay, resets))
        sums, end = run_sequence(NeuronSpec(), x, NeuronMemory(start), values)

    return sums, end.v


def last_sum(x: Float[Tensor, "T B *N"], decay: Value = 1.0) -> Float[Tensor, "B *N"]:
    """The leaky sum after the last step, from nothing before the first: no other sum is ever in memory."""
    keeps_all = not isinstance(decay, Tensor) and decay == 1
    if keeps_all and (x.numel() < _SMALL_SUM or wants_gradients(x)):
        return x.sum(0)
    if supports_one_pass(x, decay):
        return one_pass_last(x, decay)

    return x.sum(0) if keeps_all else last_response(x, powers(decay, x)[1])


def sum_of_sums(
    x: Float[Tensor, "T B *N"],
    inner: Float[Tensor, "B *N"],
    outer: Float[Tensor, "B *N"],
    decay: Value,
    resets: Float[Tensor, "T #B ..."] | None = None,
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"], Float[Tensor, "B *N"]]:
    """The sums `f` of `x` and `z` of `f` from `inner` and `outer` on: `z` at all steps, and the last `f` and `z`."""
    if resets is not None and _loops_over_resets(x, inner, decay):
        f = _sum_with_resets(x, inner, decay, resets)
        z = _sum_with_resets(f, outer, decay, resets)
        return z, f[-1].clone(), z[-1].clone()

    # the inner sum is a synaptic current, the outer one the membrane
    left = _decay_with_resets(decay, resets)
    z, end = run_sequence(NeuronSpec(), x, NeuronMemory(outer, inner), NeuronParams(left, decay_syn=left))

    return z, end.i if end.i is not None else inner, end.v


def one_step_late(
    sums: Float[Tensor, "T B *N"], before: Float[Tensor, "B *N"], decay: Value, factor: float
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """`decay factor sums[t - 1]`, with `before` as the sum before the first, and the last of `decay sums[t - 1]`."""
    late: tuple[Tensor, Tensor] = _OneStepLate.apply(sums, before, decay, factor)
    return late


def _decay_with_resets(decay: Value, resets: Tensor | None) -> Value:
    return decay if resets is None else decay * (1 - resets)


def _loops_over_resets(x: Tensor, start: Tensor, decay: Value) -> bool:
    """True if a sum with resets is fastest as a loop of few operations in PyTorch, on a CPU and without gradients."""
    if x.dtype not in SINGLE or x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if wants_gradients(x, start, decay):
        return False

    return not is_native(x) or (isinstance(decay, Tensor) and decay.ndim > 0 and x.shape[1] > 1)


def _sum_with_resets(x: Tensor, start: Tensor, decay: Value, resets: Tensor) -> Tensor:
    sums = pool_empty(x.shape, x)
    decayed = torch.empty_like(start)
    before = start
    factor = 1.0 if isinstance(decay, Tensor) else decay

    for x_t, row, flag in zip(x.unbind(0), sums.unbind(0), (1 - resets).unbind(0), strict=True):
        if isinstance(decay, Tensor):
            before = torch.mul(before, decay, out=decayed)
        # the flag is 0 or 1, so that nothing is lost where product and sum are one operation
        before = torch.addcmul(x_t, before, flag, value=factor, out=row)

    return sums


class _OneStepLate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: Tensor, before: Tensor, decay: Value, factor: float) -> tuple[Tensor, Tensor]:
        ctx.decay = decay
        ctx.factor = factor
        ctx.shape = sums.shape
        ctx.set_materialize_grads(False)
        y = groups_of(sums).pool_empty(sums, sums)
        torch.mul(before, _decay_at(decay, 0, sums), out=y[0]).mul_(factor)

        for late, earlier in _blocks_and_earlier(sums):
            torch.mul(sums[earlier], slice_time(decay, late, sums), out=y[late]).mul_(factor)

        last = sums[-2] if len(sums) > 1 else before
        return y, last * _decay_at(decay, len(sums) - 1, sums)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a kernel", grad, grad_last)
        like = grad if grad is not None else grad_last
        if like is None:
            return None, None, None, None

        decay = ctx.decay
        grad_before = like.new_zeros(ctx.shape[1:])
        if grad is None:
            grad_sums = pool_empty(ctx.shape, like).zero_()
        else:
            grad_sums = groups_of(grad).pool_empty(grad, grad)
            for late, earlier in _blocks_and_earlier(grad):
                torch.mul(grad[late], slice_time(decay, late, grad), out=grad_sums[earlier]).mul_(ctx.factor)

            # no step reads the last sum
            grad_sums[-1] = 0
            grad_before = grad[0] * _decay_at(decay, 0, grad_sums) * ctx.factor

        if grad_last is not None:
            place = grad_sums[-2] if len(grad_sums) > 1 else grad_before
            place += grad_last * _decay_at(decay, len(grad_sums) - 1, grad_sums)

        return grad_sums, grad_before, None, None


def _blocks_and_earlier(x: Tensor) -> list[tuple[slice, slice]]:
    """Blocks of all steps but the first, each with the steps that are one earlier."""
    late = [slice(max(block.start, 1), block.stop) for block in time_blocks(x)]
    return [(block, slice(block.start - 1, block.stop - 1)) for block in late]


def _decay_at(decay: Value, t: int, x: Tensor) -> Tensor:
    row = slice_time(decay, slice(t, t + 1), x)
    return row[0] if row.ndim == x.ndim else row
