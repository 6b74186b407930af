"""Figures of how a network tells tasks apart (R. Zhao et al., 2022, Fig. 3b-h): matrices, signals, an embedding."""

from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

from spikebridge.analysis.canvas import new_figure
from spikebridge.analysis.representation import Values
from spikebridge.analysis.svg import INK, PAPER, SERIES
from spikebridge.errors import ShapeError

_MARKERS = "os^Dv*PX"


def matrix_map(
    values: Values,
    group: Values | None = None,
    title: str = "",
    limits: tuple[float, float] | None = None,
    row_title: str = "task",
    column_title: str = "task",
) -> Figure:
    """A matrix as an image: the higher a value, the stronger the colour; lines between groups.

    Args:
        values: `(R, C)`.
        group: `(R,)`, growing, of each row, and of each column of a square matrix.
        title: above the figure.
        limits: values of no and of full colour; None: the least and the most.
        row_title, column_title: of the axes.

    Raises:
        ShapeError: not a matrix, or not one group a row.
    """
    grid = _numbers(values)
    if grid.ndim != 2 or not grid.size:
        raise ShapeError(f"a map needs a matrix (R, C), but got shape {grid.shape}.")
    low, high = (float(np.nanmin(grid)), float(np.nanmax(grid))) if limits is None else limits
    figure, axes = new_figure(4.6, 0.9 + 3.4 * min(1.0, max(0.4, len(grid) / grid.shape[1])), title)
    # clear to full, so that the page shows through where a value is low
    colours = LinearSegmentedColormap.from_list("clear to full", [to_rgba(SERIES[0], 0.0), to_rgba(SERIES[0], 1.0)])
    image = axes.imshow(grid, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, fraction=0.05)
    bar.ax.tick_params(colors=INK, labelsize=9)
    if group is not None:
        groups = _numbers(group)
        if groups.shape != (len(grid),):
            raise ShapeError(f"a map of {len(grid)} rows needs as many groups, but got shape {groups.shape}.")
        for place in np.flatnonzero(np.diff(groups)) + 0.5:
            axes.axhline(place, color=INK, linewidth=0.5, alpha=0.5)
            if grid.shape[0] == grid.shape[1]:
                axes.axvline(place, color=INK, linewidth=0.5, alpha=0.5)
    axes.set(xlabel=column_title, ylabel=row_title)
    return figure


def signals_map(signals: Values, group: Values | None = None, num_values: int = 128, title: str = "") -> Figure:
    """The first values of each task's signal, a row a task (Fig. 3h).

    Args:
        signals: `(K, C)`.
        group: `(K,)`, growing.
        num_values: how many of each signal.
        title: above the figure.
    """
    return matrix_map(_numbers(signals)[:, :num_values], group, title, (0.0, 1.0), column_title="neuron")


def embedding_map(points: Values, group: Values, unseen: Values | None = None, title: str = "") -> Figure:
    """Signals in a plane: a colour and mark a group, hollow where the backbone has not seen the task (Fig. 3e).

    Args:
        points: `(M, 2)`.
        group: `(M,)`.
        unseen: `(M,)`, truth values.
        title: above the figure.

    Raises:
        ShapeError: not one point, group and truth value each.
    """
    places, groups = _numbers(points), _numbers(group)
    hollow = np.zeros(len(places), dtype=bool) if unseen is None else _numbers(unseen).astype(bool)
    if places.shape != (len(groups), 2) or groups.ndim != 1 or hollow.shape != groups.shape:
        raise ShapeError(
            f"an embedding needs points (M, 2) with a group and a truth value each, but got shapes {places.shape}, "
            f"{groups.shape} and {hollow.shape}."
        )
    figure, axes = new_figure(4.8, 3.6, title)
    for i, one in enumerate(np.unique(groups)):
        colour = SERIES[i % len(SERIES)]
        # the marks change more slowly than the colours, so that their pairs do not repeat early
        marker = _MARKERS[i // len(SERIES) % len(_MARKERS)]
        for filled, mark in ((colour, ~hollow), (PAPER, hollow)):
            chosen = (groups == one) & mark
            axes.plot(*places[chosen].T, marker, color=colour, markerfacecolor=filled, markersize=6, linestyle="none")
    axes.set_xticks([])
    axes.set_yticks([])
    if hollow.any():
        axes.set_xlabel("hollow: a task that the backbone has not seen")
    return figure


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
