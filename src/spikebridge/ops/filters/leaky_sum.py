"""Leaky sums of a whole sequence, and sums of them, with gradients.

A leaky sum is a neuron that never fires. In plain C, where it takes the numbers (`runs_in_one_pass`), a signal is read
and written once instead, also for means and alpha functions. All of them are linear, so a gradient is a sum of the same
kind, from the last step to the first.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.ops.filters.fir import last_response, powers
from spikebridge.ops.native.layout import Groups, Outline, Pointers, address_of, groups_of, plan_of, run
from spikebridge.ops.native.library import LeakySum
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.selection import SINGLE, is_native, runs_in_one_pass, supports_one_pass, without_native
from spikebridge.ops.sequence.autograd import refuse_unusual_backward, run_sequence
from spikebridge.ops.sequence.spec import NeuronParams, NeuronSpec, NeuronState, Value
from spikebridge.ops.sequence.tiling import slice_time, time_blocks

# 1 at steps before which there is nothing, else 0: of all samples as bytes, where sums run in one pass; or of each
Resets: TypeAlias = bytes | Float[Tensor, "T #B ..."]
_SMALL_SUM = 2**19  # numbers; below it PyTorch's own sum begins sooner
_CHUNK = 2048  # columns; memory is one row or two, and long rows are run some steps at once
_LONG_ROW = 512  # columns; shorter rows run many at once, which is faster


class _Form(IntEnum):
    """The kind of sum; order and names are those of native.h."""

    SUM = 0
    SUM_BACKWARD = 1
    SUM_BACKWARD_AND_SLOPE = 2
    LAST = 3
    LAST_AND_SLOPE = 4
    MEAN = 5
    MEAN_BACKWARD = 6
    ALPHA = 7
    ALPHA_BACKWARD = 8


_BACKWARD = {_Form.SUM: _Form.SUM_BACKWARD, _Form.MEAN: _Form.MEAN_BACKWARD, _Form.ALPHA: _Form.ALPHA_BACKWARD}
_RUN_BACKWARD = {*_BACKWARD.values(), _Form.SUM_BACKWARD_AND_SLOPE}


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
        sums, end = run_sequence(NeuronSpec(), x, NeuronState(start), values)

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
    z, end = run_sequence(NeuronSpec(), x, NeuronState(outer, inner), NeuronParams(left, decay_syn=left))

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


def one_pass_sums(
    x: Float[Tensor, "T B *N"],
    start: Float[Tensor, "B ..."] | None,
    decay: Value = 1.0,
    resets: bytes | None = None,
    dt: float | None = None,
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """`h[t] = decay h[t - 1] + x[t]` from `start` on, and the last sum in memory of its own."""
    # with the step `dt` of the clock [s] logarithms of tau [s] stand for the decay, `exp(-dt / tau)`: one node of
    # autograd leads from there to the sums
    y, last = _one_pass(_Form.SUM, x, decay, 1.0, resets, dt, start)
    return y, last


def one_pass_means(
    x: Float[Tensor, "T B *N"], total: Float[Tensor, "B ..."] | None, num_steps: Value, resets: bytes | None = None
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """The mean of all steps so far, and their sum; before the first step the sum was `total`, over `num_steps`."""
    y, last = _one_pass(_Form.MEAN, x, 1.0, num_steps, resets, None, total)
    return y, last


def one_pass_alphas(
    x: Float[Tensor, "T B *N"],
    first: Float[Tensor, "B *N"] | None,
    second: Float[Tensor, "B *N"] | None,
    decay: Value,
    rise: Value,
    resets: bytes | None = None,
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"], Float[Tensor, "B *N"]]:
    """`second = decay (second + first)`, given out times `rise`, then `first = decay first + x`; the last of both."""
    y, first, second = _one_pass(_Form.ALPHA, x, decay, rise, resets, None, first, second)
    return y, first, second


def one_pass_last(x: Float[Tensor, "T B *N"], decay: Value, dt: float | None = None) -> Float[Tensor, "B *N"]:
    """The last of the leaky sums from nothing: no other is in memory; decay and `dt` are those of `one_pass_sums`."""
    if not wants_gradients(x, decay):
        return _run_last(x, groups_of(x), _decay_and_exponents(decay, dt)[0], None)

    last: Tensor = _Last.apply(x, decay, dt)
    return last


def wants_gradients(*values: Value | None) -> bool:
    """True if a gradient goes to one of the values."""
    return torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in values)


def _one_pass(
    form: _Form, x: Tensor, decay: Value, factor: Value, resets: bytes | None, dt: float | None, *start: Tensor | None
) -> tuple[Tensor, ...]:
    step = x.shape[1:]
    start = tuple(m if m is None or m.shape == step else m.expand(step) for m in start)
    if wants_gradients(x, decay, *start):
        results: tuple[Tensor, ...] = _OnePass.apply(form, x, decay, factor, resets, dt, *start)
        return results

    args = _SumArgs(_decay_and_exponents(decay, dt)[0], factor, resets)
    return _run_forward(form, x, _groups_for(x, decay), args, start)


def _groups_for(x: Tensor, decay: Value) -> Groups:
    """The rows of a step: those of samples where they are long, so that a row of decays is not expanded over all."""
    if isinstance(decay, Tensor) and decay.numel() >= _LONG_ROW and decay.shape == x.shape[2:] and x.is_contiguous():
        return Groups(x.shape[1], decay.numel())
    return groups_of(x)


class _SumArgs(NamedTuple):
    """Arguments of a sum besides its signal."""

    decay: Value = 1.0  # d of native.h
    factor: Value = 1.0  # k of native.h
    resets: bytes | None = None
    sums: Tensor | None = None  # the sums, for their slope
    before: Tensor | None = None  # the sum before the first step, for the slope; dense


class _OnePass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        form: _Form,
        x: Tensor,
        decay: Value,
        factor: Value,
        resets: bytes | None,
        dt: float | None,
        *start: Tensor | None,
    ) -> tuple[Tensor, ...]:
        groups = _groups_for(x, decay)
        decay, exponents = _decay_and_exponents(decay, dt)
        y, *last = _run_forward(form, x, groups, _SumArgs(decay, factor, resets), start)

        # the sums are kept for the gradient of the decay alone
        kept = (y, start[0], exponents) if ctx.needs_input_grad[2] else (None, None, None)
        numbers = (decay, factor)
        ctx.save_for_backward(*[n if isinstance(n, Tensor) else None for n in numbers], *kept)
        ctx.numbers = [None if isinstance(n, Tensor) else n for n in numbers]
        ctx.form = form
        ctx.like = Outline.of(x)
        ctx.groups = groups
        ctx.resets = resets
        ctx.set_materialize_grads(False)

        return y, *last

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *grads_last: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a kernel", grad, *grads_last)
        if grad is None and all(g is None for g in grads_last):
            return (None,) * (6 + len(grads_last))

        *tensors, sums, before, exponents = ctx.saved_tensors
        decay, factor = (n if t is None else t for t, n in zip(tensors, ctx.numbers, strict=True))
        groups = ctx.groups
        grad_x = groups.pool_empty(ctx.like, next(g for g in (grad, *grads_last) if g is not None))
        step = ctx.like.shape[1:]
        grads_start = [grad_x.new_empty(step) if needed else None for needed in ctx.needs_input_grad[6:]]
        args = _SumArgs(decay, factor, ctx.resets)

        if sums is None:
            _run(_BACKWARD[ctx.form], groups, grad, grad_x, grads_start, _dense(grads_last), args)
            return None, grad_x, None, None, None, None, *grads_start

        slope = grad_x.new_empty(step)
        before = None if before is None else before.contiguous()
        args = _SumArgs(decay, resets=ctx.resets, sums=sums, before=before)
        form = _Form.SUM_BACKWARD_AND_SLOPE
        _run(form, groups, grad, grad_x, (grads_start[0], slope), _dense(grads_last), args)

        return None, grad_x, _grad_of_decay(decay, exponents, slope), None, None, None, *grads_start


class _Last(torch.autograd.Function):
    """The last sum; its slope by the decay is summed in the same pass, so that the signal need not be kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: Value, dt: float | None) -> Tensor:
        slope = x.new_empty(x.shape[1:]) if ctx.needs_input_grad[1] else None
        ctx.like = Outline.of(x)
        ctx.groups = groups_of(x)
        decay, exponents = _decay_and_exponents(decay, dt)
        ctx.save_for_backward(slope, decay if isinstance(decay, Tensor) else None, exponents)
        ctx.number = None if isinstance(decay, Tensor) else decay

        return _run_last(x, ctx.groups, decay, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a kernel", grad)
        slope, decay, exponents = ctx.saved_tensors
        decay = ctx.number if decay is None else decay
        grad_x = None
        grad_decay = None

        if ctx.needs_input_grad[0]:
            grad_x = ctx.groups.pool_empty(ctx.like, grad)
            _run(_Form.SUM_BACKWARD, ctx.groups, None, grad_x, (), _dense([grad]), _SumArgs(decay))

        if slope is not None:
            grad_decay = _grad_of_decay(decay, exponents, grad * slope)

        return grad_x, grad_decay, None


def _decay_and_exponents(decay: Value, dt: float | None) -> tuple[Value, Tensor | None]:
    """The decay as it is; or from the logarithm of tau, rounded as that of a neuron, with its exponent `-dt / tau`."""
    if dt is None or not isinstance(decay, Tensor):
        return decay, None
    exponents = decay.exp().reciprocal_().mul_(_tensor_of(-dt))
    return exponents.exp(), exponents


@lru_cache(maxsize=256)
def _tensor_of(number: float) -> Tensor:
    """A number as PyTorch would make a tensor of it at each product, which costs more than a small product."""
    # on the processor also if another default device is set
    return torch.tensor(number, dtype=torch.float32, device="cpu")


def _grad_of_decay(decay: Tensor, exponents: Tensor | None, slope: Tensor) -> Tensor:
    """The gradient of a decay, or of the logarithm of its tau, from that in each column."""
    grad = _sum_to(slope, decay)
    return grad if exponents is None else grad.mul_(decay).mul_(exponents).neg_()


def _sum_to(slope: Tensor, decay: Tensor) -> Tensor:
    first = slope.ndim - decay.ndim
    if first > 0 and slope.shape[first:] == decay.shape:
        return slope.sum(tuple(range(first)))  # begins sooner than sum_to_size
    return slope.sum_to_size(decay.shape[max(0, -first) :]).reshape(decay.shape)


def _dense(states: Iterable[Tensor | None]) -> list[Tensor | None]:
    return [None if m is None else m.contiguous() for m in states]


def _run_forward(
    form: _Form, x: Tensor, groups: Groups, args: _SumArgs, start: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    y = groups.pool_empty(x, x)
    last = [x.new_empty(x.shape[1:]) for _ in start]
    _run(form, groups, x, y, last, _dense(start), args)
    return y, *last


def _run_last(x: Tensor, groups: Groups, decay: Value, slope: Tensor | None) -> Tensor:
    last = x.new_empty(x.shape[1:])
    form = _Form.LAST if slope is None else _Form.LAST_AND_SLOPE
    _run(form, groups, x, None, (last, slope), (), _SumArgs(decay))
    return last


def _run(
    form: _Form,
    groups: Groups,
    x: Tensor | None,
    y: Tensor | None,
    last: Sequence[Tensor | None],
    start: Sequence[Tensor | None],
    args: _SumArgs,
) -> None:
    """All steps of a form, from the signal `x` (None for zeros) to memory `y` with dense rows (None for nothing)."""
    # `start` and `last` are one or two dense states `(B, *N)` before and after the steps: None for zeros, or not needed
    signal = cast(Tensor, y if x is None else x)
    plan = plan_of(signal.shape[0], groups, _CHUNK, torch.get_num_threads())
    job = LeakySum(plan, form)
    pointers = Pointers(signal, groups)
    earlier_sums = None if args.sums is None else args.sums[:-1]

    for place, rows in ((job.x, x), (job.y, y), (job.before, earlier_sums)):
        if rows is not None:
            pointers.set_rows(place, rows, form in _RUN_BACKWARD)

    job.start_first, job.start_second = _addresses(start)
    job.first, job.second = _addresses(last)
    job.start = address_of(args.before)
    job.resets = args.resets
    pointers.set_value(job.decay, args.decay)
    pointers.set_value(job.factor, args.factor)

    run("spikebridge_sum", job)


def _addresses(states: Sequence[Tensor | None]) -> list[int | None]:
    return [address_of(state) for state in (*states, None, None)[:2]]
