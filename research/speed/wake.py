"""Time that a sleeping part saves: a spiking guard that wakes a convolutional ANN, against that network without it.

    python research/speed/wake.py [--repeats 15]

Both sides of a ratio run in turns. The time of each call (a step, or a sequence) is that of its one thread on the
processor, and the shortest of all repeats, since other work on the machine only adds to it. Steps have a batch of 1,
sequences 25 ticks of 4 samples. A part asleep gets no frames in the step form (`wanted`). Calls without the eye are
short, and so repeated 8 times as often. What a wake saves is bounded by the guard, which always runs.
Writes results/wake.json.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import process_time

import torch
from torch import Tensor, nn

from spikebridge.analysis import count_cost
from spikebridge.hybrid import HybridNetwork, Transmission, Wake, every
from spikebridge.neurons import LIF, Sequential
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "wake.json"
STEPS = 100
TICKS = 25
BATCH = 4
EVENTS = (128, 128)  # height and width of the sensors
FRAMES = (260, 346)


class FlagsOnly(nn.Module):
    """Passes the first value of the events, which says in this benchmark when to wake; the rest costs its time."""

    def forward(self, events: Tensor) -> Tensor:
        return events.flatten(1)[:, :1]


def guard() -> Sequential:
    """A spiking network on events of 128 x 128 pixels."""
    first = nn.Conv2d(2, 32, 5, stride=2, padding=2)
    return Sequential(first, LIF(0.02), nn.Conv2d(32, 64, 3, stride=2), LIF(0.02))


def eye() -> nn.Sequential:
    """A convolutional ANN on frames of 346 x 260 pixels."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((3, 32, 2), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 128, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.ReLU()]

    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def network_of(kind: str) -> HybridNetwork:
    """The guard "alone", or with an eye that "gathers" awake rows, computes "all" and chooses, or is "always" awake."""
    torch.manual_seed(0)
    parts: dict[str, nn.Module] = {"flags": FlagsOnly(), "guard": guard()}
    links: list[Transmission | Wake] = [Transmission("events", "flags"), Transmission("events", "guard")]
    inputs = {"events": every(0.001)}
    if kind != "alone":
        parts["eye"] = eye()
        inputs["frames"] = every(0.001)
        links.append(Transmission("frames", "eye"))
        if kind != "always":
            links.append(Wake("flags", "eye", gather=kind == "gathers"))

    outputs = ["guard", *(["eye"] if kind != "alone" else [])]
    return HybridNetwork(dt=0.001, inputs=inputs, parts=parts, links=links, outputs=outputs).eval()


def signals(share: float, ticks: int, batch: int, has_frames: bool) -> dict[str, Tensor]:
    """Events whose first value is set in a share of the ticks and samples, evenly spread, and frames."""
    generator = torch.Generator().manual_seed(0)
    events = (torch.rand(ticks, batch, 2, *EVENTS, generator=generator) < 0.05).float()
    count = round(share * ticks * batch)
    flags = torch.zeros(ticks * batch)
    flags[(torch.arange(count) * ticks * batch // max(count, 1)).long()] = 1
    events[:, :, 0, 0, 0] = flags[torch.randperm(len(flags), generator=generator)].reshape(ticks, batch)
    inputs = {"events": events}
    if has_frames:
        inputs["frames"] = torch.rand(ticks, batch, 3, *FRAMES, generator=generator)

    return inputs


Run = Callable[[], list[float]]  # the seconds of each call


def steps(kind: str, share: float) -> Run:
    """A stream of single steps; a part asleep gets no frame."""
    network = network_of(kind)
    inputs = signals(share, STEPS, 1, kind != "alone")
    awake = inputs["events"][:, :, 0, 0, 0] > 0
    state = network.initial_state(inputs)
    _, state = network.step({name: x[0] for name, x in inputs.items()}, state)
    rows = []
    for t in range(STEPS):
        row = {name: x[t] for name, x in inputs.items()}
        if kind == "gathers" and not awake[t].any():
            del row["frames"]
        rows.append(row)

    def run() -> list[float]:
        at = state
        times = []
        with torch.inference_mode():
            for row in rows:
                start = process_time()
                _, at = network.step(row, at)
                times.append(process_time() - start)

        return times

    return run


def sequence(kind: str, share: float) -> Run:
    """A batch over some ticks."""
    network = network_of(kind)
    inputs = signals(share, TICKS, BATCH, kind != "alone")

    def run() -> list[float]:
        start = process_time()
        with torch.inference_mode():
            network(inputs)

        return [process_time() - start]

    return run


def ratio(one: Run, other: Run, repeats: int) -> dict[str, float]:
    """The time of one run over that of the other, each call at its shortest."""
    times = [[run() for run in (one, other)] for _ in range(repeats)]
    a, b = (sum(min(calls) for calls in zip(*side, strict=True)) for side in zip(*times, strict=True))
    return {"ratio": a / b, "seconds": a, "seconds of the other": b}


def main() -> None:
    """Measures all ratios and writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    words = parser.parse_args()
    torch.set_num_threads(1)

    rows = {
        "step asleep / guard alone": ratio(steps("gathers", 0), steps("alone", 0), 8 * words.repeats),
        "step, 1 % awake, all computed / gathered": ratio(steps("all", 0.01), steps("gathers", 0.01), words.repeats),
        "step, 10 % awake / always awake": ratio(steps("gathers", 0.1), steps("always", 0), words.repeats),
        "batch asleep / guard alone": ratio(sequence("gathers", 0), sequence("alone", 0), 8 * words.repeats),
        "batch, 1 % awake, all computed / gathered": ratio(
            sequence("all", 0.01), sequence("gathers", 0.01), words.repeats
        ),
        "batch, 10 % awake / always awake": ratio(sequence("gathers", 0.1), sequence("always", 0), words.repeats),
    }
    for name, row in rows.items():
        print(f"{name:45} {row['ratio']:7.3f}   {1e3 * row['seconds']:9.2f} ms")

    whole = count_cost(network_of("always"), signals(0.1, TICKS, BATCH, has_frames=True)).parts["eye"].macs
    awake = count_cost(network_of("gathers"), signals(0.1, TICKS, BATCH, has_frames=True)).parts["eye"].macs
    operations = {"macs of a run": whole / TICKS / BATCH, "counted share at 10 % awake": awake / whole}
    print(operations)
    results = {"environment": describe_environment(), "ratios": rows, "operations": operations}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
