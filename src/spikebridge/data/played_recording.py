"""A recording played at its own speed: each bin is there once its time has passed on this machine's clock."""

from time import perf_counter, sleep

import numpy as np
from jaxtyping import Float

from spikebridge.data.recording import Inputs, Recording
from spikebridge.errors import ConfigError, DataError


class PlayedRecording:
    """Bins of a recording from a frame on, in real time; over and over if asked for.

    Args:
        recording: to play.
        frame: the first frame; None begins with the first bin.
        box: of the target in it, for who follows one.
        loop: begin again after the end, until somebody stops.
        speed: 2 plays twice as fast.
        hold_events: give a frame with the events since it; else every event once, in the bin of its time.

    Raises:
        DataError: there is no bin after the frame.
        ConfigError: a speed of 0 or less.

    Example:
        >>> from spikebridge.data.scene import film
        >>> from spikebridge.data.turning_disk import TurningDisk
        >>> recording = film(TurningDisk(height=32, width=32), duration=0.05, dt=0.005)
        >>> played = PlayedRecording(recording, 0, recording.frame_boxes[0], speed=100)
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
        hold_events: bool = True,
    ) -> None:
        if not 0 < speed < float("inf"):
            raise ConfigError(f"a recording is played at a speed above 0, but got {speed}")
        self.recording = recording
        self.first = 0 if frame is None else int(recording.frame_bins[frame])
        self.length = recording.num_bins - self.first
        if self.length < 1:
            raise DataError(f"{recording.name}: frame {frame} comes at the end, with no bin of events after it.")
        self.box = box
        self.hold_events = hold_events
        self.loop = loop
        self.dt = recording.dt / speed
        self.began: float | None = None

    def wait(self, done: int) -> int | None:
        """Sleeps until bin `done` is over; None where the recording is."""
        if done >= self.length and not self.loop:
            return None
        if self.began is None:
            self.began = perf_counter()
        sleep(max(0.0, self.ready_at(done) - perf_counter()))
        complete = max(done + 1, int((perf_counter() - self.began) / self.dt))
        return complete if self.loop else min(complete, self.length)

    def ready_at(self, bin_: int) -> float:
        """When a bin is over [s]."""
        return (self.began or 0.0) + (bin_ + 1) * self.dt

    def begins_anew(self, bin_: int) -> bool:
        """Whether the recording begins with this bin."""
        return bin_ % self.length == 0

    def inputs(self, first: int, stop: int) -> Inputs:
        """What is new in these bins of one round; the first ones bring the box."""
        begin = first % self.length
        begun = self.first + begin
        inputs = self.recording.inputs(begun, begun + stop - first, self.hold_events)
        if begin == 0 and self.box is not None:
            inputs["box"] = self.box
        return inputs
