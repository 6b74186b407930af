"""The network of the signals recipe: a spiking network on the fast signal, an ANN on slow frames, hybrid units.

Both read the same sensor. The SNN gets the fast signal as signed delta spikes, the ANN one frame of summaries at each
of its ticks. A transmission unit turns the spikes between two frames into features, to which those of the ANN are
concatenated; a modulation unit turns the ANN's features into factors of the SNN's thresholds (R. Zhao et al., Nature
Communications 13:3427, 2022, Figs. 1 and 2). Context layers, causal FIR kernels over the answers' clock, let an answer
depend on the frames before. A frame may also hold statistics of the signal before the window: then the factors adapt
the SNN to the person who wears a sensor.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.analysis.summary import num_parameters
from spikebridge.deploy.chips.xylo import XYLO
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
    match_parameters,
)
from spikebridge.hybrid.network.link import Link
from spikebridge.neurons import LIF, CubaLIF, Sequential, Triangle

VARIANTS = {
    "learned": "hybrid, both units learned",
    "fixed": "hybrid, both units fixed: mean, identity",
    "ann": "ANN on frames",
    "snn": "SNN on the fast signal",
}

_INITIAL_GAIN = 3.0  # of the weights of the SNN
_QUANTUM = 0.5  # change of the signal that a spike stands for, in standard deviations
_MAX_SPIKES = 3  # of a channel in one step
_XYLO_CHANNELS = XYLO.inputs // 2  # each takes an input for either sign
_XYLO_READ_OUT = cast(int, XYLO.outputs)
_DASHES = (1, 2, 3, 4)  # decays of Xylo's neurons in turn: each step a membrane loses 2^-dash of itself


class Shape(NamedTuple):
    """Sizes of a network.

    Attributes:
        dt: step of the fast signal [s].
        frame_period: steps from one frame, and from one answer, to the next.
        num_channels: channels of the fast signal.
        num_features: values of a frame.
        num_classes: classes of an answer.
        hidden: features of the ANN and neurons of a layer of the SNN.
        depth: number of context layers.
        taps: answers that a context layer covers.
        dropout: probability in training.
        chip: "loihi" or "xylo", if the SNN has to fit one: no signal modulates its thresholds, and for Xylo it has
            that chip's dynamics, inputs and outputs.
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
    chip: str = ""


class _FeatureLayer(nn.Module):
    """A dense layer on concatenated inputs `(B, N)`, with batch normalisation, ReLU and dropout."""

    def __init__(self, num_inputs: int, shape: Shape) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, shape.hidden)
        self.norm = nn.BatchNorm1d(shape.hidden)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, *features: Tensor) -> Tensor:
        return self.dropout(self.relu(self.norm(self.linear(torch.cat(features, -1)))))


class _Readout(nn.Module):
    """Features `(B, N)` to logits `(B, num_classes)`."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)


class _PositiveFactor(nn.Module):
    """A factor of thresholds, `2 sigmoid(-x)`: 1 for 0, smaller for larger features, never negative."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.sigmoid(-x)


def signals_network(variant: str, shape: Shape) -> HybridNetwork:
    """One of the networks of `VARIANTS`. It takes `signal` and `frames`.

    Args:
        variant: a name of `VARIANTS`.
        shape: its sizes.

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

    inputs: dict[str, Every] = {}
    parts: dict[str, nn.Module] = {}
    links: list[Link] = []
    units: dict[str, HybridUnit] = {}

    if variant != "snn":
        # a frame ends with the last of the steps that it summarises
        inputs["frames"] = every(shape.frame_period * shape.dt, (shape.frame_period - 1) * shape.dt)
        parts["ann"] = _FeatureLayer(shape.num_features, shape)
        scale = FIR(1, (shape.num_features,), keep=True)
        links.append(Transmission("frames", "ann", HybridUnit(kernel=scale)))

    if variant != "ann":
        units["snn"] = _transmission(variant, shape)
        inputs["signal"] = every(shape.dt)
        scale = FIR(1, (shape.num_channels,), keep=True)
        parts["snn"] = spiking_part(shape)
        code = SignedDelta(_QUANTUM, _MAX_SPIKES)
        mix = _xylo_mix(shape) if shape.chip == "xylo" else None
        links.append(Transmission("signal", "snn", HybridUnit(kernel=scale, nonlinearity=mix, discretizer=code)))

    if len(parts) == 2 and not shape.chip:
        links.append(Modulation("ann", "snn.lif2.v_threshold", _modulation(variant, shape)))

    _add_answer(parts, links, units, shape)
    return HybridNetwork(dt=shape.dt, inputs=inputs, parts=parts, links=links, outputs=["answer"])


def num_spiking(shape: Shape) -> int:
    """The features of the SNN."""
    return _XYLO_READ_OUT if shape.chip == "xylo" else shape.hidden


def _add_answer(parts: dict[str, nn.Module], links: list[Link], units: Mapping[str, HybridUnit], shape: Shape) -> None:
    """Adds context layers on the concatenated features of ANN and SNN, and the read-out of the last one."""
    sources = list(parts)
    # "ann_snn" of a hybrid
    prefix = "_".join(sources)
    target = f"{prefix}_features"
    sizes = [num_spiking(shape) if source == "snn" else shape.hidden for source in sources]
    parts[target] = _FeatureLayer(sum(sizes), shape)
    links += [Transmission(source, target, units.get(source)) for source in sources]

    for layer in range(shape.depth):
        source = target
        target = f"{prefix}_context{layer + 1}"
        parts[target] = _FeatureLayer(shape.hidden, shape)
        links.append(Transmission(source, target, HybridUnit(kernel=_context(shape))))

    parts["answer"] = _Readout(shape.hidden, shape.num_classes)
    links.append(Transmission(target, "answer"))


def _context(shape: Shape) -> FIR:
    kernel = FIR(shape.taps, (shape.hidden,), keep=True)
    with torch.no_grad():
        kernel.weight.normal_(0.0, shape.taps**-0.5)

    return kernel


def spiking_part(shape: Shape, gain: float = _INITIAL_GAIN) -> Sequential:
    """The SNN on signed spikes: two layers, for Xylo with that chip's dynamics; `gain` is that of its first weights."""
    return _xylo_snn(shape, gain) if shape.chip == "xylo" else _snn(shape, gain)


def _snn(shape: Shape, gain: float) -> Sequential:
    def lif() -> LIF:
        return LIF(tau=0.02, surrogate=Triangle(1.0), learn=("tau",))

    hidden = shape.hidden
    return Sequential(
        fc1=_amplified(shape.num_channels, hidden, gain), lif1=lif(), fc2=_amplified(hidden, hidden, gain), lif2=lif()
    )


def _amplified(num_inputs: int, num_neurons: int, gain: float, bias: bool = True) -> nn.Linear:
    """A layer of spikes: most steps bring none, so default weights would leave membranes far below their thresholds."""
    layer = nn.Linear(num_inputs, num_neurons, bias=bias)
    with torch.no_grad():
        layer.weight *= gain

    return layer


def _xylo_mix(shape: Shape) -> nn.Module | None:
    """A mixture of the channels for Xylo's inputs, two for each signed value; None where there is one for each."""
    if shape.num_channels <= _XYLO_CHANNELS:
        return None

    mix = nn.Linear(shape.num_channels, _XYLO_CHANNELS, bias=False)
    nn.init.eye_(mix.weight)
    return mix


def _xylo_snn(shape: Shape, gain: float) -> Sequential:
    """Neurons with a synapse, a reset by subtraction and decays of Xylo; it shows the host few of them."""

    def neurons(number: int) -> CubaLIF:
        dashes = torch.arange(number) % len(_DASHES)
        tau = -shape.dt / torch.log1p(-(0.5 ** (dashes + _DASHES[0])))
        tau_syn = -shape.dt / math.log(0.5)
        return CubaLIF(tau=tau, tau_syn=tau_syn, reset="subtract", surrogate=Triangle(1.0))

    return Sequential(
        fc1=_amplified(min(shape.num_channels, _XYLO_CHANNELS), shape.hidden, gain, bias=False),
        lif1=neurons(shape.hidden),
        fc2=_amplified(shape.hidden, _XYLO_READ_OUT, gain, bias=False),
        lif2=neurons(_XYLO_READ_OUT),
    )


def _transmission(variant: str, shape: Shape) -> HybridUnit:
    if variant != "learned":
        return HybridUnit(Tumbling(shape.frame_period), Mean())

    # training starts from the fixed unit
    number = num_spiking(shape)
    identity = nn.Linear(number, number)
    nn.init.eye_(identity.weight)
    nn.init.zeros_(identity.bias)

    return HybridUnit(Tumbling(shape.frame_period), FIR(shape.frame_period, (number,)), identity)


def _modulation(variant: str, shape: Shape) -> HybridUnit:
    if variant == "fixed":
        return HybridUnit(nonlinearity=_PositiveFactor())

    # training starts with the factor 1
    linear = nn.Linear(shape.hidden, shape.hidden)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)

    return HybridUnit(nonlinearity=nn.Sequential(linear, _PositiveFactor()))


def scale_inputs(network: HybridNetwork, inputs: Mapping[str, Float[Tensor, "T B N"]]) -> None:
    """Sets the kernels of the inputs so that each channel has the standard deviation 1 on these inputs."""
    for name, part in (("frames", "ann"), ("signal", "snn")):
        unit: Any = network.units._modules.get(f"{name}_to_{part}")
        if unit is not None:
            with torch.no_grad():
                unit.kernel.weight.copy_(1 / inputs[name].flatten(0, 1).std(0).clamp(min=1e-3))


def parameter_matched(variant: str, shape: Shape) -> HybridNetwork:
    """The variant with the number of parameters nearest to that of the learned hybrid of a shape."""
    if variant == "learned" and not shape.chip:
        return signals_network(variant, shape)

    with torch.random.fork_rng(devices=[]):
        goal = num_parameters(signals_network("learned", shape._replace(chip="")))

    return match_parameters(lambda hidden: signals_network(variant, shape._replace(hidden=hidden)), goal).network
