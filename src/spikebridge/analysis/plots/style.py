"""The style of all figures, and matplotlib figures as SVG for light and dark pages.

Figures are drawn in placeholder colours, which `to_svg` replaces by CSS: ink is the text colour of the page, those of
series are variables with a light and a dark value.
"""

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from io import StringIO
from typing import Any
from urllib.parse import quote, unquote

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

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
    """Gives axes the text colour of the page, and no box."""
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


def draw_legend(axes: Axes) -> None:
    """Writes the names of the series next to the axes, so that they cover no line."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def show_values(line: Line2D, texts: Sequence[str]) -> None:
    """Shows a text over each marker of a line while the pointer rests on it."""
    # matplotlib writes no other property into the SVG from which `to_svg` could read the texts
    line.set_gid(_VALUES + quote(json.dumps(list(texts))))


# placeholder colours of figures; no other colour has these values
INK = "#0a0b0c"
PAPER = "#fafbfc"
SERIES = ("#2f6fd0", "#d1701a", "#2a8f5b", "#9a4bc2", "#b3344c", "#55708c")
_DARK_SERIES = ("#78a6f5", "#f0a35a", "#5fc794", "#c992ee", "#ee8596", "#a3b8cd")


def to_svg(figure: Figure, title: str = "") -> str:
    """A figure as an SVG element for HTML or a file; `title` is for readers who cannot see the picture."""
    figure.patch.set_facecolor("none")
    out = StringIO()
    # a name with two dollar signs is no formula
    for text in figure.findobj(Text):
        text.set_parse_math(False)

    # texts stay texts; without a date, and with one salt for all ids, equal figures are equal files
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "spikebridge", "text.parse_math": False}
    with matplotlib.rc_context(style):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})

    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, 'DejaVu Sans', sans-serif", svg)
    svg = _with_unique_ids(_with_values(svg))
    svg = re.sub(INK, "currentColor", svg, flags=re.IGNORECASE)

    for i, colour in enumerate(SERIES):
        svg = re.sub(colour, f"var(--sb-series-{i})", svg, flags=re.IGNORECASE)

    svg = re.sub(PAPER, "var(--sb-paper)", svg, flags=re.IGNORECASE)
    head, rest = svg.split(">", 1)
    description = f"<title>{escape(title, quote=False)}</title>" if title else ""

    return f'{head} class="sb-figure" role="img">{description}<style>{_style()}</style>{rest}'


def _with_values(svg: str) -> str:
    """The picture with the texts of `show_values` as titles of the markers."""
    before, *groups = re.split(rf'<g id="{_VALUES}([^"]*)">', svg)
    parts = [before]

    for texts, group in zip(groups[::2], groups[1::2], strict=True):
        line, mark, rest = group.partition('<g id="')
        titles = json.loads(unquote(texts))
        pieces = re.split(r"(<use [^>]*/>)", line)
        markers = pieces[1::2]

        # a marker outside of the axes is not drawn, so that its text would move to another one
        if len(titles) == len(markers):
            pieces[1::2] = [
                f"<g><title>{escape(title, quote=False)}</title>{marker}</g>"
                for title, marker in zip(titles, markers, strict=True)
            ]

        parts += ["<g>", *pieces, mark, rest]

    return "".join(parts)


def _with_unique_ids(svg: str) -> str:
    """The picture with unique ids, so that one page can hold several pictures."""
    prefix = "f" + sha256(svg.encode()).hexdigest()[:8] + "-"
    for mark in ('id="', 'href="#', "url(#"):
        svg = re.sub(rf"\b{re.escape(mark)}", f"{mark}{prefix}", svg)

    return svg


def _style() -> str:
    light = "".join(f"--sb-series-{i}:{colour};" for i, colour in enumerate(SERIES))
    dark = "".join(f"--sb-series-{i}:{colour};" for i, colour in enumerate(_DARK_SERIES))

    return (
        f".sb-figure{{{light}--sb-paper:#fff;color:#1b2430}}"
        f"@media (prefers-color-scheme:dark){{.sb-figure{{{dark}--sb-paper:#161b22;color:#e6ebf2}}}}"
    )
