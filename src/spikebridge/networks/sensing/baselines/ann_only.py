"""A tracker of frames alone: the ANN of the sensing network without its SNN.

At each frame the network's own ANN detects the target again; until the next one the box is held, or moves at the
velocity between the last two detections.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.recordings.recording import Inputs
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox
from spikebridge.networks.sensing.tracker.inputs import check_times
from spikebridge.networks.sensing.tracker.state import TrackingState
from spikebridge.networks.sensing.tracker.tracker import SensingTracker

_NO_EVENTS = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))


class _FrameState(NamedTuple):
    """The box, the tracker's state at the last frame, that of the motion until the next one, and the time since [s]."""

    box: Float[np.ndarray, "4"]
    tracking: TrackingState
    motion: Any
    age: float

    @property
    def confidence(self) -> float:
        """The tracker's confidence in the last frame."""
        return self.tracking.confidence

    @property
    def lost(self) -> bool:
        """True if the target was not detected with confidence in the last frames."""
        return self.tracking.lost


class FrameTracker:
    """The ANN of a sensing network detects the target at frames; no event ever reaches it."""

    reads_events = False

    def __init__(self, tracker: SensingTracker, between: Literal["hold", "constant_velocity"] = "hold") -> None:
        self.tracker = tracker
        self.between: Any = StaticBox() if between == "hold" else ConstantVelocity()

    def step(self, inputs: Inputs, state: _FrameState | None) -> tuple[Float[np.ndarray, "4"], _FrameState]:
        """The expected box at the end of this step; see `SensingTracker.step`."""
        if state is not None and not {"frame", "box"} & inputs.keys():
            return self._advance(inputs, state)

        # the ANN looks around the expected box, and time went by although there were no events
        expected = None if state is None else state.tracking._replace(box=state.box, age=state.age)
        _, tracking = self.tracker.step({**inputs, "events": _NO_EVENTS}, expected)
        tracking = self.tracker.flush(tracking)
        # a frame that is not newer than the last one is ignored
        if state is not None and tracking.frame is state.tracking.frame:
            return self._advance(inputs, state)

        given: Inputs = {**inputs, "box": inputs.get("box", tracking.frame_box)}
        box, motion = self.between.step(given, None if state is None else state.motion)

        return box, _FrameState(box, tracking, motion, tracking.age)

    def _advance(self, inputs: Inputs, state: _FrameState) -> tuple[Float[np.ndarray, "4"], _FrameState]:
        """A step without a new frame."""
        check_times(inputs)
        elapsed = inputs["elapsed"]
        box, motion = self.between.step(Inputs(events=_NO_EVENTS, elapsed=elapsed), state.motion)
        return box, state._replace(box=box, motion=motion, age=state.age + elapsed)
