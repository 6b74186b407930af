"""Confidence of a tracker: the probability that its box and the true one overlap by half (IoU of .5 or more).

It is a logistic function of signals that the tracker has anyhow, so that of answers with confidence .9 nine in ten
overlap by half. Most signals have three segments with a weight each, so that their effect may level off. The weights
are fitted by `python research/sensing/cameras/confidence.py --fit` on the validation part of the real recording and on
generated validation scenes, with events lost, other pictures, rare frames, and wrong first boxes.

| signal | what it measures |
|---|---|
| filled | the box has the size of the target: events come from its edges, so most fall near those of the box |
| focus | events fall into the box, not around it |
| aside | the box has not fallen behind: events lie evenly around its middle |
| change | the events near the box do not become fewer |
| moved, speed | the box moves, as background does not, but not too fast |
| detector_spread, apart | the detectors are sure of the last frame, and agree |
| moved_in_doubt | the events alone carry the box |
| age, unsure | the time since the target was given or detected with confidence |

Two reasons lower what these signals say, so that no answer hangs on one of them (`BoxEvidence.ceiling`):

- a box that holds hardly any events is on no object: its edges would give some,
- a box that was set to another place is no surer there than the target ever was before: a target that was never
  tracked well, as after a wrong first box, is not found by chance.

Without events only the detectors know something: the confidence is their own.
"""

from itertools import pairwise
from math import exp, hypot, log
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.events.binned import BinEvents
from spikebridge.networks.sensing.detection.box_detector import DetectedBox, detection_confidence
from spikebridge.networks.sensing.model.boxes import Box, box_center
from spikebridge.networks.sensing.native.bin_events import BIN_EVENTS, count_near
from spikebridge.ops.selection import select

# decay of mean numbers of events at each bin: in the box, lately, and since the target was given
_DECAY = 0.95
_RECENT = 0.85
_USUAL = 0.985
# side of the region around a target, in sides of its box
_SURROUNDINGS = 1.6
# side of the middle of a box, in sides of the box
_INNER = 0.5
# events of a bin and pixel that say little
_FEW_EVENTS = 0.002
# events of a bin and sensor below which the camera gives none
_NO_EVENTS = 0.01
_FRAME_SECONDS = 0.025
# sizes of the target: a box that moves farther is no better
_MAX_MOVED = 0.3
# sizes of the target in `_FRAME_SECONDS`: faster ones count as much
_MAX_SPEED = 2.0
# spreads and distances of detections beyond it count as much, in sizes of the target
_FAR = 2.0
# distance that a single detector counts as, in sizes of the target
_UNCOMPARED = 0.2
# added before a logarithm, in sizes of the target
_LOG_FLOOR = 0.02
# of the logarithm of a spread, below any
_MIN_LOG_SPREAD = -4.0
_UNIT_BOX = np.array([0.0, 0.0, 1.0, 1.0])
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

    # share of the events in the box that fall outside its middle of half the sides; .75 without any
    filled: float
    # logarithm of the density of events in the box over that around it
    focus: float
    # share of the events near the box by which those on one side of its middle outnumber those on the other
    aside: float
    # logarithm of the number of events near the box of late over the usual one
    change: float
    # distance since the frame
    moved: float
    # logarithm of the distance between the last two frames, in 25 ms
    speed: float
    # logarithm of the standard deviation of the detector that is less sure
    detector_spread: float
    # the distance since the frame, times how far that logarithm is above -4
    moved_in_doubt: float
    # logarithm of the distance between the boxes of two detectors
    apart: float
    # logarithm of the time since the frame, in units of 25 ms; 0 below
    age: float
    # share of the last three frames without a confident detection
    unsure: float


# the values at which a segment of a signal ends and the next one begins
LIMITS: dict[str, tuple[float, ...]] = {
    "filled": (0.7, 0.85),
    "focus": (0.0, 1.0),
    "aside": (0.25, 0.5),
    "change": (-0.3, 0.3),
    "moved": (0.03, 0.1),
    "speed": (-1.5,),
    "detector_spread": (-2.0, -1.0),
    "moved_in_doubt": (),
    "apart": (-2.5, -1.0),
    "age": (2.0,),
    "unsure": (),
}
BIAS = -21.763
WEIGHTS: dict[str, tuple[float, ...]] = {
    "filled": (19.302, 9.000, 0.000),
    "focus": (0.000, 0.083, 1.891),
    "aside": (-2.358, -6.806, -2.441),
    "change": (1.083, 0.871, 0.818),
    "moved": (36.319, 1.203, -14.055),
    "speed": (0.000, -0.566),
    "detector_spread": (-2.048, -0.201, -9.830),
    "moved_in_doubt": (9.760,),
    "apart": (-0.751, -1.153, 0.000),
    "age": (0.000, -0.730),
    "unsure": (-2.652,),
}


class BoxEvidence(NamedTuple):
    """Measurements of a box on frames and events."""

    # spread of the detector that is less sure of the last frame, in sizes of the target; 0 of a given box
    detector_spread: float = 0.0
    # distance between the boxes of two detectors in it, in sizes of the target
    apart: float = 0.0
    # mean number of events in a bin, for each pixel of the box
    events: float = 0.0
    # share of that number in the middle of the box
    inner: float = 0.0
    # mean number of events in a bin, for each pixel around the box
    around: float = 0.0
    # mean numbers of events near the box in the last bins, for each of its pixels: all, to the right, and below
    near: float = 0.0
    right: float = 0.0
    below: float = 0.0
    # mean number of events on the sensor in the last bins
    on_sensor: float = 0.0
    # mean number of events near the box since the target was given, or of the last second
    usual: float = 0.0
    # bins since then
    num_bins: int = 0
    # the last answer without its ceiling, by which a search is begun
    claimed: float = 1.0
    # largest confidence since then, and the smallest of these at the times when the box was set to another place
    best: float = 0.0
    proven: float = 1.0

    @property
    def has_events(self) -> bool:
        """True if the camera gives events: a box on background may have none."""
        return self.on_sensor > _NO_EVENTS

    @property
    def num_known(self) -> float:
        """The share of the bins of `events` that are known: 0 at first, 1 after long."""
        return 1 - _DECAY**self.num_bins

    @property
    def ceiling(self) -> float:
        """The share of the confidence that is left: less of a box without events, or set to another place."""
        held = min(1.0, 1 - self.num_known + self.events / _FEW_EVENTS)
        return held * self.proven

    @property
    def filled(self) -> float:
        """See `Signals`."""
        return (self.events - self.inner + (1 - _INNER**2) * _FEW_EVENTS) / (self.events + _FEW_EVENTS)

    @property
    def aside(self) -> float:
        """See `Signals`."""
        return hypot(2 * self.right - self.near, 2 * self.below - self.near) / (self.near + _FEW_EVENTS)


def size_of(box: Box) -> float:
    """The root of the area of a box [px]."""
    return max(float(box[2:].prod()), 1e-6) ** 0.5


def given_evidence(last: BoxEvidence | None) -> BoxEvidence:
    """The evidence at a frame whose box is given; events count as before."""
    return BoxEvidence() if last is None else last._replace(detector_spread=0.0, apart=0.0, best=0.0, proven=1.0)


def detection_evidence(last: BoxEvidence, detection: DetectedBox) -> BoxEvidence:
    """The evidence at a frame whose box is detected."""
    size = size_of(detection.box)
    spread = detection.spread
    apart = _UNCOMPARED
    if detection.second is not None:
        spread = max(spread, detection.second.spread)
        apart = float(np.hypot(*(box_center(detection.box) - box_center(detection.second.box)))) / size

    return last._replace(detector_spread=_bounded(spread / size), apart=_bounded(apart))


def moved_evidence(last: BoxEvidence, before: Box, box: Box) -> BoxEvidence:
    """The evidence after a box is replaced by a detected one, which may be elsewhere: the two do not touch then."""
    distance = np.abs(box_center(box) - box_center(before))
    is_elsewhere = bool((distance >= (box[2:] + before[2:]) / 2).any())
    return last._replace(proven=min(last.proven, last.best)) if is_elsewhere else last


def add_confidence(last: BoxEvidence, claimed: float, is_alone: bool = False) -> tuple[float, BoxEvidence]:
    """The confidence of an answer, and the evidence after it; a detector that answers alone is believed as it is."""
    confidence = claimed if is_alone or not last.has_events else claimed * last.ceiling
    # it counts as far as the events of the box are known
    best = max(last.best, confidence * last.num_known)
    return confidence, last._replace(claimed=claimed, best=best)


def add_events(evidence: BoxEvidence, events: BinEvents, box: Box, num_bins: int) -> BoxEvidence:
    """The evidence after a step of some bins between frames."""
    inside, inner, near = _count_near(events, box, (1.0, _INNER, _SURROUNDINGS))
    right, below = (_count_near(events, half, (1.0,))[0] for half in _halves(box))
    per_bin = 1 / num_bins / max(float(box[2] * box[3]), 1.0)
    decay = _DECAY**num_bins
    rate = (1 - decay) * per_bin

    total = evidence.num_bins + num_bins
    # means of all bins while there are few
    recent, slow = (max(1 - one**num_bins, num_bins / total) for one in (_RECENT, _USUAL))

    return evidence._replace(
        events=decay * evidence.events + rate * inside,
        inner=decay * evidence.inner + rate * inner,
        around=decay * evidence.around + rate * (near - inside) / (_SURROUNDINGS**2 - 1),
        near=evidence.near + recent * (near * per_bin - evidence.near),
        right=evidence.right + recent * (right * per_bin - evidence.right),
        below=evidence.below + recent * (below * per_bin - evidence.below),
        on_sensor=evidence.on_sensor + recent * (len(events.x) / num_bins - evidence.on_sensor),
        usual=evidence.usual + slow * (near * per_bin - evidence.usual),
        num_bins=total,
    )


def _halves(box: Box) -> tuple[Box, Box]:
    """The right and the lower half of the surroundings of a box."""
    center = box_center(box)
    sides = _SURROUNDINGS * box[2:]
    right = np.array([center[0], center[1] - sides[1] / 2, sides[0] / 2, sides[1]])
    below = np.array([center[0] - sides[0] / 2, center[1], sides[0], sides[1] / 2])

    return right, below


def _count_near(events: BinEvents, box: Box, limits: tuple[float, ...]) -> list[int]:
    """The number of events in boxes around the centre of a box, by their sides in those of the box."""
    if select(BIN_EVENTS, events.x) == "native":
        return count_near(events, box, limits)

    left, top, width, height = box.tolist()
    x = np.abs((events.x.astype(np.float32) + (0.5 - left)) / max(width, 1.0) - 0.5)
    y = np.abs((events.y.astype(np.float32) + (0.5 - top)) / max(height, 1.0) - 0.5)
    distance = 2 * np.maximum(x, y)

    return [int(np.count_nonzero(distance < limit)) for limit in limits]


def signals(
    evidence: BoxEvidence,
    box: Box,
    moved: Float[np.ndarray, "2"],
    velocity: Float[np.ndarray, "2"] | None,
    age: float,
    num_unsure: int,
) -> Signals:
    """Signals of a box that moved since the frame [px], `age` seconds ago, after frames without a sure detection."""
    size = size_of(box)
    distance = min(hypot(*moved) / size, _MAX_MOVED)
    speed = 0.0 if velocity is None else min(hypot(*velocity) * _FRAME_SECONDS / size, _MAX_SPEED)
    spread = log(evidence.detector_spread + _LOG_FLOOR)

    return Signals(
        filled=evidence.filled,
        focus=log((evidence.events + _FEW_EVENTS) / (evidence.around + _FEW_EVENTS)),
        aside=evidence.aside,
        change=log((evidence.near + _FEW_EVENTS) / (evidence.usual + _FEW_EVENTS)),
        moved=distance,
        speed=log(speed + _LOG_FLOOR),
        detector_spread=spread,
        moved_in_doubt=distance * (spread - _MIN_LOG_SPREAD),
        apart=log(evidence.apart + _LOG_FLOOR),
        age=log(max(age / _FRAME_SECONDS, 1.0)),
        unsure=min(num_unsure, 3) / 3,
    )


def overlap_confidence(evidence: BoxEvidence, signals: Signals, probability: float | None = None) -> float:
    """The probability that a box overlaps the true one by half, by its signals; without events, as the detectors claim.

    `probability` is that of a detector that answers alone.
    """
    if probability is not None:
        return probability
    if not evidence.has_events:
        return detection_confidence(evidence.detector_spread, _UNIT_BOX)

    odds = BIAS
    for x, limits, weights in zip(signals, LIMITS.values(), WEIGHTS.values(), strict=True):
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
