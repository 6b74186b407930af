"""The prediction unit with spiking neurons: the networks of its roll-out are leaky integrate-and-fire neurons.

A sample of the roll-out is five frames; in each of them the neurons take one step. Their input stays the same during a
sample, their spikes are counted at its end, and the membranes start anew with the next one.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.networks.reasoning.events.collision_inputs import FRAMES_PER_SAMPLE
from spikebridge.networks.reasoning.events.prediction_unit import PredictionUnit
from spikebridge.neurons.surrogate import ARCTAN


class SpikingSteps(nn.Module):
    """LIF neurons with a learned decay each: currents of every frame in, spikes of every frame out."""

    def __init__(self, num_neurons: int) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.ones(num_neurons))

    def forward(self, currents: Float[Tensor, "T N F"]) -> Float[Tensor, "T N F"]:
        decay = self.decay.sigmoid()
        membrane = torch.zeros_like(currents[0])
        spikes = []
        for current in currents:
            membrane = decay * membrane + current
            spikes.append(ARCTAN(membrane - 1))
            membrane = membrane - spikes[-1]

        return torch.stack(spikes)


class Repeated(nn.Module):
    """The same currents in each frame of a sample."""

    def forward(self, currents: Float[Tensor, "N F"]) -> Float[Tensor, "T N F"]:
        return currents.expand(FRAMES_PER_SAMPLE, -1, -1)


class SpikeRate(nn.Module):
    """Spikes a frame."""

    def forward(self, spikes: Float[Tensor, "T N F"]) -> Float[Tensor, "N F"]:
        return spikes.mean(0)


def spiking_network(num_inputs: int, num_features: int, num_outputs: int) -> nn.Sequential:
    """Two layers of spiking neurons between real inputs and real outputs."""
    between = nn.Linear(num_features, num_features)
    # a spike has to move the next membrane, and a silent layer learns nothing
    with torch.no_grad():
        between.weight.mul_(2)
        between.bias.add_(0.3)

    return nn.Sequential(
        nn.Linear(num_inputs, num_features),
        Repeated(),
        SpikingSteps(num_features),
        between,
        SpikingSteps(num_features),
        SpikeRate(),
        nn.Linear(num_features, num_outputs),
    )


class SpikingPredictionUnit(PredictionUnit):
    """The prediction unit whose networks of objects and of pairs are spiking."""

    def __init__(self, num_features: int = 48) -> None:
        super().__init__(num_features, spiking_network)
