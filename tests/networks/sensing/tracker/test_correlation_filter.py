"""The correlation filter: the least-squares solution, places of a moved patch, and states that stream and resume."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.cli.apps import Detector
from spikebridge.data.events.binned import EventBins
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.evaluation.protocols import at_frames, one_pass_evaluation
from spikebridge.networks.sensing.model.boxes import box_center
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.correlation_filter import CorrelationFilter
from spikebridge.networks.sensing.tracker.detectors import (
    DetectedBox,
    DetectorInputs,
    DetectorName,
    LearnedDetector,
)
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions

pytestmark = pytest.mark.untyped

BOX = np.array([60.0, 40.0, 26.0, 20.0])


def wall(height: int = 121, width: int = 163) -> np.ndarray:
    """Smooth texture, odd sides."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a + y * b + c) for a, b, c in generator.uniform(-0.6, 0.6, (24, 3)) * [1, 1, 10]]
    return (128 + 20 * np.sum(waves, 0)).clip(0, 255).astype(np.uint8)


def detect(frame: np.ndarray, target: Any, detector: CorrelationFilter, box: np.ndarray = BOX) -> Any:
    return detector.detect_in(detector.search_patch(frame, box), target)


@pytest.mark.parametrize("shift", [(0, 0), (7, -4), (-9, 6)])
def test_a_moved_target_is_found_where_it_went(shift: tuple[int, int]) -> None:
    detector = CorrelationFilter()
    target = detector.start(wall(), BOX)
    detection = detect(np.roll(wall(), shift[::-1], (0, 1)), target, detector)
    np.testing.assert_allclose(box_center(detection.box) - box_center(BOX), shift, atol=0.4)

    assert 0 < detection.spread < 0.15 * 26


def test_one_frame_gives_the_least_squares_filter() -> None:
    """The normal equations of ridge regression over all cyclic shifts, solved as a matrix for one channel and row."""
    detector = CorrelationFilter(ridge=0.3, first_share=0.0)
    target = detector.start(wall(), BOX)
    numerator, power = target.sums
    ridge = 0.3 * power.mean()

    # each frequency is a regression with one sample and C unknowns: (conj(f) f' + ridge) w = conj(f) y
    row = 3
    column = 5
    f_y = numerator[:, row, column]
    label = f_y.abs().square().sum().sqrt() / power[row, column].sqrt()
    f = (f_y / label).conj()
    matrix = torch.outer(f.conj(), f) + ridge * torch.eye(len(f))
    expected = torch.linalg.solve(matrix, f_y)
    torch.testing.assert_close(f_y / (power[row, column] + ridge), expected, rtol=1e-3, atol=1e-6)


def test_a_target_that_is_larger_than_predicted_is_found_larger() -> None:
    detector = CorrelationFilter()
    frame = wall()
    far = np.hypot(*(np.mgrid[:121, :163] - np.array([50, 73])[:, None, None]) / np.array([10, 13])[:, None, None])
    frame = np.where(far < 1, frame, 120 + frame // 16).astype(np.uint8)
    target = detector.start(frame, BOX)
    smaller = np.concatenate([BOX[:2] + 0.02 * BOX[2:], 0.96 * BOX[2:]])
    np.testing.assert_allclose(detect(frame, target, detector, smaller).box[2:], 1.04 * smaller[2:], rtol=1e-6)


def test_an_update_weights_the_new_frame_and_keeps_the_first() -> None:
    detector = CorrelationFilter(rate=0.25)
    target = detector.start(wall(), BOX)
    dark = (wall() // 2).astype(np.uint8)
    after = detector.update(dark, BOX, target)
    other = detector.start(dark, BOX)
    torch.testing.assert_close(after.sums.power, 0.75 * target.sums.power + 0.25 * other.sums.power)
    torch.testing.assert_close(after.sums.numerator, 0.75 * target.sums.numerator + 0.25 * other.sums.numerator)

    assert after.first is target.first


@pytest.mark.parametrize(
    ("frame", "box"),
    [
        (np.full((40, 50), 7, np.uint8), BOX / 4),  # no contrast
        (wall(), np.array([-40.0, -30.0, 300.0, 200.0])),  # larger than the frame
        (wall(3, 5), np.array([1.0, 1.0, 2.0, 1.0])),
        (wall(), np.array([158.0, 118.0, 30.0, 0.5])),  # at the corner, thin
    ],
)
def test_odd_targets_give_finite_answers(frame: np.ndarray, box: np.ndarray) -> None:
    detector = CorrelationFilter()
    target = detector.start(frame, box)

    for _ in range(3):
        detection = detect(frame, target, detector, box)
        assert np.isfinite(detection.box).all() and detection.spread > 0
        target = detector.update(frame, detection.box, target)
        box = detection.box


def test_a_target_without_contrast_has_no_confident_place() -> None:
    detector = CorrelationFilter()
    flat = np.full((80, 80), 90, np.uint8)
    box = np.array([30.0, 30.0, 20.0, 20.0])
    assert detect(flat, detector.start(flat, box), detector, box).spread > 0.5 * 20


@pytest.fixture(scope="module")
def recording() -> Recording:
    return render_recording(RotatingDisk(height=64, width=64), duration=0.2, dt=0.005)


def tracker(detector: Any, **options: Any) -> SensingTracker:
    torch.manual_seed(0)
    sensing = Sensing(0.005, SensingOptions(num_features=4, reach=6, detector=True)).eval()
    return SensingTracker(sensing, TrackerOptions(crop=48, detector=detector, **options))


@pytest.mark.parametrize("detector", ["filter", "both"])
def test_a_stream_is_split_and_resumed_with_the_same_boxes(recording: Recording, detector: str) -> None:
    one = tracker(detector, calibrate=True)
    state = None
    states: list[Any] = []
    boxes = []

    for b in range(recording.num_bins):
        given: Any = {"box": recording.frame_boxes[0]} if b == 0 else {}
        states.append(state)
        box, state = one.step({**recording.inputs(b, b + 1), **given}, state)
        boxes.append(box)

    assert np.isfinite(boxes).all()

    resumed = states[17]
    for b in range(17, recording.num_bins):
        box, resumed = one.step(recording.inputs(b, b + 1), resumed)
        assert np.array_equal(box, boxes[b])


def test_the_filter_serves_a_network_without_a_detector(recording: Recording) -> None:
    torch.manual_seed(0)
    sensing = Sensing(0.005, SensingOptions(num_features=4, reach=6, detector=False)).eval()
    both, alone = (SensingTracker(sensing, TrackerOptions(crop=48, detector=name)) for name in ("both", "filter"))
    boxes = one_pass_evaluation(recording, both).boxes
    np.testing.assert_array_equal(boxes, one_pass_evaluation(recording, alone).boxes)


def test_a_target_that_is_found_elsewhere_has_no_known_velocity(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the displacement to the other place nor the velocity before it is one of the target."""
    one = tracker("learned", calibrate=True)
    state = None
    detections = []
    original = LearnedDetector.detect

    def detect_elsewhere(self: Any, inputs: DetectorInputs, target: Any) -> Any:
        _, target = original(self, inputs, target)
        if len(detections) == 3:
            there = inputs.box + np.array([12.0, 0.0, 0.0, 0.0])
            detection = DetectedBox(there, there, 0.5, is_elsewhere=True)
        else:
            detection = DetectedBox(inputs.box, inputs.box, 0.5)

        detections.append(detection)
        return detection, target

    monkeypatch.setattr(LearnedDetector, "detect", detect_elsewhere)
    for b in range(recording.num_bins):
        given: Any = {"box": recording.frame_boxes[0]} if b == 0 else {}
        before = state
        number = len(detections)
        _, state = one.step({**recording.inputs(b, b + 1), **given}, state)

        if len(detections) == 4 and number == 3:
            assert before is not None
            assert np.isinf(float(state.stream.start.spread)) and state.stream.velocity is None
            assert np.array_equal(state.calibration.losses, before.calibration.losses)
            return

        if len(detections) > number:
            assert np.isfinite(float(state.stream.start.spread)) and state.stream.velocity is not None

    raise AssertionError("the detector was not called four times")


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'filter'"):
        TrackerOptions(detector="filtre")  # type: ignore[arg-type]


def test_a_frame_in_colours_is_refused(recording: Recording) -> None:
    inputs = recording.inputs(0, 1) | {"box": recording.frame_boxes[0]}
    inputs["frame"] = np.repeat(inputs["frame"][..., None], 3, 2)
    with pytest.raises(DataError, match="grey levels"):
        tracker("filter").step(inputs, None)


def test_the_commands_offer_the_detectors_that_there_are() -> None:
    assert set(get_args(Detector)) == set(get_args(DetectorName))


def test_of_a_clip_the_answer_to_each_frame_is_compared_with_the_box_in_it(recording: Recording) -> None:
    nothing = np.empty(0, np.uint16)
    bins = EventBins(nothing, nothing, nothing.astype(bool), np.zeros(recording.num_bins + 1, np.int64), 64, 64)
    boxes = np.full_like(recording.boxes, np.nan)
    boxes[recording.frame_bins[1:] - 1] = recording.frame_boxes[1:]
    starts = np.zeros(recording.num_frames, np.int64)
    clip = replace(recording, events=bins, frame_events=starts, boxes=boxes)

    assert clip.has_frames_only and not recording.has_frames_only

    one = tracker("filter", synchronous=True)
    whole = one_pass_evaluation(clip, one)
    at_each_frame = at_frames(clip, whole)

    assert np.array_equal(at_each_frame.truths, clip.frame_boxes)
    assert np.array_equal(at_each_frame.boxes, whole.boxes[clip.frame_bins])
    assert np.array_equal(at_each_frame.bins, clip.frame_bins)
