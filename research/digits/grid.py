"""The digits recipe over noise and frame steps: where does a hybrid network win, and where not?

    python research/digits/grid.py [--workers 2] [--folder runs/digits-grid]

Trains all six networks in every cell with three seeds and scores them on test data. The SNN sees no frame, so it is
trained once. A stopped sweep resumes. Writes research/digits/results/grid.json and grid.svg.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikebridge.analysis.plots.figures import heat_map, to_svg
from spikebridge.networks.digits import recipe as digits
from spikebridge.recipes import train_all
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results"
NOISES = (0.2, 0.6, 1.0, 1.4)
FRAME_STEPS = (1, 2, 4)
SEEDS = 3
ONCE = "snn"


def cells() -> dict[str, digits.Config]:
    """The settings of every cell by its name; the SNN apart."""
    kinds = tuple(name for name in digits.VARIANTS if name != ONCE)
    return {ONCE: digits.Config(networks=(ONCE,), num_seeds=SEEDS)} | {
        f"noise-{noise}-frame-step-{step}": digits.Config(kinds, num_seeds=SEEDS, camera=digits.Camera(noise, step))
        for step in FRAME_STEPS
        for noise in NOISES
    }


def rows_of(runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    """One row for each cell and network."""
    rows = []
    once = runs[ONCE].results()["networks"][0]

    for name, run in runs.items():
        camera = run.config_as(digits.Config).camera
        for row in [] if name == ONCE else [*run.results()["networks"], once]:
            cell = {"noise": camera.noise, "thinning": camera.frame_step, "network": row["network"]}
            rows.append(cell | {"accuracy": row["accuracy %"], "sd": row["sd"]})

    return rows


def grid_figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """The grid noise x frame step x network as one heat map, SVG."""
    noises = sorted({row["noise"] for row in rows})
    keys = list(dict.fromkeys((row["thinning"], row["network"]) for row in rows))
    found = {(row["thinning"], row["network"], row["noise"]): row["accuracy"] for row in rows}
    values = [[found[(*key, noise)] for noise in noises] for key in keys]
    names = [name for _, name in keys]

    best = {
        (thinning, noise): max(found[thinning, name, noise] for name in names)
        for thinning, _ in keys
        for noise in noises
    }

    marks = [[found[(*key, noise)] == best[key[0], noise] for noise in noises] for key in keys]
    titles = [f"{name}, every frame" if k == 1 else f"{name}, 1 frame in {k}" for k, name in keys]
    figure = heat_map(values, titles, noises, column_title="noise of the frames", marks=marks)

    return to_svg(figure, "accuracy over noise, frame step and network")


def main() -> None:
    """Runs the grid and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-grid"))
    words = parser.parse_args()
    rows = rows_of(train_all("digits", cells(), words.folder, workers=words.workers))
    found = {"seeds": SEEDS, "split": "test", "rows": rows, "environment": describe_environment()}
    (RESULTS / "grid.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "grid.svg").write_text(grid_figure(rows))

    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
