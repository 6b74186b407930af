"""Detectors of a tracker: what finds the target's box in a frame, and what it keeps of the target.

A detector is started with the box of the first frame, looks for the target in each later one, and is updated where its
answer was used. What it knows of the target is an argument and a result, and part of the tracker's state.
"""

from dataclasses import dataclass
from math import exp
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.events.binned import BinEvents
from spikebridge.networks.sensing.model.background import Background
from spikebridge.networks.sensing.model.boxes import Box
from spikebridge.networks.sensing.tracker.fused_detector import FusedDetector, TargetPatch

DetectorName = Literal["learned", "filter", "both", "csrt", "kcf"]


class DetectorInputs(NamedTuple):
    """What a detector sees.

    Args:
        frame: the new frame, grey levels.
        before: the frame before.
        events: between the two.
        background: what is behind the target.
        box: where the target is predicted to be in the new frame [px].
        lost: whether the target was not found in the last frames.
        confidence: that the tracker's box is right.
    """

    frame: NDArray[np.uint8]
    before: NDArray[np.uint8]
    events: BinEvents
    background: Background
    box: Box
    lost: bool
    confidence: float = 1.0


class FoundBox(NamedTuple):
    """The answer of a detector.

    Args:
        around: the box around which it looked [px].
        box: of the target [px].
        spread: standard deviation of its centre along an axis [px].
        second: the answer of another detector, where there is one.
        is_elsewhere: whether the last boxes were of something else, so that they say nothing of its velocity.
    """

    around: Box
    box: Box
    spread: float
    second: "FoundBox | None" = None
    is_elsewhere: bool = False


@runtime_checkable
class BoxDetector(Protocol):
    """What finds the target in a frame."""

    def start(self, frame: NDArray[np.uint8], box: Box) -> Any:
        """What is known of the target in a frame with a given box [px]."""

    def detect(self, inputs: DetectorInputs, target: Any) -> tuple[FoundBox, Any]:
        """The target in a new frame, and what is known of it afterwards."""

    def update(self, frame: NDArray[np.uint8], box: Box, target: Any) -> Any:
        """What is known of the target after its box in a new frame [px] was accepted."""


class LearnedTarget(NamedTuple):
    """The two templates of a trained detector.

    Args:
        first: template `K_0` of the frame whose box was given.
        newest: patch of the last confident detection, from which `K_new` is made.
    """

    first: Float[Tensor, "1 C N N"]
    newest: TargetPatch


@dataclass(frozen=True)
class LearnedDetector:
    """The trained detector of the sensing network. A detection with little confidence starts a search of the frame.

    Args:
        fused: the trained detector.
        template_rate: share of the newest template beside that of the first frame.
        search_confidence: a detection with less confidence starts a search of the whole frame.
        reacquire_confidence: a detection of that search with more confidence is the answer.

    Example:
        >>> from spikebridge.networks.sensing.model.detector import TargetDetector
        >>> detector = LearnedDetector(FusedDetector(TargetDetector().eval()))
        >>> target = detector.start(np.zeros((90, 90), np.uint8), np.array([30.0, 40.0, 20.0, 16.0]))
        >>> target.first.shape
        torch.Size([1, 8, 32, 32])
    """

    fused: FusedDetector
    template_rate: float = 0.3
    search_confidence: float = 0.5
    reacquire_confidence: float = 0.8

    def start(self, frame: NDArray[np.uint8], box: Box) -> LearnedTarget:
        """See `BoxDetector`."""
        patch = self.fused.patch(frame, box)
        return LearnedTarget(self.fused.template(patch), patch)

    def detect(self, inputs: DetectorInputs, target: LearnedTarget) -> tuple[FoundBox, LearnedTarget]:
        """See `BoxDetector`. For a lost target only the first template is used: the newest may not show the target."""
        if inputs.lost:
            return self.search(inputs, target), target

        found = FoundBox(inputs.box, *self._look(inputs, inputs.box, target.first, target.newest))
        if confidence(found.spread, found.box) < self.search_confidence:
            other = self.search(inputs, target)
            if confidence(other.spread, other.box) > self.reacquire_confidence:
                return other, target

        return found, target

    def search(self, inputs: DetectorInputs, target: LearnedTarget) -> FoundBox:
        """The target as the first template shows it, wherever it is in the frame.

        Args:
            inputs: the box has the size that is looked for.
            target: so far.
        """
        there = self.fused.search(inputs.frame, inputs.background, inputs.box, target.first)
        return FoundBox(there, *self._look(inputs, there, target.first, None))

    def _look(
        self, inputs: DetectorInputs, box: Box, first: Float[Tensor, "1 C N N"], newest: TargetPatch | None
    ) -> tuple[Box, float]:
        """Around a box; see `FusedDetector.look`."""
        frame, before, events, background = inputs[:4]
        return self.fused.look(frame, before, events, background, box, first, newest, self.template_rate)

    def update(self, frame: NDArray[np.uint8], box: Box, target: LearnedTarget) -> LearnedTarget:
        """See `BoxDetector`."""
        return target._replace(newest=self.fused.patch(frame, box))


def confidence(spread: float, box: Float[np.ndarray, "4"]) -> float:
    """The probability that a place is wrong by less than a quarter of the target's size.

    Args:
        spread: standard deviation of the place along each axis [px].
        box: of the target [px]; its size is the root of its area.

    Example:
        >>> round(confidence(3.0, np.array([0.0, 0.0, 12.0, 12.0])), 3)  # 3 px: 1 - exp(-1/2)
        0.393
    """
    return 1 - exp(-max(float(box[2:].prod()), 0.0) / 16 / (2 * max(spread, 1e-3) ** 2))
