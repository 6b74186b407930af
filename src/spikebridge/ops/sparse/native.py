"""The step of a network in one call of the native library: float32 or float64 on a CPU, one sample."""

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikebridge.errors import DataError, ShapeError
from spikebridge.ops.native.library import library
from spikebridge.ops.sparse.layers import EventLayer, LayerRow
from spikebridge.ops.sparse.records import Record, Records

VERSION = 4  # SPIKEBRIDGE_EVENTS_VERSION of events.h
_FUNCTIONS = {torch.float32: "spikebridge_events_step_float", torch.float64: "spikebridge_events_step_double"}


@cache
def functions() -> dict[torch.dtype, Callable[..., int]]:
    """The native steps by the dtype that they take; none where the library is not there."""
    steps = library().steps
    return {} if steps is None else _functions_of(steps)


def _functions_of(steps: ctypes.CDLL) -> dict[torch.dtype, Callable[..., int]]:
    """The native steps of a loaded library, none where it is of another version."""
    try:
        is_ours = steps.spikebridge_events_version() == VERSION
    except AttributeError:
        return {}

    if not is_ours or steps.spikebridge_events_layer_size() != ctypes.sizeof(Record):
        return {}

    functions = {}
    for dtype, name in _FUNCTIONS.items():
        function = getattr(steps, name)
        pointer = ctypes.c_void_p
        number = ctypes.c_int64
        function.argtypes = [pointer, number, pointer, number, pointer, pointer, pointer]
        function.restype = number
        functions[dtype] = function

    return functions


class NativeSteps:
    """The step of a network for inputs like `x_t`, `(1, *N)`; where not `fits`, not all layers have a native step."""

    def __init__(
        self,
        function: Callable[..., int],
        layers: list[EventLayer],
        row: LayerRow,
        state: Any,
        x_t: Tensor,
    ) -> None:
        # C reads these tensors: they lie on the processor also if another default device is set
        with torch.no_grad(), x_t.device:
            self.records = Records(layers, x_t[:0].contiguous())

        self.fits = self.records.fits
        self.function = function
        self.row = row
        after = self.records.like
        self.output = _channels_last(after.new_zeros((1, *after.shape[1:])))
        # an image of one channel or one pixel lies the same either way
        self.has_one_order = x_t.ndim != 4 or x_t.shape[1] == 1 or x_t.shape[2:].numel() == 1

        pointers = ctypes.c_void_p * max(1, self.records.num_states)
        self.before = pointers()
        self.after = pointers()
        self.lock = threading.Lock()  # the buffers serve one step at a time
        self.layer_arguments = ctypes.addressof(self.records.array), len(self.records.records)
        self.state_arguments = ctypes.addressof(self.before), ctypes.addressof(self.after)
        self.states: list[_LayerState] = []
        first = 0
        for layer in layers:
            if layer.address is not None:
                self.states.append(_LayerState(layer, state, first))
                first += self.states[-1].num_tensors

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        is_last = self.has_one_order
        if not x_t.is_contiguous():
            is_last = is_last or x_t.is_contiguous(memory_format=torch.channels_last)
            if not is_last or self.has_one_order:
                x_t = x_t.contiguous()

        y = torch.empty_like(self.output)
        copies: list[Tensor] = []  # live until the call is over

        with self.lock:
            states = [layer.point(state, self.before, self.after, copies) for layer in self.states]
            failed = self.function(*self.layer_arguments, x_t.data_ptr(), is_last, *self.state_arguments, y.data_ptr())

        if failed:
            source = self.records.layers[failed - 1]
            raise DataError(
                f"{source.name if source else 'a layer'} met NaN or infinity in its input or parameters; check the "
                "data and the weights"
            )

        return y, self.row.states(state, states) if states else state


class _Pattern(NamedTuple):
    """A tensor of a state in the order of the native step, and what another one has to be like."""

    tensor: Tensor
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


class _LayerState:
    """The state of a layer, whose tensors are those from number `first` on of all states."""

    def __init__(self, layer: EventLayer, state: Any, first: int) -> None:
        self.layer = layer
        self.first = first
        own = layer.find(state)
        self.kind = type(own)
        tensors = [None if t is None else _channels_last(t.detach()) for t in own]
        self.patterns = [None if t is None else _Pattern(t, t.shape, t.stride(), t.dtype) for t in tensors]
        self.num_tensors = sum(pattern is not None for pattern in self.patterns)

    def point(self, state: Any, before: Any, after: Any, copies: list[Tensor]) -> Any:
        """Sets the pointers to the tensors of the layer before and after a step; returns the state after it."""
        old = self.layer.find(state)
        if type(old) is not self.kind:
            raise self._mismatch(old)

        k = self.first
        new: list[Tensor | None] = []
        for tensor, pattern in zip(old, self.patterns, strict=True):
            if tensor is None and pattern is None:
                new.append(None)
                continue

            if tensor is None or pattern is None:
                raise self._mismatch(old)

            like, shape, stride, dtype = pattern
            if tensor.shape != shape or tensor.dtype != dtype or not tensor.is_cpu:
                raise self._mismatch(old)

            if tensor.stride() != stride:
                tensor = _channels_last(tensor)
                copies.append(tensor)

            result = torch.empty_like(like)
            new.append(result)
            before[k] = tensor.data_ptr()
            after[k] = result.data_ptr()
            k += 1

        return self.kind(*new)

    def _mismatch(self, state: Any) -> ShapeError:
        """The error for the state of another stream or network."""
        there = "; ".join(map(_describe, state)) if isinstance(state, tuple) else ""
        own = "; ".join(_describe(None if p is None else p.tensor) for p in self.patterns)

        return ShapeError(
            f"{self.layer.name} got a state {type(state).__name__}({there}), but its own is "
            f"{self.kind.__name__}({own}); give the state of the same stream"
        )


def _describe(tensor: Any) -> str:
    if not isinstance(tensor, Tensor):
        return str(tensor)
    return f"{tuple(tensor.shape)} in {tensor.dtype} on {tensor.device}"


def _channels_last(step: Tensor) -> Tensor:
    """A step `(1, *N)` in the order of the native step: the channels of an image last in memory."""
    return step.contiguous(memory_format=torch.channels_last if step.ndim == 4 else torch.contiguous_format)
