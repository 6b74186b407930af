"""A trained detector and a correlation filter together: the box of both where they agree, else that of the surer one.

The trained detector is sure of targets like those of its training, the filter of the target since the first box. Each
claims a standard deviation of its centre: the one as it was trained to, the filter by its peak-to-sidelobe ratio. Where
they agree within four of both, centre and size are the means of theirs, weighted by inverse variances (sizes as
logarithms). The trained one reads events, too, and without any it claims too much; then the filter answers until the
target is lost.

Both learn from the box that the tracker makes of the detection, so that the one leads the other back. A filter alone
soon learns whatever hides the target. So where the trained detector usually sees the target, and neither sees it in a
frame, its unsure detection is given, and neither learns.

Both may track something else, and be sure of it. But the events do not fit then, and the confidence of the tracker's
box is low. After three such frames in a row the trained detector looks for the first template in the whole frame. If it
is sure to see it elsewhere, and again in the next frame, the target is there.

Every detection starts from the box before, so errors of the size add up. The given box is the one that is right, so the
size of a detection of the trained detector is drawn a little towards it. The filter compares sizes with the last one,
and a target that grows would be held back.
"""

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.networks.sensing.detection.box_detector import (
    BoxDetector,
    DetectedBox,
    DetectorInputs,
    detection_confidence,
)
from spikebridge.networks.sensing.detection.correlation_filter import CorrelationFilter, FilterState, target_side
from spikebridge.networks.sensing.detection.opencv_detector import OpenCVDetector
from spikebridge.networks.sensing.detection.patches import ColourFrame
from spikebridge.networks.sensing.model.boxes import Box, box_center, box_from_center
from spikebridge.networks.sensing.tracker.detectors import DetectorName, LearnedDetector, LearnedTarget

# smallest side of a detected box [px]; a detector may give one without area
_MIN_SIZE = 1e-3
# distance of two detections of one target, at most, in standard deviations
_MAX_APART = 4.0


class _Claims(NamedTuple):
    """The confidence of the trained detector in a frame, and the peak-to-sidelobe ratio of the filter."""

    confidence: float
    ratio: float


class _MixedTarget(NamedTuple):
    """The state of the target in both detectors."""

    # state of the trained detector
    learned: LearnedTarget
    # state of the filter
    filtered: FilterState
    # width and height of the given box [px]
    size: Float[np.ndarray, "2"]
    # claims in the last frame; None before the first one
    last: _Claims | None = None
    # mean claims in the frames from which both have learned
    usual: _Claims | None = None
    # number of frames in a row with the tracker's box in doubt, since the last search
    num_doubted: int = 0
    # the target elsewhere in the last frame, if a search has found it
    candidate: DetectedBox | None = None
    # there were events before the last frame
    has_events: bool = False


@dataclass(frozen=True)
class MixedDetector:
    """A trained detector and a filter that learns the target; see `BoxDetector`."""

    # the trained detector
    learned: LearnedDetector
    # the filter
    filter: CorrelationFilter
    # the trained detector is asked in frames after events alone
    needs_events: bool = False
    # mean confidence from which on the trained detector usually sees the target
    usual_confidence: float = 0.9
    # below it the trained detector does not see the target
    min_confidence: float = 0.3
    # share of its usual peak-to-sidelobe ratio below which the filter does not see it
    min_ratio: float = 0.5
    # weight of a new frame in the means
    rate: float = 0.1
    # share of the given size in that of a detection of the trained detector, as logarithms
    size_share: float = 0.1
    # confidence of the tracker's box below which it is in doubt
    doubt: float = 0.5
    # number of frames in doubt, one after the other, after which the whole frame is searched
    search_after: int = 3

    def start(self, picture: ColourFrame, box: Box) -> _MixedTarget:
        """See `BoxDetector`."""
        return _MixedTarget(self.learned.start(picture, box), self.filter.start(picture, box), box[2:].copy())

    def detect(self, inputs: DetectorInputs, target: _MixedTarget) -> tuple[DetectedBox, _MixedTarget]:
        """See `BoxDetector`."""
        has_events = len(inputs.events.x) > 0
        target = target._replace(has_events=has_events)
        if self.needs_events and not has_events:
            by_filter, filtered = self.filter.detect(inputs, target.filtered)
            return by_filter, target._replace(filtered=filtered, last=None, num_doubted=0, candidate=None)

        previous = target.candidate
        target = self._search_in_doubt(inputs, target)
        candidate = target.candidate
        if previous is not None and candidate is not None and not _are_apart(previous.box, candidate.box):
            return candidate._replace(is_elsewhere=True), self._restarted(target)

        by_learned, learned = self.learned.detect(inputs, target.learned)
        by_filter, filtered = self._filter(has_events).detect(inputs, target.filtered)
        confidence = detection_confidence(by_learned.spread, by_learned.box)
        claims = _Claims(confidence, target_side(by_filter.box) / by_filter.spread)
        target = target._replace(learned=learned, filtered=filtered, last=claims)

        if not has_events and not inputs.lost:
            return by_filter._replace(second=by_learned), target

        by_filter = by_filter._replace(probability=None if has_events else by_filter.probability)
        by_learned = by_learned._replace(box=self._draw_size(by_learned.box, target.size))
        if self._is_hidden(claims, target.usual):
            return by_learned._replace(second=by_filter), target

        first, second = sorted((by_filter, by_learned), key=attrgetter("spread"))
        return first._replace(box=_joint_box(first, second) if has_events else first.box, second=second), target

    def update(self, picture: ColourFrame, box: Box, target: _MixedTarget) -> _MixedTarget:
        """See `BoxDetector`."""
        learned = self.learned.update(picture, box, target.learned)
        filtered = self._filter(target.has_events).update(picture, box, target.filtered)
        usual = target.last
        if target.usual is not None and target.last is not None:
            pairs = zip(target.usual, target.last, strict=True)
            usual = _Claims(*(old + self.rate * (new - old) for old, new in pairs))

        return target._replace(learned=learned, filtered=filtered, usual=usual)

    def _filter(self, has_events: bool) -> CorrelationFilter:
        # frames of event cameras are dark: grey levels tell nothing there that gradients do not
        return replace(self.filter, colour_share=0.0, colour_weight=0.0) if has_events else self.filter

    def _search_in_doubt(self, inputs: DetectorInputs, target: _MixedTarget) -> _MixedTarget:
        """The state after a search of the whole frame, where the box has been in doubt."""
        # without events the trained detector is too sure
        if inputs.confidence >= self.doubt or len(inputs.events.x) == 0:
            return target._replace(num_doubted=0, candidate=None)

        target = target._replace(num_doubted=target.num_doubted + 1)
        if target.num_doubted < self.search_after and target.candidate is None:
            return target

        sized = inputs._replace(box=box_from_center(box_center(inputs.box), target.size))
        detection = self.learned.search(sized, target.learned)
        confidence = detection_confidence(detection.spread, detection.box)
        is_sure = confidence > self.learned.reacquire_confidence
        candidate = detection if is_sure and _are_apart(detection.box, inputs.box) else None

        return target._replace(num_doubted=0, candidate=candidate)

    def _restarted(self, target: _MixedTarget) -> _MixedTarget:
        """The state as after the first frame: the filter has learned something else since."""
        filtered = target.filtered._replace(sums=target.filtered.first)
        return target._replace(filtered=filtered, last=None, usual=None, candidate=None)

    def _draw_size(self, box: Box, size: Float[np.ndarray, "2"]) -> Box:
        own = box[2:].clip(min=_MIN_SIZE)
        return box_from_center(box_center(box), own * (size / own) ** self.size_share)

    def _is_hidden(self, claims: _Claims, usual: _Claims | None) -> bool:
        if usual is None or usual.confidence < self.usual_confidence:
            return False
        return claims.confidence < self.min_confidence and claims.ratio < self.min_ratio * usual.ratio


def _joint_box(first: DetectedBox, second: DetectedBox) -> Box:
    """The mean of two boxes, weighted by inverse variances, where they agree; else the first one."""
    distance = box_center(second.box) - box_center(first.box)
    # written so that a place that is not a number is one apart
    if not np.hypot(*distance) < _MAX_APART * np.hypot(first.spread, second.spread):
        return first.box

    share = first.spread**2 / (first.spread**2 + second.spread**2)
    size = first.box[2:] * (second.box[2:] / first.box[2:]) ** share

    return box_from_center(box_center(first.box) + share * distance, size)


def _are_apart(box: Box, other: Box) -> bool:
    return bool((np.abs(box_center(box) - box_center(other)) >= (box[2:] + other[2:]) / 2).any())


def build_detector(name: DetectorName, learned: LearnedDetector | None) -> BoxDetector | None:
    """The detector of a name, for a network with a trained one or without; None if only a trained one is asked for."""
    if name == "learned":
        return learned
    if name == "csrt" or name == "kcf":
        return OpenCVDetector(name)
    if name == "filter" or learned is None:
        return CorrelationFilter()

    return MixedDetector(learned, CorrelationFilter(), needs_events=name == "auto")
