"""A closed loop

An ANN reads the firing rate of a spiking population every 10 ms and drives it in proportion to its distance from a
target. The way back takes 5 ms. A part of the distance stays, as in every proportional control.
"""

import torch
from torch import nn

from spikebridge.analysis.plots.figures import accuracy_lines, to_svg
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.neurons import LIF


class Control(nn.Module):
    """Proportional to the difference between the target and the rate."""

    def forward(self, target, rate):
        return 2 * (target - rate.mean(-1, keepdim=True))


class Population(nn.Module):
    """The input of 50 neurons."""

    def forward(self, noise, control):
        return noise * (0.3 + control).clamp(min=0)


torch.manual_seed(0)
network = HybridNetwork(
    dt=0.001,
    inputs={"target": every(0.01), "noise": every(0.001)},
    parts={"control": Control(), "drive": Population(), "snn": LIF(tau=0.01, v_threshold=0.6)},
    links=[
        Transmission("target", "control"),
        Transmission("snn", "control", HybridUnit(Tumbling(10), Mean()), held=True),
        Transmission("noise", "drive"),
        Transmission("control", "drive", held=True, delay=0.005),
        Transmission("drive", "snn"),
    ],
    outputs=["snn"],
)

target = torch.cat([torch.full((20, 1, 1), 0.1), torch.full((20, 1, 1), 0.3)])
outputs, _ = network({"target": target, "noise": torch.rand(400, 1, 50)})
rate = outputs["snn"].mean(-1).reshape(40, 10).mean(1).detach()
print(f"rate at the end of each half: {rate[15:20].mean():.2f}, {rate[35:].mean():.2f}")
series = {"rate of the SNN": rate, "target": target.flatten()}
picture = to_svg(accuracy_lines(torch.arange(40) * 10, series, "time [ms]", "spikes a step"))
