"""Confidence of a tracker: the probability that its box and the true one overlap by half (IoU of .5 or more).

It is a logistic function of signals that the tracker has anyhow, so that of answers with confidence .9 nine in ten
overlap by half. Most signals have three segments with a weight each, so that their effect may level off. The weights
are fitted by `python research/sensing/cameras/confidence.py --fit` on the validation part of the real recording and on
generated validation scenes, with events lost, other pictures, rare frames, and wrong first boxes.

| signal | what it measures |
|---|---|
| filled | the box has the size of the target: events come from its edges, so most fall near those of the box |
| focus | events fall into the box, not around it |
| moved | the box moves: background does not |
| detector_spread, apart | the detectors are sure of the last frame, and agree |
| given, age, unsure | the time since the target was given or detected with confidence |
"""

from itertools import pairwise
from math import exp, hypot, log
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.events.binned import BinEvents
from spikebridge.networks.sensing.detection.box_detector import DetectedBox
from spikebridge.networks.sensing.model.boxes import Box, box_center
from spikebridge.networks.sensing.native.bin_events import BIN_EVENTS, count_near
from spikebridge.ops.selection import select

# decay of mean numbers of events at each bin
_DECAY = 0.95
# side of the region around a target, in sides of its box
_SURROUNDINGS = 1.6
# side of the middle of a box, in sides of the box
_INNER = 0.5
# events of a bin and pixel that say little
_FEW_EVENTS = 0.002
_FRAME_SECONDS = 0.025
# sizes of the target: a box that moves faster is no better
_MAX_MOVED = 0.3
# spreads and distances of detections beyond it count as much, in sizes of the target
_FAR = 2.0
# distance that a single detector counts as, in sizes of the target
_UNCOMPARED = 0.2
# added before a logarithm, in sizes of the target
_LOG_FLOOR = 0.02
_MAX_ODDS = 30.0

# points along a side at which a box is compared with its surroundings
_GRID_SIDE = 24
# share of the box at each edge whose points are left out
_EDGE = 0.05
# classes of grey levels
_NUM_CLASSES = 12
# range of the logarithm of grey levels that noise alone may have
_NOISE = 0.05


class Signals(NamedTuple):
    """Numbers without a unit from which confidence is made; lengths are in sizes of the target."""

    # share of the events in the box that fall outside its middle of half the sides; .75 without events
    filled: float
    # logarithm of the density of events in the box over that around it
    focus: float
    # distance since the frame
    moved: float
    # logarithm of the standard deviation of the detector that is less sure
    detector_spread: float
    # logarithm of the distance between the boxes of two detectors
    apart: float
    # 1 if the box of the last frame was given
    given: float
    # logarithm of the time since the frame, in units of 25 ms; 0 below
    age: float
    # share of the last three frames without a confident detection
    unsure: float

    @property
    def has_events(self) -> bool:
        """True if there were events in the box or around it: without any, both signals of events say nothing."""
        return (self.filled, self.focus) != (1 - _INNER**2, 0.0)


# the values at which a segment of a signal ends and the next one begins
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
BIAS = -19.275
WEIGHTS: dict[str, tuple[float, ...]] = {
    "filled": (19.168, 2.305, 4.394),
    "focus": (0.831, 0.834, 1.727),
    "moved": (45.639, 0.470, 0.000),
    "detector_spread": (-0.684, -0.635, -3.336),
    "apart": (-0.899, -0.481, -0.147),
    "given": (0.215,),
    "age": (-0.783, -3.129),
    "unsure": (-4.879,),
}
# the same of a stream without events
FRAME_BIAS = -1.650
FRAME_WEIGHTS: dict[str, tuple[float, ...]] = {
    "filled": (0.906, 53.160, 0.000),
    "focus": (0.000, 0.000, 0.000),
    "moved": (0.000, 0.000, 0.000),
    "detector_spread": (-0.061, -1.001, -8.495),
    "apart": (0.000, 0.000, 0.000),
    "given": (-0.532,),
    "age": (-0.032, 0.000),
    "unsure": (-2.743,),
}


class BoxEvidence(NamedTuple):
    """Measurements of a box on frames and events."""

    # the box of the last frame was given
    given: bool = True
    # spread of the detector that is less sure of the last frame, in sizes of the target
    detector_spread: float = 0.0
    # distance between the boxes of two detectors in it, in sizes of the target
    apart: float = 0.0
    # mean number of events in a bin, for each pixel of the box
    events: float = 0.0
    # share of that number in the middle of the box
    inner: float = 0.0
    # mean number of events in a bin, for each pixel around the box
    around: float = 0.0

    @property
    def filled(self) -> float:
        """See `Signals`."""
        return (self.events - self.inner + (1 - _INNER**2) * _FEW_EVENTS) / (self.events + _FEW_EVENTS)


def size_of(box: Box) -> float:
    """The root of the area of a box [px]."""
    return max(float(box[2:].prod()), 1e-6) ** 0.5


def given_evidence(last: BoxEvidence | None) -> BoxEvidence:
    """The evidence at a frame whose box is given; events count as before."""
    fresh = BoxEvidence()
    return fresh if last is None else fresh._replace(events=last.events, inner=last.inner, around=last.around)


def detection_evidence(last: BoxEvidence, detection: DetectedBox) -> BoxEvidence:
    """The evidence at a frame whose box is detected."""
    size = size_of(detection.box)
    spread = detection.spread
    apart = _UNCOMPARED
    if detection.second is not None:
        spread = max(spread, detection.second.spread)
        apart = float(np.hypot(*(box_center(detection.box) - box_center(detection.second.box)))) / size

    return last._replace(given=False, detector_spread=_bounded(spread / size), apart=_bounded(apart))


def add_events(evidence: BoxEvidence, events: BinEvents, box: Box, num_bins: int) -> BoxEvidence:
    """The evidence after a step of some bins between frames."""
    inside, inner, near = _count_near(events, box, (1.0, _INNER, _SURROUNDINGS))
    decay = _DECAY**num_bins
    rate = (1 - decay) / num_bins / max(float(box[2] * box[3]), 1.0)

    return evidence._replace(
        events=decay * evidence.events + rate * inside,
        inner=decay * evidence.inner + rate * inner,
        around=decay * evidence.around + rate * (near - inside) / (_SURROUNDINGS**2 - 1),
    )


def _count_near(events: BinEvents, box: Box, limits: tuple[float, ...]) -> list[int]:
    """The number of events in boxes around the centre of a box, by their sides in those of the box."""
    if select(BIN_EVENTS, events.x) == "native":
        return count_near(events, box, limits)

    left, top, width, height = box.tolist()
    x = np.abs((events.x.astype(np.float32) + (0.5 - left)) / max(width, 1.0) - 0.5)
    y = np.abs((events.y.astype(np.float32) + (0.5 - top)) / max(height, 1.0) - 0.5)
    distance = 2 * np.maximum(x, y)

    return [int(np.count_nonzero(distance < limit)) for limit in limits]


def signals(evidence: BoxEvidence, box: Box, moved: Float[np.ndarray, "2"], age: float, num_unsure: int) -> Signals:
    """Signals of a box that moved since the frame [px], `age` seconds ago, after frames without a sure detection."""
    return Signals(
        filled=evidence.filled,
        focus=log((evidence.events + _FEW_EVENTS) / (evidence.around + _FEW_EVENTS)),
        moved=min(hypot(*moved) / size_of(box), _MAX_MOVED),
        detector_spread=log(evidence.detector_spread + _LOG_FLOOR),
        apart=log(evidence.apart + _LOG_FLOOR),
        given=float(evidence.given),
        age=log(max(age / _FRAME_SECONDS, 1.0)),
        unsure=min(num_unsure, 3) / 3,
    )


def overlap_confidence(signals: Signals) -> float:
    """The probability that a box overlaps the true one by half."""
    odds, by_name = (BIAS, WEIGHTS) if signals.has_events else (FRAME_BIAS, FRAME_WEIGHTS)
    for x, limits, weights in zip(signals, LIMITS.values(), by_name.values(), strict=True):
        odds += weights[0] * x
        for limit, (before, after) in zip(limits, pairwise(weights), strict=True):
            odds += (after - before) * max(x - limit, 0.0)

    return 1 / (1 + exp(-min(max(odds, -_MAX_ODDS), _MAX_ODDS)))


def target_contrast(frame: NDArray[np.uint8], box: Box) -> float:
    """One minus the overlap of the histograms of grey levels in a box and around it (Bhattacharyya): 0 alike, 1 apart.

    The histograms have 12 classes between the extremes.
    """
    inside = _grid_levels(frame, box, 1.0)
    around = _grid_levels(frame, box, _SURROUNDINGS)
    steps = np.abs((np.arange(_GRID_SIDE) + 0.5) / _GRID_SIDE - 0.5) * _SURROUNDINGS
    around = around[np.maximum(steps[:, None], steps) > 0.5 + _EDGE]

    levels = np.log(np.concatenate([inside.ravel(), around]) + 8)
    low = levels.min()
    high = levels.max()
    if high - low < _NOISE:
        return 0.0

    classes = np.minimum((_NUM_CLASSES * (levels - low) / (high - low)).astype(int), _NUM_CLASSES - 1)
    first, second = (np.bincount(part, minlength=_NUM_CLASSES) / len(part) for part in np.split(classes, [inside.size]))

    return float(1 - np.sqrt(first * second).sum())


def _grid_levels(frame: NDArray[np.uint8], box: Box, factor: float) -> Float[np.ndarray, "N N"]:
    """Grey levels at the points of a grid on a scaled box; beyond the edges, the nearest pixels."""
    steps = ((np.arange(_GRID_SIDE) + 0.5) / _GRID_SIDE - 0.5) * factor
    columns, rows = (
        (center + steps * side).clip(0, extent - 1).astype(int)
        for center, side, extent in zip(box_center(box), box[2:], frame.shape[::-1], strict=True)
    )

    return frame[rows[:, None], columns].astype(np.float64)


def _bounded(sizes: float) -> float:
    # written so that a place that is not a number counts as far, too
    return sizes if sizes < _FAR else _FAR
