"""A beat detector: an SNN on the 360 Hz of an ECG, whose threshold a slow ANN sets from the power of the noise.

    ecg -> mix -> unit: filters of 150 ms -> snn: spiking neurons, a membrane, one neuron that fires at a beat
     |                                        ^ x threshold
     +-- change, squared, mean of 2 s ------ ann

For a chip the SNN is two layers that read spikes of the filtered values, and the last neuron stays with the ANN.

The neuron fires at most 150 ms after the beat. Its threshold jumps with each spike and decays, so that a T wave is no
beat. `beats_of` subtracts `LATENCY`, the time from a beat to its spike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from spikebridge.deploy.front_ends.arrays import Values
from spikebridge.hybrid import (
    FIR,
    Difference,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Threshold,
    Transmission,
    Tumbling,
    every,
)
from spikebridge.networks.signals.model.network import Shape, num_spiking, spiking_part
from spikebridge.neurons import LIF, AdaptiveLIF, Integrator, Sequential

RATE_HZ = 360
LATENCY = 36
"""Samples from a beat to the middle of its spikes: 100 ms."""
NUM_TAPS = 54
"""Samples that the filters cover: 150 ms."""
NOISE_WINDOW = 2 * RATE_HZ
"""Samples over which the power of the noise is taken."""
_QUIET = 1e-8  # power that is added before its logarithm [mV^2]
_NUM_HIDDEN = 8  # of the network that sets the threshold
_NUM_CODED = 8  # filters whose values become spikes for a chip
_LEVEL = 0.3  # of a filtered value from which on it is a spike
_DENSE_GAIN = 1.0  # filtered values spike often; with more a neuron of Xylo fires several times a step
_NO_MEMORY = 1e-4  # time constant of a membrane that keeps nothing from one sample to the next [s]


class _Power(nn.Module):
    """The square of a signal."""

    def forward(self, x: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        return x.square()


class _NoiseThreshold(nn.Module):
    """The factor of the threshold: a small network on the logarithm of the mean square of the signal's change."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(num_channels, _NUM_HIDDEN)
        self.fc2 = nn.Linear(_NUM_HIDDEN, 1)
        # untrained, the factor is 1
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, power: Float[Tensor, "B C"]) -> Float[Tensor, "B 1"]:
        y: Tensor = self.fc2(torch.tanh(self.fc1((power + _QUIET).log() / 4)))
        return y.exp()


class _NoiseState(NamedTuple):
    """Flag of the start, number of samples in the window, the newest sample, and the sum of squared changes."""

    started: Values
    number: Values
    newest: Values
    total: Values


@dataclass(frozen=True)
class NoiseFrontEnd:
    """The parts in floating point, from the signal to the factor of the threshold, in arrays, a sample at a time.

    Args:
        numbers: of the trained network, by the names of its weights.
    """

    numbers: Mapping[str, NDArray[Any]]

    @property
    def num_channels(self) -> int:
        """Channels of the signal."""
        return int(self._of("fc1.weight").shape[1])

    def start(self) -> _NoiseState:
        """The state before the first sample."""
        zeros = np.zeros(self.num_channels)
        return _NoiseState(np.zeros(()), np.zeros(()), zeros, zeros)

    def arrays(self, a: Any, inputs: dict[str, Values], state: _NoiseState) -> tuple[dict[str, Values], _NoiseState]:
        """The signal, and the factor, which is that of the ANN at the end of a window."""
        ecg = inputs["samples"][0]
        # before the first sample there is no change
        change = (ecg - state.newest) * state.started
        number = state.number + 1.0
        total = state.total + change * change

        level = a.log(total / float(NOISE_WINDOW) + _QUIET) / 4.0
        hidden = a.tanh(a.dot(level, self._of("fc1.weight").T) + self._of("fc1.bias"))
        factor = a.exp(a.dot(hidden, self._of("fc2.weight").T) + self._of("fc2.bias"))

        is_full = number > NOISE_WINDOW - 0.5
        number = a.where(is_full, 0.0, number)
        after = _NoiseState(np.ones(()), number, ecg, a.where(is_full, 0.0, total))
        return {"ecg": ecg[None], "ann": factor[None]}, after

    def _of(self, name: str) -> NDArray[Any]:
        return self.numbers[f"parts.ann.{name}"]


def beat_network(num_channels: int = 2, num_neurons: int = 16, threshold: float = 3.5, chip: str = "") -> HybridNetwork:
    """The detector, untrained; with the name of a chip one whose SNN has to fit it."""
    num_filters = _NUM_CODED if chip else num_neurons
    mix = nn.Linear(num_channels, num_filters)
    filters = FIR(NUM_TAPS, (num_filters,))
    shape = Shape(1 / RATE_HZ, 1, num_filters, 0, 0, hidden=num_neurons, chip=chip)
    last: dict[str, Any] = {
        "fc": nn.Linear(num_spiking(shape), 1),
        "membrane": Integrator(tau=0.008),
        "beat": AdaptiveLIF(tau=_NO_MEMORY, tau_adaptation=0.2, jump=20.0, v_threshold=threshold, reset="none"),
    }
    if chip:
        parts = {"snn": spiking_part(shape, _DENSE_GAIN), "beats": Sequential(**last)}
    else:
        parts = {"snn": Sequential(lif=LIF(tau=0.01, v_threshold=0.3, reset="subtract"), **last)}

    code = Threshold(_LEVEL) if chip else None
    end = list(parts)[-1]

    with torch.no_grad():
        filters.weight.normal_(std=0.3)

    change = HybridUnit(None, Difference(lag=1))
    return HybridNetwork(
        dt=1 / RATE_HZ,
        inputs={"ecg": every(1 / RATE_HZ)},
        parts={"mix": mix, **parts, "power": _Power(), "ann": _NoiseThreshold(num_channels)},
        links=[
            Transmission("ecg", "mix"),
            Transmission("mix", "snn", HybridUnit(None, filters, discretizer=code)),
            *([Transmission("snn", "beats")] if chip else []),
            Transmission("ecg", "power", change),
            Transmission("power", "ann", HybridUnit(Tumbling(NOISE_WINDOW), Mean())),
            Modulation("ann", f"{end}.beat.v_threshold", by="multiply"),
        ],
        outputs=[end, "ann"],
    )


def spiking_parts(network: HybridNetwork) -> dict[str, Any]:
    """The parts from the filtered values to the spikes of beats, in order; the last one has the layer `beat`."""
    return {name: network.parts[name] for name in ("snn", "beats") if name in network.parts}


def scores_of(network: HybridNetwork, ecg: Float[Tensor, "T B C"]) -> Float[Tensor, "T B"]:
    """Membrane potentials before the last neuron, which grow where a beat is likely."""
    *before, last = spiking_parts(network).values()
    unit: Any = network.units["mix_to_snn"]
    y, _ = unit(network.parts["mix"](ecg))
    for part in before:
        y, _ = part(y)

    layers = {name: layer for name, layer in last.named_children() if name != "beat"}
    y, _ = Sequential(**layers)(y)

    return y[..., 0]


def beats_of(network: HybridNetwork, ecg: Float[Tensor, "T C"]) -> Int64[np.ndarray, " M"]:
    """Samples of the beats of one recording."""
    with torch.no_grad():
        spikes = network.eval()({"ecg": padded(ecg).unsqueeze(1)})[0][network.outputs[0]]

    return spike_beats(spikes.flatten())


def padded(ecg: Float[Tensor, "T C"]) -> Float[Tensor, "T2 C"]:
    """A recording with `RATE_HZ` samples of its first value before it and `NUM_TAPS` of its last after it."""
    # without them the filters begin with an edge, and the spike of the last beat comes after the end
    return torch.cat([ecg[:1].expand(RATE_HZ, -1), ecg, ecg[-1:].expand(NUM_TAPS, -1)])


def spike_beats(spikes: Float[Tensor, " T"]) -> Int64[np.ndarray, " M"]:
    """Samples of the beats that the spikes of a `padded` recording stand for."""
    samples = spikes.nonzero().flatten().numpy() - LATENCY - RATE_HZ
    # a spike in the padding, as at the edge where the stream begins, is no beat
    return samples[(samples >= 0) & (samples < len(spikes) - RATE_HZ - NUM_TAPS)]
