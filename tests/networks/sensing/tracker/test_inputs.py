"""Inputs of a tracker: which ones are refused, and arrays that a camera fills again."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.events.binned import BinEvents
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.errors import DataError
from spikebridge.networks.sensing.detection.patches import _scaling
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.native.orientation import _cell_means, _weights
from spikebridge.networks.sensing.tracker.detectors import DetectorName
from spikebridge.networks.sensing.tracker.inputs import check_inputs, num_bins
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions

pytestmark = pytest.mark.untyped

DT = 0.005


@pytest.fixture(scope="module")
def recording() -> Recording:
    return render_recording(RotatingDisk(height=64, width=64), duration=0.15, dt=DT)


@pytest.fixture
def single_precision_afterwards() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


def new_tracker() -> SensingTracker:
    torch.manual_seed(0)
    return SensingTracker(Sensing(DT, SensingOptions(num_features=4, reach=6)).eval(), TrackerOptions(crop=48))


def first_step(**others: Any) -> dict[str, Any]:
    nothing = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
    frame = np.zeros((64, 64), np.uint8)
    step = {"events": nothing, "elapsed": DT, "frame": frame, "frame_age": DT, "box": np.array([30.0, 9, 15, 14])}
    return {name: value for name, value in {**step, **others}.items() if value is not None}


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"elapsed": 0.0}, "elapsed: .* above 0, but got 0.0"),
        ({"elapsed": float("nan")}, "elapsed: .* above 0, but got nan"),
        ({"frame_age": None}, "frame_age: .* but got None"),
        ({"frame_age": -DT}, "frame_age: .* but got -0.005"),
        ({"frame": np.full((64, 64), 0.5)}, r"frame: .* but got float64 of shape \(64, 64\)"),
        ({"frame": np.zeros((64, 64, 4), np.uint8)}, r"frame: .* but got uint8 of shape \(64, 64, 4\)"),
        ({"frame": [[0]]}, "frame: .* but got list"),
    ],
)
def test_inputs_without_a_meaning_are_refused_with_a_reason(others: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_inputs(first_step(**others), None)  # type: ignore[arg-type]


def test_a_tracker_refuses_a_frame_of_another_size(recording: Recording) -> None:
    tracker = new_tracker()
    _, state = tracker.step({**recording.inputs(0, 1), "box": recording.frame_boxes[0]}, None)
    with pytest.raises(DataError, match=r"rows and columns \(64, 64\) as before, but got \(32, 64\)"):
        tracker.step({**recording.inputs(5, 6), "frame": np.zeros((32, 64), np.uint8)}, state)


@pytest.mark.parametrize("calibrate", [False, True])
def test_a_frame_may_come_at_the_very_end_of_a_step(recording: Recording, calibrate: bool) -> None:
    tracker = new_tracker().with_options(calibrate=calibrate)
    state = None

    for b in range(0, recording.num_bins):
        given: Any = {"box": recording.frame_boxes[0]} if b == 0 else {}
        late: Any = {**recording.inputs(b, b + 1), **given}
        late |= {"frame_age": 0.0} if "frame" in late else {}
        box, state = tracker.step(late, state)

        assert np.isfinite(box).all()


def test_a_stream_resumes_at_once_after_a_long_pause(recording: Recording) -> None:
    tracker = new_tracker()
    _, state = tracker.step({**recording.inputs(0, 1), "box": recording.frame_boxes[0]}, None)
    started = perf_counter()
    answers = [tracker.step({**recording.inputs(1, 2), "elapsed": pause}, state)[0] for pause in (3.0, 1e7)]

    assert perf_counter() - started < 10
    assert np.isfinite(answers).all()


def test_a_camera_may_fill_the_same_arrays_again(recording: Recording) -> None:
    def boxes(fills: bool) -> list[list[float]]:
        tracker = new_tracker()
        state = None
        answers = []
        frame = np.empty((64, 64), np.uint8)
        events = BinEvents(*np.zeros((2, 10_000), np.uint16), np.zeros(10_000, bool))

        for b in range(recording.num_bins):
            inputs = recording.inputs(b, b + 1)
            if fills:
                for mine, new in zip(events, inputs["events"], strict=True):
                    mine[: len(new)] = new
                inputs["events"] = BinEvents(*(mine[: len(inputs["events"].x)] for mine in events))

            if fills and "frame" in inputs:
                frame[:] = inputs["frame"]
                inputs["frame"] = frame

            if state is None:
                inputs["box"] = recording.frame_boxes[0]

            box, state = tracker.step(inputs, state)
            answers.append(box.tolist())

            # an untrained detector would not show it
            assert not np.shares_memory(state.events[-1].x, events.x)

        return answers

    assert boxes(fills=True) == boxes(fills=False)


@pytest.mark.usefixtures("single_precision_afterwards")
@pytest.mark.parametrize("detector", ["learned", "both"])
def test_another_default_of_torch_changes_no_answer(recording: Recording, detector: DetectorName) -> None:
    tracker = new_tracker().with_options(detector=detector)
    expected = tracked(tracker, recording)
    torch.set_default_dtype(torch.float64)

    for constants in (_cell_means, _weights, _scaling):
        constants.cache_clear()

    np.testing.assert_array_equal(tracked(tracker, recording), expected)
    # a network that was made under it
    other = new_tracker().with_options(detector=detector)
    other.sensing.float()
    other.sensing.load_state_dict(tracker.sensing.state_dict())
    np.testing.assert_allclose(tracked(other, recording), expected, atol=1e-4)


def tracked(tracker: SensingTracker, recording: Recording) -> np.ndarray:
    """Each third frame alone, and steps of two bins, so that streams restart and bins are skipped."""
    fewer = recording.subsample_frames(3)
    state = None
    boxes = []

    for b in range(0, recording.num_bins, 2):
        inputs = fewer.inputs(b, b + 2)
        if state is None:
            inputs["box"] = fewer.frame_boxes[0]
        box, state = tracker.step(inputs, state)
        boxes.append(box)

    return np.stack(boxes)


def test_a_step_has_one_bin_at_least_and_as_many_as_a_pause_of_a_second_at_most() -> None:
    assert (num_bins(0.0249, 0.005), num_bins(0.025, 0.005), num_bins(3600.0, 0.005)) == (4, 5, 240)
    assert num_bins(0.001, 0.005) == 1
