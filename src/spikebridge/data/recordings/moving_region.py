"""The largest moving region at the start of a recording: a first box where none is given."""

from itertools import product

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import DataError

_SECONDS = 0.05  # after the first frame
_SIDES = (12, 16, 20, 24, 32, 40, 48, 64, 96)  # of boxes [px]
_MAX_SHARE = 0.6  # of a side of the image
_MAX_RATIO = 2.0  # longer side over shorter one
_RING = 0.25  # width of the surroundings, in shorter sides
_STEP = 2  # pixels from one place of a box to the next
_MIN_PIXELS = 20


def largest_moving_region(recording: Recording) -> Float[np.ndarray, "4"]:
    """The box `x, y, w, h` in which most pixels change while few around it do, just after the first frame.

    A pixel is active if it has an event within 50 ms. The score of a box is its share of active pixels less that of a
    ring around it, times the square root of its area: a moving camera activates pixels everywhere, an object those of
    its texture and outline. If several objects move, the result is one of them.
    """
    active = _active_pixels(recording)
    if active.sum() < _MIN_PIXELS:
        raise DataError(
            f"{recording.name}: {int(active.sum())} pixels change in the first {_SECONDS * 1e3:.0f} ms, too few to "
            "find a moving region; give the target's box in the first frame: --init x,y,w,h"
        )

    height, width = active.shape
    # a summed-area table: the pixels in any box are a difference of four entries
    sums = np.pad(active.cumsum(0).cumsum(1), ((1, 0), (1, 0))).astype(float)
    sizes = [size for size in product(_SIDES, _SIDES) if max(size) <= _MAX_RATIO * min(size)]
    sizes = [(w, h) for w, h in sizes if w <= _MAX_SHARE * width and h <= _MAX_SHARE * height] or [(width, height)]
    _, box = max((_best_place(sums, w, h) for w, h in sizes), key=lambda place: place[0])

    return np.array(box, dtype=float)


def _active_pixels(recording: Recording) -> Bool[np.ndarray, "H W"]:
    """Marks of the pixels with an event in the first milliseconds."""
    first = int(recording.frame_bins[0]) if recording.num_frames else 0
    events = recording.events.slice_bins(
        min(first, recording.num_bins), min(recording.num_bins, first + max(1, round(_SECONDS / recording.dt)))
    )
    active = np.zeros((recording.events.height, recording.events.width), bool)
    active[events.y, events.x] = True

    return active


def _best_place(sums: NDArray[np.float64], w: int, h: int) -> tuple[float, tuple[int, int, int, int]]:
    """The score and the place of the best box of `w` x `h` pixels.

    `sums` holds the number of active pixels above and to the left of each corner, `(H + 1, W + 1)`.
    """
    height = sums.shape[0] - 1
    width = sums.shape[1] - 1
    x = np.arange(0, width - w + 1, _STEP)
    y = np.arange(0, height - h + 1, _STEP)
    # at the edges of the image the ring is narrower, and its area smaller
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
