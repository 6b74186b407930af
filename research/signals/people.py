"""Accuracy on people left out: the hybrid of the signals recipe and its twins, on each set.

    python research/signals/people.py --sets watch myo --networks learned ann --seeds 2

Trains the preset of each set on every fold (a sweep in --folder, which resumes), and writes, for each set, the
scores of every fold and seed and the tables made of them into research/signals/results/people.json: networks,
differences in pairs of people, people, and accuracy by answer. Sets, and networks of a set, that are not named keep
their scores. `--hidden` takes another number of features than the preset has, and the set has a key of its own then.
`--quick` takes the quick form of each set and writes nothing.
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
from spikebridge.recipes import train_all
from spikebridge.training import Run
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "people.json"


def settings(name: str, options: argparse.Namespace) -> dict[str, signals.Config]:
    """The settings of each network of a set."""
    preset = signals.PRESETS[f"{name}_quick" if options.quick else name]
    if options.hidden:
        preset = replace(preset, network=replace(preset.network, hidden=options.hidden))

    return {network: replace(preset, networks=(network,), num_seeds=options.seeds) for network in options.networks}


def measured(name: str, runs: Mapping[str, Run], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The scores of each network of a set, with the command, the versions and the settings that made them."""
    found = {}
    for network, run in runs.items():
        scores = [child.results() for child in run.children().values()]
        seeds = run.config["num_seeds"]
        command = f"python research/signals/people.py --sets {name} --networks {network} --seeds {seeds}"
        if options.hidden:
            command += f" --hidden {options.hidden}"

        found[network] = {
            "scores": [
                {key: value for key, value in one.items() if key not in ("confusion", "classes")} for one in scores
            ],
            "command": command,
            "environment": describe_environment(),
            "config": run.config,
        }

    return found


def tables(known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The tables of a set, with the networks in the order of the recipe."""
    return compare({name: known[name]["scores"] for name in VARIANTS if name in known})


def joined(runs: Sequence[Run]) -> tuple[str, dict[str, Any]]:
    """The name of the set with its folds, and the tables of runs that have some folds each."""
    configs = [run.config_as(signals.Config) for run in runs]
    folds = sorted(fold for config in configs for fold in config.folds or ())
    scores: dict[str, list[dict[str, Any]]] = {}

    for run in runs:
        for path, child in run.children().items():
            scores.setdefault(path.partition("/")[0], []).append(child.results())

    found = compare({name: scores[name] for name in VARIANTS if name in scores})
    records = [
        {"command": reproduce_command("signals", config), "environment": run.environment()}
        for config, run in zip(configs, runs, strict=True)
    ]

    return f"{configs[0].dataset}, folds {', '.join(map(str, folds))}", {**found, "runs": records}


def main() -> None:
    """Trains, and writes what is committed."""
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
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.quick else {}

    if options.runs:
        name, found_here = joined([Run.open(path) for path in options.runs])
        found[name] = found_here
        print(name, json.dumps(found_here["networks"]))
        write_text(RESULTS, json.dumps(found, indent=1) + "\n")

        return

    for name in options.sets:
        key = f"{name}, {options.hidden} features" if options.hidden else name
        runs = train_all("signals", settings(name, options), options.folder / key, workers=options.workers)
        known = {**found.get(key, {}).get("measured", {}), **measured(name, runs, options)}
        of_preset = found.get(name, {}).get("measured", {}) if options.hidden else {}
        found[key] = {**tables({**of_preset, **known}), "measured": known}
        print(key, json.dumps(found[key]["networks"]))

        if not options.quick:
            write_text(RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
