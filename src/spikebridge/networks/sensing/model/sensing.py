"""The hybrid sensing network: an ANN reads frames, an SNN reads events, a hybrid unit adds the change to the features.

    SF^(t + dt) = SF(t) + HU[ SNN[ events since t ] ]

(R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 4-6.) With the change head the sum is never formed: the head
compares the change itself with what a moved target would change in `SF`, which is the same least squares with less to
compute. The correlation head forms it. In the kernel form the unit goes the other way (`units.py`).

One stream of the network is one frame and the events after it: the crop moves with the target, so each frame begins a
new stream, with membranes and unit at rest. Between frames the ANN never runs.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork, NetworkState
from spikebridge.networks.sensing.model.backbones import (
    ResNetWhat,
    WhatPathway,
    WherePathway,
    resnet_features,
    resnet_where,
)
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

# parts with a memory of events
_OF_EVENTS = ("where", "membrane")


class Sensing(HybridNetwork):
    """Where a target has gone since a frame: the graph of ANN, SNN, unit and head, and what is known of velocity.

    As a `HybridNetwork` it gives a map of displacements at each bin; `track` makes places of them.

    Args:
        dt: length of a bin [s].
        options: the form of the network.

    Raises:
        ConfigError: the pathways do not have that number of features.

    Example:
        >>> sensing = Sensing(dt=1 / 240)
        >>> frames, events = torch.zeros(2, 1, 96, 96), torch.zeros(6, 2, 2, 96, 96)
        >>> start = sensing.begin(frames, torch.tensor([[0.0, 0, 20, 20]] * 2))
        >>> places, spreads = sensing.track(frames, events, torch.tensor([[0.0, 0, 20, 20]] * 2), start)
        >>> places.shape, spreads.shape
        (torch.Size([6, 2, 2]), torch.Size([6, 2]))
    """

    def __init__(self, dt: float, options: SensingOptions | None = None) -> None:
        options = options or SensingOptions()
        what, where = _pathways(options)
        super().__init__(**sensing_graph(options, what, where, dt))
        self.options = options

        # the names of these attributes are keys of saved weights
        self.prior = ConstantVelocityPrior() if options.prior else None
        self.back = ChangeHead(options.reach, options.stride) if options.prior else None
        self.cut = Template(stride=options.stride)
        self.trust = MotionFusion() if options.prior else None
        self.finder = TargetDetector() if options.detector else None

    @property
    def stride(self) -> int:
        """Side of a cell of the features [px]."""
        return self.options.stride

    @property
    def search(self) -> float:
        """The largest distance from the predicted place [px]."""
        return self.options.search

    @property
    def counts(self) -> bool:
        """Whether events are counted."""
        return self.options.counts

    def track(
        self,
        frames: Float[Tensor, "B 1 H W"],
        events: Float[Tensor, "T B 2 H W"],
        boxes: Float[Tensor, "B 4"],
        start: MotionPrior,
    ) -> tuple[Float[Tensor, "T B 2"], Float[Tensor, "T B"]]:
        """Where the target is at the end of each bin up to the next frame.

        Args:
            frames: crops, grey levels 0 to 255.
            events: of the same crops, ON and OFF.
            boxes: centre of the target relative to the centre of the crop, and its size `(x, y, w, h)` [px].
            start: of `begin`.

        Returns:
            Displacements from the middle of the box, and their standard deviations [px].
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
        """What is expected when a frame has come.

        Args:
            frames: crops, grey levels 0 to 255.
            boxes: as for `track`.
            before: the frame before, cut at the same place; None where there was none.
            motion: how far the box went between the two [px].
        """
        still = torch.zeros_like(boxes[:, :2])
        if self.trust is None or self.back is None or before is None or motion is None:
            return MotionPrior(still, still, torch.full_like(still[:, 0], torch.inf))

        now, then = self.parts["what"](torch.cat([frames, before])).chunk(2)
        back, _ = soft_argmax(self.back(self.cut(now, boxes), then - now), -motion, self.search)

        return self.trust(motion, -back)

    def respond(
        self, inputs: dict[str, Tensor], state: NetworkState | None
    ) -> tuple[Float[Tensor, "T B D D"], NetworkState]:
        """What the events say of each displacement, on a stretch of a stream; a frame and a box begin it."""
        known = {name: x for name, x in inputs.items() if name in self.inputs}
        outputs, state = self(known, state, ticks=len(inputs["events"]))
        return outputs["head"], state

    def restart_events(self, state: NetworkState) -> NetworkState:
        """The state of the same frame with a new event stream: membranes and unit at rest.

        Args:
            state: of `respond`.
        """
        batch = state.like.shape[0]
        device = state.like.device
        parts = {name: None if name in _OF_EVENTS else known for name, known in state.parts.items()}

        links = {
            route.name: state.links[route.name]._replace(unit=unit.initial_state(batch, device))
            if route.link.source in _OF_EVENTS and (unit := self.unit_of(route)) is not None
            else state.links[route.name]
            for route in self.routes
        }
        return state._replace(parts=parts, links=links)

    def change(
        self, events: Float[Tensor, "T B 2 H W"], features: Float[Tensor, "B C H2 W2"] | None = None
    ) -> Float[Tensor, "T B C H2 W2"]:
        """What the unit adds to the features of the frame at each bin, in the additive form.

        Args:
            events: since the frame, ON and OFF.
            features: of the frame; a joined map reads them, others do not.

        Raises:
            ConfigError: the network has no unit from SNN to ANN, or its map lacks the features.
        """
        if "unit" not in self.units or "membrane" in self.parts:
            raise ConfigError("only a network of the additive form with a unit has a change of features")

        starts = torch.zeros(len(events), dtype=torch.bool, device=events.device)
        starts[:1] = True
        context = None
        if self.plan.routes["unit"].link.context is not None:
            if features is None:
                raise ConfigError("a joined map reads the features of the frame; give features")
            context = features.expand(len(events), *features.shape)

        change: Tensor = self.units["unit"](self.parts["where"](events)[0], starts=starts, context=context)[0]
        return change

    def locate(
        self, response: Float[Tensor, "B D D"], age: Float[Tensor, " B"], start: MotionPrior
    ) -> tuple[Float[Tensor, "B 2"], Float[Tensor, " B"]]:
        """The place on which the response and the prior agree, and its standard deviation [px].

        Args:
            response: of the network.
            age: time since the frame, in parts of the time between the last two frames.
            start: of `begin`.
        """
        predicted = start.motion * age[:, None]
        if self.prior is None:
            place, spread = soft_argmax(response, predicted, self.search)
        else:
            odds = response + self.prior(predicted, age, start.spread, response.shape[-1])
            search = self.search * torch.where(start.spread.isinf(), UNKNOWN_VELOCITY_FACTOR, 1.0)
            place, spread = soft_argmax(odds, predicted, search)

        return start.place + place, spread


def _pathways(options: SensingOptions) -> tuple[nn.Module, nn.Module]:
    """ANN and SNN."""
    num_features = options.num_features
    memory = options.memory
    if options.size == "small":
        return WhatPathway(num_features), WherePathway(num_features, memory=memory)

    width = num_features // 16
    if width < 1 or resnet_features(width) != num_features or not memory:
        raise ConfigError(f"a resnet has a multiple of 16 features, and memory, but got {num_features=}, {memory=}")

    return ResNetWhat(width), resnet_where(width)
