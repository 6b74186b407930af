"""The style of all figures, and matplotlib figures as SVG for light and dark pages.

Figures are drawn in placeholder colours, which `to_svg` replaces by CSS: ink is the colour of the text around, those of
series are variables with a light and a dark value.
"""

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from io import StringIO
from urllib.parse import quote, unquote

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

PAGE_WIDTH = 9.0
"""Width of a figure that fills a page [inches]."""
_VALUES = "values-"


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


def show_values(line: Line2D, texts: Sequence[str]) -> None:
    """Shows a text over each marker of a line when the pointer rests on it.

    Args:
        line: with markers.
        texts: one a marker.
    """
    # the id of the group in the SVG carries the texts as far as `to_svg`
    line.set_gid(_VALUES + quote(json.dumps(list(texts))))


# placeholder colours of figures; no other colour has these values
INK = "#0a0b0c"
PAPER = "#fafbfc"
SERIES = ("#2f6fd0", "#d1701a", "#2a8f5b", "#9a4bc2", "#b3344c", "#55708c")
_DARK = {
    "#2f6fd0": "#78a6f5",
    "#d1701a": "#f0a35a",
    "#2a8f5b": "#5fc794",
    "#9a4bc2": "#c992ee",
    "#b3344c": "#ee8596",
    "#55708c": "#a3b8cd",
}


def to_svg(figure: Figure, title: str = "") -> str:
    """A figure as an SVG element to stand inside HTML, or as a file: clear background, colours by CSS.

    Args:
        figure: of matplotlib.
        title: for readers who cannot see it.

    Example:
        >>> svg = to_svg(Figure(figsize=(2, 1)))
        >>> svg.startswith("<svg"), svg.rstrip().endswith("</svg>"), "metadata" in svg
        (True, True, False)
    """
    figure.patch.set_facecolor("none")
    out = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "spikebridge"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})

    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, 'DejaVu Sans', sans-serif", svg)
    svg = _with_own_names(_with_values(svg))
    svg = re.sub(INK, "currentColor", svg, flags=re.IGNORECASE)

    for i, colour in enumerate(SERIES):
        svg = re.sub(colour, f"var(--sb-series-{i})", svg, flags=re.IGNORECASE)

    svg = re.sub(PAPER, "var(--sb-paper)", svg, flags=re.IGNORECASE)
    head, rest = svg.split(">", 1)
    words = f"<title>{escape(title, quote=False)}</title>" if title else ""

    return f'{head} class="sb-figure" role="img">{words}<style>{_style()}</style>{rest}'


def _with_values(svg: str) -> str:
    """The picture with the texts of `show_values` as titles of the markers."""
    before, *groups = re.split(rf'<g id="{_VALUES}([^"]*)">', svg)
    parts = [before]

    for texts, group in zip(groups[::2], groups[1::2], strict=True):
        own, mark, rest = group.partition('<g id="')
        titles = json.loads(unquote(texts))
        markers = re.findall(r"<use [^>]*/>", own)
        if len(titles) == len(markers):  # a marker outside of the axes is not drawn
            shown = iter(titles)
            own = re.sub(
                r"<use [^>]*/>",
                lambda use: f"<g><title>{escape(next(shown), quote=False)}</title>{use.group()}</g>",  # noqa: B023
                own,
            )

        parts += ["<g>", own, mark, rest]

    return "".join(parts)


def _with_own_names(svg: str) -> str:
    """The picture with unique ids, so that several pictures can stand on one page."""
    own = "f" + sha256(svg.encode()).hexdigest()[:8] + "-"
    svg = re.sub(r'\bid="', f'id="{own}', svg)
    svg = re.sub(r'href="#', f'href="#{own}', svg)
    return re.sub(r"url\(#", f"url(#{own}", svg)


def _style() -> str:
    light = "".join(f"--sb-series-{i}:{colour};" for i, colour in enumerate(SERIES))
    dark = "".join(f"--sb-series-{i}:{_DARK[colour]};" for i, colour in enumerate(SERIES))

    return (
        f".sb-figure{{{light}--sb-paper:#fff;color:#1b2430}}"
        f"@media (prefers-color-scheme:dark){{.sb-figure{{{dark}--sb-paper:#161b22;color:#e6ebf2}}}}"
    )
