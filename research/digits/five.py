"""The digits recipe with five seeds: the table of the README, and its pictures.

    python research/digits/five.py [--folder runs/digits-five]

Runs `spikebridge train digits --preset five`, or resumes it. Writes research/digits/results/five.json and two
pictures of the report into docs/images.
"""

import argparse
import json
import shutil
from pathlib import Path

from spikebridge.networks.digits import recipe as digits
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
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
    (RESULTS / "five.json").write_text(json.dumps(found, indent=1) + "\n")

    for picture in PICTURES:
        shutil.copy(run.path / "pictures" / picture, IMAGES / f"digits-{picture}")


if __name__ == "__main__":
    main()
