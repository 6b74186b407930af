"""Local rules beside back-propagation: R-STDP and e-prop

R. V. Florian, "Reinforcement Learning Through Modulation of Spike-Timing-Dependent Synaptic Plasticity", Neural
Computation 19:1468-1502, 2007, doi 10.1162/neco.2007.19.6.1468; G. Bellec, F. Scherr, A. Subramoney, E. Hajek, D.
Salaj, R. Legenstein and W. Maass, "A solution to the learning dilemma for recurrent networks of spiking neurons",
Nature Communications 11:3625, 2020, doi 10.1038/s41467-020-17236-y. Synapses learn from what they know themselves, a
trace of the activity on both sides, times a signal that all share: a reward, or an error sent back by fixed weights.

Two networks read digits of 8 x 8 pixels. In the first one an ANN is trained by back-propagation through a head of its
own, and a spiking layer behind it chooses the digit and learns from reward alone. The second one reads a digit row by
row with recurrent spiking neurons that learn by e-prop, and an ANN that reads their rates learns by back-propagation.
Beside them: back-propagation everywhere, and spiking weights that stay as they are.
"""

import math
from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.data import load_digits
from spikebridge.hybrid import Bernoulli, Hold, HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.neurons import LIF, Recurrent, Sequential
from spikebridge.training import WHOLE, Phase, Settings, fit, rate_loss

STEPS = 10  # ticks of an image, in the first network
ROW = 3  # ticks of a row, in the second one
TAU = 0.02  # s
DIGITS = load_digits(num_validation=0)
TRAIN = list(zip(DIGITS.train.images, DIGITS.train.labels, strict=True))
TEST = DIGITS.test.images, DIGITS.test.labels


def build_rewarded():
    """An ANN, whose features a head reads, and as random spikes a layer of ten spiking neurons."""
    return HybridNetwork(
        dt=0.001,
        inputs={"image": every(0.001 * STEPS)},
        parts={
            "ann": nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Sigmoid()),
            "head": nn.Linear(64, 10),
            "spikes": nn.Identity(),
            "snn": Sequential(fc=nn.Linear(64, 10, bias=False), lif=LIF(tau=TAU, v_threshold=2.0, reset="subtract")),
        },
        links=[
            Transmission("image", "ann"),
            Transmission("ann", "head"),
            Transmission("ann", "spikes", HybridUnit(Hold(STEPS), None, None, Bernoulli())),
            Transmission("spikes", "snn"),
        ],
        outputs=["head", "spikes", "snn"],
    )


def build_recurrent():
    """Recurrent spiking neurons, whose rates an ANN reads at the end."""
    lif = LIF(tau=TAU, reset="subtract")
    return HybridNetwork(
        dt=0.001,
        inputs={"rows": every(0.001 * ROW)},
        parts={
            "snn": Sequential(fc=nn.Linear(8, 80), rec=Recurrent(lif, nn.Linear(80, 80, bias=False))),
            "ann": nn.Linear(80, 10),
        },
        links=[
            Transmission("rows", "snn", HybridUnit(Hold(ROW))),
            Transmission("snn", "ann", HybridUnit(Tumbling(8 * ROW), Mean())),
        ],
        outputs=["ann", "snn", "snn.rec.layer.v"],
    )


def filtered(x):
    """Traces of a signal `(T, B, N)`, which decay as the membranes do."""
    traces = [x[0]]
    for x_t in x[1:]:
        traces.append(math.exp(-0.001 / TAU) * traces[-1] + x_t)

    return torch.stack(traces)


def chosen(spikes):
    """The digit whose neuron fires most; a tie is broken at random."""
    return (spikes.sum(0) + 0.1 * torch.rand(spikes.shape[1:])).argmax(-1)


def reward_objective(network, batch):
    """The loss of the head; spikes and the reward for the choice of the spiking layer."""
    images, labels = batch
    outputs, _ = network({"image": images.unsqueeze(0)})
    choice = chosen(outputs["snn"])
    right = (choice == labels).float()

    return cross_entropy(outputs["head"][0], labels), {"accuracy": right.mean()}, (outputs, choice, right)


def stdp_of_reward(network, batch, activity):
    """R-STDP of the neuron that was chosen: pairings of spikes times the reward beyond what is usual."""
    outputs, choice, right = activity
    before, after = outputs["spikes"].detach(), outputs["snn"].detach()
    # before and then after strengthens, after and then before weakens
    pairings = torch.einsum("tbo,tbi->boi", after, filtered(before)) - torch.einsum(
        "tbo,tbi->boi", filtered(after) - after, before
    )
    pairings = pairings - pairings.mean(-1, keepdim=True)
    reward = (right - right.mean()).reshape(-1, 1, 1) * one_hot(choice, 10).unsqueeze(-1)
    network.parts["snn"].fc.weight.grad = -(reward * pairings).mean(0)


def row_objective(network, batch):
    """The loss of the ANN; what e-prop needs of the spiking neurons."""
    images, labels = batch
    outputs, _ = network({"rows": images.transpose(0, 1)})
    scores = outputs["ann"][0]
    right = (scores.argmax(-1) == labels).float().mean()

    return cross_entropy(scores, labels), {"accuracy": right}, (outputs, scores.softmax(-1) - one_hot(labels, 10))


def e_prop(network, batch, activity):
    """E-prop: eligibility traces times the error that the weights of the ANN send back."""
    outputs, error = (part.detach() if isinstance(part, torch.Tensor) else part for part in activity)
    spikes, v = outputs["snn"].detach(), outputs["snn.rec.layer.v"].detach()
    slope = 1 / (1 + (math.pi * (v + spikes - 1)) ** 2)  # of a spike, by the membrane before its reset
    signal = error @ network.parts["ann"].weight.detach() / (len(spikes) * len(error)) * slope
    x = batch[0].transpose(0, 1).repeat_interleave(ROW, 0)
    last = torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])

    snn = network.parts["snn"]
    snn.fc.weight.grad = torch.einsum("tbo,tbi->oi", signal, filtered(x))
    snn.fc.bias.grad = torch.einsum("tbo,tbi->o", signal, filtered(torch.ones_like(x[..., :1])))
    snn.rec.weight.weight.grad = torch.einsum("tbo,tbi->oi", signal, filtered(last))


def fixed(network, batch, activity):
    """Leaves the spiking weights as they are."""
    for parameter in network.parts["snn"].parameters():
        parameter.grad = torch.zeros_like(parameter)


def by_choice(network, batch):
    """Back-propagation through the spiking layer of the first network."""
    loss, metrics, (outputs, *_) = reward_objective(network, batch)
    return loss + rate_loss(outputs["snn"], batch[1]), metrics


def run(seed=0, updates=6, number=1397):
    """Trains both networks by each way on a number of digits for `updates` epochs; accuracies on the test."""
    kinds = {
        "R-STDP": (build_rewarded, reward_objective, stdp_of_reward),
        "R-STDP, back-propagation instead": (build_rewarded, by_choice, None),
        "R-STDP, spiking weights fixed": (build_rewarded, reward_objective, fixed),
        "e-prop": (build_recurrent, row_objective, e_prop),
        "e-prop, back-propagation instead": (build_recurrent, row_objective, None),
        "e-prop, spiking weights fixed": (build_recurrent, row_objective, fixed),
    }
    scores, networks = {}, {}
    test = TEST[0][:number], TEST[1][:number]
    settings = Settings(batch_size=32, accelerator="cpu", quiet=True, seed=seed)

    for name, (build, objective, rule) in kinds.items():
        torch.manual_seed(seed)
        network = networks[name] = build()
        phase = Phase("all", WHOLE, objective, updates, partial(torch.optim.Adam, lr=0.005), gradients=rule)
        fit(network, [phase], TRAIN[:number], settings=settings)
        with torch.no_grad():
            _, measured, *_ = objective(network.eval(), test)
        scores[f"accuracy, {name} [%]"] = 100 * measured["accuracy"].item()

    return scores, {name: networks[name] for name in ("R-STDP", "e-prop")}


def example(seed):
    """Small inputs of both networks."""
    images = DIGITS.test.images[torch.randperm(400, generator=torch.Generator().manual_seed(seed))[:4]]
    return {"image": images.reshape(2, 2, 8, 8), "rows": images.transpose(0, 1)}


picture = draw_network(build_rewarded())

if __name__ == "__main__":
    from _main import main

    main(run, example)
