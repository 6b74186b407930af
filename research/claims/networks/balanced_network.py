"""A balanced network of excitatory and inhibitory neurons, spike by spike and with populations as rates.

1600 excitatory and 400 inhibitory leaky integrate-and-fire neurons (N. Brunel, Journal of Computational Neuroscience 8,
2000): each gets 160 and 40 random connections with a delay of 1.5 ms, and its own Poisson input. A population that is
replaced keeps its connections: a learned transfer function gives its rate every 0.5 ms, and a unit turns the rate into
the spikes of its neurons.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from research.claims.networks.sparse_linear import SparseLinear
from research.neuron_models.transfer_function import TransferFunction
from spikebridge.hybrid import (
    Hold,
    HybridNetwork,
    HybridUnit,
    Mean,
    PoissonPopulation,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.hybrid.network.link import Link
from spikebridge.neurons import LIF

DT = 1e-4  # [s]
TAU = 0.02  # [s]
THRESHOLD = 20.0  # [mV]
RESET = 10.0  # [mV]
DELAY = 15  # of a connection [ticks]
BIN = 5  # ticks of a step of a rate
J = 0.3  # rise of the membrane by an excitatory spike [mV]
G = 8.0  # strength of inhibition relative to excitation


@dataclass(frozen=True)
class Sizes:
    """Numbers of neurons and of connections to each."""

    e: int = 1600
    i: int = 400
    share: float = 0.1

    @property
    def fan_in(self) -> dict[str, int]:
        """Connections to a neuron, by source population."""
        return {"e": round(self.share * self.e), "i": round(self.share * self.i)}

    @property
    def threshold_rate(self) -> float:
        """The external rate of one connection that brings the mean membrane to the threshold [Hz]."""
        return THRESHOLD / (J * self.fan_in["e"] * TAU)

    def external(self, eta: Tensor) -> Tensor:
        """Mean external spikes of a neuron in a tick, at `eta` times the rate that reaches the threshold."""
        return eta * self.threshold_rate * self.fan_in["e"] * DT


class Add(nn.Module):
    """The sum of its signals."""

    def forward(self, *signals: Tensor) -> Tensor:
        """`(B, N)` each."""
        return torch.stack(signals).sum(0) if len(signals) > 1 else signals[0]


class Join(nn.Module):
    """Concatenated signals."""

    def forward(self, *signals: Tensor) -> Tensor:
        """`(B, N)` each."""
        return torch.cat(signals, -1)


class PopulationMean(nn.Module):
    """The mean over neurons, `(B, N)` to `(B, 1)`."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean."""
        return x.mean(-1, keepdim=True)


Connections = dict[tuple[str, str], SparseLinear]


def connect(sizes: Sizes, seed: int) -> Connections:
    """Random connections between the populations, in units of J."""
    generator = torch.Generator().manual_seed(seed)
    numbers = {"e": sizes.e, "i": sizes.i}
    weights = {"e": 1.0, "i": -G}

    return {
        (a, b): SparseLinear.fixed_fan_in(numbers[a], numbers[b], sizes.fan_in[a], weights[a], generator)
        for a in "ei"
        for b in "ei"
    }


def neurons() -> LIF:
    """Neurons whose membrane rises by J for each excitatory spike."""
    return LIF(TAU, v_threshold=THRESHOLD, v_reset=RESET, r=J)


def synapses(connections: SparseLinear, source: str, target: str) -> Link:
    """A link through connections with their delay."""
    unit = HybridUnit(None, None, connections)
    silence = torch.zeros(connections.num_outputs)
    return Transmission(source, f"current_{target}", unit, delay=ticks(DELAY), initial=silence)


def spiking_network(sizes: Sizes, connections: Connections) -> HybridNetwork:
    """The network whose neurons all spike."""
    links: list[Link] = []
    for b in "ei":
        links += [Transmission(f"external_{b}", f"current_{b}"), Transmission(f"current_{b}", b)]
        links += [synapses(connections[a, b], a, b) for a in "ei"]

    return HybridNetwork(
        dt=DT,
        inputs={f"external_{b}": every(DT) for b in "ei"},
        parts={**{f"current_{b}": Add() for b in "ei"}, **{b: neurons() for b in "ei"}},
        links=links,
        outputs=["e", "i"],
    ).eval()


def mean_field_network(
    sizes: Sizes, connections: Connections, functions: dict[str, TransferFunction], kept: dict[str, int]
) -> HybridNetwork:
    """A network in which the first neurons of each population spike, and a rate stands for the others.

    Args:
        sizes: sizes of the whole network.
        connections: connections of the whole network.
        functions: a transfer function for each population that is not kept whole.
        kept: number of neurons that spike, by population; 0 for none.
    """
    numbers = {"e": sizes.e, "i": sizes.i}
    # a mean is complete with the last tick of its window, so that its delay is that of a connection less the window
    measured = ticks(DELAY - BIN + 1)
    parts: dict[str, nn.Module] = {"activity": Join()}
    links: list[Link] = [Transmission("external_rate", "activity")]
    inputs = {"external_rate": every(DT * BIN)}

    for b, number in numbers.items():
        # a population that is all spikes, or all rate, is one part with its own name
        mixed = 0 < kept[b] < number
        spiking, rest = (f"spiking_{b}", f"rest_{b}") if mixed else (b, b)

        if kept[b]:
            parts |= {f"current_{b}": Add(), spiking: neurons()}
            inputs[f"external_{b}"] = every(DT)
            links += [Transmission(f"external_{b}", f"current_{b}"), Transmission(f"current_{b}", spiking)]
            targets = torch.arange(kept[b])
            links += [synapses(connections[a, b].between(torch.arange(numbers[a]), targets), a, b) for a in "ei"]

        if kept[b] < number:
            parts |= {f"rate_{b}": functions[b], rest: nn.Identity()}
            to_spikes = HybridUnit(Hold(BIN), None, None, PoissonPopulation(number - kept[b]))
            links += [Transmission("activity", f"rate_{b}"), Transmission(f"rate_{b}", rest, to_spikes)]

        if mixed:
            parts[b] = Join()
            links += [Transmission(spiking, b), Transmission(rest, b)]

        parts[f"mean_{b}"] = PopulationMean()
        to_rate = HybridUnit(Tumbling(BIN), Mean())
        links += [
            Transmission(b, f"mean_{b}"),
            Transmission(f"mean_{b}", "activity", to_rate, held=True, delay=measured, initial=torch.zeros(1)),
        ]

    return HybridNetwork(dt=DT, inputs=inputs, parts=parts, links=links, outputs=["e", "i"]).eval()


@dataclass(frozen=True)
class Activity:
    """A recording: the mean spikes of a neuron in each tick `(T, B)`, and all spikes of the first neurons."""

    rates: dict[str, Tensor]
    spikes: dict[str, Tensor]

    def binned(self, name: str, length: int = BIN) -> Tensor:
        """The mean over windows of some ticks, `(T / length, B)`."""
        x = self.rates[name]
        return x[: len(x) // length * length].unflatten(0, (-1, length)).mean(1)


def simulate(
    network: HybridNetwork, sizes: Sizes, eta: Tensor, watched: dict[str, int], seed: int, chunk: int = 100
) -> Activity:
    """Runs a network on an external rate.

    Args:
        network: a `spiking_network` or `mean_field_network`.
        sizes: sizes of the whole network.
        eta: external rates of the two populations in units of the rate that reaches the threshold, one value for each
            step of a rate, `(K, B, 2)`; a network with rates needs them equal.
        watched: number of neurons of each population that are recorded, and whose mean is its rate.
        seed: seed of the external spikes.
        chunk: steps of a rate that run together.
    """
    generator = torch.Generator().manual_seed(seed)
    state = None
    rates: dict[str, list[Tensor]] = {name: [] for name in watched}
    spikes: dict[str, list[Tensor]] = {name: [] for name in watched}

    with torch.no_grad():
        for rate in eta.split(chunk):
            outputs, state = network(external_input(network, sizes, rate, generator), state)
            for name, number in watched.items():
                rates[name].append(outputs[name][..., :number].mean(-1))
                spikes[name].append(outputs[name][..., : min(number, 40)].bool())

    return Activity(
        {name: torch.cat(chunks) for name, chunks in rates.items()},
        {name: torch.cat(chunks) for name, chunks in spikes.items()},
    )


def external_input(network: HybridNetwork, sizes: Sizes, eta: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """The inputs of a network for some time: Poisson spikes of each neuron, and their mean."""
    rates = dict(zip("ei", sizes.external(eta).unbind(-1), strict=True))
    inputs: dict[str, Tensor] = {}

    for b, rate in rates.items():
        if f"external_{b}" in network.inputs:
            layer: Any = network.get_submodule(f"units.{_first_unit(network, b)}").nonlinearity
            expected = rate.repeat_interleave(BIN, 0).unsqueeze(-1).expand(-1, -1, layer.num_outputs)
            inputs[f"external_{b}"] = torch.poisson(expected, generator=generator)

    if "external_rate" in network.inputs:
        inputs["external_rate"] = rates["e"].unsqueeze(-1)

    return inputs


def _first_unit(network: HybridNetwork, target: str) -> str:
    return next(route.name for route in network.routes if route.link.part == f"current_{target}" and route.link.unit)
