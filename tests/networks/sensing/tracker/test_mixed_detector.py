"""A trained detector and a correlation filter together: which one answers, which box is kept, and what is learned."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from spikebridge.data.events.binned import BinEvents
from spikebridge.networks.sensing import recipe as sensing_recipe
from spikebridge.networks.sensing.detection.box_detector import DetectedBox, DetectorInputs, detection_confidence
from spikebridge.networks.sensing.detection.correlation_filter import CorrelationFilter
from spikebridge.networks.sensing.detection.patches import ColourFrame
from spikebridge.networks.sensing.evaluation.metrics import overlaps
from spikebridge.networks.sensing.model.background import initial_background
from spikebridge.networks.sensing.model.boxes import box_center, box_from_center, translate_box
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.detectors import LearnedDetector
from spikebridge.networks.sensing.tracker.fused_detector import FusedDetector
from spikebridge.networks.sensing.tracker.mixed_detector import MixedDetector
from spikebridge.pretrained import shipped_run

pytestmark = pytest.mark.untyped

BOX = np.array([60.0, 40.0, 26.0, 20.0])
NOTHING = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
SOME = BinEvents(np.array([3], np.uint16), np.array([5], np.uint16), np.array([True]))


def wall(height: int = 121, width: int = 163) -> np.ndarray:
    """Smooth texture, odd sides."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a + y * b + c) for a, b, c in generator.uniform(-0.6, 0.6, (24, 3)) * [1, 1, 10]]
    return (128 + 20 * np.sum(waves, 0)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def detector() -> MixedDetector:
    torch.manual_seed(0)
    sensing = Sensing(0.005, SensingOptions(num_features=4, reach=6)).eval()
    assert sensing.detector is not None
    return MixedDetector(LearnedDetector(FusedDetector(sensing.detector)), CorrelationFilter())


def test_with_events_the_surer_detector_answers_and_both_learn(
    detector: MixedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = wall()
    elsewhere = np.array([69.0, 40.0, 26.0, 20.0])
    inputs = DetectorInputs(frame, frame, SOME, initial_background(frame), BOX, False)
    target = detector.start(ColourFrame(frame), BOX)

    for spread, is_learned in ((1e-3, True), (1e3, False)):
        answer = DetectedBox(BOX, elsewhere, spread), target.learned
        monkeypatch.setattr(LearnedDetector, "detect", lambda *_, answer=answer: answer)
        detection, _ = detector.detect(inputs, target)
        assert np.allclose(detection.box, elsewhere) is is_learned

    after = detector.update(ColourFrame(frame), elsewhere, target)
    assert after.learned.newest is not target.learned.newest
    assert not np.array_equal(after.filtered.sums.power, target.filtered.sums.power)


@pytest.mark.parametrize(("apart", "place", "factor"), [(5.0, 4.5, 2**0.1), (13.0, 13.0, 1.0), (np.nan, 0.0, 2.0)])
def test_detections_that_agree_are_weighted_by_their_inverse_variances(
    detector: MixedDetector, monkeypatch: pytest.MonkeyPatch, apart: float, place: float, factor: float
) -> None:
    """Deviations of 1 and 3 px are weights of .9 and .1, within four times 3.2 px; a place that is none counts not."""
    frame = wall()
    inputs = DetectorInputs(frame, frame, SOME, initial_background(frame), BOX, False)
    target = detector.start(ColourFrame(frame), BOX)
    there = DetectedBox(BOX, translate_box(BOX, np.array([apart, 0.0])), 1.0 if np.isfinite(apart) else 9.0)
    large = DetectedBox(BOX, box_from_center(box_center(BOX), 2 * BOX[2:]), 3.0)
    monkeypatch.setattr(CorrelationFilter, "detect", lambda *given: (large, given[-1]))
    monkeypatch.setattr(LearnedDetector, "detect", lambda *given: (there, given[-1]))

    found = detector.detect(inputs, target)[0].box
    np.testing.assert_allclose(box_center(found), box_center(translate_box(BOX, np.array([place, 0.0]))))
    np.testing.assert_allclose(found[2:], factor * BOX[2:])


def test_without_events_the_filter_answers_until_the_target_is_lost(
    detector: MixedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = wall()
    elsewhere = np.array([69.0, 40.0, 26.0, 20.0])
    monkeypatch.setattr(LearnedDetector, "detect", lambda *given: (DetectedBox(BOX, elsewhere, 1e-3), given[-1]))
    target = detector.start(ColourFrame(frame), BOX)
    inputs = DetectorInputs(frame, frame, NOTHING, initial_background(frame), BOX, False)

    for _ in range(3):
        detection, target = detector.detect(inputs, target)
        np.testing.assert_allclose(detection.box, BOX, atol=0.5)
        target = detector.update(ColourFrame(frame), BOX, target)

    hidden = inputs._replace(frame=np.ascontiguousarray(frame[::-1, ::-1]))
    detection, after = detector.detect(hidden, target)

    assert after.last.ratio < 0.5 * target.usual.ratio
    assert detection.second is not None

    np.testing.assert_allclose(detection.second.box, elsewhere)
    monkeypatch.setattr(LearnedDetector, "search", lambda *_: DetectedBox(elsewhere, elsewhere, 1e-3))
    np.testing.assert_allclose(detector.detect(hidden._replace(lost=True), target)[0].box, elsewhere)


def test_frames_alone_are_left_to_the_filter_where_the_trained_detector_needs_events(
    detector: MixedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = wall()
    automatic = replace(detector, needs_events=True)
    target = automatic.start(ColourFrame(frame), BOX)
    inputs = DetectorInputs(frame, frame, NOTHING, initial_background(frame), BOX, True)
    answer = DetectedBox(BOX, BOX, 1e-3)
    asked = []
    monkeypatch.setattr(LearnedDetector, "detect", lambda *given: asked.append(1) or (answer, given[-1]))

    alone, after = automatic.detect(inputs, target)
    assert not asked and alone.probability is not None and alone.second is None

    blended, _ = automatic.detect(inputs._replace(events=SOME), automatic.update(ColourFrame(frame), BOX, after))
    assert asked and blended.probability is None


def test_the_size_of_a_trained_answer_is_drawn_towards_the_given_one(
    detector: MixedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of twice the given width has 2^0.9 of it, one of half its height 2^-0.9; no area gives no NaN."""
    frame = wall()
    inputs = DetectorInputs(frame, frame, SOME, initial_background(frame), BOX, False)
    target = detector.start(ColourFrame(frame), BOX)
    wide = DetectedBox(BOX, np.array([50.0, 50.0, 52.0, 40.0]), 1e-9)

    with monkeypatch.context() as only:
        only.setattr(CorrelationFilter, "detect", lambda *given: (wide, given[-1]))
        only.setattr(LearnedDetector, "detect", lambda *given: (DetectedBox(BOX, BOX, 1.0), given[-1]))
        assert detector.detect(inputs, target)[0].box.tolist() == wide.box.tolist()

    for sides, size in (([52.0, 10.0], [26 * 2**0.9, 20 * 2**-0.9]), ([0.0, 0.0], [1e-3, 1e-3])):
        box = np.array([50.0, 50.0, *sides])
        monkeypatch.setattr(LearnedDetector, "detect", lambda *given, box=box: (DetectedBox(BOX, box, 1e-9), given[-1]))
        detection, _ = detector.detect(inputs, target)
        np.testing.assert_allclose(box_center(detection.box), box_center(box))

        assert np.isfinite(detection.box).all() and (detection.box[2:] > 0).all()
        if sides[0]:
            np.testing.assert_allclose(detection.box[2:], size)


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
        frame = map_coordinates(picture, np.meshgrid(*2 * (200 + steps / scale,), indexing="ij"), order=1)
        side = 30 * scale
        true = np.array([80 - side / 2, 80 - side / 2, side, side])

        inputs: Any = {
            "events": NOTHING,
            "elapsed": 1 / 30,
            "frame": frame.clip(0, 255).astype(np.uint8),
            "frame_age": 0.0,
        }

        box, state = one.step(inputs | ({"box": true} if k == 0 else {}), state)

    assert overlaps(box[None], true[None])[0] > 0.7


def test_a_box_in_doubt_is_left_once_a_search_finds_the_target_elsewhere_twice(
    detector: MixedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = wall()
    there = np.array([130.0, 90.0, 26.0, 20.0])
    searches = []

    def search(_: Any, inputs: DetectorInputs, target: Any) -> DetectedBox:
        searches.append(inputs.box)
        return DetectedBox(there, there, spread)

    def answers(num: int, **changes: Any) -> list[bool]:
        """True for each of some frames, one after the other, in which the target is detected elsewhere."""
        nonlocal target
        elsewhere = []
        searches.clear()

        for _ in range(num):
            box, target = detector.detect(inputs._replace(**changes), target)
            elsewhere.append(box.is_elsewhere)
            assert not box.is_elsewhere or box.box is there

        return elsewhere

    monkeypatch.setattr(LearnedDetector, "search", search)
    monkeypatch.setattr(LearnedDetector, "detect", lambda *given: (DetectedBox(BOX, BOX, 0.5), given[-1]))
    larger = np.array([*(BOX[:2] - 5), *(BOX[2:] + 10)])
    inputs = DetectorInputs(frame, frame, SOME, initial_background(frame), larger, False, confidence=0.4)
    target = detector.start(ColourFrame(frame), BOX)
    spread = 0.5
    target = detector.update(ColourFrame(frame), BOX, target)
    learned = detector.update(ColourFrame(np.ascontiguousarray(frame[::-1])), BOX, target)
    target = learned

    assert answers(4) == [False, False, False, True] and len(searches) == 2

    np.testing.assert_allclose(searches[0], BOX)  # a search is for a target of the given size
    assert np.array_equal(target.filtered.sums.power, target.filtered.first.power)

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


@pytest.mark.parametrize("usual_spread", [0.5, 9.0])
def test_a_hidden_target_is_left_to_the_trained_detector_where_that_usually_sees_it(
    detector: MixedDetector, monkeypatch: pytest.MonkeyPatch, usual_spread: float
) -> None:
    frame = wall()
    spread = usual_spread
    monkeypatch.setattr(LearnedDetector, "detect", lambda *given: (DetectedBox(BOX, BOX, spread), given[-1]))
    target = detector.start(ColourFrame(frame), BOX)
    inputs = DetectorInputs(frame, frame, SOME, initial_background(frame), BOX, False)

    for _ in range(3):
        target = detector.update(ColourFrame(frame), BOX, detector.detect(inputs, target)[1])

    assert (target.usual.confidence > 0.9) is (usual_spread == 0.5)

    spread = 200.0
    hidden = inputs._replace(frame=np.ascontiguousarray(frame[::-1, ::-1]))
    detection, after = detector.detect(hidden, target)

    assert after.last.ratio < 0.5 * target.usual.ratio
    # the filter alone is sure enough of the background to be used
    assert detection_confidence(detection.second.spread if detection.spread == 200 else detection.spread, BOX) > 0.3
    assert (detection.spread == 200) is (usual_spread == 0.5)
    assert after.usual == target.usual
