"""Convolutions of a network that is trained: weights are laid out once for the native library.

Of few pictures, as in a network that answers step by step, PyTorch rearranges the weights of each layer in each call.
A kernel of 3 x 3 with a stride of 1 takes 16 products for 2 x 2 outputs of a channel in place of 36 (A. Lavin and S.
Gray, CVPR 2016). Results are those of the layer to rounding.
"""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.ops.native.library import library
from spikebridge.ops.selection import convolved_size, select

_WIDTH = 8  # outputs of a part of a block, of fixed_convolution.c
_TILED_CHANNELS = 16  # with fewer of them the transforms of tiles take longer than the products that they save
_WORK_OF_A_THREAD = 2**20  # products; below it a thread costs more than it brings


class _Job(ctypes.Structure):
    """`FixedConvolution` of fixed_convolution.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("num_pictures", "channels", "height", "width")],
        *[(name, ctypes.c_int64) for name in ("out_channels", "out_height", "out_width")],
        *[(name, ctypes.c_int64) for name in ("kernel_y", "kernel_x", "stride_y", "stride_x", "pad_y", "pad_x")],
        *[(name, ctypes.c_int64) for name in ("picture_step", "channel_step", "row_step", "column_step")],
        *[(name, ctypes.c_int64) for name in ("by_tiles", "rectified", "parts")],
        *[(name, ctypes.c_void_p) for name in ("weights", "bias")],
        ("num_threads", ctypes.c_int64),
        ("team", ctypes.c_void_p),
    ]


class FixedConvolution(nn.Module):
    """A convolution, and ReLU behind it if asked for; later changes of its weights are not seen.

    Args:
        layer: the convolution, its padding zeros.
        relu: whether outputs below 0 become 0.

    Example:
        >>> layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        >>> _ = nn.init.ones_(layer.weight)
        >>> FixedConvolution(layer)(torch.ones(1, 1, 3, 3)).int().tolist()  # pixels within reach of each
        [[[[4, 6, 4], [6, 9, 6], [4, 6, 4]]]]
    """

    def __init__(self, layer: nn.Conv2d, relu: bool = False) -> None:
        super().__init__()
        self.layer, self.relu = layer, relu
        self._geometry: Any = (layer.kernel_size, layer.stride, layer.padding)
        weight = layer.weight.detach()
        self._num_products = weight[0].numel()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        small = layer.kernel_size == (3, 3) and layer.stride == (1, 1)
        self._by_tiles = small and layer.in_channels >= _TILED_CHANNELS
        self._parts = 2 if len(weight) % (2 * _WIDTH) == 0 else 1
        num_more = -len(weight) % _WIDTH
        blocks = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, num_more)).unflatten(0, (-1, self._parts * _WIDTH))
        laid_out = _of_tiles(blocks) if self._by_tiles else blocks.permute(0, 3, 4, 2, 1)
        self._weights, self._bias = laid_out.contiguous(), F.pad(bias, (0, num_more))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The outputs.

        Args:
            x: pictures.
        """
        if select("fixed convolution", x, self.layer) == "native":
            return self._native(x)
        y: Tensor = self.layer(x)
        return y.relu_() if self.relu else y

    def _native(self, x: Tensor) -> Tensor:
        layer: Any = self.layer
        kernel, stride, padding = self._geometry
        y = x.new_empty(len(x), *convolved_size(x, kernel, stride, padding), layer.out_channels)
        threads = min(torch.get_num_threads(), 1 + y.numel() * self._num_products // _WORK_OF_A_THREAD)
        sizes = (*x.shape, layer.out_channels, *y.shape[1:3], *kernel, *stride, *padding)
        weights = self._weights.data_ptr(), self._bias.data_ptr()
        job = _Job(*sizes, *x.stride(), self._by_tiles, self.relu, self._parts, *weights, threads, library().team)
        run: Any = library().steps
        pointers = (ctypes.c_void_p(z.data_ptr()) for z in (x, y))
        if run.spikebridge_fixed_convolution(ctypes.byref(job), *pointers) != 0:
            raise MemoryError("out of memory in a convolution, for its padded pictures")
        return y.permute(0, 3, 1, 2)


def _of_tiles(blocks: Float[Tensor, "K L C 3 3"]) -> Float[Tensor, "K 16 C L"]:
    """The weights of each place in a tile, `G g G'`."""
    halves = blocks.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    return (halves @ blocks @ halves.T).flatten(3).permute(0, 3, 2, 1)
