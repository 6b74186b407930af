"""Processor time and largest memory of trainings of the sensing network, each in a process of its own.

python research/sensing/between_frames/training.py
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# an epoch of the largest preset has all of its samples in memory
TRAININGS: dict[str, tuple[str, ...]] = {
    "quick": ("--preset", "quick"),
    "default": ("--preset", "default"),
    "shipped, one epoch": ("--preset", "shipped", "--pathways.epochs", "1", "--detector.epochs", "1"),
}
_MEGABYTE = 1024 if sys.platform == "linux" else 1024**2  # of what the system counts in


def trainings() -> dict[str, dict[str, float]]:
    """Each of `TRAININGS` once, with all that starting and scoring take."""
    return {name: training(*options) for name, options in TRAININGS.items()}


def training(*options: str) -> dict[str, float]:
    """Trains on one thread with options of `spikebridge train sensing`, and throws the run away."""
    with tempfile.TemporaryDirectory() as folder:
        return used_by(["train", "sensing", *options, "--quiet", "--out", str(Path(folder) / "run")])


def used_by(arguments: list[str]) -> dict[str, float]:
    """Time and memory of `spikebridge` with these arguments, on one thread."""
    command = [sys.executable, "-m", "spikebridge", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    # the system's word on this process alone, and not on all that were ever started
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)

    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")

    return {"CPU seconds": used.ru_utime + used.ru_stime, "MB resident": used.ru_maxrss / _MEGABYTE}


def rows(found: dict[str, dict[str, float]]) -> list[tuple[str, float | None, str, float]]:
    """Figures of `trainings` with their targets; None where nothing was measured."""
    seconds = {name: one["CPU seconds"] for name, one in found.items()}
    most = max((one["MB resident"] for one in found.values()), default=None)

    return [
        ("training `default`: CPU minutes", seconds["default"] / 60 if found else None, "at most", 3.0),
        ("training `quick`: CPU seconds", seconds.get("quick"), "at most", 20.0),
        ("training: MB resident", most, "at most", 1000.0),
    ]


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(json.dumps(trainings(), indent=2))
