"""Elements of a C file: arrays with their ranges, tables, fields of structs, loops.

Every array carries the lowest and the highest integer that it can hold. The range chooses its C type.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.errors import ExportError

# name, bits below 0, bits above 0; the narrowest first
_TYPES = (("int8_t", 7, 7), ("uint8_t", 0, 8), ("int16_t", 15, 15), ("int32_t", 31, 31), ("int64_t", 63, 63))
# the keywords of C99; "main" is that of the check program
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "auto break case char const continue default do double else enum extern float for goto if inline int long "
        "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
        "main",
    )
)
_NUMBERS_A_LINE = 24


@dataclass(frozen=True)
class CArray:
    """An array of integers in C: its expression, the shape of one step of one stream, and its range."""

    code: str
    shape: tuple[int, ...]
    low: int
    high: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def kind(self) -> str:
        return c_type(self.low, self.high)

    def shaped(self, shape: tuple[int, ...]) -> "CArray":
        return replace(self, shape=shape)

    def at(self, shape: tuple[int, ...], index: str = "j") -> str:
        """The element at a place of the shape that the array is broadcast to."""
        return f"{self.code}[{broadcast_index(self.shape, shape, index)}]"

    def row(self, index: str = "k") -> "CArray":
        """One of several values that follow each other in memory; this one is the first."""
        return replace(self, code=f"({self.code} + {index} * {self.size})")


def c_type(low: int, high: int) -> str:
    """The narrowest C type for a range; raises an `ExportError` if 64 bits do not hold it."""
    for name, bits_below, bits_above in _TYPES:
        lowest = 0 if name.startswith("u") else -(1 << bits_below)
        if lowest <= low and high < 1 << bits_above:
            return name

    raise ExportError(f"a signal between {low} and {high} does not fit into 64 bits")


def broadcast_index(shape: tuple[int, ...], to: tuple[int, ...], index: str = "j") -> str:
    """The place of an element in an array, from its place in the shape that the array is broadcast to."""
    if math.prod(shape) == 1:
        return "0"

    padded = (1,) * (len(to) - len(shape)) + shape
    if len(padded) != len(to) or any(n not in (1, m) for n, m in zip(padded, to, strict=True)):
        raise ExportError(f"a signal of shape {shape} does not fit to one of shape {to}")

    terms = []
    axis = 0
    while axis < len(to):
        # axes that both shapes share, side by side, are one term
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
    """A C identifier for a name, added to those that are taken."""
    stem = re.sub(r"\W", "_", name, flags=re.ASCII)
    if stem in _KEYWORDS:
        stem = f"{stem}_"
    elif not stem or stem[0].isdigit():
        stem = f"x{stem}"

    # other signs than letters become "_", so that two names may have one stem
    unique = stem
    number = 1
    while unique in taken:
        number += 1
        unique = f"{stem}_{number}"

    taken.add(unique)
    return unique


def indent(body: Iterable[str]) -> list[str]:
    """The lines of a block."""
    return [f"    {line}" if line else "" for line in body]


def for_loop(size: int | str, body: Iterable[str], index: str = "j") -> list[str]:
    """A loop over the places of an array."""
    return [f"for (int {index} = 0; {index} < {size}; {index}++) {{", *indent(body), "}"]


def if_block(condition: str, body: Sequence[str]) -> list[str]:
    """Lines under a condition; none if there are none."""
    return [f"if ({condition}) {{", *indent(body), "}"] if body else []


def copy_loop(source: CArray, target: str) -> list[str]:
    """An array copied element by element, since the types may differ."""
    return for_loop(source.size, [f"{target}[j] = {source.code}[j];"])


def array_definition(kind: str, name: str, values: NDArray[Any]) -> list[str]:
    """A constant array."""
    numbers = [str(int(value)) for value in values.ravel()]
    # C99 has no arrays of 0 elements
    rows = [", ".join(numbers[i : i + _NUMBERS_A_LINE]) for i in range(0, len(numbers), _NUMBERS_A_LINE)] or ["0"]
    return [f"static const {kind} {name}[{max(len(numbers), 1)}] = {{", *(f"    {row}," for row in rows), "};"]


def _literal(value: int) -> str:
    """An integer in C."""
    text = str(value) if abs(value) < 1 << 31 else f"INT64_C({value})"
    # "x - -1" would be two operators in one
    return f"({text})" if value < 0 else text


@dataclass
class CSource:
    """The content of a C file while it is written; with `counts` it also counts operations in the state."""

    counts: bool = False
    tables: dict[tuple[str, bytes], list[str]] = field(default_factory=dict)  # definitions by type and content
    state: list[tuple[str, str, int]] = field(default_factory=list)  # type, name and size; size 0 is a single number
    starts: list[str] = field(default_factory=list)  # lines of the start function
    work: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)  # intermediate signals by function
    functions: list[str] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)  # functions of `C_FUNCTIONS` that are called
    _taken: set[str] = field(default_factory=set)
    _locals: Counter[str] = field(default_factory=Counter)
    _counters: dict[str, str] = field(default_factory=dict)  # code by kind of operation

    def state_array(self, name: str, like: CArray, rows: int = 1) -> CArray:
        """An array in the state with some shape and range, or several rows of it; it starts with zeros."""
        unique = c_name(name, self._taken)
        # memory starts with zeros
        array = CArray(f"s->{unique}", like.shape, min(like.low, 0), max(like.high, 0))
        self.state.append((array.kind, unique, rows * array.size))

        return array

    def state_number(self, name: str, kind: str = "int32_t") -> str:
        unique = c_name(name, self._taken)
        self.state.append((kind, unique, 0))
        return f"s->{unique}"

    def work_array(self, function: str, name: str, like: CArray, rows: int = 1) -> CArray:
        """An intermediate signal of a function, or several rows of it; the functions share their memory."""
        fields = self.work.setdefault(function, [])
        unique = c_name(name, {taken for _, taken, _ in fields})
        fields.append((like.kind, unique, rows * like.size))
        return replace(like, code=f"s->work.{function}.{unique}")

    def local_name(self, function: str) -> str:
        self._locals[function] += 1
        return f"t{self._locals[function]}"

    def function_name(self, name: str) -> str:
        return c_name(name, self._taken)

    def constant(self, values: Any, shape: tuple[int, ...], index: str = "j") -> str:
        """An element of constants that are broadcast to a shape: a literal, or an element of a table."""
        values = np.asarray(values)
        if values.size and (values == values.ravel()[0]).all():
            return _literal(int(values.ravel()[0]))

        return f"{self.table(values)}[{broadcast_index(values.shape, shape, index)}]"

    def table(self, values: NDArray[Any]) -> str:
        """The name of a table; equal tables are written once."""
        values = np.ascontiguousarray(values, np.int64)
        kind = c_type(int(values.min(initial=0)), int(values.max(initial=0)))
        key = (kind, values.tobytes())
        if key not in self.tables:
            self.tables[key] = array_definition(kind, f"table_{len(self.tables)}", values)

        return f"table_{list(self.tables).index(key)}"

    def count(self, kind: str, number: str) -> list[str]:
        """Lines that add to the operations of a kind: `macs`, `synops` or `updates`."""
        if not self.counts:
            return []
        if kind not in self._counters:
            self._counters[kind] = self.state_number(kind, "int64_t")

        return [f"{self._counters[kind]} += {number};"]

    def call(self, name: str, *arguments: str) -> str:
        self.calls.add(name)
        return f"{name}({', '.join(arguments)})"
