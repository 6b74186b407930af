"""Trackers of OpenCV as the detector of a frame; the extra `opencv` brings them.

OpenCV keeps the state inside its tracker: a state of a stream can be resumed once. A frame in which it does not find
the target leaves the box where it was predicted, and counts as one without a confident detection.

Sources: J. F. Henriques et al., IEEE TPAMI 37:583 (2015); A. Lukežič et al., CVPR 2017.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikebridge.errors import import_extra
from spikebridge.networks.sensing.detection.box_detector import DetectedBox, DetectorInputs
from spikebridge.networks.sensing.detection.patches import ColourFrame
from spikebridge.networks.sensing.model.boxes import Box

OpenCVName = Literal["csrt", "kcf"]

# standard deviation of a found target, and of one that was not found, in sides of its box
_SPREADS = (0.15, 2.0)
# OpenCV's trackers say hardly ever that they have lost a target
_PROBABILITIES = (0.7, 0.1)


@dataclass(frozen=True)
class OpenCVDetector:
    """A tracker of OpenCV; see `BoxDetector`."""

    name: OpenCVName

    def start(self, picture: ColourFrame, box: Box) -> Any:
        """See `BoxDetector`."""
        opencv = import_opencv()
        create = opencv.TrackerKCF_create if self.name == "kcf" else opencv.TrackerCSRT_create
        target = create()
        target.init(_blue_green_red(picture), _whole_pixels(box, picture.grey.shape))

        return target

    def detect(self, inputs: DetectorInputs, target: Any) -> tuple[DetectedBox, Any]:
        """See `BoxDetector`."""
        is_found, found = target.update(_blue_green_red(ColourFrame(inputs.frame, inputs.colours)))
        box = np.array(found, np.float64) if is_found else inputs.box
        spread = max(float(box[2:].prod()), 1.0) ** 0.5 * _SPREADS[not is_found]

        return DetectedBox(inputs.box, box, spread, probability=_PROBABILITIES[not is_found]), target

    def update(self, picture: ColourFrame, box: Box, target: Any) -> Any:
        """See `BoxDetector`; OpenCV has learned in `detect`."""
        return target


def import_opencv() -> Any:
    """OpenCV, or a `ConfigError` that says how to get it."""
    return import_extra("cv2", "opencv", "the detectors csrt and kcf need")


def _whole_pixels(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The box in integer pixels inside of a frame, two at least along each side, as OpenCV takes it."""
    height, width = shape
    left, top = (int(np.clip(round(v), 0, size - 2)) for v, size in zip(box[:2], (width, height), strict=True))
    right, bottom = (
        int(np.clip(round(v), low + 2, size))
        for v, low, size in zip(box[:2] + box[2:], (left, top), (width, height), strict=True)
    )

    return left, top, right - left, bottom - top


def _blue_green_red(picture: ColourFrame) -> NDArray[np.uint8]:
    if picture.colours is None:
        return np.repeat(picture.grey[:, :, None], 3, axis=2)
    return np.ascontiguousarray(picture.colours[:, :, ::-1])
