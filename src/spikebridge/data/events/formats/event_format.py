"""The interface of a file format of events."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from spikebridge.data.events.events import Events
from spikebridge.data.io.images import ImagesInMemory

# columns t [us], x, y, p of some events
Columns: TypeAlias = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
Chunks: TypeAlias = Iterator[Columns]
# rows and columns of a sensor
Sensor: TypeAlias = tuple[int, int]
# grey frames of a file, and their times [us]; the flag accepts a cut file
Frames: TypeAlias = tuple[ImagesInMemory, Int64[np.ndarray, " F"]]
FramesReader: TypeAlias = Callable[[Path, bool], Frames]

_ES_WRAP_US = 127


class ReadOptions(NamedTuple):
    """Rows and columns of the sensor, where the user gives them; and whether a cut file is accepted."""

    height: int | None = None
    width: int | None = None
    allow_truncated: bool = False


class DecodedSize(NamedTuple):
    """Events that were read of a file so far, with the time of the last one [us].

    `num_wraps` counts full spans of 127 us between events, each of which takes a byte in an `.es` file.
    """

    num_events: int = 0
    last_us: int | None = None
    num_wraps: int = 0

    def with_times(self, t: Int64[np.ndarray, " N"]) -> "DecodedSize":
        """The size after the next events, at the times `t` [us]."""
        if not len(t):
            return self

        wraps = np.diff(t, prepend=self.last_us or 0) // _ES_WRAP_US
        return DecodedSize(self.num_events + len(t), int(t[-1]), self.num_wraps + int(wraps.sum()))


class EventFormat(NamedTuple):
    """A file format of events."""

    # chunks of columns, read lazily, and the size of the sensor, where the file holds it
    read: Callable[[Path, ReadOptions], tuple[Chunks, Sensor | None]]
    # in words, the packet inside of which a file of some bytes ends; None at a complete end
    find_cut: Callable[[BinaryIO, int, DecodedSize], str | None] | None = None
    # the reader fails at the end of a cut file, so that a failure there may mean a cut
    fails_when_cut: bool = False
    read_frames: FramesReader | None = None
    # the content of a file of events on a sensor of some height and width
    write: Callable[[Events, int, int], bytes] | None = None
