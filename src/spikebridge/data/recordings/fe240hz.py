"""The FE240hz set: frames at 40 Hz, events and boxes at 240 Hz of one object, recorded by a DAVIS346.

| file | content |
|---|---|
| `img/` | grey frames |
| `events_sparse.npz` | `bin`, `x`, `y`, `p` (True is OFF) of each event; `shape`: frames, bins a frame, rows, columns |
| `groundtruth_rect.txt` | boxes `x,y,w,h` at 240 Hz, from motion capture |
| `groundtruth_rect40.txt` | boxes at the frames; without both files the boxes are unknown |

The offset between frames and bins, and that between frames and boxes, differ from recording to recording. Both are
estimated from the recording (`sync`). The bins between frames k and k + 1 begin at `6 k + event_offset`, and the box
of frame k is box `6 k + box_offset` of 240 Hz.

Source: J. Zhang et al., ICCV 2021; J. Zhang et al., CVPR 2023.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.catalog import find_files
from spikebridge.data.events.binned import EventBins
from spikebridge.data.io.column import concatenate_chunks
from spikebridge.data.io.images import ImageFiles, check_consecutive, list_images
from spikebridge.data.io.npz import npz_columns, read_npz
from spikebridge.data.io.row_errors import RowErrors
from spikebridge.data.recordings.recording import MAX_BINS, Offsets, Recording, read_boxes, valid_boxes
from spikebridge.data.recordings.sync import MIN_SHARE, equal_share, estimate_box_offset, estimate_offset
from spikebridge.errors import ConfigError, DataError

_EVENTS = "events_sparse.npz"
_BOXES = "groundtruth_rect.txt"
_FRAME_BOXES = "groundtruth_rect40.txt"
_BIN_RATE = 240.0
_BINS_PER_FRAME = 6
_MAX_MISSING_FRAMES = 2  # at the ends of a recording
_MAX_MISSING_SHARE = 0.05
_MAX_SHAPE = (2**24, 2**24, 2**16, 2**16)  # pixels are kept in 16 bits


def load_fe240hz(
    folder: Path | None = None, event_offset: int | None = None, box_offset: int | None = None
) -> Recording:
    """One recording; without a folder, the sample in the folder that `SPIKEBRIDGE_DATA` names.

    An offset that is not given is estimated. The clock begins with the first frame or the first bin, whichever is
    earlier.
    """
    folder = find_files("fe240hz")[0].parent if folder is None else folder
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a recording of FE240hz, but there is no such folder.")

    frames, events = _frames_and_events(folder)
    boxes = _read_labels(folder, frames, events, box_offset)
    if event_offset is None:
        estimate = estimate_offset(frames, events, _BINS_PER_FRAME)
        offsets = Offsets(estimate.offset, boxes.offset, estimate.correlation, estimate.sharpness)
    else:
        offsets = Offsets(event_offset, boxes.offset, None, None)

    _check_offset("event_offset", offsets.events, len(frames), events.num_bins)

    # empty bins before the first one, so that an earlier frame has a time of 0 s
    num_empty = max(0, -offsets.events)
    events = events.prepend_empty_bins(num_empty)
    frame_bins = np.arange(len(frames)) * _BINS_PER_FRAME + offsets.events + num_empty
    bin_boxes = np.arange(events.num_bins) - num_empty + 1 - offsets.events + offsets.boxes

    return Recording(
        name=folder.name,
        dt=1 / _BIN_RATE,
        events=events,
        frames=frames,
        frame_times=frame_bins / _BIN_RATE,
        frame_events=events.edges[frame_bins.clip(max=events.num_bins)],
        frame_boxes=boxes.at_frames,
        boxes=_boxes_at(boxes.all, bin_boxes),
        offsets=offsets,
    )


class _Labels(NamedTuple):
    all: Float[np.ndarray, "N 4"]  # at 240 Hz
    at_frames: Float[np.ndarray, "F 4"]
    offset: int


def _read_labels(folder: Path, frames: ImageFiles, events: EventBins, offset: int | None) -> _Labels:
    """Boxes at 240 Hz and at the frames, NaN if they are unknown."""
    if not any((folder / name).exists() for name in (_BOXES, _FRAME_BOXES)):
        return _Labels(np.full((1, 4), np.nan), np.full((len(frames), 4), np.nan), offset or 0)

    boxes = read_boxes(folder / _BOXES)
    _check_number(folder / _BOXES, "boxes", len(boxes), events.num_bins)
    frame_boxes = _read_frame_boxes(folder, len(frames))
    if offset is None:
        offset = _align_boxes(folder, boxes, frame_boxes)

    _check_offset("box_offset", offset, len(frames), len(boxes))
    if frame_boxes is not None and equal_share(boxes, frame_boxes, _BINS_PER_FRAME, offset) < MIN_SHARE:
        _warn_of_other_boxes(folder, boxes, frame_boxes)
        # a given offset wins
        frame_boxes = None

    boxes = valid_boxes(boxes, events.height, events.width)
    at_frames = _boxes_at(boxes, np.arange(len(frames)) * _BINS_PER_FRAME + offset)

    # frames before the first box of 240 Hz
    if frame_boxes is not None:
        frame_boxes = _boxes_at(valid_boxes(frame_boxes, events.height, events.width), np.arange(len(frames)))
        at_frames = np.where(np.isnan(at_frames), frame_boxes, at_frames)

    return _Labels(boxes, at_frames, offset)


def _read_frame_boxes(folder: Path, num_frames: int) -> Float[np.ndarray, "F 4"] | None:
    """The boxes at the frames; None without their file."""
    if not (folder / _FRAME_BOXES).exists():
        return None

    frame_boxes = read_boxes(folder / _FRAME_BOXES)
    _check_number(folder / _FRAME_BOXES, "frame boxes", len(frame_boxes), num_frames)

    return frame_boxes


def _align_boxes(folder: Path, boxes: Float[np.ndarray, "N 4"], frame_boxes: Float[np.ndarray, "F 4"] | None) -> int:
    """The offset that makes the boxes at the frames equal to those of 240 Hz."""
    if frame_boxes is None:
        raise DataError(f"{folder}: expected {_FRAME_BOXES}, the boxes of the frames. Give box_offset (--box-offset).")

    try:
        return estimate_box_offset(boxes, frame_boxes, _BINS_PER_FRAME)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error


def _warn_of_other_boxes(folder: Path, boxes: Float[np.ndarray, "N 4"], frame_boxes: Float[np.ndarray, "F 4"]) -> None:
    """Warns where the boxes of the frames are those of 240 Hz at no offset."""
    try:
        estimate_box_offset(boxes, frame_boxes, _BINS_PER_FRAME)
    except DataError:
        message = f"its boxes are those of {_BOXES} at no offset, and not used"
        warnings.warn(f"{folder / _FRAME_BOXES}: {message}", stacklevel=4)


def _frames_and_events(folder: Path) -> tuple[ImageFiles, EventBins]:
    """Frames and events, checked for lengths and sizes that fit."""
    frames = ImageFiles(list_images(folder / "img"))
    check_consecutive(frames.paths)
    events, bins_per_frame = read_sparse_events(folder / _EVENTS)
    if bins_per_frame != _BINS_PER_FRAME:
        expected = f"{_BINS_PER_FRAME} bins a frame, 240 Hz over 40 Hz"
        raise DataError(f"{folder / _EVENTS}, shape: expected {expected}, but got {bins_per_frame}.")

    _check_number(folder / "img", "frames", len(frames), events.num_bins // bins_per_frame)
    if len(frames) * bins_per_frame != events.num_bins:
        # files that end elsewhere can be valid, and a frame that is missing at the beginning shifts all boxes
        warnings.warn(
            f"{folder}: expected a frame for every {bins_per_frame} of {events.num_bins} bins, but got {len(frames)} "
            "frames. If the first ones are missing, boxes and frames do not fit: give event_offset and box_offset.",
            stacklevel=3,
        )

    if (frames.height, frames.width) != (events.height, events.width):
        raise DataError(
            f"{folder}: expected frames and events of one size, but frames are {frames.width} x {frames.height} pixels "
            f"and events {events.width} x {events.height}; resize or crop the frames."
        )

    return frames, events


def _check_sizes(path: Path, shape: tuple[int, ...]) -> None:
    """Raises before an array of sizes is read that a small file unpacks to many numbers."""
    if shape != (4,):
        raise DataError(
            f"{path}, shape: expected frames, bins a frame, rows and columns, but it declares {shape} numbers."
        )


def read_sparse_events(path: Path) -> tuple[EventBins, int]:
    """The events of one recording by bin, and the number of bins between two frames."""
    shape = read_npz(path, ["shape"], check=lambda headers: _check_sizes(path, headers["shape"].shape))["shape"]
    if shape.dtype.kind not in "iu" or (shape < 1).any() or (shape > _MAX_SHAPE).any():
        raise DataError(f"{path}, shape: expected frames, bins a frame, rows and columns, but got {shape.tolist()}.")

    num_frames, bins_per_frame, height, width = map(int, shape)
    num_bins = num_frames * bins_per_frame
    if num_bins > MAX_BINS:
        raise DataError(f"{path}, shape: expected at most {MAX_BINS} bins, but it declares {num_bins}.")

    lengths = np.zeros(num_bins, np.int64)
    limits = {"bin": num_bins, "x": width, "y": height, "p": 2}
    columns = concatenate_chunks(_check_chunks(path, limits, lengths), {"x": np.uint16, "y": np.uint16, "on": np.bool_})
    edges = np.concatenate([[0], np.cumsum(lengths)])

    return EventBins(columns["x"], columns["y"], columns["on"], edges, height, width), bins_per_frame


def _check_chunks(path: Path, limits: dict[str, int], lengths: NDArray[np.int64]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yields checked chunks of the columns and adds the number of events of each bin to `lengths`."""
    errors = RowErrors()
    last = 0

    for chunk in npz_columns(path, limits):
        for name, column in chunk.items():
            if column.dtype.kind not in "iub":
                raise DataError(f"{path}, {name}: expected integers, but got {column.dtype}.")

        bins = np.concatenate([[last], chunk["bin"].astype(np.int64)])
        errors = errors.with_rows(
            {
                f"with {name} outside of 0 to {limit - 1}": (chunk[name] < 0) | (chunk[name] >= limit)
                for name, limit in limits.items()
            }
            | {"in an earlier bin than the one before": bins[1:] < bins[:-1]}
        )
        if not errors:
            lengths += np.bincount(bins[1:], minlength=len(lengths))

        last = int(bins[-1])
        yield {"x": chunk["x"], "y": chunk["y"], "on": chunk["p"] == 0}

    if errors:
        raise DataError(f"{path}: {errors}.")


def _check_number(path: Path, kind: str, number: int, expected: int) -> None:
    """Refuses a number of frames or boxes that is far from that of the bins; a few may be missing at either end."""
    max_missing = _MAX_MISSING_FRAMES * (_BINS_PER_FRAME if kind == "boxes" else 1)
    if abs(number - expected) > max(max_missing, _MAX_MISSING_SHARE * expected):
        remedy = " Write nan,nan,nan,nan where a box is unknown." if kind == "boxes" else ""
        raise DataError(f"{path}: expected about {expected} {kind}, as {_EVENTS} declares, but got {number}.{remedy}")


def _check_offset(name: str, offset: int, num_frames: int, number: int) -> None:
    """Refuses an offset at which no frame has a bin or a box."""
    lowest = (1 - num_frames) * _BINS_PER_FRAME
    if not lowest <= offset < number:
        expected = f"a number from {lowest} to {number - 1}, with a common time of frames and bins"
        raise ConfigError(f"{name}: expected {expected}, but got {offset}.")


def _boxes_at(boxes: Float[np.ndarray, "N 4"], index: NDArray[np.int64]) -> Float[np.ndarray, "M 4"]:
    """The boxes with these indices; NaN outside."""
    inside = (index >= 0) & (index < len(boxes))
    return np.where(inside[:, None], boxes[index.clip(0, len(boxes) - 1)], np.nan)
