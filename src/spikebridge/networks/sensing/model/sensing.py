"""The hybrid sensing network: an ANN reads frames, an SNN reads events, a hybrid unit adds the change to the features.

    SF^(t + dt) = SF(t) + HU[ SNN[ events since t ] ]

(R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 4-6.) The sum is never formed: the head compares the change
itself with the change of `SF` by a moved target, which is the same least squares with less to compute.

One stream of the network is one frame and the events after it: the crop moves with the target, so each frame begins a
new stream, with membranes and unit at rest. Between frames the ANN never runs.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.hybrid import HybridNetwork, NetworkState
from spikebridge.networks.sensing.model.backbones import STRIDE, WhatPathway, WherePathway
from spikebridge.networks.sensing.model.detector import TargetDetector
from spikebridge.networks.sensing.model.heads import ChangeHead, Template
from spikebridge.networks.sensing.model.motion_prior import (
    UNKNOWN_VELOCITY_FACTOR,
    ConstantVelocityPrior,
    MotionFusion,
    MotionPrior,
    soft_argmax,
)
from spikebridge.networks.sensing.model.units import SensingOptions, sensing_graph


class Sensing(HybridNetwork):
    """The displacement of a target since a frame: the graph of ANN, SNN, unit and head, and a prior of the velocity.

    As a `HybridNetwork` it gives a map of displacements at each bin; `track` makes places of them.

    Args:
        dt: length of a bin [s].
        options: the form of the network.

    Example:
        >>> sensing = Sensing(dt=1 / 240)
        >>> frames, events = torch.zeros(2, 1, 96, 96), torch.zeros(6, 2, 2, 96, 96)
        >>> start = sensing.begin(frames, torch.tensor([[0.0, 0, 20, 20]] * 2))
        >>> places, spreads = sensing.track(frames, events, torch.tensor([[0.0, 0, 20, 20]] * 2), start)
        >>> places.shape, spreads.shape
        (torch.Size([6, 2, 2]), torch.Size([6, 2]))
    """

    # side of a cell of the features [px]
    stride = STRIDE
    # names of the parts with a memory of events
    event_parts: tuple[str, ...] = ("where",)

    def __init__(self, dt: float, options: SensingOptions | None = None) -> None:
        options = options or SensingOptions()
        super().__init__(**self.graph(options, dt))
        self.options = options

        # the names of these attributes are keys of saved weights
        self.prior = ConstantVelocityPrior() if options.prior else None
        self.back = ChangeHead(options.reach, self.stride) if options.prior else None
        self.cut = Template(stride=self.stride)
        self.trust = MotionFusion() if options.prior else None
        self.finder = TargetDetector() if options.detector else None

    @staticmethod
    def graph(options: SensingOptions, dt: float) -> dict[str, Any]:
        """The parts and links, as the arguments of a `HybridNetwork`."""
        what = WhatPathway(options.num_features)
        return sensing_graph(options, what, WherePathway(options.num_features), dt)

    @property
    def detector(self) -> TargetDetector | None:
        """The detector of the target in a frame; None in a network without one."""
        return self.finder

    @property
    def search(self) -> float:
        """The largest distance from the predicted place [px]."""
        return self.options.search

    def track(
        self,
        frames: Float[Tensor, "B 1 H W"],
        events: Float[Tensor, "T B 2 H W"],
        boxes: Float[Tensor, "B 4"],
        start: MotionPrior,
    ) -> tuple[Float[Tensor, "T B 2"], Float[Tensor, "T B"]]:
        """The place of the target at the end of each bin up to the next frame.

        Args:
            frames: crops, grey levels 0 to 255.
            events: of the same crops, ON and OFF.
            boxes: centre of the target relative to the centre of the crop, and its size `(x, y, w, h)` [px].
            start: the prior that `begin` gives.

        Returns:
            Displacements from the centre of the box, and their standard deviations [px].
        """
        response, _ = self.respond({"frames": frames[None], "boxes": boxes[None], "events": events}, None)
        num_steps, batch = response.shape[:2]
        age = torch.arange(1, num_steps + 1, dtype=events.dtype, device=events.device) / num_steps
        repeated = MotionPrior(*(part.repeat(num_steps, *[1] * (part.ndim - 1)) for part in start))
        places, spreads = self.locate(response.flatten(0, 1), age.repeat_interleave(batch), repeated)

        return places.reshape(num_steps, batch, 2), spreads.reshape(num_steps, batch)

    def begin(
        self,
        frames: Float[Tensor, "B 1 H W"],
        boxes: Float[Tensor, "B 4"],
        before: Float[Tensor, "B 1 H W"] | None = None,
        motion: Float[Tensor, "B 2"] | None = None,
    ) -> MotionPrior:
        """The motion prior at a frame.

        Args:
            frames: crops, grey levels 0 to 255.
            boxes: as for `track`.
            before: the frame before, cut at the same place; None if there was none.
            motion: displacement of the box between the two frames [px].
        """
        zeros = torch.zeros_like(boxes[:, :2])
        if self.trust is None or self.back is None or before is None or motion is None:
            return MotionPrior(zeros, zeros, torch.full_like(zeros[:, 0], torch.inf))

        # the place of the target in the frame before, by the pictures
        features, features_before = self.parts["what"](torch.cat([frames, before])).chunk(2)
        response = self.back(self.cut(features, boxes), features_before - features)
        back, _ = soft_argmax(response, -motion, self.search)

        return self.trust(motion, -back)

    def respond(
        self, inputs: dict[str, Tensor], state: NetworkState | None
    ) -> tuple[Float[Tensor, "T B D D"], NetworkState]:
        """The head's map of displacements at each bin of a part of a stream; a frame and a box start one.

        Args:
            inputs: `events` of the bins, and at the start `frames` and `boxes`.
            state: the last state; None at the start.
        """
        inputs_used = {name: x for name, x in inputs.items() if name in self.inputs}
        outputs, state = self(inputs_used, state, ticks=len(inputs["events"]))
        return outputs["head"], state

    def restart_events(self, state: NetworkState) -> NetworkState:
        """The state of the same frame with a new event stream: membranes and unit at rest.

        Args:
            state: the state that `respond` gives.
        """
        batch = state.like.shape[0]
        device = state.like.device
        parts = {name: None if name in self.event_parts else part for name, part in state.parts.items()}
        links = dict(state.links)

        for route in self.routes:
            unit = self.unit_of(route)
            if route.link.source in self.event_parts and unit is not None:
                links[route.name] = links[route.name]._replace(unit=unit.initial_state(batch, device))

        return state._replace(parts=parts, links=links)

    def locate(
        self, response: Float[Tensor, "B D D"], age: Float[Tensor, " B"], start: MotionPrior
    ) -> tuple[Float[Tensor, "B 2"], Float[Tensor, " B"]]:
        """The place on which the response and the prior agree, and its standard deviation [px].

        Args:
            response: the map that `respond` gives.
            age: time since the frame, in units of the time between the last two frames.
            start: the prior that `begin` gives.
        """
        predicted = start.motion * age[:, None]
        if self.prior is None:
            place, spread = soft_argmax(response, predicted, self.search)
        else:
            odds = response + self.prior(predicted, age, start.spread, response.shape[-1])
            search = self.search * torch.where(start.spread.isinf(), UNKNOWN_VELOCITY_FACTOR, 1.0)
            place, spread = soft_argmax(odds, predicted, search)

        return start.place + place, spread
