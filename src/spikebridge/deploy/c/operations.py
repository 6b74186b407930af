"""Programs of the integer model in C: the operations of a part, or of the nonlinearity of a unit, in order.

Layers with weights and poolings are loops, written here. All other operations are array forms (`c/steps.py`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.c.arithmetic import CArithmetic, Element, Expression
from spikebridge.deploy.c.source import CArray, CSource, c_type, copy_loop, for_loop
from spikebridge.deploy.c.steps import Place, write_function, write_step
from spikebridge.deploy.integer.program import ELEMENTWISE, OperationRecord, ProgramRecord, rescaled_inputs, sizes_of
from spikebridge.deploy.stages.kernels import Forms
from spikebridge.deploy.stages.neurons import LAYERS, effects_on, layer_form
from spikebridge.errors import ExportError

_Numbers = Mapping[str, Any]
STEPS_ASLEEP = "steps"  # C variable of the steps without input, of a leak
_MAX_STEPS_ASLEEP = (1 << 31) - 1
# operations whose output has the range of their input, or of 0
_KEEPS_RANGE = ("same", "relu", "flatten", "largest", "previous", "delay")
_MAX_SPIKES = 8  # of an input in a step: a signal of larger integers is no spike train


@dataclass(frozen=True)
class CEffect:
    """A signal that modulates a quantity; `present`: the flag that a value has come, None where there always is one."""

    signal: Element
    by: str
    present: Element | None


class ProgramWriter:
    """Writes the operations of one program into a C function, whose name also names its intermediate signals.

    `after` has the lines after the last use of the output, which may be a signal that is fed back. `restart` and `leak`
    have those that set all states back, and that let them decay over `STEPS_ASLEEP`.
    """

    def __init__(
        self,
        source: CSource,
        function: str,
        record: ProgramRecord,
        numbers: Mapping[str, _Numbers],
        forms: Forms = None,
        leaks: bool = False,
    ) -> None:
        self.leaks = leaks
        self.source = source
        self.function = function
        self.record = record
        self.numbers = numbers
        self.forms = forms
        self.spikes: set[str] = set()  # code of inputs that are spikes in spite of their wide range
        self.lines: list[str] = []
        self.after: list[str] = []
        self.restart: list[str] = []
        self.leak: list[str] = []
        self.operations = {operation.name: operation for operation in record.operations}

    def write(self, inputs: Mapping[str, CArray], effects: Mapping[tuple[str, str], Sequence[CEffect]]) -> CArray:
        """Writes all operations, under effects by neuron and quantity; gives the output."""
        values = dict(inputs)
        feedback = [operation for operation in self.record.operations if operation.operation == "previous"]

        for operation in self.record.operations:
            if operation in feedback:
                values[operation.name] = self._fed_back(operation)
                continue

            sources = [values[name] for name in operation.sources]
            values[operation.name] = self._operation(operation, sources, effects_on(operation.name, effects))

        for operation in feedback:
            fed_back = values[operation.name].code
            self.restart.append(f"memset({fed_back}, 0, sizeof {fed_back});")
            # the copy comes last: the output of the program may be the signal itself
            self.after += copy_loop(values[operation.sources[0]], values[operation.name].code)

        return values[self.record.output]

    def work_array(self, name: str, like: CArray) -> CArray:
        return self.source.work_array(self.function, name, like)

    def _operation(
        self, operation: OperationRecord, inputs: Sequence[CArray], effects: Mapping[str, Sequence[CEffect]]
    ) -> CArray:
        numbers = self.numbers.get(operation.name, {})
        name = operation.operation

        if name == "taps":
            return self._taps(operation, inputs[0])
        if name in LAYERS:
            return self._layer(operation, inputs, numbers, effects)
        if name == "narrow" and operation.settings["axis"] is not None:
            return self._concatenation(operation, inputs, numbers)
        if name in ELEMENTWISE:
            a = CArithmetic(operation.settings, numbers)
            y = ELEMENTWISE[name](a, [Element(x) for x in inputs])
            return self._function(operation.name, y)

        return _LOOPS[name](self, operation, inputs[0], numbers)

    def _taps(self, operation: OperationRecord, x: CArray) -> CArray:
        # the steps move up by one, so that readers find them in order
        number = int(str(operation.settings["num_taps"]))
        steps = CArray("", (number, *x.shape), x.low, x.high)
        kept = self.source.state_array(f"{self.function}_{operation.name}", steps)
        last = (number - 1) * x.size
        self.lines.append(f"memmove({kept.code}, {kept.code} + {x.size}, {last} * sizeof *{kept.code});")
        self.lines += copy_loop(x, f"({kept.code} + {last})")
        self.restart.append(f"memset({kept.code}, 0, sizeof {kept.code});")

        return kept

    def _function(self, name: str, y: Expression) -> CArray:
        place = Place(self.source, self.function, f"{self.function}_{name}")
        out = self.work_array(name, y.like)
        self.lines += write_function(place, y, out)
        return out

    def _layer(
        self,
        operation: OperationRecord,
        inputs: Sequence[CArray],
        numbers: _Numbers,
        effects: Mapping[str, Sequence[CEffect]],
    ) -> CArray:
        form = layer_form(operation.operation, operation.settings, self.forms)
        signals_by = {quantity: [(effect.signal, effect.by) for effect in own] for quantity, own in effects.items()}
        # a record has one link for a quantity
        flags = {quantity: own[0].present for quantity, own in effects.items() if own[0].present is not None}
        a = CArithmetic(operation.settings, numbers, present=flags)
        signals = [Element(x) for x in inputs]

        start = None if form.start is None else form.start(a, signals)
        place = Place(self.source, self.function, f"{self.function}_{operation.name}")
        steps = Expression((1,), 0, _MAX_STEPS_ASLEEP, lambda block: STEPS_ASLEEP)
        leak = form.leak if self.leaks else None
        written = write_step(
            place,
            start,
            lambda state: form.step(a, signals, state, signals_by),
            lambda y: self.work_array(operation.name, y.like),
            None if leak is None else lambda state: leak(a, state, steps),
        )
        self.lines += [*written.lines, *self.source.count("updates", str(written.out.size))]
        self.restart += written.restart
        self.leak += written.leak

        return written.out

    def count_products(self, x: CArray, fan_out: NDArray[Any]) -> None:
        """Counts the products of a layer: all of them, or for spikes the weights that each meets."""
        if not self.source.counts:
            return
        is_spikes = x.code in self.spikes or -_MAX_SPIKES <= x.low <= x.high <= _MAX_SPIKES
        if not is_spikes:
            self.lines += self.source.count("macs", str(int(fan_out.sum())))
            return

        size = f"({x.code}[j] < 0 ? -{x.code}[j] : {x.code}[j])"
        weights = self.source.constant(fan_out.reshape(x.shape), x.shape)
        self.lines += for_loop(x.size, self.source.count("synops", f"{size} * {weights}"))

    def _concatenation(self, operation: OperationRecord, inputs: Sequence[CArray], numbers: _Numbers) -> CArray:
        """Signals of any scales as one of few bits, along an axis: a loop for each."""
        settings: Mapping[str, Any] = operation.settings
        a = CArithmetic(settings, numbers)
        shape = inputs[0].shape
        axis = settings["axis"] % (len(shape) + 1) - 1
        behind = math.prod(shape[axis + 1 :])
        joined = sum(x.shape[axis] for x in inputs)
        out_shape = (*shape[:axis], joined, *shape[axis + 1 :])
        out = self.work_array(operation.name, CArray("", out_shape, settings["low"], settings["high"]))

        offset = 0
        for x, rescaled in zip(inputs, rescaled_inputs(a, [Element(x) for x in inputs]), strict=True):
            y = a.xp.clip(rescaled, settings["low"], settings["high"])
            size = x.shape[axis] * behind
            part = _Slice(out.code, x.shape, out.low, out.high, size, joined * behind, offset)
            place = Place(self.source, self.function, f"{self.function}_{operation.name}")
            self.lines += write_function(place, y, part)
            offset += size

        return out

    def _fed_back(self, operation: OperationRecord) -> CArray:
        low, high = self._range_of(operation.sources[0])
        shape = tuple(sizes_of(operation.settings, "axis", len(operation.settings)))
        return self.source.state_array(f"{self.function}_{operation.name}", CArray("", shape, low, high))

    def _range_of(self, name: str) -> tuple[int, int]:
        """The range of a signal that is read before it is computed."""
        operation = self.operations.get(name)
        if operation is not None:
            settings: Mapping[str, Any] = operation.settings
            if operation.operation == "narrow":
                return settings["low"], settings["high"]
            if operation.operation == "neuron":
                # membranes are clipped to their width
                return (0, 1) if settings["spikes"] else (-settings["high"], settings["high"])
            if operation.operation == "table":
                entries = self.numbers[name]["entries"]
                return int(entries.min()), int(entries.max())
            if operation.operation in _KEEPS_RANGE:
                low, high = self._range_of(operation.sources[0])
                return min(low, 0), max(high, 0)

        raise ExportError(f"{self.function}: the range of {name!r}, which is fed back one tick later, is unknown")


@dataclass(frozen=True)
class _Slice(CArray):
    """A part of an array along an axis: blocks of `block` elements, the first of each `stride` after `offset`."""

    block: int
    stride: int
    offset: int

    def at(self, shape: tuple[int, ...], index: str = "j") -> str:
        place = index if self.size == self.block else f"{index} / {self.block} * {self.stride} + {index} % {self.block}"
        return f"{self.code}[{place} + {self.offset}]"


class _Weights(NamedTuple):
    weight: NDArray[np.int64]
    bias: NDArray[np.int64]
    x: CArray

    @classmethod
    def of(cls, numbers: _Numbers, x: CArray) -> "_Weights":
        weight = np.asarray(numbers["weight"], np.int64)
        bias = np.broadcast_to(np.asarray(numbers.get("bias", 0), np.int64), weight.shape[:1])
        return cls(weight, bias, x)

    def sum_range(self, low: int, high: int) -> tuple[int, int]:
        rows = self.weight.reshape(len(self.weight), -1)
        lowest = np.minimum(rows * low, rows * high).sum(1) + self.bias
        highest = np.maximum(rows * low, rows * high).sum(1) + self.bias
        return int(lowest.min(initial=0)), int(highest.max(initial=0))

    @property
    def sum_type(self) -> str:
        """The type of a sum: no partial sum leaves it."""
        factors = np.abs(self.weight).reshape(len(self.weight), -1).sum(1)
        largest = factors * max(abs(self.x.low), abs(self.x.high)) + np.abs(self.bias)
        return "int32_t" if int(largest.max(initial=0)) < 1 << 31 else "int64_t"

    def sum_line(self, weight: str, value: str) -> str:
        # C multiplies two numbers of 32 bits in 32 bits
        cast = "" if self.sum_type == "int32_t" else "(int64_t)"
        return f"sum += {cast}{weight} * {value};"


def _linear(program: ProgramWriter, operation: OperationRecord, x: CArray, numbers: _Numbers) -> CArray:
    layer = _Weights.of(numbers, x)
    num_outputs, num_inputs = layer.weight.shape
    if not x.shape or x.shape[-1] != num_inputs:
        raise ExportError(f"{operation.name!r} takes {num_inputs} values, but gets a signal of shape {x.shape}")

    sums = CArray("", (*x.shape[:-1], num_outputs), *layer.sum_range(x.low, x.high))
    out = program.work_array(operation.name, sums)
    table = program.source.table(layer.weight)
    rows = math.prod(x.shape[:-1])
    value = _element(x, "row", num_inputs, "i", rows)

    # a sum starts with its bias, which `sum_type` counts
    body = [
        f"{layer.sum_type} sum = {program.source.constant(layer.bias, (num_outputs,), 'o')};",
        *for_loop(num_inputs, [layer.sum_line(f"{table}[o * {num_inputs} + i]", value)], "i"),
        f"{_element(out, 'row', num_outputs, 'o', rows)} = sum;",
    ]

    lines = for_loop(num_outputs, body, "o")
    program.lines += lines if rows == 1 else for_loop(rows, lines, "row")
    program.count_products(x, np.full(x.size, num_outputs))

    return out


def _element(x: CArray, row: str, size: int, index: str, rows: int) -> str:
    return f"{x.code}[{index}]" if rows == 1 else f"{x.code}[{row} * {size} + {index}]"


class _Sliding(NamedTuple):
    """A window that slides over an image, with sizes over rows and columns."""

    size: Sequence[int]
    kernel: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]

    def positions(self, name: str) -> list[int]:
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        sides = zip(self.size, spans, self.stride, self.padding, strict=True)
        positions = [(n + 2 * p - span) // s + 1 if s else 0 for n, span, s, p in sides]
        if min(positions) < 1:
            raise ExportError(f"{name!r} has windows of {spans} on {list(self.size)} values, which do not fit")

        return positions

    def uses(self, positions: Sequence[int]) -> NDArray[np.int64]:
        """The number of windows that read each value."""
        by_axis = []
        for axis, number in enumerate(positions):
            places = np.arange(number)[:, None] * self.stride[axis] + np.arange(self.kernel[axis]) * self.dilation[axis]
            inside = places - self.padding[axis]
            inside = inside[(inside >= 0) & (inside < self.size[axis])]
            by_axis.append(np.bincount(inside, minlength=self.size[axis]))

        return np.outer(*by_axis)

    def loops(self, body: Sequence[str]) -> list[str]:
        """The loops over a window at (y, x): its values are at (iy, ix), and values of the padding are left out."""
        return self._axis(0, "y", "ky", self._axis(1, "x", "kx", body))

    def _axis(self, axis: int, position: str, offset: str, body: Sequence[str]) -> list[str]:
        place = f"{position} * {self.stride[axis]} + {offset} * {self.dilation[axis]} - {self.padding[axis]}"
        lines = [f"const int i{position} = {place};"]
        if self.padding[axis]:
            lines.append(f"if (i{position} < 0 || i{position} >= {self.size[axis]}) continue;")

        return for_loop(self.kernel[axis], [*lines, *body], offset)


def _convolution(program: ProgramWriter, operation: OperationRecord, x: CArray, numbers: _Numbers) -> CArray:
    layer = _Weights.of(numbers, x)
    num_axes = layer.weight.ndim - 2
    if num_axes not in (1, 2) or len(x.shape) != num_axes + 1:
        raise ExportError(
            f"{operation.name!r} is a convolution over {num_axes} axes of {x.shape}; C has those over 1 and 2"
        )

    stride, padding, dilation = (
        sizes_of(operation.settings, key, num_axes) for key in ("stride", "padding", "dilation")
    )
    window = _Sliding(
        size=_rows_and_columns(x.shape[1:], 1),
        kernel=_rows_and_columns(layer.weight.shape[2:], 1),
        stride=_rows_and_columns(stride, 1),
        padding=_rows_and_columns(padding, 0),
        dilation=_rows_and_columns(dilation, 1),
    )

    num_outputs, num_channels = layer.weight.shape[:2]
    rows, columns = window.positions(operation.name)
    shape = (num_outputs, *((rows, columns)[2 - num_axes :]))
    # the padding counts as zeros
    sums = CArray("", shape, *layer.sum_range(min(x.low, 0), max(x.high, 0)))
    out = program.work_array(operation.name, sums)

    # with groups an output reads the channels of its own group alone
    outputs_a_group = num_outputs // int(str(operation.settings["groups"]))
    channel = "c" if outputs_a_group == num_outputs else f"o / {outputs_a_group} * {num_channels} + c"
    table = program.source.table(layer.weight)
    weight = f"{table}[((o * {num_channels} + c) * {window.kernel[0]} + ky) * {window.kernel[1]} + kx]"
    value = f"{x.code}[(({channel}) * {window.size[0]} + iy) * {window.size[1]} + ix]"

    body = [
        f"{layer.sum_type} sum = {program.source.constant(layer.bias, (num_outputs,), 'o')};",
        *for_loop(num_channels, window.loops([layer.sum_line(weight, value)]), "c"),
        f"{out.code}[(o * {rows} + y) * {columns} + x] = sum;",
    ]

    program.lines += for_loop(num_outputs, for_loop(rows, for_loop(columns, body, "x"), "y"), "o")
    program.count_products(x, np.tile(window.uses((rows, columns)).ravel() * outputs_a_group, x.shape[0]))

    return out


def _rows_and_columns(sizes: Sequence[int], single: int) -> list[int]:
    """Sizes over rows and columns; a single axis has one row."""
    return list(sizes) if len(sizes) == 2 else [single, *sizes]


def _pool(program: ProgramWriter, operation: OperationRecord, x: CArray, numbers: _Numbers) -> CArray:
    if len(x.shape) != 3:
        raise ExportError(f"{operation.name!r} pools over two axes, but gets a signal of shape {x.shape}")

    kernel, stride, padding = (sizes_of(operation.settings, key, 2) for key in ("kernel_size", "stride", "padding"))
    window = _Sliding(x.shape[1:], kernel, stride, padding, (1, 1))
    rows, columns = window.positions(operation.name)
    value = f"{x.code}[(c * {x.shape[1]} + iy) * {x.shape[2]} + ix]"

    if operation.operation == "largest":
        # values of the padding are left out, as by torch, and no value lies below the range
        low = first = x.low
        high = x.high
        inner = [f"if ({value} > best) best = {value};"]
    else:
        low = min(x.low, 0) * math.prod(kernel)
        high = max(x.high, 0) * math.prod(kernel)
        first = 0
        inner = [f"best += {value};"]

    out = program.work_array(operation.name, CArray("", (x.shape[0], rows, columns), low, high))
    kind = "int64_t" if abs(low) + high >= 1 << 31 else "int32_t"
    body = [
        f"{kind} best = {first};",
        *window.loops(inner),
        f"{out.code}[(c * {rows} + y) * {columns} + x] = best;",
    ]

    program.lines += for_loop(x.shape[0], for_loop(rows, for_loop(columns, body, "x"), "y"), "c")
    return out


def _sum(program: ProgramWriter, operation: OperationRecord, x: CArray, numbers: _Numbers) -> CArray:
    area = math.prod(x.shape[-2:])
    out = program.work_array(operation.name, CArray("", (*x.shape[:-2], 1, 1), x.low * area, x.high * area))
    body = [
        f"{out.kind} sum = 0;",
        *for_loop(area, [f"sum += {x.code}[c * {area} + i];"], "i"),
        f"{out.code}[c] = sum;",
    ]

    program.lines += for_loop(out.size, body, "c")
    return out


def _flatten(program: ProgramWriter, operation: OperationRecord, x: CArray, numbers: _Numbers) -> CArray:
    # axes count with that of the batch
    ndim = len(x.shape) + 1
    start, end = (int(str(operation.settings[key])) % ndim - 1 for key in ("start", "end"))
    if start < 0:
        raise ExportError(f"{operation.name!r} flattens the axis of the batch")

    # the memory stays: C knows no axes
    return x.shaped((*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def _shape(program: ProgramWriter, operation: OperationRecord, x: CArray, numbers: _Numbers) -> CArray:
    return x.shaped(tuple(sizes_of(operation.settings, "axis", len(operation.settings))))


def _slice(program: ProgramWriter, operation: OperationRecord, x: CArray, numbers: _Numbers) -> CArray:
    settings: Mapping[str, Any] = operation.settings
    axis = settings["axis"] - 1
    start, stop, _ = slice(settings["start"], settings["stop"]).indices(x.shape[axis])
    if (start, stop) == (0, x.shape[axis]):
        return x

    behind = math.prod(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
    out = program.work_array(operation.name, CArray("", shape, x.low, x.high))
    rows = math.prod(x.shape[:axis])
    size = (stop - start) * behind
    stride = x.shape[axis] * behind
    body = for_loop(size, [f"{out.code}[o * {size} + j] = {x.code}[o * {stride} + {start * behind} + j];"])
    program.lines += for_loop(rows, body, "o")

    return out


def _reduce(program: ProgramWriter, operation: OperationRecord, x: CArray, numbers: _Numbers) -> CArray:
    settings: Mapping[str, Any] = operation.settings
    axis = settings["axis"] - 1
    reduction = settings["reduction"]
    number = x.shape[axis]
    behind = math.prod(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], *([1] if settings["keep"] else []), *x.shape[axis + 1 :])
    low, high, wide = _reduced_range(reduction, x, number)

    out = program.work_array(operation.name, CArray("", shape, low, high))
    value = f"{x.code}[(o * {number} + k) * {behind} + i]"
    first = f"{x.code}[o * {number * behind} + i]"
    start, step, result = {
        "largest": (first, f"if ({value} > best) best = {value};", "best"),
        "smallest": (first, f"if ({value} < best) best = {value};", "best"),
        "place": ("0", f"if ({value} > {x.code}[(o * {number} + best) * {behind} + i]) best = k;", "best"),
        "sum": ("0", f"best += {value};", "best"),
        "norm": ("0", f"best += ({wide}){value} * {value};", program.source.call("root", "best")),
    }[reduction]
    body = [f"{wide} best = {start};", *for_loop(number, [step], "k"), f"{out.code}[o * {behind} + i] = {result};"]
    program.lines += for_loop(math.prod(x.shape[:axis]), for_loop(behind, body, "i"), "o")
    if reduction == "norm":
        program.lines += program.source.count("macs", str(x.size))

    return out


def _reduced_range(reduction: str, x: CArray, number: int) -> tuple[int, int, str]:
    """The range of a reduction of some values, and the C type in which it is computed."""
    if reduction == "place":
        return 0, number - 1, "int32_t"
    if reduction == "sum":
        low, high = min(x.low, 0) * number, max(x.high, 0) * number
        return low, high, "int32_t" if c_type(low, high) != "int64_t" else "int64_t"

    if reduction == "norm":
        largest = number * max(x.low**2, x.high**2)
        if largest >= 1 << 32:
            raise ExportError(f"a norm of {number} values up to {max(-x.low, x.high)} needs more than 32 bits")
        return 0, math.isqrt(largest) + 1, "uint32_t"

    return x.low, x.high, "int64_t" if c_type(x.low, x.high) == "int64_t" else "int32_t"


_LOOPS: dict[str, Callable[[ProgramWriter, OperationRecord, CArray, _Numbers], CArray]] = {
    "linear": _linear,
    "convolution": _convolution,
    "flatten": _flatten,
    "largest": _pool,
    "sums": _pool,
    "sum": _sum,
    "same": lambda program, operation, x, numbers: x,
    "shape": _shape,
    "slice": _slice,
    "reduce": _reduce,
}
