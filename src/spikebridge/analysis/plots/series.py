"""Figures of a sensor's series: one series of each class with all numbers and lengths, and a signal with marks."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from spikebridge.analysis.plots.style import (
    INK,
    PAGE_WIDTH,
    SERIES,
    draw_legend,
    label_axes,
    new_figure,
    style_axes,
    write_title,
)
from spikebridge.data.signals.checks import SeriesFinding
from spikebridge.data.signals.series import SensorSeries

_MAX_CLASSES = 8
_MAX_CHANNELS = 8
_MAX_GROUPS = 24
_MAX_POINTS = 600  # of a curve, two for each pixel of its column
_ALL = -1  # the class or group of series without labels or groups


def series_figure(series: SensorSeries, findings: Sequence[SeriesFinding] = ()) -> Figure:
    """A page about the series of a file, with the findings of `check_series` below."""
    shown = _examples(series)
    lines = [line for f in findings for line in textwrap.wrap(f"{f.level}: {f}", 110, subsequent_indent="    ")]
    height = 1.0 + 1.1 * len(shown) + 0.18 * len(lines)
    figure = Figure(figsize=(9.0, max(height, 3.6)), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.7, 1.0))
    for half in halves:
        half.set_facecolor("none")

    rows: list[Axes] = halves[0].subplots(len(shown), 1, squeeze=False)[:, 0].tolist()
    counts, lengths = halves[1].subplots(2, 1)
    for axes in (*rows, counts, lengths):
        style_axes(axes)

    for axes, index in zip(rows, shown, strict=True):
        _draw_series(axes, series, index)

    rows[-1].set_xlabel("time [s]")

    _draw_counts(counts, series)
    lengths.hist(series.seconds, bins=20, color=SERIES[0], alpha=0.7)
    lengths.set(xlabel="length of a series [s]", ylabel="series")
    write_title(figure, f"{len(series)} series, {series.num_channels} channels, {series.rate_hz:g} Hz")

    if lines:
        figure.supxlabel("\n".join(lines), color=INK, fontsize=8, x=0.01, ha="left", family="monospace")

    return figure


def marked_signal(
    x: ArrayLike, rate_hz: float, marks: Mapping[str, NDArray[np.int64]], value_title: str = ""
) -> Figure:
    """A signal `(T,)` over time with named rows of marked samples above it, such as true and detected beats."""
    values = np.asarray(x, float)
    figure, axes = new_figure(PAGE_WIDTH, 2.6, "")
    axes.plot(np.arange(len(values)) / rate_hz, values, color=INK, linewidth=0.8)
    low = float(values.min())
    high = float(values.max())
    step = 0.08 * ((high - low) or 1.0)

    for row, (name, samples) in enumerate(marks.items(), start=1):
        heights = np.full(len(samples), high + row * step)
        axes.plot(samples / rate_hz, heights, "|", color=SERIES[(row - 1) % len(SERIES)], markersize=9, label=name)

    label_axes(axes, "time [s]", value_title)
    draw_legend(axes)

    return figure


def _examples(series: SensorSeries) -> list[int]:
    """The indices of a series of each class, or of the first ones without labels."""
    if series.label is None:
        return list(range(min(3, len(series))))
    return [int(np.flatnonzero(series.label == label)[0]) for label in np.unique(series.label)[:_MAX_CLASSES]]


def _draw_series(axes: Axes, series: SensorSeries, index: int) -> None:
    x = series[index]
    for channel in range(min(series.num_channels, _MAX_CHANNELS)):
        time, values = _outline(x[:, channel])
        axes.plot(time / series.rate_hz, values, color=SERIES[channel % len(SERIES)], linewidth=0.7)

    name = "" if series.label is None else series.label_names[series.label[index]]
    axes.set_ylabel(name[:14], rotation=0, ha="right", va="center")


def _outline(x: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Samples and values of a curve with few points: the lowest and the highest value of every piece."""
    if len(x) <= _MAX_POINTS:
        return np.arange(len(x), dtype=np.float64), x

    edges = np.linspace(0, len(x), _MAX_POINTS // 2 + 1).astype(int)
    extremes = [[x[start:stop].min(), x[start:stop].max()] for start, stop in pairwise(edges.tolist())]
    return np.repeat(edges[:-1].astype(float), 2), np.array(extremes, np.float32).ravel()


def _draw_counts(axes: Axes, series: SensorSeries) -> None:
    """Draws the numbers of series by class and group."""
    groups = series.groups[:_MAX_GROUPS] or [_ALL]
    labels = [_ALL] if series.label is None else np.unique(series.label).tolist()
    label = np.full(len(series), _ALL) if series.label is None else series.label
    group = np.full(len(series), _ALL) if series.group is None else series.group
    counts = np.array([[((label == row) & (group == column)).sum() for column in groups] for row in labels])
    axes.imshow(np.where(counts > 0, counts, np.nan), aspect="auto", cmap="Blues", vmin=0, vmax=2 * counts.max())

    # smaller cells have no room for their number
    if counts.size <= 120:
        for (row, column), number in np.ndenumerate(counts):
            axes.text(column, row, f"{number}", ha="center", va="center", color=INK, fontsize=7)

    label_names = ["all" if k == _ALL else series.label_names[k][:14] for k in labels]
    group_names = ["all" if k == _ALL else series.group_names[k][:10] for k in groups]
    axes.set_yticks(range(len(labels)), label_names)
    axes.set_xticks(range(len(groups)), group_names, rotation=60, ha="right", fontsize=7)
    axes.set_title("series of each class and group", fontsize=9, color=INK)
