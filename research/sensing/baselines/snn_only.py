"""A tracker of events alone: the SNN of the sensing network without its ANN.

The template is cut out of the SNN's features in the first bins after the box was given. In each later bin the target is
found near its last place by correlation. Frames are not used.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.events.binned import BinEvents, Crop, crop_events
from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.model.boxes import check_box, check_crop, crop_around
from spikebridge.networks.sensing.model.heads import ChangeHead, Template
from spikebridge.networks.sensing.model.motion_prior import soft_argmax
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.inference import check_inference
from spikebridge.networks.sensing.tracker.inputs import check_times, num_bins

# a target farther from the centre of the crop, in sides of it, gets a new crop
_MARGIN = 0.25


class _EventState(NamedTuple):
    """The state of a tracker of events."""

    # the target [px]
    box: Float[np.ndarray, "4"]
    # the pixels that the SNN reads
    crop: Crop
    # the target when the crop was taken [px]
    crop_box: Float[np.ndarray, "4"]
    # state of the SNN since then
    network: Any
    # the SNN's features of the target; None until there were events
    template: Float[Tensor, "1 C H W"] | None
    # the target in them, relative to the centre of the crop [px]
    template_place: Float[np.ndarray, "2"]


class EventTracker:
    """The SNN of a sensing network, in eval mode, tracks a target by the look of its events in a crop of a side [px].

    The target is looked for up to `search` from its last place along each axis [px a bin]. The softmax over places is
    taken of the normalised correlation times `sharpness`.
    """

    def __init__(self, sensing: Sensing, crop: int = 96, search: float = 4.0, sharpness: float = 40.0) -> None:
        if "where" not in sensing.parts:
            raise ConfigError("a tracker of events needs a network with an SNN, but its hybrid unit is `none`.")

        check_crop(crop, sensing.stride)
        if not search >= 1 or not sharpness > 0:
            raise ConfigError(
                "a tracker of events needs a search of 1 px or more and a sharpness above 0, but got "
                f"{search} and {sharpness}."
            )

        self.sensing = sensing
        self.cut = Template(stride=sensing.stride)
        self.correlate = ChangeHead(crop // (2 * sensing.stride), sensing.stride)

        # the correlation alone: no template is subtracted at the old place
        with torch.no_grad():
            self.correlate.g.zero_()
            self.correlate.log_scale.zero_()

        self.crop = crop
        self.search = search
        self.sharpness = sharpness

    def step(self, inputs: Inputs, state: _EventState | None) -> tuple[Float[np.ndarray, "4"], _EventState]:
        """The box at the end of this step, and the new state; the first step has a box, and frames are ignored."""
        if state is None:
            check_inference(self.sensing)

        check_times(inputs)
        seconds = inputs["elapsed"]
        if "box" in inputs:
            # the template is kept, the place is new; the box holds at the frame, where the step has one
            state = self._start_crop(check_box(inputs["box"]), state)
            seconds = inputs.get("frame_age", seconds)
        elif state is None:
            raise DataError("the first step needs the target's box, but has no box.")

        with torch.no_grad():
            state = self._accumulate(inputs["events"], num_bins(seconds, self.sensing.dt), state)

        distance = np.abs(state.box[:2] - state.crop_box[:2]).max()
        return state.box, self._start_crop(state.box, state) if distance > _MARGIN * self.crop else state

    def _start_crop(self, box: NDArray[np.float64], last: _EventState | None) -> _EventState:
        """A new crop; membranes that saw another one are of no use."""
        crop, _ = crop_around(box, self.crop)
        template, place = (None, np.zeros(2)) if last is None else (last.template, last.template_place)
        return _EventState(box, crop, box, None, template, place)

    def _accumulate(self, events: BinEvents, length: int, state: _EventState) -> _EventState:
        """The state after a step of some bins, whose events count as those of the last one."""
        where = self.sensing.parts["where"]
        network = state.network
        for _ in range(length - 1):
            _, network = where(torch.zeros(1, 1, 2, self.crop, self.crop), network)

        features, network = where(crop_events(events, state.crop)[None, None], network)
        state = state._replace(network=network)
        if not len(events.x):
            return state

        if state.template is None:
            _, local_box = crop_around(state.box, self.crop)
            template = self.cut(features[0], torch.tensor(local_box[None], dtype=torch.float32))
            return state._replace(template=template, template_place=local_box[:2])

        size = features[0].norm() * state.template.norm()
        response = self.correlate(state.template, features[0]) / size.clamp(min=1e-6) * self.sharpness

        # displacement of the target's place in this crop from that in the crop of the template
        _, local_box = crop_around(state.crop_box, self.crop)
        shift = local_box[:2] - state.template_place
        last = state.box[:2] - state.crop_box[:2] + shift
        place, _ = soft_argmax(response, torch.tensor(last[None], dtype=torch.float32), self.search * length)
        moved = place[0].double().numpy() - shift

        return state._replace(box=np.concatenate([state.crop_box[:2] + moved, state.box[2:]]))
