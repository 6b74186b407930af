"""KCF and CSRT, two trackers of OpenCV that read frames alone; the optional extra `opencv` brings them.

Between frames the box is held. A frame in which the target is not found leaves the box where it was.

Sources: J. F. Henriques et al., IEEE TPAMI 37:583 (2015); A. Lukežič et al., CVPR 2017.
"""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import ConfigError, DataError, did_you_mean, import_extra
from spikebridge.networks.sensing.model.boxes import Box, check_box
from spikebridge.networks.sensing.tracker.inputs import grey_frame

_Kind = Literal["kcf", "csrt"]

# factor of grey levels, since the frames of event cameras are dark; of 1, 2 and 3 the best for CSRT on the training
# frames of FE240hz; KCF loses its target with each
_BRIGHTENED = 2.0


class _OpenCVState(NamedTuple):
    """The box, OpenCV's own tracker, and whether it found nothing in the last frame.

    OpenCV keeps its state inside its tracker: a state can be resumed once.
    """

    box: Float[np.ndarray, "4"]
    target: Any
    lost: bool


class OpenCVTracker:
    """A tracker of OpenCV, which looks around its own last box."""

    reads_events = False

    def __init__(self, kind: _Kind) -> None:
        if kind not in get_args(_Kind):
            close = did_you_mean(kind, get_args(_Kind))
            raise ConfigError(f"OpenCV's trackers here are kcf and csrt, not {kind!r}; {close}")

        self.kind = kind
        self._opencv = import_extra("cv2", "opencv", "KCF and CSRT need")

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
            state = _OpenCVState(box, self._start(frame, box), False)
        elif state is None:
            raise DataError("the first step needs the target's box, but has no box.")
        else:
            is_located, located = state.target.update(_picture(frame))
            box = np.array(located, np.float64) if is_located else state.box
            state = _OpenCVState(box, state.target, not is_located)

        return state.box, state

    def _start(self, frame: NDArray[np.uint8], box: Box) -> Any:
        # OpenCV takes integer pixels inside the picture, two at least along each side
        height, width = frame.shape
        left, top = (int(np.clip(round(v), 0, size - 2)) for v, size in zip(box[:2], (width, height), strict=True))
        right, bottom = (
            int(np.clip(round(v), low + 2, size))
            for v, low, size in zip(box[:2] + box[2:], (left, top), (width, height), strict=True)
        )

        name = "TrackerKCF_create" if self.kind == "kcf" else "TrackerCSRT_create"
        tracker = getattr(self._opencv, name)()
        tracker.init(_picture(frame), (left, top, right - left, bottom - top))

        return tracker


def _picture(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    brighter = (frame * _BRIGHTENED).clip(0, 255).astype(np.uint8)
    return np.repeat(brighter[:, :, None], 3, axis=2)
