"""Confidence of a tracker: the probability that its box and the true one overlap by half (IoU of .5 or more).

It is a logistic function of signals that the tracker has anyhow, so that of answers with confidence .9 nine in ten
overlap by half. `python benchmarks/sensing_confidence.py --fit` fits its weights on the validation part of the real
recording and on generated training scenes, with events lost and added, other pictures, and wrong first boxes.

| signal | what it says |
|---|---|
| spread | width of the response between frames: its sharpness, and how far the experts are apart |
| detector_spread | the same of the detector, at the last frame |
| correction | distance between the box predicted by events and the box of the frame, mean over frames |
| events | how many events fell into the box |
| moved | that the box moves: background does not |
| resized, unsure, given, age | how far the box is from what is known |
| contrast | how the target differs from what is around it |
"""

from math import exp, hypot, log, log1p
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.events.binned import BinEvents
from spikebridge.networks.sensing.model.boxes import Box, box_center

_SIDE = 24  # points along a side at which a box is compared
_KEPT = 0.8  # of a mean over frames, at each new one
_KEPT_BIN = 0.95  # of the mean number of events, at each bin
_RING = 1.6  # side of what is around a target, in sides of its box
_FRAME_SECONDS = 0.025
_MOST_MOVED = 0.3  # a box that moves faster is no better


class Signals(NamedTuple):
    """Numbers without a unit from which confidence is made; lengths are in sizes of the target.

    Args:
        spread: logarithm of the standard deviation of the place since the frame.
        detector_spread: logarithm of that of the detector.
        correction: logarithm of the mean distance between predicted boxes and those of frames.
        given: 1 if the box of the last frame was given.
        events: logarithm of the mean number of events of a bin and pixel of the box.
        moved: distance since the frame.
        resized: how far the logarithm of the size is from that of the given box.
        unsure: share of the last three frames without a confident detection.
        contrast: of the target.
        age: logarithm of the time since the frame, in units of 25 ms; 0 below.
    """

    spread: float
    detector_spread: float
    correction: float
    given: float
    events: float
    moved: float
    resized: float
    unsure: float
    contrast: float
    age: float


BIAS = -6.821
WEIGHTS = Signals(
    spread=-0.520,
    detector_spread=-2.052,
    correction=-0.234,
    given=-0.888,
    events=0.401,
    moved=5.738,
    resized=-1.843,
    unsure=-1.162,
    contrast=0.141,
    age=-1.379,
)
"""Of the signals in the log-odds; fitted by `benchmarks/sensing_confidence.py --fit`."""


class BoxEvidence(NamedTuple):
    """What frames say of the box.

    Args:
        size: root of the area of that box [px].
        contrast: of the target to what is around it, 0 to 1.
        correction: mean distance between predicted boxes and those of frames, in sizes.
        events: mean number of events in a bin, for each pixel of the box.
        given: whether the box of the last frame was given.
    """

    size: float
    contrast: float
    correction: float = 0.1
    events: float = 0.0
    given: bool = True


def size_of(box: Box) -> float:
    """The root of the area of a box [px]."""
    return max(float(box[2:].prod()), 1e-6) ** 0.5


def given_evidence(frame: NDArray[np.uint8], box: Box, predicted: Box | None, last: BoxEvidence | None) -> BoxEvidence:
    """At a frame whose box is given.

    Args:
        frame: grey levels.
        box: of the target [px].
        predicted: what the tracker took for it; None at first.
        last: before; None at first.
    """
    fresh = BoxEvidence(size_of(box), target_contrast(frame, box))
    if last is None or predicted is None:
        return fresh
    return fresh._replace(correction=_corrected(last, box, predicted), events=last.events)


def found_evidence(last: BoxEvidence, predicted: Box, found: Box) -> BoxEvidence:
    """At a frame whose box is not given.

    Args:
        last: before.
        predicted: box by events [px].
        found: by the detector [px].
    """
    return last._replace(correction=_corrected(last, found, predicted), given=False)


def with_events(evidence: BoxEvidence, events: BinEvents, box: Box, num_bins: int) -> BoxEvidence:
    """After a step between frames.

    Args:
        evidence: before.
        events: of the step.
        box: of the target [px].
        num_bins: length of the step.
    """
    left, top, width, height = box.tolist()
    x, y = events.x.astype(np.float32) - left, events.y.astype(np.float32) - top
    inside = np.count_nonzero((x >= 0) & (x < width) & (y >= 0) & (y < height))
    kept = _KEPT_BIN**num_bins
    return evidence._replace(events=kept * evidence.events + (1 - kept) * inside / num_bins / max(width * height, 1.0))


def signals(
    evidence: BoxEvidence,
    box: Box,
    moved: Float[np.ndarray, "2"],
    age: float,
    spread: float,
    detector_spread: float,
    num_unsure: int,
) -> Signals:
    """The signals of a box.

    Args:
        evidence: of the frames.
        box: of the target [px].
        moved: since the frame [px].
        age: time since the frame [s].
        spread: standard deviation of that [px].
        detector_spread: standard deviation of the place in the frame; 0 for a given box [px].
        num_unsure: frames in a row without a confident detection.
    """
    size = size_of(box)
    return Signals(
        spread=log(min(spread / size, 2.0) + 0.01),
        detector_spread=log(min(detector_spread / size, 2.0) + 0.02),
        correction=log(min(evidence.correction, 2.0) + 0.01),
        given=float(evidence.given),
        events=log1p(100 * evidence.events),
        moved=min(hypot(*moved) / size, _MOST_MOVED),
        resized=min(abs(log(size / evidence.size)), 2.0),
        unsure=min(num_unsure, 3) / 3,
        contrast=evidence.contrast,
        age=log(max(age / _FRAME_SECONDS, 1.0)),
    )


def overlap_confidence(signals: Signals) -> float:
    """The probability that a box overlaps the true one by half.

    Args:
        signals: of the box.
    """
    odds = BIAS + sum(weight * signal for weight, signal in zip(WEIGHTS, signals, strict=True))
    return 1 / (1 + exp(-min(max(odds, -30.0), 30.0)))


def target_contrast(frame: NDArray[np.uint8], box: Box) -> float:
    """How the grey levels of a box differ from those around it: 0 alike, 1 apart.

    One minus the overlap of their histograms (Bhattacharyya), in 12 classes between the extremes.

    Args:
        frame: grey levels.
        box: of the target [px].

    Example:
        >>> frame = np.zeros((40, 40), np.uint8)
        >>> frame[10:20, 10:20] = 200
        >>> target_contrast(frame, np.array([10.0, 10.0, 10.0, 10.0]))
        1.0
        >>> target_contrast(frame, np.array([25.0, 25.0, 10.0, 10.0]))
        0.0
    """
    inside, around = _sampled(frame, box, 1.0), _sampled(frame, box, _RING)
    steps = np.abs((np.arange(_SIDE) + 0.5) / _SIDE - 0.5) * _RING
    around = around[np.maximum(steps[:, None], steps) > 0.5 + 0.05]
    levels = np.log(np.concatenate([inside.ravel(), around]) + 8)
    low, high = levels.min(), levels.max()
    if high - low < 0.05:  # of noise
        return 0.0
    classes = np.minimum((12 * (levels - low) / (high - low)).astype(int), 11)
    first, second = (np.bincount(part, minlength=12) / len(part) for part in np.split(classes, [inside.size]))
    return float(1 - np.sqrt(first * second).sum())


def _sampled(frame: NDArray[np.uint8], box: Box, factor: float) -> Float[np.ndarray, "N N"]:
    """Grey levels at the points of a grid on a box; beyond the edges, the nearest pixels."""
    steps = ((np.arange(_SIDE) + 0.5) / _SIDE - 0.5) * factor
    columns, rows = (
        (middle + steps * side).clip(0, extent - 1).astype(int)
        for middle, side, extent in zip(box_center(box), box[2:], frame.shape[::-1], strict=True)
    )
    return frame[rows[:, None], columns].astype(np.float64)


def _corrected(last: BoxEvidence, box: Box, predicted: Box) -> float:
    away = float(np.hypot(*(box_center(box) - box_center(predicted)))) / size_of(box)
    return _KEPT * last.correction + (1 - _KEPT) * (away if away < 2 else 2.0)  # also of a place that is not a number
