"""Drawings of bundles: every file has its place, and what goes from one side to the other is marked."""

from dataclasses import asdict
from itertools import combinations
from xml.etree import ElementTree

import pytest

from spikebridge.analysis.plots.bundle_diagram import _boxes, _link_label, draw_bundle
from spikebridge.analysis.plots.layout import layout_graph
from spikebridge.deploy import Bundle

pytestmark = pytest.mark.untyped


def test_every_file_but_the_sample_stands_in_the_picture(small: Bundle, spiking: Bundle) -> None:
    for bundle in (small, spiking):
        svg = draw_bundle(asdict(bundle.manifest))
        texts = [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
        steps = {part.initial for part in bundle.manifest.parts.values()}  # the state of a step lies beside it
        drawn = {name for name in bundle.manifest.files if not name.startswith("sample/")} - steps

        assert drawn <= set(texts)
        assert {*bundle.manifest.inputs, *bundle.manifest.parts} <= set(texts)
        # a notebook shows the same picture
        assert svg in str(bundle._repr_html_())


def test_links_between_the_sides_are_marked_and_no_others(small: Bundle) -> None:
    manifest = small.manifest
    sides = {name: part.side for name, part in manifest.parts.items()}
    between = [link for link in manifest.links if {sides.get(link.source), sides[link.target]} == {"ann", "snn"}]

    assert between
    assert draw_bundle(asdict(manifest)).count('class="cut"') == len(between) + 1  # and the sign in the legend


def test_nothing_covers_anything(small: Bundle) -> None:
    manifest = asdict(small.manifest)
    boxes = _boxes(manifest)
    layout = layout_graph(list(boxes.values()), [_link_label(link, boxes) for link in manifest["links"]])

    for a, b in combinations([*layout.boxes, *layout.labels], 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x
        assert apart or abs(a.y - b.y) >= (a.height + b.height) / 2 - 1e-9
