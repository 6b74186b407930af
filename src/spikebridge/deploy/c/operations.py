"""Programs of the integer model in C: the operations of a part, or of the nonlinearity of a unit, in order."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.c.neurons import Acting, delayed, factor, neuron
from spikebridge.deploy.c.source import CArray, CSource, copied, loop
from spikebridge.deploy.integer.program import OperationRecord, ProgramRecord
from spikebridge.deploy.stages.arithmetic import ratio
from spikebridge.errors import ExportError

_Numbers = Mapping[str, Any]
_ALIKE = ("same", "relu", "flatten", "largest", "previous", "delay")


class ProgramWriter:
    """Writes the operations of one program into a function.

    Args:
        source: the file.
        function: that the lines stand in; it names the scratch memory.
        record: the operations.
        numbers: by operation.

    Attributes:
        lines: of the function.
        after: lines behind the last use of what comes out, which may be what came back.
    """

    def __init__(self, source: CSource, function: str, record: ProgramRecord, numbers: Mapping[str, _Numbers]) -> None:
        self.source = source
        self.name = function
        self.record = record
        self.numbers = numbers
        self.lines: list[str] = []
        self.after: list[str] = []
        self.known = {one.name: one for one in record.operations}

    def write(self, inputs: Mapping[str, CArray], effects: Mapping[tuple[str, str], Sequence[Acting]]) -> CArray:
        """Writes all operations.

        Args:
            inputs: what comes in.
            effects: what acts on a quantity of a layer.

        Returns:
            What comes out.

        Raises:
            ExportError: an operation without a C form, or a sum that leaves 64 bits.
        """
        values = dict(inputs)
        previous = []

        for one in self.record.operations:
            if one.operation == "previous":
                low, high = self._declared(one.sources[0])
                shape = tuple(int(str(one.settings[f"axis_{i}"])) for i in range(len(one.settings)))
                values[one.name] = self.source.remembered(f"{self.name}_{one.name}", shape, low, high)
                previous.append(one)
                continue

            acting = {quantity: several for (node, quantity), several in effects.items() if node == one.name}
            values[one.name] = self._operation(one, [values[name] for name in one.sources], acting)

        out = values[self.record.output]
        for one in previous:
            target = values[one.name]
            self.after += copied(values[one.sources[0]].code, target.code, target.size)

        return out

    def scratch(self, name: str, shape: tuple[int, ...], low: int, high: int) -> CArray:
        """Memory of this function."""
        return self.source.scratch(self.name, name, shape, low, high)

    def _operation(
        self, one: OperationRecord, given: Sequence[CArray], acting: Mapping[str, Sequence[Acting]]
    ) -> CArray:
        numbers = self.numbers.get(one.name, {})
        name = f"{self.name}_{one.name}"

        if one.operation == "neuron":
            lines, out = neuron(self.source, name, (self.name, one.name), one.settings, numbers, given, acting)
        elif one.operation == "factor":
            lines, out = factor(self.source, (self.name, one.name), one.settings, numbers, given[0], acting)
        elif one.operation == "delay":
            lines, out = delayed(self.source, name, (self.name, one.name), one.settings, numbers, given[0])
        else:
            lines, out = _LAYERS[one.operation](self, one, given, numbers)

        self.lines += lines
        return out

    def _declared(self, name: str) -> tuple[int, int]:
        """The range of a signal that is read before it is made."""
        one = self.known.get(name)
        if one is not None:
            settings = one.settings
            if one.operation == "narrow":
                return int(str(settings["low"])), int(str(settings["high"]))

            if one.operation == "neuron":
                high = int(str(settings["high"]))
                return (0, 1) if settings["spikes"] else (-high, high)

            if one.operation == "table":
                entries = self.numbers[name]["entries"]
                return int(entries.min()), int(entries.max())

            if one.operation in _ALIKE:
                low, high = self._declared(one.sources[0])
                return min(low, 0), max(high, 0)

        raise ExportError(f"{self.name}: the range of {name!r}, which comes back one tick later, is unknown")


def _linear(
    program: ProgramWriter, one: OperationRecord, given: Sequence[CArray], numbers: _Numbers
) -> tuple[list[str], CArray]:
    (x,), weight = given, np.asarray(numbers["weight"], np.int64)
    bias = np.broadcast_to(np.asarray(numbers.get("bias", 0), np.int64), weight.shape[:1])
    if not x.shape or x.shape[-1] != weight.shape[1]:
        raise ExportError(f"{one.name!r} takes {weight.shape[1]} values, but gets a signal of shape {x.shape}")

    low, high = _sums(weight, bias, x.low, x.high)
    out = program.scratch(one.name, (*x.shape[:-1], len(weight)), low, high)
    table = program.source.table(weight)
    fan_in = weight.shape[1]
    fan_out = len(weight)
    rows = math.prod(x.shape[:-1])
    kind = _sum_type(weight, bias, x)
    product = _product(kind, f"{table}[o * {fan_in} + i]", _at(x, "row", fan_in, "i", rows))

    body = [
        f"{kind} sum = {program.source.constant(bias, (fan_out,), 'o')};",
        *loop(fan_in, [f"sum += {product};"], "i"),
        f"{_at(out, 'row', fan_out, 'o', rows)} = sum;",
    ]

    lines = loop(fan_out, body, "o")
    return lines if rows == 1 else loop(rows, lines, "row"), out


def _at(x: CArray, row: str, size: int, index: str, rows: int) -> str:
    return f"{x.code}[{index}]" if rows == 1 else f"{x.code}[{row} * {size} + {index}]"


def _sums(weight: NDArray[np.int64], bias: NDArray[np.int64], low: int, high: int) -> tuple[int, int]:
    rows = weight.reshape(len(weight), -1)
    lowest = np.minimum(rows * low, rows * high).sum(1) + bias
    highest = np.maximum(rows * low, rows * high).sum(1) + bias
    return int(lowest.min(initial=0)), int(highest.max(initial=0))


def _sum_type(weight: NDArray[np.int64], bias: NDArray[np.int64], x: CArray) -> str:
    """Of a sum while it grows: no part of it leaves this type."""
    largest = np.abs(weight).reshape(len(weight), -1).sum(1) * max(abs(x.low), abs(x.high)) + np.abs(bias)
    return "int32_t" if int(largest.max(initial=0)) < 1 << 31 else "int64_t"


def _product(kind: str, weight: str, value: str) -> str:
    """A product in the type of its sum: that of two numbers of 32 bits has no more than 32 in C."""
    return f"{weight} * {value}" if kind == "int32_t" else f"(int64_t){weight} * {value}"


def _convolution(
    program: ProgramWriter, one: OperationRecord, given: Sequence[CArray], numbers: _Numbers
) -> tuple[list[str], CArray]:
    (x,), weight = given, np.asarray(numbers["weight"], np.int64)
    num_axes = weight.ndim - 2
    if num_axes not in (1, 2) or len(x.shape) != num_axes + 1:
        raise ExportError(f"{one.name!r} is a convolution over {num_axes} axes of {x.shape}; C has those over 1 and 2")

    bias = np.broadcast_to(np.asarray(numbers.get("bias", 0), np.int64), weight.shape[:1])
    stride, padding, dilation = (
        _pair([int(str(one.settings[f"{name}_{axis}"])) for axis in range(num_axes)], 0 if name == "padding" else 1)
        for name in ("stride", "padding", "dilation")
    )

    size = _pair(list(x.shape[1:]), 1)
    kernel = _pair(list(weight.shape[2:]), 1)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    places = _places(one.name, size, spans, stride, padding)
    low, high = _sums(weight, bias, min(x.low, 0), max(x.high, 0))
    out = program.scratch(one.name, (len(weight), *places[2 - num_axes :]), low, high)
    channels = weight.shape[1]
    table = program.source.table(weight)
    of_group = len(weight) // int(str(one.settings["groups"]))
    group = f"o / {of_group} * {channels} + c" if of_group < len(weight) else "c"
    kind = _sum_type(weight, bias, x)
    entry = f"{table}[((o * {channels} + c) * {kernel[0]} + ky) * {kernel[1]} + kx]"
    inner = [f"sum += {_product(kind, entry, f'{x.code}[(({group}) * {size[0]} + iy) * {size[1]} + ix]')};"]

    body = [
        f"{kind} sum = {program.source.constant(bias, (len(weight),), 'o')};",
        *loop(channels, _window(inner, kernel, stride, padding, dilation, size), "c"),
        f"{out.code}[(o * {places[0]} + y) * {places[1]} + x] = sum;",
    ]
    return loop(len(weight), loop(places[0], loop(places[1], body, "x"), "y"), "o"), out


def _pair(values: list[int], single: int) -> list[int]:
    """Sizes over rows and columns; one axis is a single row."""
    return values if len(values) == 2 else [single, *values]


def _places(
    name: str, size: Sequence[int], spans: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> list[int]:
    """How many windows there are along each axis."""
    zipped = zip(size, spans, stride, padding, strict=True)
    places = [(n + 2 * p - span) // s + 1 if s else 0 for n, span, s, p in zipped]
    if min(places) < 1:
        raise ExportError(f"{name!r} has windows of {list(spans)} on {list(size)} values, which do not fit")

    return places


def _window(
    inner: Sequence[str],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    size: Sequence[int],
) -> list[str]:
    """The loops over a window at (y, x): its values at (iy, ix), those outside left out."""

    def axis(number: int, place: str, offset: str, body: Sequence[str]) -> list[str]:
        where = f"{place} * {stride[number]} + {offset} * {dilation[number]} - {padding[number]}"
        lines = [f"const int i{place} = {where};"]
        if padding[number]:
            lines.append(f"if (i{place} < 0 || i{place} >= {size[number]}) continue;")

        return loop(kernel[number], [*lines, *body], offset)

    return axis(0, "y", "ky", axis(1, "x", "kx", inner))


def _pool(
    program: ProgramWriter, one: OperationRecord, given: Sequence[CArray], numbers: _Numbers
) -> tuple[list[str], CArray]:
    (x,), largest = given, one.operation == "largest"
    if len(x.shape) != 3:
        raise ExportError(f"{one.name!r} pools over the two axes of a picture, but gets a signal of shape {x.shape}")

    kernel, stride, padding = (
        [int(str(one.settings[f"{name}_{axis}"])) for axis in (0, 1)] for name in ("kernel_size", "stride", "padding")
    )
    size = x.shape[1:]
    places = _places(one.name, size, kernel, stride, padding)
    area = math.prod(kernel)
    low, high = (x.low, x.high) if largest else (min(x.low, 0) * area, max(x.high, 0) * area)
    out = program.scratch(one.name, (x.shape[0], *places), low, high)
    value = f"{x.code}[(c * {size[0]} + iy) * {size[1]} + ix]"
    inner = [f"if ({value} > best) best = {value};"] if largest else [f"best += {value};"]

    body = [
        f"{'int64_t' if abs(low) + high >= 1 << 31 else 'int32_t'} best = {x.low if largest else 0};",
        *_window(inner, kernel, stride, padding, [1, 1], size),
        f"{out.code}[(c * {places[0]} + y) * {places[1]} + x] = best;",
    ]
    return loop(x.shape[0], loop(places[0], loop(places[1], body, "x"), "y"), "c"), out


def _sum(
    program: ProgramWriter, one: OperationRecord, given: Sequence[CArray], numbers: _Numbers
) -> tuple[list[str], CArray]:
    (x,) = given
    area = math.prod(x.shape[-2:])
    out = program.scratch(one.name, (*x.shape[:-2], 1, 1), x.low * area, x.high * area)
    body = [f"{out.kind} sum = 0;", *loop(area, [f"sum += {x.code}[c * {area} + i];"], "i"), f"{out.code}[c] = sum;"]

    return loop(out.size, body, "c"), out


def _narrow(
    program: ProgramWriter, one: OperationRecord, given: Sequence[CArray], numbers: _Numbers
) -> tuple[list[str], CArray]:
    low, high, axis = (one.settings[name] for name in ("low", "high", "axis"))
    bounds = (int(str(low)), int(str(high)))
    ratios = [ratio(numbers, after=f"_{i}") for i in range(len(given))]
    source = program.source

    if axis is None:
        shape = np.broadcast_shapes(*(x.shape for x in given))
        terms = [source.rescale(x.at(shape), (x.low, x.high), by, shape) for x, by in zip(given, ratios, strict=True)]
        out = program.scratch(one.name, shape, *bounds)
        total = " + ".join(code if len(terms) == 1 else f"(int64_t){code}" for code, _, _ in terms)

        return loop(out.size, [f"{out.code}[j] = {_clipped(source, total, bounds)};"]), out

    place = int(str(axis)) % (len(given[0].shape) + 1) - 1
    before = math.prod(given[0].shape[:place])
    after = math.prod(given[0].shape[place + 1 :])
    joined = sum(x.shape[place] for x in given)
    out = program.scratch(one.name, (*given[0].shape[:place], joined, *given[0].shape[place + 1 :]), *bounds)
    lines = []
    offset = 0

    for x, by in zip(given, ratios, strict=True):
        block = x.shape[place] * after
        code, _, _ = source.rescale(x.at(x.shape), (x.low, x.high), by, x.shape)
        target = "j" if before == 1 else f"j / {block} * {joined * after} + j % {block}"
        lines += loop(x.size, [f"{out.code}[{target} + {offset}] = {_clipped(source, code, bounds)};"])
        offset += block

    return lines, out


def _clipped(source: CSource, code: str, bounds: tuple[int, int]) -> str:
    return source.call("clip", code, *(str(bound) for bound in bounds))


def _table(
    program: ProgramWriter, one: OperationRecord, given: Sequence[CArray], numbers: _Numbers
) -> tuple[list[str], CArray]:
    (x,), entries, low = given, np.asarray(numbers["entries"], np.int64), int(str(one.settings["low"]))
    check_entries(one.name, x, low, len(entries))
    out = program.scratch(one.name, x.shape, int(entries.min()), int(entries.max()))
    return loop(x.size, [f"{out.code}[j] = {program.source.table(entries)}[{x.code}[j] - ({low})];"]), out


def check_entries(name: str, x: CArray, low: int, number: int) -> None:
    """Refuses a table that does not hold all that is looked up in it."""
    if x.low < low or x.high >= low + number:
        raise ExportError(f"{name!r} has a table from {low} to {low + number - 1}, but looks up {x.low} to {x.high}")


def _relu(
    program: ProgramWriter, one: OperationRecord, given: Sequence[CArray], numbers: _Numbers
) -> tuple[list[str], CArray]:
    (x,) = given
    out = program.scratch(one.name, x.shape, max(x.low, 0), max(x.high, 0))
    return loop(x.size, [f"{out.code}[j] = {x.code}[j] > 0 ? {x.code}[j] : 0;"]), out


def _flatten(
    program: ProgramWriter, one: OperationRecord, given: Sequence[CArray], numbers: _Numbers
) -> tuple[list[str], CArray]:
    (x,), ndim = given, len(given[0].shape) + 1
    start, end = (int(str(one.settings[name])) % ndim - 1 for name in ("start", "end"))
    if start < 0:
        raise ExportError(f"{one.name!r} flattens the axis of the batch")
    return [], x.shaped((*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def _same(
    program: ProgramWriter, one: OperationRecord, given: Sequence[CArray], numbers: _Numbers
) -> tuple[list[str], CArray]:
    return [], given[0]


_LAYERS = {
    "linear": _linear,
    "convolution": _convolution,
    "narrow": _narrow,
    "table": _table,
    "flatten": _flatten,
    "relu": _relu,
    "largest": _pool,
    "sums": _pool,
    "sum": _sum,
    "same": _same,
}
