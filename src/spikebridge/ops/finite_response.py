"""Finite responses over a whole sequence, with gradients: a few products with the whole signal, one a tap."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.ops.cutting import batch_parts, time_blocks
from spikebridge.ops.rooms import room_for
from spikebridge.ops.sequence import refuse_second_derivative

PART = 2**18  # numbers


def finite_response(signal: Float[Tensor, "S B *N"], taps: Float[Tensor, "n *M"]) -> Float[Tensor, "T B *N"]:
    """`h[t] = sum_k taps[k] signal[n - 1 + t - k]`: the first value is that of step `n - 1`, so `T = S - n + 1`.

    Args:
        signal: with the `n - 1` steps before the first value in front.
        taps: weights of the present step, the one before, and so on; `*M` lines up from the right with the signal.

    Example:
        >>> signal = torch.tensor([2.0, 3.0, 0.0]).reshape(3, 1, 1)
        >>> finite_response(signal, torch.tensor([1.0, 0.5])).flatten().tolist()  # 3 + 2 / 2 and 0 + 3 / 2
        [4.0, 1.5]
    """
    response: Tensor = _FiniteResponse.apply(signal, taps)
    return response


def last_response(signal: Float[Tensor, "n B *N"], taps: Float[Tensor, "n *M"]) -> Float[Tensor, "B *N"]:
    """The one value `sum_k taps[k] signal[n - 1 - k]`: taps that all neurons share make it a product of matrices.

    Args:
        signal: as many steps as there are taps.
        taps: weights of the last step, the one before, and so on; `*M` lines up from the right with the signal.

    Example:
        >>> last_response(torch.tensor([2.0, 3.0]).reshape(2, 1, 1), torch.tensor([1.0, 0.5])).item()  # 3 + 2 / 2
        4.0
    """
    weights = taps.flip(0)
    if taps[0].numel() == 1:
        # windows cut from a signal have their time second in memory: no copy of them
        steps = signal.flatten(1) if signal.is_contiguous() else signal.movedim(0, 1).flatten(2)
        return (weights.flatten() @ steps).reshape(signal.shape[1:])
    weights = weights.reshape(len(taps), *[1] * (signal.ndim - taps.ndim), *taps.shape[1:])
    response: Tensor = _LastResponse.apply(signal, weights)
    return response


class _LastResponse(torch.autograd.Function):
    """The sum over time of a product that is never there as a whole: a part of the batch at once."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(signal, weights)
        response = torch.empty(signal.shape[1:], dtype=signal.dtype, device=signal.device)
        for part in _small_parts(signal):
            torch.sum(signal[:, part] * _of_batch(weights, part, signal.ndim), 0, out=response[part])
        return response

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        refuse_second_derivative("a kernel")
        signal, weights = ctx.saved_tensors
        grad_signal = torch.empty_like(signal) if ctx.needs_input_grad[0] else None
        grad_weights = torch.zeros_like(weights) if ctx.needs_input_grad[1] else None
        for part in _small_parts(signal):
            w, g = _of_batch(weights, part, signal.ndim), grad[part]
            if grad_signal is not None:
                torch.mul(w, g, out=grad_signal[:, part])
            if grad_weights is not None:
                sums = _of_batch(grad_weights, part, signal.ndim)
                sums += (signal[:, part] * g).sum_to_size(sums.shape)
        return grad_signal, grad_weights


def _small_parts(signal: Tensor) -> list[slice]:
    """Parts of the batch of which all steps stay near a processor."""
    batch, size = signal.shape[1], signal.numel()
    step = max(1, batch * PART // max(1, size)) if signal.device.type == "cpu" else max(1, batch)
    return [slice(b, min(b + step, batch)) for b in range(0, batch, step)]


class _FiniteResponse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, signal: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(signal, taps)
        num_taps = len(taps)
        response = room_for((len(signal) - num_taps + 1, *signal.shape[1:]), signal)
        for part in batch_parts(signal):
            h, x = response[:, part], signal[:, part]
            weights = _of_batch(taps, part, signal.ndim)
            for block in time_blocks(h):
                sums = torch.mul(_shifted(x, block, num_taps, 0), weights[0], out=h[block])
                for k in range(1, num_taps):
                    sums.addcmul_(_shifted(x, block, num_taps, k), weights[k])
        return response

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        refuse_second_derivative("a kernel")
        signal, taps = ctx.saved_tensors
        num_taps = len(taps)
        grad_signal = room_for(signal.shape, signal).zero_() if ctx.needs_input_grad[0] else None
        grad_taps = torch.zeros_like(taps) if ctx.needs_input_grad[1] else None
        for part in batch_parts(signal):
            weights, g, x = _of_batch(taps, part, signal.ndim), grad[:, part], signal[:, part]
            sums = None if grad_taps is None else _of_batch(grad_taps, part, signal.ndim)
            for block in time_blocks(g):
                for k in range(num_taps):
                    if grad_signal is not None:
                        _shifted(grad_signal[:, part], block, num_taps, k).addcmul_(g[block], weights[k])
                    if sums is not None:
                        sums[k] += (g[block] * _shifted(x, block, num_taps, k)).sum_to_size(sums[k].shape)
        return grad_signal, grad_taps


def _shifted(signal: Tensor, block: slice, num_taps: int, k: int) -> Tensor:
    """What tap `k` sees in a block of steps."""
    before = num_taps - 1 - k
    return signal[block.start + before : block.stop + before]


def _of_batch(taps: Tensor, part: slice, ndim: int) -> Tensor:
    """Taps `(n, *M)` for a part of the batch, which they have if they have as many axes as the signal."""
    return taps if taps.ndim < ndim or taps.shape[1] == 1 else taps[:, part]
