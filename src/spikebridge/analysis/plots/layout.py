"""Where boxes, chips and wires of a drawing lie, so that nothing covers anything else.

Inputs stand in the first column, parts in columns behind those that they hear from. A link to the next column has its
chip between the two; one over further columns runs in a lane of its own above everything, one that leads back in a lane
below. Wires turn up and down in channels between columns and chips, each at a place of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from spikebridge.analysis.plots.boxes import Box, Chip, boxes_of, chip_of
from spikebridge.hybrid import HybridNetwork

BOX_DISTANCE, CHIP_DISTANCE, LANE_DISTANCE = 34.0, 12.0, 16.0
CHANNEL = 11.0
ROOM = 26.0
# where links in lanes stand among the others at a box's side
FAR = 1e6


@dataclass
class Wire:
    """A link's line through some points, with curves between them or with corners."""

    chip: Chip
    points: list[tuple[float, float]]
    curved: bool


@dataclass
class Placement:
    """All that is drawn, with its place."""

    boxes: list[Box]
    chips: list[Chip]
    wires: list[Wire] = field(default_factory=list)
    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0


def place(network: HybridNetwork) -> Placement:
    """The places of everything in a drawing of a network."""
    boxes = boxes_of(network)
    return place_graph(list(boxes.values()), [chip_of(network, route, boxes) for route in network.routes])


def place_graph(boxes: list[Box], chips: list[Chip]) -> Placement:
    """The same for boxes in columns and the chips between them."""
    columns: list[list[Box]] = [[] for _ in range(1 + max(box.column for box in boxes))]
    for box in boxes:
        columns[box.column].append(box)
        box.leaving = [chip for chip in chips if chip.source is box]
        box.arriving = [chip for chip in chips if chip.target is box]
        box.measure()
    _place_rows(columns, chips)
    leaves, arrives = _place_columns(columns, chips)
    _place_lanes(boxes, chips, leaves, arrives)
    busy = {chip.source.column for chip in chips if chip.way == "between" and chip.num_lines}
    wires = [_wire(chip, leaves.get(chip), arrives.get(chip), busy) for chip in chips]
    placement = Placement(boxes, chips, wires)
    corners = [point for wire in wires for point in wire.points]
    things: list[Box | Chip] = [*boxes, *chips]
    placement.left = min([thing.x for thing in things] + [x for x, _ in corners])
    placement.right = max([thing.x + thing.width for thing in things] + [x for x, _ in corners])
    placement.top = min(thing.y - thing.height / 2 for thing in things)
    placement.bottom = max(thing.y + thing.height / 2 for thing in things)
    return placement


def spread(wanted: Sequence[float], sizes: Sequence[float], distance: float) -> list[float]:
    """Middles as near to those wanted as they can be without overlap, in the order given.

    Example:
        >>> spread([0.0, 0.0], [10.0, 10.0], distance=2.0)
        [-6.0, 6.0]
        >>> spread([0.0, 100.0], [10.0, 10.0], distance=2.0)
        [0.0, 100.0]
    """
    # runs of things that touch each other, each with what it wants and its offset in the run
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


def _place_rows(columns: list[list[Box]], chips: list[Chip]) -> None:
    """Heights of boxes, near those that they hear from and speak to; then of chips between columns, and the ports."""
    for column in columns:
        _stack(column, dict.fromkeys(column, (0.0, 0.0)))
    for column in columns[1:]:
        _stack(column, {box: _pull(box, [c.source for c in box.arriving if c.way != "below"]) for box in column})
    for column in columns[:-1]:
        _stack(column, {box: _pull(box, [c.target for c in box.leaving if c.way != "below"]) for box in column})
    for gap in range(len(columns)):
        here = [chip for chip in chips if chip.way == "between" and chip.source.column == gap]
        here.sort(key=lambda chip: (chip.source.y + chip.target.y, chip.source.y))
        wanted = [(chip.source.y + chip.target.y) / 2 for chip in here]
        for chip, y in zip(here, spread(wanted, [c.height for c in here], CHIP_DISTANCE), strict=True):
            chip.y = y
    for chip in chips:
        if chip.way != "between":
            chip.y = -FAR if chip.way == "above" else FAR
    for column in columns:
        for box in column:
            box.leaving.sort(key=lambda chip: chip.y)
            box.arriving.sort(key=lambda chip: chip.y)


def _pull(box: Box, others: list[Box]) -> tuple[float, float]:
    """A rank among the boxes of the column, and the height that a box wants: the mean of others'."""
    mean = sum(other.y for other in others) / len(others) if others else box.y
    # what speaks over other columns stands at the top, from where its lane begins
    return (-FAR if any(chip.way == "above" for chip in box.leaving) else mean), mean


def _stack(column: list[Box], pulls: dict[Box, tuple[float, float]]) -> None:
    column.sort(key=lambda box: pulls[box][0])
    wanted = [pulls[box][1] for box in column]
    for box, y in zip(column, spread(wanted, [box.height for box in column], BOX_DISTANCE), strict=True):
        box.y = y


def _place_columns(columns: list[list[Box]], chips: list[Chip]) -> tuple[dict[Chip, float], dict[Chip, float]]:
    """Places from left to right; where links in lanes turn up or down, after their source and before their target."""
    leaves: dict[Chip, float] = {}
    arrives: dict[Chip, float] = {}
    lanes = [chip for chip in chips if chip.way != "between"]
    x = 0.0
    for number, column in enumerate(columns):
        for chip in (chip for chip in lanes if chip.target.column == number):
            x += CHANNEL
            arrives[chip] = x
        x += ROOM / 2
        width = max(box.width for box in column)
        for box in column:
            box.x, box.width = x, width
        x += width + ROOM / 2
        for chip in (chip for chip in lanes if chip.source.column == number):
            leaves[chip] = x
            x += CHANNEL
        here = [chip for chip in chips if chip.way == "between" and chip.source.column == number]
        widest = max([chip.width for chip in here], default=0.0)
        for chip in here:
            chip.x = x + ROOM + (widest - chip.width) / 2
        x += widest + 2 * ROOM
    return leaves, arrives


def _place_lanes(boxes: list[Box], chips: list[Chip], leaves: dict[Chip, float], arrives: dict[Chip, float]) -> None:
    """Lanes above and below everything else, short ones inside."""
    rows: list[Box | Chip] = [*boxes, *(chip for chip in chips if chip.way == "between")]
    edges = {"above": min(r.y - r.height / 2 for r in rows), "below": max(r.y + r.height / 2 for r in rows)}
    for chip in sorted(leaves, key=lambda chip: abs(leaves[chip] - arrives[chip])):
        sign = -1 if chip.way == "above" else 1
        chip.y = edges[chip.way] + sign * (LANE_DISTANCE + chip.height / 2)
        chip.x = (leaves[chip] + arrives[chip] - chip.width) / 2
        edges[chip.way] = chip.y + sign * chip.height / 2


def _wire(chip: Chip, leaves: float | None, arrives: float | None, busy: set[int]) -> Wire:
    """A link's line; `busy` are columns with chips behind them, between which a bare link keeps to its place."""
    start, end = chip.source.port(chip, "right"), chip.target.port(chip, "left")
    if leaves is None or arrives is None:
        if chip.source.column not in busy:
            return Wire(chip, [start, end], curved=True)
        return Wire(chip, [start, (chip.x, chip.y), (chip.x + chip.width, chip.y), end], curved=True)
    turns = [(leaves, start[1]), (leaves, chip.y), (arrives, chip.y), (arrives, end[1])]
    return Wire(chip, [start, *turns, end], curved=False)
