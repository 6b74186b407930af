"""An ANN that becomes an SNN layer by layer

B. Rueckauer, I.-A. Lungu, Y. Hu, M. Pfeiffer and S.-C. Liu, "Conversion of Continuous-Valued Deep Networks to
Efficient Event-Driven Networks for Image Classification", Frontiers in Neuroscience 11:682, 2017, doi
10.3389/fnins.2017.00682; J. Wu, C. Xu, D. Zhou, H. Li and K. C. Tan, "Progressive Tandem Learning for Pattern
Recognition with Deep Spiking Neural Networks", 2020, arXiv 2007.01204. A trained ANN lends its weights to spiking
neurons, whose rates stand for its activations. Converted layer by layer, with the layers behind still an ANN, it can
adapt at each stage.

Here an ANN of three hidden layers reads digits of 8 x 8 pixels. One, two or three of its layers spike for four steps;
each stage is trained on with surrogate gradients for a few epochs. Beside it: the ANN, and each stage before that
training.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikebridge.analysis import convert, count_cost, energy, hardware_profile
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.data import load_digits

STEPS = 4
LAYERS = 3
DIGITS = load_digits(num_validation=0)
TRAIN = DIGITS.train.images.flatten(1), DIGITS.train.labels
TEST = DIGITS.test.images.flatten(1), DIGITS.test.labels


def new_ann():
    """The ANN."""
    sizes = (64, 96, 96, 96)
    hidden = [layer for one, other in pairwise(sizes) for layer in (nn.Linear(one, other), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(96, 10))


def build(ann=None, layers=LAYERS):
    """The hybrid network whose first layers spike."""
    return convert(new_ann() if ann is None else ann, TRAIN[0], steps=STEPS, layers=layers)


def answer(network, images):
    """Scores of the digits (B, 10)."""
    return network(images) if isinstance(network, nn.Sequential) else network({"x": images.unsqueeze(0)})[0]["ann"][0]


def train(network, epochs, lr, number):
    """Trains on a number of digits, in batches of 64."""
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(number).split(64):
            loss = cross_entropy(answer(network, TRAIN[0][rows]), TRAIN[1][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def measure(network, name):
    """Accuracy on the test and energy of an image."""
    with torch.no_grad():
        right = answer(network.eval(), TEST[0]).argmax(-1) == TEST[1]

    inputs = TEST[0] if isinstance(network, nn.Sequential) else {"x": TEST[0].unsqueeze(0)}
    joules = energy(count_cost(network, inputs), hardware_profile()).total
    return {
        f"accuracy, {name} [%]": 100 * right.float().mean().item(),
        f"energy of an image, {name} [nJ]": 1e9 * joules,
    }


def run(seed=0, updates=20, number=1397):
    """Trains the ANN on a number of digits for `updates` epochs, and each stage for a quarter of them."""
    torch.manual_seed(seed)
    ann = new_ann()
    train(ann, updates, 0.002, number)
    scores = measure(ann, "ANN")
    networks = {}

    for layers in range(1, LAYERS + 1):
        name = f"{layers} of {LAYERS} layers spike"
        network = networks[name] = build(ann, layers)
        scores |= measure(network, f"{name}, converted")
        train(network, max(updates // 4, 1), 0.001, number)
        scores |= measure(network, f"{name}, trained on")

    return scores, {"hybrid": networks[f"2 of {LAYERS} layers spike"]}


def example(seed):
    """A small input."""
    rows = torch.randperm(len(TEST[1]), generator=torch.Generator().manual_seed(seed))[:6]
    return {"x": TEST[0][rows].reshape(2, 3, 64)}


picture = draw_network(build(layers=2))

if __name__ == "__main__":
    from _main import main

    main(run, example)
