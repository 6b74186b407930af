"""An ANN that sets the membranes of an SNN

A. Aydin, M. Gehrig, D. Gehrig and D. Scaramuzza, "A Hybrid ANN-SNN Architecture for Low-Power and Low-Latency Visual
Perception", CVPR Workshops 2024, arXiv 2303.14176. An SNN estimates a pose from events at a high rate. Its membranes
decay where no events come, so an ANN sets them at a low rate.

Here a blob moves, stops and moves again; its position is to be known at every millisecond. The ANN reads a noisy frame
every 20 ms (in the paper it reads accumulated events) and sets the membranes of both layers of the SNN. Beside it: the
SNN alone, and the ANN on a frame every millisecond.
"""

import torch
from torch import nn

from spikebridge.analysis import count_cost, energy, hardware_profile
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.hybrid import HybridNetwork, Initialisation, Transmission, every
from spikebridge.neurons import LIF, Integrator, Sequential

SIZE = 12  # px
TICKS = 100
EVERY = 20  # ticks between two frames


class Estimator(nn.Module):
    """The ANN: a position, and the membranes of the hidden layer that go with it."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
        self.position = nn.Linear(128, 2)
        self.hidden = nn.Linear(128, 64)

    def forward(self, frames):
        features = self.body(frames)
        return {"position": self.position(features), "hidden": self.hidden(features)}


def build(is_set=True):
    """The network, or the same SNN alone."""
    snn = Sequential(
        flat=nn.Flatten(), fc=nn.Linear(2 * SIZE**2, 64), lif=LIF(tau=0.01), out=nn.Linear(64, 2), sum=Integrator(0.1)
    )
    links = [Transmission("events", "snn")]
    if is_set:
        links += [
            Transmission("frames", "ann"),
            Initialisation("ann.hidden", "snn.lif.v"),
            Initialisation("ann.position", "snn.sum.v"),
        ]

    return HybridNetwork(
        dt=0.001,
        inputs={"events": every(0.001)} | ({"frames": every(EVERY * 0.001)} if is_set else {}),
        parts={"snn": snn} | ({"ann": Estimator()} if is_set else {}),
        links=links,
        outputs=["snn"],
    )


def samples(batch, seed):
    """Events and frames of a blob that stops and goes, and its position in units of half the image."""
    generator = torch.Generator().manual_seed(seed)
    moves = torch.rand(TICKS // EVERY + 1, batch, 1, generator=generator) < 0.5
    speed = 0.2 * torch.randn(TICKS // EVERY + 1, batch, 2, generator=generator)
    steps = (moves * speed).repeat_interleave(EVERY, 0)[: TICKS + 1].clone()
    steps[0] = 4 + 3 * torch.rand(batch, 2, generator=generator)
    position = steps.cumsum(0).clamp(1, SIZE - 2)

    pixels = torch.arange(float(SIZE))
    across, down = ((pixels - position[..., axis, None]).square().div(-4).exp() for axis in (0, 1))
    images = across.unsqueeze(-2) * down.unsqueeze(-1)
    levels = (images.add(0.1).log() / 0.3).round()
    change = levels[1:] - levels[:-1]
    events = torch.stack([(change > 0).float(), (change < 0).float()], 2)

    frames = images[1:] + 0.2 * torch.randn(images[1:].shape, generator=generator)

    return {"events": events, "frames": frames[::EVERY]}, frames, position[1:] / (SIZE / 2) - 1


def train(network, updates, seed, dense=False):
    """Trains on new samples; `dense` trains the ANN on a frame of every tick."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for update in range(updates):
        inputs, frames, position = samples(32, 1000 * (seed + 1) + update)
        loss = (answer(network, inputs, frames, dense) - position).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def answer(network, inputs, frames, dense):
    """The estimate at every tick."""
    if dense:
        return network(frames.flatten(0, 1))["position"].unflatten(0, frames.shape[:2])
    return network({name: inputs[name] for name in network.inputs})[0]["snn"]


def run(seed=0, updates=300, number=200):
    """Trains the three networks and measures their errors and energies on a number of other samples."""
    torch.manual_seed(seed)
    networks = {"hybrid": build(), "SNN alone": build(is_set=False), "ANN at every tick": Estimator()}
    inputs, frames, position = samples(number, 2 * 10**6 + seed)
    scores = {}
    for name, network in networks.items():
        dense = isinstance(network, Estimator)
        train(network, updates, seed, dense)
        with torch.no_grad():
            error = (answer(network.eval(), inputs, frames, dense) - position).square().sum(-1).mean().sqrt()

        given = frames.flatten(0, 1) if dense else {key: inputs[key] for key in network.inputs}
        joules = energy(count_cost(network, given), hardware_profile()).total * (TICKS if dense else 1)
        scores[f"error, {name} [px]"] = error.item() * SIZE / 2
        scores[f"energy of 100 ms, {name} [nJ]"] = 1e9 * joules

    return scores, {"hybrid": networks["hybrid"]}


def example(seed):
    """A small input."""
    return samples(2, seed)[0]


picture = draw_network(build())

if __name__ == "__main__":
    from _main import main

    main(run, example)
