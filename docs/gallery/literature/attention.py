"""Tokens of an ANN attend over spiking populations

S. H. Ahmed, J. Finkbeiner and E. Neftci, "Efficient Event-Based Object Detection: A Hybrid Neural Network with Spatial
and Temporal Attention", CVPR 2025, arXiv 2403.10173. An SNN reads the events, an ANN detects the objects, and
attention between them turns spikes into features that hold what matters.

Here several spiking populations, all with the same weights, each see one object: its shape as a pattern over channels,
its colour as a rhythm. An ANN asks for the colour of one shape: its token attends over the rates of the populations.
The number of objects varies, and a mask leaves out those that are not there. Beside it: the mean over the populations
in the place of attention.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.neurons import LIF, Sequential

TICKS = 20
OBJECTS, SHAPES, COLOURS = 5, 8, 4
WIDTH = 32


class Attention(nn.Module):
    """The answer from a question and the rates of all populations, by attention or by their mean."""

    def __init__(self, attends):
        super().__init__()
        self.attends = attends
        self.question = nn.Sequential(nn.Linear(SHAPES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.answer = nn.Sequential(nn.Linear(2 * WIDTH, 64), nn.ReLU(), nn.Linear(64, COLOURS))

    def forward(self, question, rates, present):
        token = self.question(question)
        weights = (self.key(rates) * token.unsqueeze(1)).sum(-1) * (1.0 if self.attends else 0.0)
        weights = (weights + (present - 1) * 1e4).softmax(-1)
        seen = (self.value(rates) * weights.unsqueeze(-1)).sum(1)

        return self.answer(torch.cat([token, seen], -1))


def build(attends=True):
    """The network, or one with a mean in the place of attention."""
    snn = Sequential(
        fc1=nn.Linear(SHAPES + 2, 64),
        lif1=LIF(tau=0.005, v_threshold=0.5),
        fc2=nn.Linear(64, WIDTH),
        lif2=LIF(tau=0.02),
    )
    window = every(0.001 * TICKS, 0.001 * (TICKS - 1))
    return HybridNetwork(
        dt=0.001,
        inputs={"events": every(0.001), "question": window, "present": window},
        parts={"snn": snn, "ann": Attention(attends)},
        links=[
            Transmission("events", "snn"),
            Transmission("question", "ann", into="question"),
            Transmission("snn", "ann", HybridUnit(Tumbling(TICKS), Mean()), into="rates"),
            Transmission("present", "ann", into="present"),
        ],
        outputs=["ann"],
    )


def samples(batch, seed):
    """Events of up to five objects, a question, which of them are there, and the colour that is asked for."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.rand(batch, SHAPES, generator=generator).argsort(1)[:, :OBJECTS]
    colours = torch.randint(COLOURS, (batch, OBJECTS), generator=generator)
    number = torch.randint(2, OBJECTS + 1, (batch, 1), generator=generator)
    present = (torch.arange(OBJECTS) < number).float()
    asked = (torch.rand(batch, generator=generator) * number.squeeze(1)).long()

    form = torch.nn.functional.one_hot(shapes, SHAPES).float() * 0.6
    rhythm = (torch.arange(TICKS).reshape(-1, 1, 1) % (colours + 2) == 0).float()
    chances = torch.cat([form.expand(TICKS, -1, -1, -1), rhythm.unsqueeze(-1).expand(-1, -1, -1, 2) * 0.9], -1)
    events = (torch.rand(chances.shape, generator=generator) < chances + 0.03).float()
    rows = torch.arange(batch)
    question = torch.nn.functional.one_hot(shapes[rows, asked], SHAPES).float()

    inputs = {"events": events * present[..., None], "question": question.unsqueeze(0), "present": present.unsqueeze(0)}
    return inputs, colours[rows, asked]


def run(seed=0, updates=300, number=1000):
    """Trains both networks and measures their accuracies on a number of other samples."""
    inputs, colours = samples(number, 2 * 10**6 + seed)
    scores, networks = {"accuracy, guessing [%]": 100 / COLOURS}, {}
    for name in ("hybrid", "mean of the populations"):
        torch.manual_seed(seed)
        network = networks[name] = build(attends=name == "hybrid")
        optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
        for update in range(updates):
            batch, asked = samples(64, 1000 * (seed + 1) + update)
            loss = cross_entropy(network(batch)[0]["ann"][0], asked)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        with torch.no_grad():
            right = network.eval()(inputs)[0]["ann"][0].argmax(-1) == colours
        scores[f"accuracy, {name} [%]"] = 100 * right.float().mean().item()

    return scores, {"hybrid": networks["hybrid"]}


def example(seed):
    """A small input."""
    return samples(2, seed)[0]


picture = draw_network(build())

if __name__ == "__main__":
    from _main import main

    main(run, example)
