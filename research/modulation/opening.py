"""ACC and transfer against opening: learned gates, plain and shared, random ones, and the oracle's.

    python research/modulation/opening.py [--openings 0.1 0.2] [--workers 2]

Digits, 12 tasks in 3 groups, C = 1000, two seeds; rates and strengths are those of opening .10. Random gates overlap by
chance, so their transfer grows with the opening, and the advantage of learned ones falls. An opening with a seed
is a cell of a sweep, which resumes. Writes research/modulation/results/opening.json.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.recipes import train_all
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "opening.json"
RECIPE = Path(__file__).with_name("variants.py")
OPENINGS = (0.05, 0.1, 0.2, 0.4)
LEARNED = ("hmn", "hmn_shared")
NAMES = (*LEARNED, "xdg_ewc", "group_ewc")
SEEDS = (0, 1)


def config_of(rho: float, seed: int) -> modulation.Config:
    """All methods at one opening and seed."""
    network = modulation.BranchConfig(num_hidden=1000, rho=rho)
    return modulation.Config(NAMES, seed=seed, tasks=modulation.TaskConfig(num_tasks=12), network=network)


def rows_of(run: Run) -> list[dict[str, Any]]:
    """A row a method."""
    config = run.config_as(modulation.Config)
    rows = []

    for name in NAMES:
        results = run.first_child(name).results()
        figures = {"ACC": results["acc"], "transfer": results["transfer"], "forgetting": results["forgetting"]}
        row = {"opening": config.network.rho, "seed": config.seed, "method": name}
        rows.append(row | {key: round(value, 5) for key, value in figures.items()})
        print(rows[-1])

    return rows


def table(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, a row an opening."""
    rows = []
    for rho in sorted({trial["opening"] for trial in trials}):
        here = [trial for trial in trials if trial["opening"] == rho]
        row: dict[str, Any] = {"opening": rho, "seeds": len({trial["seed"] for trial in here})}
        for name in NAMES:
            for key in ("ACC", "transfer"):
                row[f"{name} {key}"] = round(fmean(trial[key] for trial in here if trial["method"] == name), 4)

        for name in LEARNED:
            row[f"{name} transfer over xdg_ewc"] = round(row[f"{name} transfer"] / row["xdg_ewc transfer"], 3)
            both = [row[f"{one} ACC"] + row[f"{one} transfer"] for one in (name, "group_ewc")]
            row[f"{name} ACC + transfer above group_ewc"] = round(both[0] - both[1], 4)

        rows.append(row)

    return rows


def main() -> None:
    """Trains the missing cells, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openings", nargs="+", type=float, default=list(OPENINGS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/modulation-opening"))
    options = parser.parse_args()
    trials = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else []
    done = {(trial["opening"], trial["seed"]) for trial in trials}
    points = [(rho, seed) for seed in SEEDS for rho in options.openings if (rho, seed) not in done]

    if not points:
        return

    configs = {f"opening-{rho}-seed-{seed}": config_of(rho, seed) for rho, seed in points}
    for run in train_all(str(RECIPE), configs, options.folder, workers=options.workers).values():
        trials += rows_of(run)

    content = {"num_tasks": 12, "num_hidden": 1000, "rows": table(trials), "cells": trials}
    write_text(RESULTS, json.dumps({**content, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
