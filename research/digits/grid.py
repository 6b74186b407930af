"""Accuracy of the digits recipe over noise of the frames and frame steps.

    python research/digits/grid.py [--workers 2] [--folder runs/digits-grid]

Trains all six networks in every cell with three seeds and scores them on test data. The SNN reads no frames, so it is
trained once. A stopped sweep resumes. Writes research/digits/results/grid.json and grid.svg.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from research.digits import variants
from spikebridge.analysis.plots.figures import heat_map, to_svg
from spikebridge.recipes import train_all
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results"
RECIPE = Path(__file__).with_name("variants.py")
NOISES = (0.2, 0.6, 1.0, 1.4)
FRAME_STEPS = (1, 2, 4)
SEEDS = 3
ONCE = "snn"


def cells() -> dict[str, variants.Config]:
    """The settings of every cell, and of the SNN, by name."""
    # cells change the frames, which the SNN does not read
    networks = tuple(name for name in variants.VARIANTS if name != ONCE)
    configs = {ONCE: variants.Config(networks=(ONCE,), num_seeds=SEEDS)}
    for step, noise in product(FRAME_STEPS, NOISES):
        camera = variants.Camera(noise, step)
        configs[f"noise-{noise}-frame-step-{step}"] = variants.Config(networks, num_seeds=SEEDS, camera=camera)

    return configs


def rows_of(runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    """One row for each cell and network."""
    rows = []
    once = runs[ONCE].results()["networks"][0]

    for name, run in runs.items():
        if name == ONCE:
            continue

        camera = run.config_as(variants.Config).camera
        for row in [*run.results()["networks"], once]:
            cell = {"noise": camera.noise, "thinning": camera.frame_step, "network": row["network"]}
            rows.append(cell | {"accuracy": row["accuracy %"], "sd": row["sd"]})

    return rows


def grid_figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """The grid noise x frame step x network as one heat map, SVG."""
    noises = sorted({row["noise"] for row in rows})
    keys = list(dict.fromkeys((row["thinning"], row["network"]) for row in rows))
    accuracy = {(row["thinning"], row["network"], row["noise"]): row["accuracy"] for row in rows}
    values = [[accuracy[(*key, noise)] for noise in noises] for key in keys]

    best: dict[tuple[int, float], float] = {}
    for (step, _, noise), value in accuracy.items():
        best[step, noise] = max(value, best.get((step, noise), 0.0))

    # the best network of each column and frame step
    marks = [[accuracy[step, name, noise] == best[step, noise] for noise in noises] for step, name in keys]
    titles = [f"{name}, every frame" if k == 1 else f"{name}, 1 frame in {k}" for k, name in keys]
    figure = heat_map(values, titles, noises, column_title="noise of the frames", marks=marks)

    return to_svg(figure, "accuracy over noise, frame step and network")


def main() -> None:
    """Runs the grid and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-grid"))
    options = parser.parse_args()
    rows = rows_of(train_all(str(RECIPE), cells(), options.folder, workers=options.workers))
    content = {"seeds": SEEDS, "split": "test", "rows": rows, "environment": describe_environment()}
    (RESULTS / "grid.json").write_text(json.dumps(content, indent=1) + "\n")
    (RESULTS / "grid.svg").write_text(grid_figure(rows))

    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
