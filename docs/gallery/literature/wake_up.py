"""An SNN that listens always and wakes an ANN

D. Wang, P. K. Chundi, S. J. Kim, M. Yang, J. P. Cerqueira, J. Kang, S. Jung, S. Kim and M. Seok, "Always-On,
Sub-300-nW, Event-Driven Spiking Neural Network based on Spike-Driven Clock-Generation and Clock- and Power-Gating for
an Ultra-Low-Power Intelligent Device", 2020, arXiv 2006.12314. Chips put a small SNN before an expensive network: it
hears or sees always, and the expensive one is off until it is woken.

Here a sensor sees noise, now and then a digit, now and then a spot that is no digit. The guard, an SNN, reads the
events of every millisecond; the eye, a convolutional ANN, reads a noisy frame and names the digit or says that there
is none. The eye is trained alone, then both together with a price on being awake. Beside it: the same eye awake
always.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikebridge.analysis import count_cost, energy, hardware_profile
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.data import load_digits
from spikebridge.hybrid import HybridNetwork, HybridUnit, Transmission, Wake, every, ticks
from spikebridge.neurons import LIF, Sequential

TICKS = 40
SHOWN = 5  # ticks
NOTHING = 10  # the label
DIGITS = load_digits(num_validation=0)


def build(wakes=True):
    """The network, or the eye alone."""
    eye = nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 11),
    )
    guard = Sequential(
        flat=nn.Flatten(), fc=nn.Linear(64, 16), lif=LIF(tau=0.004, v_threshold=0.2), out=nn.Linear(16, 1)
    )
    nn.init.constant_(guard.out.bias, 1.0)  # awake at first, so that the eye learns
    parts, links = {"eye": eye}, [Transmission("frames", "eye")]
    if wakes:
        unit = HybridUnit(None, None, nn.Sigmoid())
        parts["guard"] = guard
        links += [
            Transmission("events", "guard"),
            Wake("guard", "eye", unit, asleep="zero", stay=ticks(1)),
        ]

    return HybridNetwork(
        dt=0.001,
        inputs={"frames": every(0.001)} | ({"events": every(0.001)} if wakes else {}),
        parts=parts,
        links=links,
        outputs=["eye", "eye.awake"] if wakes else ["eye"],
    )


def samples(batch, seed, split="train"):
    """Events and frames of 40 ms, in which a digit and a spot are shown for 5 ms each, and the label of each tick."""
    generator = torch.Generator().manual_seed(seed)
    source = getattr(DIGITS, split)
    chosen = torch.randint(len(source.labels), (batch,), generator=generator)
    spots = torch.nn.functional.one_hot(torch.randint(64, (batch,), generator=generator), 64).reshape(batch, 8, 8)
    time = torch.arange(TICKS).unsqueeze(1)
    images = torch.zeros(TICKS, batch, 8, 8)
    labels = torch.full((TICKS, batch), NOTHING)

    for begin, shown, label in ((0, source.images[chosen], source.labels[chosen]), (TICKS // 2, 2.0 * spots, NOTHING)):
        start = begin + torch.randint(TICKS // 2 - SHOWN, (batch,), generator=generator)
        is_there = (time >= start) & (time < start + SHOWN)
        images = torch.where(is_there[..., None, None], shown, images)
        labels = torch.where(is_there, label, labels)

    events = (torch.rand(images.shape, generator=generator) < 0.02 + 0.4 * images.clamp(0, 1)).float()
    frames = images + 0.3 * torch.randn(images.shape, generator=generator)

    return {"events": events, "frames": frames}, labels


def answer(network, inputs):
    """Outputs of the network, and scores of the eleven answers; asleep the answer is that nothing is there."""
    outputs, _ = network({name: inputs[name] for name in network.inputs})
    asleep = 1 - outputs.get("eye.awake", torch.ones(TICKS, 1, 1))
    nothing = nn.functional.one_hot(torch.tensor(NOTHING), 11)

    return outputs, outputs["eye"] + 8.0 * asleep * nothing


def train(network, updates, seed, price=0.3):
    """Trains on new samples, with a price on being awake."""
    rates = {"eye": 0.01, "guard": 0.03}
    groups = [{"params": part.parameters(), "lr": rates[name]} for name, part in network.parts.items()]
    optimizer = torch.optim.Adam(groups)
    for update in range(updates):
        inputs, labels = samples(16, 1000 * (seed + 1) + update)
        outputs, scores = answer(network, inputs)
        loss = cross_entropy(scores.flatten(0, 1), labels.flatten())
        if "eye.awake" in outputs:
            loss = loss + price * network.expected_cost(outputs, {"eye": 1.0})

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def run(seed=0, updates=60, number=200):
    """Trains both networks; accuracy while a digit is there, share awake and energy, on digits of the test."""
    inputs, labels = samples(number, 2 * 10**6 + seed, "test")
    scores = {}
    torch.manual_seed(seed)
    networks = {"always awake": build(wakes=False), "hybrid": build()}
    train(networks["always awake"], updates, seed)
    networks["hybrid"].parts["eye"].load_state_dict(networks["always awake"].parts["eye"].state_dict())

    for name, network in networks.items():
        train(network, updates, seed + 100)
        with torch.no_grad():
            outputs, answers = answer(network.eval(), inputs)

        cost = count_cost(network, {key: inputs[key] for key in network.inputs})
        right = answers.argmax(-1) == labels
        scores[f"right while a digit is there, {name} [%]"] = 100 * right[labels < NOTHING].float().mean().item()
        scores[f"right in all ticks, {name} [%]"] = 100 * right.float().mean().item()
        scores[f"energy of 40 ms, {name} [nJ]"] = 1e9 * energy(cost, hardware_profile()).total
        if "eye.awake" in outputs:
            scores["share awake [%]"] = 100 * cost.wakes["eye"].share

    return scores, {"hybrid": networks["hybrid"]}


def example(seed):
    """A small input."""
    return samples(2, seed)[0]


picture = draw_network(build())

if __name__ == "__main__":
    from _main import main

    main(run, example)
