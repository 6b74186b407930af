"""Drawings of series of a sensor: one series of each class with their numbers and lengths, a signal with marks."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from spikebridge.analysis.plots.style import INK, PAGE_WIDTH, SERIES, new_figure, style_axes, write_title
from spikebridge.data.signals.checks import SeriesFinding
from spikebridge.data.signals.series import SensorSeries

_MOST_CLASSES = 8
_MOST_CHANNELS = 8
_MOST_GROUPS = 24
_POINTS = 600  # of a curve; of the samples between, the least and the largest are drawn


def series_figure(series: SensorSeries, findings: Sequence[SeriesFinding] = ()) -> Figure:
    """One page about the series of a file.

    Args:
        series: of any sensor.
        findings: of `check_series`, written below.

    Example:
        >>> from spikebridge.data.signals.series import make_series
        >>> figure = series_figure(make_series([np.zeros((9, 2)), np.ones((9, 2))], rate_hz=50, label=["a", "b"]))
        >>> len(figure.axes)
        4
    """
    shown = _examples(series)
    lines = [line for one in findings for line in textwrap.wrap(f"{one.level}: {one}", 110, subsequent_indent="    ")]
    height = 1.0 + 1.1 * len(shown) + 0.18 * len(lines)
    figure = Figure(figsize=(9.0, max(height, 3.6)), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(1.7, 1.0))
    curves, tables = parts

    for part in parts:
        part.set_facecolor("none")

    rows: list[Axes] = curves.subplots(len(shown), 1, squeeze=False)[:, 0].tolist()
    for axes, index in zip(rows, shown, strict=True):
        style_axes(axes)
        _draw_series(axes, series, index)

    rows[-1].set_xlabel("time [s]")
    counts, lengths = tables.subplots(2, 1)
    for axes in (counts, lengths):
        style_axes(axes)

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
    """A signal over time with rows of marks above it, such as true and detected beats.

    Args:
        x: `(T,)`, one channel.
        rate_hz: samples a second.
        marks: samples, by the name of their row.
        value_title: of the signal's axis.

    Example:
        >>> figure = marked_signal(np.zeros(100), 50, {"beats": np.array([10, 60])})
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['beats']
    """
    values = np.asarray(x, float)
    figure, axes = new_figure(PAGE_WIDTH, 2.6, "")
    axes.plot(np.arange(len(values)) / rate_hz, values, color=INK, linewidth=0.8)
    low = float(values.min())
    high = float(values.max())
    step = 0.08 * ((high - low) or 1.0)

    for row, (name, places) in enumerate(marks.items(), start=1):
        height = np.full(len(places), high + row * step)
        axes.plot(places / rate_hz, height, "|", color=SERIES[(row - 1) % len(SERIES)], markersize=9, label=name)

    axes.set(xlabel="time [s]", ylabel=value_title)
    axes.legend(frameon=False, fontsize=8, ncols=len(marks), loc="lower right")

    return figure


def _examples(series: SensorSeries) -> list[int]:
    """A series of each class, or the first ones where there are no labels."""
    if series.label is None:
        return list(range(min(3, len(series))))
    return [int(np.flatnonzero(series.label == label)[0]) for label in np.unique(series.label)[:_MOST_CLASSES]]


def _draw_series(axes: Axes, series: SensorSeries, index: int) -> None:
    x = series[index]
    for channel in range(min(series.num_channels, _MOST_CHANNELS)):
        time, values = _outline(x[:, channel])
        axes.plot(time / series.rate_hz, values, color=SERIES[channel % len(SERIES)], linewidth=0.7)

    name = "" if series.label is None else series.label_names[series.label[index]]
    axes.set_ylabel(name[:14], rotation=0, ha="right", va="center")


def _outline(x: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Places and values of a curve that has at most `_POINTS` points, the least and the largest of every piece."""
    if len(x) <= _POINTS:
        return np.arange(len(x), dtype=np.float64), x

    edges = np.linspace(0, len(x), _POINTS // 2 + 1).astype(int)
    pieces = [(a, x[a:b]) for a, b in pairwise(edges.tolist())]
    ends = np.array([[np.min(piece), np.max(piece)] for _, piece in pieces], np.float32)

    return np.repeat([float(a) for a, _ in pieces], 2), ends.ravel()


def _draw_counts(axes: Axes, series: SensorSeries) -> None:
    """How many series there are of each class and group."""
    groups = series.groups[:_MOST_GROUPS] or [-1]
    labels = [-1] if series.label is None else np.unique(series.label).tolist()
    label = np.full(len(series), -1) if series.label is None else series.label
    group = np.full(len(series), -1) if series.group is None else series.group
    counts = np.array([[((label == row) & (group == column)).sum() for column in groups] for row in labels])
    axes.imshow(np.where(counts > 0, counts, np.nan), aspect="auto", cmap="Blues", vmin=0, vmax=2 * counts.max())

    if counts.size <= 120:
        for (row, column), number in np.ndenumerate(counts):
            axes.text(column, row, f"{number}", ha="center", va="center", color=INK, fontsize=7)

    axes.set_yticks(range(len(labels)), ["all" if one < 0 else series.label_names[one][:14] for one in labels])
    names = ["all" if one < 0 else series.group_names[one][:10] for one in groups]
    axes.set_xticks(range(len(groups)), names, rotation=60, ha="right", fontsize=7)
    axes.set_title("series of each class and group", fontsize=9, color=INK)
