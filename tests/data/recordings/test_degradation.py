"""Recordings as another camera would have made them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.data.simulation.render import render_recording
from spikebridge.errors import ConfigError

RECORDING = render_recording(RotatingDisk(height=48, width=48), duration=0.2, dt=0.005)


def test_nothing_changes_without_a_setting() -> None:
    same = degraded(RECORDING, Degradation())
    assert same.events is RECORDING.events
    assert same.frames is RECORDING.frames


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 1), st.floats(0, 5e4), st.integers(0, 99))
def test_each_bin_keeps_its_share_of_events_and_each_frame_its_first_event(lose: float, add: float, seed: int) -> None:
    other = degraded(RECORDING, Degradation(lose_events=lose, add_events=add, seed=seed))
    before = np.diff(RECORDING.events.edges)
    if not add:
        assert (np.diff(other.events.edges) <= before).all()

    # the number before each frame grows and shrinks with that of its bins
    bins = other.frame_bins[other.frame_bins < other.num_bins]
    first = other.frame_events[: len(bins)]

    assert (first <= other.events.edges[bins]).all()
    assert (np.diff(other.frame_events) >= 0).all()
    assert other.events.edges[-1] == len(other.events.x)


def test_shares_and_rates_are_those_asked_for() -> None:
    num = RECORDING.events.num_events
    assert degraded(RECORDING, Degradation(lose_events=0.75)).events.num_events == pytest.approx(0.25 * num, rel=0.1)

    added = degraded(RECORDING, Degradation(add_events=1e5)).events.num_events - num
    assert added == pytest.approx(1e5 * 0.2, rel=0.05)

    one, same, other = (degraded(RECORDING, Degradation(lose_events=0.5, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.events.x, same.events.x)
    assert not np.array_equal(one.events.edges, other.events.edges)


def test_contrast_and_blur_change_frames_when_they_are_read() -> None:
    frame = np.asarray(RECORDING.frames[1], dtype=float)
    weak = np.asarray(degraded(RECORDING, Degradation(contrast=0.5)).frames[1], dtype=float)

    assert weak.std() == pytest.approx(0.5 * frame.std(), rel=0.05)
    assert weak.mean() == pytest.approx(frame.mean(), abs=1)

    soft = degraded(RECORDING, Degradation(blur=2.0)).subsample_frames(2).frames[1]
    sharp = np.asarray(RECORDING.frames[2], dtype=float)

    assert np.abs(np.diff(np.asarray(soft, dtype=float))).max() < np.abs(np.diff(sharp)).max()


@pytest.mark.parametrize(
    "wrong",
    [
        {"lose_events": 1.1},
        {"lose_events": float("nan")},
        {"add_events": -1.0},
        {"contrast": -1.0},
        {"blur": float("inf")},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Degradation(**wrong)
