"""The sensing network as a tracker: `box, state = tracker.step(inputs, state)` at the end of each bin of events.

| event | what happens |
|---|---|
| a frame | a new event stream starts around the given box, or around the predicted box |
| the step after a frame | the detector looks for the target in that frame, so that no step has all the work |
| a bin of events | the network estimates the displacement since the stream started; the box keeps its size |
| the next frame is late | the stream restarts around the current estimate, with the features of the last frame |

A detection with little confidence starts a search of the whole frame, and so does a box in doubt for three frames
(`correlation_filter.py`). A frame in which the target is not found with confidence changes neither box nor template.
After three such frames in a row the target counts as lost, and only the whole frame is searched.

The weights are read at the first step of a stream (`inference.py`), and read again where PyTorch has counted a change
of them; `rebuild` reads them again after a change that PyTorch does not count (`weight.data`).
"""

from copy import copy
from dataclasses import dataclass, replace
from math import hypot, isfinite, sqrt
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.events.binned import BinEvents, Crop
from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.sensing.model.background import Background, initial_background
from spikebridge.networks.sensing.model.boxes import (
    Box,
    box_center,
    box_from_center,
    check_box,
    check_crop,
    clamp_box,
    crop_around,
    crop_frame,
    translate_box,
)
from spikebridge.networks.sensing.model.motion_prior import MotionPrior, MotionPriorNp, to_numpy
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.calibration import (
    BinRecord,
    Calibration,
    Interval,
    begin_interval,
    calibrated_place,
    learned,
    uncalibrated,
)
from spikebridge.networks.sensing.tracker.confidence import (
    BoxEvidence,
    Signals,
    found_evidence,
    given_evidence,
    overlap_confidence,
    signals,
    with_events,
)
from spikebridge.networks.sensing.tracker.correlation_filter import CorrelationFilter, MixedDetector
from spikebridge.networks.sensing.tracker.detectors import (
    BoxDetector,
    DetectorInputs,
    DetectorName,
    FoundBox,
    LearnedDetector,
    confidence,
)
from spikebridge.networks.sensing.tracker.inference import Inference, InferenceCache, InferenceModel, check_inference
from spikebridge.networks.sensing.tracker.inputs import check_inputs, events_seen, num_bins
from spikebridge.networks.sensing.tracker.opencv_detector import OpenCVDetector
from spikebridge.networks.sensing.tracker.suitability import Beginning, first_box_warnings, stream_warnings, warn

_LOST_AFTER = 3
"""After this number of frames without a confident detection the target counts as lost."""
_RECUT_DISTANCE = 0.125  # of the target's size: a detection farther away than this needs a new crop and template
_VELOCITY_DRIFT = 1.15  # standard deviation of a velocity that is one longest stream old [px a stream]
_SAME_TIME = 1e-6  # seconds; times of cameras are whole microseconds
_MAX_STEPS = 240  # kept for the next frame: a camera may pause for any time


@dataclass(frozen=True)
class TrackerOptions:
    """Options of a `SensingTracker`.

    Args:
        crop: side of the square around the target that the network sees, a multiple of the network's stride [px].
        template_rate: share of the newest template beside that of the first frame.
        detector_gain: share of the detector's answer in the box of a frame, if the last frame was `max_stream` ago; the
            longer ago it was, the larger the share.
        accept_confidence: a detection with less confidence is not used.
        search_confidence: a detection with less confidence starts a search of the whole frame.
        reacquire_confidence: a detection of that search with more confidence replaces the box.
        hold_size: the box keeps the size of the given box; else the detector measures it at every frame.
        max_stream: the longest time that events are summed without a frame [s].
        synchronous: the detector runs in the step of its frame, not in the step after it.
        calibrate: gains and weights are learned while tracking (`calibration.py`).
        detector: what finds the target in a frame (`detectors.py`).
        warns: inputs that can hardly be followed are warned of (`suitability.py`).

    Raises:
        ConfigError: a share outside 0 to 1, a stream without length, or an unknown detector.
    """

    crop: int = 96
    template_rate: float = 0.3
    detector_gain: float = 1.0
    accept_confidence: float = 0.3
    search_confidence: float = 0.5
    reacquire_confidence: float = 0.8
    hold_size: bool = False
    max_stream: float = 0.025
    synchronous: bool = False
    calibrate: bool = False
    detector: DetectorName = "learned"
    warns: bool = False

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        for name in (
            "template_rate",
            "detector_gain",
            "accept_confidence",
            "search_confidence",
            "reacquire_confidence",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} needs to be a number from 0 to 1, but got {getattr(self, name)}")

        if not self.max_stream > 0:
            raise ConfigError(f"max_stream needs to be longer than 0 s, but got {self.max_stream}")
        if self.detector not in get_args(DetectorName):
            raise ConfigError(f"no detector {self.detector!r}; {did_you_mean(self.detector, get_args(DetectorName))}")


class _TargetEstimate(NamedTuple):
    """The target as known from frames.

    Args:
        box: in the last frame, given or detected [px].
        spread: standard deviation of its place along an axis [px].
        num_unsure: number of frames in a row without a confident detection.
        target: what the detector knows of the target; None without a detector.
    """

    box: Float[np.ndarray, "4"]
    spread: float
    num_unsure: int
    target: Any


class _PendingFrame(NamedTuple):
    """A frame that the detector has not processed yet.

    Args:
        box: the predicted box in it [px].
        before: the frame before.
        events: between the two frames.
        elapsed: time between the two frames [s].
        origin: middle of the box at the frame before [px].
        bins: records of the bins between.
    """

    box: Float[np.ndarray, "4"]
    before: NDArray[np.uint8]
    events: BinEvents
    elapsed: float
    origin: Float[np.ndarray, "2"]
    bins: tuple[BinRecord, ...]


class _EventStreamState(NamedTuple):
    """What is known since an event stream started.

    Args:
        start: the motion prior at its start.
        period: time in which the target moves by `start.motion` [s].
        age: time since the start [s].
        target_offset: displacement of the target between frame and start [px].
        crop_offset: the same of the crop, in whole pixels.
        velocity: of the boxes between the last two frames [px/s]; None if it is not known.
    """

    start: MotionPrior
    period: float
    age: float
    target_offset: Float[np.ndarray, "2"]
    crop_offset: Float[np.ndarray, "2"]
    velocity: Float[np.ndarray, "2"] | None = None


class TrackingState(NamedTuple):
    """The state of a tracker.

    Args:
        box: of the target now [px].
        spread: standard deviation of its place along an axis [px].
        confidence: probability that the box and the true one overlap by half (`confidence.py`).
        evidence: what frames and events say of the box.
        signals: that the confidence is made of; None before the first bin.
        estimate: of the last frame.
        frame: the last frame.
        frame_box: of the target in it, corrected by the motion between the last two frames.
        events: since that frame.
        age: time since that frame [s].
        beginning: what is known since the first frame.
        stream: of events.
        crop: what the network sees.
        background: behind the target.
        model: the network, with the weights that it had when the tracker started.
        network: its state since the stream started.
        calibration: learned while tracking.
        calibrated: what is known of the interval; None where the network answers without calibration.
        bins: records of the bins since the frame.
        pending: the frame that the detector has to process next.
    """

    box: Float[np.ndarray, "4"]
    spread: float
    confidence: float
    evidence: BoxEvidence
    signals: Signals | None
    estimate: _TargetEstimate
    frame: NDArray[np.uint8]
    frame_box: Float[np.ndarray, "4"]
    events: tuple[BinEvents, ...]
    age: float
    beginning: Beginning
    stream: _EventStreamState
    crop: Crop
    background: Background
    model: InferenceModel
    network: Any
    calibration: Calibration
    calibrated: Interval | None = None
    bins: tuple[BinRecord, ...] = ()
    pending: _PendingFrame | None = None

    @property
    def lost(self) -> bool:
        """Whether the last three frames had no confident detection, or the middle of the box is off the sensor."""
        return self.estimate.num_unsure >= _LOST_AFTER or _is_off(self.box, self.frame)


class SensingTracker:
    """Tracks one object with a trained network.

    Args:
        sensing: the network, in eval mode.
        options: of the tracker.
        model: what runs in place of the network's own layers, such as a bundle (`bundle_inference.py`).

    Example:
        >>> from spikebridge.networks.sensing.evaluation.protocols import interframe
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> recording = render_recording(RotatingDisk(height=64, width=64), duration=0.1, dt=0.005)
        >>> tracker = SensingTracker(Sensing(dt=0.005).eval(), TrackerOptions(crop=48))
        >>> len(interframe(recording, tracker).boxes)  # three frames have one before them, with five bins each
        15
    """

    def __init__(
        self, sensing: Sensing, options: TrackerOptions | None = None, model: InferenceModel | None = None
    ) -> None:
        self.sensing = sensing
        self._model = model
        self.options = options or TrackerOptions()
        check_crop(self.options.crop, sensing.stride)
        self._inference = InferenceCache()

    def with_options(self, **changes: Any) -> "SensingTracker":
        """The same tracker with other options.

        Args:
            changes: fields of `TrackerOptions`.
        """
        other = copy(self)
        other.options = replace(self.options, **changes)

        return other

    @property
    def learns(self) -> bool:
        """Whether the state keeps what was learned from earlier boxes (`interframe`)."""
        return self.options.calibrate

    def rebuild(self) -> None:
        """Reads the weights again at the next start of a stream."""
        self._inference = InferenceCache()

    def step(self, inputs: Inputs, state: TrackingState | None) -> tuple[Float[np.ndarray, "4"], TrackingState]:
        """The box at the end of this step.

        Args:
            inputs: with a `frame` and its `box` at the first step; a frame that is not newer than the last is ignored.
            state: None at first.

        Returns:
            The box, and the new state.

        Raises:
            DataError: the first step has no frame or no box, a box has no frame, or `check_inputs` refuses an input.
            ConfigError: the network cannot be run (`check_inference`).
        """
        if self.sensing.training:  # the rest is checked when the weights are read
            check_inference(self.sensing)

        check_inputs(inputs, None if state is None else state.frame)
        has_frame = "frame" in inputs and (state is None or _period(inputs, state) > _SAME_TIME)
        if "box" in inputs and not has_frame:
            raise DataError("a box is given with its frame, but this step has no frame, or none newer than the last.")

        before = 0.0 if state is None else state.beginning.seconds
        with torch.inference_mode():
            if state is not None:
                state = self.flush(state)

            if has_frame:
                age = max(inputs["frame_age"], _SAME_TIME)  # an unknown velocity times no time would be no number
                state = self._accumulate(inputs["events"], age, self._start_frame(inputs, state))
            elif state is not None:
                state = self._accumulate(inputs["events"], inputs["elapsed"], state)
            else:
                raise DataError("a tracker starts with a frame and a box, but the first step has no frame.")

            if self.options.synchronous:
                state = self.flush(state)

        if self.options.warns:
            warn([] if before else first_box_warnings(state.frame, state.beginning.box))
            warn(stream_warnings(state.beginning, before, state.box, state.evidence.filled))

        return state.box, state

    def flush(self, state: TrackingState) -> TrackingState:
        """The state after the detector has processed the pending frame, if there is one.

        Args:
            state: of a step.
        """
        with torch.inference_mode():
            return state if state.pending is None else self._detect(state, state.pending)

    def _start_frame(self, inputs: Inputs, last: TrackingState | None) -> TrackingState:
        """A frame has come: a new crop and a new event stream."""
        model = self._opened() if last is None else last.model
        period = self.sensing.dt if last is None else _period(inputs, last)
        frame = inputs["frame"].copy()  # the caller may fill the same array again
        pending = None
        predicted = None

        if last is not None:
            predicted = _predicted_box(inputs["elapsed"] - inputs["frame_age"], last)

        if is_given := "box" in inputs:
            box = check_box(inputs["box"])
            detector = self._detector(model)
            estimate = _TargetEstimate(box, 0.0, 0, None if detector is None else detector.start(frame, box))
            evidence = given_evidence(None if last is None else last.evidence)
        elif last is not None and predicted is not None:
            estimate = _predicted_estimate(frame, predicted, last)
            evidence = last.evidence
            events = BinEvents(*(np.concatenate(column) for column in zip(*last.events, strict=True)))
            pending = _PendingFrame(estimate.box, last.frame, events, period, box_center(last.estimate.box), last.bins)
        else:
            raise DataError("the first step needs the target's box, but has no box.")

        box = estimate.box
        calibration = uncalibrated() if last is None else last.calibration
        if last is not None and is_given:
            moved = box_center(box) - box_center(last.estimate.box)
            calibration = learned(calibration, last.bins, moved, period)

        crop, stream, network, calibrated = self._open_stream(model, frame, box, period, last)
        return TrackingState(
            box=box,
            spread=0.0,
            confidence=1.0,
            evidence=evidence,
            signals=None,
            estimate=estimate,
            frame=frame,
            frame_box=box if is_given else translate_box(box, to_numpy(stream.start).place),
            events=(),
            age=0.0,
            beginning=Beginning(box) if last is None else last.beginning,
            stream=stream,
            crop=crop,
            background=_next_background(model.detector, frame, box, last),
            model=model,
            network=network,
            calibration=calibration,
            calibrated=calibrated,
            pending=pending,
        )

    def _opened(self) -> InferenceModel:
        """What runs: the given model, or the network with the weights that it has now."""
        return self._model or self._inference(self.sensing, self.options.crop)

    def _open_stream(
        self, model: InferenceModel, frame: NDArray[np.uint8], box: Box, period: float, last: TrackingState | None
    ) -> tuple[Crop, _EventStreamState, Any, Interval | None]:
        """The crop around the box and the event stream of a frame; its prior is the motion since the last frame."""
        options = self.options
        calibrated = None
        velocity = None
        crop, local_box = crop_around(box, options.crop)
        picture = crop_frame(frame, crop)[None]
        boxes = _row(local_box)

        if last is None:
            start, network = model.network.open(picture, boxes)
        elif period < 1.5 * options.max_stream:
            moved = box_center(box) - box_center(last.frame_box)
            velocity, before = moved / period, last.stream.velocity
            start, network = model.network.open(picture, boxes, crop_frame(last.frame, crop)[None], _row(moved))
            if options.calibrate and model.network.trained is not None and isfinite(float(start.spread)):
                by_boxes = MotionPriorNp(np.zeros(2), moved, 0.0)
                acceleration = np.zeros(2) if before is None else moved - before * period
                trained = model.network.trained
                changes = model.network.changes(network)
                starts = by_boxes, to_numpy(start)
                calibrated = begin_interval(starts, acceleration, changes, trained, self.sensing.search)
        else:
            # frames this far apart do not show the motion, and the uncertainty of the velocity grows with its age
            age = period / options.max_stream
            period = options.max_stream
            motion = _row((box_center(box) - box_center(last.frame_box)) / age)
            spread = torch.full_like(motion[:, 0], _VELOCITY_DRIFT * (age - 1) ** 0.5)
            start = MotionPrior(torch.zeros_like(motion), motion, spread)
            _, network = model.network.open(picture, boxes, start=start)

        stream = _EventStreamState(start, period, 0.0, np.zeros(2), np.zeros(2), velocity)
        return crop, stream, network, calibrated

    def _detect(self, state: TrackingState, pending: _PendingFrame) -> TrackingState:
        """The detector's answer on the last frame, blended with the predicted box."""
        options = self.options
        known = state.estimate
        detector = self._detector(state.model)
        box = pending.box

        if detector is None or known.target is None:
            evidence = found_evidence(state.evidence, FoundBox(box, box, known.spread))
            return state._replace(evidence=evidence, pending=None)

        seen = state.frame, pending.before, pending.events, state.background
        inputs = DetectorInputs(*seen, box, state.lost, state.confidence)
        answer, target = detector.detect(inputs, known.target)
        around, found, spread = answer[:3]
        state = state._replace(evidence=found_evidence(state.evidence, answer))
        gain = 1 - (1 - options.detector_gain) ** (pending.elapsed / options.max_stream)
        blended = clamp_box(state.frame, around + gain * (found - around))

        if options.hold_size:
            blended = box_from_center(box_center(blended), box[2:])

        if confidence(spread, blended) < options.accept_confidence or not np.isfinite(blended).all():
            unsure = known._replace(spread=spread, num_unsure=known.num_unsure + 1, target=target)
            return state._replace(estimate=unsure, pending=None)

        estimate = _TargetEstimate(blended, spread, 0, detector.update(state.frame, blended, target))
        is_followed = not (known.num_unsure or answer.is_elsewhere)
        if is_followed:
            moved = box_center(blended) - pending.origin
            certainty = confidence(spread, blended)
            calibration = learned(state.calibration, pending.bins, moved, pending.elapsed, certainty)
            state = state._replace(calibration=calibration)

        # the correction also applies to the boxes since then
        shift = box_center(blended) - box_center(box)
        now, corrected = (box_from_center(box_center(one) + shift, blended[2:]) for one in (state.box, state.frame_box))
        velocity = state.stream.velocity if is_followed else None
        stream = state.stream._replace(velocity=None if velocity is None else velocity + shift / pending.elapsed)
        state = state._replace(box=now, estimate=estimate, frame_box=corrected, stream=stream, pending=None)

        if hypot(*shift) <= _RECUT_DISTANCE * sqrt(blended[2:].prod()):
            return state

        start = state.stream.start
        if is_followed:
            # the target moved by this much more since the last frame
            start = start._replace(motion=start.motion + _row(shift * (state.stream.period / pending.elapsed)))
        else:
            # its place in the last frame is unknown, and so is its velocity
            unknown = torch.zeros_like(start.motion)
            start = MotionPrior(unknown, unknown, torch.full_like(start.spread, torch.inf))

        return self._reopen(state, start)

    def _reopen(self, state: TrackingState, start: MotionPrior) -> TrackingState:
        """The event stream of the last frame again, cut at the detected box."""
        run = state.model.network
        stream = state.stream
        crop, local_box = crop_around(state.estimate.box, self.options.crop)
        opened = run.open(crop_frame(state.frame, crop)[None], _row(local_box), start=start)[1]
        (events,) = state.events  # only those of the frame's own step: the next step flushes
        grid = events_seen(events, crop, state.model.counts)
        network = run.accumulate(grid, self._skip_bins(run, opened, state.age))

        return state._replace(stream=stream._replace(start=start), crop=crop, network=network, calibrated=None, bins=())

    def _detector(self, model: InferenceModel) -> BoxDetector | None:
        """What finds the target in a frame; None if only a trained detector is asked for and the network has none."""
        options = self.options
        learned = None
        if model.detector is not None:
            learned = LearnedDetector(
                model.detector, options.template_rate, options.search_confidence, options.reacquire_confidence
            )

        if options.detector == "learned":
            return learned
        if options.detector == "csrt" or options.detector == "kcf":
            return OpenCVDetector(options.detector)
        if options.detector == "filter" or learned is None:
            return CorrelationFilter()

        return MixedDetector(learned, CorrelationFilter())

    def _accumulate(self, events: BinEvents, elapsed: float, state: TrackingState) -> TrackingState:
        """The events of one step, which has several bins if the tracker was busy."""
        if state.stream.age > max(0.0, self.options.max_stream - self.sensing.dt / 2):
            state = self._restart_events(state)

        model = state.model
        network = self._skip_bins(model.network, state.network, elapsed)
        stream = state.stream._replace(age=state.stream.age + elapsed)
        grid = events_seen(events, state.crop, model.counts)
        age = stream.age / stream.period
        bins = state.bins

        if state.calibrated is None:
            place, spread, network = model.network(grid, network, age)
        else:
            fits, network = model.network.fits(grid, network, state.calibrated.window(age))
            number = num_bins(stream.age, self.sensing.dt) - 1
            place, spread, record = calibrated_place(fits, state.calibration, state.calibrated, age, stream.age, number)
            bins = (*bins, record)

        last = state.estimate.box
        moved = place + stream.crop_offset
        box = np.concatenate([last[:2] + moved, last[2:]])
        evidence = with_events(state.evidence, events, box, num_bins(elapsed, self.sensing.dt))
        estimate = state.estimate
        beginning = state.beginning
        since = state.age + elapsed
        known = signals(evidence, box, moved, since, estimate.num_unsure)

        return state._replace(
            box=box,
            spread=spread,
            confidence=0.0 if _is_off(box, state.frame) else overlap_confidence(known),
            evidence=evidence,
            signals=known,
            events=(*state.events, BinEvents(*(column.copy() for column in events)))[-_MAX_STEPS:],
            age=since,
            beginning=Beginning(beginning.box, beginning.seconds + elapsed, beginning.num_events + len(events.x)),
            stream=stream,
            network=network,
            bins=bins,
        )

    def _skip_bins(self, run: Inference, network: Any, elapsed: float) -> Any:
        """All but the last bin of a step, without events: these count as events of the last bin."""
        for _ in range(num_bins(elapsed, self.sensing.dt) - 1):
            side = self.options.crop
            network = run.accumulate(torch.zeros(1, 2, side, side, dtype=torch.float32), network)

        return network

    def _restart_events(self, state: TrackingState) -> TrackingState:
        """The next frame is late: a new stream at the current place, with the displacement of the last as motion."""
        offset = box_center(state.box) - box_center(state.estimate.box)
        whole = np.round(offset)
        rest = _row(offset - whole)
        motion = _row(offset - state.stream.target_offset)
        left, top = (whole - state.stream.crop_offset).astype(int).tolist()
        crop = (state.crop[0] + left, state.crop[1] + top, self.options.crop, self.options.crop)
        start = MotionPrior(rest, motion, torch.tensor([state.spread], dtype=torch.float32))
        stream = _EventStreamState(start, state.stream.age, 0.0, offset, whole)
        network = state.model.network.restart_events(state.network, start)

        return state._replace(stream=stream, crop=crop, network=network, calibrated=None)


def _period(inputs: Inputs, last: TrackingState) -> float:
    """From the last frame to the new one [s]."""
    return last.age + (inputs["elapsed"] - inputs["frame_age"])


def _next_background(
    detector: Any, frame: NDArray[np.uint8], box: NDArray[np.float64], last: TrackingState | None
) -> Background:
    """The background in a new frame with a predicted box; without a detector it is not used."""
    if last is None or detector is None:
        return initial_background(frame) if last is None else last.background
    return last.background.updated(last.frame, last.estimate.box, frame, box)


def _predicted_box(seconds: float, last: TrackingState) -> NDArray[np.float64]:
    """The box some seconds later, at the velocity of the stream."""
    return translate_box(last.box, to_numpy(last.stream.start).motion * (seconds / last.stream.period))


def _predicted_estimate(
    frame: NDArray[np.uint8], predicted: NDArray[np.float64], last: TrackingState
) -> _TargetEstimate:
    """At a frame without a given box; a target beyond the edge is searched for."""
    _, spread, num_unsure, target = last.estimate
    if target is None:
        spread = hypot(spread, last.spread)  # without a detector errors add up from frame to frame

    num_unsure = max(num_unsure, _LOST_AFTER if _is_off(predicted, frame) else 0)
    return _TargetEstimate(clamp_box(frame, predicted), spread, num_unsure, target)


def _is_off(box: NDArray[np.float64], frame: NDArray[np.uint8]) -> bool:
    """Whether the middle of a box is off the sensor."""
    x, y = box_center(box).tolist()
    return not (0 <= x <= frame.shape[1] and 0 <= y <= frame.shape[0])


def _row(part: NDArray[np.float64]) -> Tensor:
    return torch.tensor(part[None], dtype=torch.float32)
