"""A tracker that looks at frames alone: the ANN of the sensing network without its SNN.

At each frame the network's own ANN finds the target again; until the next one the box is held, or moved on at the
velocity between the last two places found.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.recordings.recording import Inputs
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox
from spikebridge.networks.sensing.tracker.inputs import check_times
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackingState

_NOTHING = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))


class _FrameState(NamedTuple):
    """What the ANN knows of the last frame, what is made of it until the next one, and the time since [s]."""

    box: Float[np.ndarray, "4"]
    found: TrackingState
    between: Any
    age: float

    @property
    def confidence(self) -> float:
        """Of the place in the last frame, as the tracker of frames tells it."""
        return self.found.confidence

    @property
    def lost(self) -> bool:
        """Whether the target was not seen with confidence in the last frames."""
        return self.found.lost


class FrameTracker:
    """The ANN of a sensing network finds the target at frames; between them nothing is seen.

    Args:
        tracker: whose ANN looks at the frames; no event ever reaches it.
        between: `hold`, or `constant_velocity` of the last two places.

    Example:
        >>> from spikebridge.networks.sensing.evaluation.protocols import one_pass_evaluation
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> from spikebridge.networks.sensing.model.sensing import Sensing
        >>> from spikebridge.networks.sensing.tracker.tracker import TrackerOptions
        >>> recording = render_recording(RotatingDisk(height=64, width=64), duration=0.1, dt=0.005)
        >>> tracker = FrameTracker(SensingTracker(Sensing(dt=0.005).eval(), TrackerOptions(crop=48)))
        >>> boxes = one_pass_evaluation(recording, tracker).boxes
        >>> (boxes[5:10] == boxes[5]).all()  # five bins a frame
        np.True_
    """

    def __init__(self, tracker: SensingTracker, between: Literal["hold", "constant_velocity"] = "hold") -> None:
        self.tracker = tracker
        self.between: Any = StaticBox() if between == "hold" else ConstantVelocity()

    def step(self, inputs: Inputs, state: _FrameState | None) -> tuple[Float[np.ndarray, "4"], _FrameState]:
        """Where the target is expected at the end of this step.

        Args:
            inputs: with a `frame` and its `box` at the first step.
            state: what is known; None at first.

        Returns:
            The box, and what is known now.

        Raises:
            DataError: the first step has no frame or no box, a frame is not grey, a box comes without its frame or
                cannot be meant, or a time cannot.
        """
        if state is not None and not {"frame", "box"} & inputs.keys():
            return self._waited(inputs, state)

        # the ANN looks where the target is expected, and time went by although it saw no events
        expecting = state.found._replace(box=state.box, age=state.age) if state is not None else None
        found = self.tracker.flush(self.tracker.step({**inputs, "events": _NOTHING}, expecting)[1])
        if state is not None and found.frame is state.found.frame:  # the new one is no later
            return self._waited(inputs, state)

        given: Inputs = {**inputs, "box": inputs.get("box", found.frame_box)}
        box, between = self.between.step(given, state.between if state is not None else None)

        return box, _FrameState(box, found, between, found.age)

    def _waited(self, inputs: Inputs, state: _FrameState) -> tuple[Float[np.ndarray, "4"], _FrameState]:
        """A step without a frame to look at."""
        check_times(inputs)
        elapsed = inputs["elapsed"]
        box, between = self.between.step(Inputs(events=_NOTHING, elapsed=elapsed), state.between)
        return box, state._replace(box=box, between=between, age=state.age + elapsed)
