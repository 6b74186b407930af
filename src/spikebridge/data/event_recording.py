"""A recording from a file of events, with or without a folder of frames."""

from pathlib import Path

import numpy as np

from spikebridge.data.camera_formats import aedat4_frames
from spikebridge.data.event_clock import check_bin, on_a_clock
from spikebridge.data.event_files import hold_events
from spikebridge.data.recording import Recording
from spikebridge.data.recording_folder import read_frames
from spikebridge.errors import DataError


def load_events(
    path: Path, dt: float, height: int | None = None, width: int | None = None, frames: Path | None = None
) -> Recording:
    """A recording of a file of events; its clock begins with the first frame, or the first event where there is none.

    Args:
        path: the file, of a kind that `read_events` knows.
        dt: length of a bin [s].
        height: rows of the sensor; needed where the file does not tell.
        width: columns of the sensor.
        frames: a folder with `frames.csv` and `frames/`, as in a recording's folder, on the clock of the events.

    Returns:
        The recording, without boxes.

    Raises:
        DataError: a file is missing, damaged, without events, or does not fit the others.
        ConfigError: the sensor is not known, or `dt` cannot be meant.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "two.csv"
        >>> _ = path.write_text("t,x,y,p\\n10000,3,4,1\\n12500,5,6,0\\n")
        >>> load_events(path, dt=0.001, height=8, width=8).num_bins
        3
    """
    check_bin(dt)
    held = hold_events(path, height, width)
    if not len(held.t):
        raise DataError(f"{path}: expected events to play, but there are none.")
    if frames is None:
        nothing = np.zeros((0, held.height, held.width), np.uint8)
        return on_a_clock(path, held, nothing, np.empty(0, np.int64), dt)
    return on_a_clock(path, held, *read_frames(frames, path), dt)


def load_camera_file(path: Path, dt: float = 1 / 240, repair: bool = False) -> Recording:
    """The recording of one `.aedat4` file, which holds events and frames; its clock begins with the first frame.

    Args:
        path: the file.
        dt: length of a bin [s].
        repair: drop events outside the sensor or before time 0, and sort the rest by time.

    Returns:
        The recording, without boxes.

    Raises:
        DataError: the file is missing, damaged, without frames, or its frames and events do not fit.
        ConfigError: the package `aedat` is not installed, or `dt` cannot be meant.

    Example:
        >>> load_camera_file(Path("/no/such/place.aedat4"))
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: /no/such/place.aedat4: expected a .aedat4 file, but there is no such file...
    """
    check_bin(dt)
    held = hold_events(path, repair=repair)
    frames, times = aedat4_frames(path)
    if (frames.height, frames.width) != (held.height, held.width):
        raise DataError(
            f"{path}: expected frames of the sensor's {held.width} x {held.height} pixels, but they are {frames.width} "
            f"x {frames.height}."
        )
    return on_a_clock(path, held, frames, times, dt)
