"""Trains once undisturbed and once with many kills, as a program that a test starts.

Usage: killed_often.py FOLDER NUM_KILLS

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


def attempt(path: Path, patience: float | None) -> bool:
    """One attempt in a process of its own, killed when the patience [s] is over; whether it came to its end."""
    process = os.fork()
    if process == 0:
        main(str(path), devices=1, dropout=0.5, delay=0.02)
        os._exit(0)
    if patience is not None:
        time.sleep(patience)
        os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1] == 0


def kill_often(folder: Path, num_kills: int) -> None:
    begun = time.monotonic()
    if not attempt(folder / "whole", None):
        sys.exit("the undisturbed training failed")
    duration = time.monotonic() - begun
    moments = random.Random(7)
    killed = sum(not attempt(folder / "killed", moments.uniform(0.1, 0.9) * duration) for _ in range(num_kills))
    print("killed", killed, "at step", *sorted(file.name for file in (folder / "killed" / "checkpoint").glob("*")))
    if not attempt(folder / "killed", None):
        sys.exit("the resumed training failed")


if __name__ == "__main__":
    kill_often(Path(sys.argv[1]), int(sys.argv[2]))
