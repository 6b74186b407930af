"""ACC and transfer against opening: learned gates, plain and shared, random ones, and the oracle's.

    python benchmarks/modulation_opening.py [--openings 0.1 0.2]

Digits, 12 tasks in 3 groups, C = 1000, two seeds; rates and strengths are those of opening .10. Random gates overlap by
chance, so their transfer grows with the opening, and the advantage of learned ones shrinks. A stopped run
resumes. Writes benchmarks/results/modulation_opening.json.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.modulation import Gating
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.evaluation.accuracy_matrix import continual_metrics
from spikebridge.networks.modulation.training.gates import build_gating, train_gating
from spikebridge.networks.modulation.training.trial import run_trial
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "modulation_opening.json"
OPENINGS = (0.05, 0.1, 0.2, 0.4)
LEARNED = ("hmn", "hmn_shared")
NAMES = (*LEARNED, "xdg_ewc", "group_ewc")
SEEDS = (0, 1)


def score(rho: float, seed: int) -> list[dict[str, Any]]:
    """All methods at one opening and seed; the learned ones with the same units."""
    network = modulation.BranchConfig(num_hidden=1000, rho=rho)
    config = modulation.Config(seed=seed, tasks=modulation.TaskConfig(num_tasks=12), network=network)
    tasks = modulation.task_sequence(config, seed, *modulation.recordings(config))
    units = build_gating(config.trial("hmn"), tasks)
    train_gating(units, config.trial("hmn"), tasks, None, quiet=True)
    rows = []
    for name in NAMES:
        gating: Gating | None = units.eval() if name in LEARNED else None
        trial = run_trial(config.trial(name), tasks, quiet=True, gating=gating)
        found = continual_metrics(trial.result.accuracies, tasks.group)
        kept = {"ACC": found.acc, "transfer": found.transfer, "forgetting": found.forgetting}
        rows.append({"opening": rho, "seed": seed, "method": name, **{k: round(v, 5) for k, v in kept.items()}})
        print(rows[-1], flush=True)
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
    """Trains what is not there yet, and writes after every opening and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--openings", nargs="+", type=float, default=list(OPENINGS))
    openings = parser.parse_args().openings
    torch.set_num_threads(1)
    trials = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else []
    done = {(trial["opening"], trial["seed"]) for trial in trials}
    for seed in SEEDS:
        for rho in openings:
            if (rho, seed) in done:
                continue
            trials += score(rho, seed)
            content = {"num_tasks": 12, "num_hidden": 1000, "rows": table(trials), "cells": trials}
            write_text(RESULTS, json.dumps({**content, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
