"""Lanes of a replay: spikes and traces over one time line, thinned to a bounded size and drawn as SVG without text.

A lane is drawn in a box of one unit a column, stretched to the width of the page; its words stand beside it in HTML.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikebridge.errors import ShapeError

MAX_COLUMNS = 1000
"""Columns of a time line; a longer one shows several steps in a column."""
_MAX_ROWS = 64
_MAX_NAMED_ROWS = 40
_MAX_SERIES = 6
_MAX_SEPARATE = 160
_HEIGHT = 100.0  # of a lane of traces, in its own units


@dataclass(frozen=True, eq=False)
class Spikes:
    """The spikes of neurons, a row each.

    Args:
        name: of the layer.
        values: `(T, N)`; 0 without a spike, else the number of its kind, from 1. Negative spikes are the second kind.
        neurons: their names; numbers by default.
        kinds: names of the kinds, for the legend.

    Raises:
        ShapeError: another number of axes, or of names.

    Example:
        >>> lane = Spikes("snn", [[0, 1], [1, 0], [1, 0]])
        >>> lane.num_steps, lane.paths(stride=1)
        (3, ['M1.1 0h.8M2.1 0h.8M0.1 1h.8'])
    """

    name: str
    values: ArrayLike
    neurons: Sequence[str] = ()
    kinds: Sequence[str] = ("spike", "negative spike")

    def __post_init__(self) -> None:
        values = _plain(self.values)
        if values.ndim != 2:
            raise ShapeError(f"the spikes of {self.name!r} need the shape (T, N), but got {values.shape}")
        if self.neurons and len(self.neurons) != values.shape[1]:
            raise ShapeError(f"{self.name!r} has {values.shape[1]} neurons, but {len(self.neurons)} names")

        kinds = np.where(values < 0, 2, np.ceil(values)).clip(0, len(self.kinds)).astype(np.uint8)
        object.__setattr__(self, "_kinds", kinds)

    @property
    def num_steps(self) -> int:
        """Steps of time."""
        return len(self._all)

    @property
    def _all(self) -> NDArray[np.uint8]:
        kinds: NDArray[np.uint8] = self._kinds  # type: ignore[attr-defined]
        return kinds

    @property
    def shown(self) -> NDArray[np.int64]:
        """The neurons that are drawn: all, or the most active ones in their order."""
        num_neurons = self._all.shape[1]
        if num_neurons <= _MAX_ROWS:
            return np.arange(num_neurons)

        activity = np.count_nonzero(self._all, axis=0)
        return np.sort(np.argsort(-activity, kind="stable")[:_MAX_ROWS])

    @property
    def names(self) -> list[str]:
        """Of the neurons that are drawn."""
        return [self.neurons[n] if self.neurons else str(n) for n in self.shown.tolist()]

    @property
    def note(self) -> str:
        """How many spikes, and how many of the neurons are drawn."""
        num_neurons = self._all.shape[1]
        num_spikes = int(np.count_nonzero(self._all))
        some = f"the {_MAX_ROWS} most active of " if num_neurons > _MAX_ROWS else ""
        words = [f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in ((num_neurons, "neuron"), (num_spikes, "spike"))]

        return some + ", ".join(words)

    @property
    def is_named(self) -> bool:
        """Whether every row is high enough for its name: of neurons with names, and of few others."""
        return bool(self.neurons) or len(self.shown) <= _MAX_NAMED_ROWS

    @property
    def width_of_names(self) -> str:
        """Of the column beside the rows: "narrow" or "wide"."""
        return "wide" if self.is_named and any(len(name) > 3 for name in self.names) else "narrow"

    @property
    def present(self) -> list[tuple[int, str]]:
        """The kinds that occur, with their numbers from 0."""
        there = set(np.unique(self._all).tolist())
        return [(k, name) for k, name in enumerate(self.kinds) if k + 1 in there]

    def paths(self, stride: int) -> list[str]:
        """For each kind the strokes of its spikes, `M column row h length`; on a long line a stroke is a run.

        Args:
            stride: steps in a column.
        """
        columns = _columns(self._all[:, self.shown], stride)
        peak = columns.max(1, initial=0)

        return [
            "".join(_strokes(peak == kind + 1)) for kind in range(1 + max((k for k, _ in self.present), default=-1))
        ]


@dataclass(frozen=True, eq=False)
class Traces:
    """Numbers over time, a line each: membranes, outputs, an error.

    Args:
        name: of what they are.
        series: `(T,)` by name; NaN where there is no value. A value between two samples is that of the earlier one.
        unit: such as "px".
        steps: draw each value as held until the next one.

    Raises:
        ShapeError: series of different lengths.

    Example:
        >>> lane = Traces("membranes", {"0": [0.0, 1.0, 0.5]})
        >>> lane.num_steps, lane.values(stride=1)
        (3, [[0.0, 1.0, 0.5]])
    """

    name: str
    series: Mapping[str, ArrayLike]
    unit: str = ""
    steps: bool = False

    def __post_init__(self) -> None:
        lengths = {name: _plain(values).shape for name, values in self.series.items()}
        if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
            raise ShapeError(f"the traces of {self.name!r} need one value a step each, but got {lengths}")

    @property
    def num_steps(self) -> int:
        """Steps of time."""
        return len(_plain(next(iter(self.series.values())))) if self.series else 0

    @property
    def names(self) -> list[str]:
        """Of the lines that are drawn: all, or the six that vary most, in their order."""
        names = list(self.series)
        if len(names) <= _MAX_SERIES:
            return names

        spans = np.array([_span(_plain(values)) for values in self.series.values()])
        return [names[k] for k in sorted(np.argsort(-spans, kind="stable")[:_MAX_SERIES].tolist())]

    @property
    def note(self) -> str:
        """Unit and range, and how many of the lines are drawn."""
        low, high = self._range
        some = (
            f"the {_MAX_SERIES} most varying of {len(self.series):,} lines, " if len(self.series) > _MAX_SERIES else ""
        )
        if not np.isfinite(low):
            return f"{some}no values"

        return f"{some}{_number(low)} to {_number(high)}{f' {self.unit}' if self.unit else ''}"

    @property
    def _range(self) -> tuple[float, float]:
        shown = [_plain(self.series[name]) for name in self.names]
        finite = [values[np.isfinite(values)] for values in shown]
        numbers = np.concatenate(finite) if finite else np.empty(0)
        return (float(numbers.min()), float(numbers.max())) if numbers.size else (np.nan, np.nan)

    def values(self, stride: int) -> list[list[float | None]]:
        """The first value of each column, for each line that is drawn; None where there is none.

        Args:
            stride: steps in a column.
        """
        columns = [_columns(_plain(self.series[name]), stride)[:, 0] for name in self.names]
        return [[None if not np.isfinite(value) else float(f"{value:.4g}") for value in one] for one in columns]

    def paths(self, stride: int) -> list[str]:
        """For each line its path, in a box of one unit a column and 100 units high.

        Args:
            stride: steps in a column; lowest and highest value of each are drawn, so that no peak is lost.
        """
        low, high = self._range
        span = (high - low) or 1.0

        return [
            "".join(_line(_columns(_plain(self.series[name]), stride), low, span, self.steps)) for name in self.names
        ]


Lane: TypeAlias = Spikes | Traces


def _plain(values: Any) -> NDArray[Any]:
    """An array of numbers; a tensor is copied from its device."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"


def _span(values: NDArray[Any]) -> float:
    there = values[np.isfinite(values)]
    return float(np.ptp(there)) if there.size else -1.0


def hold_last(values: NDArray[Any], is_present: NDArray[np.bool_]) -> NDArray[Any]:
    """Rows `(T, N)` in which a missing one repeats the row before it; those before the first stay as they are."""
    last = np.maximum.accumulate(np.where(is_present, np.arange(len(values)), -1))
    return np.where((last >= 0)[:, None], values[last], values)


def _columns(values: NDArray[Any], stride: int) -> NDArray[Any]:
    """`(C, stride, ...)`: steps by column; the last column repeats its last step."""
    missing = -len(values) % stride
    if missing:
        values = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])

    return values.reshape(len(values) // stride, stride, *values.shape[1:])


def _strokes(is_there: NDArray[np.bool_]) -> Iterator[str]:
    """Strokes row by row from flags `(C, N)`: one a column with gaps between them, or one a run where they are many."""
    if len(is_there) <= _MAX_SEPARATE:
        yield from (f"M{column}.1 {row}h.8" for row, column in np.argwhere(is_there.T).tolist())
        return

    edges = np.diff(np.pad(is_there.T.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    for (row, begin), (_, end) in zip(np.argwhere(edges == 1).tolist(), np.argwhere(edges == -1).tolist(), strict=True):
        yield f"M{begin} {row}h{end - begin}"


def _line(columns: NDArray[Any], low: float, span: float, steps: bool) -> Iterator[str]:
    """A path through the values of columns `(C, stride)`, broken where there is none."""
    heights = _HEIGHT * (1 - (columns - low) / span)
    pen_is_down = False

    for column, inside in enumerate(heights):
        there = inside[np.isfinite(inside)]
        if not there.size:
            pen_is_down = False
            continue

        points = [there[0]] if there.size == 1 or there.min() == there.max() else [there.min(), there.max()]
        x = column if steps else column + 0.5

        for y in points:
            yield f"{'L' if pen_is_down and not steps else 'V' if pen_is_down else 'M'}" + (
                f"{y:.1f}" if pen_is_down and steps else f"{x:g} {y:.1f}"
            )
            pen_is_down = True

        if steps:
            yield f"H{column + 1}"
