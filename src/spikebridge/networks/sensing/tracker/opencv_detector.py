"""KCF and CSRT of OpenCV as detectors of a tracker; the optional extra `opencv` brings them.

Sources: J. F. Henriques et al., IEEE TPAMI 37:583 (2015); A. Lukežič et al., CVPR 2017.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.sensing.model.boxes import Box
from spikebridge.networks.sensing.tracker.detectors import DetectedBox, DetectorInputs

OpenCVKind = Literal["kcf", "csrt"]
# standard deviation of a detected centre [sizes of the target]; OpenCV does not estimate it
_SPREAD = 0.1

# factor of grey levels, since the frames of event cameras are dark; of 1, 2 and 3 the best for CSRT on the training
# frames of FE240hz; KCF loses its target with each
_BRIGHTENED = 2.0


class OpenCVTarget(NamedTuple):
    """OpenCV's own tracker, which keeps its state inside: a state can be resumed once."""

    tracker: Any


@dataclass(frozen=True)
class OpenCVDetector:
    """A tracker of OpenCV, which looks around its own last box; see `BoxDetector`."""

    kind: OpenCVKind

    def __post_init__(self) -> None:
        if self.kind not in get_args(OpenCVKind):
            close = did_you_mean(self.kind, ["kcf", "csrt"])
            raise ConfigError(f"OpenCV's trackers here are kcf and csrt, not {self.kind!r}; {close}")

        # a missing package is refused before any work
        _opencv()

    def start(self, frame: NDArray[np.uint8], box: Box) -> OpenCVTarget:
        """See `BoxDetector`."""
        # OpenCV takes integer pixels inside the picture, two at least along each side
        height, width = frame.shape
        left, top = (int(np.clip(round(v), 0, size - 2)) for v, size in zip(box[:2], (width, height), strict=True))
        right, bottom = (
            int(np.clip(round(v), low + 2, size))
            for v, low, size in zip(box[:2] + box[2:], (left, top), (width, height), strict=True)
        )

        name = "TrackerKCF_create" if self.kind == "kcf" else "TrackerCSRT_create"
        tracker = getattr(_opencv(), name)()
        tracker.init(_picture(frame), (left, top, right - left, bottom - top))

        return OpenCVTarget(tracker)

    def detect(self, inputs: DetectorInputs, target: OpenCVTarget) -> tuple[DetectedBox, OpenCVTarget]:
        """See `BoxDetector`. A target that is not detected has an infinite spread."""
        box = self.locate(inputs.frame, target)
        if box is None:
            return DetectedBox(inputs.box, inputs.box, float("inf")), target
        return DetectedBox(inputs.box, box, _SPREAD * float(np.sqrt(box[2:].prod()))), target

    def locate(self, frame: NDArray[np.uint8], target: OpenCVTarget) -> Box | None:
        """The box in a new frame; None where OpenCV does not find it."""
        is_located, box = target.tracker.update(_picture(frame))
        return np.array(box, np.float64) if is_located else None

    def update(self, frame: NDArray[np.uint8], box: Box, target: OpenCVTarget) -> OpenCVTarget:
        """See `BoxDetector`. OpenCV has updated itself."""
        return target


def _picture(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    brighter = (frame * _BRIGHTENED).clip(0, 255).astype(np.uint8)
    return np.repeat(brighter[:, :, None], 3, axis=2)


def _opencv() -> ModuleType:
    try:
        return import_module("cv2")
    except ImportError as error:
        raise ConfigError("KCF and CSRT need OpenCV: install spikebridge[opencv]") from error
