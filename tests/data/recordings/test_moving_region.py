"""The largest moving region: where pixels change, and few do around it."""

from dataclasses import replace

import numpy as np
import pytest

from spikebridge.data import EventBins, Recording, make_events
from spikebridge.data.events.binned import bin_sparse
from spikebridge.data.recordings.moving_region import largest_moving_region
from spikebridge.errors import DataError


def recording(pixels: np.ndarray, height: int = 60, width: int = 80) -> Recording:
    """A recording of one frame with an event in each of some pixels `(N, 2)`, x and y."""
    x, y = pixels.T
    number = len(pixels)
    events: EventBins = bin_sparse(
        make_events(t=np.zeros(number), x=x, y=y, p=np.ones(number)), height, width, dt=0.01, num_bins=5
    )
    nothing = np.full((1, 4), np.nan)
    frame = np.zeros((1, height, width), np.uint8)

    return Recording("made", 0.01, events, frame, np.zeros(1), np.zeros(1, np.int64), nothing, np.full((5, 4), np.nan))


def square(x: int, y: int, side: int) -> np.ndarray:
    """All pixels of a square."""
    return np.stack(np.meshgrid(np.arange(x, x + side), np.arange(y, y + side)), axis=-1).reshape(-1, 2)


def test_of_two_squares_the_larger_one_is_found() -> None:
    found = largest_moving_region(recording(np.concatenate([square(4, 6, 8), square(40, 20, 24)])))
    assert found.tolist() == [40, 20, 24, 24]


def test_a_moving_background_does_not_hide_a_square() -> None:
    generator = np.random.default_rng(0)
    sparse = np.argwhere(generator.random((80, 60)) < 0.2)
    x, y, w, h = largest_moving_region(recording(np.concatenate([sparse, square(30, 20, 20)])))

    assert (x, y) == (30, 20)
    assert (w, h) == (20, 20)


def test_what_happens_later_does_not_count() -> None:
    early = recording(square(4, 6, 12))
    events = replace(early.events, edges=np.zeros(6, np.int64))
    with pytest.raises(DataError, match=r"0 pixels change in the first 50 ms, too few .* --init x,y,w,h"):
        largest_moving_region(replace(early, events=events))


def test_a_sensor_smaller_than_any_box_is_one_box() -> None:
    assert largest_moving_region(recording(square(0, 0, 5), 5, 5)).tolist() == [0, 0, 5, 5]
