"""A recording from a file of events, with or without a folder of frames."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.camera_formats import read_aedat4
from spikebridge.data.event_bins import bin_sparse
from spikebridge.data.event_files import EventFile, read_events
from spikebridge.data.recording import Recording
from spikebridge.data.recording_folder import MOST_BINS, check_growing, check_overlap, read_frames
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
        ConfigError: the sensor is not known.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "two.csv"
        >>> _ = path.write_text("t,x,y,p\\n10000,3,4,1\\n12500,5,6,0\\n")
        >>> load_events(path, dt=0.001, height=8, width=8).num_bins
        3
    """
    found = read_events(path, height, width)
    if not len(found.events):
        raise DataError(f"{path}: expected events to play, but there are none.")
    pictures: Any = np.zeros((0, found.height, found.width), np.uint8)
    times: NDArray[np.int64] = np.empty(0, np.int64)
    if frames is not None:
        pictures, times = read_frames(frames, path)
        check_overlap(path, times, found.events["t"])
    return _on_a_clock(path, found, pictures, times, dt)


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
        ConfigError: the package `aedat` is not installed.

    Example:
        >>> load_camera_file(Path("/no/such/place.aedat4"))
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: /no/such/place.aedat4: expected a .aedat4 file, but there is no such file...
    """
    found = read_events(path, repair=repair)
    held = read_aedat4(path)
    if not len(held.frames):
        raise DataError(f"{path}: expected frames beside the events, but there are none.")
    size = held.frames.shape[1:]
    if size != (found.height, found.width):
        raise DataError(
            f"{path}: expected frames of the sensor's {found.width} x {found.height} pixels, but they are {size[1]} x "
            f"{size[0]}."
        )
    check_growing(path, held.frame_times)
    check_overlap(path, held.frame_times, found.events["t"])
    return _on_a_clock(path, found, held.frames, held.frame_times, dt)


def _on_a_clock(path: Path, found: EventFile, pictures: Any, times: NDArray[np.int64], dt: float) -> Recording:
    start = int(times[0]) if len(times) else int(found.events["t"][0])
    events = found.events[found.events["t"] >= start].copy()
    events["t"] -= start
    last = [*events["t"][-1:].tolist(), *(times[-1:] - start).tolist()]
    end = max(last)
    num_bins = int(end / (dt * 1e6)) + 1
    if num_bins > MOST_BINS:
        raise DataError(
            f"{path}: the last time is {end} us after the first, which needs {num_bins} bins of {dt} s; at most "
            f"{MOST_BINS} are possible. Is a time damaged, or not in microseconds?"
        )
    bins = bin_sparse(events, found.height, found.width, dt, num_bins)
    return Recording(
        name=path.name,
        dt=dt,
        events=bins,
        frames=pictures,
        frame_times=(times - start) * 1e-6,
        frame_events=np.searchsorted(events["t"], times - start).clip(max=int(bins.edges[-1])),
        frame_boxes=np.full((len(times), 4), np.nan),
        boxes=np.full((num_bins, 4), np.nan),
        start_us=start,
    )
