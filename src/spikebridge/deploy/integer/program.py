"""Programs of the integer model: the operations of a part in order, `(B, *N)` in and out. No floats, and no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from spikebridge.deploy.bundle.manifest import Setting, check_shape
from spikebridge.deploy.stages.arithmetic import Ints, ratio, rescale
from spikebridge.deploy.stages.neurons import QUANTITIES, IntegerDelay, IntegerFactor, IntegerNeuron
from spikebridge.errors import DataError, did_you_mean

_NEURON = "neuron"
_FACTOR = "factor"
_DELAY = "delay"
_PREVIOUS = "previous"
_STATEFUL: dict[str, Any] = {_NEURON: IntegerNeuron, _FACTOR: IntegerFactor, _DELAY: IntegerDelay}
_SIZES = ("kernel_size", "stride", "padding", "dilation")
_MOST_SIZE = 1 << 10
Numbers: TypeAlias = dict[str, Any]
Settings: TypeAlias = Mapping[str, Any]
_Layer: TypeAlias = Callable[[Sequence[Ints]], Ints]
_LOWEST = -(1 << 40)
_States: TypeAlias = dict[str, Any]
Effects: TypeAlias = Mapping[tuple[str, str], Sequence[tuple[Ints, str]]]  # by neuron and quantity: signals and how


@dataclass(frozen=True)
class OperationRecord:
    """An operation: what it is called, what it does, to which signals, and its sizes."""

    name: str
    operation: str
    sources: tuple[str, ...]
    settings: dict[str, Setting]


@dataclass(frozen=True)
class ProgramRecord:
    """Operations in order; the integers of each stand under its name."""

    inputs: tuple[str, ...]
    operations: tuple[OperationRecord, ...]
    output: str

    def __post_init__(self) -> None:
        """Refuses programs that cannot run."""
        known = set(self.inputs)
        all_names = {record.name for record in self.operations}
        operations = (*_LAYERS, *_STATEFUL, _PREVIOUS)

        for record in self.operations:
            if record.operation not in operations:
                raise DataError(
                    f"there is no operation {record.operation!r}; {did_you_mean(record.operation, operations)}"
                )

            for name, size in record.settings.items():
                if name.startswith(_SIZES) and not (isinstance(size, int) and 0 <= size <= _MOST_SIZE):
                    raise DataError(f"operation {record.name!r} has a {name} of {size!r}; 0 to {_MOST_SIZE} can be")

            if not record.sources:
                raise DataError(f"operation {record.name!r} takes no signal")

            for source in record.sources:
                # what was given one tick ago may come from anywhere
                if source not in (all_names if record.operation == _PREVIOUS else known):
                    raise DataError(f"operation {record.name!r} takes {source!r}, which does not come before it")

            known.add(record.name)

        if self.output not in known:
            raise DataError(f"a program gives {self.output!r}, which it does not make")

    def modulable(self) -> list[tuple[str, str]]:
        """Layers and their quantities that can be modulated."""
        found = [(one.name, q) for one in self.operations if one.operation == _NEURON for q in QUANTITIES]
        return found + [(o.name, str(o.settings.get("quantity"))) for o in self.operations if o.operation == _FACTOR]


class IntegerProgram:
    """A part, or the nonlinearity of a unit.

    Args:
        record: its operations.
        numbers: by operation.
    """

    def __init__(self, record: ProgramRecord, numbers: Mapping[str, dict[str, Any]]) -> None:
        self.record = record
        self.layers: dict[str, Any] = {}

        for one in record.operations:
            try:
                own = numbers.get(one.name, {})
                if one.operation in _STATEFUL:
                    self.layers[one.name] = _STATEFUL[one.operation](one.settings, own)
                elif one.operation != _PREVIOUS:
                    self.layers[one.name] = _LAYERS[one.operation](one.settings, own)
            except KeyError as missing:
                raise DataError(f"operation {one.name!r} lacks {missing}") from None

    def step(self, reads: Mapping[str, Ints], effects: Effects, state: _States | None) -> tuple[Ints, _States]:
        """One step.

        Args:
            reads: by input, `(B, *N)`.
            effects: of modulations, by neuron and quantity.
            state: of neurons by name; None at the start.
        """
        values = dict(reads)
        states = state or {}
        after: _States = {}

        for one in self.record.operations:
            if one.operation == _PREVIOUS:
                values[one.name] = states.get(one.name, _nothing(one.settings, reads))
                continue

            given = [values[source] for source in one.sources]
            layer = self.layers[one.name]

            if one.operation in _STATEFUL:
                own = {quantity: several for (node, quantity), several in effects.items() if node == one.name}
                values[one.name], after[one.name] = layer.step(given, states.get(one.name), own)
            else:
                values[one.name] = layer(given)

        after |= {o.name: values[o.sources[0]] for o in self.record.operations if o.operation == _PREVIOUS}
        return values[self.record.output], after


def _nothing(settings: Mapping[str, Setting], reads: Mapping[str, Ints]) -> Ints:
    """What was given before the first tick."""
    sizes = [settings[f"axis_{i}"] for i in range(len(settings))]
    shape = tuple(size for size in sizes if isinstance(size, int))
    check_shape(shape)
    return np.zeros((len(next(iter(reads.values()))), *shape), np.int64)


def _linear(settings: Settings, numbers: Numbers) -> _Layer:
    weight = numbers["weight"].astype(np.int64)
    bias = numbers.get("bias", np.zeros(1, np.int32)).astype(np.int64)
    return lambda given: given[0] @ weight.T + bias


def _convolution(settings: Settings, numbers: Numbers) -> _Layer:
    weight = numbers["weight"].astype(np.int64)
    num_axes = weight.ndim - 2
    bias = numbers.get("bias", np.zeros(len(weight), np.int32)).astype(np.int64)
    stride, padding, dilation = (
        [settings[f"{name}_{axis}"] for axis in range(num_axes)] for name in ("stride", "padding", "dilation")
    )
    groups = settings["groups"]
    spans = [(n - 1) * d + 1 for n, d in zip(weight.shape[2:], dilation, strict=True)]

    def run(given: Sequence[Ints]) -> Ints:
        windows = _windows(given[0], spans, stride, padding, 0)
        cells: Any = (..., *(slice(None, None, d) for d in dilation))
        windows = windows[cells]
        batch, channels = windows.shape[:2]
        places = windows.shape[2 : 2 + num_axes]

        # (B, groups, C / groups, *places, *kernel) to rows of what each sum takes
        windows = windows.reshape(batch, groups, channels // groups, *windows.shape[2:])
        rows = np.moveaxis(windows, 2, 2 + num_axes).reshape(batch, groups, int(np.prod(places)), -1)
        matrix = weight.reshape(groups, len(weight) // groups, -1)
        sums = np.matmul(rows, np.swapaxes(matrix, 1, 2)[None])
        y = np.swapaxes(sums, 2, 3).reshape(batch, len(weight), *places)

        return y + bias.reshape(-1, *[1] * num_axes)

    return run


def _narrow(settings: Settings, numbers: Numbers) -> _Layer:
    count = sum(name.startswith("multiplier_") for name in numbers)
    ratios = [ratio(numbers, after=f"_{i}") for i in range(count)]
    low = settings["low"]
    high = settings["high"]
    axis = settings["axis"]

    def run(given: Sequence[Ints]) -> Ints:
        moved = [rescale(x, *by) for x, by in zip(given, ratios, strict=True)]
        joined = sum(moved[1:], moved[0]) if axis is None else np.concatenate(moved, axis)
        return np.clip(joined, low, high)

    return run


def _table(settings: Settings, numbers: Numbers) -> _Layer:
    entries = numbers["entries"].astype(np.int64)
    low = settings["low"]
    return lambda given: entries[given[0] - low]


def _flatten(settings: Settings, numbers: Numbers) -> _Layer:
    def run(given: Sequence[Ints]) -> Ints:
        (x,) = given
        start, end = (axis % x.ndim for axis in (settings["start"], settings["end"]))
        return x.reshape(*x.shape[:start], int(np.prod(x.shape[start : end + 1])), *x.shape[end + 1 :])

    return run


def _pool(reduce: Callable[..., Any], outside: int) -> Callable[[Settings, Numbers], _Layer]:
    def make(settings: Settings, numbers: Numbers) -> _Layer:
        size, stride, padding = ([settings[f"{n}_{a}"] for a in (0, 1)] for n in ("kernel_size", "stride", "padding"))
        return lambda given: reduce(_windows(given[0], size, stride, padding, outside), (-2, -1))

    return make


def _windows(x: Ints, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], outside: int) -> Ints:
    """Every window of the last axes, `(B, C, *places, *size)`."""
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=outside)
    axes = tuple(range(2, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(x, tuple(size), axis=axes)
    return windows[(slice(None), slice(None), *(slice(None, None, s) for s in stride))]


_LAYERS: dict[str, Callable[[Settings, Numbers], _Layer]] = {
    "linear": _linear,
    "convolution": _convolution,
    "narrow": _narrow,
    "table": _table,
    "flatten": _flatten,
    "relu": lambda settings, numbers: lambda given: np.maximum(given[0], 0),
    "largest": _pool(np.max, _LOWEST),
    "sums": _pool(np.sum, 0),
    "sum": lambda settings, numbers: lambda given: given[0].sum((-2, -1), keepdims=True),
    "same": lambda settings, numbers: lambda given: given[0],
}
