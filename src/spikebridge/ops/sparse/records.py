"""The layers of a network as records of the native step: weights laid out, buffers for signals, all held here."""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.ops.layers.pooling import pair_of
from spikebridge.ops.native.library import int64_fields, pointer_fields
from spikebridge.ops.sequence.spec import NeuronParams
from spikebridge.ops.sparse.layers import EventLayer, arguments_of

# in the order of events.h
_CONVOLVE, _MULTIPLY, _TAKE_LARGEST, _TAKE_MEAN, _REORDER, _FIRE = range(6)
_RESET_TO_VALUE = 2  # a reset to zero is one to the value 0
_RESET_BY_THRESHOLD = 3
# share of events up to which a convolution scatters them, and a pool looks only at windows that hold one, measured
_MAX_SCATTERED = 0.4
_MAX_SCATTERED_IN_BLOCKS = 0.7  # where channels come in whole blocks
_MAX_POOLED = 0.5
_BLOCK_BYTES = 64  # of a block of channels, that of events.c
_SLACK = 64  # numbers of a block in which the native step writes lists and flags


class Record(ctypes.Structure):
    """`Layer` of events.h."""

    _fields_ = [
        *int64_fields("kind", "channels", "height", "width", "out_channels", "out_height", "out_width"),
        *int64_fields("kernel_y", "kernel_x", "stride_y", "stride_x", "pad_y", "pad_x", "dilation_y", "dilation_x"),
        *int64_fields("groups", "padded_width", "count_padding", "divisor", "max_events"),
        *int64_fields("reset", "has_current", "has_adaptation", "refractory", "varied", "first_state"),
        *pointer_fields("weight", "blocks", "bias"),
        ("parameters", ctypes.c_void_p * len(NeuronParams._fields)),
        *pointer_fields("places", "target", "full", "cleared", "padded", "index", "values", "flags"),
    ]


class Records:
    """The records of a network for steps like the empty `like`, `(0, *N)`, in their order, and the input at the end."""

    # `fits` says whether the native step takes all layers at these shapes

    def __init__(self, layers: Sequence[EventLayer], like: Tensor) -> None:
        self.like = like
        self.layers: list[EventLayer | None] = []  # of each record
        self.records: list[Record] = []
        self.num_states = 0
        self.fits = like.shape[1:].numel() > 0
        self._held: list[Tensor] = []
        self._flattened: torch.Size | None = None  # a flattened image whose channels still come last
        entry = self._entry()

        for layer in layers:
            self._add(layer)

        self._restore_order()
        self.array = (Record * (len(self.records) + 1))(*self.records, entry)

    def _add(self, layer: EventLayer) -> None:
        module: Any = layer.module
        # a product has its weights reordered instead
        if not isinstance(module, nn.Linear):
            self._restore_order()

        before = self.like
        after = before if layer.address is not None else module(before)
        if isinstance(module, nn.Flatten):
            channels, height, width = _image_size(before)
            self._flattened = before.shape[1:] if channels > 1 and height * width > 1 else None
        elif isinstance(module, nn.Linear):
            self._add_product(layer, module, after)
        elif isinstance(module, nn.Conv2d):
            self._add_convolution(layer, module, after)
        elif layer.address is not None:
            self._add_neurons(layer, module)
        else:
            self._add_pool(layer, module, after)

        self.like = after

    def _add_product(self, layer: EventLayer, module: nn.Linear, after: Tensor) -> None:
        self.fits = self.fits and self.like.ndim == 2  # the native step has one product a step, not one a row
        weight = module.weight.detach()
        if self._flattened is not None:
            weight = weight.reshape(-1, *self._flattened).permute(0, 2, 3, 1).flatten(1)
            self._flattened = None

        record = self._record(layer, _MULTIPLY, after)
        record.weight = self._hold(weight.t())
        record.bias = self._hold_bias(module)

    def _add_convolution(self, layer: EventLayer, module: nn.Conv2d, after: Tensor) -> None:
        high, wide = module.kernel_size
        weight = module.weight.detach().reshape(module.groups, -1, module.in_channels // module.groups, high, wide)
        record = self._record(layer, _CONVOLVE, after)
        record.weight = self._hold(weight.flip(-1).permute(0, 2, 3, 4, 1))
        record.bias = self._hold_bias(module)
        record.kernel_y, record.kernel_x = module.kernel_size
        record.stride_y, record.stride_x = module.stride
        record.pad_y = _padding_of(module, 0)
        record.pad_x = _padding_of(module, 1)
        record.dilation_y, record.dilation_x = module.dilation
        record.groups = module.groups
        record.places = self._hold(_places_of(self.like))

        # the fastest scatter: kernels that the C compiler knows, over whole blocks of channels
        lanes = _BLOCK_BYTES // weight.element_size()
        is_dense = set(module.stride) | set(module.dilation) | {module.groups} == {1}
        if is_dense and (high, wide) in ((3, 3), (5, 5)) and module.out_channels % lanes == 0:
            blocks = module.weight.detach().flip(-1).unflatten(0, (-1, lanes)).permute(0, 2, 3, 4, 1)
            record.blocks = self._hold(blocks)
            record.target = self._hold(_targets_of_taps(record))

        share = _MAX_SCATTERED_IN_BLOCKS if record.blocks else _MAX_SCATTERED
        size = self.like.shape[1:].numel()
        record.max_events = int(share * size) if module.groups == 1 else size
        self._add_padded(record)

    def _add_padded(self, record: Record) -> None:
        """Memory for the input with its padding, up to the last row and column that a kernel reads."""
        last_y = (record.out_height - 1) * record.stride_y + (record.kernel_y - 1) * record.dilation_y
        last_x = (record.out_width - 1) * record.stride_x + (record.kernel_x - 1) * record.dilation_x
        rows = max(last_y + 1, record.height + record.pad_y)
        record.padded_width = max(last_x + 1, record.width + record.pad_x)
        record.padded = self._hold(self.like.new_zeros(rows * record.padded_width * record.channels))

    def _add_pool(self, layer: EventLayer, module: Any, after: Tensor) -> None:
        is_max = isinstance(module, nn.MaxPool2d)
        record = self._record(layer, _TAKE_LARGEST if is_max else _TAKE_MEAN, after)
        record.kernel_y, record.kernel_x = pair_of(module.kernel_size)
        record.stride_y, record.stride_x = pair_of(module.stride)
        record.pad_y, record.pad_x = pair_of(module.padding)
        record.dilation_y, record.dilation_x = pair_of(module.dilation) if is_max else (1, 1)

        # a window whose taps pass by the whole input has minus infinity, which no event sets
        self.fits = self.fits and record.dilation_y <= record.height and record.dilation_x <= record.width
        if not is_max:
            record.count_padding = int(module.count_include_pad)
            record.divisor = module.divisor_override or 0

        record.max_events = int(_MAX_POOLED * record.channels * record.height * record.width)
        is_apart = record.stride_y >= record.kernel_y and record.stride_x >= record.kernel_x
        if is_apart and record.dilation_y == record.dilation_x == 1:
            record.target = self._hold(_only_window(record, self.like))
        else:
            record.places = self._hold(_places_of(self.like))

    def _add_neurons(self, layer: EventLayer, module: Any) -> None:
        record = self._record(layer, _FIRE, self.like)
        arguments = arguments_of(module, self.like.ndim)
        if "surrogate" in arguments:
            to_value = arguments.get("reset", "zero") == "zero"
            record.reset = _RESET_TO_VALUE if to_value else _RESET_BY_THRESHOLD

        params = NeuronParams(**{n: value for n, value in arguments.items() if n in NeuronParams._fields})
        values = [torch.as_tensor(value, dtype=self.like.dtype) for value in params]
        record.varied = any(value.numel() > 1 for value in values)
        for index, value in enumerate(values):
            value = _channels_last(value.expand(self.like.shape[1:])) if record.varied else value.reshape(())
            record.parameters[index] = self._hold(value)

        state = module.initial_state(self.like)
        fields = [name for name, value in state._asdict().items() if value is not None]
        record.has_current = "i" in fields
        record.has_adaptation = "a" in fields
        record.refractory = arguments.get("refractory", 0)
        record.first_state = self.num_states
        self.num_states += len(fields)

    def _restore_order(self) -> None:
        """Reorders a flattened image from channels last to the order in which PyTorch flattens it."""
        shape = self._flattened
        self._flattened = None
        if shape is not None:
            record = self._record(None, _REORDER, self.like)
            target = torch.arange(shape.numel(), dtype=torch.int32).reshape(shape)
            record.target = self._hold(target.permute(1, 2, 0))

    def _record(self, layer: EventLayer | None, kind: int, after: Tensor) -> Record:
        record = Record(kind=kind)
        record.channels, record.height, record.width = _image_size(self.like)
        record.out_channels, record.out_height, record.out_width = _image_size(after)
        size = record.out_channels * record.out_height * record.out_width
        self._add_buffers(record, size, record.out_channels)
        self.records.append(record)
        self.layers.append(layer)

        return record

    def _entry(self) -> Record:
        record = Record()
        record.channels, record.height, record.width = _image_size(self.like)
        self._add_buffers(record, self.like.shape[1:].numel())
        return record

    def _add_buffers(self, record: Record, size: int, place: int = 0) -> None:
        new = self.like.new_zeros
        flags = new(size + _SLACK, dtype=torch.uint8)
        if record.kind == _TAKE_LARGEST or record.kind == _TAKE_MEAN:
            flags[size] = 1  # of no window: it is never listed
        record.full = self._hold(new(size + place))
        record.cleared = self._hold(new(size))
        record.values = self._hold(new(size + _SLACK))
        record.index = self._hold(new(size + _SLACK, dtype=torch.int32))
        record.flags = self._hold(flags)

    def _hold(self, tensor: Tensor) -> int:
        """The address of a dense copy that lives as long as the records."""
        tensor = tensor.contiguous()
        self._held.append(tensor)
        return tensor.data_ptr()

    def _hold_bias(self, module: nn.Linear | nn.Conv2d) -> int | None:
        return None if module.bias is None else self._hold(module.bias.detach())


def _image_size(step: Tensor) -> tuple[int, int, int]:
    """Channels, rows and columns of a step `(B, *N)`; one that is no image is one place of many channels."""
    if step.ndim == 4:
        return step.shape[1], step.shape[2], step.shape[3]
    return step.shape[1:].numel(), 1, 1


def _padding_of(layer: nn.Conv2d, axis: int) -> int:
    """The zeros before the first row (axis 0) or column (axis 1)."""
    if layer.padding == "valid":
        return 0
    if layer.padding == "same":
        return layer.dilation[axis] * (layer.kernel_size[axis] - 1) // 2

    return int(layer.padding[axis])


def _channels_last(values: Tensor) -> Tensor:
    """Values `(*N)` in the order of the native step, the channels of an image last."""
    return values.permute(1, 2, 0) if values.ndim == 3 else values


def _places_of(step: Tensor) -> Tensor:
    """Row, column and channel of every input, in the order of the native step."""
    channels, height, width = _image_size(step)
    y, x, c = torch.meshgrid(*[torch.arange(n, dtype=torch.int32) for n in (height, width, channels)], indexing="ij")
    return torch.stack([y, x, c], dim=-1)


def _only_window(record: Record, step: Tensor) -> Tensor:
    """The output whose window holds an input, one too many where there is none, for windows that do not overlap."""
    y, x, c = _places_of(step).unbind(-1)
    to_y, in_y = _window_along(y, record.pad_y, record.stride_y, record.kernel_y, record.out_height)
    to_x, in_x = _window_along(x, record.pad_x, record.stride_x, record.kernel_x, record.out_width)
    target = (to_y * record.out_width + to_x) * record.out_channels + c
    none = record.out_channels * record.out_height * record.out_width

    return torch.where(in_y & in_x, target, none).to(torch.int32)


def _window_along(at: Tensor, pad: int, stride: int, kernel: int, size: int) -> tuple[Tensor, Tensor]:
    """The window of each place along an axis, and whether there is one."""
    to = (at + pad).div(stride, rounding_mode="floor")
    return to, (at + pad - to * stride < kernel) & (to < size)


def _targets_of_taps(record: Record) -> Tensor:
    """The output of each tap of a kernel, its columns backward, for every place of the input; one too many for none."""
    y = torch.arange(record.height)[:, None] + record.pad_y - torch.arange(record.kernel_y)
    x = torch.arange(record.width)[:, None] + record.pad_x - torch.arange(record.kernel_x).flip(0)
    in_y = ((y >= 0) & (y < record.out_height))[:, None, :, None]
    in_x = ((x >= 0) & (x < record.out_width))[None, :, None]
    place = y[:, None, :, None] * record.out_width + x[None, :, None]

    return torch.where(in_y & in_x, place, record.out_height * record.out_width).to(torch.int32)
