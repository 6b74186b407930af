"""Bins events and frames of a live stream as they arrive, in bounded memory.

| rule | |
|---|---|
| clock | the times of the stream; a bin is complete when something of a later time arrives, or the stream ends |
| late events | go into the open bin and are counted |
| events more than a minute ahead | are damaged: dropped and counted |
| first frame | where frames are used, no bin is given before the first one |
| frames of another source | do not advance the clock and delay no event; they act in their own bin or in the open one |
| a sender that comes back | its first event or frame follows the open bin, after at most a second of empty bins |
| late frames of a tracker | come with all events since their time; frames too late, or not newer, are dropped |
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.events.binning import bin_edge
from spikebridge.data.events.events import EVENT, Events
from spikebridge.data.recordings.recording import Inputs

_MAX_GAP_SECONDS = 1.0  # of empty bins, in which membranes decay; more of them would only cost time
MAX_QUEUED_EVENTS = 20_000_000  # older ones are dropped and counted
_MAX_AHEAD_SECONDS = 60.0  # a damaged time would open bins without end
_MAX_QUEUED_FRAMES = 64  # of a separate source, until their bin; older ones are dropped and counted
POLL_SECONDS = 0.2  # the longest wait, so that a caller can check its deadline and Ctrl-C works
# exposure, readout and transport take less, and a tracker gains nothing from older frames
_BUFFER_SECONDS = 0.5
MAX_BUFFERED_EVENTS = 5_000_000  # 65 MB; above 10 million events a second, less than 0.5 s is buffered
_NO_EVENTS = np.empty(0, EVENT)
Frame: TypeAlias = NDArray[np.uint8] | Callable[[], NDArray[np.uint8]]  # grey levels, or a function that reads them
_Frame: TypeAlias = tuple[int, Any]  # time [us], grey levels or a function that gives them, or None where it fails


class FrameOptions(NamedTuple):
    """Use of frames in a stream."""

    required: bool = True  # the first bin is that of the first frame; if not, frames are dropped
    size: tuple[int, int] | None = None  # rows and columns; None for those of the sensor
    separate_source: bool = False  # frames come from another source than the events
    buffer_events: bool = True  # a frame comes with all events since it, and no earlier ones; if not, every event once
    deferred: bool = False  # a frame behind the first one is read by its reader, if at all


_DEFAULT_FRAMES = FrameOptions()


class _Bin(NamedTuple):
    events: Events
    frame: _Frame | None
    ready_at: float


class EventBinner:
    """Bins of a stream that one thread fills (`add`, `add_frame`, `end`) and another thread reads.

    Args:
        dt: length of a bin [s].
        height: rows of the sensor.
        width: columns of the sensor.
        box: the box of the target in the first frame, for a tracker.
        frames: use of frames.

    Attributes:
        num_bad: invalid packets, events and frames.
        num_late: events earlier than the open bin.
        num_dropped: events and frames that were dropped because too many were queued.
        num_gaps: pauses after which a sender came back.
        first_error: the fault of the first of them; empty without any.

    Example:
        >>> from spikebridge.data.events.events import make_events
        >>> stream = EventBinner(dt=0.001, height=4, width=4, box=np.array([0.0, 0, 2, 2]))
        >>> stream.add_frame(0, np.zeros((4, 4), np.uint8))
        >>> stream.add(make_events(t=[10, 1500], x=[1, 2], y=[0, 0], p=[1, 1]))
        >>> stream.wait(0), len(stream.inputs(0, 1)["events"].x)
        (1, 1)
    """

    def __init__(
        self,
        dt: float,
        height: int,
        width: int,
        box: Float[np.ndarray, "4"] | None = None,
        frames: FrameOptions = _DEFAULT_FRAMES,
    ) -> None:
        self.dt = dt
        self.height = height
        self.width = width
        self.box = box
        self.frames = frames
        self._buffers_events = frames.required and frames.buffer_events
        self.num_bad = 0
        self.num_late = 0
        self.num_dropped = 0
        self.num_gaps = 0
        self.first_error = ""
        self._changed = threading.Condition()
        self._begin: int | None = None  # time of bin 0 [us]
        self._gap: float | None = None  # before the next event or frame, of a sender that came back [s]
        self._shift = 0  # from its clock to that of the stream [us]
        self._open: list[Events] = []  # events and frame of the open bin
        self._frame: _Frame | None = None
        self._newest_frame: float = -inf  # time of the newest frame in a bin [us]
        self._future_frames: deque[_Frame] = deque(maxlen=_MAX_QUEUED_FRAMES)
        self._bins: deque[_Bin] = deque()  # complete bins that are not read yet
        self._num_queued = 0  # events in them
        self._num_read = 0  # bins
        self._recent = RecentEvents()  # read events; before the first bin, received ones
        self._ended = False
        self._last_ready = 0.0

    def add(self, events: Events) -> None:
        """Adds events, sorted by time. Events outside the sensor are counted as bad."""
        inside = (events["x"] < self.width) & (events["y"] < self.height)
        if not inside.all():
            self.count_bad(int((~inside).sum()), f"an event off the sensor of {self.width} x {self.height} pixels")
            events = events[inside]

        with self._changed:
            shift = self._shift_of(int(events["t"][0])) if len(events) else 0
            if shift:
                events = events.copy()
                events["t"] += shift
            if self._begin is None:
                events = self._start(events)
            if self._begin is not None:
                self._accumulate(events)

    def add_frame(self, time: int, frame: Frame) -> None:
        """Adds a grey frame, or a function that reads it, and its time [us]."""
        if not self.frames.required:
            return

        is_later = self._begin is not None or bool(self._future_frames)
        if callable(frame) and self.frames.deferred and is_later:
            kept: Any = partial(self._read, frame)
        else:
            kept = frame() if callable(frame) else frame
            if not self._fits(kept):
                return

        with self._changed:
            time += self._shift if self.frames.separate_source else self._shift_of(time)
            if self._begin is None and not self._is_in_time(time):
                return

            # a frame of another source acts in the bin of its time, which may come later
            is_first = self._begin is None and not self.frames.separate_source
            if is_first:
                self._begin = time

            if self._begin is not None and time > self._edge(0) + _MAX_AHEAD_SECONDS * 1e6:
                self.count_bad(1, f"a frame more than {_MAX_AHEAD_SECONDS:.0f} s ahead of the stream")
                return

            if self.frames.separate_source:
                self.num_dropped += len(self._future_frames) == _MAX_QUEUED_FRAMES
                self._future_frames.append((time, kept))
                return

            self._close_until(time, _NO_EVENTS)
            self._set_frame(time, kept)
            self._changed.notify_all()
            if is_first:
                self._accumulate(self._take_buffered(time))

    def _read(self, frame: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
        """A deferred frame, or None for one that cannot be read or has another size, which is counted as bad."""
        try:
            levels = frame()
        except (ValueError, OSError) as error:
            self.count_bad(1, f"a frame that cannot be read ({error})")
            return None

        return levels if self._fits(levels) else None

    def _fits(self, frame: NDArray[np.uint8]) -> bool:
        """True if a frame has the size that is taken; otherwise it is counted as bad."""
        fits = frame.shape == (self.frames.size or (self.height, self.width))
        if not fits:
            self.count_bad(1, f"a frame of {frame.shape[1]} x {frame.shape[0]} pixels")

        return fits

    def count_bad(self, number: int, why: str) -> None:
        """Counts invalid input and keeps the first reason."""
        with self._changed:
            self.num_bad += number
            self.first_error = self.first_error or why

    def resume(self, gap: float) -> None:
        """Continues the stream with a sender that came back after a gap [s], perhaps with another clock."""
        with self._changed:
            self.num_gaps += 1
            self._gap = gap

    def _shift_of(self, time: int) -> int:
        """The shift from the clock of the sender to that of the stream, by its first time after a gap [us]."""
        if self._gap is None or self._begin is None:
            return self._shift

        edge = self._edge(0)
        if not 0 <= time + self._shift - edge <= _MAX_GAP_SECONDS * 1e6:
            self._shift = edge + round(min(self._gap, _MAX_GAP_SECONDS) * 1e6) - time

        self._gap = None
        return self._shift

    def end(self) -> None:
        """Ends the stream: the open bin is complete."""
        with self._changed:
            if self._begin is not None and (self._open or self._frame):
                self._close()
            self._ended = True
            self._changed.notify_all()

    def wait(self, done: int) -> int | None:
        """Number of complete bins, after `POLL_SECONDS` at most; None after the end, once all bins are read."""
        with self._changed:
            if not self._bins and not self._ended:
                self._changed.wait(POLL_SECONDS)
            return None if self._ended and not self._bins else done + len(self._bins)

    def ready_at(self, bin_: int) -> float:
        """Time at which the last bin read was complete [s]."""
        return self._last_ready

    def newest_restart(self, first: int, stop: int) -> int | None:
        """The first bin of all, if it is among these."""
        return 0 if first == 0 else None

    def inputs(self, first: int, stop: int) -> Inputs:
        """Events and newest frame of these bins."""
        with self._changed:
            bins = [self._bins.popleft() for _ in range(stop - first)]
            self._num_queued -= sum(len(one.events) for one in bins)
            begin = self._begin or 0
            self._num_read += len(bins)
            num_read = self._num_read

        self._last_ready = bins[-1].ready_at
        events = np.concatenate([one.events for one in bins])
        newest = next((one.frame for one in reversed(bins) if one.frame is not None), None)

        # a late frame comes with the events since its time, which have been read before
        if self._buffers_events:
            self._recent.add(events, bin_edge(num_read, self.dt, begin))
            if newest is not None and not self._is_in_time(newest[0]):
                newest = None
            if newest is not None:
                events = self._recent.since(newest[0])

        # copies: a column must not keep the whole array alive
        columns = BinEvents(events["x"].copy(), events["y"].copy(), events["p"].copy())
        inputs = Inputs(events=columns, elapsed=len(bins) * self.dt)

        if newest is not None:
            time, inputs["frame"] = newest
            inputs["frame_age"] = max(0.0, num_read * self.dt - (time - begin) * 1e-6)
            if self.box is not None:
                inputs["box"] = self.box
                self.box = None

        return inputs

    def _start(self, events: Events) -> Events:
        """Sets time 0 at the first event, or at the first frame if frames are required; the events since then."""
        if self._buffers_events and len(events):
            self._recent.add(events, int(events["t"][-1]) + 1)

        if self.frames.required and not self._future_frames:
            return events

        first = min((time for time, _ in self._future_frames), default=0)
        events = self._take_buffered(first) if self._buffers_events else events[events["t"] >= first]
        if len(events):
            self._begin = int(events["t"][0])

        return events

    def _take_buffered(self, time: int) -> Events:
        """The buffered events since the time of the first frame, with a new buffer for later ones."""
        recent = self._recent
        self._recent = RecentEvents()
        return recent.since(time)

    def _accumulate(self, events: Events) -> None:
        """Adds events after time 0 is set."""
        possible = events["t"] <= self._edge(0) + _MAX_AHEAD_SECONDS * 1e6
        if not possible.all():
            self.count_bad(int((~possible).sum()), f"an event more than {_MAX_AHEAD_SECONDS:.0f} s ahead of the stream")
            events = events[possible]

        if len(events):
            self._close_until(int(events["t"].max()), events)
            self._changed.notify_all()

    def _set_frame(self, time: int, frame: Any) -> None:
        """Sets the frame of the open bin."""
        if self._buffers_events and time <= self._newest_frame:
            self.count_bad(1, "a frame that is no later than the one before")
            return

        self._frame = (time, frame)
        self._newest_frame = time

    def _is_in_time(self, time: int) -> bool:
        """True if all events since a frame are buffered; otherwise the frame is counted as bad."""
        in_time = time >= self._recent.complete_since
        if not in_time:
            self.count_bad(1, f"a frame more than {_BUFFER_SECONDS} s late")

        return in_time

    def _close_until(self, time: int, events: Events) -> None:
        """Adds events to the open bin and later ones, and closes all bins that end before a time."""
        late = events["t"] < self._edge(0)
        self.num_late += int(late.sum())

        while time >= self._edge(1):
            before = events["t"] < self._edge(1)
            self._open.append(events[before])
            events = events[~before]
            self._close()

        if len(events):
            self._open.append(events)

    def _edge(self, ahead: int) -> int:
        """Start of the bin that is `ahead` bins after the open one [us]."""
        return bin_edge(self._num_read + len(self._bins) + ahead, self.dt, self._begin or 0)

    def _close(self) -> None:
        events = np.concatenate(self._open) if self._open else _NO_EVENTS
        end = self._edge(1)
        # frames may be out of order: all up to the last one that is due leave the queue
        due = [index for index, (time, _) in enumerate(self._future_frames) if time < end]
        for _ in range(due[-1] + 1 if due else 0):
            time, frame = self._future_frames.popleft()
            if time < end:
                self._set_frame(time, frame)

        self._bins.append(_Bin(events, self._frame, perf_counter()))
        self._open = []
        self._frame = None
        self._num_queued += len(events)

        # the oldest events go first; their bins stay, so that the clock of the reader is right
        for index, one in enumerate(self._bins):
            if self._num_queued <= MAX_QUEUED_EVENTS:
                break
            self._num_queued -= len(one.events)
            self.num_dropped += len(one.events)
            self._bins[index] = one._replace(events=_NO_EVENTS)


@dataclass(frozen=True)
class FrameFeed:
    """The input of a stream for a separate source of frames, whose end does not end the stream."""

    stream: EventBinner

    def add_frame(self, time: int, frame: Frame) -> None:
        """Adds a grey frame, or a function that reads it, and its time [us]."""
        self.stream.add_frame(time, frame)

    def count_bad(self, number: int, why: str) -> None:
        """Counts invalid input and keeps the first reason."""
        self.stream.count_bad(number, why)

    def add(self, events: Events) -> None:
        """Counts events as bad."""
        self.count_bad(len(events), "an event from the source of frames")

    def resume(self, gap: float) -> None:
        """Leaves the clock to the source of events."""

    def end(self) -> None:
        """Leaves the stream open."""


@dataclass
class RecentEvents:
    """A buffer of the most recent events, in chunks; the oldest are dropped, but never the last one."""

    complete_since: float = -inf  # no event since this time is missing [us]
    _chunks: deque[tuple[int, Events]] = field(default_factory=deque)  # with a time after each
    _num_events: int = 0

    def add(self, events: Events, end: int) -> None:
        """Adds a chunk, with a time after it [us], and drops the oldest chunks past the limits."""
        begin = self._chunks[-1][0] if self._chunks else end
        oldest = begin - _BUFFER_SECONDS * 1e6
        while self._chunks and (self._num_events > MAX_BUFFERED_EVENTS or self._chunks[0][0] < oldest):
            # one damaged time must not outlast its chunk
            self.complete_since = min(self._drop(), end)

        self._chunks.append((end, events))
        self._num_events += len(events)

    def since(self, time: int) -> Events:
        """All events since a time, which is not before `complete_since` [us]; earlier chunks are dropped."""
        while self._chunks and self._chunks[0][0] <= time:
            self._drop()

        events: Events = np.concatenate([np.empty(0, EVENT), *(chunk for _, chunk in self._chunks)])
        return events[events["t"] >= time]

    def _drop(self) -> int:
        """Drops the oldest chunk; returns its end [us]."""
        end, events = self._chunks.popleft()
        self._num_events -= len(events)
        return end
