"""An ANN that opens neurons of an SNN for each episode: CH-HNN

Q. Shi, F. Liu, H. Li, G. Li, L. Shi and R. Zhao, "Hybrid neural networks for continual learning inspired by
corticohippocampal circuits", Nature Communications 16:1272, 2025, doi 10.1038/s41467-025-56405-9. An ANN learns
beforehand which samples are alike, and gates the neurons of an SNN so that episodes use different ones. The SNN learns
the episodes one after another; metaplasticity slows down large weights. No sample is stored, and no label of an
episode is given in the test.

Here the episodes are pairs of digits of 8 x 8 pixels. The ANN has seen half of the samples of the training, in pairs
that are of one episode or not; the SNN learns from the other half. Beside it: the same SNN without gates, without
metaplasticity too, and one that learns all digits at once.
"""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy, layer_norm, normalize

from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.data import load_digits
from spikebridge.hybrid import Gate, Hold, HybridNetwork, HybridUnit, Modulation, Transmission, every
from spikebridge.neurons import LIF, Integrator, Sequential
from spikebridge.training import Phase, Settings, fit

STEPS = 8
EPISODES = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
STIFFNESS = 10.0  # of large weights


class FewOpen(nn.Module):
    """Gates between 0 and 1, of which about a fifth is open."""

    def forward(self, x):
        return (6 * layer_norm(x, x.shape[-1:]) - 5).sigmoid()


def build(gated=True):
    """The network, or the same SNN without an ANN."""
    snn = Sequential(
        fc=nn.Linear(64, 200),
        lif=LIF(tau=0.005),
        gate=Gate(),
        out=nn.Linear(200, 10, bias=False),
        sum=Integrator(tau=float("inf")),
    )
    parts, links = {"snn": snn}, [Transmission("image", "snn", HybridUnit(Hold(STEPS)))]
    if gated:
        parts["ann"] = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 200), FewOpen())
        links += [Transmission("image", "ann"), Modulation("ann", "snn.gate.gate", by="replace")]

    return HybridNetwork(
        dt=0.001, inputs={"image": every(0.001 * STEPS)}, parts=parts, links=links, outputs=["snn", *list(parts)[1:]]
    )


def similarity_loss(network, batch):
    """Gates of samples of one episode should be alike, those of others share nothing."""
    images, labels = batch
    gates = normalize(network.parts["ann"](images))
    episodes = labels // 2
    same = (episodes[:, None] == episodes).float()

    return (gates @ gates.T - same).square().mean(), {}


def answer(network, images):
    """Scores of the digits (B, 10)."""
    return network({"image": images.unsqueeze(0)})[0]["snn"][-1]


def digit_loss(network, batch):
    """Cross-entropy over all ten digits."""
    images, labels = batch
    return cross_entropy(answer(network, images), labels), {}


def metaplasticity(network, batch, activity):
    """Makes changes of a weight small where the weight is large."""
    for layer in (network.parts["snn"].fc, network.parts["snn"].out):
        layer.weight.grad *= (-STIFFNESS * layer.weight.detach().abs()).exp()


def run(seed=0, updates=20, number=1397):
    """Trains on episodes of a number of digits in order, `updates` epochs each; accuracy on all digits at the end."""
    digits = load_digits(num_validation=0)
    images, labels = digits.train.images.flatten(1)[:number], digits.train.labels[:number]
    half = len(labels) // 2
    test = digits.test.images.flatten(1)[:number], digits.test.labels[:number]
    settings = Settings(batch_size=32, accelerator="cpu", quiet=True, seed=seed)
    adam, sgd = partial(torch.optim.Adam, lr=0.002), partial(torch.optim.SGD, lr=0.1)
    scores, networks = {}, {}

    for name in ("hybrid", "SNN with metaplasticity", "SNN alone", "SNN, all digits at once"):
        torch.manual_seed(seed)
        network = networks[name] = build(gated=name == "hybrid")
        if name == "hybrid":
            alike = Phase("alike", ["parts.ann"], similarity_loss, updates, adam)
            fit(network, [alike], list(zip(images[:half], labels[:half], strict=True)), settings=settings)

        rule = metaplasticity if name in ("hybrid", "SNN with metaplasticity") else None
        episode = Phase("episode", ["parts.snn"], digit_loss, updates, sgd, gradients=rule)
        for pair in (range(10),) if name.endswith("at once") else EPISODES:
            rows = [i for i in range(half, len(labels)) if labels[i].item() in pair]
            fit(network, [episode], [(images[i], labels[i]) for i in rows], settings=settings)

        with torch.no_grad():
            right = answer(network.eval(), test[0]).argmax(-1) == test[1]
        scores[f"accuracy on ten digits, {name} [%]"] = 100 * right.float().mean().item()

    return scores, {"hybrid": networks["hybrid"]}


def example(seed):
    """A small input."""
    return {"image": torch.rand(2, 2, 64, generator=torch.Generator().manual_seed(seed))}


picture = draw_network(build())

if __name__ == "__main__":
    from _main import main

    main(run, example)
