"""The sensing network as a tracker runs it: one interface, three implementations with the same results to rounding.

| implementation | networks | computation |
|---|---|---|
| `FusedInference` | with a unit whose map is linear (`can_fuse`) | fused weights, one sample |
| `EagerInference` | all | the layers of `Sensing` as they are |
| that of `bundle_inference.py` | exported ones | the files of a bundle, or its integer model |

`Inference` names the four operations: `open` at a frame, a call at each bin with a result, `accumulate` at each bin
without one, and `restart_events` where the next frame is late.
"""

from copy import deepcopy
from math import exp, inf
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.heads import ChangeHead
from spikebridge.networks.sensing.model.motion_prior import MotionPrior, StartUncertainty, bayes_update, to_numpy
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.calibration import TrainedHead
from spikebridge.networks.sensing.tracker.fused_detector import FusedDetector
from spikebridge.networks.sensing.tracker.fused_model import FusedInference, can_fuse
from spikebridge.networks.sensing.tracker.head import trained_head


@runtime_checkable
class Inference(Protocol):
    """One network, run on one target.

    `trained` are the numbers that calibration starts from; None for a network that cannot be calibrated.
    """

    trained: TrainedHead | None

    def open(
        self,
        frame: Float[Tensor, "1 1 H W"],
        box: Float[Tensor, "1 4"],
        before: Float[Tensor, "1 1 H W"] | None = None,
        motion: Float[Tensor, "1 2"] | None = None,
        start: MotionPrior | None = None,
    ) -> tuple[MotionPrior, Any]:
        """Starts an event stream at a cropped frame; gives the motion prior, and the state.

        The box is relative to the centre of the crop, `before` the same crop of the frame before, and `motion` the
        displacement of the box between the two [px]. A known motion prior is given as `start`.
        """

    def __call__(
        self, events: Float[Tensor, "1 2 H W"], state: Any, age: float
    ) -> tuple[Float[np.ndarray, "2"], float, Any]:
        """The displacement at the end of a bin, its standard deviation along an axis [px], and the state.

        `events` are ON and OFF; `age` is the time since the stream started, in units of the time in which the target
        moves by `start.motion`.
        """

    def fits(
        self, events: Float[Tensor, "1 2 H W"], state: Any, window: tuple[slice, slice]
    ) -> tuple[Float[np.ndarray, "h w"], Any]:
        """`E` of the calibration at the end of a bin, in rows and columns of the map; only where `trained` is set.

        There is one value a pixel, 0 at displacement 0, which is the middle of the map.
        """

    def changes(self, state: Any) -> Float[np.ndarray, "D D"]:
        """`M` of the template, one a pixel, displacement 0 in the middle; only where `trained` is set."""

    def accumulate(self, events: Float[Tensor, "1 2 H W"], state: Any) -> Any:
        """The state after a bin without a result."""

    def restart_events(self, state: Any, start: MotionPrior) -> Any:
        """A new event stream of the same frame: membranes and sums at rest, the template kept.

        The spread of the motion prior is that of the place.
        """


class EagerState(NamedTuple):
    """The inputs of the frame, the motion prior, the network's own state, and the uncertainty of a restarted stream.

    The network's state is None before the first bin.
    """

    opening: dict[str, Tensor]
    start: MotionPrior
    network: Any
    uncertainty: StartUncertainty | None = None


class EagerInference(nn.Module):
    """A network of any form in eval mode, stepped layer by layer; see `Inference`."""

    def __init__(self, sensing: Sensing) -> None:
        super().__init__()
        self.sensing = sensing
        head = sensing.parts["head"]
        self.trained = trained_head(head, sensing.prior) if isinstance(head, ChangeHead) else None

    @torch.no_grad()
    def open(
        self,
        frame: Float[Tensor, "1 1 H W"],
        box: Float[Tensor, "1 4"],
        before: Float[Tensor, "1 1 H W"] | None = None,
        motion: Float[Tensor, "1 2"] | None = None,
        start: MotionPrior | None = None,
    ) -> tuple[MotionPrior, EagerState]:
        """See `Inference.open`."""
        if start is None:
            start = self.sensing.begin(frame, box, before, motion)
        return start, EagerState({"frames": frame[None], "boxes": box[None]}, start, None)

    @torch.no_grad()
    def restart_events(self, state: EagerState, start: MotionPrior) -> EagerState:
        """See `Inference.restart_events`."""
        network = None if state.network is None else self._restarted(state.network)
        uncertainty = None
        head = self.sensing.parts["head"]
        if isinstance(head, ChangeHead):
            uncertainty = StartUncertainty(float(start.spread), self._unchanged(head, state))
            start = start._replace(spread=torch.zeros_like(start.spread))

        return state._replace(start=start, network=network, uncertainty=uncertainty)

    @torch.no_grad()
    def forward(
        self, events: Float[Tensor, "1 2 H W"], state: EagerState, age: float
    ) -> tuple[Float[np.ndarray, "2"], float, EagerState]:
        """See `Inference.__call__`."""
        response, later = self._respond(events, state)
        ages = torch.tensor([age], dtype=events.dtype)
        if state.uncertainty is None:
            place, spread = self.sensing.locate(response[-1], ages, state.start)
            return place[0].double().numpy(), float(spread), later

        prior = self.sensing.prior
        variance = inf if prior is None else float(prior.variance(ages, state.start.spread))
        fits = _as_map(response[-1]) - state.uncertainty.unchanged
        expected = to_numpy(state.start)
        displacement, deviation = bayes_update(fits, state.uncertainty, expected, variance, age, self.sensing.search)

        return displacement, deviation, later

    @torch.no_grad()
    def fits(
        self, events: Float[Tensor, "1 2 H W"], state: EagerState, window: tuple[slice, slice]
    ) -> tuple[Float[np.ndarray, "h w"], EagerState]:
        """See `Inference.fits`."""
        head: Any = self.sensing.parts["head"]
        response, later = self._respond(events, state)
        fits = (_as_map(response[-1]) - self._unchanged(head, state)) / exp(head.log_scale.item())
        half = len(fits) // 2

        return fits[window] - fits[half, half], later

    @torch.no_grad()
    def changes(self, state: EagerState) -> Float[np.ndarray, "D D"]:
        """See `Inference.changes`."""
        head: Any = self.sensing.parts["head"]
        unchanged = self._unchanged(head, state)
        return (unchanged.max() - unchanged) / (exp(head.log_scale.item()) * head.g.item())

    @torch.no_grad()
    def accumulate(self, events: Float[Tensor, "1 2 H W"], state: EagerState) -> EagerState:
        """See `Inference.accumulate`."""
        return self._respond(events, state)[1]

    def _respond(self, events: Tensor, state: EagerState) -> tuple[Tensor, EagerState]:
        # frame and box are inputs of the first bin alone
        opening = state.opening if state.network is None else {}
        response, network = self.sensing.respond({**opening, "events": events[None]}, state.network)
        return response, state._replace(network=network)

    def _restarted(self, network: Any) -> Any:
        """The network's own state with events at rest."""
        return self.sensing.restart_events(network)

    def _unchanged(self, head: ChangeHead, state: EagerState) -> Float[np.ndarray, "D D"]:
        """The head's log-odds where no feature has changed."""
        if state.uncertainty is not None:
            return state.uncertainty.unchanged
        features = self.sensing.parts["what"](state.opening["frames"][0])
        return _as_map(head(self.sensing.cut(features, state.opening["boxes"][0])))


def _as_map(response: Float[Tensor, "1 D D"]) -> Float[np.ndarray, "D D"]:
    return response[0].double().numpy()


class InferenceModel(NamedTuple):
    """The network between frames, and the detector at frames."""

    network: Inference
    detector: FusedDetector | None


def check_inference(sensing: Sensing) -> None:
    """Refuses a network in training mode, where a batch changes the next, or of another type or device than frames."""
    if sensing.training:
        raise ConfigError("a tracker needs its network in eval mode; call .eval()")

    for name, x in sensing.named_parameters():
        if x.is_floating_point() and (x.dtype != torch.float32 or x.device.type != "cpu"):
            raise ConfigError(
                f"a tracker's frames and events are torch.float32 on cpu, but {name} of its network is {x.dtype} on "
                f"{x.device}; call .float().cpu()"
            )


def build_inference(sensing: Sensing, crop: int) -> InferenceModel:
    """The network as a tracker runs it, on crops of a side [px]. Its weights are read once."""
    check_inference(sensing)
    network: Inference = FusedInference(sensing, crop) if can_fuse(sensing) else EagerInference(deepcopy(sensing))

    return InferenceModel(network, None if sensing.detector is None else FusedDetector(sensing.detector))


class InferenceCache:
    """The inference model of the last network, built again where PyTorch has counted a change of a weight."""

    def __init__(self) -> None:
        self._key: Any = None
        self._model: InferenceModel | None = None
        self._kept: list[Tensor] = []

    def __call__(self, sensing: Sensing, crop: int) -> InferenceModel:
        """See `build_inference`."""
        weights = [*sensing.named_parameters(), *sensing.named_buffers()]
        key = sensing, crop, [(name, id(x), x._version) for name, x in weights]
        if self._model is None or self._key != key:
            self._model = build_inference(sensing, crop)
            self._key = key
            # so that no other tensor gets the id of one of them
            self._kept = [x for _, x in weights]

        return self._model
