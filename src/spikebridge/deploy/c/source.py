"""What a C file of the integer model is made of: signals with their ranges, tables, fields of structs, functions.

Every signal carries the lowest and the highest integer that it can have. The range chooses the C type of its array, and
shows at export that no sum leaves 64 bits.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.stages.arithmetic import rescale
from spikebridge.errors import ExportError

_TYPES = (("int8_t", 7, 7), ("uint8_t", 0, 8), ("int16_t", 15, 15), ("int32_t", 31, 31), ("int64_t", 63, 63))
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "auto break case char const continue default do double else enum extern float for goto if inline int long "
        "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
        "main",
    )
)
_IN_A_LINE = 24


@dataclass(frozen=True)
class CArray:
    """An array of integers in C.

    Attributes:
        code: what it is called.
        shape: of one step of one stream.
        low: the lowest integer that it can have.
        high: the highest one.

    Example:
        >>> CArray("s->x", (2, 3), -127, 127).kind
        'int8_t'
    """

    code: str
    shape: tuple[int, ...]
    low: int
    high: int

    @property
    def size(self) -> int:
        """How many integers it has."""
        return math.prod(self.shape)

    @property
    def kind(self) -> str:
        """The C type of one integer."""
        return c_type(self.low, self.high)

    def shaped(self, shape: tuple[int, ...]) -> "CArray":
        """The same integers in another shape."""
        return replace(self, shape=shape)

    def at(self, shape: tuple[int, ...], index: str = "j") -> str:
        """Its element where it is broadcast to a shape."""
        return self.code + f"[{broadcast_index(self.shape, shape, index)}]"


def c_type(low: int, high: int) -> str:
    """The narrowest C type for a range.

    Raises:
        ExportError: 64 bits do not hold it.

    Example:
        >>> c_type(0, 1), c_type(0, 255), c_type(-300, 5)
        ('int8_t', 'uint8_t', 'int16_t')
    """
    for name, below, above in _TYPES:
        if -(1 << below) * (name[0] != "u") <= low and high < 1 << above:
            return name

    raise ExportError(f"a signal between {low} and {high} does not fit into 64 bits")


def broadcast_index(shape: tuple[int, ...], to: tuple[int, ...], index: str = "j") -> str:
    """Where an element of a broadcast array lies, from its place in the array that it is broadcast to.

    Raises:
        ExportError: one shape cannot be broadcast to the other.

    Example:
        >>> broadcast_index((3, 1, 1), (3, 4, 5)), broadcast_index((), (2,)), broadcast_index((4, 1), (2, 4, 5), "k")
        ('j / 20', '0', 'k / 5 % 4')
    """
    if math.prod(shape) == 1:
        return "0"

    padded = (1,) * (len(to) - len(shape)) + shape
    if len(padded) != len(to) or any(n not in (1, m) for n, m in zip(padded, to, strict=True)):
        raise ExportError(f"a signal of shape {shape} does not fit to one of shape {to}")

    terms = []
    axis = 0
    while axis < len(to):
        end = axis
        while end < len(to) and padded[end] == to[end]:
            end += 1

        size = math.prod(to[axis:end])
        inner = math.prod(to[end:])

        if size > 1:
            place = index if inner == 1 else f"{index} / {inner}"
            place = place if math.prod(to[:axis]) == 1 else f"{place} % {size}"
            stride = math.prod(padded[end:])
            terms.append(place if stride == 1 else f"({place}) * {stride}")

        axis = end + 1

    return " + ".join(terms)


def c_name(name: str, taken: set[str]) -> str:
    """A C identifier for a name, one that is not taken.

    Example:
        >>> taken = set()
        >>> c_name("where.lif-1", taken), c_name("where_lif_1", taken), c_name("int", taken)
        ('where_lif_1', 'where_lif_1_2', 'int_')
    """
    stem = re.sub(r"\W", "_", name, flags=re.ASCII)
    stem = f"{stem}_" if stem in _KEYWORDS else f"x{stem}" if not stem or stem[0].isdigit() else stem
    made = stem
    number = 1

    while made in taken:
        number += 1
        made = f"{stem}_{number}"

    taken.add(made)
    return made


def loop(size: int | str, body: Iterable[str], index: str = "j") -> list[str]:
    """A loop over all places of an array.

    Example:
        >>> loop(2, ["y[j] = 0;"])
        ['for (int j = 0; j < 2; j++) {', '    y[j] = 0;', '}']
    """
    return [f"for (int {index} = 0; {index} < {size}; {index}++) {{", *indented(body), "}"]


def indented(body: Iterable[str]) -> list[str]:
    """Lines of a block."""
    return [f"    {line}" if line else "" for line in body]


def when(condition: str, body: Sequence[str]) -> list[str]:
    """What happens under a condition, nothing where nothing does."""
    return [f"if ({condition}) {{", *indented(body), "}"] if body else []


def copied(source: str, target: str, size: int) -> list[str]:
    """An array copied element by element: the types may differ."""
    return loop(size, [f"{target}[j] = {source}[j];"])


def row(rows: CArray, index: str = "k") -> CArray:
    """One of several values."""
    return replace(rows, code=f"({rows.code} + {index} * {rows.size})")


def as_array(kind: str, name: str, values: NDArray[Any]) -> list[str]:
    """A table in C."""
    flat = [str(int(value)) for value in values.ravel()]
    rows = [", ".join(flat[i : i + _IN_A_LINE]) for i in range(0, len(flat), _IN_A_LINE)]
    return [f"static const {kind} {name}[{max(len(flat), 1)}] = {{", *(f"    {row}," for row in rows or ["0"]), "};"]


@dataclass
class CSource:
    """The file as it grows.

    Attributes:
        tables: constants, by what they hold.
        state: fields of the state: type, name and size.
        starts: lines of the start function, for fields that do not begin with zeros.
        work: for each function, fields that it needs while it runs.
        functions: their lines.
        used: helper functions that are called.
    """

    tables: dict[tuple[str, bytes], list[str]] = field(default_factory=dict)
    state: list[tuple[str, str, int]] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    work: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    functions: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    _taken: set[str] = field(default_factory=set)

    def remembered(self, name: str, shape: tuple[int, ...], low: int, high: int, rows: int = 1) -> CArray:
        """An array in the state; it begins with zeros."""
        own = c_name(name, self._taken)
        low = min(low, 0)
        high = max(high, 0)
        self.state.append((c_type(low, high), own, rows * math.prod(shape)))

        return CArray(f"s->{own}", shape, low, high)

    def number(self, name: str, kind: str = "int32_t") -> str:
        """A single number in the state; it begins with 0."""
        own = c_name(name, self._taken)
        self.state.append((kind, own, 0))
        return f"s->{own}"

    def scratch(self, function: str, name: str, shape: tuple[int, ...], low: int, high: int, rows: int = 1) -> CArray:
        """An array that a function needs while it runs; those of all functions share memory."""
        fields = self.work.setdefault(function, [])
        own = c_name(name, {known for _, known, _ in fields})
        fields.append((c_type(low, high), own, rows * math.prod(shape)))
        return CArray(f"s->work.{function}.{own}", shape, low, high)

    def function(self, name: str) -> str:
        """A free name for a function."""
        return c_name(name, self._taken)

    def constant(self, values: Any, shape: tuple[int, ...], index: str = "j") -> str:
        """An element of constants where they are broadcast to a shape: a number, or a place in a table.

        Raises:
            ExportError: they cannot be broadcast.
        """
        values = np.asarray(values)
        if values.size and (values == values.ravel()[0]).all():
            return _literal(int(values.ravel()[0]))

        return f"{self.table(values)}[{broadcast_index(values.shape, shape, index)}]"

    def table(self, values: NDArray[Any]) -> str:
        """The name of a table; equal ones are written once."""
        values = np.ascontiguousarray(values, np.int64)
        kind = c_type(int(values.min(initial=0)), int(values.max(initial=0)))
        key = (kind, values.tobytes())
        if key not in self.tables:
            self.tables[key] = as_array(kind, f"table_{len(self.tables)}", values)

        return f"table_{list(self.tables).index(key)}"

    def call(self, name: str, *arguments: str) -> str:
        """A call of a helper function."""
        self.used.add(name)
        return f"{name}({', '.join(arguments)})"

    def rescale(self, value: str, bounds: tuple[int, int], ratio: Any, shape: tuple[int, ...]) -> tuple[str, int, int]:
        """A value in another scale, and its range.

        Args:
            value: an expression.
            bounds: its lowest and highest integer.
            ratio: multiplier and shift.
            shape: of the signal, to which they are broadcast.

        Raises:
            ExportError: the product leaves 64 bits.
        """
        multiplier, shift = (np.asarray(one, np.int64) for one in ratio)
        most = int(np.abs(multiplier).max(initial=0))
        if most >= 1 << 31:
            raise ExportError("a change of scale has a multiplier of more than 32 bits")

        largest = max(abs(bound) for bound in bounds) * most
        if largest + (1 << int(shift.max(initial=0))) >= 1 << 63:
            raise ExportError(f"a product of {largest} does not fit into 64 bits")

        ends = [rescale(np.array(bound), multiplier, shift) for bound in bounds]
        low = min(int(end.min()) for end in ends)
        high = max(int(end.max()) for end in ends)
        if (multiplier == 1).all() and (shift == 0).all():
            return value, low, high

        code = self.call("rescale", value, self.constant(multiplier, shape), self.constant(shift, shape))
        return code, low, high


def _literal(value: int) -> str:
    text = str(value) if abs(value) < 1 << 31 else f"INT64_C({value})"
    return f"({text})" if value < 0 else text


HELPERS: dict[str, tuple[str, ...]] = {
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
}
