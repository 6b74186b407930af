"""Frames and events of files on one clock, which begins with the first frame, or the first event without frames."""

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from spikebridge.data.binning import bin_edges
from spikebridge.data.columns import places_in
from spikebridge.data.event_bins import EventBins
from spikebridge.data.event_files import HeldEvents
from spikebridge.data.recording import MOST_BINS, Recording
from spikebridge.errors import ConfigError, DataError


def on_a_clock(
    path: Path,
    held: HeldEvents,
    frames: Sequence[Any] | NDArray[np.uint8],
    frame_times: Int64[np.ndarray, " F"],
    dt: float,
    event_offset: int = 0,
    until: int | None = None,
) -> Recording:
    """A recording without boxes. Events before the first frame are left out.

    Args:
        path: of the recording; the last part of it is its name.
        held: the events.
        frames: grey images.
        frame_times: that grow [us].
        dt: length of a bin [s].
        event_offset: is added to the times of events [us].
        until: the recording lasts so long at least [us].

    Raises:
        DataError: frames and events are not of one time, frame times do not grow, or there would be too many bins.
    """
    check_growing(path, frame_times)
    first_and_last = np.concatenate([held.t[:1], held.t[-1:]]) + event_offset
    if len(frame_times):
        _check_overlap(path, frame_times, first_and_last)
    start = int(frame_times[0]) if len(frame_times) else int(first_and_last[0])
    last = [*first_and_last[-1:].tolist(), *frame_times[-1:].tolist()]
    end = max(last if until is None else [*last, until]) - start
    num_bins = int(end / (dt * 1e6)) + 1
    if num_bins > MOST_BINS:
        raise DataError(
            f"{path}: the last time is {end} us after the first, which needs {num_bins} bins of {dt} s; at most "
            f"{MOST_BINS} are possible. Is a time damaged, or not in microseconds?"
        )
    edges = places_in(held.t, bin_edges(num_bins, dt, start - event_offset))
    return Recording(
        name=path.name,
        dt=dt,
        events=EventBins(held.x, held.y, held.on, edges, held.height, held.width),
        frames=frames,
        frame_times=(frame_times - start) * 1e-6,
        frame_events=places_in(held.t, frame_times - event_offset).clip(max=int(edges[-1])),
        frame_boxes=np.full((len(frame_times), 4), np.nan),
        # one box that is none, seen as many: they take no memory
        boxes=np.broadcast_to(np.nan, (num_bins, 4)),
        start_us=start,
    )


def check_bin(dt: float) -> None:
    """Refuses bins into which no clock can be cut.

    Args:
        dt: length of a bin [s].

    Raises:
        ConfigError: it is none, or shorter than a microsecond.
    """
    if not 1e-6 <= dt < inf:
        raise ConfigError(f"a recording needs bins of dt = 1e-6 s or more, but got {dt!r}.")


def check_growing(path: Path, times: Int64[np.ndarray, " N"]) -> None:
    """Refuses times that stand still or jump back.

    Args:
        path: of what has them.
        times: [us].

    Raises:
        DataError: they do not grow.
    """
    backward = np.diff(times) <= 0
    if backward.any():
        index = int(backward.argmax()) + 1
        raise DataError(
            f"{path}: expected times that grow, but {int(backward.sum())} do not, first at index {index}: "
            f"{times[index]} us after {times[index - 1]} us."
        )


def _check_overlap(path: Path, frame_times: NDArray[Any], event_times: NDArray[Any]) -> None:
    """A silent camera is valid; one that saw another time than the frames is a mistake."""
    if not len(event_times):
        return
    # one frame lasts as long as the events after it do
    last = event_times[-1] if len(frame_times) == 1 else frame_times[-1]
    if event_times[-1] < frame_times[0] or event_times[0] > last:
        raise DataError(
            f"{path}: expected frames and events of one time, but frames are from {frame_times[0]} to "
            f"{frame_times[-1]} us and events from {event_times[0]} to {event_times[-1]} us. If their clocks differ, "
            "say by how much with event_offset_us in meta.json."
        )
