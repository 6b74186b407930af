"""An armband on a new person: the gain from its unlabelled signal before a window, on `myo`.

    python research/signals/wearer.py           # trains two hybrids (minutes on one core), then scores them
    python research/signals/wearer.py --quick   # a few series; writes nothing

| row | network | needs of the person |
|---|---|---|
| nothing | hybrid without levels of the past | nothing |
| levels of the past | the preset: frames hold levels of the last 120 s, and so move thresholds | signal |
| batch norm | "nothing", with the batch-norm statistics of the person's first part | signal |
| rotation | "nothing", armband rotated to the place that is best on the person's first part | labels of that part |
| levels and rotation | the preset, with a rotation chosen in the same way | labels of that part |
| levels and rotation without labels | the preset, rotated to where its answers are surest on that part | signal |

The first part is 28 gestures of 5 s; the other two parts are scored. Trained and scored people are those of the preset.
"""

import argparse
import copy
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from research.signals.people import QUICK
from spikebridge.analysis.comparison import paired_difference
from spikebridge.data.io.atomic import write_text
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import load_series
from spikebridge.networks.signals.data.windows import Windows
from spikebridge.networks.signals.evaluation.evaluate import logits_of
from spikebridge.networks.signals.training.train import tensors_of
from spikebridge.recipes import train_all
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "wearer.json"
ROTATIONS = range(-4, 4)


class Wearer:
    """A trained hybrid, and the windows of the people who are scored.

    Args:
        run: the run of the hybrid.
        num_series: number of series of the set; None takes all.
    """

    def __init__(self, run: Run, num_series: int | None) -> None:
        config = run.config_as(signals.Config)
        self.network = signals.build(config)["learned"]
        run.first_child("learned").load_weights(self.network)
        self.network.eval()
        series = load_series("myo")
        self.sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
        windows = self.sensor.windows(series)

        if num_series is not None:
            windows = windows.select(np.arange(0, len(windows.label), 40))

        part = series.keys["part"][windows.series]
        self.first = windows.select(part == 1)
        self.scored = windows.select(part > 1)
        self.people = {series.group_names[group]: int(group) for group in np.unique(self.scored.group)}

    def accuracy(self, windows: Windows, network: HybridNetwork | None = None) -> float:
        """The share of right answers [%]."""
        answers = logits_of(network or self.network, self.sensor, windows)[-1].argmax(-1).numpy()
        return 100 * float((answers == windows.label).mean())

    def of(self, group: int) -> tuple[Windows, Windows]:
        """The windows of a person's first part, and the scored ones."""
        return self.first.select(self.first.group == group), self.scored.select(self.scored.group == group)

    def plain(self) -> dict[str, float]:
        """The accuracy on each person."""
        return {name: self.accuracy(self.of(group)[1]) for name, group in self.people.items()}

    def with_batch_norm(self) -> dict[str, float]:
        """The accuracy with batch-norm statistics of each person's first part, without labels."""
        accuracies = {}
        for name, group in self.people.items():
            first, scored = self.of(group)
            network = copy.deepcopy(self.network)
            norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]

            for norm in norms:
                norm.reset_running_stats()
                # the mean over all batches
                norm.momentum = None
                norm.train()

            with torch.no_grad():
                inputs = tensors_of(self.sensor.inputs(first), first.label)
                network({key: inputs[key] for key in network.inputs})

            network.eval()
            accuracies[name] = self.accuracy(scored, network)

        return accuracies

    def rotated(self, labels: bool) -> tuple[dict[str, float], dict[str, int]]:
        """The accuracy with the armband rotated to the best place on each person's first part, and that place.

        Args:
            labels: the best place has most right answers; without labels the largest mean probability of the answers.
        """
        accuracies = {}
        places = {}

        for name, group in self.people.items():
            first, scored = self.of(group)
            # a quarter of the windows tells the places apart
            quarter = first.select(np.arange(0, len(first.label), 4))
            scores = {}

            for place in ROTATIONS:
                logits = logits_of(self.network, self.sensor, rotate(quarter, place))[-1]
                right = float((logits.argmax(-1).numpy() == quarter.label).mean())
                scores[place] = right if labels else float(logits.softmax(-1).amax(-1).mean())

            places[name] = max(ROTATIONS, key=lambda place, scores=scores: (scores[place], -abs(place)))
            accuracies[name] = self.accuracy(rotate(scored, places[name]))

        return accuracies, places


def rotate(windows: Windows, places: int) -> Windows:
    """Windows of an armband of eight electrodes, rotated by some places."""
    past = np.roll(windows.past.reshape(len(windows.label), -1, 8), places, 2).reshape(windows.past.shape)
    return windows._replace(samples=np.roll(windows.samples, places, 2), past=past)


def settings(past_seconds: float, quick: bool) -> signals.Config:
    """Settings of a hybrid whose frames hold levels of the signal of the last seconds."""
    preset = QUICK["myo"] if quick else signals.PRESETS["myo"]
    return replace(preset, networks=("learned",), sensor=replace(preset.sensor, past_seconds=past_seconds))


def measured(folder: Path, workers: int, num_series: int | None = None) -> dict[str, Any]:
    """Every row, person by person."""
    pasts = {"nothing": 0.0, "levels": signals.PRESETS["myo"].sensor.past_seconds}
    configs = {name: settings(seconds, num_series is not None) for name, seconds in pasts.items()}
    runs = train_all("signals", configs, folder, workers=workers)
    nothing, levels = (Wearer(run, num_series) for run in runs.values())
    rotated, places = nothing.rotated(labels=True)
    both, places_of_both = levels.rotated(labels=True)
    sure, places_of_sure = levels.rotated(labels=False)

    people = {
        "nothing": nothing.plain(),
        "levels of the past": levels.plain(),
        "batch norm": nothing.with_batch_norm(),
        "rotation": rotated,
        "levels and rotation": both,
        "levels and rotation without labels": sure,
    }

    rows = []
    for name, accuracies in people.items():
        values = list(accuracies.values())
        gap = paired_difference(values, list(people["nothing"].values()))
        points, sd = gap.rounded(2)
        row = {"row": name, "mean %": round(float(np.mean(values)), 2), "median %": round(float(np.median(values)), 2)}
        row |= {"sd": round(float(np.std(values, ddof=1)), 2), "worst person %": round(min(values), 1)}
        rows.append(
            row | ({} if name == "nothing" else {"points": points, "sd of points": sd, "it is": gap.verdict("people")})
        )

    rotations = {"rotation": places, "levels and rotation": places_of_both, "without labels": places_of_sure}
    return {"table": rows, "people": people, "rotations": rotations}


def main() -> None:
    """Trains, scores and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-wearer"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few series; writes nothing")
    options = parser.parse_args()

    if options.quick:
        with TemporaryDirectory() as folder:
            print(json.dumps(measured(Path(folder), options.workers, num_series=250)["table"], indent=1))
        return

    results = measured(options.folder, options.workers)
    print(json.dumps(results["table"], indent=1))
    results |= {"command": "python research/signals/wearer.py", "environment": describe_environment()}
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
