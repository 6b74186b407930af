"""Replays: what is drawn is what was recorded, in a bounded size, and no text becomes markup."""

import json
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from spikebridge.analysis.replay.lanes import Spikes, Traces
from spikebridge.analysis.replay.live_view import LiveView
from spikebridge.analysis.replay.network import record_network
from spikebridge.analysis.replay.replay import Cause, Film, Reason, Replay
from spikebridge.analysis.report import Section, render_report
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import HybridNetwork, Transmission, every
from spikebridge.neurons import IF

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def data_of(html: str) -> dict:
    """The document that the script of the page reads."""
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
    return json.loads(text)


def test_spikes_are_strokes_by_column_and_row() -> None:
    lane = Spikes("snn", [[1, 0], [1, -1], [0, 0]])
    assert lane.paths(stride=1) == ["M0.1 0h.8M1.1 0h.8", "M1.1 1h.8"]
    assert lane.note == "2 neurons, 3 spikes"
    assert lane.present == [(0, "spike"), (1, "negative spike")]


def test_a_long_line_joins_spikes_of_neighbouring_columns() -> None:
    spikes = np.zeros((200, 2))
    spikes[5:9, 1] = 1
    assert Spikes("snn", spikes).paths(stride=1) == ["M5 1h4"]
    assert Spikes("snn", spikes).paths(stride=4) == ["M1.1 1h.8M2.1 1h.8"]  # steps 5 to 8 are in columns 1 and 2


def test_of_many_neurons_the_most_active_are_drawn_in_their_order() -> None:
    spikes = np.zeros((3, 1000))
    spikes[:, 700] = 1
    spikes[0, 20] = 1
    lane = Spikes("snn", spikes)

    assert len(lane.names) == 64
    assert {"20", "700"} <= set(lane.names)
    assert lane.names == sorted(lane.names, key=int)
    assert lane.note == "the 64 most active of 1,000 neurons, 4 spikes"


def test_traces_keep_every_peak_when_thinned() -> None:
    values = np.zeros(4000)
    values[1234] = 7.0
    lane = Traces("v", {"0": values}, unit="mV")

    assert lane.note == "0 to 7 mV"

    heights = [float(y) for y in re.findall(r" (-?[\d.]+)", lane.paths(stride=4)[0])]
    assert min(heights) == 0.0  # the top of the box
    assert lane.values(stride=4)[0][1234 // 4] == 0.0  # the readout is that of the first step of a column


def test_of_many_lines_those_that_vary_most_are_drawn_in_their_order() -> None:
    lane = Traces("v", {str(n): [0.0, n % 7] for n in range(20)})
    assert lane.names == ["4", "5", "6", "12", "13", "19"]
    assert lane.note == "the 6 most varying of 20 lines, 0 to 6"


def test_a_trace_is_broken_where_there_is_no_value() -> None:
    (path,) = Traces("v", {"0": [0.0, np.nan, 1.0]}).paths(stride=1)
    assert path == "M0.5 100.0M2.5 0.0"
    assert Traces("v", {"0": [np.nan]}).note == "no values"
    assert Traces("v", {"0": [0.0, 1.0]}, steps=True).paths(stride=1) == ["M0 100.0H1V0.0H2"]


def test_a_value_between_steps_without_one_is_a_dot() -> None:
    nan = np.nan
    lane = Traces("v", {"frames alone": [0.0, nan, nan, 1.0], "every": [0.0, 1.0, nan, 0.5]})
    assert lane.points(stride=1) == ["M0.5 100.0h0M3.5 0.0h0", "M3.5 50.0h0"]
    assert lane.points(stride=2) == ["", ""]  # neighbours, of which the line is enough
    assert Traces("v", {"0": [0.0, nan]}, steps=True).points(stride=1) == [""]  # held, which is a line

    html = Replay("x", [lane]).html()
    assert re.findall(r'class="trace point series-(\d)"', html) == ["0", "1"]


def test_parts_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"different numbers of steps: \{'a': 2, 'b': 3\}"):
        Replay("x", [Spikes("a", np.zeros((2, 1))), Traces("b", {"0": [1, 2, 3]})])

    with pytest.raises(ShapeError, match=r"the spikes of 'a' need the shape \(T, N\)"):
        Spikes("a", [1, 0])

    with pytest.raises(ShapeError, match="'a' has 1 neurons, but 2 names"):
        Spikes("a", [[1]], ["x", "y"])

    with pytest.raises(ShapeError, match="1 pictures of a film need as many first steps, but got 0"):
        Film(4, 4, [PIXEL], [])

    with pytest.raises(ShapeError, match=r"the boxes 'a' need the shape \(T, 4\)"):
        Film(4, 4, [], [], {"a": [1, 2]})


def test_causes_are_found_by_column_and_row() -> None:
    lane = Spikes("graph", [[1, 0], [0, 1]], ["all_objects", "red"])
    reasons = {(1, 1): Reason("is red", [Cause(0, 0, "the cube is red")])}
    data = data_of(Replay("x", [lane], reasons=reasons, notes=["objects", "read"]).html())

    assert data["reasons"] == {"1 1": ["is red", [[0, 0, "the cube is red"]]]}
    assert data["notes"] == ["objects", "read"]


def test_boxes_pictures_and_events_stand_at_their_steps() -> None:
    boxes = {"tracker": [[0, 0, 2, 2], [1.24, 0, 2, 2]], "truth": [[np.nan] * 4, [1, 1, 2, 2]]}
    film = Film(8, 6, [PIXEL, PIXEL + "A"], [0, 1], boxes, [[[3, 4, 1], [5, 2, 0]]], [1])
    html = Replay("x", film=film, dt=0.01).html()
    found = data_of(html)["film"]

    assert found["boxes"] == [[[0, 0, 2, 2], [1.2, 0, 2, 2]], [None, [1, 1, 2, 2]]]
    assert found["begins"] == [0, 1]
    assert (found["events"], found["eventBegins"]) == ([["M3 4h1", "M5 2h1"]], [1])
    assert 'class="box box-0" x="0.0"' in html  # the first picture is there without a script
    assert 'class="box box-1" visibility="hidden"' in html


@pytest.mark.untyped
def test_a_page_of_10_000_frames_and_1_000_neurons_is_bounded() -> None:
    draw = np.random.default_rng(0)
    steps = 10_000
    boxes = draw.random((steps, 4)) * 100
    events = [draw.integers(0, 100, (2000, 3)) % [100, 100, 2] for _ in range(500)]
    film = Film(100, 100, [PIXEL + "A" * 8000] * steps, range(steps), {"a": boxes, "b": boxes}, events, range(500))
    lanes = [
        Spikes("snn", draw.random((steps, 1000)) < 0.2),
        Traces("v", {str(n): draw.random(steps) for n in range(50)}),
    ]

    html = render_report("x", [Section("Replay", replays=[Replay("x", lanes, dt=0.001, film=film)])])
    assert len(html) < 4_000_000
    assert "10,000 steps, 10 s; 10 steps in a column; 120 of 10,000 pictures" in html
    assert "the 64 most active of 1,000 neurons" in html
    assert "the 6 most varying of 50 lines" in html


@pytest.mark.parametrize(
    "replay",
    [
        Replay("nothing"),
        Replay("nothing", [Spikes("snn", np.zeros((0, 3))), Traces("v", {"0": []}), Traces("none", {})]),
        Replay("nothing", film=Film(8, 6, [], [], {"a": np.zeros((0, 4))})),
    ],
    ids=["no lanes", "empty lanes", "empty film"],
)
def test_an_empty_recording_says_so(replay: Replay) -> None:
    assert "nothing was recorded" in replay.html()


def test_a_silent_layer_is_shown() -> None:
    html = Replay("x", [Spikes("snn", np.zeros((5, 0))), Spikes("other", np.zeros((5, 2)))]).html()
    assert "0 neurons, 0 spikes" in html
    assert "2 neurons, 0 spikes" in html


def test_no_name_becomes_markup() -> None:
    evil = '</script><script>alert("&")</script>'
    film = Film(8, 6, [PIXEL], [0], {evil: np.zeros((1, 4))})
    lanes = [Spikes(evil, [[1]], [evil], [evil, evil, evil]), Traces(evil, {evil: [1.0]}, evil)]
    replay = Replay(
        evil, lanes, film=film, notes=[evil], reasons={(0, 0): Reason(evil, [Cause(0, 0, evil)])}, word="tick"
    )
    html = render_report(evil, [Section("A", replays=[replay])])

    assert html.count("<script") == 2  # the data, and the script of the package
    assert "alert(" not in re.sub(r"alert\((&#34;|\\\")", "", html)
    assert data_of(html)["notes"] == [evil]


def test_the_network_runs_as_without_a_replay(network: HybridNetwork, inputs: dict[str, Tensor]) -> None:
    replay = record_network(network, inputs, sample=1)
    lanes = {lane.name: lane for lane in replay.lanes}

    assert list(lanes) == [
        "where.lif: spikes",
        "where.lif: membranes",
        "unit where_to_what",
        "unit what_to_where",
        "output of what",
    ]

    outputs, _ = network(inputs)
    spikes = lanes["where.lif: spikes"].values
    torch.testing.assert_close(torch.tensor(spikes), outputs["where"][:, 1].double().detach())

    # the ANN answers at every sixth tick, and its answer is held until the next one
    what = np.array(lanes["output of what"].values(1)).T
    np.testing.assert_allclose(what[::6], outputs["what"][:, 1].detach().numpy(), rtol=1e-3)
    np.testing.assert_array_equal(what[1], what[0])


def test_a_single_neuron_has_a_lane_of_spikes_and_one_of_membranes() -> None:
    network = HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001)},
        parts={"snn": IF(v_threshold=2.0)},
        links=[Transmission("x", "snn")],
        outputs=["snn"],
    )
    replay = record_network(network, {"x": torch.ones(4, 1, 1)})

    assert [(lane.name, lane.note) for lane in replay.lanes] == [
        ("snn: spikes", "1 neuron, 2 spikes"),
        ("snn: membranes", "0 to 1"),
    ]


def test_a_live_view_shows_the_newest_bins() -> None:
    with LiveView("a network", dt=0.01) as view:
        view.add(0, {"answer": [0.5, 0.5]})
        assert view.replay().summary == "1 bin, 0.01 s"


def test_a_live_view_has_the_bins_and_times_of_the_stream() -> None:
    with LiveView("a network", dt=0.01) as view:
        for bin_ in (100, 101, 104):
            view.add(bin_, {"answer": [bin_, 1.0]})

        close = view.replay()
        for bin_ in range(1000, 241_000, 1000):
            view.add(bin_, {"answer": [bin_, 1.0]})

        far = view.replay()

    # few skipped bins have a column each
    assert data_of(close.html())["numbers"] == [100, 101, 102, 103, 104]
    assert close.summary == "5 bins, 0.05 s"
    assert [words for _, words in close._marks()][::4] == ["1000 ms", "1050 ms"]

    # of many the shown ones stand side by side, at their own times
    assert data_of(far.html())["numbers"] == list(range(1000, 241_000, 1000))
    assert far.summary == "240 of 239,001 bins, 2,390 s"
    assert [words for _, words in far._marks()] == ["10 s", "610 s", "1210 s", "1810 s", "2400 s"]


def test_only_the_chosen_layers_are_shown(network: HybridNetwork, inputs: dict[str, Tensor]) -> None:
    assert record_network(network, inputs, layers=[]).lanes[0].name.startswith("unit")
    with pytest.raises(ConfigError, match=r"no layer of neurons 'where\.lfi'; did you mean 'where\.lif'"):
        record_network(network, inputs, layers=["where.lfi"])

    with pytest.raises(ConfigError, match="sample 3 of a batch of 3 is not there"):
        record_network(network, inputs, sample=3)
