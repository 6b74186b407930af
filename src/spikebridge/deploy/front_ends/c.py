"""Front ends in C: an arithmetic whose arrays are expressions of C, so that a front end becomes C as it stands.

    written = write_front_end("voice", step, {"samples": (160, 1)}, front.initial_state(1))

Every operation is a loop over its result, which has memory of its own. Views, such as slices, are expressions of
indices alone. The operations are those of `ExactArrays`, in the same order; a compiler must not contract products and
sums (`-ffp-contract=off`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.c.source import for_loop, indent
from spikebridge.deploy.front_ends.arrays import _Arrays
from spikebridge.errors import ExportError

_Operand: TypeAlias = "_Traced | NDArray[Any] | float"
_At: TypeAlias = Callable[[Sequence[str]], str]
Step: TypeAlias = Callable[[Any, dict[str, Any], Any], tuple[Mapping[str, Any], Any]]
_NUMBERS_A_LINE = 12
HEADER = (
    "#include <math.h>",
    "#include <stdint.h>",
    "",
    "static double mantissa_of(double x) { int e; return frexp(x, &e); }",
    "static double exponent_of(double x) { int e; frexp(x, &e); return e; }",
)


def _operator(template: str) -> Callable[["_Traced", _Operand], "_Traced"]:
    return lambda self, other: self.arrays.elementwise(template, self, other)


def _reflected(template: str) -> Callable[["_Traced", _Operand], "_Traced"]:
    return lambda self, other: self.arrays.elementwise(template, other, self)


@dataclass(eq=False)
class _Traced:
    """An array in C: its shape, and the text of the element at given indices."""

    # numpy leaves operators to it
    __array_ufunc__ = None

    arrays: "_TracedArrays"
    shape: tuple[int, ...]
    at: _At

    __add__ = _operator("{0} + {1}")
    __radd__ = _reflected("{0} + {1}")
    __sub__ = _operator("{0} - {1}")
    __rsub__ = _reflected("{0} - {1}")
    __mul__ = _operator("{0} * {1}")
    __rmul__ = _reflected("{0} * {1}")
    __truediv__ = _operator("{0} / {1}")
    __rtruediv__ = _reflected("{0} / {1}")
    __floordiv__ = _operator("floor({0} / {1})")
    __lt__ = _operator("{0} < {1}")
    __gt__ = _operator("{0} > {1}")

    def __abs__(self) -> "_Traced":
        return self.arrays.elementwise("fabs({0})", self)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __getitem__(self, key: Any) -> "_Traced":
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            place = keys.index(Ellipsis)
            rest = len(self.shape) - sum(item is not None for item in keys) + 1
            keys[place : place + 1] = [slice(None)] * rest

        shape: list[int] = []
        places: list[Callable[[Sequence[str]], str]] = []
        axis = 0
        for item in keys + [slice(None)] * (len(self.shape) - sum(one is not None for one in keys)):
            if item is None:
                shape.append(1)
            elif isinstance(item, slice):
                start, stop, stride = item.indices(self.shape[axis])
                places.append(_sliced(len(shape), start, stride))
                shape.append(len(range(start, stop, stride)))
                axis += 1
            else:
                places.append(_fixed(item % self.shape[axis]))
                axis += 1

        return _Traced(self.arrays, tuple(shape), lambda index: self.at([place(index) for place in places]))

    def reshape(self, *shape: int) -> "_Traced":
        stored = self.arrays.stored(self)
        sizes = list(shape)
        if -1 in sizes:
            sizes[sizes.index(-1)] = self.size // -math.prod(sizes)

        return self.arrays.buffer(stored, tuple(sizes))

    def swapaxes(self, first: int, second: int) -> "_Traced":
        order = list(range(len(self.shape)))
        order[first], order[second] = order[second], order[first]
        shape = tuple(self.shape[axis] for axis in order)
        return _Traced(self.arrays, shape, lambda index: self.at([index[axis] for axis in order]))


def _sliced(axis: int, start: int, stride: int) -> _At:
    def place(index: Sequence[str]) -> str:
        scaled = index[axis] if stride == 1 else f"({index[axis]}) * {stride}"
        return f"{scaled} + {start}" if start else scaled

    return place


def _fixed(number: int) -> _At:
    return lambda index: str(number)


def _flat(shape: Sequence[int], index: Sequence[str]) -> str:
    place = "0"
    for size, one in zip(shape, index, strict=True):
        if size > 1:
            place = f"({one})" if place == "0" else f"({place} * {size} + ({one}))"

    return place


@dataclass
class _TracedArrays(_Arrays):
    """Writes the lines of a C function; `memory` and `tables` are its arrays, whose names begin with the prefix."""

    prefix: str
    lines: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)
    tables: dict[bytes, tuple[str, list[str]]] = field(default_factory=dict)
    _num_names: int = 0

    def array(self, x: Any) -> Any:
        return x

    def elementwise(self, template: str, *operands: _Operand) -> _Traced:
        """A new array of an operation on each element of arrays that are broadcast to one shape."""
        shape = np.broadcast_shapes(*(_shape(operand) for operand in operands))
        index = [f"i{axis}" for axis in range(len(shape))]
        text = template.format(*(self._element(operand, shape, index) for operand in operands))

        return self._filled(shape, text)

    def sum(self, x: _Traced, axis: int) -> _Traced:
        axis %= len(x.shape)
        shape = x.shape[:axis] + x.shape[axis + 1 :]
        index = [f"i{place}" for place in range(len(shape))]
        first = x.at([*index[:axis], "0", *index[axis:]])
        following = x.at([*index[:axis], "n", *index[axis:]])
        loop = f"for (int n = 1; n < {x.shape[axis]}; n++) total = total + {following};"

        return self._filled(shape, "total", [f"double total = {first};", loop])

    def dot(self, x: _Traced, weights: NDArray[Any]) -> _Traced:
        shape = (*x.shape[:-1], weights.shape[1])
        index = [f"i{place}" for place in range(len(shape))]
        table = self._table(weights)
        products = [f"{x.at([*index[:-1], n])} * {table}[{n} * {weights.shape[1]} + {index[-1]}]" for n in ("0", "n")]
        loop = f"for (int n = 1; n < {len(weights)}; n++) total = total + {products[1]};"

        return self._filled(shape, "total", [f"double total = {products[0]};", loop])

    def scan(self, step: Callable[[Any, Any], tuple[Any, Any]], state: Any, xs: _Traced) -> tuple[_Traced, Any]:
        carries = [self._copied(leaf) for leaf in _leaves(state)]
        variable = self._name("t")
        outside = self.lines
        self.lines = []
        y, after = step(_with_leaves(state, iter(carries)), self._row(xs, variable))
        y = self.stored(y)
        name = self._memory(len(xs) * y.size)
        self.lines += self.loops(y.shape, f"{name}[{variable} * {y.size} + {_flat(y.shape, _indices(y.shape))}]", y)
        self.store(carries, list(_leaves(after)))
        body = self.lines
        self.lines = [*outside, *for_loop(len(xs), body, variable)]

        return self._buffer(name, (len(xs), *y.shape)), _with_leaves(state, iter(carries))

    def concatenate(self, pieces: Sequence[_Operand], axis: int = 0) -> _Traced:
        shapes = [_shape(piece) for piece in pieces]
        axis %= len(shapes[0])
        shape = (*shapes[0][:axis], sum(one[axis] for one in shapes), *shapes[0][axis + 1 :])
        name = self._memory(math.prod(shape))
        offset = 0

        for piece, one in zip(pieces, shapes, strict=True):
            index = _indices(one)
            index[axis] = f"{index[axis]} + {offset}"
            self.lines += self.loops(one, f"{name}[{_flat(shape, index)}]", piece)
            offset += one[axis]

        return self._buffer(name, shape)

    def constant(self, values: NDArray[Any]) -> _Traced:
        return self._buffer(self._table(values), values.shape)

    def take(self, x: _Traced, places: NDArray[np.int64]) -> _Traced:
        table = self._table(places)
        shape = (*x.shape[:-1], *places.shape)
        kept = len(x.shape) - 1

        def at(index: Sequence[str]) -> str:
            return x.at([*index[:kept], f"{table}[{_flat(places.shape, index[kept:])}]"])

        return _Traced(self, shape, at)

    def windows(self, x: _Traced, starts: NDArray[np.int64], length: int) -> _Traced:
        table = self._table(starts)
        return _Traced(self, (length, len(starts)), lambda index: x.at([f"{index[0]} + {table}[{index[1]}]"]))

    def where(self, condition: _Traced, first: _Operand, second: _Operand) -> _Traced:
        return self.elementwise("{0} ? {1} : {2}", condition, first, second)

    def minimum(self, x: _Operand, y: _Operand) -> _Traced:
        return self.elementwise("{0} < {1} ? {0} : {1}", x, y)

    def maximum(self, x: _Operand, y: _Operand) -> _Traced:
        return self.elementwise("{0} > {1} ? {0} : {1}", x, y)

    def sqrt(self, x: _Traced) -> _Traced:
        return self.elementwise("sqrt({0})", x)

    def mantissa(self, x: _Traced) -> _Traced:
        return self.elementwise("mantissa_of({0})", x)

    def exponent(self, x: _Traced) -> _Traced:
        return self.elementwise("exponent_of({0})", x)

    def power_of_two(self, exponent: _Traced) -> _Traced:
        return self.elementwise("ldexp(1.0, (int){0})", exponent)

    def stored(self, x: _Traced) -> _Traced:
        """The array in memory of its own, row by row."""
        return self._filled(x.shape, x.at(_indices(x.shape)))

    def buffer(self, stored: _Traced, shape: tuple[int, ...]) -> _Traced:
        """The memory of a stored array in another shape."""
        name = stored.at(["0"] * len(stored.shape)).partition("[")[0]
        return self._buffer(name, shape)

    def given(self, name: str, shape: tuple[int, ...]) -> _Traced:
        """An array whose memory stands elsewhere."""
        return self._buffer(name, shape)

    def copied_to(self, name: str, x: _Operand) -> None:
        shape = _shape(x)
        self.lines += self.loops(shape, f"{name}[{_flat(shape, _indices(shape))}]", x)

    def _buffer(self, name: str, shape: tuple[int, ...]) -> _Traced:
        return _Traced(self, shape, lambda index: f"{name}[{_flat(shape, index)}]")

    def _row(self, xs: _Traced, variable: str) -> _Traced:
        return _Traced(self, xs.shape[1:], lambda index: xs.at([variable, *index]))

    def _copied(self, leaf: Any) -> _Traced:
        name = self._memory(math.prod(_shape(leaf)))
        self.copied_to(name, leaf)
        return self._buffer(name, _shape(leaf))

    def store(self, carries: Sequence[_Traced], after: Sequence[Any]) -> None:
        # a new value may read the memory of another old one
        for carry, value in zip(carries, [self._copied(leaf) for leaf in after], strict=True):
            self.copied_to(carry.at(["0"] * len(carry.shape)).partition("[")[0], value)

    def _filled(self, shape: tuple[int, ...], text: str, before: Sequence[str] = ()) -> _Traced:
        name = self._memory(math.prod(shape))
        body = [*before, f"{name}[{_flat(shape, _indices(shape))}] = {text};"]
        self.lines += _nested(shape, body)

        return self._buffer(name, shape)

    def loops(self, shape: tuple[int, ...], target: str, x: _Operand) -> list[str]:
        return _nested(shape, [f"{target} = {self._element(x, shape, _indices(shape))};"])

    def _element(self, x: _Operand, shape: tuple[int, ...], index: Sequence[str]) -> str:
        own = _shape(x)
        places = index[len(shape) - len(own) :]
        places = ["0" if size == 1 else place for size, place in zip(own, places, strict=True)]
        if isinstance(x, _Traced):
            return f"({x.at(places)})"

        values = np.asarray(x)
        if values.size == 1:
            return f"({float(values.ravel()[0])!r})"

        return f"{self._table(values)}[{_flat(own, places)}]"

    def _table(self, values: NDArray[Any]) -> str:
        kind = "double"
        if values.dtype.kind in "iu":
            kind = "int32_t"
        elif (values.astype(np.float32) == values).all():
            kind = "float"

        key = kind.encode() + np.ascontiguousarray(values).tobytes()
        if key not in self.tables:
            name = f"{self.prefix}_table_{len(self.tables)}"
            self.tables[key] = (name, _table_lines(kind, name, values))

        return self.tables[key][0]

    def _memory(self, size: int) -> str:
        name = self._name(f"{self.prefix}_")
        self.memory.append(f"static double {name}[{max(size, 1)}];")
        return name

    def _name(self, stem: str) -> str:
        self._num_names += 1
        return f"{stem}{self._num_names}"


@dataclass(frozen=True)
class WrittenFrontEnd:
    """The C lines of a front end, behind those of `HEADER`, and the shapes of its inputs and outputs by name."""

    lines: list[str]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]


def write_front_end(prefix: str, step: Step, inputs: Mapping[str, tuple[int, ...]], start: Any) -> WrittenFrontEnd:
    """Writes `outputs, state = step(a, inputs, state)` as C: `PREFIX_start()`, `PREFIX_step()`.

    Inputs and outputs are arrays of floats, `PREFIX_in_NAME` and `PREFIX_out_NAME`, and the state `PREFIX_state_I`.
    """
    arrays = _TracedArrays(prefix)
    given = {name: arrays.given(f"{prefix}_in_{name}", shape) for name, shape in inputs.items()}
    leaves = [np.asarray(leaf, np.float64) for leaf in _leaves(start)]
    state = [arrays.given(f"{prefix}_state_{i}", leaf.shape) for i, leaf in enumerate(leaves)]
    outputs, after = step(arrays, dict(given), _with_leaves(start, iter(state)))

    memory = [f"static float {prefix}_in_{name}[{math.prod(shape)}];" for name, shape in inputs.items()]
    for name, y in outputs.items():
        memory.append(f"static float {prefix}_out_{name}[{math.prod(y.shape)}];")
        # after the state, whose new values may need the old memory
        arrays.copied_to(f"{prefix}_out_{name}", y)

    arrays.store(state, list(_leaves(after)))
    starts: list[str] = []
    for i, leaf in enumerate(leaves):
        memory.append(f"static double {prefix}_state_{i}[{max(leaf.size, 1)}];")
        starts += arrays.loops(leaf.shape, f"{prefix}_state_{i}[{_flat(leaf.shape, _indices(leaf.shape))}]", leaf)

    tables = [line for _, lines in arrays.tables.values() for line in lines]
    lines = [
        *tables,
        "",
        *memory,
        *arrays.memory,
        "",
        f"static void {prefix}_start(void) {{",
        *indent(starts),
        "}",
        "",
        f"static void {prefix}_step(void) {{",
        *indent(arrays.lines),
        "}",
    ]
    shapes = {name: tuple(y.shape) for name, y in outputs.items()}

    return WrittenFrontEnd(lines, dict(inputs), shapes)


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(np.shape(x)) if not isinstance(x, _Traced) else x.shape


def _indices(shape: Sequence[int]) -> list[str]:
    return [f"i{axis}" for axis in range(len(shape))]


def _nested(shape: Sequence[int], body: Sequence[str]) -> list[str]:
    """Loops over all places of a shape."""
    lines = list(body)
    for axis in reversed(range(len(shape))):
        lines = for_loop(shape[axis], lines, f"i{axis}")

    return lines if shape else ["{", *indent(lines), "}"]


def _table_lines(kind: str, name: str, values: NDArray[Any]) -> list[str]:
    numbers = [repr(value) for value in values.ravel().tolist()]
    if any(number in ("nan", "inf", "-inf") for number in numbers):
        raise ExportError("a table of a front end holds numbers that are not finite")

    rows = [", ".join(numbers[i : i + _NUMBERS_A_LINE]) for i in range(0, len(numbers), _NUMBERS_A_LINE)]
    return [f"static const {kind} {name}[{len(numbers)}] = {{", *(f"    {row}," for row in rows), "};"]


def _leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, tuple):
        for item in state:
            yield from _leaves(item)
    else:
        yield state


def _with_leaves(state: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(state, tuple):
        items = [_with_leaves(item, leaves) for item in state]
        return type(state)(*items) if hasattr(state, "_fields") else tuple(items)
    return next(leaves)
