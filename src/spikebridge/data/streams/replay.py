"""Replays a recording or an event file in real time: a bin is available once its time has passed."""

from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.events.binned import event_image
from spikebridge.data.recordings.recording import Inputs, Recording
from spikebridge.data.streams.binner import EventBinner
from spikebridge.errors import ConfigError, DataError

_MIN_SPEED = 1e-3
_MAX_SPEED = 1e6


@dataclass
class PlaybackClock:
    """A clock of bins of `dt` seconds, in real time from the first wait on."""

    dt: float
    start_time: float | None = None

    def wait(self, bin_: int) -> int:
        """Sleeps until a bin is complete; the number of complete bins."""
        if self.start_time is None:
            self.start_time = perf_counter()

        sleep(max(0.0, self.ready_at(bin_) - perf_counter()))
        return max(bin_ + 1, int((perf_counter() - self.start_time) / self.dt))

    def ready_at(self, bin_: int) -> float:
        """Time at which a bin is complete [s]."""
        return (self.start_time or 0.0) + (bin_ + 1) * self.dt


def check_speed(kind: str, speed: float) -> None:
    """Refuses a playback speed that is out of range."""
    if not _MIN_SPEED <= speed <= _MAX_SPEED:
        raise ConfigError(f"a {kind} plays at {_MIN_SPEED:g} to {_MAX_SPEED:g} times its speed, but got {speed:g}")


class ReplaySource:
    """Bins of a recording from a frame on, in real time, optionally in a loop.

    Args:
        recording: the recording to replay.
        frame: the first frame; None begins with the first bin.
        box: the box of the target in it, for a tracker.
        loop: restart after the end.
        speed: playback speed; 2 plays twice as fast.
        buffer_events: give a frame with the events since it; else every event once, in the bin of its time.
        defers_frames: give functions that read frames in their place.

    Raises:
        DataError: there is no bin after the frame.
        ConfigError: a speed out of range.

    Example:
        >>> from spikebridge.data.simulation.moving_objects import MovingObjects
        >>> from spikebridge.data.simulation.render import render_recording
        >>> recording = render_recording(MovingObjects(height=64, width=64, size=16), duration=0.05, dt=0.005)
        >>> played = ReplaySource(recording, 0, recording.frame_boxes[0], speed=100)
        >>> played.wait(0) >= 1, sorted(played.inputs(0, 1))
        (True, ['box', 'elapsed', 'events', 'frame', 'frame_age'])
    """

    def __init__(
        self,
        recording: Recording,
        frame: int | None,
        box: Float[np.ndarray, "4"] | None = None,
        loop: bool = False,
        speed: float = 1.0,
        buffer_events: bool = True,
        defers_frames: bool = False,
    ) -> None:
        check_speed("recording", speed)
        self.recording = recording
        self.first = 0 if frame is None else int(recording.frame_bins[frame])
        self.length = recording.num_bins - self.first
        if self.length < 1:
            raise DataError(f"{recording.name}: frame {frame} comes at the end, with no bin of events after it.")

        self.box = box
        self.buffer_events = buffer_events
        self.defers_frames = defers_frames
        self.loop = loop
        self.dt = recording.dt / speed
        self._clock = PlaybackClock(self.dt)
        self.ready_at = self._clock.ready_at

    def wait(self, done: int) -> int | None:
        """Sleeps until bin `done` is complete; the number of complete bins, None after the end."""
        if done >= self.length and not self.loop:
            return None

        complete = self._clock.wait(done)
        return complete if self.loop else min(complete, self.length)

    def newest_restart(self, first: int, stop: int) -> int | None:
        """The newest bin from `first` up to `stop` with which the recording starts; None without one."""
        newest = (stop - 1) // self.length * self.length
        return newest if newest >= first else None

    def inputs(self, first: int, stop: int) -> Inputs:
        """New data of these bins of one pass; the first bin has the box."""
        position = first % self.length
        start = self.first + position
        inputs = self.recording.inputs(start, start + stop - first, self.buffer_events, self.defers_frames)
        if position == 0 and self.box is not None:
            inputs["box"] = self.box

        return inputs


class _EventFrame(NamedTuple):
    """Some bins of a stream as one image."""

    events: Float[np.ndarray, "2 H W"]  # channels ON and OFF
    frame: Float[np.ndarray, "h w"] | None  # grey levels from 0 to 1; None without a new one
    num_bins: int = 1


class EventFrameSource:
    """A source that gives each bin as an event frame.

    Args:
        source: a source of single events that gives each event once (`buffer_events=False`).
        height: rows of the sensor.
        width: columns of the sensor.
        counts: give the number of events per pixel; else a pixel is 1 after any event.
        max_together: bins that the network takes in one step; of older ones only the newest frame is read. None: all.

    Attributes:
        num_bins: bins given.
        num_asked: bins for which a frame was asked.
        num_frames: frames read.

    Example:
        >>> from spikebridge.data.streams.binner import FrameOptions
        >>> from spikebridge.data.events.events import make_events
        >>> stream = EventBinner(dt=0.001, height=1, width=2, frames=FrameOptions(required=False))
        >>> stream.add(make_events(t=[0, 10, 1500], x=[1, 1, 0], y=[0, 0, 0], p=[1, 1, 0]))
        >>> [one.events.tolist() for one in EventFrameSource(stream, 1, 2, counts=True).inputs(0, 1)]
        [[[[0.0, 2.0]], [[0.0, 0.0]]]]
    """

    def __init__(
        self,
        source: ReplaySource | EventBinner,
        height: int,
        width: int,
        counts: bool = False,
        max_together: int | None = None,
    ) -> None:
        self.source = source
        self.dt = source.dt
        self.crop = (0, 0, width, height)
        self.counts = counts
        self.max_together = max_together
        # the clock is that of the source
        self.wait = source.wait
        self.ready_at = source.ready_at
        self.newest_restart = source.newest_restart
        self.num_bins = 0
        self.num_asked = 0
        self.num_frames = 0
        self._asks = True
        self._newest: Any = None  # frame that was not asked for yet

    def ask_frames(self, asks: bool) -> None:
        """Says whether the next bins need a frame: one that is not asked for is not read, but the newest of them stays.

        The next bin that asks gets it.
        """
        self._asks = asks

    def inputs(self, first: int, stop: int) -> list[_EventFrame]:
        """One event frame per bin; bins older than the last `max_together` are one entry without events."""
        begin = first if self.max_together is None else max(first, stop - self.max_together)
        self.num_bins += stop - first
        self.num_asked += (stop - first) * self._asks
        bins = []
        # older bins are skipped, but a frame in them is still the newest one
        if begin > first:
            frame = self.source.inputs(first, begin).get("frame")
            no_events = np.zeros((2, self.crop[3], self.crop[2]), np.float32)
            bins.append(_EventFrame(no_events, self._asked(frame), begin - first))

        for bin_ in range(begin, stop):
            inputs = self.source.inputs(bin_, bin_ + 1)
            grid = event_image(inputs["events"], self.crop, self.counts)
            bins.append(_EventFrame(grid, self._asked(inputs.get("frame"))))

        return bins

    def _asked(self, frame: Any) -> Float[np.ndarray, "h w"] | None:
        """The grey levels of the newest frame, if it is asked for; None without a new one, or if it cannot be read."""
        self._newest = self._newest if frame is None else frame
        frame = self._newest
        if not self._asks or frame is None:
            return None

        self._newest = None
        self.num_frames += 1
        levels = frame() if callable(frame) else frame
        return None if levels is None else levels.astype(np.float32) / 255
