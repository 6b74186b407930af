"""A network's step in one call of the native library: float32 or float64 on a CPU, one sample."""

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from spikebridge.errors import DataError, ShapeError
from spikebridge.ops.event_layers import EventLayer, Row
from spikebridge.ops.event_records import Record, Records
from spikebridge.ops.native_library import library

VERSION = 3  # SPIKEBRIDGE_EVENTS_VERSION of events.h
STEPS = {torch.float32: "spikebridge_events_step_float", torch.float64: "spikebridge_events_step_double"}


@cache
def functions() -> dict[torch.dtype, Callable[..., int]]:
    """The native steps by the numbers that they take; none where the library is not there."""
    found = library().steps
    return {} if found is None else functions_of(found)


def functions_of(loaded: ctypes.CDLL) -> dict[torch.dtype, Callable[..., int]]:
    """The native steps of a loaded library, none where it is of another version."""
    try:
        fits = loaded.spikebridge_events_version() == VERSION
    except AttributeError:
        return {}
    if not fits or loaded.spikebridge_events_layer_size() != ctypes.sizeof(Record):
        return {}
    found = {}
    for dtype, name in STEPS.items():
        function = getattr(loaded, name)
        pointer, number = ctypes.c_void_p, ctypes.c_int64
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
        row: Row,
        state: Any,
        x_t: Tensor,
        dense_above: float | None,
    ) -> None:
        with torch.no_grad(), x_t.device:  # C reads what is made here, whatever the default device is
            self.records = Records(layers, x_t[:0].contiguous(), dense_above)
        self.fits = self.records.fits
        self.function = function
        self.row = row
        after = self.records.like
        self.output = arranged(after.new_zeros((1, *after.shape[1:])))
        self.one_place = x_t.ndim != 4 or x_t.shape[1] == 1 or x_t.shape[2:].numel() == 1
        self.memories = [Memories(layer, state) for layer in layers if layer.address is not None]
        pointers = ctypes.c_void_p * max(1, self.records.num_states)
        self.before, self.after = pointers(), pointers()
        self.calling = threading.Lock()  # the rooms serve one step at a time
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
        before, after, k, states = self.before, self.after, 0, []
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
                        tensor = arranged(tensor)
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


class Memories:
    """What the state of a layer looks like."""

    def __init__(self, layer: EventLayer, state: Any) -> None:
        self.layer = layer
        own = layer.find(state)
        self.kind = type(own)
        patterns = [None if t is None else arranged(t.detach()) for t in own]
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


def arranged(step: Tensor) -> Tensor:
    """A step `(1, *N)` in the order of the native step: the channels of an image last in memory."""
    return step.contiguous(memory_format=torch.channels_last if step.ndim == 4 else torch.contiguous_format)
