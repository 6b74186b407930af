"""The digits recipe over noise and frame steps: where does a hybrid network win, and where not?

    python benchmarks/digits_grid.py [--workers 2] [--folder runs/digits-grid]

Trains all six networks in every cell with three seeds and scores them on test data. The SNN sees no frame, so it is
trained once. A stopped run resumes. Writes benchmarks/results/digits_grid.json and digits_grid.svg.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from spikebridge.networks.digits import recipe as digits
from spikebridge.networks.digits import report as digits_report
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results"
NOISES = (0.2, 0.6, 1.0, 1.4)
FRAME_STEPS = (1, 2, 4)
SEEDS = 3
ONCE = "snn"


def cells() -> list[tuple[str, digits.Config]]:
    """Every cell's name and settings; the SNN apart."""
    kinds = tuple(name for name in digits.VARIANTS if name != ONCE)
    grid = [(noise, step) for step in FRAME_STEPS for noise in NOISES]
    return [("snn", digits.Config(networks=(ONCE,), num_seeds=SEEDS))] + [
        (
            f"noise-{noise}-thinning-{thinning}",
            digits.Config(kinds, num_seeds=SEEDS, camera=digits.Camera(noise, thinning)),
        )
        for noise, thinning in grid
    ]


def run_cell(folder: Path, name: str, config: digits.Config) -> str:
    """Trains and scores one cell, or resumes it."""
    torch.set_num_threads(1)
    run = Run.create(folder / name, "digits", config, resume=True)
    if not run.finished:
        digits.train(config, run, quiet=True)
    return name


def collect(folder: Path) -> list[dict[str, Any]]:
    """One row for each cell and network."""
    rows = []
    once = Run.open(folder / "snn").results()["networks"][0]
    for name, config in cells()[1:]:
        found = [*Run.open(folder / name).results()["networks"], once]
        for row in found:
            cell = {"noise": config.camera.noise, "thinning": config.camera.frame_step, "network": row["network"]}
            rows.append(cell | {"accuracy": row["accuracy %"], "sd": row["sd"]})
    return rows


def main() -> None:
    """Runs the grid and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-grid"))
    words = parser.parse_args()
    with ProcessPoolExecutor(words.workers, get_context("spawn")) as pool:
        waiting = [pool.submit(run_cell, words.folder, name, config) for name, config in cells()]
        for number, cell in enumerate(waiting, 1):
            print(f"{number}/{len(waiting)} {cell.result()}", flush=True)
    rows = collect(words.folder)
    found = {"seeds": SEEDS, "split": "test", "rows": rows, "environment": describe_environment()}
    (RESULTS / "digits_grid.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "digits_grid.svg").write_text(digits_report.grid_figure(rows))
    print("\n".join(digits_report.grid_verdict(rows)))


if __name__ == "__main__":
    main()
