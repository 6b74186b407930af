"""Claim: the framework scales to many parts and many clocks.

    python research/claims/networks/many_parts.py           # writes results/many_parts.json
    python research/claims/networks/many_parts.py --quick   # few parts; printed only

Chains, trees and random graphs of 2 to 256 parts, each a linear layer of 16 values, and chains whose parts run at clock
ratios of 1 to 64: processor time of a tick, and that of the same parts called one after another by hand.
"""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from research.claims.experiment import Results, main
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.hybrid.network.link import Link

WIDTH = 16
LENGTH = 64
SIZES = (2, 8, 32, 128, 256)
RATIOS = (1, 4, 16, 64)


class Mixed(nn.Module):
    """A linear layer of the sum of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, *signals: Tensor) -> Tensor:
        """`(B, WIDTH)` each."""
        return torch.tanh(self.linear(sum(signals[1:], signals[0])))


def sources(shape: str, number: int) -> list[list[int]]:
    """The parts from which each part reads; -1 is the input."""
    generator = random.Random(0)
    if shape == "chain":
        return [[i - 1] for i in range(number)]
    if shape == "tree":
        return [[(i - 1) // 2] if i else [-1] for i in range(number)]

    return [sorted({generator.randrange(-1, i) for _ in range(2)}) if i else [-1] for i in range(number)]


def graph(shape: str, number: int) -> HybridNetwork:
    """A network of parts of one clock."""
    torch.manual_seed(0)
    links = [
        Transmission("x" if j < 0 else f"part{j}", f"part{i}", name=f"link{i}_{j}")
        for i, indices in enumerate(sources(shape, number))
        for j in indices
    ]

    parts = {f"part{i}": Mixed() for i in range(number)}
    return HybridNetwork(dt=1e-3, inputs={"x": every(1e-3)}, parts=parts, links=links, outputs=[f"part{number - 1}"])


def by_hand(network: HybridNetwork, shape: str, number: int, x: Tensor) -> Tensor:
    """The same parts called one after another."""
    outputs: list[Tensor] = []
    for i, indices in enumerate(sources(shape, number)):
        outputs.append(network.parts[f"part{i}"](*(x if j < 0 else outputs[j] for j in indices)))

    return outputs[-1]


def clocked(ratio: int, number: int = 8) -> HybridNetwork:
    """A chain whose later half runs slower by a ratio."""
    torch.manual_seed(0)
    links: list[Link] = []
    for i in range(number):
        unit = HybridUnit(Tumbling(ratio), Mean()) if i == number // 2 and ratio > 1 else None
        links.append(Transmission("x" if i == 0 else f"part{i - 1}", f"part{i}", unit))

    parts = {f"part{i}": Mixed() for i in range(number)}
    return HybridNetwork(dt=1e-3, inputs={"x": every(1e-3)}, parts=parts, links=links, outputs=[f"part{number - 1}"])


def timed(call: Callable[[], object], rounds: int) -> float:
    """Median processor time [s]."""
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)

    return statistics.median(times)


def cost_of_graph(shape: str, number: int, rounds: int) -> dict[str, Any]:
    """Time of a tick in a whole sequence, in single steps, and by hand [us]."""
    network = graph(shape, number)
    x = torch.randn(LENGTH, 4, WIDTH)
    torch.testing.assert_close(network({"x": x})[0][f"part{number - 1}"], by_hand(network, shape, number, x))
    _, state = network({"x": x[:1]})

    return {
        "shape": shape,
        "parts": number,
        "whole_us": 1e6 * timed(lambda: network({"x": x}), rounds) / LENGTH,
        "step_us": 1e6 * timed(lambda: network.step({"x": x[1]}, state), rounds),
        "hand_us": 1e6 * timed(lambda: by_hand(network, shape, number, x[1]), rounds),
    }


def cost_of_clocks(ratio: int, rounds: int) -> dict[str, Any]:
    """Time of a tick, and of a firing of a part [us]."""
    network = clocked(ratio)
    x = torch.randn(LENGTH, 4, WIDTH)
    microseconds = 1e6 * timed(lambda: network({"x": x}), rounds) / LENGTH
    return {"ratio": ratio, "us_a_tick": microseconds, "us_a_firing": microseconds / (4 + 4 / ratio)}


def costs(sizes: tuple[int, ...], ratios: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Costs of graphs and of clocks."""
    with torch.no_grad():
        return {
            "graphs": [cost_of_graph(shape, n, rounds) for shape in ("chain", "tree", "random") for n in sizes],
            "clocks": [cost_of_clocks(ratio, rounds) for ratio in ratios],
        }


def run(quick: bool) -> Results:
    """Costs of parts and of clocks."""
    torch.set_num_threads(1)
    return costs((2, 8), (1, 4), 2) if quick else costs(SIZES, RATIOS, 15)


if __name__ == "__main__":
    main("many_parts", __doc__, run)
