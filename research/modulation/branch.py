"""Which parts of the branch keep it learning: each row differs from `default` in what its name says alone.

    python research/modulation/branch.py [--rows default original]

Digits, 20 tasks in 5 groups, two seeds, HMN's gates with EWC, at the rate and strength of `default`. Read "just learnt"
first: a network that stops learning looks like one that forgets. The last four tasks should be learnt within 2 points
of the first four. `original` is the branch of the released code with its rate and lambda, at the steps of the others. A
stopped run resumes. Writes research/modulation/results/branch.json.
"""

import argparse
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.modulation import Gating
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.evaluation.accuracy_matrix import continual_metrics
from spikebridge.networks.modulation.model.branch import ORIGINAL
from spikebridge.networks.modulation.training.gates import build_gating, train_gating
from spikebridge.networks.modulation.training.methods import TrialSettings
from spikebridge.networks.modulation.training.trial import run_trial
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "branch.json"
CONFIG = modulation.Config(methods=("hmn",))
SEEDS = (0, 1)
POINTS = 2.0
RELEASED = (0.05, 5000.0)  # rate and lambda of the released code
ROWS: dict[str, dict[str, Any]] = {
    "default": {},
    "no leak": {"leak": 1.0},
    "no bias": {"bias": False},
    "read-out: mean membrane": {"readout": "mean"},
    "read-out: rate": {"readout": "rate", "logit_scale": 1.0},
    "read-out: rate x 10": {"readout": "rate", "logit_scale": 10.0},
    "surrogate half as wide": {"surrogate_width": 0.5},
    "surrogate twice as wide": {"surrogate_width": 2.0},
    "learned thresholds": {"learn_threshold": True},
    "weights scaled by all neurons": {},
    "original": vars(ORIGINAL),
}


def settings_of(row: str, seed: int) -> TrialSettings:
    """The settings of `default` with the changes of a row."""
    settings = CONFIG.trial("hmn", seed)
    settings = replace(settings, branch=replace(settings.branch, **ROWS[row]))
    if row == "original":
        return replace(settings, scale_by_open_fan_in=False, lr=RELEASED[0], strength=RELEASED[1])

    return replace(settings, scale_by_open_fan_in=row != "weights scaled by all neurons")


@lru_cache(maxsize=1)
def units_of(seed: int) -> Gating:
    """The trained units of a seed, once for all rows."""
    tasks = modulation.task_sequence(CONFIG, seed, *modulation.recordings(CONFIG))
    settings = CONFIG.trial("hmn", seed)
    gating = build_gating(settings, tasks)
    train_gating(gating, settings, tasks, None, quiet=True)

    return gating.eval()


def score(row: str, seed: int) -> dict[str, Any]:
    """One training."""
    tasks = modulation.task_sequence(CONFIG, seed, *modulation.recordings(CONFIG))
    trial = run_trial(settings_of(row, seed), tasks, quiet=True, gating=units_of(seed))
    found = continual_metrics(trial.result.accuracies, tasks.group)
    kept = ("acc", "just_learnt", "just_learnt_first", "just_learnt_last", "forgetting", "transfer")
    seconds = fmean(trial.result.seconds)

    return {"seed": seed, **{key: round(getattr(found, key), 5) for key in kept}, "s a task": round(seconds, 3)}


def table(trials: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Means over seeds, and whether new tasks are still learned."""
    rows = []
    for name, seeds in trials.items():
        mean = {key: round(fmean(seed[key] for seed in seeds), 4) for key in seeds[0] if key != "seed"}
        falls = round(100 * (mean["just_learnt_first"] - mean["just_learnt_last"]), 2)
        rows.append({"row": name, "seeds": len(seeds), **mean, "falls by": falls, "within 2": falls <= POINTS})

    return rows


def main() -> None:
    """Trains what is not there yet, and writes after every training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    rows = parser.parse_args().rows
    torch.set_num_threads(1)
    trials = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else {}

    for seed in SEEDS:
        for row in rows:
            if seed in (trial["seed"] for trial in trials.setdefault(row, [])):
                continue
            trials[row].append(score(row, seed))
            print(row, trials[row][-1], flush=True)
            done = {name: found for name, found in trials.items() if found}
            content = {"num_tasks": CONFIG.tasks.num_tasks, "rows": table(done), "cells": done}
            write_text(RESULTS, json.dumps({**content, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
