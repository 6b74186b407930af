"""The network of the signals recipe: a spiking network on the fast signal, an ANN on slow frames, hybrid units.

Both read the same sensor. The SNN gets the fast signal as signed delta spikes, the ANN one frame of summaries at each
of its ticks. A transmission unit turns the spikes between two frames into features beside the ANN's; a modulation unit
turns the ANN's features into factors of the SNN's thresholds (R. Zhao et al., Nature Communications 13:3427, 2022,
Figs. 1 and 2). Context layers, causal FIR kernels over the answers' clock, let an answer depend on the frames before.
A frame may also hold statistics of the signal before the window: then the factors adapt the SNN to who wears a sensor.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.analysis.summary import num_parameters
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import (
    FIR,
    Every,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    SignedDelta,
    Transmission,
    Tumbling,
    every,
)
from spikebridge.hybrid.network.link import Link
from spikebridge.neurons import LIF, Sequential, Triangle

VARIANTS = {
    "learned": "hybrid, both units learned",
    "fixed": "hybrid, both units fixed: mean, identity",
    "none": "hybrid without units: ANN and SNN answer alone, their logits are added",
    "ann": "ANN on frames",
    "snn": "SNN on the fast signal",
}

_INITIAL_GAIN = 3.0
_QUANTUM = 0.5
_MOST_QUANTA = 3


class Shape(NamedTuple):
    """Sizes of a network.

    Attributes:
        dt: base step, that of the fast signal [s].
        frame_period: base steps from one frame, and answer, to the next.
        num_channels: of the fast signal.
        num_features: of a frame.
        num_classes: of an answer.
        hidden: features of the ANN and neurons of a layer of the SNN.
        depth: context layers.
        taps: answers that a context layer covers.
        dropout: probability, in training.
    """

    dt: float
    frame_period: int
    num_channels: int
    num_features: int
    num_classes: int
    hidden: int = 64
    depth: int = 2
    taps: int = 5
    dropout: float = 0.15


class _FeatureLayer(nn.Module):
    """A dense layer on all inputs, concatenated, with batch normalisation, ReLU and dropout.

    Args:
        num_inputs: values of all inputs together.
        num_features: of the output.
        dropout: probability, in training.

    Example:
        >>> _FeatureLayer(5, 4)(torch.zeros(2, 3), torch.zeros(2, 2)).shape
        torch.Size([2, 4])
    """

    def __init__(self, num_inputs: int, num_features: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_features)
        self.norm = nn.BatchNorm1d(num_features)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, *features: Tensor) -> Tensor:
        """Features `(B, N)` each to `(B, num_features)`."""
        return self.dropout(self.relu(self.norm(self.linear(torch.cat(features, -1)))))


class _Readout(nn.Module):
    """Logits of all inputs, concatenated: those of each input alone, added.

    Example:
        >>> _Readout(5, 2)(torch.zeros(1, 3), torch.zeros(1, 2)).shape
        torch.Size([1, 2])
    """

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_classes)

    def forward(self, *features: Tensor) -> Tensor:
        """Features `(B, N)` each to logits `(B, num_classes)`."""
        return self.linear(torch.cat(features, -1))


class _PositiveFactor(nn.Module):
    """A factor of thresholds, `2 sigmoid(-x)`: 1 for 0, smaller for larger features, never negative.

    Example:
        >>> _PositiveFactor()(torch.tensor([0.0, 100.0])).tolist()
        [1.0, 0.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Features to factors, value by value."""
        return 2 * torch.sigmoid(-x)


def signals_network(variant: str, shape: Shape) -> HybridNetwork:
    """One of the networks of `VARIANTS`. It takes `signal` and `frames`.

    Args:
        variant: a name of `VARIANTS`.
        shape: sizes.

    Returns:
        A network whose output `answer` has logits `(K, B, num_classes)`, one at the end of every frame period.

    Raises:
        ConfigError: there is no such variant.

    Example:
        >>> network = signals_network("learned", Shape(0.01, 4, 3, 5, 2, hidden=8))
        >>> outputs, _ = network({"signal": torch.zeros(8, 1, 3), "frames": torch.zeros(2, 1, 5)})
        >>> outputs["answer"].shape
        torch.Size([2, 1, 2])
    """
    if variant not in VARIANTS:
        raise ConfigError(f"there is no signals network {variant!r}; {did_you_mean(variant, VARIANTS)}")

    draft = _Draft(shape)
    if variant != "snn":
        draft.add_ann()

    if variant != "ann":
        draft.add_snn(unit=_transmission(variant, shape))

    if variant in ("learned", "fixed"):
        draft.links.append(Modulation("ann", "snn.lif2.v_threshold", _modulation(variant, shape)))

    sides = [name for name in ("ann", "snn") if name in draft.parts]
    for sources in [[side] for side in sides] if variant == "none" else [sides]:
        draft.add_context(sources)

    draft.add_answer()
    return draft.network()


class _Draft:
    """The parts and links of a network that is being made."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.inputs: dict[str, Every] = {}
        self.parts: dict[str, nn.Module] = {}
        self.links: list[Link] = []
        self.units: dict[str, HybridUnit] = {}
        self.ends: list[str] = []

    @property
    def _frame_clock(self) -> Every:
        """Frames end with the base steps that they summarise."""
        dt = self.shape.dt
        period = self.shape.frame_period
        return every(period * dt, (period - 1) * dt)

    def add_ann(self) -> None:
        """Frames, scaled, to features."""
        shape = self.shape
        self.inputs["frames"] = self._frame_clock
        self.parts["ann"] = _FeatureLayer(shape.num_features, shape.hidden, shape.dropout)
        scale = HybridUnit(kernel=FIR(1, (shape.num_features,), keep=True))
        self.links.append(Transmission("frames", "ann", scale))

    def add_snn(self, unit: HybridUnit) -> None:
        """The fast signal, scaled, as delta spikes to two layers of LIF neurons."""
        shape = self.shape
        self.inputs["signal"] = every(shape.dt)
        scale = FIR(1, (shape.num_channels,), keep=True)
        code = HybridUnit(kernel=scale, discretizer=SignedDelta(_QUANTUM, _MOST_QUANTA))
        self.parts["snn"] = _snn(shape)
        self.links.append(Transmission("signal", "snn", code))
        self.units["snn"] = unit

    def add_context(self, sources: Sequence[str]) -> None:
        """Features of the sources together, and context layers on them."""
        shape = self.shape
        prefix = "_".join(sources)
        target = f"{prefix}_features"
        self.parts[target] = _FeatureLayer(shape.hidden * len(sources), shape.hidden, shape.dropout)
        self.links += [Transmission(source, target, self.units.get(source)) for source in sources]

        for layer in range(shape.depth):
            source, target = target, f"{prefix}_context{layer + 1}"
            self.parts[target] = _FeatureLayer(shape.hidden, shape.hidden, shape.dropout)
            self.links.append(Transmission(source, target, HybridUnit(kernel=_context(shape))))

        self.ends.append(target)

    def add_answer(self) -> None:
        """The read-out of all context layers."""
        self.parts["answer"] = _Readout(self.shape.hidden * len(self.ends), self.shape.num_classes)
        self.links += [Transmission(end, "answer") for end in self.ends]

    def network(self) -> HybridNetwork:
        """The network of these parts and links."""
        return HybridNetwork(
            dt=self.shape.dt, inputs=self.inputs, parts=self.parts, links=self.links, outputs=["answer"]
        )


def _context(shape: Shape) -> FIR:
    """A causal kernel a feature; it starts with most weight on the present."""
    kernel = FIR(shape.taps, (shape.hidden,), keep=True)
    with torch.no_grad():
        kernel.weight.normal_(0.0, shape.taps**-0.5)

    return kernel


def _snn(shape: Shape) -> Sequential:
    def lif() -> LIF:
        return LIF(tau=0.02, surrogate=Triangle(1.0), learn=("tau",))

    fc1 = nn.Linear(shape.num_channels, shape.hidden)
    fc2 = nn.Linear(shape.hidden, shape.hidden)
    with torch.no_grad():
        # most steps bring no spike, so default weights would leave every membrane far below its threshold
        fc1.weight *= _INITIAL_GAIN
        fc2.weight *= _INITIAL_GAIN

    return Sequential(fc1=fc1, lif1=lif(), fc2=fc2, lif2=lif())


def _transmission(variant: str, shape: Shape) -> HybridUnit:
    """Spikes of a frame period to features; a learned unit starts as the fixed one."""
    if variant != "learned":
        return HybridUnit(Tumbling(shape.frame_period), Mean())

    identity = nn.Linear(shape.hidden, shape.hidden)
    nn.init.eye_(identity.weight)
    nn.init.zeros_(identity.bias)

    return HybridUnit(Tumbling(shape.frame_period), FIR(shape.frame_period, (shape.hidden,)), identity)


def _modulation(variant: str, shape: Shape) -> HybridUnit:
    """Features to factors of thresholds; a learned unit starts without effect."""
    if variant == "fixed":
        return HybridUnit(nonlinearity=_PositiveFactor())

    nothing = nn.Linear(shape.hidden, shape.hidden)
    nn.init.zeros_(nothing.weight)
    nn.init.zeros_(nothing.bias)

    return HybridUnit(nonlinearity=nn.Sequential(nothing, _PositiveFactor()))


def scale_inputs(network: HybridNetwork, inputs: Mapping[str, Float[Tensor, "T B N"]]) -> None:
    """Sets the kernels behind the inputs so that each channel has the standard deviation 1 on these inputs.

    Args:
        network: from `signals_network`.
        inputs: of the training windows, by name.

    Example:
        >>> network = signals_network("ann", Shape(0.01, 4, 3, 2, 2, hidden=8))
        >>> scale_inputs(network, {"frames": torch.tensor([0.0, 4.0]).reshape(2, 1, 1).expand(2, 1, 2)})
        >>> round(float(network.units["frames_to_ann"].kernel.weight.detach()[0, 0]), 3)
        0.354
    """
    for name, part in (("frames", "ann"), ("signal", "snn")):
        unit: Any = network.units._modules.get(f"{name}_to_{part}")
        if unit is not None:
            with torch.no_grad():
                unit.kernel.weight.copy_(1 / inputs[name].flatten(0, 1).std(0).clamp(min=1e-3))


def parameter_matched(variant: str, shape: Shape) -> HybridNetwork:
    """The variant with the number of parameters nearest to that of the learned hybrid of a shape.

    Args:
        variant: a name of `VARIANTS`.
        shape: of the learned hybrid; the number of hidden features is chosen anew for the others.

    Example:
        >>> shape = Shape(0.01, 4, 8, 20, 5, hidden=40)
        >>> goal = num_parameters(parameter_matched("learned", shape))
        >>> all(abs(num_parameters(parameter_matched(variant, shape)) / goal - 1) < 0.05 for variant in VARIANTS)
        True
    """
    if variant == "learned":
        return signals_network(variant, shape)

    with torch.random.fork_rng(devices=[]):
        goal = num_parameters(signals_network("learned", shape))
        low = shape.hidden // 2
        high = 3 * shape.hidden

        while low < high:  # more hidden features, more parameters
            middle = (low + high) // 2
            enough = num_parameters(signals_network(variant, shape._replace(hidden=middle))) >= goal
            low, high = (low, middle) if enough else (middle + 1, high)

        near = {
            h: abs(num_parameters(signals_network(variant, shape._replace(hidden=h))) - goal) for h in (low - 1, low)
        }

    return signals_network(variant, shape._replace(hidden=min(near, key=near.__getitem__)))
