"""E: peak memory of training as time grows, each in a process of its own (as Linux tells it)."""

import json
import subprocess
import sys
from pathlib import Path

from torch import nn

from beside_peers.layers import every_library
from beside_peers.works import Dense, training_step

BATCH = 128


def peak_of_training(name: str, num_steps: int) -> float:
    """Peak memory of a training step over what was there before, in MB.

    The first step alone: some layers keep what they remember, and with it memory, until their next step.
    """
    layer = nn.Identity if name == "no neurons" else every_library()[name]
    training_step(Dense, layer, (2, 2, 784))()  # what is loaded at first use
    run = training_step(Dense, layer, (num_steps, BATCH, 784))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _megabytes("VmRSS")
    run()
    return _megabytes("VmHWM") - before


def _megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def in_a_process(name: str, num_steps: int) -> float:
    """The same, measured from outside."""
    script = Path(__file__).parent.parent / "peers.py"
    command = [sys.executable, str(script), "--peak-of", name, "--num-steps", str(num_steps)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(result.stdout.splitlines()[-1]))
