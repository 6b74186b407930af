"""Samples of the pathways: a frame of a recording, cut around the target, and the events up to the next frame."""

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

# frames that are not read again: a frame is used in both ways of time, and as a neighbour
_NUM_CACHED = 4


class TrackingSamples(NamedTuple):
    """Frames with the events up to the next one; B samples of T bins."""

    # crops, grey levels
    frames: Float[Tensor, "B 1 H W"]
    # the frame before, cut at the same place
    before: Float[Tensor, "B 1 H W"]
    # events in the same crops, 1 where there was any
    events: Float[Tensor, "T B 2 H W"]
    # centre of the target relative to the centre of the crop, and its size [px]
    boxes: Float[Tensor, "B 4"]
    # displacement of the target's centre from the frame before to this one [px]
    motion: Float[Tensor, "B 2"]
    # displacement of the target's centre since the frame, at the end of each bin; NaN where unknown [px]
    truths: Float[Tensor, "T B 2"]
    # the next frame, cut at the same place
    after: Float[Tensor, "B 1 H W"]


# the axis of the samples in each field
AXES = {"frames": 0, "before": 0, "events": 1, "boxes": 0, "motion": 0, "truths": 1, "after": 0}


class FrameInterval(NamedTuple):
    """The time from a frame to the next one, forwards or backwards."""

    # numbers of the frame before, the frame, and the next one
    frames: tuple[int, int, int]
    # events between the last two
    bins: list[BinEvents]
    # bins of the recording at whose ends the truths are
    truth_bins: NDArray[np.int64]


class Labels(NamedTuple):
    """The box, the motion and the truths of one sample, as in `TrackingSamples` [px]."""

    box: NDArray[np.float64]
    motion: NDArray[np.float64]
    truths: NDArray[np.float64]


def cut_samples(
    recording: Recording, frames: range, size: int, both_ways: bool = False, as_bytes: bool = False
) -> TrackingSamples:
    """One sample for each frame whose box, and those of its neighbours, are known; crops have a side of `size` [px].

    Frames before and after the range are used for motion and truth only. Where the recording has boxes at frames alone,
    the last truth is the next frame's box. `both_ways` adds each interval backwards in time, where what became brighter
    becomes darker; `as_bytes` leaves pictures and events as they are kept, in a quarter of the memory.
    """
    read = lru_cache(maxsize=_NUM_CACHED)(recording.frames.__getitem__)
    samples = [
        _labelled_sample(recording, read, interval, size) for interval in intervals(recording, frames, both_ways)
    ]
    labelled = [sample for sample in samples if sample is not None]
    if not labelled:
        raise ConfigError(
            "samples need boxes of a frame, of the one before and of the next one, but no frame of "
            f"{frames.start} to {frames.stop - 1} has all of them"
        )

    return stack_samples(labelled, as_bytes)


def intervals(recording: Recording, frames: range, both_ways: bool) -> Iterator[FrameInterval]:
    """The intervals after frames, backward ones last.

    A camera's clock is not that of the bins, so some frames come a bin sooner or later: intervals of the most frequent
    number of bins are used, the others are left out.
    """
    starts = recording.frame_bins
    lengths = {k: int(starts[k + 1] - starts[k]) for k in frames if 0 < k < len(starts) - 1}
    num_bins = Counter(lengths.values()).most_common(1)[0][0] if lengths else 0
    if num_bins < 1:
        raise ConfigError("samples need frames that have neighbours, with bins of events between, but there are none")

    usable = [k for k, length in lengths.items() if length == num_bins]
    for k in usable:
        yield FrameInterval((k - 1, k, k + 1), _binned(recording, k, num_bins), starts[k] + np.arange(num_bins))

    for k in usable if both_ways else []:
        if k + 2 < min(frames.stop, len(starts)):
            bins = [BinEvents(x, y, ~on) for x, y, on in _binned(recording, k, num_bins)[::-1]]
            # backwards the truth is at the beginning of a bin, the end of the bin before
            yield FrameInterval((k + 2, k + 1, k), bins, starts[k] + np.arange(num_bins)[::-1] - 1)


def _binned(recording: Recording, k: int, num_bins: int) -> list[BinEvents]:
    """The events after a frame, by bin; those between its time and its bin are in the first one."""
    start = int(recording.frame_bins[k])
    edges = recording.events.edges[start : start + num_bins + 1].copy()
    edges[0] = recording.frame_events[k]
    return [recording.events.slice_events(int(a), int(b)) for a, b in pairwise(edges)]


def _labelled_sample(recording: Recording, read: Reader, interval: FrameInterval, size: int) -> TrackingSamples | None:
    """A sample cut around the box, without an axis for samples; None where a box that it needs is unknown."""
    before, box, after = recording.frame_boxes[list(interval.frames)]
    centers = box_center(recording.boxes[interval.truth_bins])
    if not np.isfinite(centers[-1]).all():
        centers[-1] = box_center(after)

    if not np.isfinite([*before, *box, *centers[-1]]).all():
        return None

    crop, local_box = crop_around(box, size)
    labels = Labels(local_box, box_center(box) - box_center(before), centers - box_center(box))

    return cut_sample(read, interval, crop, labels)


def cut_sample(read: Reader, interval: FrameInterval, crop: Crop, labels: Labels) -> TrackingSamples:
    """A sample of one interval, without an axis for samples, as bytes."""
    before, frame, after = (torch.from_numpy(crop_bytes(read(k), crop).copy())[None] for k in interval.frames)
    events = torch.stack([crop_events(bin_, crop) for bin_ in interval.bins]).bool()
    box, motion, truths = (torch.tensor(label, dtype=torch.float32) for label in labels)

    return TrackingSamples(frame, before, events, box, motion, truths, after)


def stack_samples(samples: Sequence[TrackingSamples], as_bytes: bool) -> TrackingSamples:
    """Samples without an axis for samples as one, in single precision or as they are kept."""
    columns = zip(zip(*samples, strict=True), AXES.values(), strict=True)
    stacked = TrackingSamples(*(torch.stack(column, axis) for column, axis in columns))
    return stacked if as_bytes else TrackingSamples(*(part.float() for part in stacked))
