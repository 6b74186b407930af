"""Steps of array forms in C: the ranges and memory of their states, and the loop that computes all places.

`write_step` calls an array form with expressions (`c/arithmetic.py`) until the ranges of its state settle, gives the
state its memory, and writes the lines of one step.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from spikebridge.deploy.c.arithmetic import Constant, Element, Expression, Operation, Ring, Stack, Total
from spikebridge.deploy.c.source import CArray, CSource, broadcast_index, for_loop, if_block
from spikebridge.errors import ExportError

# a range grows once by what a step adds and once by what it keeps; others grow for ever
_MAX_PASSES = 8
_Leaf: TypeAlias = Expression | Ring
_Step: TypeAlias = Callable[[Any], tuple[Expression, Any]]
_Target: TypeAlias = Callable[[Expression], CArray]


@dataclass(frozen=True)
class Place:
    """The C function in which a step is written, and the name of its state."""

    source: CSource
    function: str
    name: str


class WrittenStep(NamedTuple):
    """A step in C: the array of its output, lines of a step, lines that set the state back to its start."""

    out: CArray
    lines: list[str]
    restart: list[str]


class _Field(NamedTuple):
    """Shape and range of a field of the state; `rows` of a ring, 0 of any other."""

    shape: tuple[int, ...]
    low: int
    high: int
    rows: int

    @classmethod
    def of(cls, leaf: _Leaf) -> "_Field":
        if isinstance(leaf, Expression):
            return cls(leaf.shape[1:], leaf.low, leaf.high, 0)

        shape = np.broadcast_shapes(leaf.array.shape, *(step.shape[1:] for step in leaf.steps))
        step = leaf.step("0")
        return cls(shape, step.low, step.high, leaf.rows)

    def hull(self, other: "_Field") -> "_Field":
        """The range of both."""
        shape = np.broadcast_shapes(self.shape, other.shape)
        return _Field(shape, min(self.low, other.low), max(self.high, other.high), self.rows)

    def leaf(self, code: str = "", place: str = "") -> _Leaf:
        """The field as an expression."""
        array = CArray(code, self.shape, self.low, self.high)
        return Ring(array, place, self.rows) if self.rows else Element.of(array)


def write_step(place: Place, start: Any, step: _Step, target: _Target) -> WrittenStep:
    """Writes a step.

    Args:
        place: the function.
        start: state before the first step: constants, empty rings, None, tuples of these.
        step: `y, state = step(state)`.
        target: gives the output its memory.
    """
    fields = _settled(start, step)
    state: list[_Leaf] = []
    restart: list[str] = []

    for name, field, initial in zip(_names(place.name, start), fields, _leaves(start), strict=True):
        leaf = _allocated(place.source, name, field)
        state.append(leaf)
        restart += _start_lines(place.source, leaf, initial)

    y, after = step(_with_leaves(start, iter(state)))
    out = target(y)

    return WrittenStep(out, _step_lines(place, y, out, state, _leaves(after)), restart)


def write_function(place: Place, y: Expression, out: CArray) -> WrittenStep:
    """Writes a step without a state, whose output goes to some memory."""
    return write_step(place, None, lambda state: (y, None), lambda y: out)


def _settled(start: Any, step: _Step) -> list[_Field]:
    """Shapes and ranges of the state that no step leaves."""
    fields = [_Field.of(leaf) for leaf in _leaves(start)]
    for _ in range(_MAX_PASSES):
        y, after = step(_with_leaves(start, iter(field.leaf() for field in fields)))
        wider = [field.hull(_Field.of(leaf)) for field, leaf in zip(fields, _leaves(after), strict=True)]
        # one loop computes all places, so that all fields but single numbers have its shape
        wider = [_widened(field, _block_shape(y, wider)) for field in wider]
        if wider == fields:
            return fields
        fields = wider

    raise ExportError("the range of a state grows from step to step, so it has no C type")


def _widened(field: _Field, shape: tuple[int, ...]) -> _Field:
    return field._replace(shape=shape) if not field.rows and math.prod(field.shape) > 1 else field


def _block_shape(y: Expression, fields: Sequence[_Field]) -> tuple[int, ...]:
    several = [field.shape for field in fields if math.prod(field.shape) > 1]
    return np.broadcast_shapes(y.shape[1:], *several)


def _leaves(state: Any) -> list[_Leaf]:
    if state is None:
        return []
    if isinstance(state, tuple):
        return [leaf for item in state for leaf in _leaves(item)]
    return [Constant.of(state) if isinstance(state, int) else state]


def _with_leaves(state: Any, leaves: Iterator[_Leaf]) -> Any:
    """A state of the same form, of other leaves."""
    if state is None:
        return None
    if isinstance(state, tuple):
        items = [_with_leaves(item, leaves) for item in state]
        return type(state)(*items) if hasattr(state, "_fields") else tuple(items)
    return next(leaves)


def _names(name: str, state: Any) -> list[str]:
    """The names of the leaves in C."""
    if state is None:
        return []
    if not isinstance(state, tuple):
        return [f"{name}_state"]

    keys = getattr(state, "_fields", [str(i) for i in range(len(state))])
    return [f"{name}_{key}" for key, item in zip(keys, state, strict=True) if item is not None]


def _allocated(source: CSource, name: str, field: _Field) -> _Leaf:
    array = source.state_array(name, field.shape, field.low, field.high, max(field.rows, 1))
    return field.leaf(array.code, source.state_number(f"{name}_place") if field.rows else "")


def _start_lines(source: CSource, leaf: _Leaf, initial: _Leaf) -> list[str]:
    """Lines that set a field back to its start."""
    if isinstance(leaf, Ring):
        return [f"memset({leaf.array.code}, 0, sizeof {leaf.array.code});", f"{leaf.place} = 0;"]

    array = _array_of(leaf)
    if not isinstance(initial, Constant) or not initial.values.any():
        return [f"memset({array.code}, 0, sizeof {array.code});"]

    values = initial.values.reshape(initial.shape[1:])
    lines = for_loop(array.size, [f"{array.code}[j] = {source.constant(values, array.shape)};"])
    source.starts += lines

    return lines


def _array_of(leaf: _Leaf) -> CArray:
    if not isinstance(leaf, Element):
        raise ExportError("a state without memory")
    return leaf.array


class _Loop:
    """The loop over the places of a shape: lines before it, and in it."""

    def __init__(self, place: Place, shape: tuple[int, ...], roots: Sequence[Expression]) -> None:
        self.source = place.source
        self.function = place.function
        self.shape = shape
        self.size = math.prod(shape)
        self.before: list[str] = []
        self.inside: list[str] = []
        self._names: dict[int, str] = {}
        self._uses: Counter[int] = Counter()
        self._is_in_sum = False
        for root in roots:
            self._count_uses(root)

    def _count_uses(self, expression: Expression) -> None:
        self._uses[id(expression)] += 1
        if self._uses[id(expression)] == 1:
            for operand in expression.operands:
                self._count_uses(operand)

    def is_single(self, expression: Expression) -> bool:
        """True if an expression has one value for all places."""
        return expression.size == 1 and self.size > 1

    def is_one_place(self, array: CArray) -> bool:
        """True if an array has one element for all places."""
        return array.size == 1 and self.size > 1

    def text(self, expression: Expression) -> str:
        known = self._names.get(id(expression))
        if known is not None:
            return known

        text = expression.text(self)
        if isinstance(expression, Total):
            self._names[id(expression)] = text
            return text

        # a value that is used once stands where it is used
        is_shared = self._uses[id(expression)] > 1 or self.is_single(expression)
        if isinstance(expression, Operation) and is_shared and not self._is_in_sum:
            return self._local(expression, text)

        return text

    def value(self, expression: Expression) -> str:
        """A value that later stores do not change: a literal, or a local variable."""
        text = self.text(expression)
        is_stable = isinstance(expression, Constant | Total) or id(expression) in self._names
        return text if is_stable else self._local(expression, text)

    def sum_over(self, stack: Stack) -> str:
        total = self.source.local_name(self.function)
        self._is_in_sum = True
        element = self.text(stack.element)
        self._is_in_sum = False

        lines = [f"int64_t {total} = 0;"]
        body = [f"{total} += {element};"]
        if stack.is_product:
            product = self.source.local_name(self.function)
            lines.append(f"int64_t {product} = 1;")
            body = [f"{product} *= {element};", f"{total} += {product};"]

        lines += for_loop(stack.number, body, stack.variable)
        self._lines_of(stack.element).extend(lines)

        return total

    def _local(self, expression: Expression, text: str) -> str:
        name = self.source.local_name(self.function)
        kind = expression.kind if isinstance(expression, Operation) else "int64_t"
        self._names[id(expression)] = name
        self._lines_of(expression).append(f"const {kind} {name} = {text};")
        return name

    def _lines_of(self, expression: Expression) -> list[str]:
        return self.before if self.is_single(expression) else self.inside


def _step_lines(place: Place, y: Expression, out: CArray, state: Sequence[_Leaf], after: Sequence[_Leaf]) -> list[str]:
    """The lines of one step: rings get the present step, then all places are computed and stored."""
    stores: list[tuple[CArray, Expression]] = []
    rings: list[Ring] = []
    for old, new in zip(state, after, strict=True):
        if isinstance(new, Ring):
            rings.append(new)
        elif new is not old:
            stores.append((_array_of(old), new))

    stores.append((out, y))
    conditions = [ring.started[0] for ring in rings if ring.started is not None]
    shape = _block_shape(y, [_Field.of(leaf) for leaf in state])
    loop = _Loop(place, shape, [*(value for _, value in stores), *conditions])
    first = [line for ring in rings if loop.is_one_place(ring.array) for line in _ring_lines(loop, ring)]
    inside = [line for ring in rings if not loop.is_one_place(ring.array) for line in _ring_lines(loop, ring)]

    # all values are computed before the first is stored, since each may read the state as it was
    compute = loop.value if len(stores) > 1 else loop.text
    texts = [compute(value) for _, value in stores]
    inside += loop.inside
    behind: list[str] = []

    for (array, value), text in zip(stores, texts, strict=True):
        if loop.is_single(value) and array.size == 1:
            behind.append(f"{array.code}[0] = {text};")
        else:
            inside.append(f"{array.at(shape)} = {text};")

    behind += [f"{ring.place} = ({ring.place} + 1) % {ring.rows};" for ring in rings if ring.newest is not None]
    return [*first, *loop.before, *(for_loop(loop.size, inside) if inside else []), *behind]


def _ring_lines(loop: _Loop, ring: Ring) -> list[str]:
    """The present step, put into a ring; at the start of a window it may fill the ring."""
    array = ring.array
    index = broadcast_index(array.shape, loop.shape)
    lines = []
    if ring.started is not None:
        started, step = ring.started
        fill = for_loop(ring.rows, [f"{array.code}[i * {array.size} + {index}] = {loop.text(step)};"], "i")
        lines += if_block(f"!{loop.text(started)}", fill)

    if ring.newest is not None:
        lines.append(f"{array.code}[{ring.place} * {array.size} + {index}] = {loop.text(ring.newest)};")

    return lines
