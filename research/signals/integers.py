"""Accuracy of the signals networks in floating point and in 8-bit integers, on new people, person by person.

    python research/signals/people.py --sets watch myo spoken_digits --networks learned
    python research/signals/integers.py --sets watch myo spoken_digits

Takes the trained networks of `people.py` from its folder, or with `--run` the learned hybrids of finished runs
of the recipe, of the folds that they have. Scales are chosen on 128 training windows of each fold; the people left out
are only scored. Writes research/signals/results/integers.json.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from spikebridge.analysis.comparison import paired_difference
from spikebridge.data.io.atomic import write_text
from spikebridge.deploy import QConfig, QConfigMapping, quantize, saturation
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import folds_of_set, load_series
from spikebridge.networks.signals.evaluation.evaluate import accuracies, logits_of
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "integers.json"
NUM_CALIBRATION = 128


def compared(runs: Sequence[Run]) -> dict[str, Any]:
    """Accuracy on each person in floating point and in integers, over runs that differ in their folds alone."""
    config = runs[0].config_as(signals.Config)
    series = load_series(config.dataset)
    sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
    folds = folds_of_set(series, config.num_folds)
    windows = sensor.windows(series)
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    max_clipped = 0.0
    numbers = []

    for path, child in chain.from_iterable(run.children().items() for run in runs):
        name, fold, _ = path.split("/")
        if name != "learned":
            continue

        number = int(fold.removeprefix("fold-"))
        numbers.append(number)
        network = signals.build(config)[name]
        child.load_weights(network)
        network.eval()
        samples = signals.calibration(replace(config, folds=(number,)), NUM_CALIBRATION)
        inputs = {name: x for name, x in samples.items() if name in network.inputs}
        integers = quantize(network, inputs, QConfigMapping((QConfig(),)))
        test = windows.select(np.isin(windows.series, folds[number].test))

        for model, people in ((network, before), (integers, after)):
            answers = logits_of(model, sensor, test)[-1].argmax(-1).numpy()
            per_group: Any = accuracies(answers, test, series.group_names)["per_group"]
            people.update({person: 100 * value for person, value in per_group.items()})

        max_clipped = max([max_clipped, *(clipped.share for clipped in saturation(integers, inputs))])

    gap = paired_difference(list(after.values()), [before[person] for person in after])
    points, sd = gap.rounded(2)

    return {
        "folds": sorted(set(numbers)),
        "before %": round(sum(before.values()) / len(before), 2),
        "int8 %": round(sum(after.values()) / len(after), 2),
        "points": points,
        "sd over people": sd,
        "largest loss of a person": round(max(before[person] - after[person] for person in before), 2),
        "largest share clipped": max_clipped,
        "people": {person: [round(before[person], 2), round(after[person], 2)] for person in before},
    }


def main() -> None:
    """Measures and writes each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["watch", "myo", "spoken_digits"])
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-people"))
    parser.add_argument("--run", type=Path, nargs="+", help="runs of the recipe, instead of --sets and --folder")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    sets = [options.run] if options.run else [[options.folder / name / "cells" / "learned"] for name in options.sets]

    for folders in sets:
        runs = [Run.open(folder) for folder in folders]
        name = runs[0].config_as(signals.Config).dataset
        words = ["--run", *map(str, folders)] if options.run else ["--sets", name]
        command = f"python research/signals/integers.py {' '.join(words)}"
        results[name] = {**compared(runs), "command": command, "environment": describe_environment()}
        print(name, {key: value for key, value in results[name].items() if "people" not in key}, flush=True)
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
