"""Binning: events in microseconds to dense tensors `(T, B, 2, H, W)` on a clock, and samples to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

import lazy_loader  # type: ignore[import-untyped]
import numpy as np
from jaxtyping import Float, Int64, Shaped
from numpy.typing import NDArray

from spikebridge.data.events.events import Events, check_events, slice_time
from spikebridge.errors import ConfigError, DataError, ShapeError, in_words

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_loader.load("torch")  # live bundles bin events without it


# without num_bins the data decide how much memory is taken, and one damaged time must not take it all
_MAX_VALUES = 2**28


def bin_edges(num_bins: int, dt: float, start: int = 0) -> NDArray[np.int64]:
    """First full microsecond of each bin of `dt` seconds, and of the one after the last: `num_bins + 1` times.

    Example:
        >>> bin_edges(6, dt=1 / 240).tolist()  # bins of 4166.67 us: 6 of them are 25 ms
        [0, 4167, 8334, 12500, 16667, 20834, 25000]
    """
    # rounding to nanoseconds takes the noise of floating point away before the next whole microsecond is taken
    offsets = np.ceil(np.round(np.arange(num_bins + 1) * (dt * 1e6), 3))
    return start + offsets.astype(np.int64)


def bin_edge(number: int, dt: float, start: int = 0) -> int:
    """First full microsecond of bin `number`; see `bin_edges`."""
    return start + ceil(round(number * (dt * 1e6), 3))


def bin_events(
    events: Events,
    height: int,
    width: int,
    dt: float,
    num_bins: int | None = None,
    start: int = 0,
    counts: bool = False,
) -> Float[torch.Tensor, "T 2 H W"]:
    """Events on a clock: bin k holds `[start + k dt, start + (k + 1) dt)`, channels ON and OFF.

    Args:
        events: sorted by time, on the sensor.
        height: rows of the sensor.
        width: columns of the sensor.
        dt: length of a bin [s].
        num_bins: number of bins; without it, enough for the last event. Events outside are left out.
        start: time at which the first bin begins [us].
        counts: give the number of events; else a pixel is 1 after any event.

    Returns:
        One image with two channels per bin.

    Raises:
        DataError: events are outside the sensor, not in order, or so late that the bins would not fit in memory.
        ConfigError: `dt` or `num_bins` is out of range.

    Example:
        >>> from spikebridge.data.events.events import make_events
        >>> events = make_events(t=[0, 999, 1000], x=[0, 0, 0], y=[0, 0, 0], p=[1, 1, 0])
        >>> bin_events(events, height=1, width=1, dt=0.001, counts=True).flatten(1).tolist()  # ON, OFF of two bins
        [[2.0, 0.0], [0.0, 1.0]]
    """
    if not dt >= 1e-6 or not np.isfinite(dt) or (num_bins is not None and num_bins < 0):
        raise ConfigError(f"bins need dt of 1e-6 s or more and num_bins of 0 or more, but got {dt=}, {num_bins=}.")

    check_events(events, height, width)
    if num_bins is None:
        num_bins = _bins_until_last(events, height * width, dt, start)

    edges = bin_edges(num_bins, dt, start)
    inside = slice_time(events, int(edges[0]), int(edges[-1]))
    step = np.searchsorted(edges, inside["t"], side="right") - 1
    channel = np.where(inside["p"], 0, 1)
    place = ((step * 2 + channel) * height + inside["y"]) * width + inside["x"]
    grid = np.zeros(num_bins * 2 * height * width, np.float32)

    # `grid[place] += 1` would count two events of one pixel once
    if counts:
        np.add.at(grid, place, np.float32(1))
    else:
        grid[place] = 1

    return torch.from_numpy(grid).view(num_bins, 2, height, width)


def collate(sequences: Sequence[Shaped[torch.Tensor, "T *N"]]) -> Shaped[torch.Tensor, "T B *N"]:
    """One batch of samples of one length.

    Args:
        sequences: one tensor a sample, time first.

    Returns:
        The samples, stacked on axis 1.

    Raises:
        ShapeError: there is no sample, or they differ in length, shape or dtype.

    Example:
        >>> collate([torch.zeros(5, 3), torch.ones(5, 3)]).shape
        torch.Size([5, 2, 3])
    """
    _check_samples(sequences)
    lengths = [len(sequence) for sequence in sequences]
    if len(set(lengths)) > 1:
        raise ShapeError(f"a batch needs samples of one length, but got lengths {lengths}; use collate_padded().")

    return torch.stack(list(sequences), dim=1)


def collate_padded(
    sequences: Sequence[Shaped[torch.Tensor, "_ *N"]],
) -> tuple[Shaped[torch.Tensor, "T B *N"], Int64[torch.Tensor, " B"]]:
    """One batch of samples of any length, the shorter ones followed by zeros.

    Args:
        sequences: one tensor a sample, time first.

    Returns:
        The samples, stacked on axis 1 and as long as the longest, and the length of each.

    Raises:
        ShapeError: there is no sample, or they differ in shape or dtype.

    Example:
        >>> batch, lengths = collate_padded([torch.ones(1), torch.ones(3)])
        >>> batch.tolist(), lengths.tolist()
        ([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]], [1, 3])
    """
    _check_samples(sequences)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    first = sequences[0]
    batch = first.new_zeros(int(lengths.max()), len(sequences), *first.shape[1:])

    for place, sequence in enumerate(sequences):
        batch[: len(sequence), place] = sequence

    return batch, lengths


def _bins_until_last(events: Events, num_pixels: int, dt: float, start: int) -> int:
    last = int(events["t"][-1]) if len(events) else start - 1
    if last < start:
        return 0

    num_bins = int((last - start) // (dt * 1e6)) + 2
    if num_bins * 2 * num_pixels > _MAX_VALUES:
        size = f"{num_bins} bins of {dt} s"
        raise DataError(f"the last event is at {last} us, which needs {size}: give num_bins, or cut with slice_time().")

    # the division may round down, so the last bin is found among edges that surely reach beyond the event
    return int(np.searchsorted(bin_edges(num_bins, dt, start), last, side="right"))


def _check_samples(sequences: Sequence[torch.Tensor]) -> None:
    if not sequences:
        raise ShapeError("a batch needs at least one sample, but got none.")

    other = next((one for one in sequences if not isinstance(one, torch.Tensor) or one.is_nested), None)
    if other is not None:
        hint = "; collate each of its tensors" if isinstance(other, Mapping | tuple | list) else ""
        raise ShapeError(f"a batch needs samples as tensors (T, *N), but got {in_words(other)}{hint}.")

    kinds = {(tuple(sequence.shape[1:]), sequence.dtype) for sequence in sequences}
    if len(kinds) > 1 or sequences[0].dim() == 0:
        raise ShapeError(f"a batch needs samples (T, *N) of one shape and dtype, but got {sorted(map(str, kinds))}.")
