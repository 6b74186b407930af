"""Figures show the numbers that they were given."""

from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from spikebridge.analysis.plots.figures import (
    accuracy_bars,
    accuracy_lines,
    heat_map,
    impulse_response,
    membrane_traces,
    raster,
    to_svg,
    unit_kernels,
)
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import FIR, Alpha, Exponential, HybridUnit, Mean, Tumbling


def figures() -> dict[str, Figure]:
    spikes = torch.tensor([[1.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    units = {"exponential": HybridUnit(None, Exponential(0.01, dt=0.001)), "bare": HybridUnit()}

    return {
        "raster": raster(spikes, dt=0.001, title="spikes"),
        "membranes": membrane_traces(spikes * 0.3, dt=0.001, spikes=spikes, v_threshold=1.0),
        "kernels": unit_kernels(units),
        "heat map": heat_map([[1.0, float("nan")], [3.0, 4.0]], ["a", "b"], [1, 2], marks=[[True, False]] * 2),
        "bars": accuracy_bars({"hybrid": [90.0, 92.0], "ann": [88.0]}),
        "lines": accuracy_lines([0, 1], {"hybrid": [[90, 92], [80, 82]], "ann": [88, 77]}, "noise"),
    }


def test_a_raster_has_a_mark_for_every_spike() -> None:
    axes = figures()["raster"].axes[0]
    up, down = axes.lines
    assert list(zip(up.get_xdata(), up.get_ydata(), strict=True)) == [(0.0, 0), (2.0, 0), (2.0, 1)]
    assert list(zip(down.get_xdata(), down.get_ydata(), strict=True)) == [(1.0, 1)]


def test_membranes_have_a_row_each_with_marks_at_their_spikes() -> None:
    rows = figures()["membranes"].axes
    assert len(rows) == 2

    membrane, threshold, marks = rows[0].lines
    assert membrane.get_ydata() == pytest.approx([0.3, 0.0, 0.3])
    assert list(threshold.get_ydata()) == [1.0, 1.0, 1.0]
    assert list(marks.get_xdata()) == [0.0, 2.0]


def test_kernels_are_shown_by_their_answer_to_a_pulse() -> None:
    assert impulse_response(Mean(), 4).tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])

    taps = FIR(2, (3,))
    with torch.no_grad():
        taps.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))

    assert impulse_response(taps, 3).tolist() == [[1, 2, 3], [4, 5, 6], [0, 0, 0]]

    figure = unit_kernels({"alpha": HybridUnit(None, Alpha(0.004, dt=0.001))}, num_steps=20, dt=0.001)
    line = figure.axes[0].lines[0]

    assert line.get_xdata()[int(np.argmax(line.get_ydata()))] == pytest.approx(4.0)  # the peak after tau
    with pytest.raises(ConfigError, match="none of the units bare has a kernel"):
        unit_kernels({"bare": HybridUnit(Tumbling(2), None, nn.Identity())})


def test_a_heat_map_writes_every_number_and_frames_the_marked() -> None:
    axes = figures()["heat map"].axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.0", "3.0", "4.0"]

    frames = [patch for patch in axes.patches if not patch.get_fill()]
    assert len(frames) == 2
    with pytest.raises(ShapeError, match=r"2 rows and 1 columns got values of shape \(1, 2\)"):
        heat_map([[1.0, 2.0]], ["a", "b"], ["c"])


def test_bars_and_lines_show_means_and_spread() -> None:
    bars = figures()["bars"].axes[0]
    bar = bars.patches[0]
    spread = np.std([90, 92], ddof=1)

    assert (bar.get_x(), bar.get_width()) == pytest.approx((91 - spread, 2 * spread))
    assert [text.get_text() for text in bars.texts] == ["91 ± 1.4", "88"]
    assert bars.get_xlim()[0] < 88 - 0.01  # no bar or point is cut

    lines = figures()["lines"].axes[0].lines
    assert list(lines[0].get_ydata()) == [91, 81]
    with pytest.raises(ShapeError, match="'hybrid' has 1 values for 2 places"):
        accuracy_lines([0, 1], {"hybrid": [1.0]}, "noise")

    with pytest.raises(ShapeError, match="at least one number"):
        accuracy_bars({"hybrid": []})


@pytest.mark.parametrize("name", figures())
def test_every_figure_becomes_svg_that_follows_the_page(name: str) -> None:
    svg = to_svg(figures()[name], title="what < it & shows")
    root = ElementTree.fromstring(svg)

    assert root.find("{http://www.w3.org/2000/svg}title").text == "what < it & shows"  # type: ignore[union-attr]

    body = svg.split("</style>", 1)[1]
    assert "currentColor" in body
    assert "var(--sb-series-0)" in body
    assert "#0a0b0c" not in body and "#2f6fd0" not in body
    assert "prefers-color-scheme" in svg
    assert "<metadata>" not in svg


def test_pictures_on_one_page_share_no_names() -> None:
    one, other = (to_svg(figures()[name]) for name in ("bars", "lines"))

    def ids(svg: str) -> set[str]:
        return {element.attrib["id"] for element in ElementTree.fromstring(svg).iter() if "id" in element.attrib}

    assert ids(one) & ids(other) == set()
    for svg in (one, other):
        for element in ElementTree.fromstring(svg).iter():
            target = element.attrib.get("{http://www.w3.org/1999/xlink}href", "#")[1:]
            assert not target or target in ids(svg)


def test_the_same_figure_gives_the_same_file() -> None:
    assert to_svg(figures()["bars"]) == to_svg(figures()["bars"])


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"spikes need the shape \(T, N\), but got \(3,\)"):
        raster([1.0, 0.0, 1.0], dt=0.001)
    with pytest.raises(ShapeError, match=r"membranes need the shape \(T, N\), but got \(2, 1, 1\)"):
        membrane_traces(torch.zeros(2, 1, 1), dt=0.001)


def test_a_kernel_with_a_time_constant_a_channel_answers_in_every_channel() -> None:
    kernel = Exponential(torch.tensor([1.0, 2.0]).reshape(2, 1, 1), dt=1.0)
    answer = impulse_response(kernel, 3)
    assert answer.shape == (3, 2, 1, 1)
    torch.testing.assert_close(answer[1].flatten(), torch.exp(-1 / torch.tensor([1.0, 2.0])))
