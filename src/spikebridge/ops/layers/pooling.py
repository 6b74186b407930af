"""Max pooling that stores the place of each largest value in one byte, where PyTorch takes eight.

Behind a spiking convolution the places are most of what pooling reads and writes. In plain C for float32 on a CPU,
channels last, windows side by side; everything else goes to PyTorch.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from spikebridge.errors import ConfigError
from spikebridge.ops.native.layout import as_own_tensor
from spikebridge.ops.native.library import int64_fields, library, pointer_fields, threads_for
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.selection import CHANNELS_LAST, select
from spikebridge.ops.sequence.autograd import refuse_unusual_backward
from spikebridge.ops.sequence.spec import Size

_WORK_OF_A_THREAD = 2**15  # elements; below it a thread costs more than it brings


class _Pool(ctypes.Structure):
    """`Pool` of pool.h."""

    _fields_ = [
        *int64_fields("num_pictures", "channels", "height", "width", "size_y", "size_x"),
        *pointer_fields("full", "pooled", "places"),
        *int64_fields("num_threads"),
        *pointer_fields("team"),
    ]


def max_pool2d(x: Float[Tensor, "B C Y X"], size: int | tuple[int, int]) -> Float[Tensor, "B C y x"]:
    """The largest value of each window of `size`, side by side; rows and columns left over are left out.

    Args:
        x: pictures; laid out channels last (`x.to(memory_format=torch.channels_last)`) they take the fast path.
        size: of a window, or of both its sides.

    Returns:
        The result of `torch.nn.functional.max_pool2d(x, size)`, in the layout of `x`.

    Raises:
        ConfigError: a size that is no integer above 0, or pair of them.

    Example:
        >>> max_pool2d(torch.arange(4.0).reshape(1, 1, 2, 2), 2).item()
        3.0
    """
    height, width = sides_of(size)
    if select("max_pool2d", x, (height, width)) == "torch":
        return F.max_pool2d(x, (height, width))

    pooled: Tensor = _MaxPool.apply(x, height, width)
    return pooled


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` with windows side by side, by `max_pool2d`.

    Args:
        kernel_size: of a window, or of both its sides.

    Example:
        >>> MaxPool2d(2)(torch.arange(4.0).reshape(1, 1, 2, 2)).item()
        3.0
    """

    def __init__(self, kernel_size: int | tuple[int, int]) -> None:
        super().__init__(kernel_size)

    def forward(self, input: Tensor) -> Tensor:
        return max_pool2d(input, self.kernel_size)


def windows_of(module: nn.Module) -> Size | None:
    """The windows of a max pooling that lie side by side; None for any other module."""
    if not isinstance(module, nn.MaxPool2d) or type(module) not in (nn.MaxPool2d, MaxPool2d):
        return None

    size = pair_of(module.kernel_size)
    is_unpadded = pair_of(module.padding) == (0, 0)
    is_plain = pair_of(module.stride) == size and is_unpadded and pair_of(module.dilation) == (1, 1)
    return size if is_plain and not (module.ceil_mode or module.return_indices) else None


def sides_of(size: int | Size) -> Size:
    """Height and width of a window; a `ConfigError` for what is no size."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sides):
        raise ConfigError(
            f"pooling needs a size, an integer of at least 1 or two of them (height, width), but got {size!r}"
        )

    return sides


def pair_of(number: int | Sequence[int]) -> Size:
    """Height and width, from one number for both or from two."""
    height, width = (number, number) if isinstance(number, int) else number
    return height, width


def _run(name: str, full: Tensor, pooled: Tensor, places: Tensor, height: int, width: int) -> None:
    pointers = (tensor.data_ptr() for tensor in (full, pooled, places))
    threads = threads_for(1 + full.numel() // _WORK_OF_A_THREAD)
    job = _Pool(*full.shape, height, width, *pointers, threads, library().team)
    getattr(library().steps, name)(ctypes.byref(job))


def _pool_empty(shape: Sequence[int], like: Tensor) -> Tensor:
    batch, channels, height, width = shape
    return as_own_tensor(pool_empty((batch, height, width, channels), like).permute(0, 3, 1, 2))


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, height: int, width: int) -> Tensor:
        shape = (*x.shape[:2], x.shape[2] // height, x.shape[3] // width)
        pooled = _pool_empty(shape, x)
        places = torch.empty(shape, dtype=torch.uint8, device=x.device, memory_format=CHANNELS_LAST)
        _run("spikebridge_pool_forward", x, pooled, places, height, width)
        ctx.save_for_backward(places)
        ctx.shape = x.shape
        ctx.size = (height, width)

        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        refuse_unusual_backward("max pooling", grad)
        (places,) = ctx.saved_tensors
        full = _pool_empty(ctx.shape, grad)
        if any(side % size for side, size in zip(ctx.shape[2:], ctx.size, strict=True)):
            full.zero_()  # rows and columns left over have no gradient

        _run("spikebridge_pool_backward", full, grad.contiguous(memory_format=CHANNELS_LAST), places, *ctx.size)
        return full, None, None
