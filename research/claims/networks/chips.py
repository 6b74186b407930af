"""Claim: the parts of one network may run on many chips.

    python research/claims/networks/chips.py           # writes results/chips.json
    python research/claims/networks/chips.py --quick   # a small network, two processes; printed only

A network of spiking and other parts in layers is placed on 1 to 64 chips as large as a SpiNNaker chip, and on 1 to 8
slow ones whose times are declared. These also run as processes joined by local sockets (`chip_process.py`): a process
waits for the time that the chip would take, and a value may be used after the declared time. The measured latency is
compared with the predicted one.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from research.claims.experiment import Results, main, spread
from spikebridge.analysis import Chip, measure_load, place
from spikebridge.analysis.chips import SPINNAKER, NetworkLoad, Placement, simulate
from spikebridge.hybrid import HybridNetwork, Transmission, every
from spikebridge.neurons import LIF, Sequential

DT = 1e-3  # of the network, and of a run in processes
TICKS = 1
SECONDS = 20.0  # of a tick on one slow chip: long, since a busy machine delays a process


class Add(nn.Module):
    """A linear layer of the sum of its inputs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, *signals: Tensor) -> Tensor:
        """`(B, N)` each."""
        return torch.relu(self.linear(sum(signals[1:], signals[0])))


def layered(layers: int, parts: int, width: int) -> HybridNetwork:
    """Layers of spiking parts; each reads, through a part that adds, from two parts of the layer before."""
    torch.manual_seed(0)
    generator = random.Random(0)
    modules: dict[str, nn.Module] = {}
    links = []

    for layer in range(layers):
        for index in range(parts):
            name = f"snn{layer}_{index}"
            modules[name] = Sequential(fc=nn.Linear(width, width), lif=LIF(10 * DT, v_threshold=0.3))
            if layer == 0:
                links.append(Transmission("x", name))
                continue

            modules[f"add{layer}_{index}"] = Add(width)
            sources = generator.sample(range(parts), min(2, parts))
            links += [Transmission(f"snn{layer - 1}_{source}", f"add{layer}_{index}") for source in sources]
            links.append(Transmission(f"add{layer}_{index}", name))

    modules["answer"] = Add(width)
    links += [Transmission(f"snn{layers - 1}_{index}", "answer") for index in range(parts)]

    return HybridNetwork(dt=DT, inputs={"x": every(DT)}, parts=modules, links=links, outputs=["answer"]).eval()


def load_of(layers: int, parts: int, width: int) -> NetworkLoad:
    """The load of such a network, counted on random spikes."""
    network = layered(layers, parts, width)
    spikes = (torch.rand(20, 1, width, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    return measure_load(network, {"x": spikes})


def slow_chip(load: NetworkLoad, seconds: float) -> Chip:
    """A chip on which a tick of the whole network takes some seconds, and a value a fiftieth of the time of a part."""
    parts = load.parts.values()
    operations = sum(part.operations for part in parts)
    each = seconds / len(parts)
    events = max(link.events for link in load.links) / (each / 50)

    return Chip("declared", sum(part.memory for part in parts), operations / seconds, events, latency=each / 4)


def jobs(load: NetworkLoad, placement: Placement, chip: int) -> list[Any]:
    """The work of a process, tick by tick; no link of these networks has a delay, and all parts share a clock."""
    work = []
    for tick in range(TICKS):
        for name, part in load.parts.items():
            if placement.chips[name] != chip:
                continue

            needs = []
            sends = []
            sent = set()

            for link in load.links:
                target = placement.chips.get(link.target)
                if link.target == name and placement.chips.get(link.source, chip) != chip:
                    needs.append(f"{link.source} {tick}")

                # a value is sent once to each chip
                if link.source == name and target not in (chip, *sent):
                    sent.add(target)
                    sends.append((f"{name} {tick}", target, link.events / placement.chip.events))

            seconds = part.operations / placement.chip.operations
            work.append((tick, seconds, needs, sends, name in load.outputs))

    return work


def measure(load: NetworkLoad, placement: Placement) -> float:
    """The longest latency of a run in processes [s]."""
    number = len(placement.memory)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-S", "-E", str(Path(__file__).with_name("chip_process.py"))]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(number)
        ]

        try:
            for chip, process in enumerate(processes):
                work = {"folder": folder, "chip": chip, "dt": load.dt, "latency": placement.chip.latency}
                assert process.stdin is not None
                process.stdin.write(json.dumps({**work, "jobs": jobs(load, placement, chip)}) + "\n")
                process.stdin.flush()

            for process in processes:
                assert process.stdout is not None
                # its socket exists
                process.stdout.readline()

            start = time.monotonic() + 0.2
            outputs = []
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(f"{start}\n")
                process.stdin.flush()

            for process in processes:
                outputs += json.loads(process.communicate(timeout=300)[0])
        finally:
            for process in processes:
                process.kill()

    return max(at - tick * load.dt for tick, at in outputs)


def predicted(load: NetworkLoad, chip: Chip, numbers: tuple[int, ...]) -> list[dict[str, Any]]:
    """Latency, energy and critical path against the number of chips."""
    rows = []
    for number in numbers:
        placement = place(load, chip, number)
        timing = placement.timing
        rows.append(
            {
                "chips": number,
                "in_use": len(placement.memory),
                "latency_us": 1e6 * timing.latency,
                "power_w": timing.energy,
                "keeps_up": timing.keeps_up,
                "busiest": max(timing.busy),
                "steps_of_the_path": len(timing.path),
                "messages_of_the_path": sum("->" in step.what for step in timing.path),
            }
        )

    return rows


def compared(load: NetworkLoad, seconds: float, numbers: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
    """Predicted and measured latency of the slow chip."""
    chip = slow_chip(load, seconds)
    # ticks so far apart that one chip keeps up
    load = NetworkLoad(1.2 * seconds, load.parts, load.links, load.outputs)
    rows = []

    for number in numbers:
        placement = place(load, chip, number)
        expected = simulate(load, placement.chips, chip, TICKS).latency
        latencies = [measure(load, placement) for _ in range(repeats)]

        rows.append(
            {
                "chips": number,
                "in_use": len(placement.memory),
                "predicted_s": expected,
                "measured_s": spread(latencies),
                "off_percent": spread([100 * (latency / expected - 1) for latency in latencies], 2),
            }
        )

    return rows


def run(quick: bool) -> Results:
    """Predicted latencies, and measured ones of processes."""
    torch.set_num_threads(1)
    small = load_of(2, 2, 4) if quick else load_of(4, 4, 16)
    large = small if quick else load_of(6, 6, 128)

    return {
        "parts": {"predicted": len(large.parts), "processes": len(small.parts)},
        "ms_of_a_part": 1e3 * (0.1 if quick else SECONDS) / len(small.parts),
        "chip": {"name": SPINNAKER.name, "source": SPINNAKER.source},
        "predicted": predicted(large, SPINNAKER, (1, 2) if quick else (1, 2, 4, 8, 16, 32, 64)),
        "processes": compared(small, 0.1 if quick else SECONDS, (2,) if quick else (1, 2, 4, 8), 1 if quick else 3),
    }


if __name__ == "__main__":
    main("chips", __doc__, run)
