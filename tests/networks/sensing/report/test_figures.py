"""The figures of the report, on a small recording, with weights that were never trained."""

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
from spikebridge.networks.sensing.report._figures import cost_rows, moving_pictures
from spikebridge.networks.sensing.report.report import _lead, time_constants
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions
from spikebridge.networks.sensing.training.samples import cut_samples

pytestmark = pytest.mark.untyped


@pytest.fixture(scope="module")
def part():
    recording = render_recording(RotatingDisk(height=64, width=64), duration=0.25, dt=1 / 240)
    return RecordingPart(recording, range(1, 10))


@pytest.fixture(scope="module")
def tracker():
    torch.manual_seed(0)
    return SensingTracker(Sensing(1 / 240, SensingOptions(reach=8)).eval(), TrackerOptions(crop=48))


def test_with_declared_times_the_hybrid_looks_at_a_frame_in_its_own_step(part, tracker):
    trusting = tracker.with_options(accept_confidence=0.0)
    at_once = trusting.with_options(synchronous=True)
    late, in_time = (
        streaming(part.recording, one, part.frames, DECLARED["tianjic"].of()).boxes for one in (trusting, at_once)
    )

    assert not np.array_equal(late, in_time)
    assert np.array_equal(streaming_declared(part, trusting, "tianjic").boxes, in_time)


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


def test_a_network_without_an_snn_has_no_cost():
    frames_alone = Sensing(1 / 240, SensingOptions(reach=8, unit="none")).eval()
    assert cost_rows(frames_alone, {}) == []


def test_the_moving_pictures_show_the_window_in_which_the_target_is(part, tracker):
    pictures = moving_pictures(tracker, part)
    # 54 bins, every second one
    assert len(pictures) == 27
    assert len({picture.size for picture in pictures}) == 1 and pictures[0].width >= 64


def test_the_result_in_a_sentence():
    row = {"tracker": "learned", "distance px": 1.2, "of constant velocity": 0.68}
    expected = "The network “learned” is 1.20 px off between frames, 0.68 times as far as constant velocity."
    assert _lead({"trackers": [row]}) == expected
