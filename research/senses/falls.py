"""Falls of people left out, for every gate: means of the folds, and mean and spread of the seeds.

    spikebridge train senses --preset falls --num-folds 3 --num-seeds 3 --out runs/falls
    python research/senses/falls.py runs/falls --json research/senses/results/falls.json

Every person is left out once in a seed: falls found and the time awake are means of the folds, false recordings a sum.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from spikebridge.training import Run

MEANS = {"found": "sensitivity", "awake": "awake", "energy_uj_an_hour": "energy_uj_an_hour"}
SUMS = {"false": "false_recordings", "daily": "daily_recordings"}


def of_a_seed(folds: list[dict[str, Any]]) -> dict[str, float]:
    """The figures of a gate over all folds of one seed."""
    means = {name: fmean(fold[key] for fold in folds) for name, key in MEANS.items()}
    return means | {name: sum(fold[key] for fold in folds) for name, key in SUMS.items()}


def spread_of(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation over seeds."""
    return {"mean": round(fmean(values), 4), "sd": round(stdev(values), 4) if len(values) > 1 else 0.0}


def main() -> None:
    """Prints and writes a row for each gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    seeds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path, child in Run.open(options.run).children().items():
        seeds[path.rpartition("/")[2]].append(child.results())

    rows: dict[str, Any] = {}
    for gate in (key for key in next(iter(seeds.values()))[0] if key != "classes"):
        figures = [of_a_seed([fold[gate] for fold in folds]) for folds in seeds.values()]
        rows[gate] = {name: spread_of([row[name] for row in figures]) for name in figures[0]}
        print(gate, json.dumps(rows[gate]))

    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
