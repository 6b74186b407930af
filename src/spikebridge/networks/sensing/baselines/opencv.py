"""KCF and CSRT, two trackers of OpenCV that look at frames alone; the optional extra `opencv` brings them.

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

    OpenCV keeps what it knows inside its tracker: a state can be gone on with once.
    """

    box: Float[np.ndarray, "4"]
    target: OpenCVTarget
    lost: bool


class OpenCVTracker:
    """A tracker of OpenCV.

    Args:
        kind: of `OpenCVDetector`.
        brightened: of `OpenCVDetector`.

    Raises:
        ConfigError: there is no such tracker, or OpenCV is not installed.
    """

    def __init__(self, kind: OpenCVKind, brightened: float = 2.0) -> None:
        self.detector = OpenCVDetector(kind, brightened)

    def step(self, inputs: Inputs, state: _OpenCVState | None) -> tuple[Float[np.ndarray, "4"], _OpenCVState]:
        """Where the target was in the last frame.

        Args:
            inputs: with a `frame` and its `box` at the first step.
            state: what is known; None at first.

        Returns:
            The box, and what is known now.

        Raises:
            DataError: the first step has no frame or no box, a frame is not grey, or a given box cannot be meant.
        """
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
            found = self.detector.find(frame, state.target)
            state = _OpenCVState(state.box if found is None else found, state.target, found is None)

        return state.box, state
