"""Processor time, wall time and memory of the `default` preset of the signals recipe, in a process of its own.

    python research/signals/training.py --out runs/signals-default            # minutes
    python research/signals/integers.py --run runs/signals-default            # the trained hybrid in integers

Everything counts, from the start of the command to its report: loading of the data, augmentation, training of both
networks, scoring. One thread. Wall time depends on what else runs, so the load of the machine is written too.
Writes research/signals/results/training.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from spikebridge.data.io.atomic import write_text
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "training.json"
GOAL_MINUTES = 5.0
# Linux counts memory in kilobytes, macOS in bytes
_MEGABYTE = 1024 if sys.platform == "linux" else 1024**2


def training(preset: str, out: Path) -> dict[str, float]:
    """Trains a preset on one thread into a new folder; its time and memory.

    Raises:
        RuntimeError: the training failed.
    """
    command = [
        sys.executable,
        "-m",
        "spikebridge",
        "train",
        "signals",
        "--preset",
        preset,
        "--quiet",
        "--out",
        str(out),
    ]

    start = time.monotonic()
    load = os.getloadavg()[0]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})

    # usage of this process alone
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")

    return {
        "CPU seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "wall seconds": round(time.monotonic() - start, 1),
        "load before": round(load, 1),
        "load after": round(os.getloadavg()[0], 1),
        "MB resident": round(usage.ru_maxrss / _MEGABYTE),
    }


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--out", type=Path, default=Path("runs/signals-default"), help="a new folder for the run")
    parser.add_argument("--quick", action="store_true", help="the preset `quick`; writes nothing")
    options = parser.parse_args()
    environment = describe_environment()
    preset = "quick" if options.quick else options.preset
    results = {"preset": preset, "goal: CPU minutes at most": GOAL_MINUTES, **training(preset, options.out)}
    results["accuracy %"] = {
        path: round(100 * child.results()["accuracy"], 1) for path, child in Run.open(options.out).children().items()
    }
    print(json.dumps(results))

    if not options.quick:
        write_text(RESULTS, json.dumps({**results, "environment": environment}, indent=1) + "\n")


if __name__ == "__main__":
    main()
