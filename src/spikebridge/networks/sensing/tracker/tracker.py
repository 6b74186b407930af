"""The sensing network as a tracker: `box, state = tracker.step(inputs, state)` at the end of each bin of events.

| event | effect |
|---|---|
| a frame | a new event stream starts around the given box, or around the predicted box |
| the step after a frame | the detector looks for the target in that frame, so that no step has all the work |
| a bin of events | the network estimates the displacement since the stream started; the box keeps its size |
| the next frame is late | the stream restarts around the current estimate, with the features of the last frame |

A detection with little confidence starts a search of the whole frame, and so does a box in doubt for three frames
(`mixed_detector.py`). A frame in which the target is not detected with confidence changes neither box nor template.
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
from spikebridge.networks.sensing.detection.box_detector import BoxDetector, DetectedBox, DetectorInputs
from spikebridge.networks.sensing.detection.opencv_detector import OpenCVName, import_opencv
from spikebridge.networks.sensing.detection.patches import ColourFrame
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
    Interval,
    add_record,
    begin_interval,
    calibrated_place,
    initial_calibration,
    update_calibration,
)
from spikebridge.networks.sensing.tracker.confidence import (
    add_confidence,
    add_events,
    detection_evidence,
    given_evidence,
    moved_evidence,
    overlap_confidence,
    signals,
)
from spikebridge.networks.sensing.tracker.detectors import DetectorName, LearnedDetector
from spikebridge.networks.sensing.tracker.inference import Inference, InferenceCache, InferenceModel, check_inference
from spikebridge.networks.sensing.tracker.inputs import check_inputs, event_grid, num_bins, read_picture
from spikebridge.networks.sensing.tracker.mixed_detector import build_detector
from spikebridge.networks.sensing.tracker.state import (
    EventStream,
    FrameTarget,
    PendingFrame,
    TargetEstimate,
    TrackingState,
    is_off_sensor,
    predicted_target,
)
from spikebridge.networks.sensing.tracker.suitability import Beginning, first_box_warnings, stream_warnings, warn

# a detection farther away, in sizes of the target, needs a new crop and template
_RECUT_DISTANCE = 0.125
# standard deviation of a velocity that is one longest stream old [px a stream]
_VELOCITY_DRIFT = 1.15
# longest time between frames that show the motion, in longest streams
_MAX_GAP = 1.5
# a detector that answers alone is unsure of a box below this probability
_MIN_PROBABILITY = 0.5
# and learns nothing from one below this: a hard frame is still one of the target
_MIN_LEARNED = 0.1
# seconds; times of cameras are integer microseconds
_SAME_TIME = 1e-6
# steps kept for the next frame: a camera may pause for any time
_MAX_STEPS = 240
_SHARES = ("template_rate", "detector_gain", "accept_confidence", "search_confidence", "reacquire_confidence")


@dataclass(frozen=True)
class TrackerOptions:
    """Options of a `SensingTracker`.

    Args:
        crop: side of the square around the target that the network sees, a multiple of the network's stride [px].
        template_rate: share of the newest template; the first one has the rest.
        detector_gain: share of the detection in the box of a frame, if the last frame was `max_stream` ago; the longer
            ago it was, the larger the share.
        accept_confidence: a detection with less confidence is not used.
        search_confidence: a detection with less confidence starts a search of the whole frame.
        reacquire_confidence: a detection of that search with more confidence replaces the box.
        max_stream: the longest time that events are summed without a frame [s].
        synchronous: the detector runs in the step of its frame, not in the step after it.
        calibrate: gains and weights are learned while tracking (`calibration.py`).
        detector: how the target is detected in a frame (`detectors.py`).
        warns: a warning is given for inputs that can hardly be tracked (`suitability.py`).

    Raises:
        ConfigError: a share outside 0 to 1, a stream without length, or an unknown detector.
    """

    crop: int = 96
    template_rate: float = 0.3
    detector_gain: float = 1.0
    accept_confidence: float = 0.3
    search_confidence: float = 0.5
    reacquire_confidence: float = 0.8
    max_stream: float = 0.025
    synchronous: bool = False
    calibrate: bool = False
    detector: DetectorName = "learned"
    warns: bool = False

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} needs to be a number from 0 to 1, but got {getattr(self, name)}")

        if not self.max_stream > 0:
            raise ConfigError(f"max_stream needs to be longer than 0 s, but got {self.max_stream}")
        if self.detector not in get_args(DetectorName):
            raise ConfigError(f"no detector {self.detector!r}; {did_you_mean(self.detector, get_args(DetectorName))}")
        # a missing extra is found at once
        if self.detector in get_args(OpenCVName):
            import_opencv()


class _OpenedStream(NamedTuple):
    """An event stream that starts: the pixels that the network reads, its state, and priors of the calibration."""

    crop: Crop
    stream: EventStream
    network: Any
    interval: Interval | None = None


class _BinAnswer(NamedTuple):
    """The displacement at the end of a bin, its standard deviation [px], the network's state, and the bins so far."""

    place: Float[np.ndarray, "2"]
    spread: float
    network: Any
    bins: tuple[BinRecord, ...]


class SensingTracker:
    """Tracks one object with a trained network.

    Args:
        sensing: the network, in eval mode.
        options: options of the tracker.
        model: a replacement for the network's own layers, such as a bundle (`bundle_inference.py`).

    Example:
        >>> from spikebridge.networks.sensing.evaluation.protocols import interframe
        >>> from spikebridge.data.simulation.moving_objects import MovingObjects
        >>> from spikebridge.data.simulation.render import render_recording
        >>> recording = render_recording(MovingObjects(height=64, width=64, size=16), duration=0.1, dt=0.005)
        >>> tracker = SensingTracker(Sensing(dt=0.005).eval(), TrackerOptions(crop=48))
        >>> len(interframe(recording, tracker).boxes)  # three frames have one before them, with five bins each
        15
    """

    def __init__(
        self, sensing: Sensing, options: TrackerOptions | None = None, model: InferenceModel | None = None
    ) -> None:
        self.sensing = sensing
        self.options = options or TrackerOptions()
        check_crop(self.options.crop, sensing.stride)
        self._model = model
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
        """True if the state keeps what was learned from earlier boxes (`interframe`)."""
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
        # type and device of the weights are checked when they are read
        if self.sensing.training:
            check_inference(self.sensing)

        check_inputs(inputs, None if state is None else state.frame)
        has_frame = "frame" in inputs and (state is None or _period(inputs, state) > _SAME_TIME)
        if "box" in inputs and not has_frame:
            raise DataError("a box is given with its frame, but this step has no frame, or none newer than the last.")

        seconds = 0.0 if state is None else state.beginning.seconds
        with torch.inference_mode():
            state = self._advance(inputs, state, has_frame)

        if self.options.warns:
            warn([] if seconds else first_box_warnings(state.frame, state.beginning.box))
            warn(stream_warnings(state.beginning, seconds, state.box, state.evidence.filled))

        return state.box, state

    def flush(self, state: TrackingState) -> TrackingState:
        """The state after the detector has processed the pending frame, if there is one.

        Args:
            state: the state that `step` gives.
        """
        with torch.inference_mode():
            return state if state.pending is None else self._detect(state, state.pending)

    def _advance(self, inputs: Inputs, state: TrackingState | None, has_frame: bool) -> TrackingState:
        if state is not None:
            state = self.flush(state)

        if has_frame:
            # an unknown velocity times no time would be no number
            age = max(inputs["frame_age"], _SAME_TIME)
            state = self._accumulate(inputs["events"], age, self._start_frame(inputs, state))
        elif state is not None:
            state = self._accumulate(inputs["events"], inputs["elapsed"], state)
        else:
            raise DataError("a tracker starts with a frame and a box, but the first step has no frame.")

        return self.flush(state) if self.options.synchronous else state

    def _start_frame(self, inputs: Inputs, last: TrackingState | None) -> TrackingState:
        """The state at a new frame: a new crop and a new event stream."""
        model = self._read_weights() if last is None else last.model
        period = self.sensing.dt if last is None else _period(inputs, last)
        picture = read_picture(inputs["frame"])
        frame = picture.grey

        if "box" in inputs:
            target = self._given_target(model, picture, check_box(inputs["box"]), period, last)
        elif last is not None:
            seconds = inputs["elapsed"] - inputs["frame_age"]
            target = predicted_target(frame, seconds, period, last)
        else:
            raise DataError("the first step needs the target's box, but has no box.")

        box = target.estimate.box
        opened = self._open_stream(model, frame, box, period, last)
        start = to_numpy(opened.stream.start)

        return TrackingState(
            box=box,
            spread=0.0,
            confidence=1.0,
            evidence=target.evidence,
            signals=None,
            estimate=target.estimate,
            frame=frame,
            frame_box=box if target.pending is None else translate_box(box, start.place),
            events=(),
            age=0.0,
            beginning=Beginning(box) if last is None else last.beginning,
            stream=opened.stream,
            crop=opened.crop,
            background=self._next_background(model, frame, box, last),
            model=model,
            network=opened.network,
            calibration=target.calibration,
            interval=opened.interval,
            pending=target.pending,
            colours=picture.colours,
        )

    def _read_weights(self) -> InferenceModel:
        return self._model or self._inference(self.sensing, self.options.crop)

    def _given_target(
        self, model: InferenceModel, picture: ColourFrame, box: Box, period: float, last: TrackingState | None
    ) -> FrameTarget:
        """The target at a frame whose box is given: the detector starts again, the calibration learns."""
        detector = self._detector(model)
        target = None if detector is None else detector.start(picture, box)
        estimate = TargetEstimate(box, 0.0, 0, target)
        if last is None:
            return FrameTarget(estimate, given_evidence(None), initial_calibration())

        displacement = box_center(box) - box_center(last.estimate.box)
        change = _change(last.stream, displacement, period)
        answer = displacement + box_center(last.box) - box_center(box)
        calibration = update_calibration(last.calibration, last.bins, displacement, period, 1.0, answer, change)

        return FrameTarget(estimate, given_evidence(last.evidence), calibration)

    def _open_stream(
        self, model: InferenceModel, frame: NDArray[np.uint8], box: Box, period: float, last: TrackingState | None
    ) -> _OpenedStream:
        """The crop around the box and the event stream of a frame; its prior is the motion since the last frame."""
        crop, local_box = crop_around(box, self.options.crop)
        picture = crop_frame(frame, crop)[None]
        local = _row(local_box)

        if last is None:
            start, network = model.network.open(picture, local)
            return _OpenedStream(crop, _new_stream(start, period), network)

        displacement = box_center(box) - box_center(last.frame_box)
        unit = self.options.max_stream
        if period < _MAX_GAP * unit:
            unit = period
            before = crop_frame(last.frame, crop)[None]
            start, network = model.network.open(picture, local, before, _row(displacement))
        else:
            # frames this far apart do not show the motion, and the uncertainty of the velocity grows with its age
            motion = _row(displacement * (unit / period))
            spread = torch.full_like(motion[:, 0], _VELOCITY_DRIFT * (period / unit - 1) ** 0.5)
            start = MotionPrior(torch.zeros_like(motion), motion, spread)
            _, network = model.network.open(picture, local, start=start)

        stream = _new_stream(start, unit, displacement / period)
        change = _change(last.stream, displacement, period)
        interval = self._begin_interval(model, network, stream, change, period) if last.evidence.has_events else None
        return _OpenedStream(crop, stream, network, interval)

    def _begin_interval(
        self,
        model: InferenceModel,
        network: Any,
        stream: EventStream,
        change: Float[np.ndarray, "2"] | None,
        period: float,
    ) -> Interval | None:
        """The priors of the calibration for the interval after a frame; None where it does not answer."""
        trained = model.network.trained
        calibrates = self.options.calibrate and isfinite(stream.start.spread)
        if not calibrates or trained is None or stream.velocity is None:
            return None

        unit = stream.period
        by_boxes = MotionPriorNp(np.zeros(2), stream.velocity * unit, 0.0)
        starts = by_boxes, to_numpy(stream.start)
        changes = model.network.changes(network)
        change = np.zeros(2) if change is None else change

        return begin_interval(starts, change, changes, trained, self.sensing.search, unit, period / unit)

    def _detect(self, state: TrackingState, pending: PendingFrame) -> TrackingState:
        """The state after the detection in the last frame, which is blended with the predicted box."""
        estimate = state.estimate
        detector = self._detector(state.model)
        if detector is None or estimate.target is None:
            undetected = DetectedBox(pending.box, pending.box, estimate.spread)
            evidence = detection_evidence(state.evidence, undetected)
            return state._replace(evidence=evidence, pending=None)

        given = (state.frame, pending.before, pending.events, state.background, pending.box)
        inputs = DetectorInputs(*given, lost=state.lost, confidence=state.evidence.claimed, colours=state.colours)
        detection, target = detector.detect(inputs, estimate.target)
        box = self._blend(state.frame, detection, pending)
        confidence = detection._replace(box=box).confidence
        probability = detection.probability
        is_alone = probability is not None
        is_sure = confidence >= (_MIN_PROBABILITY if is_alone else self.options.accept_confidence)
        num_unsure = 0 if is_sure else estimate.num_unsure + 1

        is_used = (is_sure or is_alone) and bool(np.isfinite(box).all())
        state = state._replace(evidence=detection_evidence(state.evidence, detection), pending=None)
        if not is_used:
            unsure = estimate._replace(spread=detection.spread, num_unsure=num_unsure, target=target)
            return state._replace(estimate=unsure)

        # in doubt there is no better box than that of a detector that answers alone
        if is_sure or confidence >= _MIN_LEARNED:
            target = detector.update(state.picture, box, target)

        accepted = TargetEstimate(box, detection.spread, num_unsure, target, probability)
        # neither a target lost before nor one detected elsewhere says how it moved since the frame before
        is_tracked = not (estimate.num_unsure or num_unsure or detection.is_elsewhere)

        return self._accept(state, pending, accepted, is_tracked, confidence)

    def _blend(self, frame: NDArray[np.uint8], detection: DetectedBox, pending: PendingFrame) -> Box:
        """The box between the one around which the detector looked and the detected one."""
        kept = 0.0 if detection.probability is not None else 1 - self.options.detector_gain
        gain = 1 - kept ** (pending.elapsed / self.options.max_stream)
        return clamp_box(frame, detection.around + gain * (detection.box - detection.around))

    def _accept(
        self, state: TrackingState, pending: PendingFrame, accepted: TargetEstimate, is_tracked: bool, confidence: float
    ) -> TrackingState:
        """The state corrected by a confident detection; far from the prediction the stream is opened again there."""
        size = accepted.box[2:]
        shift = box_center(accepted.box) - box_center(pending.box)
        velocity = state.stream.velocity if is_tracked else None
        velocity = None if velocity is None else velocity + shift / pending.elapsed
        calibration = state.calibration

        if is_tracked:
            moved = box_center(accepted.box) - pending.origin
            answer = box_center(pending.box) - pending.origin
            calibration = update_calibration(calibration, pending.bins, moved, pending.elapsed, confidence, answer)

        # the correction also applies to the boxes since the frame
        state = state._replace(
            box=box_from_center(box_center(state.box) + shift, size),
            frame_box=box_from_center(box_center(state.frame_box) + shift, size),
            evidence=moved_evidence(state.evidence, pending.box, accepted.box),
            estimate=accepted,
            calibration=calibration,
            stream=state.stream._replace(velocity=velocity),
        )
        if hypot(*shift) <= _RECUT_DISTANCE * sqrt(size.prod()):
            return state

        start = state.stream.start
        if is_tracked:
            # the target moved by this much more since the last frame
            start = start._replace(motion=start.motion + _row(shift * (state.stream.period / pending.elapsed)))
        else:
            # its place in the last frame is unknown, and so is its velocity
            unknown = torch.zeros_like(start.motion)
            start = MotionPrior(unknown, unknown, torch.full_like(start.spread, torch.inf))

        return self._reopen(state, start)

    def _reopen(self, state: TrackingState, start: MotionPrior) -> TrackingState:
        """The event stream of the last frame again, cut at the detected box."""
        inference = state.model.network
        crop, local_box = crop_around(state.estimate.box, self.options.crop)
        _, network = inference.open(crop_frame(state.frame, crop)[None], _row(local_box), start=start)

        # only those of the frame's own step: the next step flushes
        (events,) = state.events
        network = self._skip_bins(inference, network, state.age)
        network = inference.accumulate(event_grid(events, crop), network)
        stream = state.stream._replace(start=start)

        return state._replace(stream=stream, crop=crop, network=network, interval=None, bins=())

    def _next_background(
        self, model: InferenceModel, frame: NDArray[np.uint8], box: Box, last: TrackingState | None
    ) -> Background:
        """The background in a new frame with a predicted box; the trained detector alone uses it."""
        if last is None:
            return initial_background(frame)

        has_events = any(len(events.x) for events in last.events)
        is_used = self.options.detector in ("learned", "both") or (self.options.detector == "auto" and has_events)
        if model.detector is None or not is_used:
            return last.background

        return last.background.updated(last.frame, last.estimate.box, frame, box)

    def _detector(self, model: InferenceModel) -> BoxDetector | None:
        """The detector; None if only a trained one is asked for and the network has none."""
        options = self.options
        learned = None
        if model.detector is not None:
            learned = LearnedDetector(
                model.detector, options.template_rate, options.search_confidence, options.reacquire_confidence
            )

        return build_detector(options.detector, learned)

    def _accumulate(self, events: BinEvents, elapsed: float, state: TrackingState) -> TrackingState:
        """The state after the events of one step, which has several bins if the tracker was busy."""
        # half a bin earlier, since times are rounded
        if state.stream.age > max(0.0, self.options.max_stream - self.sensing.dt / 2):
            state = self._restart_events(state)

        stream = state.stream._replace(age=state.stream.age + elapsed)
        answer = self._answer(events, elapsed, stream, state)
        displacement = answer.place + stream.crop_offset
        box = translate_box(state.estimate.box, displacement)

        age = state.age + elapsed
        evidence = add_events(state.evidence, events, box, num_bins(elapsed, self.sensing.dt))
        box_signals = signals(evidence, box, displacement, stream.velocity, age, state.estimate.num_unsure)
        probability = state.estimate.probability
        claimed = 0.0 if is_off_sensor(box, state.frame) else overlap_confidence(evidence, box_signals, probability)
        confidence, evidence = add_confidence(evidence, claimed, probability is not None)
        # copies: the caller may fill the same arrays again
        step_events = BinEvents(*(column.copy() for column in events))

        return state._replace(
            box=box,
            spread=answer.spread,
            confidence=confidence,
            evidence=evidence,
            signals=box_signals,
            events=(*state.events, step_events)[-_MAX_STEPS:],
            age=age,
            beginning=state.beginning.later(elapsed, len(events.x)),
            stream=stream,
            network=answer.network,
            bins=answer.bins,
        )

    def _answer(self, events: BinEvents, elapsed: float, stream: EventStream, state: TrackingState) -> _BinAnswer:
        """The displacement since the stream started, by the network alone or calibrated."""
        inference = state.model.network
        network = self._skip_bins(inference, state.network, elapsed)
        grid = event_grid(events, state.crop)
        age = stream.age / stream.period

        if state.interval is None:
            place, spread, network = inference(grid, network, age)
            return _BinAnswer(place, spread, network, state.bins)

        interval = state.interval
        restarted = inference(grid, network, age)[:2] if interval.is_restarted else None
        fits, network = inference.fits(grid, network, interval.window(stream.age))
        number = num_bins(interval.begun + stream.age, self.sensing.dt) - 1
        place, spread, record = calibrated_place(fits, state.calibration, interval, stream.age, number, restarted)

        return _BinAnswer(place, spread, network, add_record(state.bins, record))

    def _skip_bins(self, inference: Inference, network: Any, elapsed: float) -> Any:
        """All but the last bin of a step, without events: these count as events of the last bin."""
        side = self.options.crop
        for _ in range(num_bins(elapsed, self.sensing.dt) - 1):
            network = inference.accumulate(torch.zeros(1, 2, side, side, dtype=torch.float32), network)

        return network

    def _restart_events(self, state: TrackingState) -> TrackingState:
        """A new stream at the current place, with the displacement of the last as motion: the next frame is late."""
        answer = box_center(state.box) - box_center(state.estimate.box), state.spread
        # the stream stays that of the network alone, whatever the calibration answers
        offset, spread = state.bins[-1].trained if state.bins else answer
        crop_offset = np.round(offset)
        remainder = _row(offset - crop_offset)
        motion = offset - state.stream.target_offset

        left, top = (crop_offset - state.stream.crop_offset).astype(int).tolist()
        crop = (state.crop[0] + left, state.crop[1] + top, self.options.crop, self.options.crop)
        start = MotionPrior(remainder, _row(motion), torch.tensor([spread], dtype=torch.float32))
        stream = EventStream(start, state.stream.age, 0.0, offset, crop_offset, state.stream.velocity)
        network = state.model.network.restart_events(state.network, start)
        # a frame that came late brings no bins of its own to learn from
        is_late = bool(state.bins) and state.bins[0].number > 0
        bins = () if is_late else state.bins
        interval = None if is_late else state.interval
        if interval is not None:
            interval = interval.restarted(offset, crop_offset, motion, state.stream.age)

        return state._replace(stream=stream, crop=crop, network=network, interval=interval, bins=bins)


def _period(inputs: Inputs, last: TrackingState) -> float:
    return last.age + (inputs["elapsed"] - inputs["frame_age"])


def _change(last: EventStream, displacement: Float[np.ndarray, "2"], period: float) -> Float[np.ndarray, "2"] | None:
    """The change of the displacement from the interval before [px]; None if its velocity is unknown."""
    return None if last.velocity is None else displacement - last.velocity * period


def _new_stream(start: MotionPrior, period: float, velocity: Float[np.ndarray, "2"] | None = None) -> EventStream:
    return EventStream(start, period, 0.0, np.zeros(2), np.zeros(2), velocity)


def _row(values: NDArray[np.float64]) -> Tensor:
    return torch.tensor(values[None], dtype=torch.float32)
