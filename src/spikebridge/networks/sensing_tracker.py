"""The sensing network as a tracker: `box, state = tracker.step(inputs, state)` at the end of each bin of events.

A frame begins a new stream of the network around the place where the target is by then: the box that was told with the
frame, else the tracker's own answer. Late frames only lengthen the time of a stream. The box keeps the size that was
told last.
"""

from math import exp, floor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.event_bins import BinEvents, Crop, crop_events
from spikebridge.data.recording import Inputs
from spikebridge.errors import ConfigError, DataError
from spikebridge.hybrid import NetworkState
from spikebridge.networks.sensing import Sensing
from spikebridge.networks.sensing_crops import crop_around, crop_frame
from spikebridge.networks.sensing_motion import Start

PATIENCE = 3
"""After so many frames without confidence a target is lost."""


class TrackingState(NamedTuple):
    """What a tracker knows.

    Args:
        box: where the target is now [px].
        spread: standard deviation of its place along an axis [px].
        confidence: chance that the place is less than 3 px off, as far as the network can tell; from 0 to 1.
        unsure: how many frames in a row were found with low confidence.
        frame: the last frame.
        frame_box: where the target was in it.
        crop_box: what the places of the network are counted from.
        age: time since it [s].
        period: between the last two frames; that of one bin where there was only one [s].
        crop: what the network sees.
        start: what was expected when the frame came.
        network: since the frame.
        told_frame: the last frame with which a box was told.
        told_box: that box [px].
    """

    box: Float[np.ndarray, "4"]
    spread: float
    confidence: float
    unsure: int
    frame: NDArray[np.uint8]
    frame_box: Float[np.ndarray, "4"]
    crop_box: Float[np.ndarray, "4"]
    age: float
    period: float
    crop: Crop
    start: Start
    network: NetworkState | None
    told_frame: NDArray[np.uint8]
    told_box: Float[np.ndarray, "4"]

    @property
    def lost(self) -> bool:
        """Whether the target was not seen with confidence in the last three frames."""
        return self.unsure >= PATIENCE


class SensingTracker:
    """Follows one object with a trained network.

    Args:
        sensing: the network, in eval mode.
        crop: side of the square that it sees around the target [px].
        recall: at a frame without a told box, the share by which the tracker's own is pulled to where the target looks
            as it did in the last told one; 0 lets small errors add up.
        sure: a frame whose target is found with less confidence counts as one without it.

    Example:
        >>> from spikebridge.analysis.tracking_protocols import between_frames
        >>> from spikebridge.data.scene import film
        >>> from spikebridge.data.turning_disk import TurningDisk
        >>> recording = film(TurningDisk(height=64, width=64), duration=0.1, dt=0.005)
        >>> tracker = SensingTracker(Sensing(dt=0.005).eval(), crop=48)
        >>> len(between_frames(recording, tracker).boxes)  # three frames have one before them
        15
    """

    def __init__(self, sensing: Sensing, crop: int = 96, recall: float = 0.1, sure: float = 0.5) -> None:
        if crop < 16 or crop % 2:
            raise ConfigError(f"a tracker needs a crop of an even number of pixels, 16 or more, but got {crop}")
        if not 0 <= recall <= 1:
            raise ConfigError(f"recall is a share from 0 to 1, but got {recall}")
        self.sensing = sensing
        self.crop = crop
        if not 0 <= sure <= 1:
            raise ConfigError(f"sure is a confidence from 0 to 1, but got {sure}")
        self.recall = recall
        self.sure = sure

    def step(self, inputs: Inputs, state: TrackingState | None) -> tuple[Float[np.ndarray, "4"], TrackingState]:
        """Where the target is at the end of this step.

        Args:
            inputs: with a `frame` and its `box` at the first step.
            state: what is known; None at first.

        Returns:
            The box, and what is known now.

        Raises:
            DataError: the first step has no frame or no box, or a box comes without its frame.
            ConfigError: the network is in training mode, where one batch changes the next.
        """
        if self.sensing.training:
            raise ConfigError("a tracker needs its network in eval mode; call .eval()")
        if "box" in inputs and "frame" not in inputs:
            raise DataError("a box is told with the frame that it is in, but this step has no frame.")
        with torch.no_grad():
            if "frame" in inputs:
                begun, opening = self._begin(inputs, state)
                state = self._follow(inputs["events"], inputs["frame_age"], begun, opening)
            elif state is not None:
                state = self._follow(inputs["events"], inputs["elapsed"], state, {})
            else:
                raise DataError("a tracker starts with a frame and a box, but the first step has no frame.")
        return state.box, state

    def _begin(self, inputs: Inputs, last: TrackingState | None) -> tuple[TrackingState, dict[str, Tensor]]:
        """A frame has come: a new crop, and what opens a new stream."""
        before = inputs["elapsed"] - inputs["frame_age"]  # from the last step to the frame
        if told := "box" in inputs:
            box = np.asarray(inputs["box"], dtype=np.float64)
        elif last is not None:
            box = self._found_again(inputs["frame"], last, before)
        else:
            raise DataError("a tracker has to be told the first box, but the first step has no box.")
        crop, frame, boxes = self._cut(inputs["frame"], box)
        if last is None:
            start, period = self.sensing.begin(frame, boxes), self.sensing.dt
        else:
            period = last.age + before
            motion = torch.tensor((_middle(box) - _middle(last.frame_box))[None], dtype=torch.float32)
            start = self.sensing.begin(frame, boxes, crop_frame(last.frame, crop)[None], motion)
        mended = box if told else _moved(box, start.place)
        anchor = (inputs["frame"], box) if told or last is None else (last.told_frame, last.told_box)
        unsure = 0 if told or last is None or last.confidence >= self.sure else last.unsure + 1
        state = TrackingState(
            box, 0.0, 1.0, unsure, inputs["frame"], mended, box, 0.0, period, crop, start, None, *anchor
        )
        return state, {"frames": frame[None], "boxes": boxes[None]}

    def _found_again(self, frame: NDArray[np.uint8], last: TrackingState, seconds: float) -> NDArray[np.float64]:
        """The last answer, moved on to the time of a frame and pulled to where the target looks as it was told."""
        box = _moved(last.box, last.start.motion * (seconds / last.period))
        if self.recall == 0:
            return box
        _, now, boxes = self._cut(frame, box)
        _, told, told_boxes = self._cut(last.told_frame, last.told_box)
        return _moved(box, self.recall * self.sensing.find_again(now, boxes, told, told_boxes))

    def _cut(self, frame: NDArray[np.uint8], box: NDArray[np.float64]) -> tuple[Crop, Tensor, Tensor]:
        """What the network sees of a frame around a box, and how it sees the box."""
        crop, seen = crop_around(box, self.crop)
        return crop, crop_frame(frame, crop)[None], torch.tensor(seen[None], dtype=torch.float32)

    def _follow(
        self, events: BinEvents, since: float, state: TrackingState, opening: dict[str, Tensor]
    ) -> TrackingState:
        """The events of one step, which is several bins long where a busy tracker could not take each."""
        num_ticks = max(1, floor(since / self.sensing.dt + 1e-6))
        seen = torch.zeros((num_ticks, 1, 2, self.crop, self.crop))
        seen[-1, 0] = crop_events(events, state.crop)
        response, network = self.sensing.respond({**opening, "events": seen}, state.network)
        age = state.age + since
        place, spread = self.sensing.locate(response[-1], torch.tensor([age / state.period]), state.start)
        return state._replace(
            box=_moved(state.crop_box, place),
            spread=spread.item(),
            confidence=confidence(spread.item()),
            age=age,
            network=network,
        )


def confidence(spread: float) -> float:
    """The chance to be less than 3 px off with a standard deviation along each axis.

    Args:
        spread: the standard deviation [px].

    Example:
        >>> round(confidence(3.0), 3), confidence(0.1)  # 1 - exp(-1/2)
        (0.393, 1.0)
    """
    return 1 - exp(-9 / (2 * max(spread, 1e-3) ** 2))


def _moved(box: NDArray[np.float64], way: Float[Tensor, "1 2"]) -> NDArray[np.float64]:
    return np.concatenate([box[:2] + way[0].double().numpy(), box[2:]])


def _middle(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return box[:2] + box[2:] / 2
