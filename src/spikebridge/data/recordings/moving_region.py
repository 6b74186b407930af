"""The largest moving region at the start of a recording: a first box where none is given."""

from itertools import product

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import DataError

_SECONDS = 0.05  # of events that are looked at
_SIDES = (12, 16, 20, 24, 32, 40, 48, 64, 96)  # of boxes [px]
_LONGEST = 0.6  # of a side of the image
_STRETCH = 2.0  # longer side over shorter one, at most
_RING = 0.25  # width of the surroundings, in shorter sides
_STEP = 2  # pixels from one place of a box to the next
_LEAST_PIXELS = 20


def largest_moving_region(recording: Recording) -> Float[np.ndarray, "4"]:
    """The box in which most pixels change while few do around it, in the first 50 ms after the first frame.

    A pixel is active if it has an event. Of all boxes the one counts whose share of active pixels exceeds that of a
    ring around it by most, times the square root of its area: a moving camera activates pixels everywhere, an object
    those of its texture and outline. Where several objects move, one of them is found.

    Args:
        recording: with events; it needs no boxes.

    Returns:
        `x, y, w, h` in pixels.

    Raises:
        DataError: fewer than 20 pixels change.

    Example:
        >>> from spikebridge.data.events.binned import bin_sparse
        >>> from spikebridge.data.events.events import make_events
        >>> x, y = np.meshgrid(np.arange(20, 32), np.arange(10, 22))  # 12 x 12 pixels have an event
        >>> events = make_events(t=np.zeros(144), x=x.ravel(), y=y.ravel(), p=np.ones(144))
        >>> bins = bin_sparse(events, height=48, width=64, dt=0.01, num_bins=5)
        >>> nothing = np.full((1, 4), np.nan)
        >>> frame, box = np.zeros((1, 48, 64), np.uint8), np.full((5, 4), np.nan)
        >>> largest_moving_region(Recording("a square", 0.01, bins, frame, np.zeros(1), np.zeros(1, int), nothing, box))
        array([20., 10., 12., 12.])
    """
    active = _active_pixels(recording)
    if active.sum() < _LEAST_PIXELS:
        raise DataError(
            f"{recording.name}: {int(active.sum())} pixels change in the first {_SECONDS * 1e3:.0f} ms, too few to "
            "find a moving region; give the target's box in the first frame: --init x,y,w,h"
        )

    height, width = active.shape
    sums = np.pad(active.cumsum(0).cumsum(1), ((1, 0), (1, 0))).astype(float)
    boxes = [box for box in product(_SIDES, _SIDES) if max(box) <= _STRETCH * min(box)]
    fitting = [(w, h) for w, h in boxes if w <= _LONGEST * width and h <= _LONGEST * height] or [(width, height)]
    found = max((_best_place(sums, w, h) for w, h in fitting), key=lambda one: one[0])

    return np.array(found[1], dtype=float)


def _active_pixels(recording: Recording) -> Bool[np.ndarray, "H W"]:
    """Where there is an event in the first milliseconds."""
    first = int(recording.frame_bins[0]) if recording.num_frames else 0
    events = recording.events.slice_bins(
        min(first, recording.num_bins), min(recording.num_bins, first + max(1, round(_SECONDS / recording.dt)))
    )
    active = np.zeros((recording.events.height, recording.events.width), bool)
    active[events.y, events.x] = True

    return active


def _best_place(sums: NDArray[np.float64], w: int, h: int) -> tuple[float, tuple[int, int, int, int]]:
    """The best place of a box of one size: its score, and the box.

    Args:
        sums: of active pixels above and to the left of each corner, `(H + 1, W + 1)`.
        w: width of the box.
        h: its height.
    """
    height = sums.shape[0] - 1
    width = sums.shape[1] - 1
    x = np.arange(0, width - w + 1, _STEP)
    y = np.arange(0, height - h + 1, _STEP)
    ring = int(_RING * min(w, h))
    left = np.maximum(x - ring, 0)
    top = np.maximum(y - ring, 0)
    right = np.minimum(x + w + ring, width)
    bottom = np.minimum(y + h + ring, height)
    inside = _sum_in(sums, x, y, x + w, y + h)
    around = _sum_in(sums, left, top, right, bottom) - inside
    area = np.outer(bottom - top, right - left) - w * h
    score = (inside / (w * h) - around / np.maximum(area, 1)) * (w * h) ** 0.5
    row, column = np.unravel_index(int(np.argmax(score)), score.shape)

    return float(score[row, column]), (int(x[column]), int(y[row]), w, h)


def _sum_in(
    sums: NDArray[np.float64],
    left: NDArray[np.int64],
    top: NDArray[np.int64],
    right: NDArray[np.int64],
    bottom: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Active pixels in boxes: a row for each top and bottom, a column for each left and right."""
    across = sums[:, right] - sums[:, left]
    return across[bottom] - across[top]
