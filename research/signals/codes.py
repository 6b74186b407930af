"""All eight coding schemes as the input code of one SNN on `watch`: accuracy, spikes, and robustness to bad spikes.

    python research/signals/codes.py            # every fold and seed that the results lack (half an hour on one core)
    python research/signals/codes.py --quick    # one code, one fold, one epoch; writes nothing

Windows of 2 s; people of the test are in no training (4 folds of 2 people). Six channels, scaled to 0..1 with the 1st
and 99th percentile of the training people. Values at 25 Hz become 8 steps each, so that the SNN runs at 200 Hz; `delta`
sends changes at the 50 Hz of the sensor; with `current` the SNN reads the values themselves. Layers, time constants and
training are the same for all; nothing was tuned for a code. Spikes are then lost (10 %), added (10 % of their number,
at random places) or moved by one step earlier or later (two of three spikes).
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikebridge.coding import (
    BernoulliEncoder,
    BurstEncoder,
    DeltaEncoder,
    LatencyEncoder,
    PhaseEncoder,
    PopulationEncoder,
    RateEncoder,
    SynchronyEncoder,
)
from spikebridge.data import SensorSeries, cut_windows, group_folds
from spikebridge.data.io.atomic import write_text
from spikebridge.data.signals.files import find_series
from spikebridge.hybrid import Hold, HybridUnit
from spikebridge.neurons import LIF, Integrator, Sequential
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "codes.json"
STEPS = 8
FOLDS = 4
SEEDS = 3
EPOCHS = 10
BATCH = 64
HIDDEN = 64
VALUE_RATE = 25.0
SETTINGS = {"steps a value": STEPS, "folds": FOLDS, "epochs": EPOCHS, "batch": BATCH, "hidden": HIDDEN}

# the unit, neurons for each channel, and values a second
Code = tuple[Callable[[], HybridUnit], int, float]
CODES: dict[str, Code] = {
    "rate": (lambda: RateEncoder(STEPS), 1, VALUE_RATE),
    "bernoulli": (lambda: BernoulliEncoder(STEPS), 1, VALUE_RATE),
    "latency": (lambda: LatencyEncoder(STEPS), 1, VALUE_RATE),
    "phase": (lambda: PhaseEncoder(STEPS), 1, VALUE_RATE),
    "burst": (lambda: BurstEncoder(STEPS), 1, VALUE_RATE),
    "population": (lambda: PopulationEncoder(STEPS, num_neurons=6), 6, VALUE_RATE),
    "delta": (lambda: DeltaEncoder(1 / 16), 1, 2 * VALUE_RATE),
    "synchrony": (lambda: SynchronyEncoder(STEPS // 2), 2, VALUE_RATE),
    "current": (lambda: HybridUnit(Hold(STEPS)), 1, VALUE_RATE),
}


def windows_of(series: SensorSeries, people: Any, stride: float) -> tuple[Tensor, Tensor]:
    """Windows of 2 s of some series, `(100, W, 6)`, and their labels."""
    windows = cut_windows(series.select(people), 2.0, stride)
    assert windows.label is not None
    x = np.stack([windows[index] for index in range(len(windows))], axis=1)
    return torch.from_numpy(x), torch.from_numpy(windows.label)


def values_at(x: Tensor, rate: float) -> Tensor:
    """Values at a rate that divides 50 Hz: means over the samples of each interval."""
    return x.unflatten(0, (-1, round(50 / rate))).mean(1)


class Classifier(nn.Module):
    """Two spiking layers on the spikes of all channels, and the mean of a linear readout."""

    def __init__(self, num_inputs: int, dt: float) -> None:
        super().__init__()
        self.layers = Sequential(
            fc1=nn.Linear(num_inputs, HIDDEN),
            lif1=LIF(tau=0.02, dt=dt, reset="subtract"),
            fc2=nn.Linear(HIDDEN, HIDDEN),
            lif2=LIF(tau=0.1, dt=dt, reset="subtract"),
            fc3=nn.Linear(HIDDEN, 7),
            mean=Integrator(tau=float("inf"), dt=dt),
        )

    def forward(self, spikes: Tensor) -> Tensor:
        """Scores `(B, 7)` of spikes `(T, B, N)`."""
        y, _ = self.layers(spikes)
        return y[-1] / len(spikes)


def lose(spikes: Tensor, generator: torch.Generator) -> Tensor:
    """Each spike is lost with probability 0.1."""
    return spikes * (torch.rand(spikes.shape, generator=generator) >= 0.1)


def add(spikes: Tensor, generator: torch.Generator) -> Tensor:
    """A tenth as many spikes more, at places without one; their signs are random where the code has signs."""
    share = float((spikes != 0).float().mean())
    probability = 0.1 * share / max(1e-9, 1 - share)
    added = (torch.rand(spikes.shape, generator=generator) < probability) & (spikes == 0)
    if not bool((spikes < 0).any()):
        return spikes + added

    return spikes + added * torch.where(torch.rand(spikes.shape, generator=generator) < 0.5, -1.0, 1.0)


def jitter(spikes: Tensor, generator: torch.Generator) -> Tensor:
    """Each spike stays, or comes one step earlier or later, with equal probability; two on one step add up to one."""
    moved = torch.zeros_like(spikes)
    shift = torch.randint(-1, 2, spikes.shape, generator=generator)
    for step in (-1, 0, 1):
        moved += torch.roll(spikes * (shift == step), step, 0)

    # a code of signs, or of several spikes in one step, may add up to more
    return moved if bool((spikes.abs() > 1).any() | (spikes < 0).any()) else moved.clamp(max=1)


def run(code: str, fold: int, seed: int, epochs: int = EPOCHS) -> dict[str, Any]:
    """Trains one network and scores it with and without bad spikes."""
    torch.manual_seed(seed)
    series = find_series("watch")
    split = group_folds(series, FOLDS)[fold]
    x, label = windows_of(series, split.train, 1.0)
    x_test, label_test = windows_of(series, split.test, 2.0)
    low, high = (torch.from_numpy(np.quantile(x.flatten(0, 1), q, axis=0)).float() for q in (0.01, 0.99))
    make_encoder, width, rate = CODES[code]
    encoder = make_encoder().eval()
    dt = 1 / (rate * (1 if code == "delta" else STEPS))

    def spikes_of(values: Tensor) -> Tensor:
        scaled = values_at((values - low) / (high - low), rate)
        with torch.no_grad():
            return encoder(scaled.clamp(0, 1))[0].flatten(2)

    network = Classifier(6 * width, dt)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    start = time.monotonic()

    for _ in range(epochs):
        for rows in torch.randperm(len(label)).split(BATCH):
            loss = nn.functional.cross_entropy(network(spikes_of(x[:, rows])), label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    spikes = spikes_of(x_test)
    generator = torch.Generator().manual_seed(seed)

    def accuracy(inputs: Tensor) -> float:
        with torch.no_grad():
            answers = torch.cat([network(part).argmax(1) for part in inputs.split(256, 1)])
        return 100 * float((answers == label_test).float().mean())

    # values have no spikes to lose
    errors = () if code == "current" else (lose, add, jitter)
    with_errors = {error.__name__: accuracy(error(spikes, generator)) for error in errors}
    per_second = float(spikes.abs().sum()) / spikes.shape[1] / 2 / 6

    return {"code": code, "fold": fold, "seed": seed, "accuracy": accuracy(spikes), **with_errors} | {
        "spikes a channel and second": None if code == "current" else per_second,
        "seconds": time.monotonic() - start,
    }


def table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over folds and seeds, and the standard deviation over folds, by code."""
    rows = []
    for code in CODES:
        own = [record for record in runs if record["code"] == code]
        if not own:
            continue

        by_fold: dict[int, list[float]] = {}
        for record in own:
            by_fold.setdefault(record["fold"], []).append(record["accuracy"])

        folds = [np.mean(accuracies) for accuracies in by_fold.values()]
        row: dict[str, Any] = {"code": code, "runs": len(own), "accuracy %": round(float(np.mean(folds)), 1)}
        row["sd over folds"] = round(float(np.std(folds, ddof=1)), 1) if len(folds) > 1 else None

        for name in ("lose", "add", "jitter", "spikes a channel and second"):
            values = [record[name] for record in own if record.get(name) is not None]
            row[name] = round(float(np.mean(values)), 1) if values else None

        rows.append(row)

    return rows


def main() -> None:
    """Runs what is missing and writes the results after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one code, one fold, one epoch; writes nothing")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()

    if options.quick:
        print(run("latency", 0, 0, epochs=1))
        return

    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    measured = {(record["code"], record["fold"], record["seed"]) for record in runs}
    for seed, fold, code in product(range(options.seeds), range(FOLDS), CODES):
        if (code, fold, seed) in measured:
            continue

        runs.append(run(code, fold, seed))
        print(runs[-1], flush=True)
        results = {"settings": SETTINGS, "table": table(runs), "runs": runs, "environment": describe_environment()}
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
