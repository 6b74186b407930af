"""Warnings about inputs that a tracker can hardly follow: what is said, when, and once."""

import warnings

import numpy as np
import pytest
import torch

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.recordings.recording import Inputs
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.suitability import (
    Beginning,
    TrackingWarning,
    first_box_warnings,
    stream_warnings,
)
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions

pytestmark = pytest.mark.untyped


def frame_of(grey: int) -> np.ndarray:
    """A square of 16 px at (20, 20) before a background of grey 60."""
    frame = np.full((64, 64), 60, np.uint8)
    frame[20:36, 20:36] = grey
    return frame


def events(number: int) -> BinEvents:
    return BinEvents(np.arange(number, dtype=np.uint16) % 64, np.zeros(number, np.uint16), np.ones(number, bool))


def test_a_box_on_a_target_of_its_own_grey_levels_has_no_warning() -> None:
    assert first_box_warnings(frame_of(200), np.array([20.0, 20.0, 16.0, 16.0])) == []


def test_a_box_without_contrast_and_one_on_background_are_named() -> None:
    for frame, box in ((frame_of(60), [20.0, 20.0, 16.0, 16.0]), (frame_of(200), [44.0, 44.0, 12.0, 12.0])):
        (said,) = first_box_warnings(frame, np.array(box))
        assert said.startswith("first box: its grey levels are those of its surroundings (contrast 0.00")


def test_a_target_below_the_smallest_size_is_named_with_its_size() -> None:
    frame = np.full((64, 64), 60, np.uint8)
    frame[18:26, 18:26] = 200
    (said,) = first_box_warnings(frame, np.array([18.0, 18.0, 8.0, 8.0]))
    assert said.startswith("first box: 8 x 8 px is below the smallest size of 12 x 12 px")


def test_events_and_motion_are_looked_at_once() -> None:
    first = np.array([20.0, 20.0, 16.0, 16.0])
    quiet = Beginning(first, 0.25, 2)
    moved = first + np.array([2.0, 0, 0, 0])

    assert len(stream_warnings(quiet, 0.24, moved)) == 1
    assert len(stream_warnings(quiet, 0.24, first)) == 2
    assert stream_warnings(quiet, 0.26, first) == stream_warnings(quiet._replace(seconds=0.24), 0.2, first) == []
    assert stream_warnings(quiet._replace(num_events=102), 0.24, moved) == []


@pytest.mark.parametrize(("number", "expected"), [(0, 1), (5, 0)])
def test_a_tracker_warns_once_of_a_stream_without_events(number: int, expected: int) -> None:
    torch.manual_seed(0)
    options = SensingOptions(num_features=4, reach=6, detector=False)
    tracker = SensingTracker(Sensing(0.005, options).eval(), TrackerOptions(crop=48, warns=True))
    state = None

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(100):
            first = {"frame": frame_of(200), "frame_age": 0.005, "box": np.array([20.0, 20.0, 16.0, 16.0])}
            _, state = tracker.step(Inputs(events=events(number), elapsed=0.005, **({} if k else first)), state)

    said = [str(one.message) for one in caught if one.category is TrackingWarning]
    assert sum("0 events in 0.25 s" in one for one in said) == expected
    assert sum("it has not moved in 0.25 s" in one for one in said) <= 1


def test_a_tracker_that_is_not_asked_to_warn_is_silent() -> None:
    torch.manual_seed(0)
    options = SensingOptions(num_features=4, reach=6, detector=False)
    tracker = SensingTracker(Sensing(0.005, options).eval(), TrackerOptions(crop=48))
    first = Inputs(events=events(0), elapsed=0.3, frame=frame_of(60), frame_age=0.3, box=np.array([20.0, 20, 8, 8]))
    tracker.step(first, None)  # warnings are errors in tests
