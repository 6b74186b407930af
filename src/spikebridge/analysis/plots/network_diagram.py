"""A hybrid network as an SVG diagram: inputs on the left, parts as boxes, links as wires with their units on them.

Its colours are variables of CSS, so that it suits a light or a dark page.
"""

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from math import ceil

from spikebridge.analysis.plots._list_layout import layout_list
from spikebridge.analysis.plots.boxes import (
    LABEL_LINE,
    LABEL_SIZE,
    LINE,
    TAG,
    TEXT_SIZE,
    Box,
    LinkLabel,
    link_label,
    network_boxes,
    text_width,
)
from spikebridge.analysis.plots.layout import Layout, Wire, layout_graph
from spikebridge.analysis.templates import Drawing, resource_text
from spikebridge.hybrid import HybridNetwork

_MARGIN = 20.0
_ARROW = 8.0
_CORNER_RADIUS = 8.0
_LEGEND_LINE = 22.0
_MIN_WIDTH = 460.0
_PHONE_WIDTH = 330.0
_PAGE_WIDTH = 1250.0  # of a graph whose text can still be read on a page
_CUT_DISTANCE = 12.0  # from a box to the sign that its wire goes to the other side
_STAGES = {"W": "window", "H": "kernel", "F": "nonlinearity", "Q": "discretizer"}


def draw_network(network: HybridNetwork) -> Drawing:
    """Draws a network: its parts, clocks, units, delays and modulations, as an SVG for a file or inside HTML."""
    boxes = network_boxes(network)
    labels = [link_label(network, route, boxes) for route in network.routes]
    return draw_graph(list(boxes.values()), labels, f"Hybrid network of {', '.join(network.parts)}")


def draw_graph(boxes: list[Box], labels: list[LinkLabel], description: str) -> Drawing:
    """Draws boxes with links between them, and as a list for a phone; `description` is for readers who see neither."""
    layout = layout_graph(boxes, labels)
    is_wide = layout.right - layout.left > _PAGE_WIDTH
    wide = _draw_layout(layout, description, _MIN_WIDTH, "sb-net")
    narrow = _draw_layout(layout_list(boxes, labels), description, _PHONE_WIDTH, "sb-net sb-list")

    return Drawing(wide, narrow, is_wide)


def _draw_layout(layout: Layout, description: str, min_width: float, style: str) -> str:
    graph_width = max(layout.right - layout.left, min_width - 2 * _MARGIN)
    legend, legend_height = _legend(layout, graph_width)
    width = ceil(graph_width + 2 * _MARGIN)
    height = ceil(layout.bottom - layout.top + legend_height + 18 + 2 * _MARGIN)

    # a graph narrower than its legend stands in the middle
    left = _MARGIN - layout.left + (graph_width - layout.right + layout.left) / 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{style}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<title>{escape(description)}</title>",
        f"<style>{resource_text('plots/drawing.css')}</style>",
        '<rect class="paper" width="100%" height="100%" rx="10"/>',
        f'<g transform="translate({left:.1f} {_MARGIN - layout.top:.1f})">',
        *(_draw_wire(wire) for wire in layout.wires),
        *(part for box in layout.boxes for part in _draw_box(box)),
        *(part for label in layout.labels if label.num_lines for part in _draw_label(label)),
        "</g>",
        f'<g transform="translate({_MARGIN:.0f} {height - _MARGIN - legend_height:.1f})">',
        *legend,
        "</g>",
        "</svg>",
    ]

    return "\n".join(lines) + "\n"


def _draw_box(box: Box) -> Iterator[str]:
    radius = box.height / 2 if box.kind == "input" else 9
    yield (
        f'<rect class="box {box.kind.lower()}" x="{box.x:.1f}" y="{box.y - box.height / 2:.1f}" '
        f'width="{box.width:.1f}" height="{box.height:.1f}" rx="{min(radius, 24):.1f}"/>'
    )

    middle = box.x + box.width / 2
    y = box.y - LINE * (len(box.lines) + bool(box.file)) / 2 + 5
    yield _text(middle, y, box.name, "name", "middle")

    for i, line in enumerate(box.lines, start=1):
        yield _text(middle, y + LINE * i, line, "line", "middle")

    if box.file:
        yield _text(middle, y + LINE * (len(box.lines) + 1), box.file, "file", "middle")


def _draw_label(label: LinkLabel) -> Iterator[str]:
    yield _group(label.kind)
    top = label.y - label.height / 2
    yield (
        f'<rect class="chip" x="{label.x:.1f}" y="{top:.1f}" width="{label.width:.1f}" height="{label.height:.1f}" '
        'rx="6"/>'
    )

    x = label.x + 9
    y = top + 5 + LABEL_SIZE
    if label.heading:
        yield _text(x, y, label.heading, "heading")
        y += LABEL_LINE

    stages = [(letter, words, "stage") for letter, words in label.stages]
    stages += [(letter, name, "file") for letter, name in label.files]

    # in the order in which they act; the file of all numbers comes last
    for letter, words, style in sorted(stages, key=lambda stage: [*_STAGES, ""].index(stage[0])):
        yield from [_text(x, y, letter, "tag")] if letter else []
        yield _text(x + (TAG if letter else 0), y, words, style)
        y += LABEL_LINE

    if label.foot:
        yield _text(x, y, label.foot, "foot")

    yield "</g>"


def _draw_wire(wire: Wire) -> str:
    start = wire.points[0]
    x, y = wire.points[-1]
    goes_down = wire.points[-2][0] == x
    points = [*wire.points[:-1], (x, y - _ARROW + 1) if goes_down else (x - _ARROW + 1, y)]
    path = _curves(points) if wire.curved else _corners(points)
    head = f"M{x:.1f} {y:.1f}l{-_ARROW} {-_ARROW / 2}v{_ARROW}z"
    distance = _CUT_DISTANCE
    if goes_down:
        head = f"M{x:.1f} {y:.1f}l{-_ARROW / 2} {-_ARROW}h{_ARROW}z"
        distance = -_CUT_DISTANCE / 2

    group = _group(wire.label.kind)
    cut = f'<path class="cut" d="{_cut(start[0] + distance, start[1])}"/>' if wire.label.is_cut else ""
    return f'{group}<path class="wire" d="{path}"/><path class="head" d="{head}"/>{cut}</g>'


def _cut(x: float, y: float) -> str:
    """Two strokes across a wire."""
    return f"M{x - 4:.1f} {y + 6:.1f}l4 -12M{x:.1f} {y + 6:.1f}l4 -12"


def _curves(points: list[tuple[float, float]]) -> str:
    """A curve that is level at every point, so that it passes straight behind a label."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        path += f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"

    return path


def _corners(points: list[tuple[float, float]]) -> str:
    """Straight lines with round corners."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        enter = _toward(corner, before)
        leave = _toward(corner, after)
        path += f"L{enter[0]:.1f} {enter[1]:.1f}Q{corner[0]:.1f} {corner[1]:.1f} {leave[0]:.1f} {leave[1]:.1f}"

    return path + f"L{points[-1][0]:.1f} {points[-1][1]:.1f}"


def _toward(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """A point on the way from a corner to another point, at most half of the way."""
    dx = other[0] - corner[0]
    dy = other[1] - corner[1]
    length = max(abs(dx) + abs(dy), 1e-9)
    share = min(_CORNER_RADIUS / length, 0.5)

    return corner[0] + dx * share, corner[1] + dy * share


def _legend(layout: Layout, width: float) -> tuple[list[str], float]:
    """The signs that occur, with their words, in as many lines as they need, and the height of these lines."""
    kinds = {box.kind for box in layout.boxes}
    letters = {letter for label in layout.labels for letter, _ in [*label.stages, *label.files]}
    entries: list[tuple[str, str]] = [(kind.lower(), kind) for kind in ("ANN", "SNN") if kind in kinds]
    links = {"transmission", *(label.kind for label in layout.labels)}
    entries += [(kind, kind) for kind in ("transmission", "modulation", "initialisation", "wake") if kind in links]
    entries += [("cut", "from one side to the other")] if any(label.is_cut for label in layout.labels) else []
    entries += [(letter, words) for letter, words in _STAGES.items() if letter in letters]
    parts = []
    x = 0.0
    y = 14.0

    for sign, words in entries:
        indent = 16 if sign in _STAGES else 34
        entry_width = indent + text_width(words, TEXT_SIZE)
        if x and x + entry_width > width:
            x = 0.0
            y += _LEGEND_LINE

        parts += [_sign(sign, x, y), _text(x + indent, y, words, "line")]
        x += entry_width + 20

    return parts, y + 4


def _sign(sign: str, x: float, y: float) -> str:
    if sign in _STAGES:
        return _text(x, y, sign, "tag")
    if sign in ("ann", "snn"):
        return f'<rect class="box {sign}" x="{x:.1f}" y="{y - 11:.1f}" width="26" height="14" rx="4"/>'

    group = _group(sign)
    cut = f'<path class="cut" d="{_cut(x + 13, y - 4)}"/>' if sign == "cut" else ""

    return f'{group}<path class="wire" d="M{x:.1f} {y - 4:.1f}h26"/>{cut}</g>'


def _group(kind: str) -> str:
    """The opening tag of a link, or of its sign in the legend."""
    return f'<g class="{kind}">' if kind in ("modulation", "initialisation", "wake") else "<g>"


def _text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    end = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}"{end}>{escape(words)}</text>'
