"""Confidence of a tracker: the probability that its box and the true one overlap by half (IoU of .5 or more).

It is a logistic function of signals that the tracker has anyhow, so that of answers with confidence .9 nine in ten
overlap by half. Most signals have three stretches with a weight each, so that their effect may level off. The
weights are fitted by `python research/sensing/cameras/confidence.py --fit` on the validation part of the real recording
and on generated validation scenes, with events lost, other pictures, rare frames, and wrong first boxes.

| signal | what it says |
|---|---|
| filled | that the box has the size of the target: events come from its edges, so most fall near those of the box |
| focus | that events fall into the box, not around it |
| moved | that the box moves: background does not |
| detector_spread, apart | whether the detectors are sure of the last frame, and agree |
| given, age, unsure | how far the box is from what is known |
"""

from itertools import pairwise
from math import exp, hypot, log
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.events.binned import BinEvents
from spikebridge.networks.sensing.model.boxes import Box, box_center
from spikebridge.networks.sensing.tracker.detectors import FoundBox
from spikebridge.ops.selection import select
from spikebridge.ops.sparse.bin_events import count_near

_SIDE = 24  # points along a side at which a box is compared
_KEPT = 0.95  # of mean numbers of events, at each bin
_RING = 1.6  # side of what is around a target, in sides of its box
_INNER = 0.5  # side of the middle of a box, in sides of the box
_FEW_EVENTS = 0.002  # a bin and pixel, which say little
_FRAME_SECONDS = 0.025
_MOST_MOVED = 0.3  # a box that moves faster is no better
_FAR = 2.0  # sizes of the target
_UNCOMPARED = 0.2  # sizes of the target that a single detector counts as apart


class Signals(NamedTuple):
    """Numbers without a unit from which confidence is made; lengths are in sizes of the target.

    Args:
        filled: share of the events in the box that fall outside its middle of half the sides; .75 without events.
        focus: logarithm of the density of events in the box over that around it.
        moved: distance since the frame.
        detector_spread: logarithm of the standard deviation of the detector that is less sure.
        apart: logarithm of the distance between what two detectors found.
        given: 1 if the box of the last frame was given.
        age: logarithm of the time since the frame, in units of 25 ms; 0 below.
        unsure: share of the last three frames without a confident detection.
    """

    filled: float
    focus: float
    moved: float
    detector_spread: float
    apart: float
    given: float
    age: float
    unsure: float


LIMITS: dict[str, tuple[float, ...]] = {
    "filled": (0.7, 0.85),
    "focus": (0.0, 1.0),
    "moved": (0.03, 0.1),
    "detector_spread": (-2.0, -1.0),
    "apart": (-2.5, -1.0),
    "given": (),
    "age": (2.0,),
    "unsure": (),
}
"""Where a stretch of a signal ends and the next one begins."""
BIAS = -25.088
WEIGHTS: dict[str, tuple[float, ...]] = {
    "filled": (27.019, 0.000, 7.389),
    "focus": (0.000, 1.255, 0.000),
    "moved": (69.985, 5.655, 0.982),
    "detector_spread": (-1.280, 0.000, -27.123),
    "apart": (-0.647, -1.550, 0.000),
    "given": (-1.305,),
    "age": (-0.641, -3.767),
    "unsure": (-7.038,),
}
"""Of the stretches in the log-odds; fitted by `research/sensing/cameras/confidence.py --fit`."""


class BoxEvidence(NamedTuple):
    """What frames and events say of the box.

    Args:
        given: whether the box of the last frame was given.
        detector_spread: of the detector that is less sure of the last frame, in sizes of the target.
        apart: between what two detectors found in it, in sizes of the target.
        events: mean number of events in a bin, for each pixel of the box.
        inner: of those, the events in its middle.
        around: mean number of events in a bin, for each pixel around the box.
    """

    given: bool = True
    detector_spread: float = 0.0
    apart: float = 0.0
    events: float = 0.0
    inner: float = 0.0
    around: float = 0.0

    @property
    def filled(self) -> float:
        """See `Signals`."""
        return (self.events - self.inner + (1 - _INNER**2) * _FEW_EVENTS) / (self.events + _FEW_EVENTS)


def size_of(box: Box) -> float:
    """The root of the area of a box [px]."""
    return max(float(box[2:].prod()), 1e-6) ** 0.5


def given_evidence(last: BoxEvidence | None) -> BoxEvidence:
    """At a frame whose box is given.

    Args:
        last: before; None at first.
    """
    fresh = BoxEvidence()
    return fresh if last is None else fresh._replace(events=last.events, inner=last.inner, around=last.around)


def found_evidence(last: BoxEvidence, found: FoundBox) -> BoxEvidence:
    """At a frame whose box is not given.

    Args:
        last: before.
        found: by the detectors.
    """
    size = size_of(found.box)
    spread = found.spread
    apart = _UNCOMPARED
    if found.second is not None:
        spread = max(spread, found.second.spread)
        apart = float(np.hypot(*(box_center(found.box) - box_center(found.second.box)))) / size

    return last._replace(given=False, detector_spread=_at_most(spread / size), apart=_at_most(apart))


def with_events(evidence: BoxEvidence, events: BinEvents, box: Box, num_bins: int) -> BoxEvidence:
    """After a step between frames.

    Args:
        evidence: before.
        events: of the step.
        box: of the target [px].
        num_bins: length of the step.
    """
    inside, inner, near = _count_near(events, box, (1.0, _INNER, _RING))
    kept = _KEPT**num_bins
    new = (1 - kept) / num_bins / max(float(box[2] * box[3]), 1.0)

    return evidence._replace(
        events=kept * evidence.events + new * inside,
        inner=kept * evidence.inner + new * inner,
        around=kept * evidence.around + new * (near - inside) / (_RING**2 - 1),
    )


def _count_near(events: BinEvents, box: Box, limits: tuple[float, ...]) -> list[int]:
    """See `count_near`."""
    if select("bin events", events.x) == "native":
        return count_near(events, box, limits)

    left, top, width, height = box.tolist()
    # from the middle of the box, in sides
    x = np.abs((events.x.astype(np.float32) + (0.5 - left)) / max(width, 1.0) - 0.5)
    y = np.abs((events.y.astype(np.float32) + (0.5 - top)) / max(height, 1.0) - 0.5)
    away = 2 * np.maximum(x, y)

    return [int(np.count_nonzero(away < limit)) for limit in limits]


def signals(evidence: BoxEvidence, box: Box, moved: Float[np.ndarray, "2"], age: float, num_unsure: int) -> Signals:
    """The signals of a box.

    Args:
        evidence: of frames and events.
        box: of the target [px].
        moved: since the frame [px].
        age: time since the frame [s].
        num_unsure: frames in a row without a confident detection.
    """
    return Signals(
        filled=evidence.filled,
        focus=log((evidence.events + _FEW_EVENTS) / (evidence.around + _FEW_EVENTS)),
        moved=min(hypot(*moved) / size_of(box), _MOST_MOVED),
        detector_spread=log(evidence.detector_spread + 0.02),
        apart=log(evidence.apart + 0.02),
        given=float(evidence.given),
        age=log(max(age / _FRAME_SECONDS, 1.0)),
        unsure=min(num_unsure, 3) / 3,
    )


def overlap_confidence(signals: Signals) -> float:
    """The probability that a box overlaps the true one by half.

    Args:
        signals: of the box.
    """
    odds = BIAS
    for x, limits, weights in zip(signals, LIMITS.values(), WEIGHTS.values(), strict=True):
        odds += weights[0] * x
        for limit, (before, after) in zip(limits, pairwise(weights), strict=True):
            odds += (after - before) * max(x - limit, 0.0)

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
    inside = _sampled(frame, box, 1.0)
    around = _sampled(frame, box, _RING)
    steps = np.abs((np.arange(_SIDE) + 0.5) / _SIDE - 0.5) * _RING
    around = around[np.maximum(steps[:, None], steps) > 0.5 + 0.05]
    levels = np.log(np.concatenate([inside.ravel(), around]) + 8)
    low = levels.min()
    high = levels.max()

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


def _at_most(sizes: float) -> float:
    """Also of a place that is not a number."""
    return sizes if sizes < _FAR else _FAR
