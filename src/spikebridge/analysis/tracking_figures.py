"""Figures of tracking: the error of several trackers over frame rate, or over the bins since a frame."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from spikebridge.analysis.svg import INK, SERIES
from spikebridge.errors import ShapeError

_MARKERS = "osD^vP"
_STYLES = ("-", "--", "-.", ":")


def error_lines(
    x: Sequence[float],
    errors: Mapping[str, Sequence[float]],
    x_title: str,
    value_title: str = "mean distance [px]",
    logarithmic: bool = False,
) -> Figure:
    """A line a tracker; the first one stands out.

    Args:
        x: places on the axis.
        errors: by tracker, one for each place.
        x_title, value_title: of the axes.
        logarithmic: both axes, for frame rates.

    Raises:
        ShapeError: a tracker has not one error for each place.

    Example:
        >>> figure = error_lines([5, 10], {"hold": [2.0, 1.0]}, "frames a second", logarithmic=True)
        >>> [line.get_label() for line in figure.axes[0].lines]
        ['hold']
    """
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    figure.patch.set_facecolor("none")
    axes = figure.subplots()
    axes.set_facecolor("none")
    for i, (name, values) in enumerate(errors.items()):
        if len(values) != len(x):
            raise ShapeError(f"{name!r} has {len(values)} errors for {len(x)} places on the axis")
        axes.plot(
            x,
            values,
            color=SERIES[i % len(SERIES)],
            marker=_MARKERS[i % len(_MARKERS)],
            linestyle=_STYLES[i // len(SERIES) % len(_STYLES)],
            linewidth=2.4 if i == 0 else 1.4,
            markersize=5 if i == 0 else 4,
            label=name,
        )
    if logarithmic:
        axes.set(xscale="log", yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(list(x), [f"{place:g}" for place in x])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(x_title, color=INK)
    axes.set_ylabel(value_title, color=INK)
    axes.tick_params(which="both", colors=INK, labelsize=9)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure
