"""Leaky sums, means and alpha functions of a whole sequence, with gradients.

All of them are linear, so a gradient is a sum of the same kind, from the last step to the first. In plain C, where it
takes the numbers (`runs_in_one_pass`), a signal is read and written once; else a sum is a neuron that never fires.
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
from spikebridge.ops.native.layout import Groups, Outline, at, groups_of, plan_of, point
from spikebridge.ops.native.library import LeakySum, Signal, run
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.selection import SINGLE, is_native, runs_in_one_pass, supports_one_pass, without_native
from spikebridge.ops.sequence.autograd import refuse_unusual_backward, run_sequence
from spikebridge.ops.sequence.spec import NeuronMemory, NeuronParams, NeuronSpec, Value
from spikebridge.ops.sequence.tiling import in_block, time_blocks

# 1 at steps before which there is nothing, else 0: of all samples as bytes, where sums run in one pass; or of each
Resets: TypeAlias = bytes | Float[Tensor, "T #B ..."]
_SMALL_SUM = 2**19  # numbers; below it PyTorch's own sum begins sooner


def leaky_sum(
    x: Float[Tensor, "T B *N"],
    start: Float[Tensor, "B ..."] | None,
    decay: Value = 1.0,
    resets: Resets | None = None,
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """`h[t] = decay h[t - 1] + x[t]`, to the bit as step by step.

    Args:
        x: the signal, T >= 1, for which `supports_sequence`.
        start: the sum before the first step, which may have 1 for each axis of neurons; None for nothing.
        decay: what is left of it after a step, 0 to 1.
        resets: where it starts from zero; None for no reset.

    Returns:
        The sums, and the last one in memory of its own.

    Example:
        >>> import torch
        >>> sums, last = leaky_sum(torch.ones(3, 1, 1), torch.zeros(1, 1), decay=0.5)
        >>> sums.flatten().tolist(), last.item()
        ([1.0, 1.5, 1.75], 1.75)
    """
    if isinstance(resets, bytes) or (resets is None and runs_in_one_pass(x, decay)):
        return one_pass_sums(x, start, decay, resets)

    start = torch.zeros_like(x[0]) if start is None else start.expand(x.shape[1:])
    if resets is not None and _is_plain(x, start, decay):
        sums = _sum_with_resets(x, start, decay, resets)
        return sums, sums[-1].clone()

    # in C a decay of its own for every step and neuron would be spread over the batch first
    spread = resets is not None and isinstance(decay, Tensor) and decay.ndim > 0 and x.shape[1] > 1
    with without_native() if spread else nullcontext():
        sums, end = run_sequence(NeuronSpec(), x, NeuronMemory(start), NeuronParams(_left(decay, resets)))

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
    """A leaky sum of a leaky sum in one pass: `f[t] = decay f[t - 1] + x[t]`, `z[t] = decay z[t - 1] + f[t]`.

    Args:
        x: the signal, T >= 1, for which `supports_sequence`.
        inner: `f` before the first step.
        outer: `z` before the first step.
        decay: what is left of each after a step.
        resets: where both start from zero; None for no reset.

    Returns:
        `z` at all steps, and the last `f` and `z`.

    Example:
        >>> import torch
        >>> z, *_ = sum_of_sums(torch.ones(3, 1, 1), torch.zeros(1, 1), torch.zeros(1, 1), decay=1.0)
        >>> z.flatten().tolist()  # of 1, 2, 3
        [1.0, 3.0, 6.0]
    """
    if resets is not None and _is_plain(x, inner, decay):
        f = _sum_with_resets(x, inner, decay, resets)
        z = _sum_with_resets(f, outer, decay, resets)
        return z, f[-1].clone(), z[-1].clone()

    left = _left(decay, resets)
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


def _left(decay: Value, resets: Tensor | None) -> Value:
    return decay if resets is None else decay * (1 - resets)


def _is_plain(x: Tensor, start: Tensor, decay: Value) -> bool:
    """Whether a sum with resets runs in PyTorch without gradients, where a loop of few operations is fastest."""
    if x.dtype not in SINGLE or x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if wants_gradients(x, start, decay):
        return False

    return not is_native(x) or (isinstance(decay, Tensor) and decay.ndim > 0 and x.shape[1] > 1)


def _sum_with_resets(x: Tensor, start: Tensor, decay: Value, resets: Tensor) -> Tensor:
    sums = pool_empty(x.shape, x)
    before = start
    left = torch.empty_like(start)
    factor, decays = (1.0, decay) if isinstance(decay, Tensor) else (decay, None)

    for x_t, row, flag in zip(x.unbind(0), sums.unbind(0), (1 - resets).unbind(0), strict=True):
        if decays is not None:
            before = torch.mul(before, decays, out=left)
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


class _Form(IntEnum):
    """What is accumulated and returned; the order and the names are those of native.h."""

    SUM = 0
    SUM_BACKWARD = 1
    SUM_BACKWARD_AND_SLOPE = 2
    LAST = 3
    LAST_AND_SLOPE = 4
    MEAN = 5
    MEAN_BACKWARD = 6
    ALPHA = 7
    ALPHA_BACKWARD = 8


_BACKWARDS = {_Form.SUM_BACKWARD, _Form.SUM_BACKWARD_AND_SLOPE, _Form.MEAN_BACKWARD, _Form.ALPHA_BACKWARD}
_CHUNK = 2048  # columns; memory is one row or two, and long rows are run some steps at once


class _SumArgs(NamedTuple):
    """What the steps of a sum need beside the signal.

    Args:
        decay: d of native.h.
        factor: k of native.h.
        resets: a flag a step, 1 where the sum starts from zero.
        found: the sums, and the one before the first, for the slope of a sum.
    """

    decay: Value = 1.0
    factor: Value = 1.0
    resets: bytes | None = None
    found: tuple[Tensor, Tensor | None] | None = None


def _run(
    form: _Form,
    groups: Groups,
    x: Tensor | None,
    y: Tensor | None,
    last: Sequence[Tensor | None],
    start: Sequence[Tensor | None],
    args: _SumArgs,
) -> None:
    """All steps of a form.

    Args:
        form: which one.
        groups: the rows of a step.
        x: the signal `(T, B, *N)`; None for zeros.
        y: memory for what is given, `(T, B, *N)`, in which those rows are dense; None for nothing.
        last: memory for the one or two sums after the last step, `(B, *N)`, dense; None where it is not needed.
        start: the one or two sums before the first step, dense; None for zeros.
        args: decay, factor, resets.
    """
    decay, factor, resets, found = args
    given = cast(Tensor, y if x is None else x)
    held: list[object] = []
    backwards = form in _BACKWARDS
    plan = plan_of(given.shape[0], groups, _CHUNK, torch.get_num_threads())
    job = LeakySum(plan, form)

    for place, signal in ((job.x, x), (job.y, y), (job.before, None if found is None else found[0][:-1])):
        if signal is not None:
            _point_to_rows(place, signal, groups, held, backwards)

    first_start, second_start, *_ = *start, None, None
    first, second, *_ = *last, None, None
    job.start_first = at(first_start)
    job.start_second = at(second_start)
    job.first = at(first)
    job.second = at(second)
    job.start = None if found is None else at(found[1])
    job.anew = resets

    for place, value in ((job.decay, decay), (job.factor, factor)):
        point(place, value, given, groups, held)

    run("spikebridge_sum", job)


def _point_to_rows(place: Signal, signal: Tensor, groups: Groups, held: list[object], backwards: bool) -> None:
    """Lets a place of the job point to a signal, or to its last step where it is run backwards."""
    if signal.stride(0) == 0:
        row = signal[0].contiguous()
        held.append(row)
        place.at = row.data_ptr()
        place.step = 0
        place.group = groups.num_columns

        return

    rows = groups.dense(signal)
    held.append(rows)
    begin, (step, group) = rows.data_ptr(), groups.strides(rows)
    if backwards:
        begin = begin + (rows.shape[0] - 1) * step * rows.element_size()
        step = -step

    place.at = begin
    place.step = step
    place.group = group


_BACKWARD = {_Form.SUM: _Form.SUM_BACKWARD, _Form.MEAN: _Form.MEAN_BACKWARD, _Form.ALPHA: _Form.ALPHA_BACKWARD}
_LONG_ROW = 512  # columns; shorter rows run many at once, which is faster


def one_pass_sums(
    x: Float[Tensor, "T B *N"],
    start: Float[Tensor, "B ..."] | None,
    decay: Value = 1.0,
    resets: bytes | None = None,
    dt: float | None = None,
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """`h[t] = decay h[t - 1] + x[t]`, and the last of them in memory of its own.

    Args:
        x: a signal for which `runs_in_one_pass`.
        start: the sum before the first step, which may have 1 for each axis of neurons; None for nothing.
        decay: what is left of it after a step; a number, or a tensor `()`, `(*N)` or `(B, *N)`, which may be trained.
        resets: a flag a step, 1 where the sum starts from zero; None for no reset.
        dt: step of the clock [s], where the decay is `exp(-dt / tau)` and a tensor of the logarithms of tau [s] is
            given for it: one node of autograd from there to the sums.
    """
    y, last = _one_pass(_Form.SUM, x, decay, 1.0, resets, dt, start)
    return y, last


def one_pass_means(
    x: Float[Tensor, "T B *N"], total: Float[Tensor, "B ..."] | None, num_steps: Value, resets: bytes | None = None
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """The mean of all steps so far, and the sum of all.

    Args:
        x: a signal for which `runs_in_one_pass`.
        total: the sum before the first step, as there.
        num_steps: over how many steps, a number or `(B, 1, ...)`.
        resets: as in `one_pass_sums`.
    """
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
    """`second = decay (second + first)`, given `rise` times, and then `first = decay first + x`; and the last of both.

    Args:
        x: a signal for which `runs_in_one_pass`.
        first: before the first step; None for nothing.
        second: before the first step; None for nothing.
        decay: a number, or a tensor `()`, `(*N)` or `(B, *N)`, without gradient.
        rise: the same.
        resets: as in `one_pass_sums`.
    """
    y, first, second = _one_pass(_Form.ALPHA, x, decay, rise, resets, None, first, second)
    return y, first, second


def one_pass_last(x: Float[Tensor, "T B *N"], decay: Value, dt: float | None = None) -> Float[Tensor, "B *N"]:
    """The last of the leaky sums from nothing: no other is ever in memory.

    Args:
        x: a signal for which `supports_one_pass`.
        decay: as in `one_pass_sums`.
        dt: as there.
    """
    if not wants_gradients(x, decay):
        return _last(x, groups_of(x), _decay_of(decay, dt)[0], None)

    last: Tensor = _Last.apply(x, decay, dt)
    return last


def wants_gradients(*values: Value | None) -> bool:
    """Whether a gradient goes to one of some values."""
    return torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in values)


def _one_pass(
    form: _Form, x: Tensor, decay: Value, factor: Value, resets: bytes | None, dt: float | None, *start: Tensor | None
) -> tuple[Tensor, ...]:
    """All steps, and the sums after them."""
    step = x.shape[1:]
    memory = [m if m is None or m.shape == step else m.expand(step) for m in start]
    if wants_gradients(x, decay, *memory):
        found: tuple[Tensor, ...] = _OnePass.apply(form, x, decay, factor, resets, dt, *memory)
        return found

    return _forward(form, x, _groups_for(x, decay), _decay_of(decay, dt)[0], factor, resets, *memory)


def _groups_for(x: Tensor, decay: Value) -> Groups:
    """The rows of a step: those of samples where they are long, so that a row of decays need not be spread over all."""
    if isinstance(decay, Tensor) and decay.numel() >= _LONG_ROW and decay.shape == x.shape[2:] and x.is_contiguous():
        return Groups(x.shape[1], decay.numel())
    return groups_of(x)


def _forward(
    form: _Form, x: Tensor, groups: Groups, decay: Value, factor: Value, resets: bytes | None, *start: Tensor | None
) -> tuple[Tensor, ...]:
    y = groups.pool_empty(x, x)
    memory = [x.new_empty(x.shape[1:]) for _ in start]
    _run(form, groups, x, y, memory, _dense(start), _SumArgs(decay, factor, resets))
    return y, *memory


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
        ctx.form = form
        ctx.like = Outline.of(x)
        ctx.groups = _groups_for(x, decay)
        ctx.resets = resets
        ctx.set_materialize_grads(False)
        decay, exponents = _decay_of(decay, dt)
        y, *memory = _forward(form, x, ctx.groups, decay, factor, resets, *start)
        found = (y, start[0], exponents) if ctx.needs_input_grad[2] else (None, None, None)
        ctx.save_for_backward(*[n if isinstance(n, Tensor) else None for n in (decay, factor)], *found)
        ctx.numbers = [None if isinstance(n, Tensor) else n for n in (decay, factor)]

        return y, *memory

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *grads_last: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a kernel", grad, *grads_last)
        if grad is None and all(g is None for g in grads_last):
            return (None,) * (6 + len(grads_last))

        *tensors, sums, before, exponents = ctx.saved_tensors
        decay, factor = (n if t is None else t for t, n in zip(tensors, ctx.numbers, strict=True))
        groups = ctx.groups
        like = ctx.like
        start = _dense(grads_last)
        grad_x = groups.pool_empty(like, next(g for g in (grad, *grads_last) if g is not None))
        memory = [grad_x.new_empty(like.shape[1:]) if needed else None for needed in ctx.needs_input_grad[6:]]

        if sums is None:
            _run(_BACKWARD[ctx.form], groups, grad, grad_x, memory, start, _SumArgs(decay, factor, ctx.resets))
            return None, grad_x, None, None, None, None, *memory

        slope = grad_x.new_empty(like.shape[1:])
        found = (sums, *_dense([before]))
        form = _Form.SUM_BACKWARD_AND_SLOPE
        _run(form, groups, grad, grad_x, (memory[0], slope), start, _SumArgs(decay, resets=ctx.resets, found=found))

        return None, grad_x, _grad_of(decay, exponents, slope), None, None, None, *memory


class _Last(torch.autograd.Function):
    """What the gradient of the decay needs is summed beside, so that the signal need not be kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: Value, dt: float | None) -> Tensor:
        slope = x.new_empty(x.shape[1:]) if ctx.needs_input_grad[1] else None
        ctx.like = Outline.of(x)
        ctx.groups = groups_of(x)
        left, exponents = _decay_of(decay, dt)
        ctx.save_for_backward(slope, left if isinstance(left, Tensor) else None, exponents)
        ctx.number = None if isinstance(left, Tensor) else left

        return _last(x, ctx.groups, left, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a kernel", grad)
        slope, left, exponents = ctx.saved_tensors
        decay = ctx.number if left is None else left
        grad_x = grad_decay = None

        if ctx.needs_input_grad[0]:
            grad_x = ctx.groups.pool_empty(ctx.like, grad)
            _run(_Form.SUM_BACKWARD, ctx.groups, None, grad_x, (), _dense([grad]), _SumArgs(decay))

        if slope is not None:
            grad_decay = _grad_of(decay, exponents, grad * slope)

        return grad_x, grad_decay, None


def _decay_of(decay: Value, dt: float | None) -> tuple[Value, Tensor | None]:
    """A decay as it is; or of the logarithm of tau, with the roundings of a neuron's, and `-dt / tau`."""
    if dt is None or not isinstance(decay, Tensor):
        return decay, None
    exponents = decay.exp().reciprocal_().mul_(_tensor_of(-dt))
    return exponents.exp(), exponents


@lru_cache(maxsize=256)
def _tensor_of(number: float) -> Tensor:
    """A number as PyTorch would make a tensor of it at each product, which costs more than a small product."""
    return torch.tensor(number, dtype=torch.float32, device="cpu")  # whatever the default device is by then


def _last(x: Tensor, groups: Groups, decay: Value, slope: Tensor | None) -> Tensor:
    last = x.new_empty(x.shape[1:])
    _run(_Form.LAST if slope is None else _Form.LAST_AND_SLOPE, groups, x, None, (last, slope), (), _SumArgs(decay))
    return last


def _grad_of(decay: Tensor, exponents: Tensor | None, slope: Tensor) -> Tensor:
    """The gradient of a decay, or of the logarithm of its tau, from that in each column."""
    grad = _summed(slope, decay)
    return grad if exponents is None else grad.mul_(decay).mul_(exponents).neg_()


def _summed(slope: Tensor, decay: Tensor) -> Tensor:
    """Gradients in each column, summed up to the shape of the decay."""
    first = slope.ndim - decay.ndim
    if first > 0 and slope.shape[first:] == decay.shape:
        return slope.sum(tuple(range(first)))  # begins sooner
    return slope.sum_to_size(decay.shape[max(0, -first) :]).reshape(decay.shape)


def _dense(memory: Iterable[Tensor | None]) -> list[Tensor | None]:
    return [None if m is None else m.contiguous() for m in memory]
