"""A trained sensing network as a tracker runs it, at one sample: folded where its form allows it, else as it is.

Both give the same: `start, state = network.open(frame, box, ...)` when a frame comes, and after each bin of events
`place, spread, state = network(events, state, age)`.
"""

from copy import deepcopy
from math import inf
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.data.events.binned import BinEvents, Crop, crop_events
from spikebridge.errors import ConfigError
from spikebridge.hybrid import NetworkState
from spikebridge.networks.sensing.model.heads import ChangeHead
from spikebridge.networks.sensing.model.motion_prior import MotionPrior, StartUncertainty, bayes_update, to_numpy
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.fused_detector import FusedDetector
from spikebridge.networks.sensing.tracker.fused_model import FusedInference, can_fuse


class EagerState(NamedTuple):
    """What opens a stream, what was expected, the network's own state once it has begun, and the drift."""

    opening: dict[str, Tensor]
    start: MotionPrior
    network: NetworkState | None
    drift: StartUncertainty | None = None


class EagerInference(nn.Module):
    """A network of any form, stepped as it is.

    Args:
        sensing: in eval mode.

    Example:
        >>> plain = EagerInference(Sensing(dt=1 / 240, unit="none").eval())
        >>> start, state = plain.open(255 * torch.rand(1, 1, 96, 96), torch.tensor([[0.0, 0.0, 20.0, 20.0]]))
        >>> place, spread, state = plain(torch.zeros(1, 2, 96, 96), state, age=1.0)
        >>> bool(abs(place).max() < 0.1)  # nothing moves it
        True
    """

    def __init__(self, sensing: Sensing) -> None:
        super().__init__()
        self.sensing = sensing

    @torch.no_grad()
    def open(
        self,
        frame: Float[Tensor, "1 1 H W"],
        box: Float[Tensor, "1 4"],
        before: Float[Tensor, "1 1 H W"] | None = None,
        motion: Float[Tensor, "1 2"] | None = None,
        start: MotionPrior | None = None,
    ) -> tuple[MotionPrior, EagerState]:
        """See `FusedInference.open`."""
        if start is None:
            start = self.sensing.begin(frame, box, before, motion)
        return start, EagerState({"frames": frame[None], "boxes": box[None]}, start, None)

    @torch.no_grad()
    def restart_events(self, state: EagerState, start: MotionPrior) -> EagerState:
        """See `FusedInference.restart_events`."""
        network = None if state.network is None else self.sensing.restart_events(state.network)
        drift, head = None, self.sensing.parts["head"]
        if isinstance(head, ChangeHead):
            drift = StartUncertainty(float(start.spread), self._still(head, state))
            start = start._replace(spread=torch.zeros_like(start.spread))
        return state._replace(start=start, network=network, drift=drift)

    @torch.no_grad()
    def forward(
        self, events: Float[Tensor, "1 2 H W"], state: EagerState, age: float
    ) -> tuple[Float[np.ndarray, "2"], float, EagerState]:
        """See `FusedInference.forward`."""
        response, later = self._respond(events, state)
        ages = torch.tensor([age], dtype=events.dtype)
        if state.drift is None:
            place, spread = self.sensing.locate(response[-1], ages, state.start)
            return place[0].double().numpy(), float(spread), later
        prior, expected = self.sensing.prior, to_numpy(state.start)
        variance = inf if prior is None else float(prior.variance(ages, state.start.spread))
        fits = _map(response[-1]) - state.drift.still
        return *bayes_update(fits, state.drift, expected, variance, age, self.sensing.search), later

    @torch.no_grad()
    def accumulate(self, events: Float[Tensor, "1 2 H W"], state: EagerState) -> EagerState:
        """A bin that needs no answer."""
        return self._respond(events, state)[1]

    def _respond(self, events: Tensor, state: EagerState) -> tuple[Tensor, EagerState]:
        opening = state.opening if state.network is None else {}
        response, network = self.sensing.respond({**opening, "events": events[None]}, state.network)
        return response, state._replace(network=network)

    def _still(self, head: ChangeHead, state: EagerState) -> Float[np.ndarray, "D D"]:
        """What the head says of the target when nothing has changed."""
        if state.drift is not None:
            return state.drift.still
        features = self.sensing.parts["what"](state.opening["frames"][0])
        return _map(head(self.sensing.cut(features, state.opening["boxes"][0])))


def _map(response: Float[Tensor, "1 D D"]) -> Float[np.ndarray, "D D"]:
    return response[0].double().numpy()


class InferenceModel(NamedTuple):
    """What a tracker runs: the network between frames, what looks for the target in them, and whether events count."""

    network: FusedInference | EagerInference
    finder: FusedDetector | None
    counts: bool = False

    def seen(self, events: BinEvents, crop: Crop) -> Float[Tensor, "1 2 H W"]:
        """The events of a bin as the network sees them.

        Args:
            events: of one bin.
            crop: what it sees [px].
        """
        return crop_events(events, crop, self.counts)[None]


def check_inference(sensing: Sensing) -> None:
    """Refuses a network that a tracker cannot step.

    Args:
        sensing: the network.

    Raises:
        ConfigError: it is in training mode, where one batch changes the next, or its weights are of another type or on
            another device than frames and events.

    Example:
        >>> check_inference(Sensing(dt=1 / 240).eval())
    """
    if sensing.training:
        raise ConfigError("a tracker needs its network in eval mode; call .eval()")
    for name, x in sensing.named_parameters():
        if x.is_floating_point() and (x.dtype != torch.float32 or x.device.type != "cpu"):
            raise ConfigError(
                f"a tracker's frames and events are torch.float32 on cpu, but {name} of its network is {x.dtype} on "
                f"{x.device}; call .float().cpu()"
            )


def build_inference(sensing: Sensing, crop: int) -> InferenceModel:
    """The network as a tracker runs it.

    Args:
        sensing: in eval mode; its weights are read now.
        crop: side of the square that it sees [px].

    Raises:
        ConfigError: see `check_inference`.
    """
    check_inference(sensing)
    network = FusedInference(sensing, crop) if can_fuse(sensing) else EagerInference(deepcopy(sensing))
    return InferenceModel(network, None if sensing.finder is None else FusedDetector(sensing.finder), sensing.counts)


class InferenceCache:
    """A network as a tracker runs it, made ready anew only where a weight has changed since the last time.

    Example:
        >>> kept, sensing = InferenceCache(), Sensing(dt=1 / 240).eval()
        >>> first = kept(sensing, crop=96)
        >>> kept(sensing, crop=96) is first
        True
        >>> _ = torch.nn.init.zeros_(sensing.parts["what"].straight.weight)
        >>> kept(sensing, crop=96) is first
        False
    """

    def __init__(self) -> None:
        self._of: tuple[Sensing, int] | None = None
        self._weights: dict[str, Tensor] = {}
        self._ready: InferenceModel | None = None

    def __call__(self, sensing: Sensing, crop: int) -> InferenceModel:
        """See `build_inference`."""
        weights = {**dict(sensing.named_parameters()), **dict(sensing.named_buffers())}
        # the values themselves: not every change of a tensor is counted by it
        if self._ready is None or self._of != (sensing, crop) or not _are_equal(weights, self._weights):
            self._ready = build_inference(sensing, crop)
            self._of, self._weights = (sensing, crop), {name: x.detach().clone() for name, x in weights.items()}
        return self._ready


def _are_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(x, theirs[name]) for name, x in ours.items())
