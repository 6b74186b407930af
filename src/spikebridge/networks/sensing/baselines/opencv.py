"""KCF and CSRT, two trackers of OpenCV that read frames alone; the optional extra `opencv` brings them.

Between frames the box is held. A frame in which the target is not found leaves the box where it was.

Sources: J. F. Henriques et al., IEEE TPAMI 37:583 (2015); A. Lukežič et al., CVPR 2017.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import DataError
from spikebridge.networks.sensing.model.boxes import check_box
from spikebridge.networks.sensing.tracker.inputs import grey_frame
from spikebridge.networks.sensing.tracker.opencv_detector import OpenCVDetector, OpenCVKind, OpenCVTarget


class _OpenCVState(NamedTuple):
    """The box, OpenCV's own tracker, and whether it found nothing in the last frame.

    OpenCV keeps its state inside its tracker: a state can be resumed once.
    """

    box: Float[np.ndarray, "4"]
    target: OpenCVTarget
    lost: bool


class OpenCVTracker:
    """A tracker of OpenCV; see `OpenCVDetector`."""

    def __init__(self, kind: OpenCVKind) -> None:
        self.detector = OpenCVDetector(kind)

    def step(self, inputs: Inputs, state: _OpenCVState | None) -> tuple[Float[np.ndarray, "4"], _OpenCVState]:
        """The box in the last frame, and the new state; the first step has a frame and its box."""
        if "frame" not in inputs:
            if state is None or "box" in inputs:
                raise DataError("a tracker starts with a frame and a box, but this step has no frame.")
            return state.box, state

        frame = grey_frame(inputs["frame"])
        if "box" in inputs:
            # the given box itself is kept until the next frame
            box = check_box(inputs["box"])
            state = _OpenCVState(box, self.detector.start(frame, box), False)
        elif state is None:
            raise DataError("the first step needs the target's box, but has no box.")
        else:
            located = self.detector.locate(frame, state.target)
            state = _OpenCVState(state.box if located is None else located, state.target, located is None)

        return state.box, state
