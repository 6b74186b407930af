"""The interface of detectors: they find the target's box in a frame, and keep a state of the target.

A detector is started with the box of the first frame, looks for the target in each later one, and is updated where its
detection was used. Its state is an argument and a result, and part of the tracker's state.
"""

from math import exp
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.events.binned import BinEvents
from spikebridge.networks.sensing.detection.patches import ColourFrame
from spikebridge.networks.sensing.model.background import Background
from spikebridge.networks.sensing.model.boxes import Box


class DetectorInputs(NamedTuple):
    """The inputs of a detector."""

    # the new frame, grey levels
    frame: NDArray[np.uint8]
    # the frame before
    before: NDArray[np.uint8]
    # events between the two
    events: BinEvents
    # the background behind the target
    background: Background
    # predicted box of the target in the new frame [px]
    box: Box
    # the target was not detected in the last frames
    lost: bool
    # confidence of the tracker's box
    confidence: float = 1.0
    # the new frame in colours; None where the camera has none
    colours: NDArray[np.uint8] | None = None


class DetectedBox(NamedTuple):
    """A detection."""

    # the box around which the detector looked [px]
    around: Box
    # box of the target [px]
    box: Box
    # standard deviation of its centre along an axis [px]
    spread: float
    # the detection of another detector, where there is one
    second: "DetectedBox | None" = None
    # the last boxes were of something else, so that they say nothing of the target's velocity
    is_elsewhere: bool = False
    # probability that it overlaps the target by half, of a detector that answers alone: its box is taken as it is
    probability: float | None = None

    @property
    def confidence(self) -> float:
        """The probability that the detection is right, by what the detector says."""
        return detection_confidence(self.spread, self.box) if self.probability is None else self.probability


@runtime_checkable
class BoxDetector(Protocol):
    """A detector of the target in a frame."""

    def start(self, picture: ColourFrame, box: Box) -> Any:
        """The state of the target at a frame with a given box [px]."""

    def detect(self, inputs: DetectorInputs, target: Any) -> tuple[DetectedBox, Any]:
        """The target in a new frame, and its state afterwards."""

    def update(self, picture: ColourFrame, box: Box, target: Any) -> Any:
        """The state of the target after its box in a new frame [px] was accepted."""


def detection_confidence(spread: float, box: Float[np.ndarray, "4"]) -> float:
    """The probability that a detection with this spread [px] is wrong by less than a quarter of the target's size."""
    area = max(float(box[2:].prod()), 0.0)
    return 1 - exp(-area / 16 / (2 * max(spread, 1e-3) ** 2))
