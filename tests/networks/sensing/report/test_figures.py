"""The figures of the report, on a small recording, with weights that were never trained."""

import json

import numpy as np
import pytest
import torch

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.simulation.render import render_recording
from spikebridge.networks.sensing.data import RecordingPart
from spikebridge.networks.sensing.evaluation.benchmark import streaming_declared
from spikebridge.networks.sensing.evaluation.protocols import DECLARED, streaming
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.report import figures as sensing_figures
from spikebridge.networks.sensing.report.figures import by_frame_rate, by_speed, cost_rows, figures, moving_pictures
from spikebridge.networks.sensing.report.report import _frame_rates, _lead, time_constants
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions
from spikebridge.networks.sensing.training.samples import cut_samples
from spikebridge.training import Run

pytestmark = pytest.mark.untyped


@pytest.fixture(scope="module")
def part():
    recording = render_recording(RotatingDisk(height=64, width=64), duration=0.25, dt=1 / 240)
    return RecordingPart(recording, range(1, 10))


@pytest.fixture(scope="module")
def tracker():
    torch.manual_seed(0)
    return SensingTracker(Sensing(1 / 240, SensingOptions(reach=8)).eval(), TrackerOptions(crop=48))


def test_fewer_frames_are_a_row_each_as_long_as_there_are_enough(part, tracker):
    rows = by_frame_rate("mine", tracker, [part])
    # nine frames after another; four at half the rate; fewer at a quarter
    assert [(row["frames a second"], row["starts"]) for row in rows] == [(40, 9), (20, 4)]
    assert list(rows[0])[2:] == ["mine", "hold", "constant_velocity", "kalman", "events"]
    assert rows[0]["hold"] < rows[1]["hold"]


def test_bands_of_speed_have_three_methods_each(part, tracker):
    rows = by_speed(tracker, [part])
    assert len(rows) == 3 and rows[0]["to px/s"] == rows[1]["from px/s"] < rows[1]["to px/s"]

    methods = {name.partition(",")[0] + name.split(",")[1] for name in rows[0] if "," in name}
    assert methods == {"ANN offline", "ANN streaming", "hybrid streaming"}
    # a later answer is never better for a target that moves on
    assert all(row["ANN, streaming, px"] >= row["ANN, offline, px"] - 0.5 for row in rows)


def test_with_declared_times_the_hybrid_looks_at_a_frame_in_its_own_step(part, tracker):
    trusting = tracker.with_options(accept_confidence=0.0)
    at_once = trusting.with_options(synchronous=True)
    late, in_time = (
        streaming(part.recording, one, part.frames, DECLARED["tianjic"].of()).boxes for one in (trusting, at_once)
    )

    assert not np.array_equal(late, in_time)
    assert np.array_equal(streaming_declared(part, trusting, "tianjic").boxes, in_time)

    rows = by_speed(trusting, [part])
    assert not trusting.options.synchronous
    assert rows == by_speed(at_once, [part])


def test_every_time_constant_has_its_own_name():
    networks = {"none": Sensing(1 / 240, SensingOptions(unit="none")), "learned": Sensing(dt=1 / 240)}
    rows = [(row["network"], row["of"], row["mean ms"]) for row in time_constants(networks)]

    # a network without a unit has no SNN
    assert rows == [
        ("learned", "membranes of the SNN", 13.0),
        ("learned", "hybrid unit", 100.0),
    ]


def test_the_cost_of_the_ann_in_every_bin_is_that_many_times_one_frame(part, tracker):
    samples = cut_samples(part.recording, range(3, 4), 48)
    inputs = {"frames": samples.frames[None], "boxes": samples.boxes[None], "events": samples.events}
    rows = {row["part"]: row for row in cost_rows(tracker.sensing, inputs)}

    assert rows["the ANN in every bin"]["MAC"] == 6 * rows["what"]["MAC"]
    assert rows["all"]["of all"] == 1 and rows["where"]["MAC"] == 0 and rows["where"]["spike additions"] > 0
    # 5 x 5 taps twice and 8 x 3 x 3 taps, 8 channels, 24 x 24 cells
    assert rows["what"]["MAC"] == (25 + 25 + 72) * 8 * 24 * 24


def test_a_network_without_an_snn_has_neither_its_line_nor_a_cost(part, monkeypatch):
    monkeypatch.setattr(sensing_figures, "_MAX_STARTS", 4)
    monkeypatch.setattr(sensing_figures, "_KEEP_EVERY", (1,))
    frames_alone = SensingTracker(
        Sensing(1 / 240, SensingOptions(reach=8, unit="none")).eval(), TrackerOptions(crop=48)
    )
    (row,) = by_frame_rate("frames", frames_alone, [part])

    assert list(row) == ["frames a second", "starts", "frames", "hold", "constant_velocity", "kalman"]
    assert cost_rows(frames_alone.sensing, {}) == []


def test_the_moving_pictures_show_the_window_in_which_the_target_is(part, tracker):
    pictures = moving_pictures(tracker, part)
    # 54 bins, every second one
    assert len(pictures) == 27
    assert len({picture.size for picture in pictures}) == 1 and pictures[0].width >= 64


def test_lines_over_the_frame_rate_have_a_place_for_each_rate():
    rows = [{"frames a second": rate, "starts": 9, "ann_hold": 40 / rate} for rate in (40.0, 20.0)]
    (section,) = _frame_rates(rows)
    picture = section.pictures[0].svg

    assert all(f">{text}</text>" in picture for text in ("40", "20", "ann hold", "mean distance [px]"))
    assert _frame_rates(rows[:1]) == []


def test_the_result_in_a_sentence():
    row = {"tracker": "learned", "distance px": 1.2, "of constant velocity": 0.68}
    expected = "The network “learned” is 1.20 px off between frames, 0.68 times as far as constant velocity."
    assert _lead({"trackers": [row]}) == expected


def test_figures_are_kept_until_the_run_has_new_results(part, tracker, tmp_path, monkeypatch):
    run = Run(tmp_path, "sensing", {})
    run.save_results({})

    # too few frames
    assert figures(run, "mine", tracker, [part]) == {"by frame rate": [], "by speed": []}

    kept = json.loads((tmp_path / "figures.json").read_text())
    monkeypatch.setattr(sensing_figures, "_MIN_FRAMES", 1)
    monkeypatch.setattr(sensing_figures, "by_frame_rate", lambda *_: ["measured"])
    monkeypatch.setattr(sensing_figures, "by_speed", lambda *_: ["measured"])

    assert figures(run, "mine", tracker, [part]) == kept

    (tmp_path / "figures.json").unlink()
    assert figures(run, "mine", tracker, [part])["by speed"] == ["measured"]
