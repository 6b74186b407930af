"""E: peak memory of training as time grows, each in a process of its own (as Linux tells it)."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from research.speed.beside_peers.layers import every_library
from research.speed.beside_peers.works import Dense, DenseInARow, training_step
from spikebridge.ops import pack_spikes

BATCH = 128
IN_A_ROW = ", Sequential"
AS_BYTES = ", spikes as bytes"


def every_row() -> list[str]:
    """Names of the rows: each library, the network without neurons, and the first library in a row."""
    first, *others = every_library()
    return [first, first + IN_A_ROW, first + IN_A_ROW + AS_BYTES, *others, "no neurons"]


def peak_of_training(name: str, num_steps: int) -> float:
    """Peak memory of the first training step over the memory before it, in MB."""
    # the first step alone: some layers keep their state, and with it memory, until their next step
    network = _DenseAlone if IN_A_ROW in name else Dense
    layer = nn.Identity if name == "no neurons" else every_library()[name.split(",")[0]]
    # modules that are loaded at first use do not count
    training_step(network, layer, (2, 2, 784))()
    run = training_step(network, layer, (num_steps, BATCH, 784))
    # Linux measures the peak from here on
    Path("/proc/self/clear_refs").write_text("5")
    before = _megabytes("VmRSS")

    with pack_spikes() if AS_BYTES in name else nullcontext():
        run()

    return _megabytes("VmHWM") - before


class _DenseAlone(DenseInARow):
    """The network alone: nothing reports its spikes."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(x)[0].mean(0), torch.zeros(())


def _megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def in_a_process(name: str, num_steps: int) -> float:
    """The same, measured from outside."""
    script = Path(__file__).parent.parent / "peers.py"
    command = [sys.executable, str(script), "--peak-of", name, "--num-steps", str(num_steps)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(result.stdout.splitlines()[-1]))
