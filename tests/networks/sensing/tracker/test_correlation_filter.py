"""The correlation filter: the least-squares solution, places of a moved patch, and states that stream and resume."""

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.cli.apps import Detector
from spikebridge.data.events.binned import BinEvents, EventBins
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.detection._scale_filter import initial_scale
from spikebridge.networks.sensing.detection.box_detector import DetectedBox, DetectorInputs
from spikebridge.networks.sensing.detection.colour_model import colour_classes, initial_colours
from spikebridge.networks.sensing.detection.correlation_filter import CorrelationFilter
from spikebridge.networks.sensing.detection.opencv_detector import OpenCVDetector
from spikebridge.networks.sensing.detection.patches import ColourFrame
from spikebridge.networks.sensing.evaluation.protocols import at_frames, one_pass_evaluation
from spikebridge.networks.sensing.model.background import initial_background
from spikebridge.networks.sensing.model.boxes import box_center, box_from_center
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.detectors import DetectorName, LearnedDetector, chosen_detector
from spikebridge.networks.sensing.tracker.inputs import grey_frame
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions

pytestmark = pytest.mark.untyped

BOX = np.array([60.0, 40.0, 26.0, 20.0])
NOTHING = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
RED = np.array([220, 40, 30], np.uint8)


def wall(height: int = 121, width: int = 163) -> np.ndarray:
    """Smooth texture, odd sides."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a + y * b + c) for a, b, c in generator.uniform(-0.6, 0.6, (24, 3)) * [1, 1, 10]]
    return (128 + 20 * np.sum(waves, 0)).clip(0, 255).astype(np.uint8)


def disk(place: tuple[int, int], colour: np.ndarray | None = None) -> np.ndarray:
    """The wall in three colours, and an ellipse of the size of the box before it."""
    y, x = np.mgrid[:121, :163]
    inside = np.hypot((x - place[0]) / 13, (y - place[1]) / 10) < 1
    picture = np.repeat(wall()[..., None], 3, 2)
    texture = np.roll(wall(), (9, 31), (0, 1))
    picture[inside] = texture[inside][:, None] if colour is None else colour
    return picture


def picture(frame: np.ndarray) -> ColourFrame:
    return ColourFrame(frame) if frame.ndim == 2 else ColourFrame(grey_frame(frame), frame)


def detect(frame: np.ndarray, target: Any, detector: CorrelationFilter, box: np.ndarray = BOX) -> Any:
    grey, colours = picture(frame)
    inputs = DetectorInputs(grey, grey, NOTHING, initial_background(grey), box, False, colours=colours)
    return detector.detect(inputs, target)


@pytest.mark.parametrize("shift", [(0, 0), (7, -4), (-9, 6)])
def test_a_moved_target_is_found_where_it_went(shift: tuple[int, int]) -> None:
    detector = CorrelationFilter()
    target = detector.start(ColourFrame(wall()), BOX)
    detection, _ = detect(np.roll(wall(), shift[::-1], (0, 1)), target, detector)
    np.testing.assert_allclose(box_center(detection.box) - box_center(BOX), shift, atol=0.4)

    assert 0 < detection.spread < 0.2 * 26


@pytest.mark.parametrize("colour", [None, RED])
def test_a_target_that_stays_while_its_background_moves_is_not_left(colour: np.ndarray | None) -> None:
    """A camera that pans by 3 px a frame; the target is told by its texture or by its colour."""
    detector = CorrelationFilter()
    box = BOX
    target = detector.start(picture(disk((73, 50), colour)), box)

    for k in range(1, 12):
        whole = disk((73, 50), colour)
        behind = np.roll(np.repeat(wall()[..., None], 3, 2), 3 * k, 1)
        y, x = np.mgrid[:121, :163]
        outside = np.hypot((x - 73) / 13, (y - 50) / 10) >= 1
        whole[outside] = behind[outside]
        detection, target = detect(whole, target, detector, box)
        box = detection.box
        target = detector.update(picture(whole), box, target)

    np.testing.assert_allclose(box_center(box), [73, 50], atol=2.5)


def test_one_frame_gives_the_least_squares_filter() -> None:
    """The normal equations of ridge regression over all cyclic shifts, solved as a matrix for one channel and row."""
    detector = CorrelationFilter(beside=0.0, window=1e6, colour_weight=0.0)
    target = detector.start(ColourFrame(wall()), BOX)
    numerator, power = target.sums

    # each frequency is a regression with one sample and C unknowns: (conj(f) f' + ridge) w = conj(f) y
    row = 3
    column = 5
    f_y = numerator[:, row, column]
    label = np.sqrt((np.abs(f_y) ** 2).sum() / power[row, column])
    f = (f_y / label).conj()
    matrix = np.outer(f.conj(), f) + target.ridge * np.eye(len(f))
    expected = np.linalg.solve(matrix, f_y)
    np.testing.assert_allclose(f_y / (power[row, column] + target.ridge), expected, rtol=1e-3, atol=1e-6)


def test_patches_beside_the_target_add_to_the_power() -> None:
    alone, beside = (CorrelationFilter(beside=k).start(ColourFrame(wall()), BOX).sums for k in (0.0, 0.2))
    assert np.array_equal(alone.numerator, beside.numerator)
    assert (beside.power >= alone.power).all() and beside.power.sum() > 1.1 * alone.power.sum()


@pytest.mark.parametrize("factor", [0.94, 1.06])
def test_a_target_that_is_larger_or_smaller_than_predicted_is_found_so(factor: float) -> None:
    """Each frame brings the size nearer to the true one."""
    scale = initial_scale(wall(), BOX)
    size = factor * BOX[2:]
    assert scale.factor(wall(), BOX) == pytest.approx(1.0, abs=0.002)

    for _ in range(5):
        size = size * scale.factor(wall(), box_from_center(box_center(BOX), size))
    np.testing.assert_allclose(size, BOX[2:], rtol=0.01)


def test_shares_of_colours_are_those_counted_by_hand() -> None:
    """A red box before grey: red is the target alone, grey the surroundings alone, blue is nowhere."""
    frame = np.full((60, 60, 3), 100, np.uint8)
    frame[20:40, 20:40] = RED
    shares = initial_colours(frame, np.array([20.0, 20.0, 20.0, 20.0])).shares()
    colours = np.array([[RED, [100, 100, 100], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(shares[colour_classes(colours)], [[1.0, 0.0, 0.5]], atol=1e-3)


def test_an_update_weights_the_new_frame_and_keeps_the_first() -> None:
    detector = CorrelationFilter(rate=0.25, colour_weight=0.0)
    target = detector.start(ColourFrame(wall()), BOX)
    turned = np.ascontiguousarray(wall()[::-1, ::-1])
    after = detector.update(ColourFrame(turned), BOX, target)
    # the grey levels of the target are those of the first frame for both
    other = detector._frame_sums(ColourFrame(turned), BOX, target.colours)
    np.testing.assert_allclose(after.sums.power, 0.75 * target.sums.power + 0.25 * other.power, rtol=1e-4)
    np.testing.assert_allclose(after.sums.numerator, 0.75 * target.sums.numerator + 0.25 * other.numerator, rtol=1e-4)

    assert after.first is target.first


def test_a_target_behind_a_cut_is_no_longer_believed_in() -> None:
    """Ten frames of the target, then another scene: each says less than the threshold, and the usual signs remain."""
    detector = CorrelationFilter()
    target = detector.start(picture(disk((73, 50), RED)), BOX)
    box = BOX

    for k in range(10):
        frame = disk((73 + k, 50), RED)
        detection, target = detect(frame, target, detector, box)
        box = detection.box
        target = detector.update(picture(frame), box, target)
        assert detection.probability > 0.5

    other = np.ascontiguousarray(np.repeat(wall()[::-1, ::-1, None], 3, 2))
    for _ in range(3):
        detection, target = detect(other, target, detector, detection.box)
        assert detection.probability < 0.5


@pytest.mark.parametrize(
    ("frame", "box"),
    [
        (np.full((40, 50), 7, np.uint8), BOX / 4),  # no contrast
        (np.full((40, 50, 3), 7, np.uint8), BOX / 4),
        (wall(), np.array([-40.0, -30.0, 300.0, 200.0])),  # larger than the frame
        (wall(), np.array([0.0, 0.0, 163.0, 121.0])),  # fills it
        (disk((73, 50)), np.array([70.0, 40.0, 5.0, 5.0])),
        (wall(3, 5), np.array([1.0, 1.0, 2.0, 1.0])),
        (wall(), np.array([158.0, 118.0, 30.0, 0.5])),  # at the corner, thin
    ],
)
def test_odd_targets_give_finite_answers(frame: np.ndarray, box: np.ndarray) -> None:
    detector = CorrelationFilter()
    target = detector.start(picture(frame), box)

    for _ in range(3):
        detection, target = detect(frame, target, detector, box)
        assert np.isfinite(detection.box).all() and detection.spread > 0 and 0 <= detection.probability <= 1
        target = detector.update(picture(frame), detection.box, target)
        box = detection.box


def test_a_target_without_contrast_has_no_confident_place() -> None:
    detector = CorrelationFilter()
    flat = np.full((80, 80), 90, np.uint8)
    box = np.array([30.0, 30.0, 20.0, 20.0])
    assert detect(flat, detector.start(ColourFrame(flat), box), detector, box)[0].spread > 0.5 * 20


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


def test_a_grey_frame_in_three_equal_colours_gives_the_boxes_of_a_tracker_without_colours(
    recording: Recording,
) -> None:
    one = tracker("learned")
    states: list[Any] = [None, None]
    for b in range(recording.num_bins):
        grey: Any = recording.inputs(b, b + 1) | ({"box": recording.frame_boxes[0]} if b == 0 else {})
        coloured = dict(grey)
        if "frame" in grey:
            coloured["frame"] = np.repeat(grey["frame"][..., None], 3, 2)

        boxes = []
        for k, inputs in enumerate((grey, coloured)):
            box, states[k] = one.step(inputs, states[k])
            boxes.append(box)
        assert np.array_equal(*boxes)


def test_a_tracker_says_that_it_lost_a_target_behind_a_cut_but_not_in_frozen_frames() -> None:
    one = tracker("auto")
    frozen = disk((73, 50), RED)
    frames = [disk((73 + k, 50), RED) for k in range(8)]
    behind = np.ascontiguousarray(np.repeat(wall()[::-1, ::-1, None], 3, 2))

    for last, is_lost in ((frozen, False), (behind, True)):
        state: Any = None
        for k, frame in enumerate([*frames, *([frames[-1] if last is frozen else last] * 5)]):
            inputs: Any = {"events": NOTHING, "elapsed": 1 / 30, "frame": frame, "frame_age": 0.0}
            _, state = one.step(inputs | ({"box": BOX} if k == 0 else {}), state)

        assert one.flush(state).lost is is_lost
        assert (state.confidence < 0.5) is is_lost


def test_a_missing_opencv_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"csrt and kcf need the package cv2: pip install .*\[opencv\]"):
        TrackerOptions(detector="csrt")


class _Found:
    """OpenCV's tracker, which finds its target 2 px to the right, but not in a dark frame."""

    def init(self, picture: np.ndarray, box: tuple[int, ...]) -> None:
        self.box = box
        self.shape = picture.shape

    def update(self, picture: np.ndarray) -> tuple[bool, tuple[int, ...]]:
        left, top, width, height = self.box
        return bool(picture.any()), (left + 2, top, width, height)


def test_opencv_answers_with_its_box_and_is_unsure_where_it_found_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(TrackerKCF_create=_Found, TrackerCSRT_create=_Found))
    detector = OpenCVDetector("kcf")
    target = detector.start(ColourFrame(wall()), np.array([-5.0, 100.4, 30.0, 90.0]))
    assert target.box == (0, 100, 25, 21) and target.shape == (121, 163, 3)

    target.box = (60, 40, 26, 20)
    found, missed = (detect(frame, target, detector)[0] for frame in (wall(), 0 * wall()))  # type: ignore[arg-type]
    assert found.box.tolist() == [62, 40, 26, 20] and missed.box is BOX
    assert found.probability > 0.5 > missed.probability


@pytest.mark.parametrize(("num_events", "taken"), [(0, "filter"), (1, "both")])
def test_auto_takes_the_filter_without_events_and_both_with_them(num_events: int, taken: str) -> None:
    assert chosen_detector("auto", num_events) == taken
    assert chosen_detector("learned", num_events) == "learned"


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
