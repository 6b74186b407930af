"""Trackers of frames alone and of events alone, those of OpenCV, and the fit of a Kalman filter."""

import re
import sys
from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
import torch

from research.sensing.baselines.opencv import OpenCVTracker
from research.sensing.baselines.snn_only import EventTracker
from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.events.binned import BinEvents
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import render_recording
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox, fit_kalman
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation
from spikebridge.networks.sensing.model.boxes import box_center
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions

pytestmark = pytest.mark.untyped

NOTHING = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))


@pytest.fixture(scope="module")
def recording():
    return render_recording(RotatingDisk(height=64, width=64), duration=0.2, dt=1 / 240)


@pytest.fixture(scope="module")
def tracker_of_both():
    torch.manual_seed(0)
    return SensingTracker(Sensing(1 / 240, SensingOptions(reach=8)).eval(), TrackerOptions(crop=48))


def without_events(recording):
    nothing = replace(recording.events, x=NOTHING.x, y=NOTHING.y, on=NOTHING.on, edges=0 * recording.events.edges)
    return replace(recording, events=nothing, frame_events=0 * recording.frame_events)


@pytest.mark.parametrize("between", ["hold", "constant_velocity"])
def test_a_tracker_of_frames_reads_no_event(recording, tracker_of_both, between):
    tracker = FrameTracker(tracker_of_both, between)
    assert np.array_equal(
        one_pass_evaluation(recording, tracker).boxes, one_pass_evaluation(without_events(recording), tracker).boxes
    )


def test_from_true_boxes_a_tracker_of_frames_is_hold_or_constant_velocity(recording, tracker_of_both):
    for between, plain in (("hold", StaticBox()), ("constant_velocity", ConstantVelocity())):
        result, expected = (interframe(recording, one) for one in (FrameTracker(tracker_of_both, between), plain))
        assert np.array_equal(result.boxes, expected.boxes)


def test_between_frames_it_holds_its_detection(recording, tracker_of_both):
    boxes = one_pass_evaluation(recording, FrameTracker(tracker_of_both)).boxes.reshape(-1, 6, 4)
    assert (boxes == boxes[:, :1]).all()
    # and it detects again at each frame
    assert len(np.unique(boxes[:, 0, 0])) > 4


def test_its_state_has_confidence_and_loss(recording, tracker_of_both):
    inputs = recording.inputs(0, 1) | {"box": recording.frame_boxes[0]}
    _, state = FrameTracker(tracker_of_both).step(inputs, None)
    assert 0 <= state.confidence <= 1 and state.lost is False


def test_a_tracker_of_events_reads_no_frame(recording, tracker_of_both):
    tracker = EventTracker(tracker_of_both.sensing, crop=48)
    dark = replace(recording, frames=0 * recording.frames)
    assert np.array_equal(one_pass_evaluation(recording, tracker).boxes, one_pass_evaluation(dark, tracker).boxes)


def test_events_alone_follow_a_target_that_moves():
    """An untrained SNN gives smoothed ON minus OFF events: enough to be nearer than a static box."""
    scene = render_recording(MovingObjects(seed=2, size=26.0), duration=0.15, dt=1 / 240)
    torch.manual_seed(0)
    tracker = EventTracker(Sensing(dt=1 / 240).eval(), crop=64)
    tracked, held = (interframe(scene, one).score().mean_distance_px for one in (tracker, StaticBox()))

    assert tracked < 0.8 * held


def test_in_a_step_of_several_bins_a_target_may_move_so_much_further():
    scene = render_recording(MovingObjects(seed=2, size=26.0, speed=400.0), duration=0.15, dt=1 / 240)
    torch.manual_seed(0)
    sensing = Sensing(dt=1 / 240).eval()

    def error(tracker):
        distances = []
        state = None
        for b in range(0, scene.num_bins, 2):
            given = {"box": scene.frame_boxes[b // 6]} if b % 12 == 0 else {}
            box, state = tracker.step(scene.inputs(b, b + 2) | given, state)
            distances.append(np.hypot(*(box_center(box) - box_center(scene.boxes[b + 1]))))

        return np.mean(distances)

    assert error(EventTracker(sensing, crop=64)) < 0.7 * error(StaticBox())


def test_the_events_of_several_bins_count_as_those_of_the_last_one(recording, tracker_of_both):
    """As in the tracker of both. With a search in the whole crop, a long step is treated as several."""
    tracker = EventTracker(tracker_of_both.sensing, crop=48, search=48.0)
    _, state = tracker.step(recording.inputs(0, 1) | {"box": recording.frame_boxes[0]}, None)
    _, state = tracker.step(recording.inputs(1, 2), state)
    dt = recording.dt
    events = recording.inputs(2, 5)["events"]
    at_once, _ = tracker.step({"events": events, "elapsed": 3 * dt}, state)

    for one in (NOTHING, NOTHING, events):
        each, state = tracker.step({"events": one, "elapsed": dt}, state)

    np.testing.assert_allclose(at_once, each, atol=1e-5)


def test_a_silent_stretch_leaves_the_box_where_it_was(recording, tracker_of_both):
    tracker = EventTracker(tracker_of_both.sensing, crop=48)
    quiet = without_events(recording)
    assert (one_pass_evaluation(quiet, tracker).boxes == quiet.frame_boxes[0]).all()


def test_a_target_that_leaves_the_crop_gets_a_new_one(recording, tracker_of_both):
    boxes = np.array([[10.0, 10, 8, 8]])
    tracker = EventTracker(tracker_of_both.sensing, crop=16, search=4.0)
    _, state = tracker.step(recording.inputs(0, 1) | {"box": boxes[0]}, None)
    crops = {state.crop}

    for b in range(1, 40):
        _, state = tracker.step(recording.inputs(b, b + 1), state)
        crops.add(state.crop)
        assert np.abs(state.box[:2] - state.crop_box[:2]).max() <= 4.0

    assert len(crops) > 1
    assert all(crop[2:] == (16, 16) for crop in crops)


def test_wrong_inputs_and_settings_are_refused(recording, tracker_of_both):
    step = recording.inputs(1, 2)
    for tracker in (FrameTracker(tracker_of_both), EventTracker(tracker_of_both.sensing, crop=48)):
        with pytest.raises(DataError, match=r"starts with a frame and a box|needs the target's box"):
            tracker.step(step, None)

    with pytest.raises(ConfigError, match="needs a network with an SNN"):
        EventTracker(Sensing(1 / 240, SensingOptions(unit="none")))

    with pytest.raises(ConfigError, match="16 px or more, a multiple of 2, but got 15"):
        EventTracker(tracker_of_both.sensing, crop=15)

    with pytest.raises(ConfigError, match="a search of 1 px or more"):
        EventTracker(tracker_of_both.sensing, crop=48, search=0.0)

    with pytest.raises(ConfigError, match="eval mode"):
        EventTracker(Sensing(dt=1 / 240)).step(step | {"box": recording.frame_boxes[0]}, None)

    _, state = FrameTracker(tracker_of_both).step(recording.inputs(0, 1) | {"box": recording.frame_boxes[0]}, None)
    with pytest.raises(DataError, match="a box is given with its frame"):
        FrameTracker(tracker_of_both).step(step | {"box": recording.frame_boxes[0]}, state)


@pytest.mark.parametrize("shape", [(64, 64, 2), (0, 64), (64,)], ids=str)
def test_a_frame_that_is_neither_grey_nor_in_colours_is_refused(monkeypatch, recording, tracker_of_both, shape):
    # a module that is never used
    monkeypatch.setitem(sys.modules, "cv2", sys)
    inputs = recording.inputs(0, 1) | {"box": recording.frame_boxes[0], "frame": np.zeros(shape, np.uint8)}
    for tracker in (tracker_of_both, FrameTracker(tracker_of_both), OpenCVTracker("kcf")):
        with pytest.raises(DataError, match=rf"from 0 to 255, uint8, but got uint8 of shape {re.escape(str(shape))}"):
            tracker.step(inputs, None)


@pytest.mark.parametrize("kind", ["kcf", "csrt"])
def test_a_tracker_of_opencv_follows_a_slow_target_and_holds_between_frames(kind):
    pytest.importorskip("cv2")
    slow = render_recording(RotatingDisk(height=130, width=130, speed=1.0, change=0.0), duration=0.15, dt=1 / 240)
    boxes = one_pass_evaluation(slow, OpenCVTracker(kind)).boxes

    assert (boxes.reshape(-1, 6, 4) == boxes.reshape(-1, 6, 4)[:, :1]).all()
    assert np.array_equal(boxes[0], slow.frame_boxes[0])  # as it was given, not rounded
    assert np.abs(boxes[::6, :2] - slow.frame_boxes[:, :2]).max() < 4


def test_a_box_that_sticks_out_is_begun_with_what_is_inside():
    pytest.importorskip("cv2")
    inputs = {"events": NOTHING, "elapsed": 0.01, "frame_age": 0.01, "frame": np.zeros((40, 50), np.uint8)}
    box = np.array([-6.0, 36.5, 12.0, 9.0])
    first, state = OpenCVTracker("csrt").step(inputs | {"box": box}, None)

    assert np.array_equal(first, box) and not state.lost


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"install -e '\.\[opencv\]'"):
        OpenCVTracker("kcf")

    with pytest.raises(ConfigError, match="did you mean 'csrt'"):
        OpenCVTracker("csr")


def test_a_filter_fitted_on_two_targets_is_not_surprised_by_the_jump_between_them():
    rng = np.random.default_rng(0)
    times = np.arange(60) * 0.025
    walks = [np.cumsum(np.cumsum(rng.normal(0, 2.0, (60, 2)), axis=0) * 0.025, axis=0) + start for start in (0, 900)]
    tracks = [(np.hstack([walk + rng.normal(0, 0.5, walk.shape), np.full((60, 2), 9.0)]), times) for walk in walks]
    both = fit_kalman(tracks)

    assert 0.3 < both.box_noise < 0.8 and both.speed < 2 * fit_kalman(tracks[:1]).speed
    with pytest.raises(DataError, match="8 known boxes or more, but got 6"):
        fit_kalman([(boxes[:3], times[:3]) for boxes, times in tracks])


@pytest.mark.parametrize("older", [0.0, 0.01])
def test_a_frame_that_is_no_later_than_the_last_one_moves_no_tracker_of_frames(tracker_of_both, older):
    scene = render_recording(MovingObjects(seed=2, size=26.0), duration=0.1, dt=1 / 240)
    tracker = FrameTracker(tracker_of_both, "constant_velocity")
    state = None

    for b in range(14):
        given = {"box": scene.frame_boxes[0]} if b == 0 else {}
        _, state = tracker.step(scene.inputs(b, b + 1) | given, state)

    inputs = scene.inputs(14, 15)
    again = inputs | {"frame": scene.frames[0], "frame_age": state.age + inputs["elapsed"] + older}
    box, after = tracker.step(again, state)
    expected, without = tracker.step(inputs, state)

    assert box.tolist() == expected.tolist() and after.age == without.age


@pytest.mark.parametrize("elapsed", [float("nan"), float("inf"), 0.0])
def test_a_time_that_is_no_number_above_0_is_refused(recording, tracker_of_both, elapsed):
    for tracker in (EventTracker(tracker_of_both.sensing, crop=48), FrameTracker(tracker_of_both)):
        _, state = tracker.step(recording.inputs(0, 1) | {"box": recording.frame_boxes[0]}, None)
        with pytest.raises(DataError, match="elapsed: expected the seconds since the last step"):
            tracker.step({"events": NOTHING, "elapsed": elapsed}, state)


def test_a_tracker_of_events_resumes_at_once_after_a_pause_of_any_length(recording, tracker_of_both):
    tracker = EventTracker(tracker_of_both.sensing, crop=48)
    _, state = tracker.step(recording.inputs(0, 1) | {"box": recording.frame_boxes[0]}, None)
    started = perf_counter()
    box, _ = tracker.step(recording.inputs(1, 2) | {"elapsed": 1e7}, state)

    assert perf_counter() - started < 10
    assert np.isfinite(box).all()
