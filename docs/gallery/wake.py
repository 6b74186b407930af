"""A guard that wakes an expensive network

A small spiking network listens to events at every tick and wakes an ANN, which reads a frame and names the object in
it. Both are trained together, with a price on being awake: the guard learns to wake the ANN when something is there.
Asleep, the ANN computes nothing.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikebridge.analysis import count_cost
from spikebridge.analysis.plots.figures import accuracy_lines, to_svg
from spikebridge.hybrid import HybridNetwork, HybridUnit, Transmission, Wake, every
from spikebridge.neurons import LIF, Sequential

torch.manual_seed(0)
PATTERNS = torch.randn(5, 64)
PATTERNS[0] = 0  # nothing is there


def scenes(batch):
    """Events and frames of 40 ticks, in 8 of which an object is there, and what it is."""
    start = torch.randint(0, 32, (batch,))
    ticks = torch.arange(40).unsqueeze(1)
    there = (ticks >= start) & (ticks < start + 8)
    labels = torch.randint(1, 5, (batch,)) * there
    events = (torch.rand(40, batch, 8) < 0.05 + 0.5 * there.unsqueeze(-1)).float()

    return {"events": events, "frames": PATTERNS[labels] + torch.randn(40, batch, 64)}, labels


guard = Sequential(fc=nn.Linear(8, 16), lif=LIF(tau=0.003), out=nn.Linear(16, 1))
nn.init.constant_(guard[2].bias, 1.0)  # awake at first, so that the eye learns
eye = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 5))
network = HybridNetwork(
    dt=0.001,
    inputs={"events": every(0.001), "frames": every(0.001)},
    parts={"guard": guard, "eye": eye},
    links=[
        Transmission("events", "guard"),
        Transmission("frames", "eye"),
        Wake("guard", "eye", HybridUnit(None, None, nn.Sigmoid()), asleep="zero", gradient="expected"),
    ],
    outputs=["eye", "eye.awake"],
)

optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
nothing = torch.tensor([4.0, 0.0, 0.0, 0.0, 0.0])  # the answer asleep
for _ in range(70):
    inputs, labels = scenes(32)
    outputs, _ = network(inputs)
    loss = cross_entropy((outputs["eye"] + nothing).flatten(0, 1), labels.flatten())
    loss = loss + 0.04 * network.expected_cost(outputs, {"eye": 1.0})
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

network.eval()
inputs, labels = scenes(200)
with torch.no_grad():
    outputs, _ = network(inputs)

right = (outputs["eye"] + nothing).argmax(-1) == labels
cost = count_cost(network, inputs)
always = 40 * sum(layer.weight.numel() for layer in eye if isinstance(layer, nn.Linear))
print(f"right in {right.float().mean():.0%} of the ticks, awake in {cost.wakes['eye'].share:.0%}")
print(f"multiply-accumulates of the eye: {cost.parts['eye'].macs:.0f} instead of {always}")
series = {"awake": outputs["eye.awake"][:, 0, 0], "an object is there": (labels[:, 0] > 0).float()}
picture = to_svg(accuracy_lines(torch.arange(40), series, "time [ms]", "one sample"))
