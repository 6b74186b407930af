"""Confidence and its signals, worked by hand, and a tracker whose target leaves the sensor."""

from math import exp, log

import numpy as np
import pytest
import torch

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.recordings.recording import Inputs
from spikebridge.networks.sensing.detection.box_detector import DetectedBox, detection_confidence
from spikebridge.networks.sensing.model.boxes import box_center, translate_box
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker import confidence
from spikebridge.networks.sensing.tracker.confidence import (
    BoxEvidence,
    Signals,
    add_confidence,
    add_events,
    detection_evidence,
    given_evidence,
    moved_evidence,
    overlap_confidence,
    signals,
    target_contrast,
)
from spikebridge.networks.sensing.tracker.suitability import Beginning, stream_warnings
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions

pytestmark = pytest.mark.untyped

BOX = np.array([20.0, 20.0, 16.0, 16.0])
NOTHING = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))


def square(x: int = 20, y: int = 20) -> np.ndarray:
    """A bright square of 16 px with a dark half."""
    frame = np.full((64, 64), 60, np.uint8)
    frame[y : y + 16, x : x + 16] = 200
    frame[y : y + 16, x + 8 : x + 16] = 120
    return frame


def test_the_contrast_of_a_target_is_one_and_that_of_background_none() -> None:
    assert target_contrast(square(), BOX) == 1.0
    assert target_contrast(square(), np.array([2.0, 2.0, 10.0, 10.0])) == 0.0


def found(box: np.ndarray, spread: float, second: DetectedBox | None = None) -> DetectedBox:
    return DetectedBox(BOX, box, spread, second)


def test_the_less_sure_detector_counts_and_how_far_the_two_are_apart() -> None:
    other = found(translate_box(BOX, np.array([0.0, 4.0])), spread=8.0)
    both = detection_evidence(BoxEvidence(), found(BOX, 2.0, other))

    assert (both.detector_spread, both.apart) == (0.5, 0.25)

    alone = detection_evidence(both, found(BOX, 2.0))
    assert (alone.detector_spread, alone.apart) == (0.125, 0.2)

    again = given_evidence(both._replace(events=0.1))
    assert (again.detector_spread, again.apart, again.events) == (0.0, 0.0, 0.1)


def test_a_place_that_is_no_number_counts_as_far_away() -> None:
    evidence = detection_evidence(BoxEvidence(), found(BOX, 1.0, found(np.full(4, np.nan), np.inf)))
    assert (evidence.detector_spread, evidence.apart) == (2.0, 2.0)


def test_events_are_counted_in_the_box_in_its_middle_and_around_it() -> None:
    # the box has pixels 20 to 35, its middle 24 to 31, and what is around it reaches to 15.2 and 40.8
    x = np.array([20, 35, 24, 36, 15, 14], np.uint16)
    y = np.array([20, 35, 31, 30, 30, 30], np.uint16)
    once = add_events(BoxEvidence(), BinEvents(x, y, np.ones(6, bool)), BOX, 1)

    assert once.events == pytest.approx(0.05 * 3 / 256)
    assert once.inner == pytest.approx(0.05 * 1 / 256)
    assert once.around == pytest.approx(0.05 * 2 / 256 / (1.6**2 - 1))
    assert add_events(once, NOTHING, BOX, 3).events == pytest.approx(0.95**3 * once.events)

    # of the five near the box two are to the right of its middle, and four below
    assert [256 * one for one in (once.near, once.right, once.below, once.usual)] == pytest.approx([5, 2, 4, 5])
    assert once.aside == pytest.approx(10**0.5 / (5 + 0.002 * 256))

    # first the mean of all bins, later a decaying one
    later = add_events(once, NOTHING, BOX, 1)
    assert (256 * later.near, 256 * later.usual, later.num_bins) == pytest.approx((2.5, 2.5, 2))
    last = add_events(once._replace(num_bins=100), NOTHING, BOX, 2)
    assert 256 * np.array([last.near, last.usual]) == pytest.approx([5 * 0.85**2, 5 * 0.985**2])


def test_events_of_a_target_ahead_of_its_box_are_aside() -> None:
    edges = np.array([[x, y] for x in (20, 35) for y in range(20, 36)], np.uint16).T
    events = BinEvents(*edges, np.ones(32, bool))
    on_it, behind = (add_events(BoxEvidence(), events, translate_box(BOX, np.array([x, 0.0])), 1) for x in (0.0, -8.0))

    assert on_it.aside == 0 and behind.aside > 0.9


def test_a_box_three_times_too_large_is_not_filled_and_one_without_events_is_neutral() -> None:
    edges = np.array([[x, y] for x in (20, 35) for y in range(20, 36)] * 9, np.uint16).T
    events = BinEvents(*edges, np.ones(9 * 32, bool))
    fits = add_events(BoxEvidence(), events, BOX, 10)
    large = add_events(BoxEvidence(), events, np.array([4.0, 4.0, 48.0, 48.0]), 10)

    assert fits.filled > 0.9 and large.filled < 0.5
    assert BoxEvidence().filled == 0.75

    (warned,) = stream_warnings(Beginning(BOX, 0.25, 32), 0.2, BOX + 3, large.filled)[:1]
    assert warned.startswith("first box: ") and "not much larger than the target" in warned


def test_signals_have_no_unit() -> None:
    evidence = BoxEvidence(
        detector_spread=0.1, apart=0.3, events=0.02, inner=0.005, near=0.02, right=0.02, below=0.01, usual=0.2
    )
    made = signals(evidence, BOX * [1, 1, 2, 2], np.array([3.0, 4.0]), np.array([0.0, 256.0]), age=0.05, num_unsure=2)

    assert made.filled == pytest.approx((0.015 + 0.0015) / 0.022)
    assert made.focus == pytest.approx(log(11))
    assert made.aside == pytest.approx(0.02 / 0.022)
    assert made.change == pytest.approx(log(0.022 / 0.202))
    assert made.moved == pytest.approx(5 / 32)
    assert made.moved_in_doubt == pytest.approx(5 / 32 * (log(0.12) + 4))
    # a fifth of its size in 25 ms
    assert made.speed == pytest.approx(log(0.22))
    assert made.detector_spread == pytest.approx(log(0.12)) and made.apart == pytest.approx(log(0.32))
    assert made.age == pytest.approx(log(2))
    assert made.unsure == pytest.approx(2 / 3)

    far = signals(evidence, BOX, np.array([30.0, 40.0]), None, 0.01, 0)
    assert (far.moved, far.speed) == (0.3, log(0.02))  # at most, and unknown


def test_confidence_is_the_logistic_function_of_the_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = Signals(*[1.0] * len(Signals._fields))
    monkeypatch.setattr(confidence, "BIAS", -1.0)
    monkeypatch.setattr(confidence, "LIMITS", {**dict.fromkeys(Signals._fields, ()), "focus": (0.5, 0.75)})
    weights = {**dict.fromkeys(Signals._fields, (0.25,)), "focus": (1.0, 2.0, 4.0)}
    monkeypatch.setattr(confidence, "WEIGHTS", weights)
    odds = 0.25 * 10 + 0.5 + 2 * 0.25 + 4 * 0.25  # half of the focus, and two quarters above

    assert overlap_confidence(BoxEvidence(on_sensor=1.0), ones) == pytest.approx(1 / (1 + exp(1 - odds)))


@pytest.mark.parametrize(
    ("signal", "sign"),
    [("filled", 1), ("aside", -1), ("speed", -1), ("detector_spread", -1), ("apart", -1), ("age", -1)],
)
def test_fitted_weights_have_the_sign_that_they_must(signal: str, sign: int) -> None:
    weights = [sign * weight for weight in confidence.WEIGHTS[signal]]
    assert min(weights) >= 0 and len(weights) == len(confidence.LIMITS[signal]) + 1
    assert any(weights)


def test_without_events_on_the_sensor_the_confidence_is_that_of_the_less_sure_detector() -> None:
    silent = BoxEvidence(detector_spread=0.25, apart=0.1)
    made = signals(silent, BOX, np.zeros(2), None, 0.0, 0)
    assert overlap_confidence(silent, made) == pytest.approx(detection_confidence(4.0, BOX))

    # one far from the box tells that the camera gives events
    event = BinEvents(np.array([60], np.uint16), np.array([60], np.uint16), np.ones(1, bool))
    seen = add_events(silent, event, BOX, 2)
    assert (seen.on_sensor, seen.near) == (0.5, 0) and seen.has_events and not silent.has_events


def test_a_box_whose_centre_is_outside_the_sensor_is_lost_until_a_box_is_given() -> None:
    torch.manual_seed(0)
    options = SensingOptions(num_features=4, reach=6, detector=False)
    tracker = SensingTracker(Sensing(0.005, options).eval(), TrackerOptions(crop=48))
    box = np.array([40.0, 20.0, 8.0, 8.0])
    state = None
    rows = []

    # 10 px a frame to the right: at the fourth frame the centre would be at 74 of 64
    for k in range(8):
        given = {"box": translate_box(box, np.array([10.0 * k, 0.0]))} if k < 2 else {}
        frame = Inputs(events=NOTHING, elapsed=0.025, frame=square(), frame_age=0.025)
        _, state = tracker.step({**frame, **given}, state)
        rows.append((box_center(state.box)[0] > 64, state.lost, state.confidence))

    is_outside, lost, confidences = zip(*rows, strict=True)
    assert any(is_outside) and not any(is_outside[:3])
    assert list(is_outside) == [confidence == 0 for confidence in confidences]
    # the detector searches the frame, also after the box is inside again
    assert lost == (False, False, False, *[True] * 5)
    assert state is not None

    _, state = tracker.step({**frame, "box": box}, state)
    assert not state.lost


def test_the_confidence_of_a_detection_is_that_of_an_error_below_a_quarter_of_the_size() -> None:
    # an error of 3 px of a target of 12 px, for a Gaussian in the plane of 3 px
    assert detection_confidence(3.0, np.array([0.0, 0.0, 12.0, 12.0])) == pytest.approx(1 - exp(-1 / 2))


def test_a_box_that_holds_no_events_is_believed_less_the_longer_they_are_missing() -> None:
    assert BoxEvidence().ceiling == 1

    # .95 ** 20 = .358 of the bins are unknown, and one event in 1,000 pixels is half of what says little
    assert BoxEvidence(num_bins=20).ceiling == pytest.approx(0.358, abs=0.001)
    assert BoxEvidence(num_bins=20, events=0.001).ceiling == pytest.approx(0.858, abs=0.001)
    assert BoxEvidence(num_bins=20, events=0.002).ceiling == 1


def test_a_box_elsewhere_is_no_surer_than_the_target_ever_was() -> None:
    confidence, tracked = add_confidence(BoxEvidence(num_bins=500, events=0.1, on_sensor=1.0), 0.7)
    assert confidence == 0.7
    assert tracked.ceiling == 1

    # BOX is moved by half its side, then by twice its sides
    beside = moved_evidence(tracked, BOX, translate_box(BOX, BOX[2:] / 2))
    elsewhere = moved_evidence(tracked, BOX, translate_box(BOX, 2 * BOX[2:]))
    assert beside == tracked
    assert elsewhere.ceiling == pytest.approx(0.7)

    # it stays so whatever the new place answers, until a box is given
    confidence, surer = add_confidence(elsewhere, 0.95)
    again = moved_evidence(surer, BOX, translate_box(BOX, 2 * BOX[2:]))
    assert confidence == pytest.approx(0.7 * 0.95)
    assert again.ceiling == pytest.approx(0.7)
    assert given_evidence(again).ceiling == 1
