"""Time alignment: the offsets between frames, event bins and boxes, estimated from the recording itself.

Where a recording was assembled from parts, the bins between two frames and the boxes at the frames may be shifted by an
unknown number. Events are changes of log intensity. The right shift of the bins is the one at which their events
correlate best with the difference of the logarithms of two frames.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.events.binned import EventBins
from spikebridge.errors import DataError

_DARK = 8.0  # grey levels added before the logarithm, as in the event camera
_POOL = 4  # single pixels are noisy, and frames and events are not aligned to the pixel
_MAX_PAIRS = 40
_MIN_CORRELATION = 0.3
_MIN_SHARPNESS = 0.05
_MAX_BOX_SHIFT = 60
MIN_SHARE = 0.9
_TOLERANCE = 0.006  # half the last digit of a file with two decimals, and a little [px]


class OffsetEstimate(NamedTuple):
    """The offset with the highest correlation, a mean over pairs of frames."""

    offset: int
    correlation: float
    sharpness: float  # fall of the correlation half a frame away, on the side with the smaller fall
    margin: float  # difference to the second best offset
    curve: dict[int, float]  # the correlation of every offset that was tried


def estimate_offset(
    frames: Sequence[Any] | NDArray[np.uint8], events: EventBins, bins_per_frame: int
) -> OffsetEstimate:
    """The shift between frames and event bins, by correlating the change of log intensity with the signed events.

    Offsets of up to two frames are tried. A flat maximum gives a warning, a recording without motion a `DataError`.
    """
    search = 2 * bins_per_frame
    correlations = [
        _correlations(frames, events, k, bins_per_frame, search)
        for k in _frame_pairs(len(frames), events.num_bins, bins_per_frame, search)
    ]

    comparable = [row for row in correlations if row is not None]
    if not comparable:
        raise DataError(
            "the offset between frames and events cannot be estimated: no two neighbouring frames differ while there "
            "are events around them. Give event_offset (--event-offset)."
        )

    mean = np.mean(comparable, axis=0)
    curve = dict(zip(range(-search, search + 1), mean.tolist(), strict=True))
    estimate = _peak(curve, max(1, bins_per_frame // 2))
    if not (estimate.correlation >= _MIN_CORRELATION and estimate.sharpness >= _MIN_SHARPNESS):
        warnings.warn(
            f"the offset {estimate.offset} between frames and events is uncertain: its correlation is "
            f"{estimate.correlation:.2f}, and half a frame away it is only {estimate.sharpness:.2f} lower. "
            "Give event_offset (--event-offset) if it is known.",
            stacklevel=2,
        )

    return estimate


def estimate_box_offset(
    boxes: Float[np.ndarray, "N 4"], frame_boxes: Float[np.ndarray, "F 4"], bins_per_frame: int
) -> int:
    """The shift at which box `bins_per_frame * k + shift` of the bins is the box of frame k.

    No shift, or more than one, is a `DataError`.
    """
    shares = {
        shift: equal_share(boxes, frame_boxes, bins_per_frame, shift)
        for shift in range(-_MAX_BOX_SHIFT, _MAX_BOX_SHIFT + 1)
    }
    shifts = [shift for shift, share in shares.items() if share >= MIN_SHARE]
    if len(shifts) != 1:
        result = f"{len(shifts)} shifts do ({shifts})" if shifts else "none does"
        raise DataError(
            f"expected one shift at which the {len(frame_boxes)} boxes of the frames equal every {bins_per_frame}th of "
            f"the {len(boxes)} boxes of the bins, but {result}. Give box_offset (--box-offset)."
        )

    return shifts[0]


def equal_share(
    boxes: Float[np.ndarray, "N 4"], frame_boxes: Float[np.ndarray, "F 4"], bins_per_frame: int, shift: int
) -> float:
    """The share of the boxes of frames that are those of the bins at a shift; 0 where half of them have no bin."""
    index = np.arange(len(frame_boxes)) * bins_per_frame + shift
    inside = (index >= 0) & (index < len(boxes))
    # a few boxes that are equal by chance at the far ends would prove nothing
    if 2 * inside.sum() <= len(frame_boxes):
        return 0.0

    pairs = (boxes[index[inside]], frame_boxes[inside])
    return float(np.isclose(*pairs, rtol=0, atol=_TOLERANCE, equal_nan=True).all(axis=1).mean())


def _frame_pairs(num_frames: int, num_bins: int, bins_per_frame: int, search: int) -> list[int]:
    """Frames k, evenly spread, for which every window that is tried lies inside the recording."""
    first = -(-search // bins_per_frame)
    last = min(num_frames - 2, (num_bins - bins_per_frame - search) // bins_per_frame)
    if last < first:
        # in a recording this short all windows stick out; bins outside count as empty
        first = 0
        last = num_frames - 2

    return sorted({round(k) for k in np.linspace(first, last, _MAX_PAIRS).tolist()}) if last >= first else []


def _correlations(
    frames: Sequence[Any] | NDArray[np.uint8], events: EventBins, k: int, bins_per_frame: int, search: int
) -> NDArray[np.float64] | None:
    """The correlation of one pair of frames at every offset; None if the frames are equal or have no events."""
    change = _sum_pool(np.log(frames[k + 1] + _DARK) - np.log(frames[k] + _DARK))
    first = k * bins_per_frame - search
    maps = np.stack([_event_map(events, first + i) for i in range(2 * search + bins_per_frame)])
    if np.ptp(change) == 0 or not maps.any():
        return None

    # differences of running sums are the sums of windows
    sums = np.concatenate([np.zeros_like(maps[:1]), maps.cumsum(axis=0)])
    windows = sums[bins_per_frame:] - sums[:-bins_per_frame]

    return np.array([_correlation(change, window) for window in windows])


def _event_map(events: EventBins, bin_: int) -> NDArray[np.float64]:
    inside = events.slice_bins(bin_, bin_ + 1) if 0 <= bin_ < events.num_bins else events.slice_events(0, 0)
    place = inside.y.astype(np.int64) * events.width + inside.x
    signed = np.bincount(place, np.where(inside.on, 1.0, -1.0), minlength=events.height * events.width)
    return _sum_pool(signed.astype(np.float64).reshape(events.height, events.width))


def _sum_pool(image: NDArray[np.float64]) -> NDArray[np.float64]:
    size = min(_POOL, *image.shape)
    height = image.shape[0] // size * size
    width = image.shape[1] // size * size
    return image[:height, :width].reshape(height // size, size, width // size, size).sum(axis=(1, 3))


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a = a - a.mean()
    b = b - b.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())

    # a window without events has nothing in common with the change
    return float((a * b).sum() / norm) if norm > 0 else 0.0


def _peak(curve: dict[int, float], half_a_frame: int) -> OffsetEstimate:
    offset = max(curve, key=lambda shift: curve[shift])
    best = curve[offset]
    around = [curve[shift] for shift in (offset - half_a_frame, offset + half_a_frame) if shift in curve]
    others = [value for shift, value in curve.items() if shift != offset]

    return OffsetEstimate(
        offset=offset,
        correlation=best,
        sharpness=best - max(around, default=best),
        margin=best - max(others, default=best),
        curve=curve,
    )
