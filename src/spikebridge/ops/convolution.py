"""Convolutions in training, where oneDNN can be outrun: of spikes, of few inputs, and the gradients of biases.

Where most of what comes in is silent, it is left out (`spike_convolution`). The gradient of a bias is a sum over the
gradient, which PyTorch's own sum takes in a tenth of the time. With few input channels, as behind a camera or an event
camera, the gradient of the weights is a few such sums: plain C takes them together. In float32 on a CPU, channels last;
everything else goes to PyTorch. Sums are met to rounding.
"""

import ctypes
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.ops.native_library import library
from spikebridge.ops.plain_training import is_plain_training
from spikebridge.ops.reference import is_without_native
from spikebridge.ops.sequence import is_batched
from spikebridge.ops.spike_convolution import (
    MOST_ACTIVE,
    MOST_ACTIVE_BACKWARD,
    SIZES,
    active_share,
    is_few,
    outputs_of,
    serves,
    weights_of,
)

MOST_TAPS = 39  # of the weights of an output: with more, oneDNN is as fast
TAPS, LANES = 10, 16  # that are summed at once, of convolution.c
WORK_OF_A_THREAD = 2**16  # elements; below it a thread costs more than it brings
CHANNELS_LAST = torch.channels_last


class _Job(ctypes.Structure):
    """`Convolution` of convolution.h."""

    _fields_ = [
        *SIZES,
        *[(name, ctypes.c_void_p) for name in ("x", "gradient", "sums")],
        *[(name, ctypes.c_int64) for name in ("num_parts", "num_threads")],
        ("team", ctypes.c_void_p),
    ]


def convolve(layer: nn.Conv2d, x: Float[Tensor, "B C Y X"]) -> Float[Tensor, "B c y x"]:
    """What `layer(x)` gives, with the same gradients to rounding.

    Args:
        layer: the convolution; laid out channels last (`layer.to(memory_format=torch.channels_last)`) it takes the fast
            way in training.
        x: pictures.

    Example:
        >>> layer = nn.Conv2d(1, 16, 3).to(memory_format=torch.channels_last)
        >>> convolve(layer, torch.ones(2, 1, 5, 5)).sum().backward()
        >>> layer.bias.grad[0].item(), layer.weight.grad[0, 0, 0, 0].item()  # 9 places of 2 pictures
        (18.0, 18.0)
    """
    if not _serves(layer, x):
        y: Tensor = layer(x)
        return y
    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return _Convolution.apply(x, layer.weight, layer.bias, serves(layer, x), *settings)


def _serves(layer: nn.Conv2d, x: Tensor) -> bool:
    known = layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and x.ndim == 4
    return known and is_plain_training(x, layer.weight) and layer.weight.is_contiguous(memory_format=CHANNELS_LAST)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, may_be_silent: bool, *settings: Any
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings, ctx.active = settings, active_share(x) if may_be_silent else 1.0
        if is_few(ctx.active, len(weight), MOST_ACTIVE):
            return outputs_of(x, weight, bias, *settings[:2])
        return torch.conv2d(x, weight, bias, *settings)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        stride, padding, dilation, groups = ctx.settings
        settings = (stride, padding, dilation, False, (0, 0), groups)
        of_x: Tensor | None = None
        of_weight: Tensor | None = None
        if wants_weight and not torch.is_grad_enabled() and not is_batched(grad):
            if not wants_x and _has_few_taps(weight, dilation, groups):
                of_weight, of_bias = _sums(x, weight, grad, stride, padding)
                return None, of_weight, of_bias if wants_bias else None, *(None,) * 5
            if is_few(ctx.active, len(weight), MOST_ACTIVE_BACKWARD):
                of_weight, wants_weight = weights_of(x, grad, weight, stride, padding), False
        if wants_x or wants_weight:  # of operations that can be differentiated again
            mask = [wants_x, wants_weight, False]
            of_x, dense, _ = torch.ops.aten.convolution_backward(grad, x, weight, None, *settings, mask)
            of_weight = dense if wants_weight else of_weight
        return of_x, of_weight, grad.sum((0, 2, 3)) if wants_bias else None, *(None,) * 5


def _has_few_taps(weight: Tensor, dilation: tuple[int, ...], groups: int) -> bool:
    few = weight[0].numel() <= MOST_TAPS and len(weight) % LANES == 0 and groups == 1 and tuple(dilation) == (1, 1)
    return few and not is_without_native() and hasattr(library().steps, "spikebridge_convolution_weights")


def _sums(
    x: Tensor, weight: Tensor, grad: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias."""
    x, grad = x.contiguous(), grad.contiguous(memory_format=CHANNELS_LAST)
    num_taps, team = weight[0].numel(), library().team
    threads = min(torch.get_num_threads(), len(x), 1 + grad.numel() // WORK_OF_A_THREAD) if team else 1
    sums = x.new_empty(threads, (num_taps // TAPS + 1) * TAPS, len(weight))
    job = _Job(*x.shape, *grad.shape[1:], *weight.shape[2:], *stride, *padding)
    job.x, job.gradient, job.sums = x.data_ptr(), grad.data_ptr(), sums.data_ptr()
    job.num_parts, job.num_threads, job.team = threads, threads, team
    steps: Any = library().steps
    if steps.spikebridge_convolution_weights(ctypes.byref(job)) != 0:
        raise MemoryError("the gradient of a convolution found no memory to work in")
    total = sums.sum(0)
    return total[:num_taps].T.reshape(weight.shape), total[num_taps]
