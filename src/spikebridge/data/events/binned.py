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

MAX_EVENTS_PER_BIN = 2**26  # the fastest cameras send 2^30 a second, and the events of a bin are read at once
# left, top, width, height in whole pixels; a crop may stick out of the sensor
Crop: TypeAlias = tuple[int, int, int, int]


class BinEvents(NamedTuple):
    """Events of one interval, in their order, without times; `on` is True for ON."""

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
        edges: bin b holds the events from `edges[b]` to `edges[b + 1] - 1`.
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
        num_events = len(self.x)
        lengths = [len(column) for column in (self.x, self.y, self.on, self.edges)]
        if len({*lengths[:3]}) > 1 or not len(self.edges):
            raise ShapeError(
                f"event bins need x, y and on, columns of one length, and edges, but got lengths {lengths}."
            )

        if (np.diff(self.edges) < 0).any() or self.edges[0] < 0 or self.edges[-1] > num_events:
            raise ShapeError(f"edges must grow from 0 up to the number of events, {num_events}, but they do not.")

        errors = RowErrors()
        kind = f"outside the sensor of {self.width} x {self.height} pixels"
        for x, y in iter_chunks(self.x, self.y):
            errors = errors.with_rows({kind: (x >= self.width) | (y >= self.height)})

        if errors:
            raise DataError(f"{errors}.")

        largest = int(np.diff(self.edges).max(initial=0))
        if largest > MAX_EVENTS_PER_BIN:
            limit = f"at most {MAX_EVENTS_PER_BIN} events a bin"
            raise DataError(f"expected {limit}, but one has {largest}; are times in microseconds?")

    @property
    def num_bins(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1

    @property
    def num_events(self) -> int:
        """Number of events in all bins."""
        return int(self.edges[-1] - self.edges[0])

    def slice_events(self, first: int, stop: int) -> BinEvents:
        """Events by their index.

        Args:
            first: index of the first event.
            stop: index after the last event.
        """
        return BinEvents(self.x[first:stop], self.y[first:stop], self.on[first:stop])

    def slice_bins(self, first: int, stop: int) -> BinEvents:
        """Events of consecutive bins.

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
            crop: left, top, width and height in pixels; the whole sensor without it. It may stick out.
            counts: give the number of events; else a pixel is 1 after any event.

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

        # in chunks, since the events of a long recording may exceed the memory
        for start in range(int(edges[0]), int(edges[-1]), CHUNK_ROWS):
            end = min(start + CHUNK_ROWS, int(edges[-1]))
            step = np.searchsorted(edges, np.arange(start, end), side="right") - 1
            grid.add(self.slice_events(start, end), step)

        return torch.from_numpy(grid.images())

    def prepend_empty_bins(self, num_bins: int) -> "EventBins":
        """The same events after some empty bins.

        Args:
            num_bins: number of empty bins, 0 or more.
        """
        before = np.full(num_bins, self.edges[0], np.int64)
        return EventBins(self.x, self.y, self.on, np.concatenate([before, self.edges]), self.height, self.width)


def crop_events(events: BinEvents, crop: Crop, counts: bool = False) -> Float[torch.Tensor, "2 h w"]:
    """Events of one bin as a tensor with the channels ON and OFF; see `event_image`."""
    return torch.from_numpy(event_image(events, crop, counts))


def event_image(events: BinEvents, crop: Crop, counts: bool = False) -> Float[np.ndarray, "2 h w"]:
    """Events of one bin as an array with the channels ON and OFF; no torch is needed.

    `crop` is left, top, width and height in pixels and may stick out of the sensor. `counts` gives numbers of events,
    otherwise a pixel is 1 after any event.
    """
    grid = _Grid(1, crop, counts)
    for start in range(0, len(events.x), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        grid.add(BinEvents(events.x[chunk], events.y[chunk], events.on[chunk]))

    return grid.images()[0]


def bin_sparse(events: Events, height: int, width: int, dt: float, num_bins: int, start: int = 0) -> EventBins:
    """Events in sparse bins: bin k holds `[start + k dt, start + (k + 1) dt)` [us, s]. Events outside are left out.

    `EventBins.to_dense` of the result equals `bin_events`.
    """
    check_events(events, height, width)
    edges = np.searchsorted(events["t"], bin_edges(num_bins, dt, start))
    inside = events[edges[0] : edges[-1]]
    x, y, on = (np.ascontiguousarray(inside[name]) for name in ("x", "y", "p"))

    return EventBins(x, y, on, (edges - edges[0]).astype(np.int64), height, width)


class _Grid:
    """Images with the channels ON and OFF, to which events are added in parts."""

    def __init__(self, num_steps: int, crop: Crop, counts: bool) -> None:
        self.left, self.top, self.width, self.height = crop
        if self.width < 1 or self.height < 1:
            raise ShapeError(f"a crop (left, top, width, height) needs a size of 1 or more, but got {crop}.")

        self.shape = (num_steps, 2, self.height, self.width)
        self.counts = counts
        self.values = np.zeros(prod(self.shape), np.float32)

    def add(self, events: BinEvents, step: Int64[np.ndarray, " N"] | None = None) -> None:
        """Adds events to the images that `step` names, one for each event; without it to the only image."""
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
            # only the images of these events are touched, not those of the whole recording
            first = int(place.min())
            counts = np.bincount(place - first)
            self.values[first : first + len(counts)] += counts

    def images(self) -> Float[np.ndarray, "T 2 h w"]:
        return self.values.reshape(self.shape)
