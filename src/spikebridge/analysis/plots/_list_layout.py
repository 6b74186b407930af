"""The layout of a network diagram for a phone: boxes in one column, each below the links that lead to it.

A link names its source instead of a wire to it, so that the width is that of a box or a label.
"""

from dataclasses import replace

from spikebridge.analysis.plots.boxes import Box, LinkLabel
from spikebridge.analysis.plots.layout import Layout, Wire

_INDENT = 22.0  # of the labels, beside the wire
_DISTANCE = 10.0
_BOX_DISTANCE = 22.0


def layout_list(boxes: list[Box], labels: list[LinkLabel]) -> Layout:
    """The layout of boxes in their order, and of the labels above their targets."""
    placed: list[LinkLabel] = []
    wires: list[Wire] = []
    y = 0.0

    for box in boxes:
        box.outgoing = []
        box.incoming = []
        box.fit_text()
        incoming = [_with_source(label) for label in labels if label.target is box]
        for label in incoming:
            label.x = _INDENT
            label.y = y + label.height / 2
            y += label.height + _DISTANCE

        box.x = 0.0
        box.y = y + box.height / 2 + (_DISTANCE if incoming else 0.0)
        top = box.y - box.height / 2
        x = _INDENT / 2
        wires += [Wire(label, [(_INDENT, label.y), (x, label.y), (x, top)], curved=False) for label in incoming]
        placed += incoming
        y = top + box.height + _BOX_DISTANCE

    elements: list[Box | LinkLabel] = [*boxes, *placed]
    right = max(element.x + element.width for element in elements)

    return Layout(boxes, placed, wires, left=0.0, right=right, top=0.0, bottom=y - _BOX_DISTANCE)


def _with_source(label: LinkLabel) -> LinkLabel:
    further = [("", label.heading)] if label.heading else []
    return replace(label, heading=f"from {label.source.name}", stages=[*label.stages, *further])
