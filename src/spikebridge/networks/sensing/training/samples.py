"""Samples of the pathways: a frame of a recording and the events up to the next frame.

| samples | boxes they need | cut out around |
|---|---|---|
| `cut_samples` | of a frame and of its neighbours; those in between are truths where there are any | the box |
| `cut_unlabelled_samples` | none | an event |
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.events.binned import BinEvents, Crop, crop_events
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.boxes import Reader, box_center, crop_around, crop_bytes


class TrackingSamples(NamedTuple):
    """Frames with the events up to the next one; B samples of T bins.

    Args:
        frames: crops, grey levels.
        before: the frame before, cut at the same place.
        events: of the same crops, 1 where there was any, or how many.
        boxes: centre of the target relative to the centre of the crop, and its size [px].
        motion: of the target's middle from the frame before to this one [px].
        truths: of the target's middle since the frame, at the end of each bin; NaN where unknown [px].
        after: the next frame, cut at the same place.
    """

    frames: Float[Tensor, "B 1 H W"]
    before: Float[Tensor, "B 1 H W"]
    events: Float[Tensor, "T B 2 H W"]
    boxes: Float[Tensor, "B 4"]
    motion: Float[Tensor, "B 2"]
    truths: Float[Tensor, "T B 2"]
    after: Float[Tensor, "B 1 H W"]


AXES = {"frames": 0, "before": 0, "events": 1, "boxes": 0, "motion": 0, "truths": 1, "after": 0}
"""Along which the samples lie in each part."""


class _Interval(NamedTuple):
    """From a frame to the next one, in one of the ways of time.

    Args:
        frames: the one before, the frame, and the next one.
        bins: the events between the last two.
        places: the bins of the recording at whose ends the truths are.
    """

    frames: tuple[int, int, int]
    bins: list[BinEvents]
    places: NDArray[np.int64]


def cut_samples(
    recording: Recording,
    frames: range,
    size: int,
    both_ways: bool = False,
    as_bytes: bool = False,
    counts: bool = False,
) -> TrackingSamples:
    """One sample for each frame whose box, and those of its neighbours, are known.

    A camera's clock is not that of the bins, so some frames come a bin sooner or later. Samples are as long as most of
    the times between frames; the others are left out.

    Args:
        recording: with boxes, of each bin or of frames alone: then the last truth is the next frame's box.
        frames: which frames; those before and after the range are used for motion and truth only.
        size: side of a crop [px].
        both_ways: also each interval backwards in time, where what became brighter becomes darker.
        as_bytes: leave pictures and events as they are kept, which takes a quarter of the memory.
        counts: how many events there were, 255 and more are one; else 1 where there was any.

    Returns:
        The samples, backward ones last.

    Raises:
        ConfigError: no sample is left.

    Example:
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> recording = render_recording(RotatingDisk(height=64, width=64), duration=0.125, dt=0.005)
        >>> cut_samples(recording, range(1, 4), size=48, both_ways=True).events.shape
        torch.Size([5, 4, 2, 48, 48])
    """
    read = lru_cache(maxsize=4)(recording.frames.__getitem__)
    rows = [_around_the_box(recording, read, one, size, counts) for one in _intervals(recording, frames, both_ways)]
    known = [row for row in rows if row is not None]
    if not known:
        raise ConfigError(
            "samples need boxes of a frame, of the one before and of the next one, but no frame of "
            f"{frames.start} to {frames.stop - 1} has all of them"
        )

    return _stacked(known, as_bytes)


def cut_unlabelled_samples(
    recording: Recording,
    frames: range,
    size: int,
    generator: np.random.Generator,
    both_ways: bool = False,
    as_bytes: bool = False,
    counts: bool = False,
) -> TrackingSamples:
    """One sample for each frame and way of time, of a recording without boxes, or whose boxes are not to be read.

    Each is cut around one of its events, drawn at random, and moved inside of the sensor if it would stick out; without
    an event there is no sample.

    Args:
        recording: of frames and events.
        frames: see `cut_samples`.
        size: see there.
        generator: draws the events.
        both_ways: see there.
        as_bytes: see there.
        counts: see there.

    Returns:
        The samples, backward ones last; boxes, motion and truths are NaN.

    Raises:
        ConfigError: no sample is left.

    Example:
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> recording = render_recording(RotatingDisk(height=64, width=64), duration=0.125, dt=0.005)
        >>> samples = cut_unlabelled_samples(recording, range(1, 4), size=48, generator=np.random.default_rng(0))
        >>> samples.events.shape, samples.boxes.isnan().all().item()
        (torch.Size([5, 3, 2, 48, 48]), True)
    """
    read = lru_cache(maxsize=4)(recording.frames.__getitem__)
    intervals = _intervals(recording, frames, both_ways)
    rows = [_around_an_event(recording, read, one, size, counts, generator) for one in intervals]
    kept = [row for row in rows if row is not None]

    if not kept:
        raise ConfigError(f"changes need events between frames, but after {frames.start} to {frames.stop - 1} are none")

    return _stacked(kept, as_bytes)


def _intervals(recording: Recording, frames: range, both_ways: bool) -> Iterator[_Interval]:
    """All that have as many bins as most of them; backward ones last."""
    starts = recording.frame_bins
    lengths = {k: int(starts[k + 1] - starts[k]) for k in frames if 0 < k < len(starts) - 1}
    num_bins = Counter(lengths.values()).most_common(1)[0][0] if lengths else 0
    if num_bins < 1:
        raise ConfigError("samples need frames that have neighbours, with bins of events between, but there are none")

    inside = [k for k, length in lengths.items() if length == num_bins]
    for k in inside:
        yield _Interval((k - 1, k, k + 1), _binned(recording, k, num_bins), starts[k] + np.arange(num_bins))

    for k in inside if both_ways else []:
        if k + 2 < min(frames.stop, len(starts)):
            bins = [BinEvents(one.x, one.y, ~one.on) for one in _binned(recording, k, num_bins)[::-1]]
            # the box at the end of the bin before
            yield _Interval((k + 2, k + 1, k), bins, starts[k] + np.arange(num_bins)[::-1] - 1)


def _binned(recording: Recording, k: int, num_bins: int) -> list[BinEvents]:
    """The events after a frame, by bin; those between its time and its bin are in the first one."""
    start = int(recording.frame_bins[k])
    edges = recording.events.edges[start : start + num_bins + 1].copy()
    edges[0] = recording.frame_events[k]
    return [recording.events.slice_events(int(a), int(b)) for a, b in pairwise(edges)]


def _around_the_box(
    recording: Recording, read: Reader, one: _Interval, size: int, counts: bool
) -> TrackingSamples | None:
    """A sample, without an axis for samples; None where a box that it needs is not known."""
    before, here, after = recording.frame_boxes[list(one.frames)]
    there = box_center(recording.boxes[one.places])
    if not np.isfinite(there[-1]).all():
        there[-1] = box_center(after)

    if not np.isfinite([*before, *here, *there[-1]]).all():
        return None

    crop, box = crop_around(here, size)
    return _cut_out(read, one, crop, counts, box, box_center(here) - box_center(before), there - box_center(here))


def _around_an_event(
    recording: Recording, read: Reader, one: _Interval, size: int, counts: bool, generator: np.random.Generator
) -> TrackingSamples | None:
    """The same without boxes; None where there is no event."""
    x, y = (np.concatenate([getattr(events, name) for events in one.bins]) for name in ("x", "y"))
    if not len(x):
        return None

    drawn = generator.integers(len(x))
    left, top = (
        min(max(int(at[drawn]) - size // 2, 0), max(extent - size, 0))
        for at, extent in ((x, recording.events.width), (y, recording.events.height))
    )

    unknown = np.full((len(one.bins), 2), np.nan)
    return _cut_out(read, one, (left, top, size, size), counts, np.full(4, np.nan), unknown[0], unknown)


def _cut_out(
    read: Reader,
    one: _Interval,
    crop: Crop,
    counts: bool,
    box: NDArray[np.float64],
    motion: NDArray[np.float64],
    truths: NDArray[np.float64],
) -> TrackingSamples:
    before, now, after = (torch.from_numpy(crop_bytes(read(frame), crop).copy())[None] for frame in one.frames)
    grids = torch.stack([crop_events(bin_, crop, counts) for bin_ in one.bins])
    events = grids.clamp(max=255).byte() if counts else grids.bool()
    boxes, way, gone = (torch.tensor(label, dtype=torch.float32) for label in (box, motion, truths))

    return TrackingSamples(now, before, events, boxes, way, gone, after)


def _stacked(rows: Sequence[TrackingSamples], as_bytes: bool) -> TrackingSamples:
    columns = zip(zip(*rows, strict=True), AXES.values(), strict=True)
    samples = TrackingSamples(*(torch.stack(column, axis) for column, axis in columns))
    return samples if as_bytes else TrackingSamples(*(part.float() for part in samples))
