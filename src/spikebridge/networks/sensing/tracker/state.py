"""The state of a tracker: the target by frames, the event stream since the last one, and a frame to be processed."""

from math import hypot
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.events.binned import BinEvents, Crop
from spikebridge.networks.sensing.detection.patches import ColourFrame
from spikebridge.networks.sensing.model.background import Background
from spikebridge.networks.sensing.model.boxes import box_center, clamp_box, translate_box
from spikebridge.networks.sensing.model.motion_prior import MotionPrior, to_numpy
from spikebridge.networks.sensing.tracker.calibration import BinRecord, Calibration, Interval
from spikebridge.networks.sensing.tracker.confidence import BoxEvidence, Signals
from spikebridge.networks.sensing.tracker.inference import InferenceModel
from spikebridge.networks.sensing.tracker.suitability import Beginning

# after this number of frames without a confident detection the target counts as lost
_LOST_AFTER = 3


class TargetEstimate(NamedTuple):
    """The target in the last frame."""

    # given or detected [px]
    box: Float[np.ndarray, "4"]
    # standard deviation of its centre along an axis [px]
    spread: float
    # number of frames in a row without a confident detection
    num_unsure: int
    # the detector's own state; None without a detector
    target: Any
    # probability that the box overlaps the target by half, of a detector that answers alone
    probability: float | None = None


class PendingFrame(NamedTuple):
    """A frame that the detector has not processed yet."""

    # predicted box of the target in it [px]
    box: Float[np.ndarray, "4"]
    # the frame before
    before: NDArray[np.uint8]
    # between the two frames
    events: BinEvents
    # time between the two frames [s]
    elapsed: float
    # centre of the box at the frame before [px]
    origin: Float[np.ndarray, "2"]
    # records of the bins between
    bins: tuple[BinRecord, ...]


class FrameTarget(NamedTuple):
    """The target in a new frame before the detector has processed it; `pending` is None at a given box."""

    estimate: TargetEstimate
    evidence: BoxEvidence
    calibration: Calibration
    pending: PendingFrame | None = None


class EventStream(NamedTuple):
    """An event stream since its start."""

    # the motion prior at its start
    start: MotionPrior
    # time in which the target moves by `start.motion` [s]
    period: float
    # time since the start [s]
    age: float
    # displacement of the target between frame and start [px]
    target_offset: Float[np.ndarray, "2"]
    # displacement of the crop between frame and start, in integer pixels
    crop_offset: Float[np.ndarray, "2"]
    # velocity of the box between the last two frames [px/s]; None if it is unknown
    velocity: Float[np.ndarray, "2"] | None = None


class TrackingState(NamedTuple):
    """The state of a tracker."""

    # box of the target at the end of the step [px]
    box: Float[np.ndarray, "4"]
    # standard deviation of its centre along an axis [px]
    spread: float
    # probability that the box and the true one overlap by half (`confidence.py`)
    confidence: float
    # measurements on frames and events from which the confidence follows
    evidence: BoxEvidence
    # the same without units; None before the first bin
    signals: Signals | None
    # the target in the last frame
    estimate: TargetEstimate
    # the last frame
    frame: NDArray[np.uint8]
    # box of the target in it, corrected by the motion between the last two frames [px]
    frame_box: Float[np.ndarray, "4"]
    # events of each step since that frame
    events: tuple[BinEvents, ...]
    # time since that frame [s]
    age: float
    # first box, and time and number of events since it
    beginning: Beginning
    # the event stream
    stream: EventStream
    # the pixels that the network reads
    crop: Crop
    # the background behind the target
    background: Background
    # the network, with the weights that it had when the tracker started
    model: InferenceModel
    # its state since the stream started
    network: Any
    # gains and weights learned while tracking
    calibration: Calibration
    # priors of the interval since the frame; None where the network answers without calibration
    interval: Interval | None = None
    # records of the bins since the frame
    bins: tuple[BinRecord, ...] = ()
    # the frame that the detector has to process next
    pending: PendingFrame | None = None
    # the last frame in colours; None where the camera has none
    colours: NDArray[np.uint8] | None = None

    @property
    def picture(self) -> ColourFrame:
        """The last frame, with its colours."""
        return ColourFrame(self.frame, self.colours)

    @property
    def lost(self) -> bool:
        """True if the last three frames had no confident detection, or the centre of the box is off the sensor."""
        return self.estimate.num_unsure >= _LOST_AFTER or is_off_sensor(self.box, self.frame)


def is_off_sensor(box: NDArray[np.float64], frame: NDArray[np.uint8]) -> bool:
    """True if the centre of a box is outside of a frame."""
    x, y = box_center(box).tolist()
    return not (0 <= x <= frame.shape[1] and 0 <= y <= frame.shape[0])


def predicted_target(frame: NDArray[np.uint8], seconds: float, period: float, last: TrackingState) -> FrameTarget:
    """The target at a frame without a given box, moved with the stream; the detector has to process the frame."""
    velocity = to_numpy(last.stream.start).motion * (seconds / last.stream.period)
    predicted = translate_box(last.box, velocity)
    _, spread, num_unsure, target, probability = last.estimate

    # without a detector errors add up from frame to frame
    if target is None:
        spread = hypot(spread, last.spread)

    # a target beyond the edge is searched for in the whole frame
    if is_off_sensor(predicted, frame):
        num_unsure = max(num_unsure, _LOST_AFTER)

    box = clamp_box(frame, predicted)
    events = BinEvents(*(np.concatenate(column) for column in zip(*last.events, strict=True)))
    pending = PendingFrame(box, last.frame, events, period, box_center(last.estimate.box), last.bins)

    return FrameTarget(
        TargetEstimate(box, spread, num_unsure, target, probability), last.evidence, last.calibration, pending
    )
