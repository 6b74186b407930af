"""A network's step in one call of the native library: float32 or float64 on a CPU, one sample.

A network's layers as the native step takes them: weights laid out, buffers for signals, all of them held here.
"""

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import DataError, ShapeError
from spikebridge.ops.native.library import library
from spikebridge.ops.sequence.spec import NeuronParams
from spikebridge.ops.sparse.layers import EventLayer, LayerRow, arguments_of
from spikebridge.ops.sparse.torch import padding_of

VERSION = 3  # SPIKEBRIDGE_EVENTS_VERSION of events.h
STEPS = {torch.float32: "spikebridge_events_step_float", torch.float64: "spikebridge_events_step_double"}


@cache
def functions() -> dict[torch.dtype, Callable[..., int]]:
    """The native steps by the numbers that they take; none where the library is not there."""
    found = library().steps
    return {} if found is None else _functions_of(found)


def _functions_of(loaded: ctypes.CDLL) -> dict[torch.dtype, Callable[..., int]]:
    """The native steps of a loaded library, none where it is of another version."""
    try:
        fits = loaded.spikebridge_events_version() == VERSION
    except AttributeError:
        return {}

    if not fits or loaded.spikebridge_events_layer_size() != ctypes.sizeof(_Record):
        return {}

    found = {}
    for dtype, name in STEPS.items():
        function = getattr(loaded, name)
        pointer = ctypes.c_void_p
        number = ctypes.c_int64
        function.argtypes = [pointer, number, pointer, number, pointer, pointer, pointer]
        function.restype = number
        found[dtype] = function

    return found


class NativeSteps:
    """A network's step for inputs of one shape and dtype.

    Args:
        function: the native step.
        layers: the layers of the network.
        row: how its state is put together.
        state: an initial state, for steps like `x_t`.
        x_t: a step `(1, *N)`.
        dense_above: share of events above which a convolution works out every place; None chooses as measured.
    """

    def __init__(
        self,
        function: Callable[..., int],
        layers: list[EventLayer],
        row: LayerRow,
        state: Any,
        x_t: Tensor,
        dense_above: float | None,
    ) -> None:
        with torch.no_grad(), x_t.device:  # C reads what is made here, whatever the default device is
            self.records = _Records(layers, x_t[:0].contiguous(), dense_above)

        self.fits = self.records.fits
        self.function = function
        self.row = row
        after = self.records.like
        self.output = _arranged(after.new_zeros((1, *after.shape[1:])))
        self.one_place = x_t.ndim != 4 or x_t.shape[1] == 1 or x_t.shape[2:].numel() == 1
        self.memories = [_Memories(layer, state) for layer in layers if layer.address is not None]
        pointers = ctypes.c_void_p * max(1, self.records.num_states)
        self.before = pointers()
        self.after = pointers()
        self.calling = threading.Lock()  # the buffers serve one step at a time
        self.fixed = ctypes.addressof(self.records.array), len(self.records.records)
        self.pointers = ctypes.addressof(self.before), ctypes.addressof(self.after)

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of one sample, `(1, *N)` and the state of the network."""
        last = self.one_place
        if not x_t.is_contiguous():
            last = last or x_t.is_contiguous(memory_format=torch.channels_last)
            if not last or self.one_place:
                x_t = x_t.contiguous()

        y = torch.empty_like(self.output)
        before = self.before
        after = self.after
        k = 0
        states = []
        held: list[Tensor] = []  # what is rearranged lives until the call is over

        with self.calling:
            for memory in self.memories:
                old = memory.layer.find(state)
                if type(old) is not memory.kind:
                    raise memory.misfit(old)

                fresh: list[Tensor | None] = []
                for tensor, expected in zip(old, memory.patterns, strict=True):
                    if tensor is None and expected is None:
                        fresh.append(None)
                        continue

                    if tensor is None or expected is None:
                        raise memory.misfit(old)

                    pattern, shape, stride, dtype = expected
                    if tensor.shape != shape or tensor.dtype != dtype or not tensor.is_cpu:
                        raise memory.misfit(old)

                    if tensor.stride() != stride:
                        tensor = _arranged(tensor)
                        held.append(tensor)

                    new = torch.empty_like(pattern)
                    before[k], after[k] = tensor.data_ptr(), new.data_ptr()
                    fresh.append(new)
                    k += 1

                states.append(memory.kind(*fresh))

            bad = self.function(*self.fixed, x_t.data_ptr(), last, *self.pointers, y.data_ptr())

        if bad:
            layer = self.records.layers[bad - 1]
            raise DataError(
                f"{layer.name if layer else 'a layer'} met NaN or infinity in its input or parameters; check the data "
                "and the weights"
            )

        return y, self.row.states(state, states) if states else state


class _Memories:
    """What the state of a layer looks like."""

    def __init__(self, layer: EventLayer, state: Any) -> None:
        self.layer = layer
        own = layer.find(state)
        self.kind = type(own)
        patterns = [None if t is None else _arranged(t.detach()) for t in own]
        self.patterns = [None if t is None else (t, t.shape, t.stride(), t.dtype) for t in patterns]

    def misfit(self, got: Any) -> ShapeError:
        """What is wrong with the state of another stream or network."""
        there = "; ".join(_describe(t) for t in got) if isinstance(got, tuple) else ""
        own = "; ".join(_describe(None if p is None else p[0]) for p in self.patterns)

        return ShapeError(
            f"{self.layer.name} got a state {type(got).__name__}({there}), but its own is "
            f"{self.kind.__name__}({own}); give the state of the same stream"
        )


def _describe(tensor: Any) -> str:
    if not isinstance(tensor, Tensor):
        return str(tensor)
    return f"{tuple(tensor.shape)} in {tensor.dtype} on {tensor.device}"


def _arranged(step: Tensor) -> Tensor:
    """A step `(1, *N)` in the order of the native step: the channels of an image last in memory."""
    return step.contiguous(memory_format=torch.channels_last if step.ndim == 4 else torch.contiguous_format)


_CONVOLVE, _MULTIPLY, _TAKE_LARGEST, _TAKE_MEAN, _REORDER, _FIRE = range(6)
_NO_SPIKES, _RESET_TO_VALUE, _RESET_BY_THRESHOLD = range(3)
# share of events up to which a convolution scatters and a pool looks only where something is (research/speed/live.py)
_CONVOLUTION_SHARE = 0.4  # the second where channels come in whole blocks
_BLOCKS_SHARE = 0.7
_POOL_SHARE = 0.5
BLOCK = 64  # bytes of a block of channels, that of events.c

_NUMBERS = (
    *("kind", "channels", "height", "width", "out_channels", "out_height", "out_width"),
    *("kernel_y", "kernel_x", "stride_y", "stride_x", "pad_y", "pad_x", "dilation_y", "dilation_x", "groups"),
    *("padded_width", "count_padding", "divisor", "most_events"),
    *("reset", "has_current", "has_adaptation", "refractory", "varied", "first_state"),
)
_ROOMS = ("places", "target", "full", "cleared", "padded", "index", "values", "flags")


class _Record(ctypes.Structure):
    """`Layer` of events.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in _NUMBERS],
        *[(name, ctypes.c_void_p) for name in ("weight", "blocks", "bias")],
        ("parameters", ctypes.c_void_p * len(NeuronParams._fields)),
        *[(name, ctypes.c_void_p) for name in _ROOMS],
    ]


class _Records:
    """The records of a network for steps of one shape, in the order in which they run, and the entry at the end.

    Args:
        layers: the layers.
        like: an empty step `(0, *N)` in the shape and dtype of those to come.
        dense_above: share of events above which a convolution works out every place; None chooses as measured.
    """

    def __init__(self, layers: Sequence[EventLayer], like: Tensor, dense_above: float | None) -> None:
        self.like = like
        self.share = dense_above
        self.held: list[Tensor] = []
        self.records: list[_Record] = []
        self.layers: list[EventLayer | None] = []  # whose record each is
        self.num_states = 0
        self.turned: torch.Size | None = None  # a flattened image whose channels still come last
        self.fits = like.shape[1:].numel() > 0  # whether the native step takes all layers at these shapes
        entry = self._entry(like.shape[1:])

        for layer in layers:
            self._add(layer)

        if self.turned is not None:
            self._turn_back()

        self.array = (_Record * (len(self.records) + 1))(*self.records, entry)

    def _add(self, layer: EventLayer) -> None:
        module: Any = layer.module
        if self.turned is not None and not isinstance(module, nn.Linear):
            self._turn_back()

        before = self.like
        after = before if layer.address is not None else module(before)

        if isinstance(module, nn.Flatten):
            channels, height, width = _image_of(before)
            self.turned = before.shape[1:] if channels > 1 and height * width > 1 else None
        elif isinstance(module, nn.Linear):
            self._product(layer, module, after)
        elif isinstance(module, nn.Conv2d):
            self._convolution(layer, module, after)
        elif layer.address is not None:
            self._neurons(layer, module)
        else:
            self._pool(layer, module, after)

        self.like = after

    def _product(self, layer: EventLayer, module: nn.Linear, after: Tensor) -> None:
        self.fits = self.fits and self.like.ndim == 2  # it has one product a step, not one a row
        weight = module.weight.detach()
        if self.turned is not None:
            weight = weight.reshape(-1, *self.turned).permute(0, 2, 3, 1).flatten(1)
            self.turned = None

        record = self._record(layer, _MULTIPLY, after)
        record.weight = self._hold(weight.t().contiguous())
        record.bias = None if module.bias is None else self._hold(module.bias.detach().contiguous())

    def _convolution(self, layer: EventLayer, module: nn.Conv2d, after: Tensor) -> None:
        high, wide = module.kernel_size
        weight = module.weight.detach().reshape(module.groups, -1, module.in_channels // module.groups, high, wide)
        record = self._record(layer, _CONVOLVE, after)
        record.weight = self._hold(weight.flip(-1).permute(0, 2, 3, 4, 1).contiguous())
        record.bias = None if module.bias is None else self._hold(module.bias.detach().contiguous())
        record.kernel_y = high
        record.kernel_x = wide
        record.stride_y, record.stride_x = module.stride
        record.pad_y = padding_of(module, 0)
        record.pad_x = padding_of(module, 1)
        record.dilation_y, record.dilation_x = module.dilation
        record.groups = module.groups
        record.places = self._hold(_places_of(self.like))
        lanes = BLOCK // weight.element_size()
        dense = set(module.stride) | set(module.dilation) | {module.groups} == {1}

        if dense and (high, wide) in ((3, 3), (5, 5)) and module.out_channels % lanes == 0:
            blocks = module.weight.detach().flip(-1).unflatten(0, (-1, lanes)).permute(0, 2, 3, 4, 1)
            record.blocks = self._hold(blocks.contiguous())
            record.target = self._hold(_where_taps_lead(record))

        measured = _BLOCKS_SHARE if record.blocks else _CONVOLUTION_SHARE
        share = measured if self.share is None else self.share
        size = self.like.shape[1:].numel()
        record.most_events = int(share * size) if module.groups == 1 else size

        reach = [
            (out - 1) * stride + (kernel - 1) * dilation + 1
            for out, stride, kernel, dilation in zip(
                after.shape[2:], module.stride, module.kernel_size, module.dilation, strict=True
            )
        ]

        rows = max(reach[0], record.height + record.pad_y)
        record.padded_width = max(reach[1], record.width + record.pad_x)
        record.padded = self._hold(self.like.new_zeros(rows * record.padded_width * record.channels))

    def _pool(self, layer: EventLayer, module: Any, after: Tensor) -> None:
        largest = isinstance(module, nn.MaxPool2d)
        record = self._record(layer, _TAKE_LARGEST if largest else _TAKE_MEAN, after)
        record.kernel_y, record.kernel_x = _pair(module.kernel_size)
        record.stride_y, record.stride_x = _pair(module.stride)
        record.pad_y, record.pad_x = _pair(module.padding)
        record.dilation_y, record.dilation_x = _pair(module.dilation) if largest else (1, 1)

        # a window whose taps pass by the whole input has minus infinity, which no event sets
        self.fits = self.fits and record.dilation_y <= record.height and record.dilation_x <= record.width
        if not largest:
            record.count_padding = int(module.count_include_pad)
            record.divisor = module.divisor_override or 0

        record.most_events = int(_POOL_SHARE * record.channels * record.height * record.width)
        apart = record.stride_y >= record.kernel_y and record.stride_x >= record.kernel_x
        if apart and record.dilation_y == record.dilation_x == 1:
            record.target = self._hold(_only_window(record, self.like))
            self.held[-2][record.out_channels * record.out_height * record.out_width] = 1  # the flag of no window
        else:
            record.places = self._hold(_places_of(self.like))

    def _neurons(self, layer: EventLayer, module: Any) -> None:
        record = self._record(layer, _FIRE, self.like)
        arguments = arguments_of(module, self.like.ndim)
        if "surrogate" in arguments:
            to_value = arguments.get("reset", "zero") == "zero"
            record.reset = _RESET_TO_VALUE if to_value else _RESET_BY_THRESHOLD

        known = {name: value for name, value in arguments.items() if name in NeuronParams._fields}
        values = [torch.as_tensor(value, dtype=self.like.dtype) for value in NeuronParams(**known)]
        record.varied = any(value.numel() > 1 for value in values)

        for index, value in enumerate(values):
            spread = value.expand(self.like.shape[1:]) if record.varied else value.reshape(())
            record.parameters[index] = self._hold(_ordered(spread))

        state = module.initial_state(self.like)
        fields = [name for name, value in state._asdict().items() if value is not None]
        record.has_current = "i" in fields
        record.has_adaptation = "a" in fields
        record.refractory = arguments.get("refractory", 0)
        record.first_state = self.num_states
        self.num_states += len(fields)

    def _turn_back(self) -> None:
        shape = self.turned
        self.turned = None
        if shape is None:
            return

        record = self._record(None, _REORDER, self.like)
        target = torch.arange(shape.numel(), dtype=torch.int32).reshape(shape)
        record.target = self._hold(target.permute(1, 2, 0).contiguous())

    def _record(self, layer: EventLayer | None, kind: int, after: Tensor) -> _Record:
        record = _Record(kind=kind)
        record.channels, record.height, record.width = _image_of(self.like)
        record.out_channels, record.out_height, record.out_width = _image_of(after)
        self._buffers(record, record.out_channels * record.out_height * record.out_width, record.out_channels)
        self.records.append(record)
        self.layers.append(layer)

        return record

    def _entry(self, shape: torch.Size) -> _Record:
        record = _Record()
        record.channels, record.height, record.width = _image_of(self.like)
        self._buffers(record, shape.numel())
        return record

    def _buffers(self, record: _Record, size: int, place: int = 0) -> None:
        new = self.like.new_zeros
        record.full = self._hold(new(size + place))
        record.cleared = self._hold(new(size))
        record.values = self._hold(new(size + 64))
        record.index = self._hold(new(size + 64, dtype=torch.int32))
        record.flags = self._hold(new(size + 64, dtype=torch.uint8))

    def _hold(self, tensor: Tensor) -> int:
        self.held.append(tensor)
        return tensor.data_ptr()


def _is_image(step: Tensor) -> bool:
    """Whether a step `(B, *N)` has channels, rows and columns."""
    return step.ndim == 4


def _image_of(step: Tensor) -> tuple[int, int, int]:
    """Channels, rows and columns of a step; whatever is no image is one place of many channels."""
    if _is_image(step):
        return step.shape[1], step.shape[2], step.shape[3]
    return step.shape[1:].numel(), 1, 1


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """A setting for both axes of an image.

    Example:
        >>> _pair(2), _pair((2, 3))
        ((2, 2), (2, 3))
    """
    return value if isinstance(value, tuple) else (value, value)


def _ordered(values: Tensor) -> Tensor:
    """Values `(*N)` in the order of the native step, the channels of an image last."""
    return (values.permute(1, 2, 0) if values.ndim == 3 else values).contiguous()


def _places_of(step: Tensor) -> Tensor:
    """Row, column and channel of every input, in the order of the native step."""
    channels, height, width = _image_of(step)
    y, x, c = torch.meshgrid(*[torch.arange(n, dtype=torch.int32) for n in (height, width, channels)], indexing="ij")
    return torch.stack([y, x, c], dim=-1).contiguous()


def _only_window(record: _Record, step: Tensor) -> Tensor:
    """The output whose window holds an input, one too many where there is none, for windows that do not overlap."""
    y, x, c = _places_of(step).unbind(-1)
    to_y, in_y = _window_along(y, record.pad_y, record.stride_y, record.kernel_y, record.out_height)
    to_x, in_x = _window_along(x, record.pad_x, record.stride_x, record.kernel_x, record.out_width)
    target = (to_y * record.out_width + to_x) * record.out_channels + c
    none = record.out_channels * record.out_height * record.out_width

    return torch.where(in_y & in_x, target, none).to(torch.int32).contiguous()


def _window_along(at: Tensor, pad: int, stride: int, kernel: int, size: int) -> tuple[Tensor, Tensor]:
    to = (at + pad).div(stride, rounding_mode="floor")
    return to, (at + pad - to * stride < kernel) & (to < size)


def _where_taps_lead(record: _Record) -> Tensor:
    """The output place of each tap of a kernel, its columns backwards, for every place of the input."""
    y = torch.arange(record.height)[:, None] + record.pad_y - torch.arange(record.kernel_y)
    x = torch.arange(record.width)[:, None] + record.pad_x - torch.arange(record.kernel_x).flip(0)
    inside = ((y >= 0) & (y < record.out_height))[:, None, :, None] & ((x >= 0) & (x < record.out_width))[None, :, None]
    place = y[:, None, :, None] * record.out_width + x[None, :, None]

    return torch.where(inside, place, record.out_height * record.out_width).to(torch.int32).contiguous()
