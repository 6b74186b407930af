"""What all figures have in common: size, axes, title, legend, in the stand-in colours of `svg`."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikebridge.analysis.svg import INK


def new_figure(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes, of a size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    style_axes(axes)
    write_title(figure, title)
    return figure, axes


def style_axes(axes: Axes) -> None:
    """Axes in the colour of the text around, without a box."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def write_title(figure: Figure, title: str) -> None:
    """The title of a figure, if it has one."""
    figure.patch.set_facecolor("none")
    if title:
        figure.suptitle(title, color=INK, fontsize=11)


def legend_beside(axes: Axes) -> None:
    """Names of the series beside the axes, where they cover nothing."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0))
