"""Trains once undisturbed and once with many kills, as a program that a test starts.

Usage: killed_often.py FOLDER

It loads everything, computes nothing itself, and forks: so each attempt begins at once.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import lightning_fabric  # noqa: F401 - loaded once for all attempts
from tiny_training import main

DELAY = 0.02


def last_step(path: Path) -> int:
    files = sorted((path / "checkpoint").glob("step-*"))
    return int(files[-1].stem.removeprefix("step-")) if files else 0


def begin(path: Path) -> int:
    process = os.fork()
    if process == 0:
        main(str(path), devices=1, dropout=0.5, delay=DELAY)
        os._exit(0)

    return process


def ended_well(process: int) -> bool:
    return os.waitpid(process, 0)[1] == 0


def kill(path: Path, num_steps: int, patience: float) -> bool:
    """An attempt killed some time [s] after its next checkpoints; whether it was killed before its end."""
    goal = last_step(path) + num_steps
    process = begin(path)
    while last_step(path) < goal:
        time.sleep(0.001)

    time.sleep(patience)
    os.kill(process, signal.SIGKILL)

    return not ended_well(process)


def kill_often(folder: Path) -> None:
    # together 13 of 24 steps and at most one more a kill: the last one hits a later phase, and none comes too late
    moments = random.Random()
    steps = (0, 1, 2, 3, 3, 4)
    killed = sum(kill(folder / "killed", num_steps, moments.uniform(0, DELAY)) for num_steps in steps)
    print("killed", killed, "times, at last after step", last_step(folder / "killed"))

    if not ended_well(begin(folder / "killed")) or not ended_well(begin(folder / "whole")):
        sys.exit("a training failed")


if __name__ == "__main__":
    kill_often(Path(sys.argv[1]))
