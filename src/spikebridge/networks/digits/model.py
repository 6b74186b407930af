"""The smallest hybrid network: an ANN on frames (what) and an SNN on events (where), linked both ways.

The what pathway reads frames at a low rate, the where pathway events at a high rate. A transmission unit turns the
SNN's spikes into features of the read-out, a modulation unit turns the ANN's features into thresholds of the SNN (R.
Zhao et al., Nature Communications 13:3427, 2022, Figs. 1 and 2). `VARIANTS` are this network with both units, with the
transmission alone, and its ANN-only and SNN-only twins.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikebridge.analysis.summary import num_parameters
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import FIR, Every, HybridNetwork, HybridUnit, Mean, Modulation, Transmission, Tumbling, every
from spikebridge.hybrid.twins import match_parameters
from spikebridge.neurons import LIF, Sequential, Triangle

VARIANTS = {
    "learned": "hybrid, both units learned",
    "transmission": "hybrid, the learned unit SNN -> ANN alone",
    "ann": "ANN on frames",
    "snn": "SNN on events",
}
_INITIAL_GAIN = 3.5  # of the weights of the SNN


class Readout(nn.Module):
    """A linear read-out of all inputs, concatenated.

    Args:
        num_features: features of all inputs together.
        num_classes: classes of the answer.

    Example:
        >>> Readout(5, 10)(torch.zeros(2, 3), torch.zeros(2, 2)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, num_classes)

    def forward(self, *features: Tensor) -> Tensor:
        """Features `(B, N)` each to logits `(B, num_classes)`."""
        return self.linear(torch.cat(features, -1))


class ThresholdFactor(nn.Module):
    """A factor of thresholds, `2 sigmoid(-x)`: 1 for 0, below 1 for an active feature, never negative.

    Example:
        >>> ThresholdFactor()(torch.tensor([0.0, 100.0])).tolist()
        [1.0, 0.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Features to factors, value by value."""
        return 2 * torch.sigmoid(-x)


def what_where(
    variant: str, hidden: int, *, dt: float, frame_period: int, frame_every: int, sensor: int, num_classes: int = 10
) -> HybridNetwork:
    """One of the networks of `VARIANTS`. It answers at the end of each window of `frame_period` steps.

    Args:
        variant: a name of `VARIANTS`.
        hidden: features of each pathway.
        dt: base step, the time of one event step [s].
        frame_period: base steps of a window.
        frame_every: base steps from one frame to the next.
        sensor: height and width of frames `(T, B, 1, H, W)` and events `(T, B, 2, H, W)`.
        num_classes: classes of the answer.

    Raises:
        ConfigError: there is no such variant.

    Example:
        >>> network = what_where("learned", 8, dt=0.025, frame_period=3, frame_every=3, sensor=16)
        >>> outputs, _ = network({"frames": torch.zeros(2, 1, 1, 16, 16), "events": torch.zeros(6, 1, 2, 16, 16)})
        >>> outputs["answer"].shape
        torch.Size([2, 1, 10])
    """
    if variant not in VARIANTS:
        raise ConfigError(f"there is no what/where network {variant!r}; {did_you_mean(variant, VARIANTS)}")

    inputs: dict[str, Every] = {}
    parts: dict[str, nn.Module] = {}
    links: list[Transmission | Modulation] = []
    if variant != "snn":
        inputs["frames"] = every(frame_every * dt)
        parts["what"] = what_pathway(hidden, sensor)
        links.append(Transmission("frames", "what"))

    if variant != "ann":
        inputs["events"] = every(dt)
        parts["where"] = where_pathway(hidden, sensor)
        links.append(Transmission("events", "where"))

    if variant != "snn":
        # the features of the last frame hold until the next one
        links.append(Transmission("what", "answer", held=True))

    if variant == "snn":
        links.append(Transmission("where", "answer", HybridUnit(Tumbling(frame_period), Mean())))
    elif variant != "ann":
        links.append(Transmission("where", "answer", _learned_transmission(hidden, frame_period)))

    if variant == "learned":
        links.append(Modulation("what", "where.lif2.v_threshold", learned_modulation(hidden), by="multiply"))

    parts["answer"] = Readout(hidden * sum(link.target == "answer" for link in links), num_classes)
    # the last window ends with the recording, so all events are used
    clocks = {"answer": every(frame_period * dt, (frame_period - 1) * dt)}

    return HybridNetwork(dt=dt, inputs=inputs, parts=parts, links=links, outputs=["answer"], clocks=clocks)


def parameter_matched(
    build: Callable[[int], HybridNetwork], hidden: int, reference: Callable[[int], HybridNetwork]
) -> HybridNetwork:
    """The network with the number of parameters nearest to that of the reference with `hidden` features."""
    # networks that are only counted draw no random numbers of the training
    with torch.random.fork_rng(devices=[]):
        goal = num_parameters(reference(hidden))

    return match_parameters(build, goal).network


def what_pathway(hidden: int, sensor: int) -> nn.Module:
    """The ANN on frames."""
    flat = 8 * ((sensor + 1) // 2) ** 2
    return nn.Sequential(nn.Conv2d(1, 8, 5, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU())


def where_pathway(hidden: int, sensor: int) -> Sequential:
    """The SNN on events."""

    def lif() -> LIF:
        return LIF(tau=0.05, surrogate=Triangle(1.0), learn=("tau",))

    flat = 8 * ((sensor + 1) // 2) ** 2
    conv = nn.Conv2d(2, 8, 5, 2, 2)
    fc = nn.Linear(flat, hidden)

    # one input in twenty is a spike, so default weights would leave every membrane far below its threshold
    with torch.no_grad():
        conv.weight *= _INITIAL_GAIN
        fc.weight *= _INITIAL_GAIN

    return Sequential(conv=conv, lif1=lif(), flat=nn.Flatten(), fc=fc, lif2=lif())


def _learned_transmission(hidden: int, window: int) -> HybridUnit:
    """Spikes of a window to features; training starts from the mean."""
    identity = nn.Linear(hidden, hidden)
    nn.init.eye_(identity.weight)
    nn.init.zeros_(identity.bias)

    return HybridUnit(Tumbling(window), FIR(window, (hidden,)), identity)


def learned_modulation(hidden: int) -> HybridUnit:
    """Features to factors of thresholds; training starts with the factor 1."""
    linear = nn.Linear(hidden, hidden)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)

    return HybridUnit(nonlinearity=nn.Sequential(linear, ThresholdFactor()))
