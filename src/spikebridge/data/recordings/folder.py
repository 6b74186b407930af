"""A recording of your own: one folder with frames, their times, events, and optional boxes, on one clock.

| file | content |
|---|---|
| `meta.json` | `width`, `height`; optional `name`, `event_offset_us`, `box_offset_us` (added to the times) |
| `frames/` | images of the size of the sensor |
| `frames.csv` | a header `file,t_us`, then a name in `frames/` and its time in microseconds a line |
| `events.npz`, `.csv`, `.bin`, `.aedat4`, `.es` or `.raw` | events on the same clock |
| `boxes.csv` | optional: a header `t_us,x,y,w,h`, pixels from the upper left corner, counted from 0 |

Without `frames.csv` the frames inside `events.aedat4` are used. The clock begins with the first frame, or with the
first event where there are no frames.
"""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from spikebridge.data.events.binned import EventBins
from spikebridge.data.events.binning import bin_edges
from spikebridge.data.events.files import EVENT_FORMATS, BufferedEvents, buffer_events, event_files, frames_reader
from spikebridge.data.io.column import column_searchsorted
from spikebridge.data.io.images import ImageFiles, ImagesInMemory, list_images
from spikebridge.data.io.json_text import read_json
from spikebridge.data.io.number_text import parse_integer, parse_real
from spikebridge.data.io.safe_open import read_lines
from spikebridge.data.recordings.recording import MAX_BINS, Recording, valid_boxes
from spikebridge.errors import ConfigError, DataError, did_you_mean

_MAX_BYTES = 2**27
_MAX_META_BYTES = 2**16
_MAX_OFFSET_US = 2**60
_MAX_TIME_DIGITS = 18
_MAX_SILENCE_US = 100_000  # at the end of a recording, without a warning
_MAX_SILENT_SHARE = 0.1
_MAX_PAUSE_US = 60_000_000
_PAUSE_US_OF_EVENT = 100_000  # a camera before which nothing moves still sends noise


class _Meta(NamedTuple):
    width: int
    height: int
    name: str
    event_offset_us: int = 0
    box_offset_us: int = 0


def load_recording_folder(
    folder: Path, dt: float = 1 / 240, repair: bool = False, allow_truncated: bool = False
) -> Recording:
    """A recording from a folder; its clock begins with the first frame.

    A box belongs to the frame and to the end of the bin that are less than half a bin away. Boxes are not interpolated.
    """
    check_bin_width(dt)
    meta = _read_meta(folder)
    events_path = _events_path(folder)
    frames, frame_times = read_frames(folder, events_path, allow_truncated)

    if (frames.height, frames.width) != (meta.height, meta.width):
        sensor = f"the sensor's {meta.width} x {meta.height} pixels (meta.json)"
        remedy = "Resize and crop them to the view of the event pixels."
        size = f"{frames.width} x {frames.height}"
        raise DataError(f"{folder}: expected frames of {sensor}, but they are {size}. {remedy}")

    events = buffer_events(events_path, meta.height, meta.width, repair, allow_truncated)
    _warn_repaired(events_path, events)
    box_times, boxes = _read_boxes(folder / "boxes.csv", meta)
    # boxes may go on after the last event and frame
    until = int(box_times[-1]) if len(box_times) else None
    recording = build_recording(folder, events, frames, frame_times, dt, meta.event_offset_us, until)
    bin_ends = recording.start_us + (np.arange(recording.num_bins) + 1) * dt * 1e6

    return replace(
        recording,
        name=meta.name,
        frame_boxes=_nearest(boxes, box_times, frame_times, dt * 5e5),
        boxes=_nearest(boxes, box_times, bin_ends, dt * 5e5),
    )


def _read_meta(folder: Path) -> _Meta:
    path = folder / "meta.json"
    values = read_json(path, "a json file with width and height", _MAX_META_BYTES)
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected names and values, but found {type(values).__name__}.")

    known = _Meta._fields
    for name, value in values.items():
        if name not in known:
            raise DataError(f"{path}: {name!r} is not known; {did_you_mean(name, known)}")
        if name != "name" and (not isinstance(value, int) or isinstance(value, bool)):
            raise DataError(f"{path}, {name}: expected an integer, but got {value!r}.")
        if name.endswith("_us") and abs(value) > _MAX_OFFSET_US:
            raise DataError(f"{path}, {name}: expected at most {_MAX_OFFSET_US} us either way, but got {value}.")

    for name in ("width", "height"):
        if not 1 <= values.get(name, 0) <= 2**16:
            raise DataError(f"{path}, {name}: expected pixels from 1 to {2**16}, but got {values.get(name)!r}.")

    return _Meta(**{**values, "name": str(values.get("name", folder.name))})


def _events_path(folder: Path) -> Path:
    paths = event_files(folder)
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise DataError(f"{folder}: expected one file events with {', '.join(EVENT_FORMATS)}, but there is {names}.")

    return paths[0]


def _warn_repaired(path: Path, events: BufferedEvents) -> None:
    if events.num_outside or events.num_negative or events.num_backward:
        warnings.warn(
            f"{path}: dropped {events.num_outside} events outside the sensor and {events.num_negative} before time 0; "
            f"sorted {events.num_backward} that were earlier than the one before.",
            stacklevel=3,
        )


def read_frames(
    folder: Path, events_path: Path, allow_truncated: bool = False
) -> tuple[ImageFiles | ImagesInMemory, Int64[np.ndarray, " F"]]:
    """The frames of a folder and their times [us], from `frames.csv` or from an event file that holds frames."""
    path = folder / "frames.csv"
    frames_of = frames_reader(events_path)
    if not path.exists() and frames_of is not None:
        return frames_of(events_path, allow_truncated)

    rows = _read_csv(path, ("file", "t_us"))
    times = np.array([_parse_time(row[1], f"{path}, line {i}") for i, row in rows], np.int64)
    names = [row[0] for _, row in rows]
    if not names:
        raise DataError(f"{path}: expected at least one frame, but there is none.")

    listed: set[str] = set()
    for i, (name, _) in rows:
        if name in listed:
            raise DataError(f"{path}, line {i}: the image {name!r} is listed twice.")
        listed.add(name)

    existing = {image.name for image in list_images(folder / "frames")}
    missing = [name for name in names if name not in existing]
    unlisted = sorted(existing - listed)
    if missing or unlisted:
        first = f"{missing[0]!r} is not there" if missing else f"{unlisted[0]!r} has no time"
        counts = f"frames/ holds {len(existing)} images and frames.csv {len(names)} times"
        raise DataError(f"{folder}: expected one time for each image, but {counts}; {first}.")

    _check_increasing(path, times)
    return ImageFiles([folder / "frames" / name for name in names]), times


def _read_boxes(path: Path, meta: _Meta) -> tuple[Int64[np.ndarray, " N"], Float[np.ndarray, "N 4"]]:
    """Times and boxes, NaN for an invalid box; empty arrays without a file."""
    if not path.exists():
        return np.empty(0, np.int64), np.empty((0, 4))

    rows = _read_csv(path, ("t_us", "x", "y", "w", "h"))
    times = np.array([_parse_time(row[0], f"{path}, line {i}") for i, row in rows], np.int64)
    boxes = np.array([_parse_box(row[1:], f"{path}, line {i}") for i, row in rows]).reshape(-1, 4)
    _check_increasing(path, times)
    usable = valid_boxes(boxes, meta.height, meta.width)

    if len(usable) and np.isnan(usable[0]).any():
        expected = f"a first box inside the image of {meta.width} x {meta.height} pixels"
        raise DataError(f"{path}, line 2: expected {expected}, but got {boxes[0].tolist()}.")

    return times + meta.box_offset_us, usable


def _read_csv(path: Path, header: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """Rows of a csv file with their line numbers, each as long as the header."""
    lines = read_lines(path, f"a csv file that begins with {','.join(header)}", _MAX_BYTES)
    first = [word.strip() for word in lines[0].split(",")]

    if first != list(header):
        raise DataError(f"{path}, line 1: expected {','.join(header)!r}, but found {lines[0]!r:.60}.")

    try:
        rows = list(csv.reader(lines[1:]))
    except csv.Error as error:
        raise DataError(f"{path}: expected values {','.join(header)}, but this is no csv ({error}).") from error

    for i, row in enumerate(rows, start=2):
        if len(row) not in (0, len(header)):
            raise DataError(f"{path}, line {i}: expected {len(header)} values {','.join(header)}, but got {len(row)}.")

    return [(i, [word.strip() for word in row]) for i, row in enumerate(rows, start=2) if row]


def _parse_time(word: str, where: str) -> int:
    try:
        time = parse_integer(word)
    except ValueError:
        time = None

    if time is None or len(word) > _MAX_TIME_DIGITS:
        raise DataError(f"{where}: expected a time in whole microseconds, but found {word!r:.40}.")

    return time


def _parse_box(words: list[str], where: str) -> list[float]:
    try:
        return [parse_real(word) for word in words]
    except ValueError:
        raise DataError(f"{where}: expected numbers t_us,x,y,w,h, but found {','.join(words)!r:.60}.") from None


def _nearest(
    boxes: Float[np.ndarray, "N 4"], box_times: Int64[np.ndarray, " N"], times: NDArray[Any], within: float
) -> Float[np.ndarray, "M 4"]:
    """The box nearest to each time; NaN if it is `within` or more away."""
    if not len(boxes):
        return np.broadcast_to(np.nan, (len(times), 4))

    after = np.searchsorted(box_times, times).clip(1, max(1, len(boxes) - 1))
    before = after - 1
    after = after.clip(max=len(boxes) - 1)
    nearest = np.where(np.abs(box_times[before] - times) <= np.abs(box_times[after] - times), before, after)
    far = np.abs(box_times[nearest] - times) >= within

    return np.where(far[:, None], np.nan, boxes[nearest])


def build_recording(
    path: Path,
    events: BufferedEvents,
    frames: Sequence[Any] | NDArray[np.uint8],
    frame_times: Int64[np.ndarray, " F"],
    dt: float,
    event_offset: int = 0,
    until: int | None = None,
) -> Recording:
    """Puts frames and events on one clock, without boxes. Events before the first frame are left out.

    `event_offset` is added to the times of events, and the recording lasts at least until `until` [us].
    """
    _check_increasing(path, frame_times)
    first_and_last = np.concatenate([events.t[:1], events.t[-1:]]) + event_offset
    if len(frame_times):
        _check_overlap(path, frame_times, first_and_last)

    start = int(frame_times[0]) if len(frame_times) else int(first_and_last[0])
    last = [*first_and_last[-1:].tolist(), *frame_times[-1:].tolist()]
    end = max(last if until is None else [*last, until]) - start
    num_bins = int(end / (dt * 1e6)) + 1

    if num_bins > MAX_BINS:
        limit = f"needs {num_bins} bins of {dt} s, more than {MAX_BINS}. Is a time damaged, or not in microseconds?"
        raise DataError(f"{path}: the last time, {end} us after the first, {limit}")

    marks = np.unique([*first_and_last, *frame_times, start + end])
    _check_pause(path, marks, np.diff(column_searchsorted(events.t, marks - event_offset)))
    edges = column_searchsorted(events.t, bin_edges(num_bins, dt, start - event_offset))
    return Recording(
        name=path.name,
        dt=dt,
        events=EventBins(events.x, events.y, events.on, edges, events.height, events.width),
        frames=frames,
        frame_times=(frame_times - start) * 1e-6,
        frame_events=column_searchsorted(events.t, frame_times - event_offset).clip(max=int(edges[-1])),
        frame_boxes=np.full((len(frame_times), 4), np.nan),
        # a broadcast view takes no memory
        boxes=np.broadcast_to(np.nan, (num_bins, 4)),
        start_us=start,
        last_event_us=int(first_and_last[-1]) if len(first_and_last) else None,
    )


def check_bin_width(dt: float) -> None:
    """Refuses a bin shorter than a microsecond."""
    if not 1e-6 <= dt < inf:
        raise ConfigError(f"a recording needs bins of dt = 1e-6 s or more, but got {dt!r}.")


def _check_increasing(path: Path, times: Int64[np.ndarray, " N"]) -> None:
    # equal times count too
    backward = np.diff(times) <= 0
    if backward.any():
        index = int(backward.argmax()) + 1
        first = f"first at index {index}: {times[index]} us after {times[index - 1]} us"
        raise DataError(f"{path}: expected times that grow, but {int(backward.sum())} do not, {first}.")


def _check_pause(path: Path, times: Int64[np.ndarray, " N"], num_events: Int64[np.ndarray, " N-1"]) -> None:
    """Refuses a pause that is most of a recording, without a frame and with hardly an event."""
    pauses = np.diff(times)
    if len(pauses) == 0 or pauses.max() <= max(_MAX_PAUSE_US, pauses.sum() / 2):
        return

    k = int(pauses.argmax())
    if num_events[k] < pauses[k] / _PAUSE_US_OF_EVENT:
        raise DataError(
            f"{path}: {num_events[k]} events and no frame from {times[k]} to {times[k + 1]} us, a pause of "
            f"{pauses[k] / 6e7:.0f} minutes. Is a time damaged, or not in microseconds? Else cut the recording there."
        )


def _check_overlap(path: Path, frame_times: NDArray[Any], event_times: NDArray[Any]) -> None:
    """Refuses events of another time than the frames; no events at all are valid."""
    if not len(event_times):
        return

    # a single frame lasts until the last event
    last = event_times[-1] if len(frame_times) == 1 else frame_times[-1]
    if event_times[-1] < frame_times[0] or event_times[0] > last:
        frames = f"frames are from {frame_times[0]} to {frame_times[-1]} us"
        events = f"events from {event_times[0]} to {event_times[-1]} us"
        remedy = "If their clocks differ, give event_offset_us in meta.json."
        raise DataError(f"{path}: expected frames and events of one time, but {frames} and {events}. {remedy}")

    # a file that was cut between two packets looks whole
    missing = frame_times[-1] - event_times[-1]
    if missing > max(_MAX_SILENCE_US, _MAX_SILENT_SHARE * (frame_times[-1] - frame_times[0])):
        warnings.warn(
            f"{path}: the last event is at {event_times[-1]} us and the last frame at {frame_times[-1]} us; was the "
            "file of events cut?",
            stacklevel=3,
        )
