"""A live stream as images, one a bin: what a network takes that knows neither single events nor boxes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from spikebridge.data.arriving import Arriving
from spikebridge.data.event_bins import crop_events
from spikebridge.data.played_recording import PlayedRecording


class GridBin(NamedTuple):
    """A bin of a stream.

    Args:
        events: the channels ON and OFF.
        frame: grey levels from 0 to 1, where one has come.
    """

    events: Float[np.ndarray, "2 H W"]
    frame: Float[np.ndarray, "h w"] | None


class EventGrids:
    """A source whose bins are laid out as images, one by one, also where several wait.

    Args:
        source: of single events, each given once (`hold_events=False`).
        height: rows of the sensor.
        width: columns of the sensor.
        counts: how many events there were; else 1 where there was any.

    Example:
        >>> from spikebridge.data.arriving import FramesOf
        >>> from spikebridge.data.events import make_events
        >>> stream = Arriving(dt=0.001, height=1, width=2, frames=FramesOf(wanted=False))
        >>> stream.add(make_events(t=[0, 10, 1500], x=[1, 1, 0], y=[0, 0, 0], p=[1, 1, 0]))
        >>> [one.events.tolist() for one in EventGrids(stream, 1, 2, counts=True).inputs(0, 1)]
        [[[[0.0, 2.0]], [[0.0, 0.0]]]]
    """

    def __init__(self, source: PlayedRecording | Arriving, height: int, width: int, counts: bool = False) -> None:
        self.source = source
        self.dt = source.dt
        self.whole = (0, 0, width, height)
        self.counts = counts

    def wait(self, done: int) -> int | None:
        """As the source does."""
        return self.source.wait(done)

    def ready_at(self, bin_: int) -> float:
        """As the source says [s]."""
        return self.source.ready_at(bin_)

    def begins_anew(self, bin_: int) -> bool:
        """As the source says."""
        return self.source.begins_anew(bin_)

    def inputs(self, first: int, stop: int) -> list[GridBin]:
        """Each of these bins."""
        bins = []
        for bin_ in range(first, stop):
            inputs = self.source.inputs(bin_, bin_ + 1)
            frame: UInt8[np.ndarray, "h w"] | None = inputs.get("frame")
            grid = crop_events(inputs["events"], self.whole, self.counts).numpy()
            bins.append(GridBin(grid, None if frame is None else frame.astype(np.float32) / 255))
        return bins
