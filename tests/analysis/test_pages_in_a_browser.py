"""Pages in a real browser: a click, a slider, keys, the width of a phone, no error, and nothing asked of the network.

The system's Chromium is driven by Playwright. Where one of them is missing the tests are skipped, or fail with
SPIKEBRIDGE_REQUIRE_BROWSER=1. One browser serves all tests.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from browser import DESKTOP, PHONE, Visit
from spikebridge.analysis.comparison import RunRecord, compare_runs
from spikebridge.analysis.learning_curves import learning_curves
from spikebridge.analysis.pick_box import _page, pick_box
from spikebridge.analysis.plots.figures import (
    accuracy_bars,
    accuracy_lines,
    confusion_matrix,
    membrane_traces,
    raster,
    to_svg,
    unit_kernels,
)
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.analysis.plots.series import marked_signal
from spikebridge.analysis.replay.lanes import Spikes, Traces
from spikebridge.analysis.replay.live_view import LiveView
from spikebridge.analysis.replay.network import record_network
from spikebridge.analysis.replay.replay import Replay
from spikebridge.analysis.report import Picture, Section, Table, render_report
from spikebridge.data.events.binned import bin_sparse
from spikebridge.data.events.events import make_events
from spikebridge.data.recordings.recording import Recording
from spikebridge.hybrid import Exponential, HybridUnit
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.explain.explain import explain
from spikebridge.networks.reasoning.explain.page import as_html
from spikebridge.networks.sensing.report.track_page import TrackedBoxes, track_page

from .conftest import DT, what_where

pytestmark = pytest.mark.untyped

EVIL = '<script>alert("x")</script>'


def network_page() -> str:
    draw = torch.Generator().manual_seed(1)
    events = (torch.rand(24, 1, 6, generator=draw) < 0.4).float()
    inputs = {"frames": torch.randn(4, 1, 12, generator=draw), "events": events}
    return render_report("A network", [Section("Replay", replays=[record_network(what_where(), inputs)])])


def graph_page() -> str:
    scene = Scene.from_lists(
        1, [["red", "metal", "cube"], ["blue", "rubber", "sphere"]], [[0, [[0, 9.0, 9.0], [1, 5.0, 5.0]]]], [[5, 0, 1]]
    )
    return as_html(
        explain(scene, ["objects", "cube", "filter_shape", "unique", "query_color"]), "What color is the cube?"
    )


def recording(num_bins: int = 60) -> Recording:
    """A bright square that moves to the right, with events at its edge and true boxes."""
    at = np.arange(num_bins)
    frames = np.zeros((num_bins // 6, 48, 64), np.uint8)
    for k, frame in enumerate(frames):
        frame[20:30, 6 * k // 2 : 6 * k // 2 + 10] = 200

    t = (at * DT * 1e6).astype(int)
    events = make_events(
        t=np.repeat(t, 4), x=np.repeat(at // 2 + 10, 4), y=np.tile([20, 23, 26, 29], num_bins), p=np.ones(4 * num_bins)
    )
    bins = bin_sparse(events, 48, 64, dt=DT, num_bins=num_bins)
    boxes = np.stack([at / 2, at * 0 + 20.0, at * 0 + 10.0, at * 0 + 10.0], axis=1)
    times = np.arange(len(frames)) * 6 * DT

    return Recording(
        "a square", DT, bins, frames, times, np.zeros(len(frames), np.int64), boxes[::6][: len(frames)], boxes
    )


def square_page() -> str:
    seen = recording()
    lost = np.arange(60) > 50
    track = TrackedBoxes(0, seen.boxes + 1.5, np.linspace(1, 0.2, 60), lost)
    summary = {"num_boxes": 60, "mean_confidence": 0.6, "reported_lost_share": 0.15, "recording": "a square"}

    return track_page(seen, track, summary)


def report_page() -> str:
    rows = [{"network": EVIL, "a rather long name of a number": 1.5, "text": "many words " * 20} for _ in range(3)]
    metrics = {
        f"{name}/seed-{s}": [{"epoch": k, "loss": 1 / k + s} for k in range(1, 9)]
        for name in ("a", EVIL)
        for s in (0, 1)
    }

    sections = [
        Section("Table", "x" * 300, [Table(rows, "Numbers", marked=[0]), Table(rows, "More", folded=True)]),
        learning_curves(metrics),
        Section("Network", pictures=[Picture(draw_network(what_where()), "Drawn")]),
    ]
    return render_report(
        EVIL, sections, {"seed": 1, "path": "/a/very/long/path" * 8}, "spikebridge " + "--option value " * 9
    )


def comparison_page() -> str:
    runs = [RunRecord(f"run-{k}", {"lr": k}, {"acc": [{"net": "a" * 40, "x": 0.1 * k}]}) for k in range(4)]
    return render_report("Comparison", compare_runs(runs))


def charts_page() -> str:
    draw = np.random.default_rng(0)
    spikes = draw.random((60, 8)) < 0.2
    names = ["a network", "another one with a long name", "snn"]
    figures = [
        accuracy_bars({name: draw.normal(90, 2, 3) for name in names}),
        accuracy_lines(
            range(9), {name: draw.normal(90, 2, (9, 3)) for name in names}, "epoch", validation={"snn": range(9)}
        ),
        confusion_matrix(draw.integers(0, 90, (10, 10)) + 500 * np.eye(10), range(10)),
        confusion_matrix(draw.integers(0, 90, (13, 13)), range(13)),
        confusion_matrix(draw.integers(0, 90, (6, 6)), ["walking upstairs", "b", "c", "d", "e", "f"]),
        raster(spikes, DT, "A title that is longer than the picture is wide"),
        membrane_traces(draw.random((60, 3)), DT, spikes[:, :3], 1.0),
        unit_kernels({"unit": HybridUnit(None, Exponential(0.01, dt=0.001))}),
        marked_signal(draw.random(99), 100, {"true beats": np.array([10]), "detected beats": np.array([40])}, "mV"),
    ]
    return render_report("Charts", [Section("Charts", pictures=[Picture(to_svg(figure)) for figure in figures])])


def box_page() -> str:
    return _page(np.full((48, 64), 90, np.uint8), np.array([4.0, 5.0, 10.0, 8.0])).decode()


PAGES = {
    "charts": charts_page,
    "box": box_page,
    "network": network_page,
    "graph": graph_page,
    "track": square_page,
    "report": report_page,
    "comparison": comparison_page,
    "empty": lambda: render_report(
        "Empty", [Section("Replay", replays=[Replay("nothing", [Spikes("a", np.zeros((0, 2)))])])]
    ),
}


def test_every_page_is_readable_on_a_phone_and_on_a_desk_in_both_schemes(visit: Callable[..., Visit]) -> None:
    faults = {}
    for name, page in PAGES.items():
        seen = visit(page(), PHONE)
        faults[f"{name} on a phone"] = seen.unreadable()
        seen.page.set_viewport_size(DESKTOP)
        faults[f"{name} on a desk"] = seen.unreadable()

    assert {name: lines for name, lines in faults.items() if lines} == {}


def test_the_slider_and_the_keys_move_the_cursor(visit: Callable[..., Visit]) -> None:
    seen = visit(network_page())
    assert seen.step == "tick 0 · 0 ms"

    seen.page.locator("input[type=range]").fill("12")
    assert seen.step.startswith("tick 12 ·")
    assert seen.page.evaluate("document.querySelector('.replay').style.getPropertyValue('--at')") == str(12.5 / 24)

    seen.page.locator(".replay").focus()
    for key, step in (("ArrowRight", 13), ("ArrowLeft", 12), ("End", 23), ("ArrowRight", 23), ("Home", 0)):
        seen.page.keyboard.press(key)
        assert seen.step.startswith(f"tick {step} ·")

    seen.page.locator(".forth").click()
    assert seen.step.startswith("tick 1 ·")


def test_keys_need_no_click(visit: Callable[..., Visit]) -> None:
    seen = visit(network_page())
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        seen.page.keyboard.press(key)
        assert seen.step.startswith(f"tick {step} ·")

    # space plays and pauses without focus and on the slider, and the page stays where it is
    for element in (None, "input[type=range]"):
        if element is not None:
            seen.page.locator(element).focus()

        for label in ("pause", "play"):
            seen.page.keyboard.press("Space")
            assert seen.page.locator(".play").get_attribute("aria-label") == label

    assert seen.page.evaluate("scrollY") == 0

    # on a button space presses it
    seen.page.locator(".play").focus()
    seen.page.keyboard.press("Space")
    assert seen.page.locator(".play").get_attribute("aria-label") == "pause"


def test_keys_of_a_page_with_two_replays_go_to_the_one_in_view(visit: Callable[..., Visit]) -> None:
    lane = Spikes("a", np.zeros((9, 64)))
    replays = [Replay(name, [lane, lane, lane]) for name in ("first", "second")]
    seen = visit(render_report("x", [Section("A", replays=replays)]), {"width": 390, "height": 500})
    seen.page.keyboard.press("ArrowRight")
    seen.page.evaluate("scrollTo({ top: document.body.scrollHeight, behavior: 'instant' })")
    seen.page.keyboard.press("ArrowRight")
    seen.page.keyboard.press("ArrowRight")

    assert seen.page.locator("output").all_inner_texts() == ["step 1", "step 2"]


def test_the_controls_never_cover_the_film(visit: Callable[..., Visit]) -> None:
    seen = visit(square_page(), PHONE)
    for top in range(0, 900, 150):
        seen.page.evaluate(f"scrollTo({{ top: {top}, behavior: 'instant' }})")
        film, controls = (seen.page.locator(name).bounding_box() for name in (".film", ".controls"))
        assert controls["y"] >= film["y"] + film["height"]


def test_a_folded_section_opens_from_the_contents(visit: Callable[..., Visit]) -> None:
    sections = [Section(name, "x", folded=name == "Inside") for name in ("A", "B", "Inside")]
    seen = visit(render_report("x", sections))
    assert not seen.page.locator("#inside").is_visible()

    seen.page.locator("nav a", has_text="Inside").click()
    assert seen.page.locator("#inside").is_visible()


def test_a_box_is_drawn_with_keys_alone(browser: Any) -> None:
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    keys = ["ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowDown", "Enter"]

    def draw(address: str) -> bool:
        page.goto(address)
        for key in keys:
            page.keyboard.press(key)
        return True

    box = pick_box(np.full((48, 64), 90, np.uint8), np.array([4.0, 5.0, 10.0, 8.0]), open_page=draw)
    assert box.tolist() == [6, 4, 10, 9]

    context.close()


def test_the_numbers_of_a_step_stand_beside_the_names(visit: Callable[..., Visit]) -> None:
    values = {"v": [0.25, 0.5, None]}
    lane = Traces("membranes", {"v": np.array(values["v"], dtype=float)})
    seen = visit(render_report("x", [Section("A", replays=[Replay("x", [lane])])]))
    shown = []

    for step in range(3):
        seen.page.locator("input[type=range]").fill(str(step))
        shown.append(seen.text(".value"))

    assert shown == ["0.25", "0.5", "–"]


def test_play_runs_to_the_end_and_can_be_paused(visit: Callable[..., Visit]) -> None:
    seen = visit(network_page())
    seen.page.locator(".replay").focus()
    seen.page.keyboard.press("Space")
    seen.wait("input", lambda slider: int(slider.input_value()) >= 2)
    seen.page.locator(".play").click()
    paused = seen.step

    assert seen.page.locator(".play").get_attribute("aria-label") == "play"

    seen.page.wait_for_timeout(300)
    assert seen.step == paused

    seen.page.locator("input[type=range]").fill("22")
    seen.page.locator(".play").click()
    seen.wait(".play", lambda button: button.get_attribute("aria-label") == "play")

    assert seen.step.startswith("tick 23 ·")


def test_a_click_on_a_spike_shows_its_cause(visit: Callable[..., Visit]) -> None:
    seen = visit(graph_page())
    plot = seen.page.locator(".plot.raster")
    names = seen.page.locator(".names span").all_inner_texts()
    box = plot.bounding_box()
    steps = int(seen.page.locator("input[type=range]").get_attribute("max")) + 1

    def click(step: int, name: str) -> str:
        row = names.index(name)
        place = {"x": box["width"] * (step + 0.5) / steps, "y": box["height"] * (row + 0.5) / len(names)}
        plot.click(position=place)
        return seen.text(".chosen")

    last = click(steps - 1, "red")  # the answer
    assert last.startswith(f"red at step {steps - 1}: red")
    assert "needed" in last and "red cube is red" in last
    assert seen.step == f"step {steps - 1}"
    assert seen.page.locator(".ring.cause").count() >= 2

    # the causes are buttons that lead further back, up to an instruction
    seen.page.locator(".chosen button", has_text="kind_color").click()
    assert "kind_color at step" in seen.text(".chosen")
    assert "It came from outside." in seen.text(".chosen")
    assert "all_objects at step 0" in click(0, "all_objects")


def test_the_boxes_follow_the_slider(visit: Callable[..., Visit]) -> None:
    seen = visit(square_page())
    rect = seen.page.locator(".film .box-0")
    first = seen.page.locator(".film image").get_attribute("href")

    assert (rect.get_attribute("x"), rect.get_attribute("width")) == ("1.5", "11.5")

    seen.page.locator("input[type=range]").fill("40")
    assert rect.get_attribute("x") == "21.5"
    assert seen.page.locator(".film .box-1").get_attribute("x") == "20"
    assert seen.page.locator(".film image").get_attribute("href") != first
    assert seen.page.locator(".film .event.on").get_attribute("d").startswith("M")

    distance = seen.page.locator(".key", has_text="distance").locator(".value")
    assert float(distance.inner_text()) == pytest.approx(np.hypot(2.25, 2.25), rel=1e-3)


def test_a_browser_without_scripts_shows_the_whole_recording(visit: Callable[..., Visit]) -> None:
    seen = visit(square_page(), java_script_enabled=False)
    assert seen.page.locator(".plot svg path").count() >= 4
    assert seen.page.locator(".film image").get_attribute("href").startswith("data:image/webp")
    assert not seen.page.locator(".controls").is_visible()
    assert seen.page.locator(".axis-marks span").count() == 5


def test_no_name_runs_as_a_script(visit: Callable[..., Visit]) -> None:
    alerts: list[str] = []
    lanes = [Spikes(EVIL, [[1], [1]], [EVIL], [EVIL] * 3), Traces(EVIL, {EVIL: [1.0, 2.0]})]
    replay = Replay(EVIL, lanes, notes=[EVIL, EVIL])
    seen = visit(render_report(EVIL, [Section(EVIL, EVIL, replays=[replay])]))
    seen.page.on("dialog", lambda dialog: alerts.append(dialog.message))
    seen.page.locator(".plot.raster").click()

    assert EVIL in seen.text(".chosen")

    # even where one got in, the page allows no script but its own
    seen.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)>')")
    seen.page.wait_for_timeout(100)

    assert alerts == []
    assert all("Content Security Policy" in error for error in seen.errors)

    seen.errors.clear()
    seen.requests.clear()


def test_a_live_page_follows_the_stream_and_stops_with_it(browser: Any) -> None:
    context = browser.new_context(viewport=PHONE)
    seen = Visit(context.new_page())
    picture = np.full((12, 16), 100, np.uint8)

    with LiveView("a stream", dt=0.01) as view:
        seen.page.goto(view.address)
        for b in range(5):
            view.add(b, {"answer": [0.5, b / 10], "spikes": [0, 1, b % 2]}, picture, [b, 1, 4, 4])

        seen.wait(".state", lambda state: state.inner_text() == "live, bin 4")
        assert seen.step == "bin 4 · 40 ms"
        assert seen.page.locator(".film .box-0").get_attribute("x") == "4"
        assert [text.split("\n")[0] for text in seen.page.locator(".lane-head b").all_inner_texts()] == [
            "answer",
            "spikes",
        ]

        # a reader who looks back is not disturbed, and follows again at the end
        seen.page.locator("input[type=range]").fill("2")
        view.add(5, {"answer": [0.5, 0.5], "spikes": [0, 0, 0]})
        seen.wait(".state", lambda state: state.inner_text().startswith("paused"))

        assert seen.step == "bin 2 · 20 ms"

        seen.page.locator(".replay").focus()
        seen.page.keyboard.press("End")
        view.add(6, {"answer": [0.5, 0.5], "spikes": [0, 0, 0]})
        seen.wait(".state", lambda state: state.inner_text() == "live, bin 6")

        assert seen.unreadable() == []

        origin = view.address

    seen.wait(".state", lambda state: state.inner_text() == "the stream has ended")
    assert seen.step.startswith("bin 6")
    assert seen.errors == []
    assert {url for url in seen.requests if not url.startswith("data:")} == {origin, f"{origin}events"}

    context.close()
