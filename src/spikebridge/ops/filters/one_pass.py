"""Leaky sums, means and alpha functions of a whole sequence in plain C, with gradients: a signal is read once.

All of them are linear, so a gradient is a sum of the same kind, from the last step to the first.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.ops.native.layout import Groups, Outline, groups_of, plan_of
from spikebridge.ops.native.library import LeakySum, run
from spikebridge.ops.native.pointers import Pointers, address_of
from spikebridge.ops.sequence.autograd import refuse_unusual_backward
from spikebridge.ops.sequence.spec import Value

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
    return torch.tensor(number, dtype=torch.float32, device="cpu")  # whatever the default device is by then


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
