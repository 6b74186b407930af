"""Choice of the default noise of the digits recipe, by the ANN and the SNN alone, on validation data.

    python research/digits/noise.py [--workers 2] [--folder runs/digits-noise]

The rule, fixed before any hybrid network was scored: with the noise of frames the ANN alone has 90 +- 2 %, and with the
loss of events the SNN alone has 90 +- 2 %, so that neither pathway suffices. Five seeds each. A stopped sweep resumes.
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
    """Runs both sweeps, prints and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-noise"))
    options = parser.parse_args()
    points = [(network, setting, value) for network, (setting, values) in TWINS.items() for value in values]
    configs = {
        f"{network}-{value}": replace(BASE, networks=(network,), camera=replace(BASE.camera, **{setting: value}))
        for network, setting, value in points
    }

    runs = train_all("digits", configs, options.folder, workers=options.workers)
    rows = []
    for (network, setting, value), run in zip(points, runs.values(), strict=True):
        row = run.results()["networks"][0]
        rows.append({"network": network, setting: value, "accuracy": row["accuracy %"], "sd": row["sd"]})
        print(rows[-1])

    content = {"seeds": SEEDS, "split": "validation", "rows": rows, "environment": describe_environment()}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
