"""The trained detector of a tracker, and the names of all detectors."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from spikebridge.networks.sensing.detection.box_detector import DetectedBox, DetectorInputs, detection_confidence
from spikebridge.networks.sensing.detection.patches import ColourFrame
from spikebridge.networks.sensing.model.boxes import Box
from spikebridge.networks.sensing.tracker.fused_detector import FusedDetector, TargetPatch

DetectorName = Literal["auto", "learned", "filter", "both", "csrt", "kcf"]


class LearnedTarget(NamedTuple):
    """The template `K_0` of the given box, and the patch of the last confident detection, which gives `K_new`."""

    first: Float[Tensor, "1 C N N"]
    newest: TargetPatch


@dataclass(frozen=True)
class LearnedDetector:
    """The trained detector of the sensing network.

    A detection with less than `search_confidence` starts a search of the whole frame; its result is taken if it has
    more than `reacquire_confidence`.
    """

    fused: FusedDetector
    template_rate: float = 0.3
    search_confidence: float = 0.5
    reacquire_confidence: float = 0.8

    def start(self, picture: ColourFrame, box: Box) -> LearnedTarget:
        """See `BoxDetector`."""
        patch = self.fused.patch(picture.grey, box)
        return LearnedTarget(self.fused.template(patch), patch)

    def detect(self, inputs: DetectorInputs, target: LearnedTarget) -> tuple[DetectedBox, LearnedTarget]:
        """See `BoxDetector`. For a lost target only the first template is used: the newest may not show the target."""
        if inputs.lost:
            return self.search(inputs, target), target

        detection = self._detect_around(inputs, inputs.box, target.first, target.newest)
        if detection_confidence(detection.spread, detection.box) < self.search_confidence:
            other = self.search(inputs, target)
            if detection_confidence(other.spread, other.box) > self.reacquire_confidence:
                return other, target

        return detection, target

    def search(self, inputs: DetectorInputs, target: LearnedTarget) -> DetectedBox:
        """The target as the first template shows it, of the size of the predicted box, anywhere in the frame."""
        box = self.fused.search(inputs.frame, inputs.background, inputs.box, target.first)
        return self._detect_around(inputs, box, target.first, None)

    def _detect_around(
        self, inputs: DetectorInputs, box: Box, first: Float[Tensor, "1 C N N"], newest: TargetPatch | None
    ) -> DetectedBox:
        frame, before, events, background = inputs[:4]
        detection = self.fused.detect(frame, before, events, background, box, first, newest, self.template_rate)
        return DetectedBox(box, *detection)

    def update(self, picture: ColourFrame, box: Box, target: LearnedTarget) -> LearnedTarget:
        """See `BoxDetector`."""
        return target._replace(newest=self.fused.patch(picture.grey, box))


def chosen_detector(name: DetectorName, num_events: int) -> DetectorName:
    """The detector that `auto` takes for a recording: on clips without events the filter is the best."""
    return name if name != "auto" else "both" if num_events else "filter"
