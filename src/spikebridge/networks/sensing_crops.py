"""What the sensing network sees of a recording: crops around the target, one sample a frame and the events after it."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from math import ceil, floor
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.event_bins import BinEvents, Crop, crop_events
from spikebridge.data.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing_boxes import middle_of

Reader: TypeAlias = Callable[[int], NDArray[np.uint8]]


class Samples(NamedTuple):
    """Frames with the events up to the next one; B samples of T bins.

    Args:
        frames: crops, grey levels.
        before: the frame before, cut at the same place.
        events: of the same crops, 1 where there was any, or how many.
        boxes: middle of the target beside the middle of the crop, and its size [px].
        motion: of the target's middle from the frame before to this one [px].
        truths: of the target's middle since the frame, at the end of each bin [px].
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


def check_crop(size: int, stride: int) -> None:
    """Refuses crops that the cells of a network do not fill: then the middle of a crop is not that of its cells.

    Args:
        size: side of the square [px].
        stride: side of a cell [px].

    Raises:
        ConfigError: it is small, or has a part of a cell.

    Example:
        >>> check_crop(96, stride=8)
    """
    if size < 16 or size % stride:
        raise ConfigError(f"a crop needs a side of 16 px or more, a multiple of {stride}, but got {size}")


def crop_around(box: Float[np.ndarray, "4"], size: int) -> tuple[Crop, Float[np.ndarray, "4"]]:
    """A square of whole pixels around the middle of a box, and the box as seen from the square's middle.

    Args:
        box: `(x, y, w, h)` [px].
        size: side of the square [px].

    Returns:
        Left, top, width and height of the square; and the box's middle beside the square's, and its size.

    Example:
        >>> crop, seen = crop_around(np.array([10.0, 20.0, 4.5, 6.0]), size=16)  # middle (12.25, 23)
        >>> crop, seen.tolist()
        ((4, 15, 16, 16), [0.25, 0.0, 4.5, 6.0])
    """
    middle = middle_of(box)
    left, top = np.round(middle - size / 2).astype(int).tolist()
    return (left, top, size, size), np.concatenate([middle - size / 2 - [left, top], box[2:]])


def crop_touching(middle: Sequence[float], half: Sequence[float], shape: tuple[int, ...], least: int = 0) -> Crop:
    """The pixels of a frame that a rectangle touches.

    Args:
        middle: of the rectangle, `(x, y)` [px].
        half: of its width and height [px].
        shape: rows and columns of the frame.
        least: so many rows and columns at least, those at an edge where the rectangle is outside.

    Example:
        >>> crop_touching((5.0, 1.0), (2.5, 3.0), shape=(10, 20))
        (2, 0, 6, 4)
    """
    height, width = shape
    (left, right), (top, bottom) = (
        (start := min(max(floor(at - reach), 0), size - least), max(min(ceil(at + reach), size), start + least))
        for at, reach, size in zip(middle, half, (width, height), strict=True)
    )
    return left, top, right - left, bottom - top


def crop_frame(frame: NDArray[np.uint8], crop: Crop) -> Float[Tensor, "1 H W"]:
    """A crop of a frame; where it sticks out the nearest pixels are repeated.

    Args:
        frame: grey levels.
        crop: left, top, width and height [px].

    Example:
        >>> crop_frame(np.array([[1, 2], [3, 4]], np.uint8), (-1, 1, 3, 2)).tolist()
        [[[3.0, 3.0, 4.0], [3.0, 3.0, 4.0]]]
    """
    return torch.from_numpy(_cropped(frame, crop).astype(np.float32))[None]


def _cropped(frame: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    left, top, width, height = crop
    if 0 <= left <= frame.shape[1] - width and 0 <= top <= frame.shape[0] - height:
        return frame[top : top + height, left : left + width]
    rows = np.arange(top, top + height).clip(0, frame.shape[0] - 1)
    columns = np.arange(left, left + width).clip(0, frame.shape[1] - 1)
    return frame[np.ix_(rows, columns)]


def cut_samples(
    recording: Recording,
    frames: range,
    size: int,
    both_ways: bool = False,
    as_bytes: bool = False,
    counts: bool = False,
) -> Samples:
    """One sample for each frame whose box, and that of its neighbour before, is known.

    A camera's clock is not that of the bins, so some frames come a bin sooner or later. Samples are as long as most of
    the times between frames; the others are left out.

    Args:
        recording: with boxes.
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
        >>> from spikebridge.data.scene import film
        >>> from spikebridge.data.turning_disk import TurningDisk
        >>> recording = film(TurningDisk(height=64, width=64), duration=0.125, dt=0.005)
        >>> cut_samples(recording, range(1, 4), size=48, both_ways=True).events.shape
        torch.Size([5, 4, 2, 48, 48])
    """
    starts = recording.frame_bins
    lengths = {k: int(starts[k + 1] - starts[k]) for k in frames if 0 < k < len(starts) - 1}
    num_bins = Counter(lengths.values()).most_common(1)[0][0] if lengths else 0
    if num_bins < 1:
        raise ConfigError("samples need frames that have neighbours, with bins of events between, but there are none")
    inside = [k for k, length in lengths.items() if length == num_bins]
    read = lru_cache(maxsize=4)(recording.frames.__getitem__)
    cut = partial(_sample, recording, read, size, counts)
    forth, back = [], []
    for k in inside:
        bins, places = _binned(recording, k, num_bins), int(starts[k]) + np.arange(num_bins)
        forth.append(cut((k - 1, k, k + 1), bins, places))
        if both_ways and k + 2 < min(frames.stop, len(starts)):
            turned = [BinEvents(events.x, events.y, ~events.on) for events in bins[::-1]]
            # the box at the end of the bin before
            back.append(cut((k + 2, k + 1, k), turned, places[::-1] - 1))
    known = [row for row in forth + back if all(bool(part.isfinite().all()) for part in row)]
    if not known:
        raise ConfigError(
            f"samples need boxes of a frame, of the one before and of each of the {num_bins} bins after it, but no "
            f"frame of {frames.start} to {frames.stop - 1} has all of them"
        )
    columns = zip(zip(*known, strict=True), AXES.values(), strict=True)
    samples = Samples(*(torch.stack(column, axis) for column, axis in columns))
    return samples if as_bytes else Samples(*(part.float() for part in samples))


def _binned(recording: Recording, k: int, num_bins: int) -> list[BinEvents]:
    """The events after a frame, by bin; those between its time and its bin are in the first one."""
    start = int(recording.frame_bins[k])
    edges = recording.events.edges[start : start + num_bins + 1].copy()
    edges[0] = recording.frame_events[k]
    return [recording.events.between(int(a), int(b)) for a, b in pairwise(edges)]


def _sample(
    recording: Recording,
    read: Reader,
    size: int,
    counts: bool,
    order: tuple[int, int, int],
    bins: list[BinEvents],
    places: NDArray[np.int64],
) -> tuple[Tensor, ...]:
    before, k, after = order
    here = recording.frame_boxes[k]
    if not np.isfinite(here).all():
        return (torch.tensor(torch.nan),) * len(Samples._fields)
    crop, box = crop_around(here, size)
    gone = middle_of(recording.boxes[places]) - middle_of(here)
    motion = middle_of(here) - middle_of(recording.frame_boxes[before])

    grids = torch.stack([crop_events(events, crop, counts) for events in bins])

    def seen(frame: int) -> Tensor:
        return torch.from_numpy(_cropped(read(frame), crop).copy())[None]

    return (
        seen(k),
        seen(before),
        grids.clamp(max=255).byte() if counts else grids.bool(),
        torch.tensor(box, dtype=torch.float32),
        torch.tensor(motion, dtype=torch.float32),
        torch.tensor(gone, dtype=torch.float32),
        seen(after),
    )
