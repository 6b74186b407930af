"""HTML that a notebook shows: a picture, or a page in a frame, in which every name is text."""

import html
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from spikebridge import _notebook
from spikebridge.analysis.notebook import bundle_html
from spikebridge.analysis.plots.bundle_diagram import draw_bundle
from spikebridge.analysis.plots.figures import accuracy_lines, to_svg
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.analysis.replay.lanes import Spikes
from spikebridge.analysis.replay.replay import Replay
from spikebridge.analysis.report import Section
from spikebridge.deploy.compare import Comparison, ComparisonRow
from spikebridge.hybrid import HybridNetwork, Transmission, every
from spikebridge.training.run.run import Run

EVIL = '"><script>alert(1)</script>'


def named_network(name: str) -> HybridNetwork:
    """A network whose only part has the name."""
    return HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001)},
        parts={name: nn.Identity()},
        links=[Transmission("x", name)],
        outputs=[name],
    )


def named_manifest(name: str) -> dict[str, Any]:
    """The values of a manifest that a drawing reads, with one part of the name."""
    clock = {"clock": {"period": 1, "phase": 0}, "shape": [2]}
    part = {**clock, "side": "ann", "spikes": False, "file": name}
    return {"dt": 0.001, "inputs": {"x": clock}, "parts": {name: part}, "order": [name], "outputs": [], "links": []}


def finished_run(folder: Path, name: str) -> Run:
    run = Run.create(folder / "run", name, {})
    run.log({"kind": "epoch", "epoch": 1, "loss": 0.5})
    run.save_results({"accuracy": 0.9, "networks": [{"network": name, "accuracy": 0.9}]})
    return run


def comparison(name: str) -> Comparison:
    rows = [ComparisonRow("runner", "part", f"part {k}", 1e-7 * k, 1.0, None, None, True) for k in range(30)] + [
        ComparisonRow(name, "part", "snn", 0.5, 1.0, 0.25, 3, False)
    ]
    return Comparison(tuple(rows))


def shown(name: str, folder: Path) -> dict[str, Any]:
    """An object of each kind, all of which hold the name."""
    manifest = named_manifest(name)
    return {
        "network": named_network(name),
        "diagram": draw_network(named_network(name)),
        "diagram of a bundle": draw_bundle(manifest),
        "chart": to_svg(accuracy_lines([0, 1], {name: [1, 2]}, "x")),
        "replay": Replay(name, [Spikes(name, np.eye(2))]),
        "section": Section(name, name),
        "comparison": comparison(name),
        "run": finished_run(folder, name),
        "bundle": SimpleNamespace(_repr_html_=lambda: bundle_html(name, manifest, 10)),
    }


def test_every_kind_of_object_is_drawn_and_its_names_are_text(tmp_path: Path) -> None:
    for kind, value in shown(EVIL, tmp_path / "evil").items():
        page = value._repr_html_()
        assert "<script>alert" not in page, kind

        frame = re.fullmatch(
            r'<iframe srcdoc="([^"]*)" sandbox="allow-scripts" style="[^"]*" title="[^"]*"></iframe>', page
        )
        # a frame is one element, and the page inside has text, too
        inside = html.unescape(frame[1]) if frame else page
        assert "<script>alert" not in inside, kind
        assert "alert(1)" in inside, kind
        assert inside.startswith(("<!doctype html>", "<svg", "<p>")), kind


def test_a_run_without_results_shows_its_settings(tmp_path: Path) -> None:
    page = Run.create(tmp_path / "new", "digits", {})._repr_html_()
    assert "No results yet." in page
    assert "No metrics were recorded." in page


def test_without_the_packages_that_draw_a_notebook_shows_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spikebridge.analysis.notebook", None)
    assert _notebook.notebook_html("section_html", Section("x")) is None


def test_a_comparison_prints_one_line_a_level() -> None:
    lines = str(comparison("onnxruntime")).splitlines()
    assert [line.split() for line in lines] == [
        ["level", "compared", "passed", "differs", "most", "by", "of"],
        ["runner", "30", "yes", "part", "29", "2.9e-06", "1"],
        ["onnxruntime", "1", "no", "snn", "0.5", "1"],
    ]
    assert str(Comparison(())) == "nothing was compared"
