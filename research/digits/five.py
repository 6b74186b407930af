"""The digits recipe with five seeds: the table of its page, and two pictures.

    python research/digits/five.py [--folder runs/digits-five]

Runs `spikebridge train research/digits/variants.py --preset five`, or resumes it. Writes
research/digits/results/five.json, and into docs/images the accuracies and a drawing of the learned hybrid.
"""

import argparse
import json
from pathlib import Path

from research.digits import variants
from spikebridge.analysis.plots.figures import accuracy_bars, draw_network, to_svg
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parents[2] / "docs" / "images"


def pictures(run: Run) -> dict[str, str]:
    """SVG files by name."""
    accuracies: dict[str, list[float]] = {name: [] for name in run.config["networks"]}
    for path, child in run.children().items():
        accuracies[path.partition("/")[0]].append(100 * child.results()["accuracy"])

    learned = variants.build(run.config_as(variants.Config))["learned"]
    return {
        "digits-accuracy.svg": to_svg(accuracy_bars(accuracies)),
        "digits-learned.svg": draw_network(learned),
    }


def main() -> None:
    """Trains, reports, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-five"))
    folder = parser.parse_args().folder
    config = variants.PRESETS["five"]
    run = Run.create(folder, "research/digits/variants.py", config, resume=True)
    results = run.results() if run.finished else variants.train(config, run)
    print(variants.report(run))

    content = {**results, "environment": describe_environment(), "config": run.config}
    (RESULTS / "five.json").write_text(json.dumps(content, indent=1) + "\n")
    for name, picture in pictures(run).items():
        (IMAGES / name).write_text(picture)


if __name__ == "__main__":
    main()
