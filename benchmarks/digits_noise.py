"""Chooses the default noise of the digits recipe, on validation data and on the one-sided twins alone.

    python benchmarks/digits_noise.py

The rule, fixed before any hybrid network was scored: frames are as noisy as leaves the ANN alone at 90 +- 2 %, and
events as poor as leaves the SNN alone at 90 +- 2 %, so that neither side is the whole story. Five seeds each.
"""

import json
import tempfile
from pathlib import Path

from spikebridge.networks.digits import recipe as digits
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "digits_noise.json"
SEEDS = 5
NOISES = (0.5, 0.55, 0.6, 0.65, 0.7)
EVENT_LOSSES = (0.3, 0.4, 0.5, 0.6)


def accuracy(network: str, camera: digits.Camera) -> dict[str, float]:
    """Mean and spread of a twin's accuracy on validation data [%]."""
    config = digits.Config((network,), split="validation", num_seeds=SEEDS, camera=camera)
    with tempfile.TemporaryDirectory() as folder:
        results = digits.train(config, Run.create(Path(folder) / "run", "digits", config), quiet=True)
    row = results["networks"][0]
    return {"accuracy": row["accuracy %"], "sd": row["sd"]}


def main() -> None:
    """Runs both sweeps, prints them and writes them down."""
    rows = []
    for noise in NOISES:
        rows.append({"network": "ann", "noise": noise, **accuracy("ann", digits.Camera(noise=noise))})
        print(rows[-1], flush=True)
    for loss in EVENT_LOSSES:
        rows.append({"network": "snn", "event_loss": loss, **accuracy("snn", digits.Camera(event_loss=loss))})
        print(rows[-1], flush=True)
    found = {"seeds": SEEDS, "split": "validation", "rows": rows, "environment": describe_environment()}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
