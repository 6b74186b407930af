"""No cost grows with the square of the time: values are counted that all operations write, forwards and backwards."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spikebridge.hybrid import (
    Gain,
    Hold,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Since,
    Sum,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.hybrid.network.link import trigger_of
from spikebridge.neurons import LIF, Sequential


class Counting(TorchDispatchMode):
    """Counts the values that operations give out, views apart."""

    def __init__(self) -> None:
        super().__init__()
        self.num_values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.num_values += sum(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result


class Both(nn.Module):
    """Sums two signals."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y).tanh()


def spiking() -> Sequential:
    return Sequential(fc=nn.Linear(8, 8), lif=LIF(4.0, dt=1.0))


def network(parts: dict[str, nn.Module], *links: Transmission | Modulation, **settings: Any) -> HybridNetwork:
    known = {"x": every(1.0), "m": every(1.0), "slow": every(8.0)}
    read = {name for link in links for name in (link.source, trigger_of(link))}
    inputs = {name: period for name, period in known.items() if name in read}
    return HybridNetwork(dt=1.0, inputs=inputs, parts=parts, links=links, outputs=list(parts), **settings)


def loop(delay: int) -> HybridNetwork:
    links = [Transmission("x", "a"), Transmission("b", "a", delay=ticks(delay)), Transmission("a", "b")]
    return network({"a": Both(), "b": spiking()}, *links)


def held_loop() -> HybridNetwork:
    """A slow part in a loop with a fast one; the fast one hears it held, through a hold, and delayed."""
    back = HybridUnit(Tumbling(8), Mean(), nn.Linear(8, 8))
    return network(
        {"fast": Both(), "slow_part": Both()},
        Transmission("x", "fast"),
        Transmission("slow_part", "fast", HybridUnit(Hold(8)), delay=ticks(1)),
        Transmission("slow", "slow_part"),
        Transmission("fast", "slow_part", back, held=True),
    )


def changing_weights() -> HybridNetwork:
    to_matrix = HybridUnit(None, None, nn.Sequential(nn.Linear(8, 64), nn.Unflatten(1, (8, 8))))
    return network({"a": nn.Linear(8, 8)}, Transmission("x", "a"), Modulation("m", "a.weight", to_matrix))


def changing_gain() -> HybridNetwork:
    return network({"a": Gain()}, Transmission("x", "a"), Modulation("m", "a.gain", by="replace", delay=ticks(3)))


def windows_since() -> HybridNetwork:
    unit = HybridUnit(Since("slow"), Sum())
    return network({"a": nn.Identity()}, Transmission("x", "a", unit))


def slow_heard_by_fast() -> HybridNetwork:
    return network({"a": Both()}, Transmission("x", "a"), Transmission("slow", "a", held=True))


NETWORKS: dict[str, tuple[Callable[[], HybridNetwork], dict[str, Any]]] = {
    "a loop of one tick": (lambda: loop(1), {}),
    "a loop of many ticks": (lambda: loop(13), {}),
    "a loop of two clocks": (held_loop, {}),
    "weights that change at every tick": (changing_weights, {}),
    "a gain that changes at every tick": (changing_gain, {}),
    "windows that open with another signal": (windows_since, {}),
    "a slow signal held": (slow_heard_by_fast, {}),
    "an exact run": (slow_heard_by_fast, {"exact": True}),
    "an exact loop": (lambda: loop(2), {"exact": True}),
}


def cost(make: Callable[[], HybridNetwork], settings: dict[str, Any], ticks: int) -> int:
    torch.manual_seed(0)
    net = make()
    inputs = {name: torch.rand(len(clock.ticks(0, ticks)), 2, 8).requires_grad_() for name, clock in net.inputs.items()}
    net.initial_state(inputs)

    with Counting() as counting:
        outputs, _ = net(inputs, ticks=ticks, **settings)
        sum(y.sum() for y in outputs.values()).backward()

    return counting.num_values


@pytest.mark.parametrize("case", NETWORKS)
def test_twice_the_time_costs_twice_as_much(case: str) -> None:
    make, settings = NETWORKS[case]
    assert cost(make, settings, 128) < 2.1 * cost(make, settings, 64)
