"""The hybrid sensing network: an ANN reads frames, an SNN reads events, a hybrid unit adds the change to the features.

    SF^(t + dt) = SF(t) + HU[ SNN[ events since t ] ]

(R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 4-6.) The sum is never formed: the head compares the change
itself with what a moved target would change in `SF`, which is the same least squares with less to compute.

One stream of the network is one frame and the events after it: the crop moves with the target, so each frame begins a
new stream, with membranes and unit at rest. Between frames the ANN never runs.
"""

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import Exponential, HybridNetwork, HybridUnit, NetworkState, Since, Sum, Transmission, every
from spikebridge.networks.sensing_finding import Finder
from spikebridge.networks.sensing_head import ChangeHead, Template
from spikebridge.networks.sensing_motion import Start, Trust, VelocityPrior, expected_place
from spikebridge.networks.sensing_pathways import WhatPathway, WherePathway

UnitKind = Literal["learned", "fixed", "none"]

# frames come when they come: each begins a stream, in which no second one follows
_NEVER_AGAIN = 2**30


def additive_unit(kind: UnitKind, num_features: int, dt: float, tau: float = 0.1) -> HybridUnit:
    """Events since the frame, leakily summed, mapped to a change of features: window, kernel, linear map; no spikes.

    Args:
        kind: `learned` trains the time constant and the 3 x 3 map, `fixed` is a plain sum.
        num_features: channels.
        dt: length of a bin [s].
        tau: where the time constant starts [s].

    Example:
        >>> unit = additive_unit("fixed", 8, dt=1 / 240)
        >>> change, _ = unit(torch.ones(3, 1, 8, 4, 4), opens=torch.tensor([True, False, False]))
        >>> change[:, 0, 0, 0, 0].tolist()
        [1.0, 2.0, 3.0]
    """
    if kind == "fixed":
        return HybridUnit(Since("frames"), Sum(keep=True))
    taus = torch.full((num_features, 1, 1), tau)
    identity = nn.Conv2d(num_features, num_features, 3, 1, 1, bias=False)
    nn.init.dirac_(identity.weight)
    return HybridUnit(Since("frames"), Exponential(taus, dt=dt, keep=True, learn=("tau",)), identity)


class Sensing(HybridNetwork):
    """Where a target has gone since a frame: the graph of ANN, SNN, unit and head, and what is known of velocity.

    As a `HybridNetwork` it gives a map of displacements at each bin; `follow` makes places of them.

    Args:
        dt: length of a bin [s].
        unit: the hybrid unit: `learned`, `fixed` (a plain sum), or `none`: then events change nothing.
        prior: whether the velocity of the last two frames counts.
        num_features: channels of both pathways.
        reach: displacements are looked at up to so many cells of 2 px.
        search: and no further than this from the predicted place [px].
        memory: whether the membranes of the SNN remember.
        finder: whether the target is looked for at frames without a told box.

    Example:
        >>> sensing = Sensing(dt=1 / 240)
        >>> frames, events = torch.zeros(2, 1, 96, 96), torch.zeros(6, 2, 2, 96, 96)
        >>> start = sensing.begin(frames, torch.tensor([[0.0, 0, 20, 20]] * 2))
        >>> places, spreads = sensing.follow(frames, events, torch.tensor([[0.0, 0, 20, 20]] * 2), start)
        >>> places.shape, spreads.shape
        (torch.Size([6, 2, 2]), torch.Size([6, 2]))
    """

    def __init__(
        self,
        *,
        dt: float,
        unit: UnitKind = "learned",
        prior: bool = True,
        num_features: int = 8,
        reach: int = 16,
        search: float = 10.0,
        memory: bool = True,
        finder: bool = True,
    ) -> None:
        if unit not in get_args(UnitKind):
            raise ConfigError(f"there is no hybrid unit {unit!r}; {did_you_mean(unit, get_args(UnitKind))}")
        if not search >= 1:
            raise ConfigError(f"a search needs 1 px or more, but got {search}")
        super().__init__(**_graph(unit, num_features, dt, reach, memory))
        self.search = search
        self.prior = VelocityPrior() if prior else None
        self.back = ChangeHead(reach) if prior else None
        self.trust = Trust() if prior else None
        self.finder = Finder() if finder else None

    def follow(
        self,
        frames: Float[Tensor, "B 1 H W"],
        events: Float[Tensor, "T B 2 H W"],
        boxes: Float[Tensor, "B 4"],
        start: Start,
    ) -> tuple[Float[Tensor, "T B 2"], Float[Tensor, "T B"]]:
        """Where the target is at the end of each bin up to the next frame.

        Args:
            frames: crops, grey levels 0 to 255.
            events: of the same crops, ON and OFF.
            boxes: middle of the target beside the middle of the crop, and its size `(x, y, w, h)` [px].
            start: of `begin`.

        Returns:
            Displacements from the middle of the box, and their standard deviations [px].
        """
        response, _ = self.respond({"frames": frames[None], "boxes": boxes[None], "events": events}, None)
        num_steps, batch = response.shape[:2]
        age = torch.arange(1, num_steps + 1, dtype=events.dtype, device=events.device) / num_steps
        repeated = Start(*(part.repeat(num_steps, *[1] * (part.ndim - 1)) for part in start))
        places, spreads = self.locate(response.flatten(0, 1), age.repeat_interleave(batch), repeated)
        return places.reshape(num_steps, batch, 2), spreads.reshape(num_steps, batch)

    def begin(
        self,
        frames: Float[Tensor, "B 1 H W"],
        boxes: Float[Tensor, "B 4"],
        before: Float[Tensor, "B 1 H W"] | None = None,
        motion: Float[Tensor, "B 2"] | None = None,
    ) -> Start:
        """What is expected when a frame has come.

        Args:
            frames: crops, grey levels 0 to 255.
            boxes: as for `follow`.
            before: the frame before, cut at the same place; None where there was none.
            motion: how far the box went between the two [px].
        """
        still = torch.zeros_like(boxes[:, :2])
        if self.trust is None or self.back is None or before is None or motion is None:
            return Start(still, still, torch.full_like(still[:, 0], torch.inf))
        what, template = self.parts["what"], self.parts["template"]
        now, then = what(torch.cat([frames, before])).chunk(2)
        back, _ = expected_place(self.back(template(now, boxes), then - now), -motion, self.search)
        return self.trust(motion, -back)

    def respond(
        self, inputs: dict[str, Tensor], state: NetworkState | None
    ) -> tuple[Float[Tensor, "T B D D"], NetworkState]:
        """What the events say of each displacement, on a stretch of a stream; a frame and a box begin it."""
        known = {name: x for name, x in inputs.items() if name in self.inputs}
        outputs, state = self(known, state, ticks=len(inputs["events"]))
        return outputs["head"], state

    def locate(
        self, response: Float[Tensor, "B D D"], age: Float[Tensor, " B"], start: Start
    ) -> tuple[Float[Tensor, "B 2"], Float[Tensor, " B"]]:
        """The place on which the response and the prior agree, and its standard deviation [px].

        Args:
            response: of the network.
            age: time since the frame, in parts of the time between the last two frames.
            start: of `begin`.
        """
        if self.prior is None:
            place, spread = expected_place(response, torch.zeros_like(start.motion), self.search)
        else:
            predicted = start.motion * age[:, None]
            odds = response + self.prior(predicted, age, start.spread, response.shape[-1])
            place, spread = expected_place(odds, predicted, self.search)
        return start.place + place, spread


def _graph(unit: UnitKind, num_features: int, dt: float, reach: int, memory: bool) -> dict[str, Any]:
    """Frames, boxes and events to a map of displacements at each bin."""
    parts: dict[str, nn.Module] = {"what": WhatPathway(num_features), "template": Template()}
    links = [
        Transmission("frames", "what"),
        Transmission("what", "template", into="features"),
        Transmission("boxes", "template", into="box"),
        Transmission("template", "head", held=True, into="template"),
    ]
    inputs = {"frames": every(_NEVER_AGAIN * dt), "boxes": every(_NEVER_AGAIN * dt)}
    if unit != "none":
        inputs["events"] = every(dt)
        parts["where"] = WherePathway(num_features, dt=dt, memory=memory)
        links.append(Transmission("events", "where"))
        links.append(Transmission("where", "head", additive_unit(unit, num_features, dt), into="change", name="unit"))
    parts["head"] = ChangeHead(reach)
    clocks = {"head": every(dt)}
    return {"dt": dt, "inputs": inputs, "parts": parts, "links": links, "outputs": ["head"], "clocks": clocks}
