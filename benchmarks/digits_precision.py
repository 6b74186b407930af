"""The digits recipe in every precision that it offers: does mixed precision cost accuracy?

    python benchmarks/digits_precision.py [--preset quick] [--seeds 5] [--folder runs/digits-precision]

Trains all six networks with each precision and scores them on test data, seed by seed. A stopped run resumes. Writes
benchmarks/results/digits_precision.json.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, get_args, get_type_hints

import torch

from spikebridge.networks.digits import recipe as digits
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results"
PRECISIONS: tuple[Any, ...] = get_args(get_type_hints(digits.Config)["precision"])
BASE = "32-true"


def accuracies(folder: Path, preset: str, precision: Any, seed: int) -> dict[str, float]:
    """Test accuracy of each network [%], trained in a precision with a seed, or resumed."""
    config = replace(digits.PRESETS[preset], num_seeds=1, seed=seed, precision=precision)
    run = Run.create(folder / f"{preset}-{precision}-seed-{seed}", "digits", config, resume=True)
    results = run.results() if run.finished else digits.train(config, run, quiet=True)
    return {row["network"]: row["accuracy %"] for row in results["networks"]}


def rows_of(found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """One row for each network and precision, with its difference to 32-true seed by seed [percentage points]."""
    rows = []
    for network in digits.VARIANTS:
        base = [seed[network] for seed in found[BASE]]
        for precision in PRECISIONS:
            values = [seed[network] for seed in found[precision]]
            differences = [value - beside for value, beside in zip(values, base, strict=True)]
            spread = {"sd": round(stdev(values), 2)} if len(values) > 1 else {}
            row = {"network": network, "precision": precision, "accuracy %": round(mean(values), 2), **spread}
            rows.append(row | {f"to {BASE}": round(mean(differences), 2)})
    return rows


def main() -> None:
    """Trains in every precision and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="quick", choices=digits.PRESETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-precision"))
    words = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = {precision: [] for precision in PRECISIONS}
    for seed in range(words.seeds):
        for precision in PRECISIONS:
            found[precision].append(accuracies(words.folder, words.preset, precision, seed))
            print(precision, seed, found[precision][-1], flush=True)
    facts = {"preset": words.preset, "seeds": words.seeds, "split": "test"}
    content = facts | {"rows": rows_of(found), "environment": describe_environment()}
    (RESULTS / "digits_precision.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
