"""The style of all figures, and matplotlib figures as SVG for light and dark pages.

Figures are drawn in placeholder colours, which `to_svg` replaces by CSS: ink is the text colour of the page, those of
series are variables with a light and a dark value.
"""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
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

from spikebridge.analysis.templates import Drawing

PAGE_WIDTH = 4.6
"""Width of a figure [inches]: that of a phone's page, or half of a wide one."""
TEXT_SIZE = 11.5
"""Size of the text in a figure [points]; on a phone a point is a pixel."""
_LETTER = 0.57  # mean width of a letter in sizes of the text
_LEGEND_ROW = 0.25  # inches
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
    axes.tick_params(colors=INK, labelsize=TEXT_SIZE)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=TEXT_SIZE)


def label_axes(axes: Axes, x: str, y: str) -> None:
    """The titles of the axes, in lines that fit."""
    figure = axes.get_figure(root=True)
    width, height = (PAGE_WIDTH, PAGE_WIDTH) if figure is None else figure.get_size_inches()
    axes.set(xlabel=_wrapped(x, width - 0.8), ylabel=_wrapped(y, height - 0.8))


def max_letters(width: float) -> int:
    """The number of letters that fit into a width in inches."""
    return max(4, int(72 * width / (_LETTER * TEXT_SIZE)))


def _wrapped(text: str, width: float) -> str:
    return "\n".join(textwrap.wrap(text, max_letters(width)))


def write_title(figure: Figure, title: str) -> None:
    """The title of a figure, if it has one."""
    figure.patch.set_facecolor("none")
    if title:
        figure.suptitle(_wrapped(title, figure.get_figwidth()), color=INK, fontsize=TEXT_SIZE)


def draw_legend(axes: Axes, signs: Mapping[str, Line2D] | None = None) -> None:
    """Writes the names of the series and of further signs below the axes, so that they cover no line."""
    handles, names = axes.get_legend_handles_labels()
    handles += list((signs or {}).values())
    names = [textwrap.shorten(name, 60, placeholder=" …") for name in [*names, *(signs or {})]]
    figure = axes.get_figure(root=True)
    if not names or figure is None:
        return

    num_columns = max(1, max_letters(figure.get_figwidth()) // (max(map(len, names)) + 6))
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * -(-len(names) // num_columns))
    style: dict[str, Any] = {"frameon": False, "labelcolor": INK, "fontsize": TEXT_SIZE, "ncols": num_columns}
    figure.legend(handles, names, loc="outside lower left", columnspacing=1.2, borderpad=0.1, **style)


def show_values(line: Line2D, texts: Sequence[str]) -> None:
    """Shows a text over each marker of a line while the pointer rests on it."""
    # matplotlib writes no other property into the SVG from which `to_svg` could read the texts
    line.set_gid(_VALUES + quote(json.dumps(list(texts))))


# placeholder colours of figures; no other colour has these values
INK = "#0a0b0c"
PAPER = "#fafbfc"
SERIES = ("#2f6fd0", "#d1701a", "#2a8f5b", "#9a4bc2", "#b3344c", "#55708c")
_DARK_SERIES = ("#78a6f5", "#f0a35a", "#5fc794", "#c992ee", "#ee8596", "#a3b8cd")


def to_svg(figure: Figure, title: str = "") -> Drawing:
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

    return Drawing(f'{head} class="sb-figure" role="img">{description}<style>{_style()}</style>{rest}')


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
        # a page may have another scheme than its reader's system
        f".sb-figure{{{light}--sb-paper:#fff;color:#1b2430;background:var(--sb-paper)}}"
        f"@media (prefers-color-scheme:dark){{.sb-figure{{{dark}--sb-paper:#161b22;color:#e6ebf2}}}}"
    )
