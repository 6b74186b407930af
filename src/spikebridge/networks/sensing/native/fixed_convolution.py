"""Convolutions of a trained network: weights are laid out once for the native library.

For few pictures, as in a network that answers step by step, PyTorch rearranges the weights of each layer in each call.
A kernel of 3 x 3 with a stride of 1 takes 16 products for 2 x 2 outputs of a channel in place of 36 (A. Lavin and S.
Gray, CVPR 2016). Results are those of the layer to rounding.
"""

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.networks.sensing.native.job import Job
from spikebridge.ops.native.library import int64_fields, library, pointer_fields
from spikebridge.ops.selection import Operation, Path, always, convolved_size, has_hooks, native_on_pictures, select

_WIDTH = 8  # outputs of a part of a block, of fixed_convolution.c
_MIN_TILED_CHANNELS = 16  # with fewer of them the transforms of tiles take longer than the products that they save
_WORK_OF_A_THREAD = 2**20  # products; below it a thread costs more than it brings

_takes_pictures = native_on_pictures("spikebridge_fixed_convolutions")


def _is_native(x: Tensor, *layers: nn.Conv2d) -> bool:
    fits = _takes_pictures(x) and x.ndim == 4 and x.shape[1] == layers[0].in_channels
    return fits and all(map(_is_fixed, layers))


def _is_fixed(layer: nn.Conv2d) -> bool:
    """True if plain C may run a convolution without gradients."""
    plain = layer.groups == 1 and tuple(layer.dilation) == (1, 1) and layer.padding_mode == "zeros"
    fits = plain and not isinstance(layer.padding, str) and layer.weight.dtype == torch.float32
    return fits and not has_hooks(layer)


FIXED_CONVOLUTION = Operation(
    "convolutions of few pictures whose weights no longer change, one behind the other",
    (
        Path("native", "float32 on a CPU, without gradients, no hook on a layer", _is_native),
        Path("torch", "always", always),
    ),
    lambda _: (torch.zeros(1, 8, 4, 4), nn.Conv2d(8, 8, 3)),
)


class _Job(Job):
    """`FixedConvolution` of fixed_convolution.h."""

    _fields_ = [
        *int64_fields("num_pictures", "channels", "height", "width", "out_channels", "out_height", "out_width"),
        *int64_fields("kernel_y", "kernel_x", "stride_y", "stride_x", "pad_y", "pad_x"),
        *int64_fields("picture_step", "channel_step", "row_step", "column_step"),
        *int64_fields("has_shortcut", "by_tiles", "parts"),
        *pointer_fields("weights", "bias", "lower"),
        *int64_fields("num_threads"),
        *pointer_fields("team"),
    ]


class _Form(NamedTuple):
    """The constants of a layer; see `FixedConvolution` of fixed_convolution.h."""

    channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    has_shortcut: bool
    by_tiles: bool
    parts: int


class FixedConvolution(nn.Module):
    """A convolution with zeros as padding, then a rectification from output `relu_from` on; its weights are copied."""

    # with a shortcut the signal has as many more channels as there are outputs: they come first, are not convolved, and
    # are added to the outputs before these are rectified

    def __init__(self, layer: nn.Conv2d, relu_from: int | None = None, shortcut: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.relu_from = relu_from
        self.shortcut = shortcut
        kernel: Any = layer.kernel_size
        stride: Any = layer.stride
        padding: Any = layer.padding

        if shortcut and (stride != (1, 1) or any(k != 2 * p + 1 for k, p in zip(kernel, padding, strict=True))):
            raise ConfigError(f"a shortcut needs outputs of the size of the inputs, but got {layer}; pad half a kernel")

        # the native library reads float32 on the CPU, wherever the layer is
        weight = layer.weight.detach().cpu().float()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu().float()
        lower = torch.full_like(bias, -torch.inf)
        if relu_from is not None:
            lower[relu_from:] = 0.0

        by_tiles = kernel == (3, 3) and stride == (1, 1) and layer.in_channels >= _MIN_TILED_CHANNELS
        parts = 2 if len(weight) % (2 * _WIDTH) == 0 else 1
        self.form = _Form(layer.in_channels, layer.out_channels, kernel, stride, padding, shortcut, by_tiles, parts)

        # whole blocks of outputs, zeros behind the last
        num_more = -len(weight) % _WIDTH
        blocks = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, num_more)).unflatten(0, (-1, parts * _WIDTH))
        weights = _tile_weights(blocks) if by_tiles else blocks.permute(0, 3, 4, 2, 1)
        self.laid_out = weights.contiguous(), F.pad(bias, (0, num_more)), F.pad(lower, (0, num_more))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        inputs = self.convolved_channels(x)
        if select(FIXED_CONVOLUTION, inputs, self.layer) == "native":
            return _run(x, [self])

        y: Tensor = self.layer(inputs)
        if self.shortcut:
            y = y + x[:, : self.layer.out_channels]

        if self.relu_from is not None:
            y[:, self.relu_from :].relu_()

        return y

    def convolved_channels(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H W"]:
        return x[:, self.layer.out_channels :] if self.shortcut else x


class FixedConvolutions(nn.Sequential):
    """Convolutions one behind the other, in one native call."""

    def __init__(self, *layers: FixedConvolution) -> None:
        super().__init__(*layers)
        for before, after in pairwise(layers):
            num_inputs = after.layer.in_channels + (after.layer.out_channels if after.shortcut else 0)
            if num_inputs != before.layer.out_channels:
                raise ConfigError(
                    f"{before.layer} needs a layer of as many channels behind it, but {after.layer} takes {num_inputs}"
                )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        layers: list[Any] = list(self)
        inputs = layers[0].convolved_channels(x)
        if select(FIXED_CONVOLUTION, inputs, *(one.layer for one in layers)) == "native":
            return _run(x, layers)

        y: Tensor = super().forward(x)
        return y


def _run(x: Tensor, layers: Sequence[FixedConvolution]) -> Tensor:
    plan = _plan(x.shape, x.stride(), torch.get_num_threads(), *(one.form for one in layers))
    jobs = type(plan).from_buffer_copy(plan)
    for job, layer in zip(jobs, layers, strict=True):
        job.weights, job.bias, job.lower = (one.data_ptr() for one in layer.laid_out)

    last = jobs[-1]
    y = x.new_empty(last.num_pictures, last.out_height, last.out_width, last.out_channels)
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (x, y))
    steps: Any = library().steps
    if steps.spikebridge_fixed_convolutions(jobs, len(layers), *pointers) != 0:
        raise MemoryError("out of memory in convolutions, for their padded pictures")

    return y.permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _plan(shape: torch.Size, strides: tuple[int, ...], num_threads: int, *forms: _Form) -> Any:
    """The jobs of layers for pictures of a shape, without their weights."""
    jobs = (_Job * len(forms))()
    number, _, *size = shape
    for k, form in enumerate(forms):
        out_size = convolved_size(size, form.kernel, form.stride, form.padding)
        if min(out_size) < 1:
            raise ShapeError(f"a kernel of {form.kernel} needs pictures that are no smaller, but got {tuple(shape)}")

        products = number * prod(out_size) * form.out_channels * form.channels * prod(form.kernel)
        jobs[k] = _Job(
            *(number, form.channels, *size, form.out_channels, *out_size),
            *(*form.kernel, *form.stride, *form.padding, *strides),
            *(form.has_shortcut, form.by_tiles, form.parts, None, None, None),
            *(min(num_threads, 1 + products // _WORK_OF_A_THREAD), library().team),
        )

        # the outputs, which the next layer reads, lie channels last
        size = list(out_size)
        row = out_size[1] * form.out_channels
        strides = out_size[0] * row, 1, row, form.out_channels

    return jobs


def _tile_weights(blocks: Float[Tensor, "K L C 3 3"]) -> Float[Tensor, "K 16 C L"]:
    """The weights of each place in a tile, `G g G'`."""
    transform = blocks.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    return (transform @ blocks @ transform.T).flatten(3).permute(0, 3, 2, 1)
