"""The sensing network as a tracker: `box, state = tracker.step(inputs, state)` at the end of each bin of events.

A frame begins a new stream of the network around the place where the target is by then: the box that was told with the
frame, else the tracker's own answer. In the next step the finder looks for the target in that frame, so that no step
has all of the work, and the answer moves to what it says; what is behind the target it knows from earlier frames. Where
the next frame is late, events begin a new stream around the tracker's own answer: the crop moves, and the target's
features, still those of its frame, move with it. Between frames the box keeps its size.

The network's weights are read at the first step, and made ready for one sample (`sensing_ready`).

Where the finder is in doubt the target is looked for in the whole frame, too, and what is surely found there counts.
A frame in which the target is not surely seen changes neither box nor template. After three of them in a row the
target is lost, and looked for in the whole frame alone.
"""

from functools import partial
from math import hypot, sqrt
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.model.background import Background, initial_background
from spikebridge.networks.sensing.model.boxes import (
    box_center,
    box_from_center,
    check_box,
    check_crop,
    clamp_box,
    crop_around,
    crop_frame,
    translate_box,
)
from spikebridge.networks.sensing.model.motion_prior import MotionPrior, to_numpy
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.frozen import EagerInference, InferenceCache, check_inference
from spikebridge.networks.sensing.tracker.fused_detector import FusedDetector, TargetPatch
from spikebridge.networks.sensing.tracker.fused_model import FusedInference
from spikebridge.networks.sensing.tracker.state import (
    EventStreamState,
    PendingFrame,
    TargetEstimate,
    TrackingState,
    check_inputs,
    confidence,
    num_bins,
)

_BESIDE = 0.125  # of its size beside the place where it was thought to be, a target has to be cut out again
_WANDERS = 1.15  # by how much a velocity that is one longest stream old may be wrong [px a stream]
_SAME_TIME = 1e-6  # seconds; times of cameras are whole microseconds
_MOST_STEPS = 240  # are kept for the next frame: a camera may stop for as long as it likes


class SensingTracker:
    """Follows one object with a trained network.

    Args:
        sensing: the network, in eval mode.
        crop: side of the square that it sees around the target, a multiple of the network's stride [px].
        renewal: share of the newest template beside that of the told frame.
        recall: share of the way from the tracker's own answer to what the finder says of a frame without a told box, if
            the last frame was `longest` ago; the longer ago, the less is left of the own answer.
        sure: a frame whose target is found with less confidence counts as one without it.
        doubtful: with less confidence the target is looked for in the whole frame, too.
        convinced: what is found there counts with more confidence than this.
        hold_size: the box keeps the size that was told; else the finder measures it at every frame.
        longest: no stream of events is longer, however late the next frame is [s].
        at_once: the finder looks at a frame in the frame's own step, where a machine has the time.

    Example:
        >>> from spikebridge.networks.sensing.evaluation.protocols import interframe
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> recording = render_recording(RotatingDisk(height=64, width=64), duration=0.1, dt=0.005)
        >>> tracker = SensingTracker(Sensing(dt=0.005).eval(), crop=48)
        >>> len(interframe(recording, tracker).boxes)  # three frames have one before them
        15
    """

    def __init__(
        self,
        sensing: Sensing,
        crop: int = 96,
        renewal: float = 0.3,
        recall: float = 1.0,
        sure: float = 0.3,
        doubtful: float = 0.5,
        convinced: float = 0.8,
        hold_size: bool = False,
        longest: float = 0.025,
        at_once: bool = False,
    ) -> None:
        check_crop(crop, sensing.stride)
        shares = {"renewal": renewal, "recall": recall, "sure": sure, "doubtful": doubtful, "convinced": convinced}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is a number from 0 to 1, but got {value}")
        if not longest > 0:
            raise ConfigError(f"a stream of events needs to be longer than 0 s, but got {longest}")
        self.sensing = sensing
        self._ready = InferenceCache()
        self.crop = crop
        self.renewal = renewal
        self.recall = recall
        self.sure = sure
        self.doubtful = doubtful
        self.convinced = convinced
        self.hold_size = hold_size
        self.longest = longest
        self.at_once = at_once

    def step(self, inputs: Inputs, state: TrackingState | None) -> tuple[Float[np.ndarray, "4"], TrackingState]:
        """Where the target is at the end of this step.

        Args:
            inputs: with a `frame` and its `box` at the first step; a frame no later than the last one is not looked at.
            state: what is known; None at first.

        Returns:
            The box, and what is known now.

        Raises:
            DataError: the first step has no frame or no box, a box has no frame, or `check_inputs` refuses something.
            ConfigError: the network cannot be stepped (`check_inference`).
        """
        if self.sensing.training:  # else it is checked where it is made ready
            check_inference(self.sensing)
        check_inputs(inputs, None if state is None else state.frame)
        sees = "frame" in inputs and (state is None or _period(inputs, state) > _SAME_TIME)
        if "box" in inputs and not sees:
            raise DataError("a box is told with the frame that it is in, but this step has no frame, or no later one.")
        with torch.inference_mode():
            if state is not None:
                state = self.flush(state)
            if sees:
                state = self._follow(inputs["events"], inputs["frame_age"], self._begin(inputs, state))
            elif state is not None:
                state = self._follow(inputs["events"], inputs["elapsed"], state)
            else:
                raise DataError("a tracker starts with a frame and a box, but the first step has no frame.")
            if self.at_once:
                state = self.flush(state)
        return state.box, state

    def _begin(self, inputs: Inputs, last: TrackingState | None) -> TrackingState:
        """A frame has come: a new crop, and a new stream."""
        ready = self._ready(self.sensing, self.crop) if last is None else last.ready
        period = self.sensing.dt if last is None else _period(inputs, last)
        frame, doubt = inputs["frame"].copy(), None  # a camera's program may fill the same array again
        if told := "box" in inputs:
            sighting = _told(ready.finder, frame, check_box(inputs["box"]))
        elif last is not None:
            sighting = last.sighting._replace(box=self._believed(frame, last, inputs["elapsed"] - inputs["frame_age"]))
            stirred = BinEvents(*(np.concatenate(column) for column in zip(*last.events, strict=True)))
            doubt = PendingFrame(sighting.box, last.frame, stirred, period)
        else:
            raise DataError("a tracker has to be told the first box, but the first step has no box.")
        box = sighting.box
        crop, seen = crop_around(box, self.crop)
        picture, boxes = crop_frame(frame, crop)[None], _row(seen)
        if last is None:
            start, network = ready.network.open(picture, boxes)
        elif period < 1.5 * self.longest:
            earlier, way = crop_frame(last.frame, crop)[None], _row(box_center(box) - box_center(last.frame_box))
            start, network = ready.network.open(picture, boxes, earlier, way)
        else:
            # pictures so far apart tell nothing of the way, and a velocity so old is known the less
            ago, period = period / self.longest, self.longest
            way = _row((box_center(box) - box_center(last.frame_box)) / ago)
            start = MotionPrior(torch.zeros_like(way), way, torch.full_like(way[:, 0], _WANDERS * (ago - 1) ** 0.5))
            _, network = ready.network.open(picture, boxes, start=start)
        mended = box if told else translate_box(box, to_numpy(start).place)
        stream = EventStreamState(start, period, 0.0, np.zeros(2), np.zeros(2))
        room = _room(ready.finder, frame, box, last)
        return TrackingState(box, 0.0, 1.0, sighting, frame, mended, (), 0.0, stream, crop, room, ready, network, doubt)

    def _believed(self, frame: NDArray[np.uint8], last: TrackingState, seconds: float) -> NDArray[np.float64]:
        """Where the target is in a new frame by the last answer, moved on to the frame's time."""
        motion = to_numpy(last.stream.start).motion
        return clamp_box(frame, translate_box(last.box, motion * (seconds / last.stream.period)))

    def flush(self, state: TrackingState) -> TrackingState:
        """What is known once the finder has looked at the last frame; a step does so for the frame of the step before.

        Args:
            state: of a step.
        """
        with torch.inference_mode():
            return state if state.doubt is None else self._looked(state, state.doubt)

    def _looked(self, state: TrackingState, doubt: PendingFrame) -> TrackingState:
        """What the finder says of the last frame, beside the place where the target was believed to be."""
        known, finder, frame, box = state.sighting, state.ready.finder, state.frame, doubt.box
        if finder is None or known.first is None or known.newest is None:
            return state._replace(doubt=None)
        around, found, spread = self._found(state, doubt, finder, known.first, known.newest)
        recall = 1 - (1 - self.recall) ** (doubt.since / self.longest)
        seen = clamp_box(frame, around + recall * (found - around))
        if self.hold_size:
            seen = box_from_center(box_center(seen), box[2:])
        if confidence(spread, seen) < self.sure or not np.isfinite(seen).all():
            return state._replace(sighting=known._replace(spread=spread, unsure=known.unsure + 1), doubt=None)
        sighting = TargetEstimate(seen, spread, 0, known.first, finder.sight(frame, seen))
        # what has moved since then goes along
        way = box_center(seen) - box_center(box)
        here, mended = (box_from_center(box_center(one) + way, seen[2:]) for one in (state.box, state.frame_box))
        state = state._replace(box=here, sighting=sighting, frame_box=mended, doubt=None)
        if hypot(*way) <= _BESIDE * sqrt(seen[2:].prod()):
            return state
        start = state.stream.start
        if not known.unsure:
            # it went so much further since the last frame
            start = start._replace(motion=start.motion + _row(way * (state.stream.period / doubt.since)))
        else:
            # where it was in that is not known, and so neither is its velocity
            nowhere = torch.zeros_like(start.motion)
            start = MotionPrior(nowhere, nowhere, torch.full_like(start.spread, torch.inf))
        return self._opened_again(state, start)

    def _opened_again(self, state: TrackingState, start: MotionPrior) -> TrackingState:
        """The stream of a frame once more, where the target was found: cut out beside it, its template is not of it."""
        run, stream = state.ready.network, state.stream
        crop, seen = crop_around(state.sighting.box, self.crop)
        opened = run.open(crop_frame(state.frame, crop)[None], _row(seen), start=start)[1]
        (events,) = state.events  # of the frame's own step: the next one settles it
        network = run.accumulate(state.ready.seen(events, crop), self._waited(run, opened, state.age))
        return state._replace(stream=stream._replace(start=start), crop=crop, network=network)

    def _found(
        self, state: TrackingState, doubt: PendingFrame, finder: FusedDetector, first: Tensor, newest: TargetPatch
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Around which box the target is, its own box, and how far that may be off.

        Where it was lost, what was seen last is not it: then the first template alone is looked for.
        """
        look = partial(finder.look, state.frame, doubt.before, doubt.events, state.room, first=first, a=self.renewal)
        if state.lost:
            there = finder.search(state.frame, state.room, doubt.box, first)
            return there, *look(there, newest=None)
        found, spread = look(doubt.box, newest=newest)
        if confidence(spread, found) < self.doubtful:
            there = finder.search(state.frame, state.room, doubt.box, first)
            other, off = look(there, newest=None)
            if confidence(off, other) > self.convinced:
                return there, other, off
        return doubt.box, found, spread

    def _follow(self, events: BinEvents, since: float, state: TrackingState) -> TrackingState:
        """The events of one step, which is several bins long where a busy tracker could not take each."""
        if state.stream.age > max(0.0, self.longest - self.sensing.dt / 2):
            state = self._renewed(state)
        run = state.ready.network
        network = self._waited(run, state.network, since)
        stream = state.stream._replace(age=state.stream.age + since)
        place, spread, network = run(state.ready.seen(events, state.crop), network, stream.age / stream.period)
        box = translate_box(state.sighting.box, place + stream.crop_offset)
        return state._replace(
            box=box,
            spread=spread,
            confidence=confidence(hypot(spread, state.sighting.spread), box),
            events=(*state.events, BinEvents(*(column.copy() for column in events)))[-_MOST_STEPS:],
            age=state.age + since,
            stream=stream,
            network=network,
        )

    def _waited(self, run: FusedInference | EagerInference, network: Any, since: float) -> Any:
        """All but the last bin of a step, without the events, which are said to be in that."""
        for _ in range(num_bins(since, self.sensing.dt) - 1):
            network = run.accumulate(torch.zeros(1, 2, self.crop, self.crop, dtype=torch.float32), network)
        return network

    def _renewed(self, state: TrackingState) -> TrackingState:
        """The next frame is late: a new stream around the target's place, whose motion is the way of the last one."""
        gone = box_center(state.box) - box_center(state.sighting.box)
        whole = np.round(gone)
        rest, way = _row(gone - whole), _row(gone - state.stream.target_offset)
        left, top = (whole - state.stream.crop_offset).astype(int).tolist()
        crop = (state.crop[0] + left, state.crop[1] + top, self.crop, self.crop)
        start = MotionPrior(rest, way, torch.tensor([state.spread], dtype=torch.float32))
        stream = EventStreamState(start, state.stream.age, 0.0, gone, whole)
        network = state.ready.network.restart_events(state.network, start)
        return state._replace(stream=stream, crop=crop, network=network)


def _period(inputs: Inputs, last: TrackingState) -> float:
    """From the last frame to the new one [s]."""
    return last.age + (inputs["elapsed"] - inputs["frame_age"])


def _told(finder: FusedDetector | None, frame: NDArray[np.uint8], box: NDArray[np.float64]) -> TargetEstimate:
    if finder is None:
        return TargetEstimate(box, 0.0, 0, None, None)
    sight = finder.sight(frame, box)
    return TargetEstimate(box, 0.0, 0, finder.template(sight), sight)


def _room(
    finder: FusedDetector | None, frame: NDArray[np.uint8], box: NDArray[np.float64], last: TrackingState | None
) -> Background:
    """What is behind the target in a new frame, in which it is believed to be there; without a finder nobody asks."""
    if last is None or finder is None:
        return initial_background(frame) if last is None else last.room
    return last.room.updated(last.frame, last.sighting.box, frame, box)


def _row(part: NDArray[np.float64]) -> Tensor:
    return torch.tensor(part[None], dtype=torch.float32)
