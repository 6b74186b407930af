"""Drawings of networks: well-formed, complete, and nothing lies on anything else."""

import re
from collections.abc import Callable
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spikebridge.analysis.plots._list_layout import layout_list
from spikebridge.analysis.plots.boxes import Box, LinkLabel, link_label, network_boxes, text_width
from spikebridge.analysis.plots.layout import Layout, layout_graph, spread
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.analysis.report import Picture
from spikebridge.hybrid import (
    Bernoulli,
    Exponential,
    Hold,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Sliding,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import LIF, Sequential

from .conftest import DT, what_where


def layer(a: int, b: int) -> Sequential:
    return Sequential(fc=nn.Linear(a, b), lif=LIF(dt=DT))


def six_parts() -> HybridNetwork:
    return HybridNetwork(
        dt=DT,
        inputs={"frames": every(6 * DT), "events": every(DT), "tasks": every(6 * DT, phase=5 * DT)},
        parts={
            "retina": layer(300, 64),
            "vision": nn.Linear(256, 32),
            "memory": layer(64, 32),
            "context": nn.Linear(8, 8),
            "fusion": nn.Bilinear(32, 64, 10),
            "motor": layer(10, 4),
        },
        links=[
            Transmission("events", "retina"),
            Transmission("frames", "vision"),
            Transmission("tasks", "context"),
            Transmission("retina", "memory", HybridUnit(None, Exponential(0.02, dt=DT), nn.Linear(64, 64))),
            Transmission("vision", "fusion"),
            Transmission("retina", "fusion", HybridUnit(Sliding(12, 6), Mean()), held=True),
            Transmission("fusion", "motor", HybridUnit(Hold(6), None, None, Bernoulli())),
            Modulation("context", "memory.lif.v_threshold", HybridUnit(None, None, nn.Linear(8, 32)), by="add"),
            Modulation("motor", "retina.lif.tau", HybridUnit(Tumbling(6), Mean()), by="replace", delay=ticks(2)),
            Modulation("memory", "retina.fc.bias", HybridUnit(Tumbling(6), Mean()), delay=ticks(1)),
        ],
        outputs=["motor", "fusion"],
    )


def alone() -> HybridNetwork:
    return HybridNetwork(
        dt=DT,
        inputs={"x": every(DT)},
        parts={"snn": layer(4, 4)},
        links=[Transmission("x", "snn"), Modulation("snn", "snn.lif.v_threshold", by="add", delay=ticks(1))],
        outputs=["snn"],
    )


NETWORKS = {"what and where": what_where, "six parts": six_parts, "one part": alone}
every_network = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)


def words(svg: str) -> list[str]:
    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [text.text or "" for text in texts]


def layout_network(network: HybridNetwork, layout: Callable[..., Layout] = layout_graph) -> Layout:
    boxes = network_boxes(network)
    return layout(list(boxes.values()), [link_label(network, route, boxes) for route in network.routes])


def edges(thing: Box | LinkLabel) -> tuple[float, float, float, float]:
    return thing.x, thing.y - thing.height / 2, thing.x + thing.width, thing.y + thing.height / 2


def overlap(a: Box | LinkLabel, b: Box | LinkLabel) -> bool:
    left, top, right, bottom = edges(a)
    left_b, top_b, right_b, bottom_b = edges(b)
    return left < right_b and left_b < right and top < bottom_b and top_b < bottom


@every_network
def test_boxes_and_chips_cover_nothing(build: type) -> None:
    layout = layout_network(build())
    things = [*layout.boxes, *layout.labels]
    assert [(a, b) for a, b in combinations(things, 2) if overlap(a, b)] == []


@every_network
def test_everything_lies_inside_the_picture(build: type) -> None:
    network = build()
    layout = layout_network(network)
    for thing in [*layout.boxes, *(label for label in layout.labels if label.num_lines)]:
        left, top, right, bottom = edges(thing)
        assert layout.left <= left and right <= layout.right
        assert layout.top <= top and bottom <= layout.bottom

    points = [point for wire in layout.wires for point in wire.points]
    assert all(layout.left <= x <= layout.right and layout.top <= y <= layout.bottom for x, y in points)

    root = ElementTree.fromstring(draw_network(network))
    size = [float(n) for n in root.attrib["viewBox"].split()[2:]]

    assert size[0] >= layout.right - layout.left + 40
    assert size[1] >= layout.bottom - layout.top + 40


@every_network
def test_the_list_of_a_phone_names_everything_and_covers_nothing(build: type) -> None:
    network = build()
    layout = layout_network(network, layout_list)
    things = [*layout.boxes, *layout.labels]

    assert [(a, b) for a, b in combinations(things, 2) if overlap(a, b)] == []
    assert max(edges(thing)[2] for thing in things) <= layout.right <= 340
    # every link leads down to its target, and names its source
    for wire in layout.wires:
        assert wire.points[-1][1] == edges(wire.label.target)[1] > wire.points[0][1]

    narrow = words(draw_network(network).narrow)
    assert narrow.count("modulation") == (1 if "modulation" in words(draw_network(network)) else 0)
    assert sum(text.startswith("from ") for text in narrow) == len(network.routes)


def test_a_network_wider_than_a_page_is_a_list_there_too() -> None:
    parts = {f"part{k}": nn.Linear(8, 8) for k in range(9)}
    names = ["x", *parts]
    chain = HybridNetwork(
        dt=DT,
        inputs={"x": every(DT)},
        parts=parts,
        links=[Transmission(a, b, HybridUnit(None, Mean())) for a, b in pairwise(names)],
        outputs=["part8"],
    )
    short = Picture(draw_network(alone()))
    long = Picture(draw_network(chain))

    assert short.forms == (short.svg, draw_network(alone()).narrow)
    assert long.forms == ("", draw_network(chain).narrow)


@every_network
def test_lanes_cross_no_box(build: type) -> None:
    layout = layout_network(build())
    for wire in (wire for wire in layout.wires if not wire.curved):
        for (x1, y1), (x2, y2) in zip(wire.points[1:], wire.points[2:-1], strict=False):
            for box in layout.boxes:
                left, top, right, bottom = edges(box)
                crosses = min(x1, x2) < right and left < max(x1, x2) and min(y1, y2) < bottom and top < max(y1, y2)
                assert not crosses, (wire.label.source.name, wire.label.target.name, box.name)


@every_network
def test_texts_fit_into_their_boxes(build: type) -> None:
    layout = layout_network(build())
    for box in layout.boxes:
        assert box.height >= 17 * (len(box.lines) + 1)
        assert box.width > 7 * max(len(line) for line in box.lines)

    for label in layout.labels:
        assert label.width >= 6 * max([len(label.heading), len(label.foot), *(len(text) for _, text in label.stages)])


def test_wide_letters_need_more_room() -> None:
    assert text_width("", 12.0) == 0.0
    assert text_width("mm", 10.0) > text_width("ii", 10.0)


def test_the_drawing_names_parts_clocks_units_delays_and_quantities() -> None:
    texts = words(draw_network(six_parts()))
    for text in (
        "retina",
        "SNN · 240 Hz",
        "40 Hz, from tick 5",
        "19,264 parameters",
        "Sliding(12, 6)",
        "Bernoulli",
        "+ lif.v_threshold",
        "= lif.tau",
        "× fc.bias",
        "2 ticks later",
        "held",
        "modulation",
    ):
        assert text in texts, text

    assert texts.count("output") == 2


def test_modulation_is_dashed_and_has_its_own_colour() -> None:
    svg = draw_network(what_where())
    assert re.search(r"\.modulation \.wire \{[^}]*dasharray", svg)
    assert svg.count('<g class="modulation"><path class="wire"') == 2  # the link, and its sign in the legend
    assert "prefers-color-scheme: dark" in svg


def test_names_are_text_and_no_markup() -> None:
    network = HybridNetwork(
        dt=1.0,
        inputs={"a<b&c": every(1.0)},
        parts={"<script>": nn.Identity()},
        links=[Transmission("a<b&c", "<script>")],
        outputs=["<script>"],
    )

    svg = draw_network(network)
    assert "<script>" not in svg
    assert {"<script>", "a<b&c"} <= set(words(svg))


def test_a_drawing_asks_for_nothing_outside() -> None:
    svg = draw_network(six_parts())
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def test_elements_that_do_not_touch_keep_their_positions() -> None:
    assert spread([0.0, 100.0], [10.0, 10.0], distance=2.0) == [0.0, 100.0]


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(1, 50)), max_size=8))
def test_spread_keeps_order_and_distance(things: list[tuple[float, float]]) -> None:
    things.sort()
    wanted = [w for w, _ in things]
    sizes = [s for _, s in things]
    middles = spread(wanted, sizes, distance=5.0)

    for i in range(1, len(things)):
        assert middles[i] - middles[i - 1] >= (sizes[i] + sizes[i - 1]) / 2 + 5 - 1e-6

    if things:  # what is moved one way is moved the other way by others
        assert sum(middles) == pytest.approx(sum(wanted), abs=1e-6)
