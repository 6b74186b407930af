"""KCF and CSRT, two trackers of OpenCV that look at frames alone; the optional extra `opencv` brings them.

Between frames the box is held. A frame in which the target is not found leaves the box where it was.

Sources: J. F. Henriques et al., IEEE TPAMI 37:583 (2015); A. Lukežič et al., CVPR 2017.
"""

from importlib import import_module
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.sensing.model.boxes import check_box
from spikebridge.networks.sensing.tracker.tracker import grey_frame

_OpenCVKind = Literal["kcf", "csrt"]


class _OpenCVState(NamedTuple):
    """The box, OpenCV's own tracker, and whether it found nothing in the last frame.

    OpenCV keeps what it knows inside its tracker: a state can be gone on with once.
    """

    box: Float[np.ndarray, "4"]
    tracker: Any
    lost: bool


class OpenCVTracker:
    """A tracker of OpenCV.

    Args:
        kind: `kcf` (correlation filters) or `csrt` (with channel and spatial reliability).
        brightened: grey levels are multiplied by this; the frames of event cameras are dark. Of 1, 2 and 3 the default
            is the best for CSRT on the training frames of FE240hz; KCF loses its target with each.

    Raises:
        ConfigError: there is no such tracker, or OpenCV is not installed.
    """

    def __init__(self, kind: _OpenCVKind, brightened: float = 2.0) -> None:
        if kind not in get_args(_OpenCVKind):
            raise ConfigError(
                f"OpenCV's trackers here are kcf and csrt, not {kind!r}; {did_you_mean(kind, ['kcf', 'csrt'])}"
            )
        if not 0 < brightened < float("inf"):
            raise ConfigError(f"brightened is a factor above 0, but got {brightened!r}")
        self._opencv = _opencv()
        self.kind = kind
        self.brightened = brightened

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
        picture = self._picture(grey_frame(inputs["frame"]))
        if "box" in inputs:
            state = self._begun(picture, check_box(inputs["box"]))
        elif state is None:
            raise DataError("the first step needs the target's box, but has no box.")
        else:
            found, box = state.tracker.update(picture)
            state = _OpenCVState(np.array(box, np.float64) if found else state.box, state.tracker, not found)
        return state.box, state

    def _picture(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        brighter = (frame * self.brightened).clip(0, 255).astype(np.uint8)
        return np.repeat(brighter[:, :, None], 3, axis=2)

    def _begun(self, picture: NDArray[np.uint8], box: NDArray[np.float64]) -> _OpenCVState:
        # OpenCV takes whole pixels inside the picture; the given box itself is kept until the next frame
        height, width = picture.shape[:2]
        left, top = (int(np.clip(round(v), 0, most - 2)) for v, most in zip(box[:2], (width, height), strict=True))
        right, bottom = (
            int(np.clip(round(v), low + 2, most))
            for v, low, most in zip(box[:2] + box[2:], (left, top), (width, height), strict=True)
        )
        name = "TrackerKCF_create" if self.kind == "kcf" else "TrackerCSRT_create"
        tracker = getattr(self._opencv, name)()
        tracker.init(picture, (left, top, right - left, bottom - top))
        return _OpenCVState(box, tracker, False)


def _opencv() -> ModuleType:
    try:
        return import_module("cv2")
    except ImportError as error:
        raise ConfigError("KCF and CSRT need OpenCV: install spikebridge[opencv]") from error
