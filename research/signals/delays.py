"""Learned delays, random fixed ones and none, on a task where only timing tells the classes.

    python research/signals/delays.py            # three seeds of three networks (minutes on one core)
    python research/signals/delays.py --quick    # one short training; writes nothing

Generated: 4 channels spike once each, 8 ms apart; a class is an order of the channels, and the whole pattern begins at
a random time. So neither the number of spikes nor the time of one spike tells the class. Each spike moves by up to
1 ms, and two more spikes come at random places. 16 hidden LIF neurons with short membranes (2 ms) read every channel
through a delay of their own: 64 delays of 0 to 30 ms. With the right delays the spikes of a class arrive at once. (An
easier form, 8 channels with lags of 0 to 25 ms, was solved to 93.5 % without delays: some of its lags are short.)
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikebridge.data.io.atomic import write_text
from spikebridge.hybrid import Delay, narrow_delays
from spikebridge.neurons import LIF, Integrator, Sequential
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "delays.json"
DT = 0.001
STEPS = 64
CHANNELS = 4
CLASSES = 6
HIDDEN = 16
MAX_DELAY = 0.03
TRAIN = 900
TEST = 600
BATCH = 50
EPOCHS = 40
SEEDS = (1, 2, 3)  # the width, the step and the end of narrowing are one of four settings, tried with seed 0
ORDERS = ((0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1), (0, 3, 1, 2), (2, 1, 3, 0))
NETWORKS = ("none", "fixed", "learned")


def patterns(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Spikes `(T, number, 4)` and classes."""
    lags = 8 * np.array(ORDERS)
    generator = np.random.default_rng(seed)
    label = generator.integers(0, CLASSES, number)
    start = generator.integers(1, 36, (number, 1))
    step = np.clip(start + lags[label] + generator.integers(-1, 2, (number, CHANNELS)), 0, STEPS - 1)
    spikes = np.zeros((STEPS, number, CHANNELS), np.float32)
    spikes[step, np.arange(number)[:, None], np.arange(CHANNELS)] = 1

    # noise
    for _ in range(2):
        spikes[generator.integers(0, STEPS, number), np.arange(number), generator.integers(0, CHANNELS, number)] = 1

    return torch.from_numpy(spikes), torch.from_numpy(label)


class Synapses(nn.Module):
    """A weight for each pair of a hidden neuron and a channel, after the delays of the pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(HIDDEN, CHANNELS) * 0.8)

    def forward(self, x: Tensor) -> Tensor:
        """Currents `(B, 16)` of delayed spikes `(B, 16 * 4)`."""
        return (x.reshape(-1, HIDDEN, CHANNELS) * self.weight).sum(-1)


def network_of(kind: str) -> Sequential:
    """The network with learned, fixed or no delays."""
    copies = nn.Linear(CHANNELS, HIDDEN * CHANNELS, bias=False)
    copies.weight = nn.Parameter(torch.eye(CHANNELS).repeat(HIDDEN, 1), requires_grad=False)
    start = torch.rand(HIDDEN * CHANNELS) * MAX_DELAY if kind != "none" else torch.zeros(HIDDEN * CHANNELS)
    delay = Delay(start, max_delay=MAX_DELAY, sigma=MAX_DELAY / 20, learn=("delay",) if kind == "learned" else ())

    return Sequential(
        copies=copies,
        delay=delay,
        synapses=Synapses(),
        lif=LIF(tau=0.002),
        readout=nn.Linear(HIDDEN, CLASSES),
        sum=Integrator(tau=float("inf")),
        dt=DT,
    )


def run(kind: str, seed: int, epochs: int = EPOCHS) -> dict[str, Any]:
    """Trains one network and scores it with delays of integer steps."""
    torch.manual_seed(seed)
    x, label = patterns(TRAIN, 10 + seed)
    x_test, label_test = patterns(TEST, 1000 + seed)
    network = network_of(kind)
    delays = [network.get_submodule("delay").get_parameter("delay")] if kind == "learned" else []
    others = [
        parameter
        for parameter in network.parameters()
        if parameter.requires_grad and all(parameter is not delay for delay in delays)
    ]
    groups = [{"params": others, "lr": 5e-3}, *([{"params": delays, "lr": 2e-4}] if delays else [])]
    optimizer = torch.optim.Adam(groups)
    start = time.monotonic()

    for epoch in range(epochs):
        narrow_delays(network, min(1.0, epoch / (0.6 * epochs)))
        for rows in torch.randperm(TRAIN).split(BATCH):
            y, _ = network.train()(x[:, rows])
            loss = nn.functional.cross_entropy(y[-1], label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    with torch.no_grad():
        rounded = network.eval()(x_test)[0][-1].argmax(1)
        # in training a delay is a Gaussian over steps
        soft = network.train()(x_test)[0][-1].argmax(1)

    scores = {"accuracy": 100 * float((rounded == label_test).float().mean())}
    scores["before rounding"] = 100 * float((soft == label_test).float().mean())

    return {"delays": kind, "seed": seed, **scores, "seconds": round(time.monotonic() - start, 1)}


def main() -> None:
    """Runs every network with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short training; writes nothing")
    options = parser.parse_args()
    if options.quick:
        print(run("learned", 0, epochs=1))
        return

    runs = []
    for seed in SEEDS:
        for kind in NETWORKS:
            runs.append(run(kind, seed))
            print(runs[-1], flush=True)

    table = []
    for kind in NETWORKS:
        own = [record["accuracy"] for record in runs if record["delays"] == kind]
        table.append(
            {"delays": kind, "accuracy %": round(float(np.mean(own)), 1), "sd": round(float(np.std(own, ddof=1)), 1)}
        )

    settings = {
        "channels": CHANNELS,
        "classes": CLASSES,
        "hidden": HIDDEN,
        "epochs": EPOCHS,
        "train": TRAIN,
        "test": TEST,
    }

    results = {"settings": settings, "table": table, "runs": runs, "environment": describe_environment()}
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
