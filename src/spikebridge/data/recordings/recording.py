"""A recording of a hybrid camera with one target: frames, events in bins, and a box at the end of each bin.

The clock counts bins of `dt` seconds from 0. Bin b is `[b dt, (b + 1) dt)`, and its box is that at its end. A frame
acts from the first edge at or after its time. The events between the two are not in the picture of the frame; they
belong to the first bin in which the frame acts.

Text files of boxes hold one box a line: `x,y,w,h`, or a polygon of 8 numbers, whose bounding box is taken.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from spikebridge.data.events.binned import BinEvents, EventBins
from spikebridge.data.io.number_text import parse_real
from spikebridge.data.io.safe_open import read_lines
from spikebridge.errors import ConfigError, DataError, ShapeError

MAX_BINS = 2**22  # nearly five hours at 240 a second: more come from a damaged time
# first frame of each part and the one after its last, of 560; the gaps keep neighbours apart
_SPLITS = {"train": (12, 280), "validation": (285, 330), "test": (340, 552)}
_SPLITS_OF = 560
_MAX_BYTES = 2**28  # of a text file
# sides of a box [px]; smaller and larger ones are slips that a tracker would divide by
_MIN_SIDE = 0.01
_MAX_SIDE = 1e6
_SEPARATOR = re.compile(r"[,;\s]+")


class Inputs(TypedDict):
    """The input of a tracker at one step: the new data alone."""

    events: BinEvents  # since the frame, if there is one, else since the last step
    elapsed: float  # time since the last step [s]
    # grey levels (H, W) or colours (H, W, 3), 0 to 255, if a frame has arrived, or a function that reads them
    frame: NotRequired[Any]
    frame_age: NotRequired[float]  # time from the frame to the end of this step [s]
    box: NotRequired[NDArray[np.float64]]  # the given box of the target in the frame; always at the first step


class Offsets(NamedTuple):
    """The offsets that put the parts of a recording on one clock; see `fe240hz`."""

    events: int
    boxes: int
    correlation: float | None  # of the estimate; None if the offset was given
    sharpness: float | None  # fall of the correlation half a frame away


@dataclass(frozen=True)
class Recording:
    """Frames, events and boxes on one clock.

    Args:
        name: for messages and reports.
        dt: length of a bin [s].
        events: all events, by bin.
        frames: grey images of 0 to 255, read on access.
        frame_times: time of each frame [s], increasing.
        frame_events: for each frame the index of the first event that is not in its picture.
        frame_boxes: the box of the target in each frame; NaN if it is unknown.
        boxes: the box of the target at the end of each bin; NaN if it is unknown.
        offsets: the offsets of the parts, if they were estimated or given.
        start_us: time 0 of this clock on the clock of the files [us].
        last_event_us: time of the last event on that clock [us], if the files have it.

    Raises:
        ShapeError: the numbers of frames, times, boxes or bins do not fit, or times do not grow.

    Example:
        >>> from spikebridge.data.events.binned import bin_sparse
        >>> from spikebridge.data.events.events import make_events
        >>> bins = bin_sparse(make_events(t=[500, 1500], x=[0, 0], y=[0, 0], p=[1, 1]), 1, 1, dt=0.001, num_bins=2)
        >>> recording = Recording(
        ...     "a dot", 0.001, bins, np.zeros((1, 1, 1), np.uint8), np.array([0.0005]), np.array([0]),
        ...     np.array([[0.0, 0, 1, 1]]), np.array([[0.0, 0, 1, 1]] * 2))
        >>> recording.frame_bins.tolist()  # a frame in the middle of bin 0 acts from bin 1
        [1]
        >>> inputs = recording.inputs(1, 2)
        >>> len(inputs["events"].x), inputs["frame_age"]  # the event at 500 us is not in the picture
        (2, 0.0015)
    """

    name: str
    dt: float
    events: EventBins
    frames: Sequence[Any] | NDArray[np.uint8]
    frame_times: Float[np.ndarray, " F"]
    frame_events: Int64[np.ndarray, " F"]
    frame_boxes: Float[np.ndarray, "F 4"]
    boxes: Float[np.ndarray, "T 4"]
    offsets: Offsets | None = None
    start_us: int = 0
    last_event_us: int | None = None

    def __post_init__(self) -> None:
        num_frames = len(self.frames)
        num_bins = self.events.num_bins
        lengths = (len(self.frame_times), len(self.frame_events), len(self.frame_boxes))
        if lengths != (num_frames,) * 3 or len(self.boxes) != num_bins:
            needed = f"{num_frames} frames need as many times, event indices and boxes, {num_bins} bins as many boxes"
            raise ShapeError(f"{self.name}: {needed}, but got {lengths} and {len(self.boxes)}.")

        if not (self.dt > 0 and (np.diff(self.frame_times) > 0).all() and (self.frame_times >= 0).all()):
            raise ShapeError(f"{self.name}: dt must be above 0 s, and frame times must be 0 s or more and grow.")

    @property
    def num_bins(self) -> int:
        """Number of bins."""
        return self.events.num_bins

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.frames)

    @cached_property
    def frame_bins(self) -> Int64[np.ndarray, " F"]:
        """The first bin in which each frame acts."""
        # rounded first, so that 0.025 s of 240 Hz is bin 6 and not 7
        return np.ceil(np.round(self.frame_times / self.dt, 6)).astype(np.int64)

    def first_box(self, init: Float[np.ndarray, "4"] | None = None) -> tuple[int, Float[np.ndarray, "4"]]:
        """The frame to start from and the target's box in it.

        Args:
            init: the box in the first frame; the recording's own first one without it.

        Raises:
            DataError: there is neither, or the box is outside the image.
        """
        height = self.events.height
        width = self.events.width
        if init is not None:
            if np.isnan(valid_boxes(init[None], height, width)).any():
                expected = f"a first box inside the image of {width} x {height} pixels"
                raise DataError(f"{self.name}: expected {expected}, but got {init.tolist()}.")

            return 0, init

        labelled = np.flatnonzero(np.isfinite(self.frame_boxes).all(axis=1))
        if not len(labelled):
            raise DataError(f"{self.name}: no frame has a box; give the box in the first one: --init x,y,w,h")

        return int(labelled[0]), self.frame_boxes[labelled[0]]

    @property
    def has_box(self) -> bool:
        """True if the box of any frame is known."""
        return bool(np.isfinite(self.frame_boxes).all(axis=1).any())

    @property
    def has_frames_only(self) -> bool:
        """True if there are no events, and boxes at most at frames, as in a video clip."""
        num_boxes = int(np.isfinite(self.boxes).all(axis=1).sum())
        return self.events.num_events == 0 and num_boxes <= self.num_frames

    @property
    def num_unlabelled(self) -> int:
        """Number of bins without a box."""
        return int(np.isnan(self.boxes).any(axis=1).sum())

    def inputs(self, first: int, stop: int, buffer_events: bool = True, defers_frame: bool = False) -> Inputs:
        """The new data of consecutive bins.

        Args:
            first: the first bin since the last step.
            stop: the bin after the last one.
            buffer_events: give a frame with the events since it; else every event once, in the bin of its time.
            defers_frame: give a function that reads the frame in its place.

        Returns:
            The events, and the newest frame that acts from one of these bins, if any.
        """
        inputs = Inputs(events=self.events.slice_bins(first, stop), elapsed=(stop - first) * self.dt)
        bins = self.frame_bins
        newest = int(np.searchsorted(bins, stop - 1, side="right")) - 1
        if newest >= 0 and bins[newest] >= first:
            if buffer_events:
                since_frame = int(self.frame_events[newest])
                inputs["events"] = self.events.slice_events(since_frame, int(self.events.edges[stop]))

            # files of images in colours are read as grey levels, but by a tracker
            read = partial(getattr(self.frames, "colours", self.frames.__getitem__), newest)
            inputs["frame"] = read if defers_frame else read()
            inputs["frame_age"] = float(stop * self.dt - self.frame_times[newest])

        return inputs

    def subsample_frames(self, keep_every: int) -> "Recording":
        """The same recording with every `keep_every`-th frame, the first one included.

        Args:
            keep_every: 1 keeps all frames.

        Raises:
            ConfigError: `keep_every` is below 1.
        """
        if keep_every < 1:
            raise ConfigError(f"subsample_frames needs keep_every of 1 or more, but got {keep_every}.")

        kept = slice(None, None, keep_every)
        return replace(
            self,
            frames=self.frames[kept],
            frame_times=self.frame_times[kept],
            frame_events=self.frame_events[kept],
            frame_boxes=self.frame_boxes[kept],
        )

    def summary(self) -> str:
        """Size, frames, bins, events and missing boxes, in one line."""
        return (
            f"{self.name}: {self.events.width} x {self.events.height} pixels, {self.num_frames} frames, "
            f"{self.num_bins} bins of {1e3 * self.dt:.3f} ms, {self.events.num_events} events, "
            f"{self.num_unlabelled} bins and {int(np.isnan(self.frame_boxes).any(axis=1).sum())} frames without a box"
        )


def temporal_splits(num_frames: int) -> dict[str, range]:
    """Ranges of train, validation and test frames by name, with gaps between them."""
    if num_frames < 40:
        raise ConfigError(f"three parts with gaps need 40 frames or more, but got {num_frames}.")

    return {
        name: range(-(-first * num_frames // _SPLITS_OF), stop * num_frames // _SPLITS_OF)
        for name, (first, stop) in _SPLITS.items()
    }


def read_boxes(path: Path, origin: float = 0.0) -> Float[np.ndarray, "N 4"]:
    """Boxes of a text file, counted from the upper left pixel at 0; the file calls that pixel `origin`.

    A line holds `x,y,w,h`, or a polygon, whose points are taken as they are; `nan` stands for an unknown box.
    """
    lines = read_lines(path, "a text file of boxes", _MAX_BYTES)
    while lines and not lines[-1].strip():
        lines.pop()

    rows = [_parse_line(line, origin, f"{path}, line {i}") for i, line in enumerate(lines, start=1)]
    if not rows:
        raise DataError(f"{path}: expected boxes, but the file holds none.")

    return np.array(rows)


def valid_boxes(boxes: Float[np.ndarray, "N 4"], height: int, width: int) -> Float[np.ndarray, "N 4"]:
    """The boxes, with NaN in place of each that is empty, not finite, or outside the image."""
    x, y, w, h = boxes.T
    good = np.isfinite(boxes).all(axis=1) & (w > _MIN_SIDE) & (h > _MIN_SIDE) & (boxes.max(axis=1) <= _MAX_SIDE)
    good &= (x < width) & (y < height) & (x + w > 0) & (y + h > 0)

    return np.where(good[:, None], boxes, np.nan)


def parse_box(words: str) -> Float[np.ndarray, "4"]:
    """A box from the words `x,y,w,h`."""
    try:
        box = np.array([parse_real(word) for word in words.split(",")])
    except ValueError:
        box = np.empty(0)

    if box.shape != (4,) or not (np.abs(box) <= _MAX_SIDE).all() or not (box[2:] > _MIN_SIDE).all():
        sides = f"w and h above {_MIN_SIDE:g}"
        raise ConfigError(f"expected a box x,y,w,h: four numbers in pixels with {sides}, but got {words!r}")

    return box


def _parse_line(line: str, origin: float, where: str) -> list[float]:
    try:
        row = [parse_real(word) for word in _SEPARATOR.split(line.strip()) if word]
    except ValueError:
        row = []

    if len(row) == 4:
        return [row[0] - origin, row[1] - origin, row[2], row[3]]

    if len(row) == 8:
        x = row[::2]
        y = row[1::2]
        return [min(x), min(y), max(x) - min(x), max(y) - min(y)]

    raise DataError(f"{where}: expected 4 numbers x,y,w,h or 8 numbers of a polygon, but found {line.strip()!r:.60}.")
