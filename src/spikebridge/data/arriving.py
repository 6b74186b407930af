"""Events and frames of a live stream, put into bins as they arrive, in bounded memory.

The stream's own time counts: a bin is complete once something of a later time has arrived, or the stream is over. What
comes too late for its bin goes into the open one and is counted; what is more than a minute ahead of its time cannot be
meant. Where frames are wanted, nothing is stepped before the first one.

Frames from a source of their own do not move the time: the events alone do. Such a frame acts in the bin of its time,
or in the open one if it comes later, so a slow camera delays no event.
"""

import threading
from collections import deque
from time import perf_counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.binning import bin_edge
from spikebridge.data.event_bins import BinEvents
from spikebridge.data.events import EVENT, Events
from spikebridge.data.recording import Inputs

MOST_WAITING = 20_000_000  # events; older ones are dropped and counted
MOST_AHEAD = 60.0  # seconds; a damaged time would open bins without end
MOST_FRAMES = 64  # that wait for their time; older ones are dropped and counted
PATIENCE = 0.2  # seconds; so often a caller who waits may look at the clock, and Ctrl-C is heard
_NO_EVENTS = np.empty(0, EVENT)


class FramesOf(NamedTuple):
    """What a stream's frames are for.

    Args:
        wanted: nothing is stepped before the first one; else frames are not kept.
        size: rows and columns; None means those of the sensor.
        apart: they come from a source of their own.
        hold_events: what happened before a frame is in its picture already, and is not given again.
    """

    wanted: bool = True
    size: tuple[int, int] | None = None
    apart: bool = False
    hold_events: bool = True


_WITH_THE_EVENTS = FramesOf()


class _Bin(NamedTuple):
    events: Events
    frame: NDArray[np.uint8] | None
    frame_time: int
    ready_at: float


class Arriving:
    """Bins of a stream that one thread fills (`add`, `add_frame`, `end`) and another one takes from.

    Args:
        dt: length of a bin [s].
        height: rows of the sensor.
        width: columns of the sensor.
        box: of the target in the first frame, for who follows one.
        frames: what they are for.

    Attributes:
        num_bad: packets and events that could not be meant.
        num_late: events earlier than the open bin.
        num_dropped: events and frames that were dropped because too many waited.
        why_bad: the first reason, empty without any.

    Example:
        >>> from spikebridge.data.events import make_events
        >>> arriving = Arriving(dt=0.001, height=4, width=4, box=np.array([0.0, 0, 2, 2]))
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
        frames: FramesOf = _WITH_THE_EVENTS,
    ) -> None:
        self.dt = dt
        self.height, self.width = height, width
        self.box = box
        self.frames = frames
        self.num_bad = self.num_late = self.num_dropped = 0
        self.why_bad = ""
        self._changed = threading.Condition()
        self._bins: deque[_Bin] = deque()
        self._waiting = 0
        self._taken = 0  # bins that were taken
        self._open: list[Events] = []
        self._frame: tuple[int, NDArray[np.uint8]] | None = None
        self._ahead: deque[tuple[int, NDArray[np.uint8]]] = deque(maxlen=MOST_FRAMES)
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
            if self._begin is None:
                return
            possible = events["t"] <= self._edge(0) + MOST_AHEAD * 1e6
            if not possible.all():
                self.bad(int((~possible).sum()), f"an event more than {MOST_AHEAD:.0f} s ahead of the stream")
                events = events[possible]
            if len(events):
                self._close_until(int(events["t"].max()), events)
                self._changed.notify_all()

    def add_frame(self, time: int, frame: NDArray[np.uint8]) -> None:
        """A grey picture and its time [us]."""
        if not self.frames.wanted:
            return
        if frame.shape != (self.frames.size or (self.height, self.width)):
            self.bad(1, f"a frame of {frame.shape[1]} x {frame.shape[0]} pixels")
            return
        with self._changed:
            if self._begin is None and not self.frames.apart:
                self._begin = time
            if self._begin is not None and time > self._edge(0) + MOST_AHEAD * 1e6:
                self.bad(1, f"a frame more than {MOST_AHEAD:.0f} s ahead of the stream")
                return
            if self.frames.apart:
                self.num_dropped += len(self._ahead) == MOST_FRAMES
                self._ahead.append((time, frame))
                return
            self._close_until(time, _NO_EVENTS)
            self._frame = (time, frame)
            self._changed.notify_all()

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
            end = (self._begin or 0) + round((self._taken + len(bins)) * self.dt * 1e6)
            self._taken += len(bins)
        self._last_ready = bins[-1].ready_at
        events = np.concatenate([one.events for one in bins])
        newest = next((one for one in reversed(bins) if one.frame is not None), None)
        if newest is not None and self.frames.hold_events:
            events = events[events["t"] >= newest.frame_time]
        # copies: a column must not keep the others alive
        columns = BinEvents(events["x"].copy(), events["y"].copy(), events["p"].copy())
        inputs = Inputs(events=columns, elapsed=len(bins) * self.dt)
        if newest is not None and newest.frame is not None:
            inputs["frame"] = newest.frame
            inputs["frame_age"] = max(0.0, (end - newest.frame_time) * 1e-6)
            if self.box is not None:
                inputs["box"], self.box = self.box, None
        return inputs

    def _begin_with(self, events: Events) -> Events:
        """Begins the stream with the first of these events that can; before the first frame there is nothing to see."""
        if self.frames.wanted and not self._ahead:
            return events
        first = min((time for time, _ in self._ahead), default=0)
        events = events[events["t"] >= first]
        if len(events):
            self._begin = int(events["t"][0])
        return events

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
            self._frame = self._ahead.popleft()
        time, frame = self._frame if self._frame is not None else (0, None)
        self._bins.append(_Bin(events, frame, time, perf_counter()))
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

    def __init__(self, arriving: Arriving) -> None:
        self.add_frame = arriving.add_frame
        self.bad = arriving.bad

    def add(self, events: Events) -> None:
        """Refuses events."""
        self.bad(len(events), "an event from the source of frames")

    def end(self) -> None:
        """Nothing: the stream goes on."""
