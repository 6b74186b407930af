"""Whether the watch is read with channels beside gravity: chosen for each fold by people among those of its training.

    python benchmarks/signals_choice.py           # twelve trainings of the ANN (minutes on one core)
    python benchmarks/signals_choice.py --quick   # one pair, one epoch; writes nothing

The ANN of the preset is trained with every two folds left out together, with and without these channels. The choice for
a fold counts only networks that were trained without it, and only people of the other fold that was left out with it:
nobody who is scored takes part in a choice for the own score. Writes benchmarks/results/signals_choice.json.
"""

import argparse
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.config import Config
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import folds_of_set, load_series
from spikebridge.networks.signals.evaluation.evaluate import accuracies, logits_of
from spikebridge.networks.signals.training.train import train_windows, training_batches
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "signals_choice.json"
SETTINGS = {"six channels": False, "and four beside gravity": True}


def trained_without(config: Config, pair: tuple[int, int]) -> dict[str, float]:
    """The accuracy [%] on each person of two folds, of an ANN that was trained without both."""
    series = load_series("watch")
    sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
    windows = sensor.windows(series)
    folds = [folds_of_set(series, config.num_folds)[place] for place in pair]
    kept = windows.select(np.isin(windows.series, np.intersect1d(folds[0].train, folds[1].train)))
    data = training_batches(sensor, kept, config.training, config.seed)
    (network,) = signals.build(config).values()
    train_windows(network, data, config.training, config.seed)
    left_out = windows.select(np.isin(windows.series, np.concatenate([fold.test for fold in folds])))
    found = logits_of(network, sensor, left_out)[-1].argmax(-1).numpy()
    per_group: Any = accuracies(found, left_out, series.group_names)["per_group"]
    return {person: 100 * value for person, value in per_group.items()}


def choices(rows: list[dict[str, Any]], people: list[set[str]]) -> list[dict[str, Any]]:
    """For each fold the accuracies by which it chooses, and the choice."""
    table = []
    for fold, own in enumerate(people):
        means = {
            name: fmean(
                value
                for row in rows
                if row["setting"] == name and fold in row["folds"]
                for person, value in row["people"].items()
                if person not in own
            )
            for name in SETTINGS
        }
        row: dict[str, Any] = {"fold": fold} | {name: round(mean, 2) for name, mean in means.items()}
        table.append(row | {"choice": max(means, key=means.__getitem__)})
    return table


def main() -> None:
    """Trains every pair with every setting, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one pair, one epoch; writes nothing")
    options = parser.parse_args()
    preset = replace(signals.PRESETS["watch_quick" if options.quick else "watch"], networks=("ann",))
    series = load_series("watch")
    folds = folds_of_set(series, preset.num_folds)
    assert series.group is not None
    people = [{series.group_names[group] for group in series.group[fold.test]} for fold in folds]
    rows = []
    for pair in list(combinations(range(len(folds)), 2))[: 1 if options.quick else None]:
        for name, gravity in SETTINGS.items():
            config = replace(preset, sensor=replace(preset.sensor, gravity=gravity))
            rows.append({"folds": list(pair), "setting": name, "people": trained_without(config, pair)})
            print(rows[-1], flush=True)
    if options.quick:
        return
    found = {"table": choices(rows, people), "rows": rows, "environment": describe_environment()}
    print(json.dumps(found["table"], indent=1))
    write_text(RESULTS, json.dumps({**found, "command": "python benchmarks/signals_choice.py"}, indent=1) + "\n")


if __name__ == "__main__":
    main()
