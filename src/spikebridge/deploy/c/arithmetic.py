"""The arithmetic of C: an array form, called with expressions in place of arrays, becomes the C text of one element.

An expression knows its shape and its range. Operators make expressions of expressions, so that `membrane_step` or a
kernel of `spikebridge.deploy.stages` runs as it stands; `c/steps.py` writes the lines of the result. Constants stay
arrays of numpy. The first axis of a shape stands for the batch, and has one entry: C steps one stream.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.c.source import CArray, CSource, broadcast_index, c_type, for_loop
from spikebridge.deploy.stages.arithmetic import (
    DRAW_BITS,
    FRACTION,
    MAX_STEPS,
    PLACE_OFFSET,
    SEED_FACTOR,
    WORD,
    IntegerArithmetic,
    Ints,
    rescale,
)
from spikebridge.errors import ExportError

_Operand: TypeAlias = "Expression | NDArray[Any] | int"


def _comparison(operator: str) -> Callable[[Any, Any], Any]:
    """A method that compares an expression with another one, or with constants."""

    def compare(self: "Expression", other: _Operand) -> "Expression":
        return _binary(operator, self, as_expression(other), 0, 1)

    return compare


@dataclass(eq=False)
class Expression:
    """An integer at every place of a signal: its shape with the axis of the batch, its range, and its C text.

    `write` gives the text in a block; operands are the expressions in it.
    """

    # numpy leaves operators to the expression
    __array_ufunc__ = None

    shape: tuple[int, ...]
    low: int
    high: int
    write: Callable[["Block"], str]
    operands: tuple["Expression", ...] = ()

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def like(self) -> CArray:
        """An array of the same shape and range, without memory."""
        return CArray("", self.shape[1:], self.low, self.high)

    def __len__(self) -> int:
        return self.shape[0]

    def within(self, low: int, high: int) -> "Expression":
        """The same expression with a known range."""
        return Expression(self.shape, low, high, self.write, self.operands)

    def reshape(self, *shape: int) -> "Expression":
        """The same signal with further axes of one entry; only a signal in memory can get them."""
        raise ExportError("only a signal in memory can be reshaped")

    def __add__(self, other: _Operand) -> "Expression":
        x = as_expression(other)
        return _binary("+", self, x, self.low + x.low, self.high + x.high)

    def __sub__(self, other: _Operand) -> "Expression":
        x = as_expression(other)
        return _binary("-", self, x, self.low - x.high, self.high - x.low)

    def __mul__(self, other: _Operand) -> "Expression":
        x = as_expression(other)
        products = [a * b for a in (self.low, self.high) for b in (x.low, x.high)]
        return _binary("*", self, x, min(products), max(products))

    def __rsub__(self, other: _Operand) -> "Expression":
        return as_expression(other) - self

    __radd__ = __add__
    __rmul__ = __mul__

    __ge__ = _comparison(">=")
    __gt__ = _comparison(">")
    __lt__ = _comparison("<")
    __eq__ = _comparison("==")
    __ne__ = _comparison("!=")
    __hash__ = object.__hash__


class Element(Expression):
    """An element of an array: the value of a signal in memory."""

    def __init__(self, array: CArray, shape: tuple[int, ...] | None = None) -> None:
        shape = shape or (1, *array.shape)
        super().__init__(shape, array.low, array.high, lambda block: array.shaped(shape[1:]).at(block.shape))
        self.array = array

    def reshape(self, *shape: int) -> "Element":
        return Element(self.array, shape)


@dataclass(frozen=True)
class Ring:
    """The last steps of a signal, in a ring of memory: the past of a kernel or a delay."""

    array: CArray  # one step
    place: str  # C text of the row of the present step; the oldest step is in the next row
    rows: int  # one more than the steps of the past
    fill: tuple[Expression, Expression] | None = None  # where the condition does not hold, the step fills the ring
    newest: Expression | None = None  # the present step, once it is appended

    @property
    def range(self) -> CArray:
        """One step, with the range of all steps that come into the ring."""
        steps = [step for step in (self.fill and self.fill[1], self.newest) if step is not None]
        low = min([self.array.low, *(step.low for step in steps)])
        high = max([self.array.high, *(step.high for step in steps)])
        return replace(self.array, low=low, high=high)

    def step(self, age: str, *operands: Expression) -> Expression:
        """The step of some age, C text with places for operands; 0 is the present step."""
        array = self.range

        def write(block: Block) -> str:
            steps_back = age.format(*(block.text(operand) for operand in operands))
            # C's remainder of a negative number is negative
            row = f"({self.place} + {self.rows} - {steps_back}) % {self.rows}"
            return f"{array.code}[{row} * {array.size} + {broadcast_index(array.shape, block.shape)}]"

        return Expression((1, *array.shape), array.low, array.high, write, operands)


@dataclass(frozen=True)
class Stack:
    """Several expressions that differ in a C variable alone: the values of a window, or the products of taps."""

    element: Expression
    number: int
    variable: str = "k"  # "k" for values, "i" for the steps of a ring
    array: CArray | None = None  # the values, if they are in memory
    is_product: bool = False  # each is the product of those up to it

    @classmethod
    def of(cls, values: CArray, number: int) -> "Stack":
        return cls(Element(values.row()), number, array=values)

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Expression:
        if self.array is None:
            raise ExportError("only values in memory can be read one by one")
        return Element(self.array if self.number == 1 else self.array.row(str(index % self.number)))

    def __eq__(self, other: Any) -> "Stack":  # type: ignore[override]
        return replace(self, element=self.element == other)

    def __ne__(self, other: Any) -> "Stack":  # type: ignore[override]
        return replace(self, element=self.element != other)

    __hash__ = object.__hash__

    def cumprod(self, axis: int) -> "Stack":
        return replace(self, is_product=True)

    def sum(self, axis: int) -> Expression:
        """The sum of all values, computed in a loop of its own."""
        # partial sums start at 0, and have to fit, too
        low = min(self.element.low, 0) * self.number
        high = max(self.element.high, 0) * self.number
        c_type(low, high)
        return Expression(self.element.shape, low, high, lambda block: block.sum_of(self), (self.element,))


class _ExpressionFunctions:
    """The functions of numpy that array forms call, for expressions."""

    @staticmethod
    def zeros_like(x: Expression) -> Ints:
        return np.zeros(x.shape, np.int64)

    @staticmethod
    def ones_like(x: Expression) -> Ints:
        return np.ones(x.shape, np.int64)

    @staticmethod
    def stack(values: Stack) -> Stack:
        return values

    @staticmethod
    def where(condition: Expression, first: _Operand, second: _Operand) -> Expression:
        a = as_expression(first)
        b = as_expression(second)
        return _operation("({0} ? {1} : {2})", (condition, a, b), min(a.low, b.low), max(a.high, b.high))

    @staticmethod
    def maximum(first: _Operand, second: _Operand) -> Expression:
        a = as_expression(first)
        b = as_expression(second)
        return _operation("({0} > {1} ? {0} : {1})", (a, b), max(a.low, b.low), max(a.high, b.high))

    @staticmethod
    def minimum(first: _Operand, second: _Operand) -> Expression:
        a = as_expression(first)
        b = as_expression(second)
        return _operation("({0} < {1} ? {0} : {1})", (a, b), min(a.low, b.low), min(a.high, b.high))

    @staticmethod
    def clip(q: Expression, low: int, high: int | None) -> Expression:
        if high is None:
            return _ExpressionFunctions.maximum(q, low)
        # the range is that of the limits, so that the ranges of states settle
        return _call("clip", (q, as_expression(low), as_expression(high)), low, high)


@dataclass
class CArithmetic(IntegerArithmetic):
    """Expressions of 64 bits, from settings and integers of an integer model; a window has `num_steps` steps at most.

    `present` has the condition that the signal on a modulated quantity has come, for signals that come late.
    """

    xp: ClassVar[Any] = _ExpressionFunctions

    num_steps: int = MAX_STEPS
    present: Mapping[str, Expression] = field(default_factory=dict)

    def with_constants(self, constants: Mapping[str, Any]) -> "CArithmetic":
        changed = dict(constants)
        for name in self.present.keys() & changed.keys():
            # before its first value a signal changes nothing
            changed[name] = self.xp.where(self.present[name], changed[name], self[name])
        return super().with_constants(changed)

    def zeros(self, shape: tuple[int, ...], like: Any) -> Ints:
        return np.zeros(shape, np.int64)

    def rescale(self, q: Expression, ratio: str = "out.") -> Expression:
        if ratio == "in." and f"{ratio}multiplier" not in self.constants:
            return q

        multiplier = self[f"{ratio}multiplier"]
        shift = self[f"{ratio}shift"]
        # numpy computes in 64 bits, and the C function takes a multiplier of 32
        factor = int(np.abs(multiplier).max(initial=0))
        if factor >= 1 << 31:
            raise ExportError("a change of scale has a multiplier of more than 32 bits")

        largest = max(abs(q.low), abs(q.high)) * factor
        if largest + (1 << int(shift.max(initial=0))) >= 1 << 63:
            raise ExportError(f"a product of {largest} does not fit into 64 bits")
        if (multiplier == 1).all() and (shift == 0).all():
            return q

        # a change of scale is monotone, so that the ends of the range stay its ends
        ends = np.array([rescale(np.array(bound), multiplier, shift) for bound in (q.low, q.high)])
        operands = (q, as_expression(multiplier), as_expression(shift))
        return _call("rescale", operands, int(ends.min()), int(ends.max()))

    def leak(self, v: Expression, decay: _Operand, rest: _Operand = 0) -> Expression:
        target = as_expression(rest)
        parts = as_expression(decay)
        if parts.low < 0 or parts.high > 1 << FRACTION:
            raise ExportError(f"a decay counts parts of 2^{FRACTION}, but is {parts.low} to {parts.high}")

        # the product with a decay, and the half that is added to it, stay inside 64 bits
        widest = (max(abs(v.low), abs(v.high)) + max(abs(target.low), abs(target.high)) + 1) << FRACTION
        c_type(-widest, widest)

        # a leak never passes its target
        return _call("leak", (v, target, parts), min(v.low, target.low), max(v.high, target.high))

    def power(self, decay: Ints, steps: Expression) -> Expression:
        return _call("power", (as_expression(decay), steps), 0, 1 << FRACTION)

    def charge_over(self, current: Expression, decay: Ints, decay_syn: Ints, steps: Expression) -> Expression:
        largest = max(abs(current.low), abs(current.high)) * self._max_charge >> FRACTION
        decays = as_expression(decay), as_expression(decay_syn)
        operands = (current, *decays, steps, as_expression(self._max_charge))

        return _call("charge", operands, -largest - 1, largest + 1)

    def fire(self, v: Expression, threshold: _Operand) -> Expression:
        return v >= threshold

    def reset(self, v: Expression, spikes: Expression, v_reset: _Operand) -> Expression:
        return self.xp.where(spikes, v_reset, v)

    def between(self, q: Expression, first: Expression, second: Expression) -> Expression:
        # else the range of the state would grow by that of the change at each step
        return q.within(min(first.low, second.low), max(first.high, second.high))

    def count(self, number: Expression) -> Expression:
        # a window has no more steps, and a count that stops keeps its type
        return _operation(f"({{0}} < {self.num_steps} ? {{0}} + 1 : {self.num_steps})", (number,), 1, self.num_steps)

    def divide(self, total: Expression, number: Expression) -> Expression:
        multiplier = self["out.multiplier"]
        shift = self["out.shift"]
        unit = (1 << int(shift.max())) * number.high
        largest = 2 * max(abs(total.low), abs(total.high)) * int(np.abs(multiplier).max()) + unit
        if max(largest, 2 * unit) >= 1 << 63:
            raise ExportError(f"the mean of {number.high} steps does not fit into 64 bits")

        # the mean of a single step is the largest
        single = self.rescale(total)
        operands = (total, number, as_expression(multiplier), as_expression(shift))
        return _call("divide", operands, single.low, single.high)

    def draw(self, h: Expression, index: Expression) -> tuple[Expression, Expression]:
        seed = int(self.settings["seed"]) * SEED_FACTOR & WORD
        stream = _operation(f"(s->stream + UINT32_C({seed}))", (), 0, WORD)
        place = Expression(h.shape, 0, WORD, lambda block: broadcast_index(h.shape[1:], block.shape))
        # unsigned integers of C wrap at 32 bits, as the words of `draw` in numpy
        following = _operation(f"(({{0}} + 1) & INT64_C({WORD}))", (index,), 0, WORD)

        return _call("draw", (stream, index, place), 0, (1 << DRAW_BITS) - 1), following

    def spikes(self, condition: Any, h: Any) -> Any:
        return condition

    def winners(self, h: Expression, number: int) -> Expression:
        if not isinstance(h, Element) or len(h.shape) != 2:
            raise ExportError("winners are chosen among the values of one axis, in memory")

        # the values that come before the one at place j
        array = h.array
        other = Expression(h.shape, h.low, h.high, lambda block: f"{array.code}[i]")
        other_place = Expression(h.shape, 0, array.size, lambda block: "i")
        place = Expression(h.shape, 0, array.size, lambda block: "j")
        is_before = self.xp.where(other > h, 1, (other == h) * (other_place < place))

        return Stack(is_before, array.size, "i").sum(0) < number

    def entry(self, name: str, index: Expression) -> Expression:
        return _entry(self[name], index, "{0}")

    def look_up(self, name: str, index: Expression) -> Stack:  # type: ignore[override]
        number = self[name].shape[1]
        return Stack(_entry(self[name], index, f"({{0}}) * {number} + k"), number)

    def past(self, x: Expression, num_steps: int) -> Ring:
        # memory and range come when the steps are known
        return Ring(CArray("", x.shape[1:], 0, 0), "", num_steps + 1)

    def fill(self, past: Ring, started: Expression, x: Expression) -> Ring:
        return replace(past, fill=(started, x))

    def append(self, past: Ring, x: Expression) -> Ring:
        return replace(past, newest=x)

    def drop_oldest(self, steps: Ring) -> Ring:
        # the next step overwrites the oldest
        return steps

    def oldest(self, steps: Ring) -> Expression:
        return steps.step(str(steps.rows - 1))

    def weighted_sum(self, steps: Ring, taps: Ints) -> Expression:
        def write(block: Block) -> str:
            place = broadcast_index(taps.shape[1:], block.shape)
            return f"{block.source.table(taps)}[i * {math.prod(taps.shape[1:])} + {place}]"

        tap = Expression((1, *taps.shape[1:]), int(taps.min()), int(taps.max()), write)
        return Stack(tap * steps.step("i"), len(taps), "i").sum(0)

    def delayed(self, steps: Ring, ticks: Ints) -> Expression:
        return steps.step("{0}", as_expression(ticks))


def as_expression(value: _Operand) -> Expression:
    """An expression, or constants as one; the shape of constants is broadcast from the right."""
    if isinstance(value, Expression):
        return value

    values = np.asarray(value, np.int64)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    shape = values.shape

    def write(block: Block) -> str:
        # zeros and ones of a state have the axis of the batch
        has_batch = len(shape) > len(block.shape)
        return block.source.constant(values.reshape(shape[1:]) if has_batch else values, block.shape)

    return Expression(shape or (1,), low, high, write)


def _entry(table: Ints, index: Expression, place: str) -> Expression:
    if index.low < 0 or index.high >= len(table):
        raise ExportError(f"a table has {len(table)} entries, but is read from {index.low} to {index.high}")

    def write(block: Block) -> str:
        return f"{block.source.table(table)}[{place.format(block.text(index))}]"

    return Expression(index.shape, int(table.min()), int(table.max()), write, (index,))


def _operation(template: str, operands: tuple[Expression, ...], low: int, high: int) -> Expression:
    def write(block: Block) -> str:
        return template.format(*(block.text(operand) for operand in operands))

    return Expression(_broadcast_shape(operands), low, high, write, operands)


def _call(function: str, operands: tuple[Expression, ...], low: int, high: int) -> Expression:
    def write(block: Block) -> str:
        return block.source.call(function, *(block.text(operand) for operand in operands))

    return Expression(_broadcast_shape(operands), low, high, write, operands)


def _binary(operator: str, first: Expression, second: Expression, low: int, high: int) -> Expression:
    # 32 bits are enough for C where they hold the result
    cast = "(int64_t)" if c_type(low, high) == "int64_t" else ""
    return _operation(f"({cast}{{0}} {operator} {{1}})", (first, second), low, high)


def _broadcast_shape(operands: tuple[Expression, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes((1,), *(operand.shape for operand in operands))
    except ValueError:
        shapes = ", ".join(str(operand.shape[1:]) for operand in operands)
        raise ExportError(f"signals of shapes {shapes} do not fit to each other") from None


class Block:
    """The lines that compute expressions at a place `j` of a shape, in the loop of a C function."""

    def __init__(self, source: CSource, function: str, shape: tuple[int, ...]) -> None:
        self.source = source
        self.function = function
        self.shape = shape
        self.lines: list[str] = []
        self.locals: dict[int, str] = {}
        self.uses: Counter[int] = Counter()
        self.is_in_sum = False

    def write(self, stores: Sequence[tuple[CArray, Expression]]) -> list[str]:
        """Computes all values, then stores them, since each may read the state as it was."""
        for _, value in stores:
            self._count_uses(value)

        # with several stores each text is a local variable, which no store before it changes
        text = self.text if len(stores) == 1 else self._local
        texts = [text(value) for _, value in stores]
        assigned = [f"{array.at(self.shape)} = {text};" for (array, _), text in zip(stores, texts, strict=True)]

        return [*self.lines, *assigned]

    def text(self, expression: Expression) -> str:
        """The C text of an expression; a value that is used more than once is a local variable."""
        is_shared = self.uses[id(expression)] > 1 and expression.operands and not self.is_in_sum
        return self._local(expression) if is_shared else expression.write(self)

    def sum_of(self, stack: Stack) -> str:
        total = self.source.local_name(self.function)
        # the loop variable is in the text, so that no local variable before the loop can hold it
        self.is_in_sum = True
        element = self.text(stack.element)
        self.is_in_sum = False

        self.lines.append(f"int64_t {total} = 0;")
        body = [f"{total} += {element};"]
        if stack.is_product:
            product = self.source.local_name(self.function)
            self.lines.append(f"int64_t {product} = 1;")
            body = [f"{product} *= {element};", f"{total} += {product};"]

        self.lines += for_loop(stack.number, body, stack.variable)
        return total

    def _local(self, expression: Expression) -> str:
        if id(expression) not in self.locals:
            text = expression.write(self)
            name = self.source.local_name(self.function)
            self.lines.append(f"const int64_t {name} = {text};")
            self.locals[id(expression)] = name

        return self.locals[id(expression)]

    def _count_uses(self, expression: Expression) -> None:
        # by identity, since == makes an expression
        self.uses[id(expression)] += 1
        if self.uses[id(expression)] == 1:
            for operand in expression.operands:
                self._count_uses(operand)


# a function comes after those that it calls
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
    "root": (
        "/* the nearest integer to a square root */",
        "static uint32_t root(uint32_t q) {",
        "    uint32_t below = 0;",
        "    for (uint32_t bit = 1u << 15; bit > 0; bit >>= 1)",
        "        if ((below + bit) * (below + bit) <= q) below += bit;",
        "    return below + (q - below * below > below);",
        "}",
    ),
    "leak": (
        "/* one step closer to rest; the decay counts parts of 2^15 */",
        "static int64_t leak(int64_t v, int64_t rest, int64_t decay) {",
        "    return rest + (((v - rest) * decay + (1 << 14)) >> 15);",
        "}",
    ),
    "power": (
        "/* a decay in parts of 2^15 over some steps */",
        "static int64_t power(int64_t decay, int64_t steps) {",
        "    int64_t result = 1 << 15;",
        "    for (; steps > 0; steps >>= 1) {",
        "        if (steps & 1) result = (result * decay + (1 << 14)) >> 15;",
        "        decay = (decay * decay + (1 << 14)) >> 15;",
        "    }",
        "    return result;",
        "}",
    ),
    "charge": (
        "/* what a decaying current adds to a decaying membrane over some steps */",
        "static int64_t charge(int64_t current, int64_t decay, int64_t decay_syn, int64_t steps, int64_t most) {",
        "    int64_t result = 0, gain = decay_syn, left = 1 << 15;",
        "    for (; steps > 0; steps >>= 1) {",
        "        if (steps & 1) {",
        "            result = ((left * gain + (1 << 14)) >> 15) + ((result * decay_syn + (1 << 14)) >> 15);",
        "            result = result < most ? result : most;",
        "            left = (left * decay + (1 << 14)) >> 15;",
        "        }",
        "        gain = ((decay * gain + (1 << 14)) >> 15) + ((gain * decay_syn + (1 << 14)) >> 15);",
        "        gain = gain < most ? gain : most;",
        "        decay = (decay * decay + (1 << 14)) >> 15;",
        "        decay_syn = (decay_syn * decay_syn + (1 << 14)) >> 15;",
        "    }",
        "    return (current * result + (1 << 14)) >> 15;",
        "}",
    ),
    "divide": (
        "/* the mean of integers in another scale, halves are rounded up */",
        "static int64_t divide(int64_t total, int64_t number, int32_t m, int k) {",
        "    const int64_t unit = ((int64_t)1 << k) * number, a = 2 * total * m + unit, b = 2 * unit;",
        "    return a / b - (a % b < 0);",
        "}",
    ),
    "draw": (
        "static uint32_t mix(uint32_t word) {",
        "    word = (word ^ (word >> 16)) * UINT32_C(0x7FEB352D);",
        "    word = (word ^ (word >> 15)) * UINT32_C(0x31848BAB);",
        "    word = (word ^ (word >> 14)) * UINT32_C(0x5BD1E995);",
        "    return word ^ (word >> 16);",
        "}",
        "",
        "/* a random integer below 2^24, of a stream, a step and a place */",
        "static int32_t draw(uint32_t stream, uint32_t step, uint32_t place) {",
        "    const uint32_t word = mix(mix(step) ^ mix(stream));",
        f"    return (int32_t)(mix(mix(word ^ mix(place + UINT32_C({PLACE_OFFSET})))) >> 8);",
        "}",
    ),
}
