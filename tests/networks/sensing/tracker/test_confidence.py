"""Confidence and its signals, worked by hand, and a tracker whose target leaves the sensor."""

from math import exp, log, log1p

import numpy as np
import pytest
import torch

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.recordings.recording import Inputs
from spikebridge.networks.sensing.model.boxes import box_center, translate_box
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker import confidence
from spikebridge.networks.sensing.tracker.confidence import (
    Signals,
    found_evidence,
    given_evidence,
    overlap_confidence,
    signals,
    target_contrast,
    with_events,
)
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions

BOX = np.array([20.0, 20.0, 16.0, 16.0])
NOTHING = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))


def square(x: int = 20, y: int = 20) -> np.ndarray:
    """A bright square of 16 px with a dark half."""
    frame = np.full((64, 64), 60, np.uint8)
    frame[y : y + 16, x : x + 16] = 200
    frame[y : y + 16, x + 8 : x + 16] = 120
    return frame


def test_the_contrast_of_a_target_is_one_and_that_of_background_none() -> None:
    assert given_evidence(square(), BOX, None, None).contrast == 1.0
    assert target_contrast(square(), np.array([2.0, 2.0, 10.0, 10.0])) == 0.0


def test_the_correction_is_a_mean_over_frames_in_sizes_of_the_target() -> None:
    evidence = given_evidence(square(), BOX, None, None)
    moved = translate_box(BOX, np.array([4.0, 0.0]))
    found = found_evidence(evidence, BOX, moved)
    assert found.correction == pytest.approx(0.8 * 0.1 + 0.2 * 4 / 16)
    assert evidence.given and not found.given
    again = given_evidence(square(), BOX, translate_box(BOX, np.array([8.0, 0.0])), found)
    assert again.correction == pytest.approx(0.8 * found.correction + 0.2 * 0.5)


def test_a_place_that_is_no_number_counts_as_far_away() -> None:
    evidence = given_evidence(square(), BOX, None, None)
    assert found_evidence(evidence, BOX, np.full(4, np.nan)).correction == pytest.approx(0.08 + 0.4)


def test_events_in_the_box_are_counted_for_each_pixel_and_bin() -> None:
    evidence = given_evidence(square(), BOX, None, None)
    x, y = np.array([20, 35, 36, 5], np.uint16), np.array([20, 35, 30, 5], np.uint16)  # two of four inside
    events = BinEvents(x, y, np.ones(4, bool))
    once = with_events(evidence, events, BOX, 1)
    assert once.events == pytest.approx(0.05 * 2 / 256)
    assert with_events(once, NOTHING, BOX, 3).events == pytest.approx(0.95**3 * once.events)


def test_signals_have_no_unit() -> None:
    evidence = given_evidence(square(), BOX, None, None)._replace(events=0.02, given=False)
    made = signals(
        evidence, BOX * [1, 1, 2, 2], np.array([3.0, 4.0]), age=0.05, spread=3.2, detector_spread=0.0, num_unsure=2
    )
    assert made.spread == pytest.approx(log(0.11))  # 3.2 of 32 px, and .01
    assert made.detector_spread == pytest.approx(log(0.02))
    assert made.moved == pytest.approx(5 / 32)
    assert signals(evidence, BOX, np.array([30.0, 40.0]), 0.01, 1.0, 1.0, 0).moved == 0.3  # at most
    assert made.resized == pytest.approx(log(2))
    assert made.age == pytest.approx(log(2))
    assert made.events == pytest.approx(log1p(2))
    assert made.unsure == pytest.approx(2 / 3) and made.given == 0


def test_confidence_is_the_logistic_function_of_the_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = Signals(*[1.0] * len(Signals._fields))
    monkeypatch.setattr(confidence, "BIAS", -1.0)
    monkeypatch.setattr(confidence, "WEIGHTS", Signals(*[0.25] * len(Signals._fields)))
    assert overlap_confidence(ones) == pytest.approx(1 / (1 + exp(1 - 0.25 * len(ones))))


@pytest.mark.parametrize(
    ("signal", "sign"),
    [("spread", -1), ("detector_spread", -1), ("correction", -1), ("events", 1), ("unsure", -1), ("age", -1)],
)
def test_fitted_weights_have_the_sign_that_they_must(signal: str, sign: int) -> None:
    assert sign * getattr(confidence.WEIGHTS, signal) > 0


def test_a_box_whose_middle_is_off_the_sensor_is_lost_without_confidence_until_a_box_is_given() -> None:
    torch.manual_seed(0)
    options = SensingOptions(num_features=4, reach=6, detector=False)
    tracker = SensingTracker(Sensing(0.005, options).eval(), TrackerOptions(crop=48))
    box, state, seen = np.array([40.0, 20.0, 8.0, 8.0]), None, []
    for k in range(8):  # 10 px a frame to the right: at the fourth frame the middle would be at 74 of 64
        given = {"box": translate_box(box, np.array([10.0 * k, 0.0]))} if k < 2 else {}
        frame = Inputs(events=NOTHING, elapsed=0.025, frame=square(), frame_age=0.025)
        _, state = tracker.step({**frame, **given}, state)
        seen.append((box_center(state.box)[0] > 64, state.lost, state.confidence))
    off, lost, sure = zip(*seen, strict=True)
    assert any(off) and not any(off[:3])
    assert list(off) == [one == 0 for one in sure]
    assert lost == (False, False, False, *[True] * 5)  # it is searched for, also where the box is back inside
    assert state is not None
    _, state = tracker.step({**frame, "box": box}, state)
    assert not state.lost
