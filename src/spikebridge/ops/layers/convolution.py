"""Convolutions in training, faster than oneDNN where inputs are silent or few.

Between spiking layers most inputs are 0: plain C lists the active ones of each row once, and sums outputs and the
weight gradient over them alone. With few input channels, as behind a camera, the weight gradient is a few sums, taken
together in one pass. The bias gradient is a sum, which PyTorch takes in a tenth of oneDNN's time. In float32 on a CPU,
channels last; everything else goes to PyTorch. Results are equal to rounding. A weight that is not finite shows only
where its input was active.
"""

import ctypes
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.ops.checks import number_on_cpu
from spikebridge.ops.native.layout import run
from spikebridge.ops.native.library import int64_fields, library, pointer_fields, threads_for
from spikebridge.ops.selection import CHANNELS_LAST, convolved_size, has_few_taps, select
from spikebridge.ops.sequence.autograd import is_batched

# share of active inputs up to which lists beat oneDNN, measured; for the weights less, since each is read and written
_MAX_ACTIVE = 0.4
_MAX_ACTIVE_BACKWARD = 0.33
_OUTPUTS = 64  # of a block, of spike_convolution.h; with fewer of them going through lists takes a larger share
_SAMPLE = 16  # pictures that are counted to estimate the active share
_TAPS = 10  # that are summed at once, of convolution.c
_WORK_OF_A_THREAD = 2**16  # elements; below it a thread costs more than it brings

_SIZES = int64_fields(
    *("num_pictures", "channels", "height", "width", "out_channels", "out_height", "out_width"),
    *("kernel_y", "kernel_x", "stride_y", "stride_x", "pad_y", "pad_x"),
)


class _SpikeJob(ctypes.Structure):
    """`SpikeConvolution` of spike_convolution.h."""

    _fields_ = [
        *_SIZES,
        *pointer_fields("x", "weights", "bias", "y", "sums", "gradient"),
        *int64_fields("num_parts", "num_threads"),
        *pointer_fields("team"),
    ]


class _FewTapsJob(ctypes.Structure):
    """`Convolution` of convolution.h."""

    _fields_ = [
        *_SIZES,
        *pointer_fields("x", "gradient", "sums"),
        *int64_fields("num_parts", "num_threads"),
        *pointer_fields("team"),
    ]


def convolve(layer: nn.Conv2d, x: Float[Tensor, "B C Y X"]) -> Float[Tensor, "B c y x"]:
    """The result of `layer(x)`, with the same gradients to rounding; faster with a layer channels last."""
    path = select("convolution", x, layer)
    if path == "torch":
        y: Tensor = layer(x)
        return y

    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return _Convolution.apply(x, layer.weight, layer.bias, path == "native", *settings)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, may_be_silent: bool, *settings: Any
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = settings
        ctx.active = _active_share(x) if may_be_silent else 1.0
        if _is_silent(ctx.active, len(weight), _MAX_ACTIVE):
            stride, padding, *_ = settings
            return sparse_outputs(x, weight, bias, stride, padding)

        return torch.conv2d(x, weight, bias, *settings)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        stride, padding, dilation, groups = ctx.settings
        grad_x: Tensor | None = None
        grad_weight: Tensor | None = None

        if wants_weight and not torch.is_grad_enabled() and not is_batched(grad):
            if not wants_x and has_few_taps(weight, dilation, groups):
                grad_weight, grad_bias = _few_tap_gradients(x, weight, grad, stride, padding)
                return None, grad_weight, grad_bias if wants_bias else None, *(None,) * 5

            if _is_silent(ctx.active, len(weight), _MAX_ACTIVE_BACKWARD):
                grad_weight = sparse_weight_gradient(x, grad, weight, stride, padding)
                wants_weight = False

        # PyTorch's own operation can be differentiated again
        if wants_x or wants_weight:
            settings = (stride, padding, dilation, False, (0, 0), groups)
            mask = [wants_x, wants_weight, False]
            grad_x, dense, _ = torch.ops.aten.convolution_backward(grad, x, weight, None, *settings, mask)
            grad_weight = dense if wants_weight else grad_weight

        return grad_x, grad_weight, grad.sum((0, 2, 3)) if wants_bias else None, *(None,) * 5


def _active_share(x: Tensor) -> float:
    """The share of inputs that are not 0, estimated from some of the pictures."""
    some = x[:: max(1, len(x) // _SAMPLE)]
    return number_on_cpu(some.count_nonzero()) / some.numel()


def _is_silent(active: float, num_outputs: int, max_active: float) -> bool:
    """True if the active share is small enough for lists; the limit is smaller for less than a block of outputs."""
    return active <= max_active * min(1.0, num_outputs / _OUTPUTS)


def sparse_outputs(
    x: Float[Tensor, "B C Y X"],
    weight: Float[Tensor, "D C ky kx"],
    bias: Float[Tensor, " D"] | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
) -> Float[Tensor, "B D y x"]:
    """The convolution of pictures of few events: each event is scattered over the outputs that see it."""
    size = convolved_size(x.shape[2:], weight.shape[2:], stride, padding)
    y = torch.empty(len(x), len(weight), *size, dtype=x.dtype, device=x.device, memory_format=CHANNELS_LAST)
    taps = weight.permute(0, 2, 3, 1).reshape(len(weight), -1).T
    weights = torch.cat([block.flatten() for block in taps.split(_OUTPUTS, 1)])

    # pictures are not equally active, so parts are many
    num_parts = min(len(x), 8 * threads_for(len(x)))
    _run_sparse(x, y.shape, weight, stride, padding, num_parts, weights=weights, bias=bias, y=y)

    return y


def sparse_weight_gradient(
    x: Float[Tensor, "B C Y X"],
    gradient: Float[Tensor, "B D y x"],
    weight: Float[Tensor, "D C ky kx"],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
) -> Float[Tensor, "D C ky kx"]:
    """The gradient of a weight of this shape, summed over active inputs; each thread has sums of its own."""
    gradient = gradient.contiguous(memory_format=CHANNELS_LAST)
    sums = x.new_empty(threads_for(len(x)), weight.numel())
    _run_sparse(x, gradient.shape, weight, stride, padding, len(sums), sums=sums, gradient=gradient)

    # sums lie by block of outputs, tap and output
    num_taps = weight[0].numel()
    blocks = [block.reshape(num_taps, -1) for block in sums.sum(0).split(_OUTPUTS * num_taps)]
    rows = torch.cat(blocks, 1).T.reshape(len(weight), *weight.shape[2:], weight.shape[1])

    return rows.permute(0, 3, 1, 2)


def _run_sparse(
    x: Tensor,
    shape: torch.Size,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    num_parts: int,
    **memory: Tensor | None,
) -> None:
    """Fills `y`, or `sums`, from the rest of the memory; `shape` is that of the outputs."""
    x = x.contiguous(memory_format=CHANNELS_LAST)
    job = _SpikeJob(*x.shape, *shape[1:], *weight.shape[2:], *stride, *padding)
    job.num_parts = num_parts
    job.num_threads = threads_for(len(x))
    job.team = library().team
    for name, tensor in {**memory, "x": x}.items():
        setattr(job, name, None if tensor is None else tensor.data_ptr())

    run("spikebridge_spike_convolution", job, "a convolution, for the list of active inputs")


def _few_tap_gradients(
    x: Tensor, weight: Tensor, grad: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias of a convolution with few inputs; the bias is one more tap, of ones."""
    x = x.contiguous()
    grad = grad.contiguous(memory_format=CHANNELS_LAST)
    num_taps = weight[0].numel()
    num_parts = threads_for(min(len(x), 1 + grad.numel() // _WORK_OF_A_THREAD))
    sums = x.new_empty(num_parts, (num_taps // _TAPS + 1) * _TAPS, len(weight))

    job = _FewTapsJob(*x.shape, *grad.shape[1:], *weight.shape[2:], *stride, *padding)
    job.x = x.data_ptr()
    job.gradient = grad.data_ptr()
    job.sums = sums.data_ptr()
    job.num_parts = num_parts
    job.num_threads = num_parts
    job.team = library().team
    run("spikebridge_convolution_weights", job, "the gradient of a convolution")

    total = sums.sum(0)
    return total[:num_taps].T.reshape(weight.shape), total[num_taps]
