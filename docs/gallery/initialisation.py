"""A slow network that sets the state of a fast one

A fast layer integrates the steps that a sensor sees at every tick, so its errors add up. A slow ANN reads a frame
every 50 ticks, estimates the position from it, and sets the membrane of the fast layer to it.
"""

import torch
from torch import nn

from spikebridge.analysis.plots.figures import accuracy_lines, to_svg
from spikebridge.hybrid import HybridNetwork, Initialisation, Transmission, every
from spikebridge.neurons import Integrator, Sequential

torch.manual_seed(0)
steps = torch.randn(200, 16, 1).div(10)
position = steps.cumsum(0)
places = torch.linspace(-4, 4, 33)
frames = (-((places - position[::50]) ** 2)).exp()  # a blob at the position, seen by 33 pixels
events = steps + 0.05 + 0.05 * torch.randn_like(steps)  # biased and noisy

ann = nn.Linear(33, 1)
optimizer = torch.optim.Adam(ann.parameters(), lr=0.05)
for _ in range(200):
    there = torch.rand(64, 1) * 6 - 3
    loss = (ann((-((places - there) ** 2)).exp()) - there).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def network_of(*links):
    """The fast layer with the links that lead from the ANN."""
    return HybridNetwork(
        dt=0.001,
        inputs={"frames": every(0.05), "events": every(0.001)},
        parts={"ann": ann, "fast": Sequential(sum=Integrator(tau=float("inf")))},
        links=[Transmission("frames", "ann"), Transmission("events", "fast"), *links],
        outputs=["fast"],
    )


with torch.no_grad():
    inputs = {"frames": frames, "events": events}
    alone = network_of()(inputs)[0]["fast"]
    both = network_of(Initialisation("ann", "fast.sum.v"))(inputs)[0]["fast"]

errors = [float((y - position).square().mean().sqrt()) for y in (alone, both)]
print(f"root mean square error: {errors[0]:.2f} alone, {errors[1]:.2f} with a state set every 50 ticks")
series = {"position": position[:, 0, 0], "alone": alone[:, 0, 0], "state set": both[:, 0, 0]}
picture = to_svg(accuracy_lines(torch.arange(200), series, "time [ms]", "position"))
