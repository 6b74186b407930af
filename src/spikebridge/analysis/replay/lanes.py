"""Lanes of a replay: spikes and traces over one time line, thinned to a bounded size and drawn as SVG without text.

A lane is drawn in a box of one unit a column, stretched to the width of the page; its words are HTML around it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikebridge.errors import ShapeError

MAX_COLUMNS = 1000
"""Columns of a time line; a longer one shows several steps in a column."""
_MAX_ROWS = 64
_MAX_NAMED_ROWS = 40
_MAX_SERIES = 6
_MAX_SEPARATE = 160  # columns; on a longer line the gaps between strokes would be too thin to see
_HEIGHT = 100.0  # of a lane of traces, in its own units


@dataclass(frozen=True, eq=False)
class Spikes:
    """A lane with a row for each neuron and a stroke for each spike."""

    name: str
    values: ArrayLike  # (T, N): 0 without a spike, else the number of its kind, from 1; a negative spike is the second
    neurons: Sequence[str] = ()  # their names; numbers by default
    kinds: Sequence[str] = ("spike", "negative spike")

    def __post_init__(self) -> None:
        shape = _array(self.values).shape
        if len(shape) != 2:
            raise ShapeError(f"the spikes of {self.name!r} need the shape (T, N), but got {shape}")
        if self.neurons and len(self.neurons) != shape[1]:
            raise ShapeError(f"{self.name!r} has {shape[1]} neurons, but {len(self.neurons)} names")

    @cached_property
    def _kinds(self) -> NDArray[np.uint8]:
        """The number of each spike's kind, `(T, N)`; 0 without a spike."""
        values = _array(self.values)
        return np.where(values < 0, 2, np.ceil(values)).clip(0, len(self.kinds)).astype(np.uint8)

    @property
    def num_steps(self) -> int:
        return len(self._kinds)

    @property
    def shown(self) -> NDArray[np.int64]:
        """The drawn neurons: all, or the most active ones in their order."""
        num_neurons = self._kinds.shape[1]
        if num_neurons <= _MAX_ROWS:
            return np.arange(num_neurons)

        activity = np.count_nonzero(self._kinds, axis=0)
        return np.sort(np.argsort(-activity, kind="stable")[:_MAX_ROWS])

    @property
    def names(self) -> list[str]:
        return [self.neurons[n] if self.neurons else str(n) for n in self.shown.tolist()]

    @property
    def note(self) -> str:
        """The numbers of neurons and spikes, in words."""
        num_neurons = self._kinds.shape[1]
        counts = ((num_neurons, "neuron"), (int(np.count_nonzero(self._kinds)), "spike"))
        words = ", ".join(f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in counts)

        return f"the {_MAX_ROWS} most active of {words}" if num_neurons > _MAX_ROWS else words

    @property
    def is_named(self) -> bool:
        """True if every row is high enough for its name."""
        return bool(self.neurons) or len(self.shown) <= _MAX_NAMED_ROWS

    @property
    def width_of_names(self) -> Literal["narrow", "wide"]:
        return "wide" if self.is_named and any(len(name) > 3 for name in self.names) else "narrow"

    @property
    def present(self) -> list[tuple[int, str]]:
        """The kinds that occur, with their numbers from 0."""
        numbers = set(np.unique(self._kinds).tolist())
        return [(k, name) for k, name in enumerate(self.kinds) if k + 1 in numbers]

    def paths(self, stride: int) -> list[str]:
        """The strokes of each kind, `M column row h length`, with `stride` steps in a column."""
        kinds = _columns(self._kinds[:, self.shown], stride).max(1, initial=0)
        num_kinds = 1 + max((k for k, _ in self.present), default=-1)

        return ["".join(_strokes(kinds == kind + 1)) for kind in range(num_kinds)]


@dataclass(frozen=True, eq=False)
class Traces:
    """A lane with a line for each series of numbers, such as membranes, outputs or an error."""

    name: str
    series: Mapping[str, ArrayLike]  # (T,) by name; NaN without a value
    unit: str = ""
    steps: bool = False  # draw each value as held until the next one

    def __post_init__(self) -> None:
        shapes = {name: _array(values).shape for name, values in self.series.items()}
        if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
            raise ShapeError(f"the traces of {self.name!r} need one value a step each, but got {shapes}")

    @property
    def num_steps(self) -> int:
        return max(map(len, self._shown.values()), default=0)

    @cached_property
    def _shown(self) -> dict[str, NDArray[Any]]:
        """The drawn lines: all, or the six that vary most, in their order."""
        lines = {name: _array(values) for name, values in self.series.items()}
        if len(lines) <= _MAX_SERIES:
            return lines

        names = list(lines)
        by_range = np.argsort([-_span(values) for values in lines.values()], kind="stable")[:_MAX_SERIES]
        return {names[k]: lines[names[k]] for k in sorted(by_range.tolist())}

    @property
    def names(self) -> list[str]:
        return list(self._shown)

    @property
    def note(self) -> str:
        """Unit and range in words, and how many of the lines are drawn."""
        low, high = self._range
        words = f"{_number(low)} to {_number(high)}{f' {self.unit}' if self.unit else ''}"
        num_lines = len(self.series)
        dropped = f"the {_MAX_SERIES} most varying of {num_lines:,} lines, " if num_lines > _MAX_SERIES else ""

        return dropped + (words if np.isfinite(low) else "no values")

    @property
    def _range(self) -> tuple[float, float]:
        numbers = np.concatenate([np.empty(0), *(values[np.isfinite(values)] for values in self._shown.values())])
        return (float(numbers.min()), float(numbers.max())) if numbers.size else (np.nan, np.nan)

    def values(self, stride: int) -> list[list[float | None]]:
        """The first value of each column of `stride` steps, for each drawn line; None without a value."""
        lines = [_columns(values, stride)[:, 0].tolist() for values in self._shown.values()]
        return [[float(f"{value:.4g}") if np.isfinite(value) else None for value in line] for line in lines]

    def paths(self, stride: int) -> list[str]:
        """The path of each drawn line, in a box of one unit a column of `stride` steps and 100 units high."""
        low, high = self._range
        span = (high - low) or 1.0

        return ["".join(_line(_columns(values, stride), low, span, self.steps)) for values in self._shown.values()]

    def points(self, stride: int) -> list[str]:
        """The dots of each drawn line, for values without a neighbour: a line needs two."""
        low, high = self._range
        span = (high - low) or 1.0

        return ["" if self.steps else "".join(_dots(_columns(x, stride), low, span)) for x in self._shown.values()]


Lane: TypeAlias = Spikes | Traces


def _array(values: Any) -> NDArray[Any]:
    """An array of numbers; a tensor is copied from its device."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"


def _span(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.ptp(finite)) if finite.size else -1.0


def hold_last(values: NDArray[Any], is_present: NDArray[np.bool_]) -> NDArray[Any]:
    """Rows `(T, N)` in which an absent one repeats the row before it; those before the first stay as they are."""
    last = np.maximum.accumulate(np.where(is_present, np.arange(len(values)), -1))
    return np.where((last >= 0)[:, None], values[last], values)


def _columns(values: NDArray[Any], stride: int) -> NDArray[Any]:
    """`(C, stride, ...)`: steps by column; the last column repeats its last step."""
    num_missing = -len(values) % stride
    if num_missing:
        values = np.concatenate([values, np.repeat(values[-1:], num_missing, axis=0)])

    return values.reshape(len(values) // stride, stride, *values.shape[1:])


def _strokes(is_spike: NDArray[np.bool_]) -> Iterator[str]:
    """Strokes row by row from flags `(C, N)`: one a column with gaps, or one a run on a long time line."""
    if len(is_spike) <= _MAX_SEPARATE:
        yield from (f"M{column}.1 {row}h.8" for row, column in np.argwhere(is_spike.T).tolist())
        return

    edges = np.diff(np.pad(is_spike.T.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    for (row, begin), (_, end) in zip(np.argwhere(edges == 1).tolist(), np.argwhere(edges == -1).tolist(), strict=True):
        yield f"M{begin} {row}h{end - begin}"


def _line(columns: NDArray[Any], low: float, span: float, steps: bool) -> Iterator[str]:
    """A path through the values of columns `(C, stride)`, broken at columns without a value."""
    heights = _HEIGHT * (1 - (columns - low) / span)
    pen_is_down = False

    for column, values in enumerate(heights):
        finite = values[np.isfinite(values)]
        if not finite.size:
            pen_is_down = False
            continue

        # the lowest and the highest value, so that no peak is lost
        for y in dict.fromkeys([finite.min(), finite.max()]):
            if not pen_is_down:
                yield f"M{column if steps else column + 0.5:g} {y:.1f}"
            elif steps:
                yield f"V{y:.1f}"
            else:
                yield f"L{column + 0.5:g} {y:.1f}"
            pen_is_down = True

        if steps:
            yield f"H{column + 1}"


def _dots(columns: NDArray[Any], low: float, span: float) -> Iterator[str]:
    """A stroke without length for each column `(C, stride)` with a value between columns without one."""
    is_filled = np.pad(np.isfinite(columns).any(axis=1), 1)
    is_alone = is_filled[1:-1] & ~is_filled[:-2] & ~is_filled[2:]
    for column in np.flatnonzero(is_alone).tolist():
        values = columns[column]
        height = _HEIGHT * (1 - (values[np.isfinite(values)][0] - low) / span)
        yield f"M{column + 0.5:g} {height:.1f}h0"
