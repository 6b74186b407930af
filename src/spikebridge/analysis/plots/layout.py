"""The layout of a network diagram: positions of boxes, labels and wires without overlap.

Inputs stand in the first column, parts in columns behind their sources. A link to the next column has its label between
the two columns. A link over further columns has a lane above all boxes, a link back a lane below. Wires turn up and
down in channels between columns and labels, each at a position of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from spikebridge.analysis.plots.boxes import Box, LinkLabel

_BOX_DISTANCE = 34.0
_LABEL_DISTANCE = 12.0
_LANE_DISTANCE = 16.0
_CHANNEL = 11.0
_MARGIN = 26.0
_FAR = 1e6  # beyond any box: links in lanes are the first or last at a box's side


@dataclass
class Wire:
    """The line of a link through some points, with curves or with corners."""

    label: LinkLabel
    points: list[tuple[float, float]]
    curved: bool


@dataclass
class Layout:
    """The elements of a diagram with their positions."""

    boxes: list[Box]
    labels: list[LinkLabel]
    wires: list[Wire]
    left: float
    right: float
    top: float
    bottom: float


def layout_graph(boxes: list[Box], labels: list[LinkLabel]) -> Layout:
    """The layout of boxes in columns and the labels between them."""
    columns: list[list[Box]] = [[] for _ in range(1 + max(box.column for box in boxes))]
    for box in boxes:
        columns[box.column].append(box)
        box.outgoing = [label for label in labels if label.source is box]
        box.incoming = [label for label in labels if label.target is box]
        box.fit_text()

    _place_rows(columns, labels)
    begins, ends = _place_columns(columns, labels)
    _place_lanes(boxes, labels, begins, ends)
    labelled = {label.source.column for label in labels if label.routing == "between" and label.num_lines}
    wires = [_wire(label, begins.get(label), ends.get(label), labelled) for label in labels]

    elements: list[Box | LinkLabel] = [*boxes, *labels]
    corners = [x for wire in wires for x, _ in wire.points]
    return Layout(
        boxes,
        labels,
        wires,
        left=min([element.x for element in elements] + corners),
        right=max([element.x + element.width for element in elements] + corners),
        top=min(element.y - element.height / 2 for element in elements),
        bottom=max(element.y + element.height / 2 for element in elements),
    )


def spread(wanted: Sequence[float], sizes: Sequence[float], distance: float) -> list[float]:
    """Positions as near to the wanted ones as possible without overlap, in the same order."""
    # runs of touching elements, each with its wanted position and its offset in the run
    runs: list[list[tuple[float, float]]] = []
    for i, position in enumerate(wanted):
        runs.append([(position, 0.0)])
        while len(runs) > 1:
            before, after = runs[-2:]
            first = i - len(after) + 1
            offset = before[-1][1] + (sizes[first - 1] + sizes[first]) / 2 + distance
            if _start(before) + offset <= _start(after):
                break

            runs[-2:] = [before + [(p, o + offset) for p, o in after]]

    return [_start(run) + offset for run in runs for _, offset in run]


def _start(run: list[tuple[float, float]]) -> float:
    """The start of a run with the least squared distances to the wanted positions."""
    return sum(position - offset for position, offset in run) / len(run)


def _place_rows(columns: list[list[Box]], labels: list[LinkLabel]) -> None:
    """Sets the heights of boxes, near their sources and targets, then of labels; and orders the ends at a box."""
    for column in columns:
        _stack(column, [0.0] * len(column), _BOX_DISTANCE)

    # near their sources first, then near their targets
    for column in columns[1:]:
        _align(column, {box: [label.source for label in box.incoming if label.routing != "below"] for box in column})

    for column in columns[:-1]:
        _align(column, {box: [label.target for label in box.outgoing if label.routing != "below"] for box in column})

    for number in range(len(columns)):
        gap = [label for label in labels if label.routing == "between" and label.source.column == number]
        gap.sort(key=lambda label: (label.source.y + label.target.y, label.source.y))
        _stack(gap, [(label.source.y + label.target.y) / 2 for label in gap], _LABEL_DISTANCE)

    for label in labels:
        if label.routing != "between":
            label.y = -_FAR if label.routing == "above" else _FAR

    for column in columns:
        for box in column:
            box.outgoing.sort(key=lambda label: label.y)
            box.incoming.sort(key=lambda label: label.y)


def _align(column: list[Box], neighbours: dict[Box, list[Box]]) -> None:
    """Moves each box of a column to the mean height of its neighbours."""
    means = {box: sum(other.y for other in boxes) / len(boxes) if boxes else box.y for box, boxes in neighbours.items()}

    def rank(box: Box) -> float:
        # boxes with links over other columns stand at the top, where the lanes begin
        return -_FAR if any(label.routing == "above" for label in box.outgoing) else means[box]

    column.sort(key=rank)
    _stack(column, [means[box] for box in column], _BOX_DISTANCE)


def _stack(elements: Sequence[Box | LinkLabel], wanted: list[float], distance: float) -> None:
    for element, y in zip(elements, spread(wanted, [element.height for element in elements], distance), strict=True):
        element.y = y


def _place_columns(
    columns: list[list[Box]], labels: list[LinkLabel]
) -> tuple[dict[LinkLabel, float], dict[LinkLabel, float]]:
    """Sets positions from left to right; returns the channels where links in lanes turn, at source and target."""
    begins: dict[LinkLabel, float] = {}
    ends: dict[LinkLabel, float] = {}
    lanes = [label for label in labels if label.routing != "between"]
    x = 0.0

    for number, column in enumerate(columns):
        for label in (label for label in lanes if label.target.column == number):
            x += _CHANNEL
            ends[label] = x

        x += _MARGIN / 2
        width = max(box.width for box in column)
        for box in column:
            box.x = x
            box.width = width

        x += width + _MARGIN / 2
        for label in (label for label in lanes if label.source.column == number):
            begins[label] = x
            x += _CHANNEL

        gap = [label for label in labels if label.routing == "between" and label.source.column == number]
        widest = max([label.width for label in gap], default=0.0)
        for label in gap:
            label.x = x + _MARGIN + (widest - label.width) / 2

        x += widest + 2 * _MARGIN

    return begins, ends


def _place_lanes(
    boxes: list[Box], labels: list[LinkLabel], begins: dict[LinkLabel, float], ends: dict[LinkLabel, float]
) -> None:
    """Places the lanes above and below all boxes, short ones inside."""
    rows: list[Box | LinkLabel] = [*boxes, *(label for label in labels if label.routing == "between")]
    edges = {"above": min(r.y - r.height / 2 for r in rows), "below": max(r.y + r.height / 2 for r in rows)}

    for label in sorted(begins, key=lambda label: abs(begins[label] - ends[label])):
        sign = -1 if label.routing == "above" else 1
        label.y = edges[label.routing] + sign * (_LANE_DISTANCE + label.height / 2)
        label.x = (begins[label] + ends[label] - label.width) / 2
        edges[label.routing] = label.y + sign * label.height / 2


def _wire(label: LinkLabel, begin: float | None, end: float | None, labelled: set[int]) -> Wire:
    """The line of a link, in a lane between the channels `begin` and `end`, or without them to the next column."""
    source = label.source.port(label, "right")
    target = label.target.port(label, "left")
    if begin is not None and end is not None:
        turns = [(begin, source[1]), (begin, label.y), (end, label.y), (end, target[1])]
        return Wire(label, [source, *turns, target], curved=False)

    # a link without text passes between the labels of others at its own position
    sides = [(label.x, label.y), (label.x + label.width, label.y)] if label.source.column in labelled else []
    return Wire(label, [source, *sides, target], curved=True)
