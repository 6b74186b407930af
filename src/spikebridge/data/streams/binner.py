"""Bins events and frames of a live stream as they arrive, in bounded memory.

| rule | |
|---|---|
| clock | the times of the stream; a bin is complete when something of a later time arrives, or the stream ends |
| late events | go into the open bin and are counted |
| events more than a minute ahead | are damaged: dropped and counted |
| first frame | where frames are used, no bin is given before the first one |
| frames of another source | do not advance the clock and delay no event; they act in their own bin or in the open one |
| late frames of a tracker | come with all events since their time; frames too late, or not newer, are dropped |
"""

import threading
from collections import deque
from math import inf
from time import perf_counter
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.events.binning import bin_edge
from spikebridge.data.events.events import EVENT, Events
from spikebridge.data.recordings.recording import Inputs

MOST_WAITING = 20_000_000  # events; older ones are dropped and counted
MOST_AHEAD = 60.0  # seconds; a damaged time would open bins without end
MOST_FRAMES = 64  # that wait for their time; older ones are dropped and counted
PATIENCE = 0.2  # seconds; so often a caller who waits may look at the clock, and Ctrl-C is heard
_NO_EVENTS = np.empty(0, EVENT)
_Frame: TypeAlias = tuple[int, NDArray[np.uint8]]  # its time [us], and the picture


class FrameOptions(NamedTuple):
    """What a stream's frames are for.

    Args:
        wanted: nothing is stepped before the first one; else frames are not kept.
        size: rows and columns; None means those of the sensor.
        apart: they come from a source of their own.
        hold_events: give a frame with all events since it, and no earlier ones; else every event once.
    """

    wanted: bool = True
    size: tuple[int, int] | None = None
    apart: bool = False
    buffer_events: bool = True


_WITH_THE_EVENTS = FrameOptions()


class _Bin(NamedTuple):
    events: Events
    frame: _Frame | None
    ready_at: float


class EventBinner:
    """Bins of a stream that one thread fills (`add`, `add_frame`, `end`) and another one takes from.

    Args:
        dt: length of a bin [s].
        height: rows of the sensor.
        width: columns of the sensor.
        box: of the target in the first frame, for who follows one.
        frames: what they are for.

    Attributes:
        num_bad: packets, events and frames that could not be meant.
        num_late: events earlier than the open bin.
        num_dropped: events and frames that were dropped because too many waited.
        why_bad: the first reason, empty without any.

    Example:
        >>> from spikebridge.data.events.events import make_events
        >>> arriving = EventBinner(dt=0.001, height=4, width=4, box=np.array([0.0, 0, 2, 2]))
        >>> arriving.add_frame(0, np.zeros((4, 4), np.uint8))
        >>> arriving.add(make_events(t=[10, 1500], x=[1, 2], y=[0, 0], p=[1, 1]))
        >>> arriving.wait(0), len(arriving.inputs(0, 1)["events"].x)
        (1, 1)
    """

    def __init__(
        self,
        dt: float,
        height: int,
        width: int,
        box: Float[np.ndarray, "4"] | None = None,
        frames: FrameOptions = _WITH_THE_EVENTS,
    ) -> None:
        self.dt = dt
        self.height, self.width = height, width
        self.box = box
        self.frames = frames
        self._holds = frames.wanted and frames.buffer_events
        self.num_bad = self.num_late = self.num_dropped = 0
        self.why_bad = ""
        self._changed = threading.Condition()
        self._bins: deque[_Bin] = deque()
        self._waiting = 0
        self._taken = 0  # bins that were taken
        self._open: list[Events] = []
        self._frame: _Frame | None = None
        self._newest: float = -inf  # time of the newest frame in a bin [us]
        self._ahead: deque[_Frame] = deque(maxlen=MOST_FRAMES)
        self._recent = RecentEvents()  # that were taken; before the stream begins, that came
        self._begin: int | None = None  # time of bin 0 [us]
        self._over = False
        self._last_ready = 0.0

    def add(self, events: Events) -> None:
        """Events as they come, in the order of their times; what lies off the sensor is bad."""
        inside = (events["x"] < self.width) & (events["y"] < self.height)
        if not inside.all():
            self.bad(int((~inside).sum()), f"an event off the sensor of {self.width} x {self.height} pixels")
            events = events[inside]
        with self._changed:
            if self._begin is None:
                events = self._begin_with(events)
            if self._begin is not None:
                self._take_in(events)

    def add_frame(self, time: int, frame: NDArray[np.uint8]) -> None:
        """A grey picture and its time [us]."""
        if not self.frames.wanted:
            return
        if frame.shape != (self.frames.size or (self.height, self.width)):
            self.bad(1, f"a frame of {frame.shape[1]} x {frame.shape[0]} pixels")
            return
        with self._changed:
            if self._begin is None and not self._is_in_time(time):
                return
            begins = self._begin is None and not self.frames.apart
            if begins:
                self._begin = time
            if self._begin is not None and time > self._edge(0) + MOST_AHEAD * 1e6:
                self.bad(1, f"a frame more than {MOST_AHEAD:.0f} s ahead of the stream")
                return
            if self.frames.apart:
                self.num_dropped += len(self._ahead) == MOST_FRAMES
                self._ahead.append((time, frame))
                return
            self._close_until(time, _NO_EVENTS)
            self._put(time, frame)
            self._changed.notify_all()
            if begins:
                self._take_in(self._came_since(time))

    def bad(self, number: int, why: str) -> None:
        """Counts what could not be meant."""
        with self._changed:
            self.num_bad += number
            self.why_bad = self.why_bad or why

    def end(self) -> None:
        """The stream is over: the open bin is complete."""
        with self._changed:
            if self._begin is not None and (self._open or self._frame):
                self._close()
            self._over = True
            self._changed.notify_all()

    def wait(self, done: int) -> int | None:
        """How many bins are complete, at once or after a while; None where the stream is over and nothing waits."""
        with self._changed:
            if not self._bins and not self._over:
                self._changed.wait(PATIENCE)
            return None if self._over and not self._bins else done + len(self._bins)

    def ready_at(self, bin_: int) -> float:
        """When the bin that was taken last was complete [s]."""
        return self._last_ready

    def begins_anew(self, bin_: int) -> bool:
        """Only with the first bin."""
        return bin_ == 0

    def inputs(self, first: int, stop: int) -> Inputs:
        """What these bins brought."""
        with self._changed:
            bins = [self._bins.popleft() for _ in range(stop - first)]
            self._waiting -= sum(len(one.events) for one in bins)
            begin = self._begin or 0
            self._taken += len(bins)
            taken = self._taken
        self._last_ready = bins[-1].ready_at
        events = np.concatenate([one.events for one in bins])
        newest = next((one.frame for one in reversed(bins) if one.frame is not None), None)
        if self._holds:
            self._recent.add(events, bin_edge(taken, self.dt, begin))
            if newest is not None and not self._is_in_time(newest[0]):
                newest = None
            if newest is not None:
                events = self._recent.since(newest[0])
        # copies: a column must not keep the others alive
        columns = BinEvents(events["x"].copy(), events["y"].copy(), events["p"].copy())
        inputs = Inputs(events=columns, elapsed=len(bins) * self.dt)
        if newest is not None:
            time, inputs["frame"] = newest
            inputs["frame_age"] = max(0.0, taken * self.dt - (time - begin) * 1e-6)
            if self.box is not None:
                inputs["box"], self.box = self.box, None
        return inputs

    def _begin_with(self, events: Events) -> Events:
        """Begins the stream with the first event that can; before the first frame there is nothing to see."""
        if self._holds and len(events):
            self._recent.add(events, int(events["t"][-1]) + 1)
        if self.frames.wanted and not self._ahead:
            return events
        first = min((time for time, _ in self._ahead), default=0)
        events = self._came_since(first) if self._holds else events[events["t"] >= first]
        if len(events):
            self._begin = int(events["t"][0])
        return events

    def _came_since(self, time: int) -> Events:
        """What waited for the first frame, which is of this time; from now on what was taken is kept."""
        recent, self._recent = self._recent, RecentEvents()
        return recent.since(time)

    def _take_in(self, events: Events) -> None:
        """Events of a stream that has begun."""
        possible = events["t"] <= self._edge(0) + MOST_AHEAD * 1e6
        if not possible.all():
            self.bad(int((~possible).sum()), f"an event more than {MOST_AHEAD:.0f} s ahead of the stream")
            events = events[possible]
        if len(events):
            self._close_until(int(events["t"].max()), events)
            self._changed.notify_all()

    def _put(self, time: int, frame: NDArray[np.uint8]) -> None:
        """Puts a frame into the open bin."""
        if self._holds and time <= self._newest:
            self.bad(1, "a frame that is no later than the one before")
            return
        self._frame, self._newest = (time, frame), time

    def _is_in_time(self, time: int) -> bool:
        """Whether all events since a frame are there; counted where they are not."""
        in_time = time >= self._recent.reach
        if not in_time:
            self.bad(1, f"a frame more than {KEPT_SECONDS} s late")
        return in_time

    def _close_until(self, time: int, events: Events) -> None:
        """Puts events into the open bin and those after it, and closes all that end before a time."""
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
        """Where the open bin begins, or the one so many bins ahead [us]."""
        return bin_edge(self._taken + len(self._bins) + ahead, self.dt, self._begin or 0)

    def _close(self) -> None:
        events = np.concatenate(self._open) if self._open else _NO_EVENTS
        due = [index for index, (time, _) in enumerate(self._ahead) if time < self._edge(1)]
        for _ in range(due[-1] + 1 if due else 0):
            time, frame = self._ahead.popleft()
            if time < self._edge(1):
                self._put(time, frame)
        self._bins.append(_Bin(events, self._frame, perf_counter()))
        self._open, self._frame = [], None
        self._waiting += len(events)
        for index, one in enumerate(self._bins):
            if self._waiting <= MOST_WAITING:
                break
            self._waiting -= len(one.events)
            self.num_dropped += len(one.events)
            self._bins[index] = one._replace(events=_NO_EVENTS)


class FrameFeed:
    """What a source of frames alone may do to a stream: bring frames; its end ends nothing, the newest frame stays."""

    def __init__(self, arriving: EventBinner) -> None:
        self.add_frame = arriving.add_frame
        self.bad = arriving.bad

    def add(self, events: Events) -> None:
        """Refuses events."""
        self.bad(len(events), "an event from the source of frames")

    def end(self) -> None:
        """Nothing; the stream continues."""


KEPT_SECONDS = (
    0.5  # seconds; exposure, readout and the way here take less, and a tracker gains nothing from older frames
)
MOST_KEPT = 5_000_000  # events, 65 MB; of more than 10 million a second less than half a second is kept


class RecentEvents:
    """Pieces of a stream; the last one is always there, those before it are kept for a while.

    Attributes:
        reach: no event since this time is missing [us].

    Example:
        >>> from spikebridge.data.events.events import make_events
        >>> recent = RecentEvents()
        >>> for time in (1000, 2000, 502_000, 503_000):
        ...     recent.add(make_events(t=[time], x=[0], y=[0], p=[1]), end=time + 500)
        >>> recent.reach, recent.since(2000)["t"].tolist()
        (1500, [2000, 502000, 503000])
    """

    def __init__(self) -> None:
        self.reach: float = -inf
        self._pieces: deque[tuple[int, Events]] = deque()
        self._number = 0

    def add(self, events: Events, end: int) -> None:
        """Takes the next piece; of those before it, the oldest go.

        Args:
            events: that came after the last piece.
            end: a time after them [us].
        """
        begin = self._pieces[-1][0] if self._pieces else end
        while self._pieces and (self._number > MOST_KEPT or self._pieces[0][0] < begin - KEPT_SECONDS * 1e6):
            self.reach = min(self._drop(), end)  # a damaged time says nothing about what follows
        self._pieces.append((end, events))
        self._number += len(events)

    def since(self, time: int) -> Events:
        """All events since a time; earlier ones are not asked for again.

        Args:
            time: not before `reach` [us].
        """
        while self._pieces and self._pieces[0][0] <= time:
            self._drop()
        events: Events = np.concatenate([np.empty(0, EVENT), *(piece for _, piece in self._pieces)])
        return events[events["t"] >= time]

    def _drop(self) -> int:
        """Where the oldest piece ended."""
        end, events = self._pieces.popleft()
        self._number -= len(events)
        return end
