"""Frames of a live stream that arrive late: with which events they are given, and which are refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.data.events.binned import bin_sparse
from spikebridge.data.events.events import Events, make_events
from spikebridge.data.recordings.recording import Inputs, Recording
from spikebridge.data.streams import binner as recent_events
from spikebridge.data.streams.binner import EventBinner, FrameFeed, FrameOptions, RecentEvents

pytestmark = pytest.mark.untyped

WIDTH = 100


def numbered(*times: int, first: int = 0) -> Events:
    """Events whose columns are their numbers."""
    columns = np.arange(first, first + len(times))
    return make_events(list(times), columns, 0 * columns, 0 * columns)


def picture(grey: int) -> np.ndarray:
    return np.full((1, WIDTH), grey, np.uint8)


def begun(dt: float = 0.001, **use: bool) -> EventBinner:
    """A stream with a frame at time 0."""
    stream = EventBinner(dt, 1, WIDTH, frames=FrameOptions(**use))
    stream.add_frame(0, picture(0))
    return stream


def brought(inputs: Inputs) -> tuple[list[int], int | None, float | None]:
    """Events by number, the frame's grey level, and its age in whole microseconds."""
    age = inputs.get("frame_age")
    grey = inputs["frame"].max() if "frame" in inputs else None
    return inputs["events"].x.tolist(), grey, None if age is None else round(1e6 * age)


def test_a_late_frame_is_given_with_the_events_since_its_time() -> None:
    stream = begun()
    stream.add(numbered(1100, 1900, 2100, 3100, 4100))

    assert brought(stream.inputs(0, 4)) == ([0, 1, 2, 3], 0, 4000)

    stream.add_frame(1900, picture(1))
    stream.add(numbered(5100, 6100, first=5))

    assert brought(stream.inputs(4, 5)) == ([1, 2, 3, 4], 1, 3100)
    assert stream.inputs(5, 6)["elapsed"] == 0.001
    assert stream.num_bad == 0


def test_the_next_step_gives_none_of_them_again() -> None:
    stream = begun()
    stream.add(numbered(1100, 2100, 3100))
    stream.inputs(0, 3)
    stream.add_frame(1000, picture(1))
    stream.add(numbered(4100, 5100, first=3))

    assert brought(stream.inputs(3, 4)) == ([0, 1, 2], 1, 3000)
    assert brought(stream.inputs(4, 5)) == ([3], None, None)


def test_of_two_late_frames_the_newer_one_counts() -> None:
    stream = begun()
    stream.add(numbered(1100, 2100, 3100, 4100))
    stream.inputs(0, 4)
    stream.add_frame(1000, picture(1))
    stream.add_frame(3000, picture(2))
    stream.add(numbered(5100, 6100, first=4))

    assert brought(stream.inputs(4, 5)) == ([2, 3], 2, 2000)

    # late again, by another step
    stream.add_frame(4000, picture(3))
    stream.add(numbered(7100, first=6))

    assert brought(stream.inputs(5, 7)) == ([3, 4, 5], 3, 3000)
    assert stream.num_bad == 0


def test_a_frame_that_waits_with_its_bin_is_given_with_earlier_bins_too() -> None:
    """The network was busy: it takes the late frame's bin together with others."""
    stream = begun()
    stream.add(numbered(1100, 2100, 3100, 4100))
    stream.inputs(0, 2)
    stream.add_frame(1000, picture(1))
    stream.add(numbered(5100, 6100, first=4))

    assert brought(stream.inputs(2, 6)) == ([0, 1, 2, 3, 4], 1, 5000)


def test_frames_out_of_order_are_counted_and_change_nothing() -> None:
    stream = begun()
    stream.add(numbered(1100, 2100, 3100))
    stream.inputs(0, 3)
    stream.add_frame(2000, picture(2))
    # while the newer one waits
    stream.add_frame(1000, picture(1))
    stream.add(numbered(4100, first=3))

    assert brought(stream.inputs(3, 4)) == ([1, 2], 2, 2000)

    # after it was given
    stream.add_frame(1500, picture(1))
    # once more
    stream.add_frame(2000, picture(2))
    stream.add(numbered(5100, first=4))

    assert brought(stream.inputs(4, 5)) == ([3], None, None)
    assert (stream.num_bad, stream.first_error) == (3, "a frame that is no later than the one before")


def test_a_frame_from_before_what_is_kept_is_counted() -> None:
    stream = begun(dt=0.1)
    stream.add(numbered(*range(50_000, 2_000_000, 100_000)))
    for bin_ in range(19):
        stream.inputs(bin_, bin_ + 1)

    stream.add_frame(1_200_000, picture(1))
    stream.add(numbered(2_050_000, 2_150_000, first=20))

    assert brought(stream.inputs(19, 20)) == ([19], None, None)
    assert (stream.num_bad, stream.first_error) == (1, "a frame more than 0.5 s late")

    stream.add_frame(1_600_000, picture(2))
    stream.add(numbered(2_250_000, first=22))

    assert brought(stream.inputs(20, 22)) == ([16, 17, 18, 19, 20, 21], 2, 600_000)
    assert stream.num_bad == 1


def test_half_a_second_is_kept_and_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = begun()
    for millisecond in range(3000):
        stream.add(numbered(1000 * millisecond, 1000 * millisecond + 500))
        if millisecond:
            stream.inputs(millisecond - 1, millisecond)

    # two events in each of the last 500 ms
    assert 1000 <= stream._recent._num_events <= 1010

    monkeypatch.setattr(recent_events, "MAX_BUFFERED_EVENTS", 7)
    for millisecond in range(3000, 3010):
        stream.add(numbered(1000 * millisecond, 1000 * millisecond + 500))
        stream.inputs(millisecond - 1, millisecond)

    # the newest bin comes on top
    assert stream._recent._num_events <= 9

    stream.add_frame(3_000_000, picture(1))
    stream.add(numbered(3_010_000))

    assert "frame" not in stream.inputs(3009, 3010)
    assert stream.num_bad == 1


def test_what_came_before_the_newest_frame_is_let_go() -> None:
    stream = begun()
    stream.add(numbered(1100, 2100, 3100, 4100))
    for bin_ in range(4):
        stream.inputs(bin_, bin_ + 1)

    assert stream._recent._num_events == 3

    stream.add_frame(4000, picture(1))
    stream.add(numbered(5100, first=4))
    stream.inputs(4, 5)

    assert stream._recent._num_events == 1


def test_a_damaged_time_does_not_refuse_the_frames_after_it() -> None:
    recent = RecentEvents()
    for end in (1000, 10**15, 2000, 3000):
        recent.add(numbered(end - 1), end)
    assert recent.complete_since <= 2000


def test_a_late_first_frame_begins_the_stream_at_its_own_time() -> None:
    stream = EventBinner(0.001, 1, WIDTH)
    stream.add(numbered(100, 900, 1100, 2100))

    assert stream.wait(0) == 0

    stream.add_frame(900, picture(1))
    assert stream.wait(0) == 1
    assert brought(stream.inputs(0, 1)) == ([1, 2], 1, 1000)

    stream.end()
    assert brought(stream.inputs(1, 2)) == ([3], None, None)


def test_a_first_frame_from_before_what_is_kept_begins_nothing() -> None:
    stream = EventBinner(0.001, 1, WIDTH)
    stream.add(numbered(100))
    stream.add(numbered(600_000, first=1))
    stream.add(numbered(1_200_000, first=2))
    stream.add_frame(50, picture(1))

    assert (stream.num_bad, stream.first_error) == (1, "a frame more than 0.5 s late")

    stream.add_frame(1_200_000, picture(2))
    stream.end()

    assert brought(stream.inputs(0, 1)) == ([2], 2, 1000)


def test_late_frames_of_a_source_of_their_own() -> None:
    stream = EventBinner(0.001, 1, WIDTH, frames=FrameOptions(separate_source=True))
    feed = FrameFeed(stream)
    stream.add(numbered(500, 1000, 1500))
    # bins begin with its first event
    feed.add_frame(1000, picture(1))
    stream.add(numbered(2100, 3100, 4100, first=3))

    assert brought(stream.inputs(0, 1)) == ([1, 2], 1, 1000)
    assert brought(stream.inputs(1, 3)) == ([3, 4], None, None)

    feed.add_frame(2000, picture(3))
    # out of order
    feed.add_frame(1500, picture(2))
    # its time has not come
    feed.add_frame(10**7, picture(4))
    stream.add(numbered(5100, first=6))

    assert brought(stream.inputs(3, 4)) == ([3, 4, 5], 3, 3000)
    assert (stream.num_bad, stream.first_error) == (1, "a frame that is no later than the one before")


def test_who_follows_nothing_gets_every_event_once_and_late_frames_as_they_come() -> None:
    stream = begun(buffer_events=False)
    stream.add(numbered(1100, 2100, 3100))
    stream.inputs(0, 3)
    stream.add_frame(2000, picture(2))
    stream.add(numbered(4100, first=3))

    assert brought(stream.inputs(3, 4)) == ([2], 2, 2000)

    stream.add_frame(1000, picture(1))
    stream.add(numbered(5100, first=4))

    assert brought(stream.inputs(4, 5)) == ([3], 1, 4000)
    assert (stream.num_bad, stream._recent._num_events) == (0, 0)


NUM_BINS = 12


@given(
    st.lists(st.integers(0, 1000 * NUM_BINS - 1), max_size=60),
    st.lists(st.tuples(st.integers(1, 1000 * NUM_BINS - 1001), st.integers(1, 6)), max_size=6),
    st.lists(st.integers(1, 4), min_size=NUM_BINS, max_size=NUM_BINS),
)
def test_a_late_frame_comes_with_what_a_recording_gives_with_it(
    times: list[int], frames: list[tuple[int, int]], steps: list[int]
) -> None:
    """Each frame comes some bins after the one of its time; steps take one bin or several."""
    # an event opens each bin
    events = numbered(*sorted([*range(0, 1000 * NUM_BINS, 1000), *times]))
    boxes = np.ones((1, 4))
    bins = bin_sparse(events, 1, WIDTH, 0.001, NUM_BINS)
    plain = Recording(
        "dots", 0.001, bins, picture(0)[None], np.zeros(1), np.zeros(1, np.int64), boxes, boxes.repeat(NUM_BINS, 0)
    )
    stream = begun()
    arrivals = {}

    for bin_ in range(NUM_BINS):
        inside = events[events["t"] // 1000 == bin_]
        stream.add(inside[:1])
        for number, (time, late) in enumerate(frames):
            if time // 1000 + late == bin_:
                stream.add_frame(time, picture(number))
                arrivals[number] = bin_

        stream.add(inside[1:])

    stream.add(numbered(1000 * NUM_BINS))
    first = 0
    known = 0

    while first < NUM_BINS:
        stop = min(first + steps[first], NUM_BINS)
        inputs = stream.inputs(first, stop)
        come = {frames[number][0]: number for number in arrivals if first <= arrivals[number] < stop}
        newest = max(come, default=0)

        if newest > known:
            frame = np.array([newest * 1e-6])
            one = replace(plain, frame_times=frame, frame_events=np.searchsorted(events["t"], [newest]))
            since = one.inputs(min(first, int(one.frame_bins[0])), stop)

            assert inputs["frame_age"] == pytest.approx(since["frame_age"])

            known = newest
        else:
            since = plain.inputs(first, stop)
            assert ("frame" in inputs) == (first == 0)

        for found, expected in zip(inputs["events"], since["events"], strict=True):
            assert found.tolist() == expected.tolist()

        assert inputs["elapsed"] == pytest.approx((stop - first) * 0.001)

        first = stop


def test_a_deferred_frame_that_is_lost_or_of_another_size_is_counted_as_bad_when_it_is_read() -> None:
    def lost() -> np.ndarray:
        raise OSError("it is gone")

    stream = begun(buffer_events=False, deferred=True)
    for number, frame in enumerate((lost, lambda: np.zeros((2, 2), np.uint8), lambda: picture(7)), start=1):
        stream.add_frame(1000 * number, frame)
    stream.end()

    first, *later = [stream.inputs(k, k + 1)["frame"] for k in range(4)]
    assert (first.max(), stream.num_bad) == (0, 0)
    assert [None if (levels := read()) is None else levels.max() for read in later] == [None, None, 7]
    assert (stream.num_bad, stream.first_error) == (2, "a frame that cannot be read (it is gone)")
