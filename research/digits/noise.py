"""Chooses the default noise of the digits recipe, on validation data and on the one-sided twins alone.

    python research/digits/noise.py [--workers 2] [--folder runs/digits-noise]

The rule, fixed before any hybrid network was scored: frames are as noisy as leaves the ANN alone at 90 +- 2 %, and
events as poor as leaves the SNN alone at 90 +- 2 %, so that neither side is the whole story. Five seeds each. A stopped
sweep resumes.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from spikebridge.networks.digits import recipe as digits
from spikebridge.recipes import train_all
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "noise.json"
SEEDS = 5
# each twin with a setting of the camera and its values
TWINS = {"ann": ("noise", (0.5, 0.55, 0.6, 0.65, 0.7)), "snn": ("event_loss", (0.3, 0.4, 0.5, 0.6))}
BASE = digits.Config(split="validation", num_seeds=SEEDS)


def main() -> None:
    """Runs both sweeps, prints them and writes them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-noise"))
    words = parser.parse_args()
    points = [(network, setting, value) for network, (setting, values) in TWINS.items() for value in values]
    configs = {
        f"{network}-{value}": replace(BASE, networks=(network,), camera=replace(BASE.camera, **{setting: value}))
        for network, setting, value in points
    }

    runs = train_all("digits", configs, words.folder, workers=words.workers)
    rows = []
    for (network, setting, value), run in zip(points, runs.values(), strict=True):
        row = run.results()["networks"][0]
        rows.append({"network": network, setting: value, "accuracy": row["accuracy %"], "sd": row["sd"]})
        print(rows[-1])

    found = {"seeds": SEEDS, "split": "validation", "rows": rows, "environment": describe_environment()}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
