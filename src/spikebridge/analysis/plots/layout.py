"""The layout of a network diagram: positions of boxes, labels and wires without overlap.

Inputs stand in the first column, parts in columns behind their sources. A link to the next column has its label between
the two; a link over further columns has a lane above everything, a link back a lane below. Wires turn up and down in
channels between columns and labels, each at a position of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from spikebridge.analysis.plots.boxes import Box, LinkLabel, link_label, network_boxes
from spikebridge.hybrid import HybridNetwork

_BOX_DISTANCE = 34.0
_LABEL_DISTANCE = 12.0
_LANE_DISTANCE = 16.0
_CHANNEL = 11.0
_MARGIN = 26.0
# where links in lanes stand among the others at a box's side
_FAR = 1e6


@dataclass
class Wire:
    """A link's line through some points, with curves between them or with corners."""

    label: LinkLabel
    points: list[tuple[float, float]]
    curved: bool


@dataclass
class Layout:
    """The elements of a diagram with their positions."""

    boxes: list[Box]
    labels: list[LinkLabel]
    wires: list[Wire] = field(default_factory=list)
    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0


def layout_network(network: HybridNetwork) -> Layout:
    """The layout of a network's diagram."""
    boxes = network_boxes(network)
    return layout_graph(list(boxes.values()), [link_label(network, route, boxes) for route in network.routes])


def layout_graph(boxes: list[Box], labels: list[LinkLabel]) -> Layout:
    """The layout of boxes in columns and the labels between them."""
    columns: list[list[Box]] = [[] for _ in range(1 + max(box.column for box in boxes))]
    for box in boxes:
        columns[box.column].append(box)
        box.leaving = [label for label in labels if label.source is box]
        box.arriving = [label for label in labels if label.target is box]
        box.fit_text()

    _place_rows(columns, labels)
    leaves, arrives = _place_columns(columns, labels)
    _place_lanes(boxes, labels, leaves, arrives)
    busy = {label.source.column for label in labels if label.routing == "between" and label.num_lines}
    wires = [_wire(label, leaves.get(label), arrives.get(label), busy) for label in labels]
    layout = Layout(boxes, labels, wires)
    corners = [point for wire in wires for point in wire.points]
    things: list[Box | LinkLabel] = [*boxes, *labels]
    layout.left = min([thing.x for thing in things] + [x for x, _ in corners])
    layout.right = max([thing.x + thing.width for thing in things] + [x for x, _ in corners])
    layout.top = min(thing.y - thing.height / 2 for thing in things)
    layout.bottom = max(thing.y + thing.height / 2 for thing in things)

    return layout


def spread(wanted: Sequence[float], sizes: Sequence[float], distance: float) -> list[float]:
    """Positions as near to the wanted ones as possible without overlap, in the given order.

    Example:
        >>> spread([0.0, 0.0], [10.0, 10.0], distance=2.0)
        [-6.0, 6.0]
        >>> spread([0.0, 100.0], [10.0, 10.0], distance=2.0)
        [0.0, 100.0]
    """
    # runs of touching elements, each with its wanted position and its offset in the run
    runs: list[list[tuple[float, float]]] = []
    for i, want in enumerate(wanted):
        runs.append([(want, 0.0)])
        while len(runs) > 1:
            before, after = runs[-2:]
            first = i - len(after) + 1
            offset = before[-1][1] + (sizes[first - 1] + sizes[first]) / 2 + distance
            if _start(before) + offset <= _start(after):
                break
            runs[-2:] = [before + [(w, o + offset) for w, o in after]]

    return [_start(run) + offset for run in runs for _, offset in run]


def _start(run: list[tuple[float, float]]) -> float:
    return sum(want - offset for want, offset in run) / len(run)


def _place_rows(columns: list[list[Box]], labels: list[LinkLabel]) -> None:
    """Heights of boxes, near their sources and targets; then of labels between columns, and the ports."""
    for column in columns:
        _stack(column, dict.fromkeys(column, (0.0, 0.0)))

    for column in columns[1:]:
        _stack(column, {box: _pull(box, [c.source for c in box.arriving if c.routing != "below"]) for box in column})

    for column in columns[:-1]:
        _stack(column, {box: _pull(box, [c.target for c in box.leaving if c.routing != "below"]) for box in column})

    for gap in range(len(columns)):
        here = [label for label in labels if label.routing == "between" and label.source.column == gap]
        here.sort(key=lambda label: (label.source.y + label.target.y, label.source.y))
        wanted = [(label.source.y + label.target.y) / 2 for label in here]

        for label, y in zip(here, spread(wanted, [c.height for c in here], _LABEL_DISTANCE), strict=True):
            label.y = y

    for label in labels:
        if label.routing != "between":
            label.y = -_FAR if label.routing == "above" else _FAR

    for column in columns:
        for box in column:
            box.leaving.sort(key=lambda label: label.y)
            box.arriving.sort(key=lambda label: label.y)


def _pull(box: Box, others: list[Box]) -> tuple[float, float]:
    """A rank among the boxes of the column, and a box's wanted height: the mean of its neighbours'."""
    mean = sum(other.y for other in others) / len(others) if others else box.y
    # boxes with links over other columns stand at the top, where the lanes begin
    return (-_FAR if any(label.routing == "above" for label in box.leaving) else mean), mean


def _stack(column: list[Box], pulls: dict[Box, tuple[float, float]]) -> None:
    column.sort(key=lambda box: pulls[box][0])
    wanted = [pulls[box][1] for box in column]
    for box, y in zip(column, spread(wanted, [box.height for box in column], _BOX_DISTANCE), strict=True):
        box.y = y


def _place_columns(
    columns: list[list[Box]], labels: list[LinkLabel]
) -> tuple[dict[LinkLabel, float], dict[LinkLabel, float]]:
    """Places from left to right; where links in lanes turn up or down, after their source and before their target."""
    leaves: dict[LinkLabel, float] = {}
    arrives: dict[LinkLabel, float] = {}
    lanes = [label for label in labels if label.routing != "between"]
    x = 0.0

    for number, column in enumerate(columns):
        for label in (label for label in lanes if label.target.column == number):
            x += _CHANNEL
            arrives[label] = x

        x += _MARGIN / 2
        width = max(box.width for box in column)
        for box in column:
            box.x = x
            box.width = width

        x += width + _MARGIN / 2
        for label in (label for label in lanes if label.source.column == number):
            leaves[label] = x
            x += _CHANNEL

        here = [label for label in labels if label.routing == "between" and label.source.column == number]
        widest = max([label.width for label in here], default=0.0)
        for label in here:
            label.x = x + _MARGIN + (widest - label.width) / 2

        x += widest + 2 * _MARGIN

    return leaves, arrives


def _place_lanes(
    boxes: list[Box], labels: list[LinkLabel], leaves: dict[LinkLabel, float], arrives: dict[LinkLabel, float]
) -> None:
    """Lanes above and below everything else, short ones inside."""
    rows: list[Box | LinkLabel] = [*boxes, *(label for label in labels if label.routing == "between")]
    edges = {"above": min(r.y - r.height / 2 for r in rows), "below": max(r.y + r.height / 2 for r in rows)}

    for label in sorted(leaves, key=lambda label: abs(leaves[label] - arrives[label])):
        sign = -1 if label.routing == "above" else 1
        label.y = edges[label.routing] + sign * (_LANE_DISTANCE + label.height / 2)
        label.x = (leaves[label] + arrives[label] - label.width) / 2
        edges[label.routing] = label.y + sign * label.height / 2


def _wire(label: LinkLabel, leaves: float | None, arrives: float | None, busy: set[int]) -> Wire:
    """A link's line; `busy` are columns with labels behind them, between which a bare link keeps its position."""
    start = label.source.port(label, "right")
    end = label.target.port(label, "left")
    if leaves is None or arrives is None:
        if label.source.column not in busy:
            return Wire(label, [start, end], curved=True)
        return Wire(label, [start, (label.x, label.y), (label.x + label.width, label.y), end], curved=True)

    turns = [(leaves, start[1]), (leaves, label.y), (arrives, label.y), (arrives, end[1])]
    return Wire(label, [start, *turns, end], curved=False)
