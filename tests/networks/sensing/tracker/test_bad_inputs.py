"""Inputs of bad cameras and clocks: a finite box with an honest confidence, or one line; shipped weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.families import family_recording
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import FrameCamera, render_recording
from spikebridge.errors import DataError
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation.metrics import overlaps
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.pretrained import shipped_run

pytestmark = pytest.mark.untyped


@pytest.fixture(scope="module")
def recording() -> Recording:
    return family_recording("plain", seed=2, seconds=0.4)


@pytest.fixture(scope="module")
def tracker() -> SensingTracker:
    return sensing.tracker(shipped_run("sensing")).with_options(warns=False)


def tracked(
    recording: Recording, tracker: SensingTracker, first: np.ndarray | None = None, **changes: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Overlap and confidence at every bin from the first box on."""
    state = None
    boxes = []
    confidences = []

    for b in range(recording.num_bins):
        inputs = recording.inputs(b, b + 1)
        if state is None:
            inputs["box"] = recording.frame_boxes[0] if first is None else first
        box, state = tracker.step({**inputs, **changes}, state)
        boxes.append(box)
        confidences.append(state.confidence)

    assert np.isfinite(boxes).all()
    return overlaps(np.array(boxes), recording.boxes), np.array(confidences)


def polarity(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Recording], Recording]:
    return lambda one: replace(one, events=replace(one.events, on=change(np.asarray(one.events.on))))


def one_polarity(one: Recording) -> Recording:
    events = one.events
    keep = np.asarray(events.on[0 : len(events.x)])
    before = np.concatenate([[0], np.cumsum(keep)])
    columns = {name: np.asarray(getattr(events, name))[keep] for name in ("x", "y", "on")}
    kept = replace(events, **columns, edges=before[events.edges])

    return replace(one, events=kept, frame_events=before[one.frame_events])


def frozen(one: Recording) -> Recording:
    frames = [np.asarray(one.frames[k]) for k in range(one.num_frames)]
    return replace(one, frames=np.array([*frames[:6], *[frames[5]] * (len(frames) - 6)]))


def frames_at(rate: float) -> Callable[[Recording], Recording]:
    return lambda one: family_recording("plain", seed=2, seconds=0.2 if rate > 100 else 0.4, frame_rate=rate)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(polarity(np.logical_not), id="polarity swapped"),
        pytest.param(one_polarity, id="one polarity"),
        pytest.param(frozen, id="frozen frames"),
        pytest.param(frames_at(10.0), id="10 Hz frames"),
        pytest.param(frames_at(1000.0), id="1 kHz frames"),
    ],
)
def test_confidence_is_honest(change: Callable[[Recording], Recording], recording: Recording, tracker: Any) -> None:
    overlap, confidence = tracked(change(recording), tracker)
    assert abs(confidence.mean() - (overlap >= 0.5).mean()) < 0.3
    assert confidence.min() >= 0 and confidence.max() <= 1


@pytest.mark.parametrize("family", ["plain", "smooth", "textured", "dim"])
def test_confidence_tells_a_right_first_box_from_a_wrong_one(family: str, tracker: SensingTracker) -> None:
    scene = family_recording(family, seed=2, seconds=0.4)

    for first in ((-50, -50, 400, 400), (5, 5, 5, 5)):
        overlap, confidence = tracked(scene, tracker, np.array(first, np.float64))
        assert overlap[-12:].max() < 0.5
        assert confidence[-12:].max() <= 0.4

    overlap, confidence = tracked(scene, tracker)
    assert overlap[-12:].min() > 0.5
    assert confidence[-12:].mean() >= 0.6


def test_a_target_larger_than_the_crop_is_tracked(tracker: SensingTracker) -> None:
    scene = MovingObjects(seed=5, height=400, width=400, size=105.0, speed=200.0)
    large = render_recording(scene, 0.2, 1 / 240, image_interval=1 / 480, frame_camera=FrameCamera(40.0), seed=5)

    assert np.sqrt(large.boxes[:, 2:].prod(1)).min() > tracker.options.crop

    overlap, _ = tracked(large, tracker)
    held = overlaps(np.tile(large.frame_boxes[0], (large.num_bins, 1)), large.boxes)

    assert overlap.min() > 0.5 > held.min()
    assert overlap.mean() > held.mean() + 0.15


def test_frames_that_come_a_second_late_are_used_with_the_events_since(tracker: SensingTracker) -> None:
    recording = family_recording("small", seed=2, seconds=1.1)
    late = round(1.0 / recording.dt)
    state = None
    overlap = []

    for b in range(late, recording.num_bins):
        inputs = recording.inputs(b, b + 1)
        inputs.pop("frame", None)
        inputs.pop("frame_age", None)
        arrived = np.flatnonzero(recording.frame_bins == b - late)

        if len(arrived):
            k = int(arrived[0])
            first = int(recording.frame_events[k])
            stop = int(recording.events.edges[b + 1])
            inputs |= {"events": recording.events.slice_events(first, stop), "frame": recording.frames[k]}
            inputs["frame_age"] = (b + 1) * recording.dt - float(recording.frame_times[k])

            if state is None:
                inputs["box"] = recording.frame_boxes[k]

        box, state = tracker.step(inputs, state)
        assert np.isfinite(box).all()

        overlap.append(overlaps(box[None], recording.boxes[b][None])[0])

    assert state is not None and state.confidence < 0.6 + 0.4 * float(np.mean(overlap))


@pytest.mark.parametrize("seconds", [10.0, 3600.0])
def test_a_clock_that_jumps_ahead_leaves_a_box_with_little_confidence(
    seconds: float, recording: Recording, tracker: SensingTracker
) -> None:
    state = None
    for b in range(30):
        first = {"box": recording.frame_boxes[0]} if state is None else {}
        _, state = tracker.step({**recording.inputs(b, b + 1), **first}, state)

    step = recording.inputs(31, 32)
    step["elapsed"] = seconds
    box, state = tracker.step(step, state)

    assert np.isfinite(box).all() and state.confidence < 0.5


@pytest.mark.parametrize("seconds", [-0.1, 0.0, float("nan")])
def test_a_clock_that_jumps_back_is_one_line(seconds: float, recording: Recording, tracker: SensingTracker) -> None:
    _, state = tracker.step({**recording.inputs(0, 1), "box": recording.frame_boxes[0]}, None)
    with pytest.raises(DataError, match="elapsed: expected the seconds since the last step, above 0"):
        tracker.step({**recording.inputs(1, 2), "elapsed": seconds}, state)


def test_a_frame_of_another_camera_is_one_line(recording: Recording, tracker: SensingTracker) -> None:
    _, state = tracker.step({**recording.inputs(0, 1), "box": recording.frame_boxes[0]}, None)
    other = {**recording.inputs(6, 7), "frame": np.zeros((100, 120), np.uint8), "elapsed": 0.025}
    with pytest.raises(DataError, match=r"expected rows and columns \(144, 144\) as before, but got \(100, 120\)"):
        tracker.step(other, state)
