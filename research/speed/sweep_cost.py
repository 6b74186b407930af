"""The cost of a sweep itself: 24 short cells on two workers, compared with half the sum of their times.

    python research/speed/sweep_cost.py  # three minutes on two quiet cores; other work meanwhile counts as cost
    python research/speed/sweep_cost.py --quick   # four cells; writes nothing

The time is that of the whole command: loading PyTorch, cells, table, figure and report. Cells of one network are the
shortest that the recipe has; cells of all six are the preset `quick` as it is. Goal: at most 1.15 times half the sum.
Writes research/speed/results/sweep_cost.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spikebridge.data.io.atomic import write_text
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "sweep_cost.json"
GOAL = 1.15
WORKERS = 2
SWEEPS = {
    "one network": ("--set", "networks=ann,snn", "--set", "lr=0.01,0.02,0.005", "--seeds", "0:4"),
    "six networks": ("--seeds", "0:24"),
}
QUICK = {"one network": ("--set", "networks=ann,snn", "--seeds", "0:2")}


def measure_sweep(name: str, options: tuple[str, ...]) -> dict[str, Any]:
    """Runs a sweep as its user does, and compares its time with that of its cells."""
    words = ["sweep", "digits", "--preset", "quick", *options, "--workers", str(WORKERS)]
    with TemporaryDirectory() as place:
        folder = Path(place) / "sweep"
        start = time.monotonic()
        load = os.getloadavg()[0]
        # one thread a cell: two workers with more would wait for each other's cores
        command = [sys.executable, "-m", "spikebridge", *words, "--out", str(folder), "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        seconds = time.monotonic() - start
        cells = json.loads((folder / "results.json").read_text(encoding="utf-8"))["cells"]

    half = sum(cell["seconds"] for cell in cells) / WORKERS
    return {
        "a cell has": name,
        "cells": len(cells),
        "seconds": round(seconds, 2),
        "half the sum of the cells": round(half, 2),
        "ratio": round(seconds / half, 3),
        "CPU seconds of the cells": round(sum(cell["cpu_seconds"] for cell in cells), 1),
        "goal": GOAL,
        "met": seconds <= GOAL * half,
        "load before": round(load, 2),
        "load after": round(os.getloadavg()[0], 2),
        "command": f"spikebridge {' '.join(words)}",
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four cells; writes nothing")
    quick = parser.parse_args().quick
    rows = []

    for name, options in (QUICK if quick else SWEEPS).items():
        rows.append(measure_sweep(name, options))
        print(json.dumps(rows[-1]), flush=True)

    if not quick:
        results = {"rows": rows, "cores": os.cpu_count(), "environment": describe_environment()}
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
