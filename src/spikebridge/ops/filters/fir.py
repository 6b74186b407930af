"""Finite impulse responses of a whole sequence, with gradients: a few products with the whole signal, one a tap."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.ops.native.layout import as_signal, groups_of, plan_of, run
from spikebridge.ops.native.library import Respond
from spikebridge.ops.precision import without_autocast
from spikebridge.ops.selection import select
from spikebridge.ops.sequence.autograd import refuse_unusual_backward
from spikebridge.ops.sequence.tiling import batch_parts, time_blocks

PART_SIZE = 2**18  # numbers of a signal over all steps of a part of the batch: 1 MB stays in the second cache
_CHUNK = 2048  # columns; steps of long rows read the same ones, some at once


def finite_response(
    x: Float[Tensor, "T B *N"], taps: Float[Tensor, "n *M"], before: Float[Tensor, "m B *N"] | None = None
) -> Float[Tensor, "T B *N"]:
    """`h[t] = sum_k taps[k] x[t - k]`, with the `n - 1` steps before the first, oldest first; None for nothing."""
    if before is not None:
        before = before.expand(-1, *x.shape[1:]) if len(before) else None

    response: Tensor = _FiniteResponse.apply(x, taps, before)
    return response


def last_response(signal: Float[Tensor, "n B *N"], taps: Float[Tensor, "n *M"]) -> Float[Tensor, "B *N"]:
    """The one value `sum_k taps[k] signal[n - 1 - k]`: taps that all neurons share make it a product of matrices."""
    weights = taps.flip(0)
    if taps[0].numel() == 1:
        # windows cut from a signal have their time second in memory: no copy of them
        steps = signal.flatten(1) if signal.is_contiguous() else signal.movedim(0, 1).flatten(2)
        with without_autocast(signal.device):
            return (weights.flatten() @ steps).reshape(signal.shape[1:])

    weights = weights.reshape(len(taps), *[1] * (signal.ndim - taps.ndim), *taps.shape[1:])
    response: Tensor = _LastResponse.apply(signal, weights)

    return response


def powers(decay: Tensor | float, x: Float[Tensor, "T B *N"]) -> tuple[Tensor, Tensor]:
    """For each step of a signal, the newest first: its age `k`, and `decay^k`."""
    age = torch.arange(len(x), dtype=x.dtype, device=x.device)
    if isinstance(decay, Tensor):
        age = age.reshape(-1, *[1] * decay.ndim)

    return age, decay**age


class _LastResponse(torch.autograd.Function):
    """The sum over time of a product that is never in memory as a whole: a part of the batch at once."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(signal, weights)
        response = torch.empty(signal.shape[1:], dtype=signal.dtype, device=signal.device)
        for part in _small_parts(signal):
            torch.sum(signal[:, part] * _slice_batch(weights, part, signal.ndim), 0, out=response[part])

        return response

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        refuse_unusual_backward("a kernel", grad)
        signal, weights = ctx.saved_tensors
        grad_signal = torch.empty_like(signal) if ctx.needs_input_grad[0] else None
        grad_weights = torch.zeros_like(weights) if ctx.needs_input_grad[1] else None

        for part in _small_parts(signal):
            if grad_signal is not None:
                torch.mul(_slice_batch(weights, part, signal.ndim), grad[part], out=grad_signal[:, part])
            if grad_weights is not None:
                sums = _slice_batch(grad_weights, part, signal.ndim)
                sums += (signal[:, part] * grad[part]).sum_to_size(sums.shape)

        return grad_signal, grad_weights


def _small_parts(signal: Tensor) -> list[slice]:
    batch = signal.shape[1]
    step = max(1, batch * PART_SIZE // max(1, signal.numel())) if signal.device.type == "cpu" else max(1, batch)
    return [slice(b, min(b + step, batch)) for b in range(0, batch, step)]


class _FiniteResponse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, before: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, taps, before)
        response = groups_of(x).pool_empty(x, x)
        past = 0 if before is None else len(before)
        if before is not None:
            # the first steps look back on the steps before: both in one row
            _respond(torch.cat([before, x[:past]]), taps, past, response[:past])

        if past < len(x):
            _respond(x, taps, past, response[past:])

        return response

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a kernel", grad)
        x, taps, before = ctx.saved_tensors
        grad_x = None
        grad_before = None

        # backward in time the taps look ahead: a signal with nothing behind it, read from the other end
        if ctx.needs_input_grad[0]:
            grad_x = groups_of(x).pool_empty(x, x)
            _respond(grad, taps.flip(0), len(taps) - 1, grad_x)

        if ctx.needs_input_grad[2]:
            grad_before = torch.empty(before.shape, dtype=x.dtype, device=x.device)
            _respond(grad, taps.flip(0), 0, grad_before)

        return grad_x, _grad_of_taps(x, taps, before, grad) if ctx.needs_input_grad[1] else None, grad_before


def _grad_of_taps(x: Tensor, taps: Tensor, before: Tensor | None, grad: Tensor) -> Tensor:
    # where a block of time has few steps, a product of matrices reads each of them once and not once a tap
    if taps[0].numel() == 1 and time_blocks(grad)[0].stop <= len(taps):
        return _shared_tap_gradients(x, grad, before, len(taps)).to(taps.dtype).reshape(taps.shape)

    grad_taps = torch.zeros_like(taps)
    for part in batch_parts(x):
        sums = _slice_batch(grad_taps, part, x.ndim)
        _add_tap_gradients(sums, x[:, part], grad[:, part], 0)
        if before is not None:
            _add_tap_gradients(sums, before[:, part], grad[: len(before), part], len(before))

    return grad_taps


def _respond(x: Tensor, taps: Tensor, offset: int, y: Tensor) -> None:
    """`y[t] = sum_k taps[k] x[t + offset - k]`, over those steps that `x` `(S, B, *N)` has; written to `y`."""
    if select("finite response", x, taps) == "native":
        _respond_natively(x, taps, offset, y)
        return

    for part in batch_parts(y):
        weights = _slice_batch(taps, part, y.ndim)
        inputs = x[:, part]
        sums = y[:, part]

        for block in time_blocks(sums):
            sums[block] = 0
            for k in range(len(taps)):
                read, written = _overlap(block, offset - k, len(x))
                if read.start < read.stop:
                    sums[written].addcmul_(inputs[read], weights[k])


def _overlap(block: slice, shift: int, num_steps: int) -> tuple[slice, slice]:
    """The steps of a signal that a block of the response reads with a shift, and the steps of the block that do so."""
    read = slice(max(0, block.start + shift), min(num_steps, block.stop + shift))
    return read, slice(read.start - shift, read.stop - shift)


def _respond_natively(x: Tensor, taps: Tensor, offset: int, y: Tensor) -> None:
    """The same in plain C; `y` is dense, or has time inside of the batch."""
    groups = groups_of(y)
    x = groups.dense(x)
    plan = plan_of(len(y), groups, _CHUNK, torch.get_num_threads())
    job = Respond(plan, as_signal(x, groups), as_signal(y, groups))
    job.num_given = len(x)
    job.offset = offset
    job.num_taps = len(taps)

    if taps[0].numel() == 1:
        numbers = taps.detach().contiguous()
        job.taps.step = 1
    else:
        lined_up = taps.detach().reshape(len(taps), *[1] * (x.ndim - taps.ndim), *taps.shape[1:])
        numbers = lined_up.expand(len(taps), *x.shape[1:]).contiguous()
        job.taps.step = x[0].numel()
        job.taps.group = groups.num_columns
        job.taps.column = 1

    job.taps.at = numbers.data_ptr()
    run("spikebridge_respond", job)


def _shared_tap_gradients(x: Tensor, grad: Tensor, before: Tensor | None, num_taps: int) -> Tensor:
    """Gradients of taps that all neurons share: products of a block with all that it looks back on, as one matrix."""
    # a tap's own part of that product is a diagonal
    past = num_taps - 1
    before = x.new_zeros((past, *x.shape[1:])) if before is None else before
    sums = x.new_zeros(num_taps)  # the oldest first

    for grads, inputs in ((grad[:past], torch.cat([before, x[:past]])), (grad[past:], x)):
        for block in time_blocks(grads) if len(grads) else ():
            steps = grads[block].flatten(1)
            back = inputs[block.start : block.stop + past].flatten(1)
            products = steps @ back.T
            sums += products.as_strided((len(steps), num_taps), (len(back) + 1, 1)).sum(0)

    return sums.flip(0)


def _add_tap_gradients(sums: Tensor, x: Tensor, grad: Tensor, offset: int) -> None:
    for block in time_blocks(grad):
        for k in range(len(sums)):
            read, written = _overlap(block, offset - k, len(x))
            if read.start >= read.stop:
                continue

            g = grad[written]
            inputs = x[read]
            # one number for all: a dot product stores no products
            if sums[k].numel() == 1 and g.is_contiguous() and inputs.is_contiguous():
                sums[k] += torch.dot(g.flatten(), inputs.flatten())
            else:
                sums[k] += (g * inputs).sum_to_size(sums[k].shape)


def _slice_batch(taps: Tensor, part: slice, ndim: int) -> Tensor:
    return taps if taps.ndim < ndim or taps.shape[1] == 1 else taps[:, part]
