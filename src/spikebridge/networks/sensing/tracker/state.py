"""What a sensing tracker knows: of the target in frames, of the stream of events since, and both together.

What a sensing tracker is given at one step, looked at before it is used: a camera's program is not always right.
"""

from math import exp, floor, isfinite
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.events.binned import BinEvents, Crop
from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import DataError
from spikebridge.networks.sensing.model.background import Background
from spikebridge.networks.sensing.model.motion_prior import MotionPrior
from spikebridge.networks.sensing.tracker.frozen import InferenceModel
from spikebridge.networks.sensing.tracker.fused_detector import TargetPatch

PATIENCE = 3
"""After so many frames without confidence a target is lost."""


def confidence(spread: float, box: Float[np.ndarray, "4"]) -> float:
    """The chance that a place is less than a quarter of its target's size off.

    Args:
        spread: standard deviation of the place along each axis [px].
        box: of the target [px]; its size is the root of its area.

    Example:
        >>> round(confidence(3.0, np.array([0.0, 0.0, 12.0, 12.0])), 3)  # 3 px off: 1 - exp(-1/2)
        0.393
    """
    return 1 - exp(-max(float(box[2:].prod()), 0.0) / 16 / (2 * max(spread, 1e-3) ** 2))


class TargetEstimate(NamedTuple):
    """What is known of a target from frames.

    Args:
        box: where it was in the last frame, by what was told or found [px].
        spread: how far that may be off along an axis [px].
        unsure: how many frames in a row it was not surely seen.
        first: template of the frame whose box was told last, `K_0`; None without a finder.
        newest: what was seen around it in the last frame in which it was surely seen, of which `K_new` is made.
    """

    box: Float[np.ndarray, "4"]
    spread: float
    unsure: int
    first: Tensor | None
    newest: TargetPatch | None


class PendingFrame(NamedTuple):
    """A frame that nobody has looked for the target in yet.

    Args:
        box: where the target is believed to be in it [px].
        before: the frame before.
        events: between the two.
        since: time between the two frames [s].
    """

    box: Float[np.ndarray, "4"]
    before: NDArray[np.uint8]
    events: BinEvents
    since: float


class EventStreamState(NamedTuple):
    """What was known when a stream of events began.

    Args:
        start: what was expected.
        period: in which the target goes as far as `start.motion` [s].
        age: time since the stream began [s].
        target_offset: how far the target had gone since the frame [px].
        crop_offset: how far the crop had, in whole pixels.
    """

    start: MotionPrior
    period: float
    age: float
    target_offset: Float[np.ndarray, "2"]
    crop_offset: Float[np.ndarray, "2"]


class TrackingState(NamedTuple):
    """What a tracker knows.

    Args:
        box: where the target is now [px].
        spread: standard deviation of its place along an axis [px].
        confidence: chance that the place is less than a quarter of the target's size off, as far as the network can
            tell; from 0 to 1.
        sighting: of the last frame.
        frame: the last frame.
        frame_box: where the target was in it, mended by what the pictures say of its motion.
        events: since that frame.
        age: time since it [s].
        stream: what was known when the stream of events began.
        crop: what the network sees.
        room: what is behind the target.
        ready: the network, as it was when the tracker began.
        network: its state since the stream began.
        doubt: what the finder has still to look at.
    """

    box: Float[np.ndarray, "4"]
    spread: float
    confidence: float
    sighting: TargetEstimate
    frame: NDArray[np.uint8]
    frame_box: Float[np.ndarray, "4"]
    events: tuple[BinEvents, ...]
    age: float
    stream: EventStreamState
    crop: Crop
    room: Background
    ready: InferenceModel
    network: Any
    doubt: PendingFrame | None = None

    @property
    def lost(self) -> bool:
        """Whether the target was not surely seen in the last three frames."""
        return self.sighting.unsure >= PATIENCE


_MOST_BINS = 240  # are waited through at once: a camera may stop for as long as it likes


def check_inputs(inputs: Inputs, last: NDArray[np.uint8] | None) -> None:
    """Refuse what cannot be meant.

    Args:
        inputs: of one step.
        last: the last frame; None before the first one.

    Raises:
        DataError: a time or a frame cannot be.

    Example:
        >>> from spikebridge.data.events.binned import BinEvents
        >>> nothing = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
        >>> check_inputs(Inputs(events=nothing, elapsed=0.0), None)
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: elapsed: expected the seconds since the last step, above 0, but got 0.0.
    """
    check_times(inputs)
    if "frame" in inputs:
        frame = grey_frame(inputs["frame"])
        if last is not None and frame.shape != last.shape:
            raise DataError(f"frame: expected rows and columns {last.shape} as before, but got {frame.shape}.")


def check_times(inputs: Inputs) -> None:
    """Refuse times that cannot be meant.

    Args:
        inputs: of one step.

    Raises:
        DataError: a time is none, or a frame lacks its own.
    """
    elapsed, age = inputs["elapsed"], inputs.get("frame_age", None if "frame" in inputs else 0.0)
    if not (isfinite(elapsed) and elapsed > 0):
        raise DataError(f"elapsed: expected the seconds since the last step, above 0, but got {elapsed}.")
    if age is None or not (isfinite(age) and age >= 0):
        raise DataError(f"frame_age: expected the seconds from the frame to the end of the step, but got {age}.")


def num_bins(seconds: float, dt: float) -> int:
    """How many bins a step is long: at least one, and no more than are waited through at once.

    Args:
        seconds: its length [s].
        dt: length of a bin [s].

    Example:
        >>> num_bins(0.0249, 0.005), num_bins(0.025, 0.005), num_bins(3600.0, 0.005)
        (4, 5, 240)
    """
    return min(_MOST_BINS, max(1, floor(seconds / dt + 1e-6)))


def grey_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame that a tracker is given, as it is.

    Args:
        frame: grey levels from 0 to 255.

    Raises:
        DataError: it has colours, other numbers, or no pixels.

    Example:
        >>> grey_frame(np.array([[1, 2], [3, 4]], np.uint8)).shape
        (2, 2)
    """
    if not isinstance(frame, np.ndarray) or frame.ndim != 2 or not frame.size or frame.dtype != np.uint8:
        came = f"{frame.dtype} of shape {tuple(frame.shape)}" if hasattr(frame, "dtype") else type(frame).__name__
        raise DataError(f"frame: expected an array (H, W) of grey levels from 0 to 255, uint8, but got {came}.")
    return frame
