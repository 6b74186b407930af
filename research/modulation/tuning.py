"""Learning rate and strength of every method of the modulation recipe, chosen on tuning tasks of their own.

    python research/modulation/tuning.py [--dataset digits] [--methods hmn xdg_ewc] [--workers 2]

Eight tasks (two groups) of a seed that is never reported, scored on validation images that the reported runs never
score on. All methods that keep old tasks in the same way get the same points; the others choose among the rates. The
best ACC counts; of strengths within .003 of it the largest is taken, because more tasks will come. Eight tasks favour
strengths at which ungated networks forget twenty, so `--long` chooses the strength of such a rival again on twenty
tasks, at its rate of the short search. Shared gates have one more setting, the share, which `--long` searches too: of
the points within a point of the best ACC the best sum of ACC and transfer counts (of strengths within .006 of it the
largest), for the oracle that they are held against as well. A point is a cell of a sweep of point.py, which resumes.
Writes research/modulation/results/tuning.json, from which the rates and strengths of `METHODS` (in the recipe's
config.py) and of `VARIANTS` are copied.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from research.modulation.point import FIGURES, SEED, Config
from research.modulation.variants import VARIANTS
from spikebridge.data.io.atomic import write_text
from spikebridge.recipes import train_all
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "tuning.json"
RECIPE = Path(__file__).with_name("point.py")
NUM_TASKS = 8
LEVEL = 0.003
LONG = 20
RATES = {"snn": (0.1, 0.2), "ann": (0.03, 0.1, 0.2)}
EWC_STRENGTHS = (30.0, 300.0, 3000.0, 30000.0)
OTHER_STRENGTHS = {
    "xdg_si": (0.01, 0.1, 1.0, 10.0),
    "snn_si": (0.01, 0.1, 1.0, 10.0),
    "snn_meta": (0.3, 3.0, 30.0),
}
# the two that are to win accuracy and transfer together, with their rate
BOTH = {"hmn_shared": 0.2, "group_ewc": 0.2}
BOTH_STRENGTHS = (30.0, 100.0, 300.0)
SHARES = (0.9, 1.0)
# the others take over: units those of hmn, the wide network those of snn_ewc, gates without EWC their twin's rate
SEARCHED = (
    *("single", "projection", "xdg_ewc", "hmn", "group_ewc", "snn_ewc", "ann_ewc"),
    *("xdg_si", "snn_si", "snn_meta", "gated_ann", "snn", "ann"),
)


def points_of(name: str, long: bool, short: dict[str, Any]) -> list[tuple[float, float, float | None]]:
    """Rates, strengths and shares to try."""
    method = VARIANTS[name].method
    if long and name in BOTH:
        shares = SHARES if name == "hmn_shared" else (None,)
        return [(BOTH[name], strength, share) for share in shares for strength in BOTH_STRENGTHS]

    rates = (short[name]["chosen"]["lr"],) if long else RATES[method.neuron]
    strengths = OTHER_STRENGTHS.get(name, EWC_STRENGTHS) if method.has_ewc else (0.0,)
    return [(lr, strength, None) for lr in rates for strength in strengths]


def choose(name: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    """The best point; of the level ones that of the largest strength."""
    best = max(point["acc"] for point in points)
    if name in BOTH:
        near = [point for point in points if point["acc"] >= best - 0.01]
        both = max(point["acc"] + point["transfer"] for point in near)
        level = [point for point in near if point["acc"] + point["transfer"] >= both - 2 * LEVEL]
        return max(level, key=lambda point: (point["strength"], point["acc"]))

    level = [point for point in points if point["acc"] >= best - LEVEL]
    return max(level, key=lambda point: (point["strength"], point["acc"]))


def main() -> None:
    """Trains the missing points, chooses, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--methods", nargs="+", default=list(SEARCHED))
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/modulation-tuning"))
    options = parser.parse_args()
    num_tasks = LONG if options.long else NUM_TASKS
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    short = content.setdefault(options.dataset, {})
    searched = content.setdefault(f"{options.dataset}, {LONG} tasks", {}) if options.long else short
    configs = {}

    for name in options.methods:
        points = searched.setdefault(name, {"points": []})["points"]
        done = {(point["lr"], point["strength"], point.get("share")) for point in points}
        for lr, strength, share in points_of(name, options.long, short):
            if (lr, strength, share) not in done:
                parts = (options.dataset, num_tasks, name, lr, strength, *(() if share is None else (share,)))
                configs["-".join(map(str, parts))] = Config(options.dataset, name, num_tasks, lr, strength, share)

    if not configs:
        return

    runs = train_all(str(RECIPE), configs, options.folder, workers=options.workers)
    for cell, run in runs.items():
        config = configs[cell]
        results = run.results()
        share = {} if config.share is None else {"share": config.share}
        point = {"lr": config.lr, "strength": config.strength, **share, **{key: results[key] for key in FIGURES}}
        points = searched[config.method]["points"]
        points.append(point)
        print(options.dataset, config.method, point)
        searched[config.method]["chosen"] = choose(config.method if options.long else "", points)

    content["environment"] = describe_environment(seed=SEED)
    write_text(RESULTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
