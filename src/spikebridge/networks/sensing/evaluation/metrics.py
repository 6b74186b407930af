"""Metrics of tracking over plain arrays: distances, overlaps, success and precision.

A box is `(x, y, w, h)`: its upper left corner and its size in pixels, real numbers. The thresholds are those of the
tracking literature: success over overlap and precision over distance (Y. Wu, J. Lim, M.-H. Yang, IEEE TPAMI 37:1834,
2015), precision normalised by the target's size (M. Müller et al., ECCV 2018).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.model.boxes import box_center

Boxes: TypeAlias = Float[np.ndarray, "N 4"]

OVERLAP_THRESHOLDS = np.linspace(0, 1, 21)
NORMALIZED_THRESHOLDS = np.linspace(0, 0.5, 51)


class TrackingScore(NamedTuple):
    """Metrics of a set of boxes; shares and overlaps from 0 to 1.

    Args:
        num_outputs: number of boxes with a truth to compare with.
        mean_distance_px: mean distance between the centres.
        precision_3px: share of boxes whose centre is less than 3 px off; 5 and 20 alike.
        miou: mean intersection over union.
        auc: area under the success curve, the mean over 21 overlaps of the share of boxes above.
        normalized_precision: the mean over 51 distances, in units of the target's size, of the share of boxes below.
        lost_share: share of boxes that do not touch their truth at all.
    """

    num_outputs: int
    mean_distance_px: float
    precision_3px: float
    precision_5px: float
    precision_20px: float
    miou: float
    auc: float
    normalized_precision: float
    lost_share: float


class _SpeedBand(NamedTuple):
    """The error on targets between two speeds [px/s]."""

    slowest: float
    fastest: float
    num_outputs: int
    mean_distance_px: float
    miou: float


def distances(boxes: Boxes, truths: Boxes) -> Float[np.ndarray, " N"]:
    """The distance of each centre from the true one [px]."""
    return np.linalg.norm(box_center(boxes) - box_center(truths), axis=-1)


def overlaps(boxes: Boxes, truths: Boxes) -> Float[np.ndarray, " N"]:
    """Intersection over union of real-valued boxes; 0 where they do not touch or both are empty."""
    upper_left = np.maximum(boxes[:, :2], truths[:, :2])
    lower_right = np.minimum(boxes[:, :2] + boxes[:, 2:], truths[:, :2] + truths[:, 2:])
    shared = (lower_right - upper_left).clip(min=0).prod(axis=1)

    # a negative size is no area, and must not become one when two of them are multiplied
    union = boxes[:, 2:].clip(min=0).prod(axis=1) + truths[:, 2:].clip(min=0).prod(axis=1) - shared
    return np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)


def score(boxes: Boxes, truths: Boxes) -> TrackingScore:
    """Metrics of boxes against their truths. Lost boxes count; unknown truths (NaN) are left out.

    Args:
        boxes: the tracker's, one for each truth; a tracker always gives one.
        truths: true boxes, NaN where unknown.

    Returns:
        All metrics; NaN where no truth is known.

    Raises:
        ShapeError: not one box for each truth, or a box with a value that is not a number.

    Example:
        >>> truths = np.array([[0.0, 0.0, 10.0, 10.0]] * 2)
        >>> result = score(np.array([[0.0, 0.0, 10.0, 10.0], [4.0, 0.0, 10.0, 10.0]]), truths)  # overlaps 1 and 6/14
        >>> result.mean_distance_px, result.precision_3px, round(result.miou, 3)
        (2.0, 0.5, 0.714)
    """
    boxes, truths = _pairs(boxes, truths)
    is_known = np.isfinite(truths).all(axis=1)
    boxes = boxes[is_known]
    truths = truths[is_known]

    if not len(boxes):
        return TrackingScore(0, *[float("nan")] * 8)

    distance = distances(boxes, truths)
    overlap = overlaps(boxes, truths)
    offset = box_center(boxes) - box_center(truths)

    # relative to a truth without size every distance is infinite
    with np.errstate(divide="ignore", invalid="ignore"):
        normalized = np.linalg.norm(offset / truths[:, 2:].clip(min=0), axis=1)

    return TrackingScore(
        num_outputs=len(boxes),
        mean_distance_px=float(distance.mean()),
        precision_3px=float((distance < 3).mean()),
        precision_5px=float((distance < 5).mean()),
        precision_20px=float((distance < 20).mean()),
        miou=float(overlap.mean()),
        auc=float(success_curve(overlap).mean()),
        normalized_precision=float((normalized[:, None] < NORMALIZED_THRESHOLDS).mean(axis=0).mean()),
        lost_share=float((overlap == 0).mean()),
    )


def success_curve(overlap: Float[np.ndarray, " N"]) -> Float[np.ndarray, "21"]:
    """Share of overlaps strictly above each of 0, 0.05, .. 1."""
    return (overlap[:, None] > OVERLAP_THRESHOLDS).mean(axis=0)


def score_by_bin(boxes: Boxes, truths: Boxes, bin_of_frame: ArrayLike) -> dict[int, TrackingScore]:
    """The score of each bin between two frames, by the number of the bin after the last frame, from 1."""
    boxes, truths = _pairs(boxes, truths)
    numbers = np.asarray(bin_of_frame)
    if numbers.shape != (len(boxes),):
        raise ShapeError(f"each of {len(boxes)} boxes needs its bin, but got shape {numbers.shape}.")

    return {int(m): score(boxes[numbers == m], truths[numbers == m]) for m in np.unique(numbers)}


def target_speed(truths: Boxes, dt: float, reach: int = 3) -> Float[np.ndarray, " N"]:
    """The speed of the target at each step of `dt` seconds, from its place some steps before and after [px/s].

    It is NaN where a truth is unknown or the ends are too near. More steps let less of the labels' noise through.
    """
    if reach < 1 or not dt > 0:
        raise ShapeError(f"a speed needs a reach of 1 step or more and dt above 0 s, but got {reach=}, {dt=}.")

    speeds = np.full(len(truths), np.nan)
    if len(truths) > 2 * reach:
        centers = box_center(np.asarray(truths, dtype=float))
        distance = np.linalg.norm(centers[2 * reach :] - centers[: -2 * reach], axis=1)
        speeds[reach:-reach] = distance / (2 * reach * dt)

    return speeds


def error_by_speed(
    boxes: Boxes, truths: Boxes, speeds: Float[np.ndarray, " N"], edges: Sequence[float]
) -> list[_SpeedBand]:
    """The error in bands of the target's speed [px/s]; a pair with an unknown speed (NaN) is left out.

    Band i holds `edges[i] <= speed < edges[i + 1]`.
    """
    boxes, truths = _pairs(boxes, truths)
    if len(edges) < 2 or (np.diff(edges) <= 0).any() or speeds.shape != (len(boxes),):
        raise ShapeError(
            f"bands need 2 or more growing edges and a speed for each of {len(boxes)} boxes, "
            f"but got edges {list(edges)} and speeds of shape {speeds.shape}."
        )

    bands = []
    for slowest, fastest in pairwise(edges):
        inside = (speeds >= slowest) & (speeds < fastest)
        result = score(boxes[inside], truths[inside])
        bands.append(
            _SpeedBand(float(slowest), float(fastest), result.num_outputs, result.mean_distance_px, result.miou)
        )

    return bands


def _pairs(boxes: NDArray[Any], truths: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    boxes = np.asarray(boxes, dtype=np.float64)
    truths = np.asarray(truths, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.shape != truths.shape:
        raise ShapeError(f"boxes and truths must both be (N, 4), but got {boxes.shape} and {truths.shape}.")

    wrong = ~np.isfinite(boxes).all(axis=1)
    if wrong.any():
        raise ShapeError(
            f"a tracker always gives a box, also when it is lost, but {int(wrong.sum())} of {len(boxes)} are not "
            f"finite, first at index {int(wrong.argmax())}. Give the last good box instead."
        )

    return boxes, truths
