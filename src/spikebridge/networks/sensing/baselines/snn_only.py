"""A tracker that uses events only: the SNN of the sensing network without its ANN.

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

_EDGE = 0.25  # of the crop's side: so far from its middle the target may go before a new crop is taken


class _EventState(NamedTuple):
    """What is known.

    Args:
        box: where the target is [px].
        crop: what the SNN sees.
        crop_box: where the target was when the crop was taken [px].
        network: of the SNN since then.
        template: the SNN's features of the target; None until there were events.
        template_at: where the target was in them, relative to the centre of the crop [px].
    """

    box: Float[np.ndarray, "4"]
    crop: Crop
    crop_box: Float[np.ndarray, "4"]
    network: Any
    template: Float[Tensor, "1 C H W"] | None
    template_at: Float[np.ndarray, "2"]


class EventTracker:
    """The SNN of a sensing network follows a target by what its events look like.

    Args:
        sensing: the network, in eval mode, with an SNN.
        crop: side of the square that it sees around the target, a multiple of the network's stride [px].
        search: how far the target is looked for from its last place, along each axis [px a bin].
        sharpness: the softmax over places is taken of the normalised correlation times this.

    Raises:
        ConfigError: the network has no SNN, or a setting cannot be meant.

    Example:
        >>> from spikebridge.networks.sensing.evaluation.protocols import one_pass_evaluation
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> recording = render_recording(RotatingDisk(height=64, width=64), duration=0.1, dt=0.005)
        >>> len(one_pass_evaluation(recording, EventTracker(Sensing(dt=0.005).eval(), crop=48)).boxes)
        20
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

        with torch.no_grad():
            self.correlate.g.zero_()  # what the template would take away where it was does not count
            self.correlate.log_scale.zero_()

        self.crop = crop
        self.search = search
        self.sharpness = sharpness

    def step(self, inputs: Inputs, state: _EventState | None) -> tuple[Float[np.ndarray, "4"], _EventState]:
        """Where the target is at the end of this step.

        Args:
            inputs: with a `box` at the first step; frames are not looked at.
            state: what is known; None at first.

        Returns:
            The box, and what is known now.

        Raises:
            DataError: no box was ever given, or one that cannot be meant, or a time.
            ConfigError: the network is not one that can be stepped (`check_inference`).
        """
        if state is None:
            check_inference(self.sensing)

        check_times(inputs)
        if "box" in inputs:
            # what the target looks like is remembered, where it is is new
            state = self._begun(check_box(inputs["box"]), state)
        elif state is None:
            raise DataError("the first step needs the target's box, but has no box.")

        # a given box holds at its frame, where the step has one
        since = inputs.get("frame_age", inputs["elapsed"]) if "box" in inputs else inputs["elapsed"]
        with torch.no_grad():
            state = self._seen(inputs["events"], num_bins(since, self.sensing.dt), state)

        away = np.abs(state.box[:2] - state.crop_box[:2]).max()
        return state.box, self._begun(state.box, state) if away > _EDGE * self.crop else state

    def _begun(self, box: NDArray[np.float64], last: _EventState | None) -> _EventState:
        """A new crop; membranes that saw another one are no longer of use."""
        crop, _ = crop_around(box, self.crop)
        known = (None, np.zeros(2)) if last is None else (last.template, last.template_at)
        return _EventState(box, crop, box, None, *known)

    def _seen(self, events: BinEvents, length: int, state: _EventState) -> _EventState:
        """The events of a step of so many bins, which are said to be in its last one."""
        where = self.sensing.parts["where"]
        network = state.network
        for _ in range(length - 1):
            _, network = where(torch.zeros(1, 1, 2, self.crop, self.crop), network)

        features, network = where(crop_events(events, state.crop, self.sensing.counts)[None, None], network)
        state = state._replace(network=network)
        if not len(events.x):
            return state

        if state.template is None:
            _, seen = crop_around(state.box, self.crop)
            template = self.cut(features[0], torch.tensor(seen[None], dtype=torch.float32))
            return state._replace(template=template, template_at=seen[:2])

        size = features[0].norm() * state.template.norm()
        response = self.correlate(state.template, features[0]) / size.clamp(min=1e-6) * self.sharpness
        # from where the target was in the crop of the template to where it is in this one
        _, seen = crop_around(state.crop_box, self.crop)
        shift = seen[:2] - state.template_at
        last = state.box[:2] - state.crop_box[:2] + shift
        place, _ = soft_argmax(response, torch.tensor(last[None], dtype=torch.float32), self.search * length)
        moved = place[0].double().numpy() - shift

        return state._replace(box=np.concatenate([state.crop_box[:2] + moved, state.box[2:]]))
