"""Accuracy of the digits recipe in every precision that it offers.

    python research/digits/precision.py [--preset quick] [--seeds 5] [--workers 2]

Trains all six networks with each precision and scores them on test data, seed by seed. A stopped sweep resumes. Writes
research/digits/results/precision.json.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, get_args, get_type_hints

from research.digits import variants
from spikebridge.recipes import train_all
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results"
RECIPE = Path(__file__).with_name("variants.py")
PRECISIONS: tuple[Any, ...] = get_args(get_type_hints(variants.Config)["precision"])
BASE = "32-true"


def rows_of(accuracies: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """One row for each network and precision, with its difference to 32-true seed by seed [percentage points]."""
    rows = []
    for network in variants.VARIANTS:
        base = [seed[network] for seed in accuracies[BASE]]
        for precision in PRECISIONS:
            values = [seed[network] for seed in accuracies[precision]]
            differences = [value - reference for value, reference in zip(values, base, strict=True)]
            # one seed has no deviation
            spread = {"sd": round(stdev(values), 2)} if len(values) > 1 else {}
            row = {"network": network, "precision": precision, "accuracy %": round(mean(values), 2), **spread}
            rows.append(row | {f"to {BASE}": round(mean(differences), 2)})

    return rows


def main() -> None:
    """Trains in every precision and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="quick", choices=variants.PRESETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-precision"))
    options = parser.parse_args()
    preset = replace(variants.PRESETS[options.preset], num_seeds=1)

    configs = {
        f"{options.preset}-{precision}-seed-{seed}": replace(preset, seed=seed, precision=precision)
        for seed in range(options.seeds)
        for precision in PRECISIONS
    }

    runs = train_all(str(RECIPE), configs, options.folder, workers=options.workers)
    accuracies: dict[str, list[dict[str, float]]] = {precision: [] for precision in PRECISIONS}
    for name, config in configs.items():
        scores = {row["network"]: row["accuracy %"] for row in runs[name].results()["networks"]}
        accuracies[config.precision].append(scores)
        print(config.precision, config.seed, scores)

    facts = {"preset": options.preset, "seeds": options.seeds, "split": "test"}
    content = facts | {"rows": rows_of(accuracies), "environment": describe_environment()}
    (RESULTS / "precision.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
