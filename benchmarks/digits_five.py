"""The digits recipe with five seeds: the table of the README, and its pictures.

    python benchmarks/digits_five.py [--folder runs/digits-five]

Runs `spikebridge train digits --preset five`, or resumes it. Writes benchmarks/results/digits_five.json and two
pictures of the report into docs/images.
"""

import argparse
import json
import shutil
from pathlib import Path

from spikebridge.networks.digits import recipe as digits
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

ROOT = Path(__file__).parents[1]
PICTURES = ("accuracy.svg", "learned.svg")


def main() -> None:
    """Trains, reports, and writes what is committed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-five"))
    folder = parser.parse_args().folder
    config = digits.PRESETS["five"]
    run = Run.create(folder, "digits", config, resume=True)
    results = run.results() if run.finished else digits.train(config, run)
    print(digits.report(run))
    found = {**results, "environment": describe_environment(), "config": run.config}
    (ROOT / "benchmarks" / "results" / "digits_five.json").write_text(json.dumps(found, indent=1) + "\n")
    (ROOT / "docs" / "images").mkdir(exist_ok=True)
    for picture in PICTURES:
        shutil.copy(run.path / "pictures" / picture, ROOT / "docs" / "images" / f"digits-{picture}")


if __name__ == "__main__":
    main()
