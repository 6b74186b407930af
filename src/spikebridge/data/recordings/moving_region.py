"""The region that moves most at the start of a recording: a first box where none is given."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import DataError

_SECONDS = 0.04  # of events that are looked at
_SIZE = 7  # pixels over which events are averaged
_SHARE = 0.4  # of the way from the background's density to the densest place
_LEAST_EVENTS = 20
_LEAST_SIDE = 8.0  # pixels of a box


class MovingRegion(NamedTuple):
    """A region in which pixels change.

    Attributes:
        box: around it, `x, y, w, h` in pixels.
        share: of the events that are in the box.
    """

    box: Float[np.ndarray, "4"]
    share: float


def largest_moving_region(recording: Recording) -> MovingRegion:
    """The region with the most events in the first 40 ms after the first frame.

    Events are counted for each pixel and averaged over 7 x 7 pixels. Connected pixels whose density is well above the
    median, which a moving camera raises everywhere, are a region; the one with the most events counts.

    Args:
        recording: with events; it needs no boxes.

    Raises:
        DataError: almost nothing moves.

    Example:
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> disk = RotatingDisk(height=64, width=64, size=12.0)
        >>> region = largest_moving_region(render_recording(disk, duration=0.1, dt=1 / 240))
        >>> x, y, w, h = region.box
        >>> cx, cy = disk.box(0.02)[:2] + disk.box(0.02)[2:] / 2
        >>> bool(x < cx < x + w and y < cy < y + h)
        True
    """
    first = int(recording.frame_bins[0]) if recording.num_frames else 0
    counts = _event_counts(recording, first, min(recording.num_bins, first + max(1, round(_SECONDS / recording.dt))))
    if counts.sum() < _LEAST_EVENTS:
        raise DataError(
            f"{recording.name}: almost nothing moves in the first {_SECONDS * 1e3:.0f} ms, so no box can be proposed; "
            "give the box in the first frame: --init x,y,w,h"
        )
    density = ndimage.uniform_filter(counts.astype(float), _SIZE, mode="constant")
    usual = float(np.median(density))
    labels, _ = ndimage.label(density > usual + _SHARE * (density.max() - usual))
    sums = ndimage.sum_labels(counts, labels, np.arange(1, labels.max() + 1))
    rows, columns = ndimage.find_objects(labels)[int(np.argmax(sums))]
    x, width = _side(columns, counts.shape[1])
    y, height = _side(rows, counts.shape[0])
    box = np.array([x, y, width, height])
    inside = counts[int(y) : int(y + height), int(x) : int(x + width)].sum()
    return MovingRegion(box, float(inside / counts.sum()))


def _event_counts(recording: Recording, first: int, stop: int) -> Int[np.ndarray, "H W"]:
    events = recording.events.slice_bins(first, stop)
    counts = np.zeros((recording.events.height, recording.events.width), np.int64)
    np.add.at(counts, (events.y, events.x), 1)
    return counts


def _side(extent: slice, length: int) -> tuple[float, float]:
    """Start and length of a box over some pixels of the averaged picture: less the reach of the average, inside."""
    reach = min(_SIZE // 2, max(0.0, (extent.stop - extent.start - _LEAST_SIDE) / 2))
    start, stop = extent.start + reach, extent.stop - reach
    start = max(0.0, min(start, stop - _LEAST_SIDE, length - _LEAST_SIDE))
    return float(start), float(min(max(stop - start, _LEAST_SIDE), length - start))
