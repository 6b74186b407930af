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
from spikebridge.ops.native.library import library
from spikebridge.ops.selection import CHANNELS_LAST, convolved_size, has_few_taps, select
from spikebridge.ops.sequence.autograd import is_batched

_MOST_ACTIVE = 0.4  # of what comes in; with more of it oneDNN is as fast
_MOST_ACTIVE_BACKWARD = 0.33  # the same for the weights, each of which is read and written again
_OUTPUTS = 64  # of a block, of spike_convolution.h; with fewer of them going through lists takes a larger share
_LOOKED_AT = 16  # pictures that are counted to estimate the active share

_SIZES = [  # of pictures and kernel, as the headers of both kinds of convolution have them
    *[(name, ctypes.c_int64) for name in ("num_pictures", "channels", "height", "width")],
    *[(name, ctypes.c_int64) for name in ("out_channels", "out_height", "out_width")],
    *[(name, ctypes.c_int64) for name in ("kernel_y", "kernel_x", "stride_y", "stride_x", "pad_y", "pad_x")],
]


class _SpikeJob(ctypes.Structure):
    """`SpikeConvolution` of spike_convolution.h."""

    _fields_ = [
        *_SIZES,
        *[(name, ctypes.c_void_p) for name in ("x", "weights", "bias", "y", "sums", "gradient")],
        *[(name, ctypes.c_int64) for name in ("num_parts", "num_threads")],
        ("team", ctypes.c_void_p),
    ]


def _active_share(x: Float[Tensor, "B C Y X"]) -> float:
    """How much of what comes in is not 0, by some of the pictures.

    Args:
        x: pictures.

    Example:
        >>> _active_share(torch.tensor([0.0, 0.0, 1.0, 0.0]).reshape(1, 1, 2, 2))
        0.25
    """
    some = x[:: max(1, len(x) // _LOOKED_AT)]
    return number_on_cpu(some.count_nonzero()) / some.numel()


def _is_few(active: float, num_outputs: int, most: float) -> bool:
    """Whether the share of active inputs is small enough to leave out the others.

    Args:
        active: the share.
        num_outputs: channels.
        most: where there are outputs enough.

    Example:
        >>> _is_few(0.3, 64, _MOST_ACTIVE), _is_few(0.3, 32, _MOST_ACTIVE)
        (True, False)
    """
    return active <= most * min(1.0, num_outputs / _OUTPUTS)


def outputs_of(
    x: Float[Tensor, "B C Y X"],
    weight: Float[Tensor, "D C ky kx"],
    bias: Float[Tensor, " D"] | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
) -> Float[Tensor, "B D y x"]:
    """The convolution.

    Args:
        x: pictures.
        weight: of the layer.
        bias: of the outputs.
        stride: along rows and columns.
        padding: rows and columns of zeros on each side.
    """
    size = convolved_size(x.shape[2:], weight.shape[2:], stride, padding)
    y = torch.empty(len(x), len(weight), *size, dtype=x.dtype, device=x.device, memory_format=CHANNELS_LAST)
    taps = weight.permute(0, 2, 3, 1).reshape(len(weight), -1).T
    weights = torch.cat([block.flatten() for block in taps.split(_OUTPUTS, 1)])

    # pictures are not equally active, so parts are many
    parts = min(len(x), 8 * _threads(x))
    _run(x, y.shape, weight, stride, padding, parts, weights=weights, bias=bias, y=y)

    return y


def weights_of(
    x: Float[Tensor, "B C Y X"],
    gradient: Float[Tensor, "B D y x"],
    weight: Float[Tensor, "D C ky kx"],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
) -> Float[Tensor, "D C ky kx"]:
    """The gradient of the weights.

    Args:
        x: as in `outputs_of`, and so on.
        gradient: of what that gives.
        weight: for its shape.
        stride: along rows and columns.
        padding: rows and columns of zeros on each side.
    """
    gradient = gradient.contiguous(memory_format=CHANNELS_LAST)
    sums = x.new_empty(_threads(x), weight.numel())
    _run(x, gradient.shape, weight, stride, padding, len(sums), sums=sums, gradient=gradient)
    num_outputs = len(weight)
    num_taps = weight[0].numel()
    blocks = [block.reshape(num_taps, -1) for block in sums.sum(0).split(_OUTPUTS * num_taps)]
    of_taps = torch.cat(blocks, 1).T.reshape(num_outputs, *weight.shape[2:], weight.shape[1])

    return of_taps.permute(0, 3, 1, 2)


def _threads(x: Tensor) -> int:
    return min(torch.get_num_threads(), len(x)) if library().team else 1


def _run(
    x: Tensor,
    shape: torch.Size,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    parts: int,
    **memory: Tensor | None,
) -> None:
    """Fills `y`, or `sums`, from the rest of the memory; the shape is that of y."""
    x = x.contiguous(memory_format=CHANNELS_LAST)
    job = _SpikeJob(*x.shape, *shape[1:], *weight.shape[2:], *stride, *padding)
    job.num_parts = parts
    job.num_threads = _threads(x)
    job.team = library().team

    for name, tensor in {**memory, "x": x}.items():
        setattr(job, name, None if tensor is None else tensor.data_ptr())

    steps: Any = library().steps
    if steps.spikebridge_spike_convolution(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in a convolution, for the list of active inputs")


_TAPS = 10  # that are summed at once, of convolution.c
_WORK_OF_A_THREAD = 2**16  # elements; below it a thread costs more than it brings


class _Job(ctypes.Structure):
    """`Convolution` of convolution.h."""

    _fields_ = [
        *_SIZES,
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
        if _is_few(ctx.active, len(weight), _MOST_ACTIVE):
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
            if not wants_x and has_few_taps(weight, dilation, groups):
                of_weight, of_bias = _sums(x, weight, grad, stride, padding)
                return None, of_weight, of_bias if wants_bias else None, *(None,) * 5

            if _is_few(ctx.active, len(weight), _MOST_ACTIVE_BACKWARD):
                of_weight = weights_of(x, grad, weight, stride, padding)
                wants_weight = False

        if wants_x or wants_weight:  # of operations that can be differentiated again
            mask = [wants_x, wants_weight, False]
            of_x, dense, _ = torch.ops.aten.convolution_backward(grad, x, weight, None, *settings, mask)
            of_weight = dense if wants_weight else of_weight

        return of_x, of_weight, grad.sum((0, 2, 3)) if wants_bias else None, *(None,) * 5


def _sums(
    x: Tensor, weight: Tensor, grad: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias."""
    x = x.contiguous()
    grad = grad.contiguous(memory_format=CHANNELS_LAST)
    num_taps = weight[0].numel()
    team = library().team
    threads = min(torch.get_num_threads(), len(x), 1 + grad.numel() // _WORK_OF_A_THREAD) if team else 1
    sums = x.new_empty(threads, (num_taps // _TAPS + 1) * _TAPS, len(weight))
    job = _Job(*x.shape, *grad.shape[1:], *weight.shape[2:], *stride, *padding)
    job.x = x.data_ptr()
    job.gradient = grad.data_ptr()
    job.sums = sums.data_ptr()
    job.num_parts = threads
    job.num_threads = threads
    job.team = team
    steps: Any = library().steps

    if steps.spikebridge_convolution_weights(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in the gradient of a convolution")

    total = sums.sum(0)
    return total[:num_taps].T.reshape(weight.shape), total[num_taps]
