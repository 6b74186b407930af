"""Accuracy on people left out of the training: the hybrid of the signals recipe and its twins, on each set.

    python research/signals/people.py --sets watch myo --networks learned ann --seeds 2

Trains the preset of each set on every fold (a sweep in --folder, which resumes). For each set it writes the scores of
every fold and seed into research/signals/results/people.json, with tables of networks, differences in pairs of people,
people, and accuracy by answer. Sets, and networks of a set, that are not named keep their scores. `--hidden` sets
another number of features than that of the preset, and the set then has a key of its own. `--quick` trains the quick
form of each set and writes nothing.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.model.network import VARIANTS
from spikebridge.networks.signals.report import compare
from spikebridge.networks.signals.training.train import LearningConfig
from spikebridge.recipes import train_all
from spikebridge.training import Run
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "people.json"
_PRESETS = signals.PRESETS
# a few series, copies and epochs, on the first fold
QUICK = {
    "spoken_digits": replace(
        _PRESETS["spoken_digits"],
        folds=(0,),
        num_series=150,
        training=replace(_PRESETS["spoken_digits"].training, copies=1, epochs=2),
    ),
    "watch": replace(_PRESETS["watch"], folds=(0,), training=LearningConfig(copies=1, epochs=1)),
    "myo": replace(_PRESETS["myo"], num_series=250, training=LearningConfig(copies=1, epochs=1, batch_size=128)),
}


def settings(name: str, options: argparse.Namespace) -> dict[str, signals.Config]:
    """The settings of each network of a set."""
    preset = QUICK[name] if options.quick else _PRESETS[name]
    if options.hidden:
        preset = replace(preset, network=replace(preset.network, hidden=options.hidden))

    return {network: replace(preset, networks=(network,), num_seeds=options.seeds) for network in options.networks}


def measured(name: str, runs: Mapping[str, Run], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The scores of each network of a set, with the command, the versions and the settings that made them."""
    records = {}
    for network, run in runs.items():
        scores = [child.results() for child in run.children().values()]
        seeds = run.config["num_seeds"]
        command = f"python research/signals/people.py --sets {name} --networks {network} --seeds {seeds}"
        if options.hidden:
            command += f" --hidden {options.hidden}"

        records[network] = {
            "scores": [
                {key: value for key, value in one.items() if key not in ("confusion", "classes")} for one in scores
            ],
            "command": command,
            "environment": describe_environment(),
            "config": run.config,
        }

    return records


def tables(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The tables of a set, with the networks in the order of the recipe."""
    return compare({name: records[name]["scores"] for name in VARIANTS if name in records})


def joined(runs: Sequence[Run]) -> tuple[str, dict[str, Any]]:
    """The name of the set with its folds, and the tables of runs on different folds."""
    configs = [run.config_as(signals.Config) for run in runs]
    folds = sorted(fold for config in configs for fold in config.folds or ())
    scores: dict[str, list[dict[str, Any]]] = {}

    for run in runs:
        for path, child in run.children().items():
            scores.setdefault(path.partition("/")[0], []).append(child.results())

    results = compare({name: scores[name] for name in VARIANTS if name in scores})
    records = [
        {"command": reproduce_command("signals", config), "environment": run.environment()}
        for config, run in zip(configs, runs, strict=True)
    ]

    return f"{configs[0].dataset}, folds {', '.join(map(str, folds))}", {**results, "runs": records}


def main() -> None:
    """Trains and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["spoken_digits", "watch", "myo"])
    parser.add_argument("--networks", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--hidden", type=int, help="features of the hybrid; those of the preset by default")
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-people"))
    parser.add_argument("--runs", type=Path, nargs="+", help="finished runs of the recipe, instead of --sets")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.quick else {}

    if options.runs:
        name, results[name] = joined([Run.open(path) for path in options.runs])
        print(name, json.dumps(results[name]["networks"]))
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")

        return

    for name in options.sets:
        key = f"{name}, {options.hidden} features" if options.hidden else name
        runs = train_all("signals", settings(name, options), options.folder / key, workers=options.workers)
        records = {**results.get(key, {}).get("measured", {}), **measured(name, runs, options)}
        # networks that were not trained with another size are compared at that of the preset
        preset_records = results.get(name, {}).get("measured", {}) if options.hidden else {}
        results[key] = {**tables({**preset_records, **records}), "measured": records}
        print(key, json.dumps(results[key]["networks"]))

        if not options.quick:
            write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
