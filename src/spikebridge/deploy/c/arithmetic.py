"""The arithmetic of C: an array form, called with expressions in place of arrays, becomes the C text of one element.

An expression knows its shape and its range. Operators make expressions of expressions, so that `membrane_step` or a
kernel of `spikebridge.deploy.stages` runs as it stands. At the end `c/steps.py` writes the lines of the result. The
first axis of a shape stands for the batch, and has one entry: C steps one stream.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.c.source import CArray, CSource, broadcast_index, c_type
from spikebridge.deploy.stages.arithmetic import (
    DRAW_BITS,
    FRACTION,
    MAX_STEPS,
    PLACE_OFFSET,
    SEED_FACTOR,
    WORD,
    IntegerArithmetic,
    rescale,
)
from spikebridge.errors import ExportError

_Operand: TypeAlias = "Expression | int"


class Block(Protocol):
    """The block of C lines in which an expression is written: the loop over the places of a shape."""

    source: CSource
    shape: tuple[int, ...]

    def text(self, expression: "Expression") -> str:
        """The C text of an expression; where it is used more than once, a local variable."""

    def sum_over(self, stack: "Stack") -> str:
        """The local variable that holds the sum of a stack."""


@dataclass(frozen=True, eq=False)
class Expression:
    """An integer at every place of a signal.

    Attributes:
        shape: shape with the axis of the batch.
        low, high: the lowest and the highest integer that it can be.
    """

    shape: tuple[int, ...]
    low: int
    high: int

    @property
    def ndim(self) -> int:
        """The number of axes, with that of the batch."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of places."""
        return math.prod(self.shape)

    @property
    def operands(self) -> tuple["Expression", ...]:
        """The expressions in its text."""
        return ()

    def text(self, block: Block) -> str:
        """Its C text."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 1

    def __add__(self, other: _Operand) -> "Expression":
        other = _expression(other)
        return _binary("+", self, other, self.low + other.low, self.high + other.high)

    __radd__ = __add__

    def __sub__(self, other: _Operand) -> "Expression":
        other = _expression(other)
        return _binary("-", self, other, self.low - other.high, self.high - other.low)

    def __rsub__(self, other: int) -> "Expression":
        return _expression(other) - self

    def __mul__(self, other: _Operand) -> "Expression":
        other = _expression(other)
        products = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return _binary("*", self, other, min(products), max(products))

    __rmul__ = __mul__

    def __ge__(self, other: _Operand) -> "Expression":
        return _binary(">=", self, _expression(other), 0, 1)

    def __gt__(self, other: _Operand) -> "Expression":
        return _binary(">", self, _expression(other), 0, 1)

    def __lt__(self, other: _Operand) -> "Expression":
        return _binary("<", self, _expression(other), 0, 1)

    def __eq__(self, other: _Operand) -> "Expression":  # type: ignore[override]
        return _binary("==", self, _expression(other), 0, 1)

    def __ne__(self, other: _Operand) -> "Expression":  # type: ignore[override]
        return _binary("!=", self, _expression(other), 0, 1)

    __hash__ = object.__hash__


@dataclass(frozen=True, eq=False)
class Constant(Expression):
    """Integers of the model; their shape is broadcast from the right."""

    values: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))

    @classmethod
    def of(cls, values: Any) -> "Constant":
        """An expression of some integers."""
        values = np.asarray(values, np.int64)
        bounds = (int(values.min()), int(values.max())) if values.size else (0, 0)
        return cls(values.shape, *bounds, values)

    def text(self, block: Block) -> str:
        return block.source.constant(self.values.reshape(_place_shape(self.shape, block.shape)), block.shape)

    def __getitem__(self, index: Expression) -> "Expression":
        """The entries of a table at integers."""
        return _Entry.of(self.values, index)


@dataclass(frozen=True, eq=False)
class Element(Expression):
    """The element of an array in memory."""

    array: CArray = field(default_factory=lambda: CArray("", (), 0, 0))

    @classmethod
    def of(cls, array: CArray) -> "Element":
        """The signal of one stream."""
        return cls((1, *array.shape), array.low, array.high, array)

    def text(self, block: Block) -> str:
        return self.array.shaped(_place_shape(self.shape, block.shape)).at(block.shape)

    def reshape(self, *shape: int) -> "Element":
        """The same signal with further axes of one entry."""
        return replace(self, shape=shape)


@dataclass(frozen=True, eq=False)
class Operation(Expression):
    """C text with places for its operands, `{0}`, `{1}`, ...; `kind` is the type of its local variable."""

    template: str = ""
    parts: tuple[Expression, ...] = ()
    kind: str = "int64_t"
    function: str | None = None

    @property
    def operands(self) -> tuple[Expression, ...]:
        return self.parts

    def text(self, block: Block) -> str:
        texts = [block.text(part) for part in self.parts]
        if self.function is not None:
            return block.source.call(self.function, *texts)
        return self.template.format(*texts)


@dataclass(frozen=True, eq=False)
class _Entry(Expression):
    """The entry of a table at an integer; of a table with rows, the entry of a column `k`."""

    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    index: Expression = field(default_factory=lambda: Constant.of(0))

    @classmethod
    def of(cls, table: NDArray[np.int64], index: Expression) -> "_Entry":
        if index.low < 0 or index.high >= len(table):
            raise ExportError(f"a table has {len(table)} entries, but is read from {index.low} to {index.high}")
        return cls(index.shape, int(table.min()), int(table.max()), table, index)

    @property
    def operands(self) -> tuple[Expression, ...]:
        return (self.index,)

    def text(self, block: Block) -> str:
        index = block.text(self.index)
        if self.table.ndim > 1:
            index = f"({index}) * {self.table.shape[1]} + k"
        return f"{block.source.table(self.table)}[{index}]"


@dataclass(frozen=True, eq=False)
class _TableRow(Expression):
    """A row `i` of constants, one for each place: the taps of a kernel."""

    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros((1, 1), np.int64))

    def text(self, block: Block) -> str:
        shape = self.rows.shape[1:]
        index = broadcast_index(shape, block.shape)
        return f"{block.source.table(self.rows)}[i * {math.prod(shape)} + {index}]"


@dataclass(frozen=True, eq=False)
class _PlaceNumber(Expression):
    """The number of a place in the sample."""

    def text(self, block: Block) -> str:
        return f"(uint32_t)({broadcast_index(_place_shape(self.shape, block.shape), block.shape)})"


@dataclass(frozen=True)
class Ring:
    """The last steps of a signal, in a ring of memory: the past of a kernel or a delay.

    Attributes:
        array: one step.
        place: C text of the row that the present step gets; the oldest step is in the next row.
        rows: steps in the ring, one more than the past has.
        started: a condition, and a step that fills the ring where it does not hold.
        newest: the present step, once it is appended.
    """

    array: CArray
    place: str
    rows: int
    started: tuple[Expression, Expression] | None = None
    newest: Expression | None = None

    @property
    def steps(self) -> list[Expression]:
        """Steps that come into the ring."""
        filled = [] if self.started is None else [self.started[1]]
        return filled if self.newest is None else [*filled, self.newest]

    def step(self, age: str, parts: tuple[Expression, ...] = ()) -> "_RingStep":
        """The step of some age; 0 is the present one."""
        low = min([self.array.low, *(step.low for step in self.steps)])
        high = max([self.array.high, *(step.high for step in self.steps)])
        return _RingStep((1, *self.array.shape), low, high, self, age, parts)


@dataclass(frozen=True, eq=False)
class _RingStep(Expression):
    """A step in a ring; its age is C text with places for operands."""

    ring: Ring = field(default_factory=lambda: Ring(CArray("", (), 0, 0), "", 1))
    age: str = "0"
    parts: tuple[Expression, ...] = ()

    @property
    def operands(self) -> tuple[Expression, ...]:
        return self.parts

    def text(self, block: Block) -> str:
        ring = self.ring
        age = self.age.format(*(block.text(part) for part in self.parts))
        row = f"({ring.place} + {ring.rows} - {age}) % {ring.rows}"
        return f"{ring.array.code}[{row} * {ring.array.size} + {broadcast_index(ring.array.shape, block.shape)}]"


@dataclass(frozen=True)
class Stack:
    """Several expressions that differ in a C variable alone: the values of a window, or the products of taps.

    Attributes:
        element: the expression, with the variable in its text.
        number: how many there are.
        variable: "k" for values, "i" for the steps of a ring.
        array: the values in memory, where they are.
        is_product: whether each is the product of those up to it.
    """

    element: Expression
    number: int
    variable: str = "k"
    array: CArray | None = None
    is_product: bool = False

    @classmethod
    def of(cls, values: CArray, number: int) -> "Stack":
        """Values that follow each other in memory."""
        return cls(Element.of(values.row("k")), number, array=values)

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, place: int) -> Expression:
        if self.array is None:
            raise ExportError("only values in memory can be read one by one")
        return Element.of(self.array if self.number == 1 else self.array.row(str(place % self.number)))

    def __eq__(self, other: Any) -> "Stack":  # type: ignore[override]
        return replace(self, element=self.element == other, array=None)

    def __ne__(self, other: Any) -> "Stack":  # type: ignore[override]
        return replace(self, element=self.element != other, array=None)

    __hash__ = object.__hash__

    def cumprod(self, axis: int) -> "Stack":
        """Products of each value with those before it."""
        return replace(self, is_product=True)

    def sum(self, axis: int) -> "Total":
        """The sum of all values."""
        low = min(self.element.low, 0) * self.number
        high = max(self.element.high, 0) * self.number
        c_type(low, high)
        return Total(self.element.shape, low, high, self)


@dataclass(frozen=True, eq=False)
class Total(Expression):
    """The sum of a stack, computed in a loop of its own."""

    stack: Stack = field(default_factory=lambda: Stack(Constant.of(0), 1))

    @property
    def operands(self) -> tuple[Expression, ...]:
        return (self.stack.element,)

    def text(self, block: Block) -> str:
        return block.sum_over(self.stack)


class _ExpressionFunctions:
    """The functions of numpy that array forms call, for expressions."""

    @staticmethod
    def zeros_like(x: Expression) -> Expression:
        return Constant.of(np.zeros(x.shape, np.int64))

    @staticmethod
    def ones_like(x: Expression) -> Expression:
        return Constant.of(np.ones(x.shape, np.int64))

    @staticmethod
    def stack(values: Stack) -> Stack:
        return values

    @staticmethod
    def where(condition: Expression, first: _Operand, second: _Operand) -> Expression:
        parts = (condition, _expression(first), _expression(second))
        low = min(part.low for part in parts[1:])
        high = max(part.high for part in parts[1:])
        return Operation(_common_shape(*parts), low, high, "({0} ? {1} : {2})", parts)

    @staticmethod
    def maximum(q: Expression, low: int) -> Expression:
        return Operation(q.shape, max(q.low, low), max(q.high, low), f"({{0}} > {low} ? {{0}} : {low})", (q,))

    @staticmethod
    def clip(q: Expression, low: int, high: int | None) -> Expression:
        if high is None:
            return _ExpressionFunctions.maximum(q, low)
        # the range is that of the limits, so that ranges of states settle
        return _call("clip", (q, _expression(low), _expression(high)), low, high)


class CArithmetic(IntegerArithmetic):
    """Expressions of 64 bits.

    Args:
        settings: settings of the stage, and its widths.
        constants: its integers, named as in an integer model.
        num_steps: steps of a window, at most.
        present: for quantities under a signal that may not have come yet: the condition that it has.
    """

    xp: Any = _ExpressionFunctions

    def __init__(
        self,
        settings: Mapping[str, Any],
        constants: Mapping[str, Any],
        num_steps: int = MAX_STEPS,
        present: Mapping[str, Expression] | None = None,
    ) -> None:
        super().__init__(settings, constants)
        self.num_steps = min(num_steps, MAX_STEPS)
        self.present = present or {}

    def __getitem__(self, name: str) -> Expression:
        value = self.constants[name]
        return value if isinstance(value, Expression) else Constant.of(value)

    def with_constants(self, constants: Mapping[str, Expression]) -> "CArithmetic":
        own = {
            name: self.xp.where(self.present[name], value, self[name]) if name in self.present else value
            for name, value in constants.items()
        }
        return super().with_constants(own)

    def zeros(self, shape: tuple[int, ...], like: Any) -> Expression:
        return Constant.of(np.zeros(shape, np.int64))

    def rescale(self, q: Expression, ratio: str = "out.") -> Expression:  # type: ignore[override]
        if ratio == "in." and f"{ratio}multiplier" not in self.constants:
            return q

        multiplier = self.constants[f"{ratio}multiplier"]
        shift = self.constants[f"{ratio}shift"]
        _check_product(q, multiplier, shift)
        if (multiplier == 1).all() and (shift == 0).all():
            return q

        ends = [rescale(np.array(bound), multiplier, shift) for bound in (q.low, q.high)]
        low = min(int(end.min()) for end in ends)
        high = max(int(end.max()) for end in ends)

        return _call("rescale", (q, Constant.of(multiplier), Constant.of(shift)), low, high)

    def leak(self, v: Expression, decay: Expression, rest: _Operand = 0) -> Expression:
        rest = _expression(rest)
        if decay.low < 0 or decay.high > 1 << FRACTION:
            raise ExportError(f"a decay counts parts of 2^{FRACTION}, but is {decay.low} to {decay.high}")

        # the product with a decay stays inside 64 bits
        distance = v - rest
        c_type((distance.low << FRACTION) - (1 << FRACTION), (distance.high << FRACTION) + (1 << FRACTION))

        return _call("leak", (v, rest, decay), min(v.low, rest.low), max(v.high, rest.high))

    def fire(self, v: Expression, threshold: Expression) -> Expression:
        return v >= threshold

    def reset(self, v: Expression, spikes: Expression, v_reset: Expression) -> Expression:
        return self.xp.where(spikes, v_reset, v)

    def between(self, q: Expression, first: Expression, second: Expression) -> Expression:
        return replace(q, low=min(first.low, second.low), high=max(first.high, second.high))

    def count(self, number: Expression) -> Expression:
        text = f"({{0}} < {self.num_steps} ? {{0}} + 1 : {self.num_steps})"
        return Operation(number.shape, 1, self.num_steps, text, (number,))

    def divide(self, total: Expression, number: Expression) -> Expression:
        multiplier = self.constants["out.multiplier"]
        shift = self.constants["out.shift"]
        unit = (1 << int(shift.max())) * number.high
        largest = 2 * max(abs(total.low), abs(total.high)) * int(np.abs(multiplier).max()) + unit
        if max(largest, 2 * unit) >= 1 << 63:
            raise ExportError(f"the mean of {number.high} steps does not fit into 64 bits")

        # the mean of one step is the largest
        single = self.rescale(total)
        return _call("divide", (total, number, self["out.multiplier"], self["out.shift"]), single.low, single.high)

    def draw(self, h: Expression, index: _Operand) -> tuple[Expression, Expression]:
        index = _expression(index)
        seed = int(self.settings["seed"]) * SEED_FACTOR & WORD
        number = Operation((1,), 0, WORD, f"s->stream + UINT32_C({seed})")
        stream = replace(_call("stream", (number, index), 0, WORD), kind="uint32_t")
        word = _call("draw", (stream, _PlaceNumber(h.shape, 0, WORD)), 0, (1 << DRAW_BITS) - 1)
        following = Operation(index.shape, 0, WORD, f"(({{0}} + 1) & INT64_C({WORD}))", (index,))

        return word, following

    def spikes(self, condition: Any, h: Any) -> Any:
        return condition

    def look_up(self, name: str, index: Expression) -> Stack:  # type: ignore[override]
        table = self.constants[name]
        return Stack(_Entry.of(table, index), table.shape[1])

    def past(self, x: Expression, num_steps: int) -> Ring:
        return Ring(CArray("", x.shape[1:], 0, 0), "", num_steps + 1)

    def fill(self, past: Ring, started: Expression, x: Expression) -> Ring:
        return replace(past, started=(started, x))

    def append(self, past: Ring, x: Expression) -> Ring:
        return replace(past, newest=x)

    def drop_oldest(self, steps: Ring) -> Ring:
        return steps

    def oldest(self, steps: Ring) -> Expression:
        return steps.step(str(steps.rows - 1))

    def weighted_sum(self, steps: Ring, taps: Constant) -> Expression:
        rows = taps.values
        own = _TableRow((1, *rows.shape[1:]), taps.low, taps.high, rows)
        return Stack(own * steps.step("i"), len(rows), "i").sum(0)

    def delayed(self, steps: Ring, ticks: Expression) -> Expression:
        return steps.step("{0}", (ticks,))


def _check_product(q: Expression, multiplier: NDArray[np.int64], shift: NDArray[np.int64]) -> None:
    factor = int(np.abs(multiplier).max(initial=0))
    if factor >= 1 << 31:
        raise ExportError("a change of scale has a multiplier of more than 32 bits")

    largest = max(abs(q.low), abs(q.high)) * factor
    if largest + (1 << int(shift.max(initial=0))) >= 1 << 63:
        raise ExportError(f"a product of {largest} does not fit into 64 bits")


def _expression(value: _Operand) -> Expression:
    return value if isinstance(value, Expression) else Constant.of(value)


def _common_shape(*parts: Expression) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(part.shape for part in parts))
    except ValueError:
        shapes = ", ".join(str(part.shape[1:]) for part in parts)
        raise ExportError(f"signals of shapes {shapes} do not fit to each other") from None


def _place_shape(shape: tuple[int, ...], places: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the axis of the batch, where it has one."""
    return shape[1:] if len(shape) > len(places) else shape


def _call(function: str, parts: tuple[Expression, ...], low: int, high: int) -> Operation:
    return Operation(_common_shape(*parts), low, high, "", parts, function=function)


def _binary(operator: str, first: Expression, second: Expression, low: int, high: int) -> Expression:
    if isinstance(first, Constant) and isinstance(second, Constant):
        return Constant.of(_FOLDED[operator](first.values, second.values))

    # 32 bits are enough for C where they hold the result
    cast = "" if c_type(low, high) != "int64_t" else "(int64_t)"
    template = f"({cast}{{0}} {operator} {{1}})"
    return Operation(_common_shape(first, second), low, high, template, (first, second))


_FOLDED: dict[str, Any] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    ">=": np.greater_equal,
    ">": np.greater,
    "<": np.less,
    "==": np.equal,
    "!=": np.not_equal,
}


# a function stands behind those that it calls
C_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "rescale": (
        "/* another scale: (q m + half) >> k, halves are rounded up */",
        "static int64_t rescale(int64_t q, int32_t m, int k) {",
        "    return (q * m + (k > 0 ? (int64_t)1 << (k - 1) : 0)) >> k;",
        "}",
    ),
    "clip": (
        "static int64_t clip(int64_t q, int64_t low, int64_t high) {",
        "    return q < low ? low : q > high ? high : q;",
        "}",
    ),
    "leak": (
        "/* one step closer to rest; the decay counts parts of 2^15 */",
        "static int64_t leak(int64_t v, int64_t rest, int32_t decay) {",
        "    return rest + (((v - rest) * decay + (1 << 14)) >> 15);",
        "}",
    ),
    "divide": (
        "/* the mean of integers in another scale, halves are rounded up */",
        "static int64_t divide(int64_t total, int64_t number, int32_t m, int k) {",
        "    const int64_t unit = ((int64_t)1 << k) * number, a = 2 * total * m + unit, b = 2 * unit;",
        "    return a / b - (a % b < 0);",
        "}",
    ),
    "mix": (
        "static uint32_t mix(uint32_t word) {",
        "    word = (word ^ (word >> 16)) * UINT32_C(0x7FEB352D);",
        "    word = (word ^ (word >> 15)) * UINT32_C(0x31848BAB);",
        "    word = (word ^ (word >> 14)) * UINT32_C(0x5BD1E995);",
        "    return word ^ (word >> 16);",
        "}",
    ),
    "stream": (
        "/* the random word of a stream at a step */",
        "static uint32_t stream(uint32_t number, uint32_t step) {",
        "    return mix(mix(step) ^ mix(number));",
        "}",
    ),
    "draw": (
        "/* a random integer below 2^24 for a place */",
        "static int32_t draw(uint32_t word, uint32_t place) {",
        f"    return (int32_t)(mix(mix(word ^ mix(place + UINT32_C({PLACE_OFFSET})))) >> 8);",
        "}",
    ),
}
CALLS = {"stream": "mix", "draw": "mix"}  # functions that others of them call
