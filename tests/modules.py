"""Modules for the tests of several folders: one layer of each class, one stage of each kind, units, and a network.

Tests look at properties that hold for every class, so a new class is one row here. Tests of one class or of one number
by hand build their own.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.hybrid import (
    FIR,
    Alpha,
    Bernoulli,
    Burst,
    Count,
    Delay,
    Difference,
    Discretizer,
    Exponential,
    FirstSpike,
    FirstTime,
    Gaussian,
    Hold,
    HybridNetwork,
    HybridUnit,
    Integrate,
    Kernel,
    Last,
    Mean,
    PhaseCode,
    PoissonPopulation,
    SignedDelta,
    Since,
    Sliding,
    SpikingLayer,
    Sum,
    Threshold,
    Transmission,
    Tumbling,
    Window,
    every,
)
from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    CubaLIF,
    Integrator,
    Izhikevich,
    Memoryless,
    Recurrent,
    Sequential,
    Stateful,
)

DT = 0.001
HALF = 1 / math.log(2)
"""The time constant that halves a membrane in a step of 1 s, so that multiples of 1/4 stay exact."""
WIDTH = 3
"""The number of neurons that `LAYERS` fit."""

LAYERS: dict[str, Callable[[], Stateful]] = {
    "IF": IF,
    "IF, subtract": lambda: IF(reset="subtract"),
    "LIF": lambda: LIF(dt=DT),
    "LIF, subtract": lambda: LIF(dt=DT, reset="subtract"),
    "LIF, refractory": lambda: LIF(dt=DT, refractory=3 * DT),
    "PLIF": lambda: PLIF(dt=DT),
    "CubaLIF": lambda: CubaLIF(dt=DT),
    "AdaptiveLIF": lambda: AdaptiveLIF(dt=DT),
    "Integrator": lambda: Integrator(dt=DT),
    "Izhikevich": lambda: Izhikevich(dt=DT),
    "Memoryless": Memoryless,
    "Recurrent": lambda: Recurrent(LIF(dt=DT), nn.Linear(WIDTH, WIDTH)),
    "Sequential": lambda: Sequential(lif=LIF(dt=DT)),
}
WINDOWS: dict[str, Callable[[], Window | None]] = {
    "none": lambda: None,
    "hold": lambda: Hold(3),
    "tumbling": lambda: Tumbling(3),
    "sliding": lambda: Sliding(4, stride=2),
    "since": lambda: Since("trigger"),
}
# each takes `keep`
KERNELS: dict[str, Callable[[bool], Kernel | None]] = {
    "none": lambda keep: None,
    "sum": lambda keep: Sum(keep),
    "mean": lambda keep: Mean(keep),
    "difference": lambda keep: Difference(keep=keep),
    "difference-2": lambda keep: Difference(lag=2, keep=keep),
    "exponential": lambda keep: Exponential(DT, dt=DT, keep=keep, learn="tau"),
    "alpha": lambda keep: Alpha(2 * DT, dt=DT, keep=keep, learn="tau"),
    "gaussian": lambda keep: Gaussian(2 * DT, DT, dt=DT, keep=keep, learn=("delay", "sigma")),
    "taps": lambda keep: FIR(3, keep=keep),
    "delay": lambda keep: Delay(2 * DT, dt=DT, keep=keep),
}
POPULATION = 4
DISCRETIZERS: dict[str, Callable[[], Discretizer | None]] = {
    "none": lambda: None,
    "bernoulli": lambda: Bernoulli(seed=3),
    "population": lambda: PoissonPopulation(POPULATION, seed=3),
    "threshold": lambda: Threshold(0.5, learn="v_threshold"),
    "fire": lambda: SpikingLayer(LIF(2 * DT, dt=DT)),
    "first-spike": FirstSpike,
    "phase": PhaseCode,
    "burst": Burst,
    "delta": lambda: SignedDelta(0.25),
    "integrate": Integrate,
    "last": Last,
    "count": Count,
    "first-time": FirstTime,
}


def integer_stages() -> list[tuple[Window | None, Kernel | None, Discretizer | None]]:
    """Windows, kernels and discretizers of units for two values that have an integer form, also in C."""
    tau: Any = {"tau": torch.tensor([0.002, 0.004]), "dt": DT}
    return [
        (Tumbling(3), Sum(), None),
        (Tumbling(3), Mean(), Threshold(0.2)),
        (Sliding(4, 2), Exponential(**tau), Bernoulli(seed=3)),
        (Tumbling(2), Mean(keep=True), SignedDelta(0.25)),
        (None, Alpha(keep=True, **tau), SpikingLayer(IF(reset="subtract"))),
        (Tumbling(4), Difference(lag=2, keep=True), Integrate()),
        (Tumbling(4), Difference(), None),
        (None, FIR(3, (2,), keep=True), SpikingLayer(Integrator(0.01, dt=DT))),
        (None, Delay(torch.tensor([0.0, 0.003]), max_delay=0.004, dt=DT), None),
        (Tumbling(3), None, Count()),
        (Sliding(3, 1), None, Last()),
        (Tumbling(3), None, FirstTime()),
        (Tumbling(2), Sum(), FirstSpike()),
        (Since("clock"), Sum(keep=True), None),
    ]


def parallel(
    parts: Mapping[str, nn.Module], unit: HybridUnit | None = None, dt: float = DT, **link: Any
) -> HybridNetwork:
    """Parts that all get the input `x`, through a unit if there is one; each of them is an output."""
    links = [Transmission("x", name, unit, **link) for name in parts]
    return HybridNetwork(dt=dt, inputs={"x": every(dt)}, parts=dict(parts), links=links, outputs=list(parts))


def quarters(generator: torch.Generator, *shape: int, largest: float = 1.0) -> Tensor:
    """Multiples of 1/4 up to a largest one, whose sums and products with each other are exact."""
    number = int(4 * largest)
    return torch.randint(-number, number + 1, shape, generator=generator).double() / 4
