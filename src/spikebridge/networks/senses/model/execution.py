"""Networks on sampled trials."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.data.sampling import Sampled
from spikebridge.ops.modes import evaluating


def run_network(network: HybridNetwork, data: Sampled) -> dict[str, Tensor]:
    """The outputs of a network on trials."""
    with evaluating(network):
        return network(network_inputs(network, data.signals))[0]


def network_inputs(network: HybridNetwork, signals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of a network: signals, or blocks of their samples where the network reads a slower clock."""
    periods = {name: network.clock_of(name).period for name in network.inputs}
    span = min(len(signals[name]) for name in periods) * max(periods.values())
    inputs = {}
    for name, period in periods.items():
        x = signals[name]
        block = len(x) * period // span
        inputs[name] = x if block <= 1 else x.unflatten(0, (-1, block)).transpose(1, 2)

    return inputs


def ends_of(x: Float[Tensor, "T B *N"], data: Sampled) -> Tensor:
    """The number of ticks of each trial on the clock of a signal."""
    return next(data.lengths[name] for name, one in data.signals.items() if len(one) == len(x))


def at_end(x: Float[Tensor, "T B *N"], data: Sampled) -> Float[Tensor, "B *N"]:
    """The values of a signal at the end of each trial."""
    return x[ends_of(x, data) - 1, torch.arange(x.shape[1])]
