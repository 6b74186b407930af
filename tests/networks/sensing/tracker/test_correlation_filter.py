"""The correlation filter: the least-squares solution, places of a moved patch, and states that stream and resume."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from spikebridge.cli.apps import Detector
from spikebridge.data.events.binned import BinEvents, EventBins
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.data.simulation.rotating_disk import RotatingDisk
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing import recipe as sensing_recipe
from spikebridge.networks.sensing.evaluation.metrics import overlaps
from spikebridge.networks.sensing.evaluation.protocols import at_frames, one_pass_evaluation
from spikebridge.networks.sensing.model.background import initial_background
from spikebridge.networks.sensing.model.boxes import box_center
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.correlation_filter import CorrelationFilter, patch_features
from spikebridge.networks.sensing.tracker.detectors import (
    DetectorInputs,
    DetectorName,
    FoundBox,
    LearnedDetector,
    confidence,
)
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions
from spikebridge.pretrained import shipped_run

BOX = np.array([60.0, 40.0, 26.0, 20.0])
NOTHING = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
SOME = BinEvents(np.array([3], np.uint16), np.array([5], np.uint16), np.array([True]))


def wall(height: int = 121, width: int = 163) -> np.ndarray:
    """Smooth texture, odd sides."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a + y * b + c) for a, b, c in generator.uniform(-0.6, 0.6, (24, 3)) * [1, 1, 10]]
    return (128 + 20 * np.sum(waves, 0)).clip(0, 255).astype(np.uint8)


def found_in(frame: np.ndarray, known: Any, detector: CorrelationFilter, box: np.ndarray = BOX) -> Any:
    return detector.found(detector.search(frame, box), known)


@pytest.mark.parametrize("shift", [(0, 0), (7, -4), (-9, 6)])
def test_a_moved_target_is_found_where_it_went(shift: tuple[int, int]) -> None:
    detector = CorrelationFilter()
    known = detector.start(wall(), BOX)
    found = found_in(np.roll(wall(), shift[::-1], (0, 1)), known, detector)
    np.testing.assert_allclose(box_center(found.box) - box_center(BOX), shift, atol=0.4)

    assert 0 < found.spread < 0.15 * 26


def test_one_frame_gives_the_least_squares_filter() -> None:
    """The normal equations of ridge regression over all cyclic shifts, solved as a matrix for one channel and row."""
    detector = CorrelationFilter(ridge=0.3, first_share=0.0)
    known = detector.start(wall(), BOX)
    numerator, power = known.sums
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


def test_light_and_contrast_leave_the_features_nearly_as_they_are() -> None:
    patch = torch.rand(1, 32, 32) * 2
    torch.testing.assert_close(patch_features(patch + 0.7), patch_features(patch), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(patch_features(3 * patch), patch_features(patch), rtol=0.05, atol=0.02)


def test_features_are_strengths_and_turned_angles_of_gradients() -> None:
    patch = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    beyond = np.pad(patch[0].double().numpy(), 1, mode="edge")
    slope = (beyond[1:-1, 2:] - beyond[1:-1, :-2]) + 1j * (beyond[2:, 1:-1] - beyond[:-2, 1:-1])
    parts = [abs(slope)]

    for n in range(1, 5):
        turned = 2**0.5 * np.sinc(n / 9) ** 2 * abs(slope) * np.exp(2j * n * np.angle(slope))
        parts += [turned.real, turned.imag]

    cells = np.stack(parts).reshape(9, 4, 4, 4, 4).mean((2, 4))
    cells /= (cells**2).sum(0).mean() ** 0.5 + 0.01
    np.testing.assert_allclose(patch_features(patch)[0, :-1], cells, atol=2e-6)


def test_a_target_that_is_larger_than_predicted_is_found_larger() -> None:
    detector = CorrelationFilter()
    frame = wall()
    far = np.hypot(*(np.mgrid[:121, :163] - np.array([50, 73])[:, None, None]) / np.array([10, 13])[:, None, None])
    frame = np.where(far < 1, frame, 120 + frame // 16).astype(np.uint8)
    known = detector.start(frame, BOX)
    smaller = np.concatenate([BOX[:2] + 0.02 * BOX[2:], 0.96 * BOX[2:]])
    np.testing.assert_allclose(found_in(frame, known, detector, smaller).box[2:], 1.04 * smaller[2:], rtol=1e-6)


def test_an_update_weights_the_new_frame_and_keeps_the_first() -> None:
    detector = CorrelationFilter(rate=0.25)
    known = detector.start(wall(), BOX)
    dark = (wall() // 2).astype(np.uint8)
    after = detector.update(dark, BOX, known)
    other = detector.start(dark, BOX)
    torch.testing.assert_close(after.sums.power, 0.75 * known.sums.power + 0.25 * other.sums.power)
    torch.testing.assert_close(after.sums.numerator, 0.75 * known.sums.numerator + 0.25 * other.sums.numerator)

    assert after.first is known.first


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
    known = detector.start(frame, box)

    for _ in range(3):
        found = found_in(frame, known, detector, box)
        assert np.isfinite(found.box).all() and found.spread > 0
        known = detector.update(frame, found.box, known)
        box = found.box


def test_a_target_without_contrast_has_no_confident_place() -> None:
    detector = CorrelationFilter()
    flat = np.full((80, 80), 90, np.uint8)
    box = np.array([30.0, 30.0, 20.0, 20.0])
    assert found_in(flat, detector.start(flat, box), detector, box).spread > 0.5 * 20


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


def test_with_events_the_surer_detector_answers_and_both_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = tracker("both")
    detector = mixed._detector(mixed._inference(mixed.sensing, 48))

    assert detector is not None

    frame = wall()
    elsewhere = np.array([69.0, 40.0, 26.0, 20.0])
    inputs = DetectorInputs(frame, frame, SOME, initial_background(frame), BOX, False)
    target = detector.start(frame, BOX)

    for spread, is_learned in ((1e-3, True), (1e3, False)):
        answer = FoundBox(BOX, elsewhere, spread), target.learned
        monkeypatch.setattr(LearnedDetector, "detect", lambda *_, answer=answer: answer)
        found, _ = detector.detect(inputs, target)
        assert np.allclose(found.box, elsewhere) is is_learned

    after = detector.update(frame, elsewhere, target)
    assert after.learned.newest is not target.learned.newest
    assert not torch.equal(after.filtered.sums.power, target.filtered.sums.power)


def test_without_events_the_filter_answers_until_the_target_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = tracker("both")
    detector: Any = mixed._detector(mixed._inference(mixed.sensing, 48))
    frame = wall()
    elsewhere = np.array([69.0, 40.0, 26.0, 20.0])
    monkeypatch.setattr(LearnedDetector, "detect", lambda *given: (FoundBox(BOX, elsewhere, 1e-3), given[-1]))
    target = detector.start(frame, BOX)
    inputs = DetectorInputs(frame, frame, NOTHING, initial_background(frame), BOX, False)

    for _ in range(3):
        found, target = detector.detect(inputs, target)
        np.testing.assert_allclose(found.box, BOX, atol=0.5)
        target = detector.update(frame, BOX, target)

    hidden = inputs._replace(frame=np.ascontiguousarray(frame[::-1, ::-1]))
    found, after = detector.detect(hidden, target)

    assert after.last.ratio < 0.5 * target.usual.ratio
    assert found.second is not None

    np.testing.assert_allclose(found.second.box, elsewhere)
    monkeypatch.setattr(LearnedDetector, "search", lambda *_: FoundBox(elsewhere, elsewhere, 1e-3))
    np.testing.assert_allclose(detector.detect(hidden._replace(lost=True), target)[0].box, elsewhere)


def test_the_size_of_a_trained_answer_is_drawn_towards_the_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twice the given width the answer has 2^0.9, of half its height 2^-0.9; and a box without area gives no NaN."""
    mixed = tracker("both")
    detector: Any = mixed._detector(mixed._inference(mixed.sensing, 48))
    frame = wall()
    inputs = DetectorInputs(frame, frame, SOME, initial_background(frame), BOX, False)
    target = detector.start(frame, BOX)
    wide = FoundBox(BOX, np.array([50.0, 50.0, 52.0, 40.0]), 1e-9)

    with monkeypatch.context() as only:
        only.setattr(CorrelationFilter, "found", lambda *_: wide)
        only.setattr(LearnedDetector, "detect", lambda *given: (FoundBox(BOX, BOX, 1.0), given[-1]))
        assert detector.detect(inputs, target)[0].box.tolist() == wide.box.tolist()

    for answer, size in (([52.0, 10.0], [26 * 2**0.9, 20 * 2**-0.9]), ([0.0, 0.0], [1e-3, 1e-3])):
        box = np.array([50.0, 50.0, *answer])
        monkeypatch.setattr(LearnedDetector, "detect", lambda *given, box=box: (FoundBox(BOX, box, 1e-9), given[-1]))
        found, _ = detector.detect(inputs, target)
        np.testing.assert_allclose(box_center(found.box), box_center(box))

        assert np.isfinite(found.box).all() and (found.box[2:] > 0).all()
        if answer[0]:
            np.testing.assert_allclose(found.box[2:], size)


@pytest.mark.parametrize("growth", [2.2, 0.5])
def test_a_target_that_grows_or_shrinks_keeps_its_box_without_events(growth: float) -> None:
    """The camera zooms before a picture; the sizes that the filter finds are not drawn to the first one."""
    picture = gaussian_filter(np.random.default_rng(0).normal(size=(400, 400)), 5.0)
    picture = 127 + 60 * picture / picture.std()
    state = None
    steps = np.arange(160) - 80.0
    run: Any = shipped_run("sensing")
    one = sensing_recipe.tracker(run).with_options(warns=False)

    for k in range(61):
        scale = growth ** (k / 60)
        seen = map_coordinates(picture, np.meshgrid(*2 * (200 + steps / scale,), indexing="ij"), order=1)
        side = 30 * scale
        true = np.array([80 - side / 2, 80 - side / 2, side, side])

        inputs: Any = {
            "events": NOTHING,
            "elapsed": 1 / 30,
            "frame": seen.clip(0, 255).astype(np.uint8),
            "frame_age": 0.0,
        }

        box, state = one.step(inputs | ({"box": true} if k == 0 else {}), state)

    assert overlaps(box[None], true[None])[0] > 0.7


def test_a_box_in_doubt_is_left_once_a_search_finds_the_target_elsewhere_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = tracker("both")
    detector: Any = mixed._detector(mixed._inference(mixed.sensing, 48))
    frame = wall()
    there = np.array([130.0, 90.0, 26.0, 20.0])
    searches = []

    def search(_: Any, inputs: DetectorInputs, target: Any) -> FoundBox:
        searches.append(inputs.box)
        return FoundBox(there, there, spread)

    def answers(num: int, **changes: Any) -> list[bool]:
        """Whether the target is found elsewhere, in some frames, one after the other; and what is known then."""
        nonlocal target
        found = []
        searches.clear()

        for _ in range(num):
            box, target = detector.detect(inputs._replace(**changes), target)
            found.append(box.is_elsewhere)
            assert not box.is_elsewhere or box.box is there

        return found

    monkeypatch.setattr(LearnedDetector, "search", search)
    monkeypatch.setattr(LearnedDetector, "detect", lambda *given: (FoundBox(BOX, BOX, 0.5), given[-1]))
    larger = np.array([*(BOX[:2] - 5), *(BOX[2:] + 10)])
    inputs = DetectorInputs(frame, frame, SOME, initial_background(frame), larger, False, confidence=0.4)
    target = detector.start(frame, BOX)
    spread = 0.5
    target = detector.update(frame, BOX, target)
    learned = detector.update(np.ascontiguousarray(frame[::-1]), BOX, target)
    target = learned

    assert answers(4) == [False, False, False, True] and len(searches) == 2

    np.testing.assert_allclose(searches[0], BOX)  # a search is for a target of the given size
    assert torch.equal(target.filtered.sums.power, target.filtered.first.power)

    # an answer on the box, one without confidence, a frame without doubt or without events change nothing
    there = BOX + 3
    target = learned

    assert not any(answers(8)) and len(searches) == 2

    there = np.array([130.0, 90.0, 26.0, 20.0])
    spread = 50.0
    target = learned

    assert not any(answers(8)) and len(searches) == 2

    spread = 0.5
    target = learned

    assert not any(answers(8, confidence=0.6) + answers(8, events=NOTHING)) and not searches

    answers(3)
    assert answers(1, confidence=0.6) + answers(2) == [False, False, False]  # not twice in a row


def test_a_target_that_is_found_elsewhere_has_no_known_velocity(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the way to the other place nor the velocity before it is one of the target."""
    one = tracker("learned", calibrate=True)
    state = None
    kept = []
    original = LearnedDetector.detect

    def detect(self: Any, inputs: DetectorInputs, target: Any) -> Any:
        found, target = original(self, inputs, target)
        if len(kept) == 3:
            there = inputs.box + np.array([12.0, 0.0, 0.0, 0.0])
            found = FoundBox(there, there, 0.5, is_elsewhere=True)
        else:
            found = FoundBox(inputs.box, inputs.box, 0.5)

        kept.append(found)
        return found, target

    monkeypatch.setattr(LearnedDetector, "detect", detect)
    for b in range(recording.num_bins):
        given: Any = {"box": recording.frame_boxes[0]} if b == 0 else {}
        before = state
        number = len(kept)
        _, state = one.step({**recording.inputs(b, b + 1), **given}, state)

        if len(kept) == 4 and number == 3:
            assert before is not None
            assert np.isinf(float(state.stream.start.spread)) and state.stream.velocity is None
            assert np.array_equal(state.calibration.losses, before.calibration.losses)
            return

        if len(kept) > number:
            assert np.isfinite(float(state.stream.start.spread)) and state.stream.velocity is not None

    raise AssertionError("the detector was not called four times")


@pytest.mark.parametrize("usual_spread", [0.5, 9.0])
def test_a_hidden_target_is_left_to_the_trained_detector_where_that_usually_sees_it(
    monkeypatch: pytest.MonkeyPatch, usual_spread: float
) -> None:
    mixed = tracker("both")
    detector: Any = mixed._detector(mixed._inference(mixed.sensing, 48))
    frame = wall()
    spread = usual_spread
    monkeypatch.setattr(LearnedDetector, "detect", lambda *given: (FoundBox(BOX, BOX, spread), given[-1]))
    target = detector.start(frame, BOX)
    inputs = DetectorInputs(frame, frame, SOME, initial_background(frame), BOX, False)

    for _ in range(3):
        target = detector.update(frame, BOX, detector.detect(inputs, target)[1])

    assert (target.usual.confidence > 0.9) is (usual_spread == 0.5)

    spread = 200.0
    hidden = inputs._replace(frame=np.ascontiguousarray(frame[::-1, ::-1]))
    found, after = detector.detect(hidden, target)

    assert after.last.ratio < 0.5 * target.usual.ratio
    # the filter alone is sure enough of the background to be used
    assert confidence(found.second.spread if found.spread == 200 else found.spread, BOX) > 0.3
    assert (found.spread == 200) is (usual_spread == 0.5)
    assert after.usual == target.usual


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
    found = at_frames(clip, whole)

    assert np.array_equal(found.truths, clip.frame_boxes)
    assert np.array_equal(found.boxes, whole.boxes[clip.frame_bins])
    assert np.array_equal(found.bins, clip.frame_bins)
