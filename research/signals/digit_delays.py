"""Learned delays, random fixed ones and none in an SNN on spoken digits, scored on new speakers.

    python research/signals/digit_delays.py            # every fold and seed that the results lack (minutes)
    python research/signals/digit_delays.py --quick    # one epoch on a tenth of the recordings; writes nothing

The fast signal of the recipe: 12 envelopes at 200 Hz as signed delta spikes, two layers of LIF neurons, and the mean of
a linear readout over the recording. Each neuron of the first layer reaches the second through a delay of its own, up to
100 ms: 64 parameters more where they are learned. Width of the Gaussian, its narrowing and the step of the delays are
those of `delays.py`, in proportion to the longest delay; nothing was tuned here.
"""

import argparse
import json
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikebridge.data.io.atomic import write_text
from spikebridge.hybrid import Delay, HybridUnit, SignedDelta, narrow_delays
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import folds_of_set, load_series
from spikebridge.networks.signals.training.train import tensors_of
from spikebridge.neurons import LIF, Sequential
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "digit_delays.json"
HIDDEN = 64
MAX_DELAY = 0.1
BATCH = 64
COPIES = 2
EPOCHS = 5
LR = 4e-3
DELAY_LR = MAX_DELAY / 150  # a step of 2e-4 for delays up to 30 ms
NETWORKS = ("none", "fixed", "learned")
Part = dict[str, Tensor]  # `spikes` `(T, B, 12)`, `weight` `(T, B)` of the steps, `label` `(B,)`


def network_of(kind: str, channels: int, dt: float) -> Sequential:
    """The network with learned, fixed or no delays; all else is initialised equally."""
    fc1 = nn.Linear(channels, HIDDEN)
    fc2 = nn.Linear(HIDDEN, HIDDEN)
    # as in the recipe: most steps bring no spike
    with torch.no_grad():
        fc1.weight *= 3
        fc2.weight *= 3

    readout = nn.Linear(HIDDEN, 10)
    start = torch.rand(HIDDEN) * MAX_DELAY
    learn = ("delay",) if kind == "learned" else ()
    delay = Delay(start * (kind != "none"), max_delay=MAX_DELAY, sigma=MAX_DELAY / 20, learn=learn)
    lifs = [LIF(tau=0.02, learn=("tau",)) for _ in range(2)]

    return Sequential(fc1=fc1, lif1=lifs[0], delay=delay, fc2=fc2, lif2=lifs[1], readout=readout, dt=dt)


def answer(network: Sequential, part: Part) -> Tensor:
    """Mean logits over the steps of each recording, `(B, 10)`."""
    weight = part["weight"][:, :, None]
    return (network(part["spikes"])[0] * weight).sum(0) / weight.sum(0)


def data_of(fold: int, seed: int, copies: int) -> tuple[Part, Part, float]:
    """Augmented copies of the training, recordings of the people left out, and the step [s]."""
    sensor_config = replace(signals.PRESETS["spoken_digits"].sensor, seconds=1.0)
    series = load_series("spoken_digits")
    sensor = Sensor(sensor_config, series.rate_hz, series.num_channels)
    windows = sensor.windows(series)
    split = folds_of_set(series, None)[fold]
    train, test = (windows.select(np.isin(windows.series, own)) for own in (split.train, split.test))
    generator = np.random.default_rng(seed)
    augmented = [tensors_of(sensor.augmented_inputs(train, generator), train.label) for _ in range(copies)]
    joined = {name: torch.cat([copy[name] for copy in augmented], 0 if name == "label" else 1) for name in augmented[0]}
    std = joined["signal"].flatten(0, 1).std(0).clamp(min=1e-3)
    encoder = HybridUnit(discretizer=SignedDelta(0.5, 3)).eval()

    def encoded(inputs: dict[str, Tensor]) -> Part:
        with torch.no_grad():
            spikes = encoder(inputs["signal"] / std)[0]

        weight = inputs["weight"].repeat_interleave(sensor_config.frame_period, 0)[: len(spikes)]
        return {"spikes": spikes, "weight": weight, "label": inputs["label"]}

    return encoded(joined), encoded(tensors_of(sensor.inputs(test), test.label)), sensor.front_end.dt


def some_of(part: Part, rows: Tensor) -> Part:
    """Recordings of a part."""
    return {name: x[rows] if name == "label" else x[:, rows] for name, x in part.items()}


def run(kind: str, data: tuple[Part, Part, float], seed: int, epochs: int) -> dict[str, Any]:
    """Trains one network and scores it with delays of integer steps."""
    train, test, dt = data
    torch.manual_seed(seed)
    network = network_of(kind, train["spikes"].shape[2], dt)
    delays = [network.get_submodule("delay").get_parameter("delay")] if kind == "learned" else []
    others = [
        parameter
        for parameter in network.parameters()
        if parameter.requires_grad and all(parameter is not delay for delay in delays)
    ]
    groups: list[dict[str, Any]] = [{"params": others}]

    if delays:
        groups.append({"params": delays, "lr": DELAY_LR, "weight_decay": 0.0})

    optimizer = torch.optim.AdamW(groups, lr=LR, weight_decay=0.02)
    number = len(train["label"])
    start = time.process_time()

    for epoch in range(epochs):
        narrow_delays(network, min(1.0, epoch / (0.6 * epochs)))
        network.train()

        for rows in torch.randperm(number).split(BATCH):
            batch = some_of(train, rows)
            loss = nn.functional.cross_entropy(answer(network, batch), batch["label"], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimizer.step()

    with torch.no_grad():
        answers = answer(network.eval(), test).argmax(1)

    accuracy = 100 * float((answers == test["label"]).float().mean())
    return {"delays": kind, "accuracy": round(accuracy, 2), "CPU seconds": round(time.process_time() - start, 1)}


def table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the runs of each kind."""
    rows: list[dict[str, Any]] = []
    for kind in NETWORKS:
        own = [record["accuracy"] for record in runs if record["delays"] == kind]
        sd = round(float(np.std(own, ddof=1)), 1) if len(own) > 1 else None
        if own:
            rows.append({"delays": kind, "runs": len(own), "accuracy %": round(float(np.mean(own)), 1), "sd": sd})

    return rows


def main() -> None:
    """Runs what is missing and writes the results after every seed of a fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one epoch on a tenth of the recordings; writes nothing")
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    if options.quick:
        train, test, dt = data_of(0, 0, 1)
        tenth = some_of(train, torch.arange(0, len(train["label"]), 10))
        print([run(kind, (tenth, test, dt), 0, 1) for kind in NETWORKS])
        return

    environment = describe_environment()
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    settings = {"hidden": HIDDEN, "longest delay s": MAX_DELAY, "copies": COPIES, "epochs": EPOCHS, "lr": LR}

    measured = {(record["fold"], record["seed"]) for record in runs}
    for fold, seed in product(options.folds, range(options.seeds)):
        if (fold, seed) in measured:
            continue

        data = data_of(fold, seed, COPIES)
        for kind in NETWORKS:
            runs.append({"fold": fold, "seed": seed, **run(kind, data, seed, EPOCHS)})
            print(runs[-1], flush=True)

        results = {"settings": settings, "table": table(runs), "runs": runs, "environment": environment}
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
