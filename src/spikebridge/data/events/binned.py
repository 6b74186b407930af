"""Sparse binned events of a long recording: 5 bytes an event, dense tensors only for the bins and pixels asked for.

A dense tensor of one minute at 240 Hz takes gigabytes, a crop around a target kilobytes. Many events lie in a temporary
file, so the memory does not grow with the length of a recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import lazy_loader  # type: ignore[import-untyped]
import numpy as np
from jaxtyping import Bool, Float, Int64, UInt16

from spikebridge.data.events.binning import bin_edges
from spikebridge.data.events.events import Events, check_events
from spikebridge.data.io.column import CHUNK_ROWS, FileColumn, iter_chunks
from spikebridge.data.io.row_errors import RowErrors
from spikebridge.errors import DataError, ShapeError

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_loader.load("torch")  # live bundles bin events without it

MAX_EVENTS_PER_BIN = 2**26  # the fastest cameras see 2^30 a second, and the events of a bin are read at once
# left, top, width, height in whole pixels; a crop may stick out of the sensor
Crop: TypeAlias = tuple[int, int, int, int]


class BinEvents(NamedTuple):
    """Events of one interval, in their order, without times."""

    x: UInt16[np.ndarray, " N"]
    y: UInt16[np.ndarray, " N"]
    on: Bool[np.ndarray, " N"]


@dataclass(frozen=True)
class EventBins:
    """All events of a recording, in order, and where each bin begins.

    Args:
        x: columns of the pixels; an array, or a column in a file.
        y: rows of the pixels.
        on: True where the pixel became brighter.
        edges: bin b holds the events `edges[b]` up to `edges[b + 1]`.
        height: rows of the sensor.
        width: columns of the sensor.

    Raises:
        ShapeError: the columns differ in length, or the edges do not fit them.
        DataError: events are outside the sensor, or more than 67,108,864 in one bin.

    Example:
        >>> from spikebridge.data.events.events import make_events
        >>> events = make_events(t=[0, 999, 1000], x=[0, 1, 1], y=[0, 0, 0], p=[1, 1, 0])
        >>> bins = bin_sparse(events, height=1, width=2, dt=0.001, num_bins=2)
        >>> bins.edges.tolist(), bins.slice_bins(1, 2).x.tolist()
        ([0, 2, 3], [1])
    """

    x: UInt16[np.ndarray, " N"] | FileColumn
    y: UInt16[np.ndarray, " N"] | FileColumn
    on: Bool[np.ndarray, " N"] | FileColumn
    edges: Int64[np.ndarray, " T1"]
    height: int
    width: int

    def __post_init__(self) -> None:
        """Refuse columns and edges that do not fit."""
        num_events = len(self.x)
        if not len(self.y) == len(self.on) == num_events or not len(self.edges):
            raise ShapeError(
                f"event bins need columns of one length and at least one edge, but got {len(self.x)}, {len(self.y)} "
                f"and {len(self.on)} values and {len(self.edges)} edges."
            )

        if (np.diff(self.edges) < 0).any() or self.edges[0] < 0 or self.edges[-1] > num_events:
            raise ShapeError(f"edges must grow from 0 up to the number of events, {num_events}, but they do not.")

        errors = RowErrors()
        for x, y in iter_chunks(self.x, self.y):
            errors = errors.with_rows(
                {f"outside the sensor of {self.width} x {self.height} pixels": (x >= self.width) | (y >= self.height)}
            )

        if errors:
            raise DataError(f"{errors}.")

        most = int(np.diff(self.edges).max(initial=0))
        if most > MAX_EVENTS_PER_BIN:
            raise DataError(
                f"expected at most {MAX_EVENTS_PER_BIN} events a bin, but one has {most}; are times in microseconds?"
            )

    @property
    def num_bins(self) -> int:
        """How many bins there are."""
        return len(self.edges) - 1

    @property
    def num_events(self) -> int:
        """How many events are in them."""
        return int(self.edges[-1] - self.edges[0])

    def slice_events(self, first: int, stop: int) -> BinEvents:
        """Events by their index.

        Args:
            first: index of the first event inside.
            stop: index of the first event after.
        """
        return BinEvents(self.x[first:stop], self.y[first:stop], self.on[first:stop])

    def slice_bins(self, first: int, stop: int) -> BinEvents:
        """Events of the bins from `first` up to `stop`, which is not included.

        Args:
            first: the first bin, 0 or more.
            stop: the bin after the last one.
        """
        return self.slice_events(int(self.edges[first]), int(self.edges[stop]))

    def to_dense(
        self, first: int, stop: int, crop: Crop | None = None, counts: bool = False
    ) -> Float[torch.Tensor, "T 2 h w"]:
        """Bins as dense images with the channels ON and OFF. Only the crop takes memory.

        Args:
            first: the first bin.
            stop: the bin after the last one.
            crop: left, top, width and height in pixels; the whole sensor without it, nothing where it sticks out.
            counts: how many events there were; else 1 where there was any.

        Returns:
            One image with two channels per bin.

        Example:
            >>> from spikebridge.data.events.events import make_events
            >>> bins = bin_sparse(make_events(t=[0], x=[2], y=[1], p=[0]), height=4, width=4, dt=0.001, num_bins=1)
            >>> bins.to_dense(0, 1, crop=(2, 1, 2, 1)).tolist()  # ON, OFF of one row of two pixels
            [[[[0.0, 0.0]], [[1.0, 0.0]]]]
        """
        grid = _Grid(stop - first, crop or (0, 0, self.width, self.height), counts)
        edges = self.edges[first : stop + 1]
        for start in range(int(edges[0]), int(edges[-1]), CHUNK_ROWS):
            end = min(start + CHUNK_ROWS, int(edges[-1]))
            step = np.searchsorted(edges, np.arange(start, end), side="right") - 1
            grid.add(self.slice_events(start, end), step)

        return torch.from_numpy(grid.images())

    def prepend_empty_bins(self, num_bins: int) -> "EventBins":
        """The same events after some empty bins.

        Args:
            num_bins: how many empty bins go before, 0 or more.
        """
        before = np.full(num_bins, self.edges[0], np.int64)
        return EventBins(self.x, self.y, self.on, np.concatenate([before, self.edges]), self.height, self.width)


def crop_events(events: BinEvents, crop: Crop, counts: bool = False) -> Float[torch.Tensor, "2 h w"]:
    """Events of one bin as an image with the channels ON and OFF.

    Args:
        events: of one bin.
        crop: left, top, width and height in pixels; nothing where it sticks out of the sensor.
        counts: how many events there were; else 1 where there was any.

    Returns:
        The image.

    Example:
        >>> events = BinEvents(np.array([5], np.uint16), np.array([7], np.uint16), np.array([True]))
        >>> crop_events(events, crop=(5, 6, 1, 2)).tolist()
        [[[0.0], [1.0]], [[0.0], [0.0]]]
    """
    return torch.from_numpy(event_image(events, crop, counts))


def event_image(events: BinEvents, crop: Crop, counts: bool = False) -> Float[np.ndarray, "2 h w"]:
    """The same as `crop_events`, as an array: no torch is needed.

    Example:
        >>> events = BinEvents(np.array([5], np.uint16), np.array([7], np.uint16), np.array([True]))
        >>> event_image(events, crop=(5, 6, 1, 2)).tolist()
        [[[0.0], [1.0]], [[0.0], [0.0]]]
    """
    grid = _Grid(1, crop, counts)
    for start in range(0, len(events.x), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        grid.add(BinEvents(events.x[chunk], events.y[chunk], events.on[chunk]))

    return grid.images()[0]


def bin_sparse(events: Events, height: int, width: int, dt: float, num_bins: int, start: int = 0) -> EventBins:
    """Events on a clock, sparse: bin k holds `[start + k dt, start + (k + 1) dt)`. Events outside are left out.

    Args:
        events: sorted by time, on the sensor.
        height: rows of the sensor.
        width: columns of the sensor.
        dt: length of a bin [s].
        num_bins: how many bins.
        start: time at which the first bin begins [us].

    Returns:
        The bins; `EventBins.to_dense` gives what `bin_events` gives.

    Raises:
        DataError: events are outside the sensor or not in order.

    Example:
        >>> from spikebridge.data.events.events import make_events
        >>> bin_sparse(make_events(t=[5, 15], x=[0, 0], y=[0, 0], p=[1, 1]), 1, 1, dt=1e-5, num_bins=1).on.tolist()
        [True]
    """
    check_events(events, height, width)
    edges = np.searchsorted(events["t"], bin_edges(num_bins, dt, start))
    inside = events[edges[0] : edges[-1]]
    x, y, on = (np.ascontiguousarray(inside[name]) for name in ("x", "y", "p"))

    return EventBins(x, y, on, (edges - edges[0]).astype(np.int64), height, width)


class _Grid:
    """Images with the channels ON and OFF, to which events are added some at a time.

    Args:
        num_steps: how many images.
        crop: left, top, width and height in pixels.
        counts: how many events there were; else 1 where there was any.
    """

    def __init__(self, num_steps: int, crop: Crop, counts: bool) -> None:
        self.left, self.top, self.width, self.height = crop
        if self.width < 1 or self.height < 1:
            raise ShapeError(f"a crop (left, top, width, height) needs a size of 1 or more, but got {crop}.")

        self.shape = (num_steps, 2, self.height, self.width)
        self.counts = counts
        self.values = np.zeros(prod(self.shape), np.float32)

    def add(self, events: BinEvents, step: Int64[np.ndarray, " N"] | None = None) -> None:
        """Adds events, of the image `step` each."""
        x = events.x.astype(np.int32) - self.left
        y = events.y.astype(np.int32) - self.top
        # read as unsigned, a negative coordinate is far beyond the crop
        inside = np.flatnonzero((x.view(np.uint32) < self.width) & (y.view(np.uint32) < self.height))
        place = y[inside].astype(np.int64) * self.width + x[inside]
        place += np.where(events.on[inside], 0, self.height * self.width)

        if step is not None:
            place += step[inside] * (2 * self.height * self.width)

        if not self.counts:
            self.values[place] = 1
        elif len(place):
            first = int(place.min())  # only the images of these events are touched, not the whole recording
            counts = np.bincount(place - first)
            self.values[first : first + len(counts)] += counts

    def images(self) -> Float[np.ndarray, "T 2 h w"]:
        """The images."""
        return self.values.reshape(self.shape)
