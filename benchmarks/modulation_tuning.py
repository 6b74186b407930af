"""Learning rate and strength of every method of the modulation recipe, chosen on tuning tasks of their own.

    python benchmarks/modulation_tuning.py [--dataset digits] [--methods hmn xdg_ewc]

Eight tasks (two groups) of a seed that is never reported, scored on validation pictures that the reported runs never
score on. All methods that keep old tasks in the same way get the same points; the others choose among the rates. The
best ACC counts; of strengths within .003 of it the largest is taken, because more tasks will come. Eight tasks favour
strengths at which ungated networks forget twenty, so `--long` chooses the strength of such a rival anew on twenty
tasks, at its rate of the short search. Shared gates have one more setting, the share, which `--long` searches too: of
the points within a point of the best ACC the best sum of ACC and transfer counts (of strengths within .006 of it the
largest), for the oracle that they are held against as well. A stopped search resumes. Writes
benchmarks/results/modulation_tuning.json, from which `TUNED` and `SHARED_FRACTION` in
`spikebridge/networks/modulation/training/methods.py` are copied.
"""

import argparse
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.modulation import Gating
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.evaluation.accuracy_matrix import continual_metrics
from spikebridge.networks.modulation.training.gates import build_gating, train_gating
from spikebridge.networks.modulation.training.methods import METHODS
from spikebridge.networks.modulation.training.trial import run_trial
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "modulation_tuning.json"
SEED = 1000
NUM_TASKS = 8
LEVEL = 0.003
LONG = 20
RATES = {"snn": (0.1, 0.2), "ann": (0.03, 0.1, 0.2)}
STRENGTHS = {
    "none": (0.0,),
    "ewc": (30.0, 300.0, 3000.0, 30000.0),
    "si": (0.01, 0.1, 1.0, 10.0),
    "meta": (0.3, 3.0, 30.0),
}
# the two that are to win accuracy and transfer together, with their rate
BOTH = {"hmn_shared": 0.2, "group_ewc": 0.2}
BOTH_STRENGTHS = (30.0, 100.0, 300.0)
TAKEN = (0.9, 1.0)
# the others take over: units those of hmn, the wide network those of snn_ewc, gates without EWC their twin's rate
SEARCHED = (
    *("single", "projection", "xdg_ewc", "hmn", "group_ewc", "snn_ewc", "ann_ewc"),
    *("xdg_si", "snn_si", "snn_meta", "gated_ann", "snn", "ann"),
)


def config_of(dataset: str) -> modulation.Config:
    """The sizes of the reported runs, on validation pictures."""
    base = modulation.PRESETS["mnist" if dataset == "mnist" else "table"]
    data = replace(base.data, split="validation")
    return replace(base, seed=SEED, data=data, tasks=replace(base.tasks, num_tasks=NUM_TASKS))


@lru_cache
def units_of(config: modulation.Config, name: str) -> Gating | None:
    """The trained units of a method, once for all points."""
    if not METHODS[name].has_unit:
        return None
    settings = config.trial(name)
    tasks = modulation.task_sequence(config, SEED, *modulation.recordings(config))
    gating = build_gating(settings, tasks)
    train_gating(gating, settings, tasks, None, quiet=True)
    return gating


def score(config: modulation.Config, name: str, lr: float, strength: float, share: float | None) -> dict[str, Any]:
    """ACC and the rest at one point."""
    tasks = modulation.task_sequence(config, SEED, *modulation.recordings(config))
    method = METHODS[name] if share is None else replace(METHODS[name], shared_fraction=share)
    settings = replace(config.trial(name), method=method, lr=lr, strength=strength)
    trial = run_trial(settings, tasks, quiet=True, gating=units_of(config, name))
    found = continual_metrics(trial.result.accuracies, tasks.group)
    kept = ("acc", "just_learnt", "forgetting", "transfer")
    point = {"lr": lr, "strength": strength, **({} if share is None else {"share": share})}
    return {**point, **{key: round(getattr(found, key), 5) for key in kept}}


def points_of(name: str, long: bool, short: dict[str, Any]) -> list[tuple[float, float, float | None]]:
    """Rates, strengths and shares to try."""
    method = METHODS[name]
    if long and name in BOTH:
        shares = TAKEN if method.shared_fraction else (None,)
        return [(BOTH[name], strength, share) for share in shares for strength in BOTH_STRENGTHS]
    rates = (short[name]["chosen"]["lr"],) if long else RATES[method.neuron]
    return [(lr, strength, None) for lr in rates for strength in STRENGTHS[method.regularizer]]


def choose(name: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    """The best point; of those level with it the one of the largest strength."""
    best = max(point["acc"] for point in points)
    if name in BOTH:
        near = [point for point in points if point["acc"] >= best - 0.01]
        both = max(point["acc"] + point["transfer"] for point in near)
        level = [point for point in near if point["acc"] + point["transfer"] >= both - 2 * LEVEL]
        return max(level, key=lambda point: (point["strength"], point["acc"]))
    level = [point for point in points if point["acc"] >= best - LEVEL]
    return max(level, key=lambda point: (point["strength"], point["acc"]))


def main() -> None:
    """Searches, and writes after every point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--methods", nargs="+", default=list(SEARCHED))
    parser.add_argument("--long", action="store_true")
    words = parser.parse_args()
    torch.set_num_threads(1)
    config = config_of(words.dataset)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    short = found.setdefault(words.dataset, {})
    searched = found.setdefault(f"{words.dataset}, {LONG} tasks", {}) if words.long else short
    config = replace(config, tasks=replace(config.tasks, num_tasks=LONG)) if words.long else config
    for name in words.methods:
        points = searched.setdefault(name, {"points": []})["points"]
        done = {(point["lr"], point["strength"], point.get("share")) for point in points}
        for lr, strength, share in points_of(name, words.long, short):
            if (lr, strength, share) not in done:
                points.append(score(config, name, lr, strength, share))
                print(words.dataset, name, points[-1], flush=True)
                searched[name]["chosen"] = choose(name if words.long else "", points)
                found["environment"] = describe_environment(seed=SEED)
                write_text(RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
