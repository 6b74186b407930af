"""Figures: functions from numbers to a matplotlib figure, and `to_svg`, which makes it a picture of a report.

The state of `pyplot` is not changed, so that no window opens and no figure stays in memory.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from torch import Tensor

from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.analysis.plots.style import (
    INK,
    PAGE_WIDTH,
    PAPER,
    SERIES,
    TEXT_SIZE,
    draw_legend,
    label_axes,
    max_letters,
    new_figure,
    show_values,
    style_axes,
    to_svg,
    write_title,
)
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import HybridUnit, Kernel

__all__ = [
    "accuracy_bars",
    "accuracy_lines",
    "confusion_matrix",
    "draw_network",
    "heat_map",
    "membrane_traces",
    "raster",
    "to_svg",
    "unit_kernels",
]

_MARKERS = "osD^vP*X"
_MAX_NAME = 18  # letters in a line of a name beside its bar
_MAX_UPRIGHT = 16  # columns of a heat map whose names are apart


def raster(spikes: ArrayLike | Tensor, dt: float, title: str = "") -> Figure:
    """A mark for every spike of `(T, N)` with steps of `dt` seconds; negative spikes in a second colour."""
    values = _array(spikes, 2, "spikes", "(T, N)")
    figure, axes = new_figure(PAGE_WIDTH, min(1.4 + 0.05 * values.shape[1], 4.0), title)
    for sign, colour in ((1, SERIES[0]), (-1, SERIES[1])):
        steps, neurons = np.nonzero(np.sign(values) == sign)
        axes.plot(steps * dt * 1000, neurons, "|", color=colour, markersize=4.5, markeredgewidth=1.2)

    label_axes(axes, "time [ms]", "neuron")
    axes.set_xlim(-dt * 500, len(values) * dt * 1000)
    axes.set_ylim(-0.8, values.shape[1] - 0.2)

    return figure


def membrane_traces(
    v: ArrayLike | Tensor,
    dt: float,
    spikes: ArrayLike | Tensor | None = None,
    v_threshold: float | ArrayLike | Tensor | None = None,
    title: str = "",
) -> Figure:
    """Membranes `(T, N)`, a row for each neuron, with its spikes as marks and its threshold as a line."""
    values = _array(v, 2, "membranes", "(T, N)")
    num_neurons = values.shape[1]
    figure = Figure(figsize=(PAGE_WIDTH, 0.7 + 0.85 * num_neurons), layout="constrained")
    rows = figure.subplots(num_neurons, 1, sharex=True, squeeze=False)[:, 0]
    time = np.arange(len(values)) * dt * 1000
    thresholds = None if v_threshold is None else np.broadcast_to(_array(v_threshold), values.shape)
    is_spike = np.zeros(values.shape, dtype=bool) if spikes is None else _array(spikes, 2, "spikes", "(T, N)") != 0

    for n, axes in enumerate(rows):
        style_axes(axes)
        axes.plot(time, values[:, n], color=SERIES[0], linewidth=1.4)
        heights = np.full(len(time), values[:, n].max())
        if thresholds is not None:
            heights = thresholds[:, n]
            axes.plot(time, heights, color=SERIES[1], linewidth=1, linestyle="--")

        if spikes is not None:
            fired = is_spike[:, n]
            axes.plot(time[fired], heights[fired], "|", color=INK, markersize=9, markeredgewidth=1.4)

        axes.set_ylabel(f"{n}", rotation=0, labelpad=10, va="center")

    rows[-1].set_xlabel("time [ms]")
    write_title(figure, title)

    return figure


def unit_kernels(units: Mapping[str, HybridUnit | Kernel], num_steps: int = 40, dt: float = 0.001) -> Figure:
    """The impulse responses of the units' kernels, the mean over neurons bold; units without a kernel are left out."""
    kernels = {name: unit if isinstance(unit, Kernel) else unit.kernel for name, unit in units.items()}
    shown = {name: kernel for name, kernel in kernels.items() if kernel is not None}
    if not shown:
        raise ConfigError(f"none of the units {', '.join(units) or '(none)'} has a kernel to show")

    figure, axes = new_figure(PAGE_WIDTH, 3.0, "")
    time = np.arange(num_steps) * dt * 1000

    for i, (name, kernel) in enumerate(shown.items()):
        response = impulse_response(kernel, num_steps).reshape(num_steps, -1).numpy()
        style = _line_style(i)
        if response.shape[1] > 1:
            # single neurons, faintly behind their mean
            axes.plot(time, response, color=style["color"], linewidth=0.6, alpha=0.35)
        axes.plot(time, response.mean(1), **style, markersize=3, linewidth=1.5, label=name)

    axes.axhline(0, color=INK, linewidth=0.6, alpha=0.4)
    label_axes(axes, "time since the pulse [ms]", "h")
    draw_legend(axes)

    return figure


def impulse_response(kernel: Kernel, num_steps: int) -> Tensor:
    """The impulse response of a kernel, `(T, *N)`."""
    weight = getattr(kernel, "weight", None)
    quantities = [getattr(kernel, name) for name in kernel.modulable]
    shapes = [weight.shape[1:]] if isinstance(weight, Tensor) else []
    shapes += [value.shape for value in quantities if isinstance(value, Tensor)]

    like = next(kernel.parameters(), torch.empty(0))
    pulse = like.new_zeros(num_steps, 1, *torch.broadcast_shapes(*shapes))
    pulse[0] = 1

    with torch.no_grad():
        return kernel(pulse)[0][:, 0].cpu()


def heat_map(
    values: ArrayLike,
    rows: Sequence[Any],
    columns: Sequence[Any],
    row_title: str = "",
    column_title: str = "",
    value_title: str = "",
    marks: ArrayLike | None = None,
    form: str = "{:.1f}",
) -> Figure:
    """A grid of the numbers `(R, C)`, NaN for an empty cell; cells with a true flag in `marks` have a frame.

    Where cells are narrower than their numbers, colour alone shows them.
    """
    grid = _array(values, 2, "values", "(R, C)")
    if grid.shape != (len(rows), len(columns)):
        raise ShapeError(f"a heat map of {len(rows)} rows and {len(columns)} columns got values of shape {grid.shape}")

    flags = np.zeros(grid.shape, dtype=bool) if marks is None else np.asarray(marks, dtype=bool)
    texts = [["" if np.isnan(value) else form.format(value) for value in row] for row in grid]
    names = [str(name) for name in rows]
    # of the cells together, and of one in letters
    width = PAGE_WIDTH - 0.6 - _longest(names) / max_letters(1.0)
    letters = max_letters(1.0) * width / max(1, len(columns))
    is_wide = all(_longest(row) <= letters for row in texts)

    figure, axes = new_figure(PAGE_WIDTH, 1.3 + np.clip(width / max(1, len(columns)), 0.2, 0.4) * len(rows), "")
    low, high = (float(np.nanmin(grid)), float(np.nanmax(grid))) if np.isfinite(grid).any() else (0.0, 1.0)
    share = (grid - low) / ((high - low) or 1.0)
    for (r, c), value in np.ndenumerate(grid):
        if not np.isnan(value):
            # numbers stay readable on the palest and on the darkest cell
            axes.add_patch(_cell(c, r, color=SERIES[0], alpha=0.08 + 0.47 * float(share[r, c])))
            weight = "bold" if flags[r, c] else "normal"
            if is_wide:
                axes.text(c, r, texts[r][c], ha="center", va="center", color=INK, fontsize=TEXT_SIZE, fontweight=weight)

    for r, c in np.argwhere(flags).tolist():
        axes.add_patch(_cell(c, r, fill=False, edgecolor=SERIES[1], linewidth=1.8))

    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), names)
    _name_columns(axes, [str(name) for name in columns], letters)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    label_axes(axes, column_title, row_title)
    write_title(figure, value_title if is_wide else f"{value_title}: pale {form.format(low)}, dark {form.format(high)}")

    return figure


def _name_columns(axes: Axes, names: Sequence[str], letters: float) -> None:
    """Names below columns of a width in letters: upright if they are long; of many columns every second or so."""
    is_upright = len(names) <= _MAX_UPRIGHT and _longest(names) > letters
    every = 1 if is_upright else -(-(_longest(names) + 1) // max(1, int(letters)))
    style: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if is_upright else {}
    axes.set_xticks(range(0, len(names), every), names[::every], **style)


def _longest(texts: Sequence[str]) -> int:
    return max(map(len, texts), default=0)


def accuracy_bars(scores: Mapping[str, ArrayLike], value_title: str = "accuracy [%]") -> Figure:
    """A row for each method: its seeds as points, their mean, and a bar of one standard deviation to both sides."""
    numbers = {name: _array(values).ravel() for name, values in scores.items()}
    if not numbers or not all(values.size for values in numbers.values()):
        raise ShapeError("accuracy_bars needs at least one method, and at least one number for each")

    names = [textwrap.fill(name, _MAX_NAME) for name in numbers]
    num_lines = sum(max(1, name.count("\n") + 1) for name in names)
    figure, axes = new_figure(PAGE_WIDTH, 0.7 + 0.2 * (len(names) + num_lines), "")
    for i, (name, values) in enumerate(numbers.items()):
        mean = values.mean()
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        colour = SERIES[i % len(SERIES)]
        axes.barh(i, 2 * spread, left=mean - spread, height=0.5, color=colour, alpha=0.25)
        axes.plot([mean, mean], [i - 0.25, i + 0.25], color=colour, linewidth=2.4)
        (points,) = axes.plot(values, np.full(len(values), i), "o", color=colour, markersize=4, markeredgecolor=PAPER)
        show_values(points, [f"{name}: {value:.5g}" for value in values])
        text = f"{mean:.4g} ± {spread:.2g}" if len(values) > 1 else f"{mean:.4g}"
        place = ("axes fraction", "data")
        axes.annotate(text, (1.02, i), xycoords=place, va="center", color=INK, fontsize=TEXT_SIZE)

    label_axes(axes, value_title, "")
    axes.set_ylim(len(numbers) - 0.4, -0.6)
    # with sticky edges the longest bar would end at the edge of the axes
    axes.use_sticky_edges = False
    axes.margins(x=0.06)
    axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.6)
    axes.set_yticks(range(len(numbers)), names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)

    return figure


def accuracy_lines(
    x: ArrayLike,
    series: Mapping[str, ArrayLike],
    x_title: str,
    value_title: str = "accuracy [%]",
    order: Sequence[str] = (),
    validation: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """A line over `(X,)` for each method, of values `(X,)`, or `(X, S)` with a band of one deviation over seeds.

    Figures with one `order` of all names give a method one colour and marker. The lines of `validation` are dashed, in
    the colours of the methods.
    """
    positions = _array(x)
    figure, axes = new_figure(PAGE_WIDTH, 2.7, "")
    styles = {name: _line_style(i) for i, name in enumerate(dict.fromkeys([*order, *series, *(validation or {})]))}

    for name, values in series.items():
        _draw_line(axes, positions, name, values, {**styles[name], "markersize": 4, "label": name})
    for name, values in (validation or {}).items():
        _draw_line(axes, positions, f"{name}, validation", values, {"color": styles[name]["color"], "linestyle": "--"})

    label_axes(axes, x_title, value_title)
    if (positions == positions.round()).all():
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))

    kinds = [("training", Line2D([], [], color=INK)), ("validation", Line2D([], [], color=INK, linestyle="--"))]
    draw_legend(axes, dict(kinds) if validation else {})

    return figure


def _draw_line(axes: Axes, positions: np.ndarray, name: str, values: ArrayLike, style: Mapping[str, Any]) -> None:
    """Draws the mean over seeds with its band."""
    numbers = _array(values)
    numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    if len(numbers) != len(positions):
        raise ShapeError(f"{name!r} has {len(numbers)} values for {len(positions)} places on the axis")

    has_seeds = numbers.shape[1] > 1
    mean, spread = _mean_and_spread(numbers)
    if has_seeds:
        axes.fill_between(positions, mean - spread, mean + spread, color=style["color"], alpha=0.16, linewidth=0)

    (line,) = axes.plot(positions, mean, linewidth=1.6, **style)
    # matplotlib writes no marker for a mean that is not finite
    drawn = [point for point in zip(positions, mean, spread, strict=True) if np.isfinite(point[1])]
    show_values(line, [f"{name}: {y:.5g}{f' ± {sd:.2g}' if has_seeds else ''} at {x:g}" for x, y, sd in drawn])


def _mean_and_spread(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each row over its finite values; NaN without any, and 0 of a single one."""
    is_finite = np.isfinite(numbers)
    count = is_finite.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(is_finite, numbers, 0).sum(1) / count
        square = np.where(is_finite, (numbers - mean[:, None]) ** 2, 0).sum(1)
        return mean, np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), 0.0)


def confusion_matrix(counts: ArrayLike, names: Sequence[Any]) -> Figure:
    """Answers `(C, C)`, true classes in rows: shares of each row in percent, right answers with a frame."""
    values = _array(counts, 2, "counts", "(C, C)")
    totals = values.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(totals > 0, 100 * values / totals, np.nan)

    title = "share of the true class [%]"
    return heat_map(shares, names, names, "true class", "answer", title, np.eye(len(values)), "{:.0f}")


def _line_style(number: int) -> dict[str, Any]:
    return {"color": SERIES[number % len(SERIES)], "marker": _MARKERS[number % len(_MARKERS)]}


def _cell(column: int, row: int, **style: Any) -> Rectangle:
    return Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, **style)


def _array(values: Any, ndim: int | None = None, what: str = "", shape: str = "") -> np.ndarray:
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=float)
    if ndim is not None and array.ndim != ndim:
        raise ShapeError(
            f"{what} need the shape {shape}, but got {array.shape}; choose one sample, flatten its neurons"
        )

    return array
