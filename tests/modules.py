"""Modules for the tests of several folders: layers of each class, stages of each kind, units, and a network.

Tests look at properties that hold for every class, so a new class is one row here. Tests of one class or of one number
by hand build their own.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
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
    KWinners,
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
    Neuron,
    Recurrent,
    Sequential,
    Stateful,
)

DT = 0.001
HALF = 1 / math.log(2)
"""The time constant that halves a membrane in a step of 1 s, so that multiples of 1/4 stay exact."""
WIDTH = 4
"""The number of neurons that `LAYERS` fit."""

NEURONS: dict[str, Callable[..., Neuron]] = {
    "LIF": LIF,
    "LIF, subtract": partial(LIF, reset="subtract"),
    "LIF, refractory": partial(LIF, refractory=4 * DT),
    "IF, refractory": partial(IF, refractory=4 * DT),
    "PLIF": PLIF,
    "AdaptiveLIF": AdaptiveLIF,
    "AdaptiveLIF, subtract": partial(AdaptiveLIF, reset="subtract"),
    "CubaLIF": CubaLIF,
    "CubaLIF, subtract": partial(CubaLIF, reset="subtract"),
    "Integrator": Integrator,
    "Izhikevich": Izhikevich,
}
"""Neurons that depend on `dt`, which they take with the other settings of their classes."""
LAYERS: dict[str, Callable[..., Stateful]] = {
    "IF": IF,
    "IF, subtract": partial(IF, reset="subtract"),
    "Memoryless": Memoryless,
    **{name: partial(make, dt=DT) for name, make in NEURONS.items()},
    "Recurrent": lambda: Recurrent(LIF(dt=DT), nn.Linear(WIDTH, WIDTH)),
    "Sequential": lambda: Sequential(lif=LIF(dt=DT)),
}
EXACT_NEURONS: dict[str, Callable[[], Neuron]] = {
    "LIF": lambda: LIF(HALF, dt=1.0, v_threshold=0.75),
    "LIF, subtract": lambda: LIF(HALF, dt=1.0, reset="subtract"),
    "LIF, leak": lambda: LIF(HALF, dt=1.0, v_leak=0.25, v_reset=-0.25, r=0.5),
    "LIF, subtract, leak": lambda: LIF(HALF, dt=1.0, reset="subtract", v_leak=0.25, r=0.5),
    "LIF, refractory": lambda: LIF(HALF, dt=1.0, v_threshold=0.5, refractory=2.0),
    "LIF, refractory, v_reset": lambda: LIF(HALF, dt=1.0, refractory=2.0, v_reset=-0.5),
    "LIF, subtract, refractory": lambda: LIF(HALF, dt=1.0, v_threshold=0.5, reset="subtract", refractory=1.0),
    "IF": lambda: IF(v_threshold=1.5),
    "IF, subtract": lambda: IF(v_threshold=1.5, reset="subtract"),
    "IF, subtract, refractory": lambda: IF(dt=1.0, reset="subtract", refractory=1.0),
    "PLIF": lambda: PLIF(1e30, dt=1.0),
    "Memoryless": lambda: Memoryless(v_threshold=0.5),
    "CubaLIF": lambda: CubaLIF(HALF, HALF, dt=1.0),
    "CubaLIF, leak": lambda: CubaLIF(HALF, HALF, dt=1.0, v_leak=0.25),
    "CubaLIF, subtract, leak": lambda: CubaLIF(HALF, HALF, dt=1.0, reset="subtract", v_leak=0.25),
    "AdaptiveLIF": lambda: AdaptiveLIF(HALF, HALF, dt=1.0, jump=0.5),
    "AdaptiveLIF, subtract": lambda: AdaptiveLIF(HALF, HALF, dt=1.0, jump=0.5, reset="subtract"),
    "Integrator": lambda: Integrator(HALF, dt=1.0),
    "Integrator, leak": lambda: Integrator(HALF, dt=1.0, v_leak=0.5, r=2.0),
}
"""Neurons whose decays are 1/2 or 1 and whose quantities are multiples of 1/4: in double precision they are exact."""
WINDOWS: dict[str, Callable[[], Window]] = {
    "hold": lambda: Hold(3),
    "tumbling": lambda: Tumbling(3),
    "sliding": lambda: Sliding(4, stride=2),
    "since": lambda: Since("trigger"),
}
KERNELS: dict[str, Callable[[bool], Kernel]] = {
    "sum": lambda keep: Sum(keep),
    "mean": lambda keep: Mean(keep),
    "difference": lambda keep: Difference(keep=keep),
    "difference-2": lambda keep: Difference(lag=2, keep=keep),
    "exponential": lambda keep: Exponential(0.01, dt=0.01, keep=keep, learn="tau"),
    "alpha": lambda keep: Alpha(0.02, dt=0.01, keep=keep, learn="tau"),
    "gaussian": lambda keep: Gaussian(0.02, 0.01, dt=0.01, keep=keep, learn=("delay", "sigma")),
    "taps": lambda keep: FIR(3, keep=keep),
    "delay": lambda keep: Delay(0.02, dt=0.01, keep=keep),
}
"""Kernels with steps of 10 ms, which take `keep`."""
POPULATION = 4
DISCRETIZERS: dict[str, Callable[[], Discretizer]] = {
    "bernoulli": lambda: Bernoulli(seed=3),
    "population": lambda: PoissonPopulation(POPULATION, seed=3),
    "threshold": lambda: Threshold(0.5, learn="v_threshold"),
    "fire": lambda: SpikingLayer(LIF(0.02, dt=0.01)),
    "first-spike": FirstSpike,
    "phase": PhaseCode,
    "burst": Burst,
    "delta": lambda: SignedDelta(0.25),
    "integrate": Integrate,
    "k-winners": lambda: KWinners(0.4),
    "last": Last,
    "count": Count,
    "first-time": FirstTime,
}
UNITS: dict[str, Callable[[], HybridUnit]] = {
    "tumbling": lambda: HybridUnit(Tumbling(3), Mean()),
    "sliding": lambda: HybridUnit(Sliding(3), Sum()),
    "streaming": lambda: HybridUnit(Tumbling(3), Mean(keep=True)),
    "sum": lambda: HybridUnit(None, Sum()),
    "mean": lambda: HybridUnit(None, Mean()),
    "exponential": lambda: HybridUnit(None, Exponential(0.01, dt=DT)),
    "alpha": lambda: HybridUnit(None, Alpha(0.01, dt=DT)),
    "difference": lambda: HybridUnit(None, Difference(2)),
    "bernoulli": lambda: HybridUnit(discretizer=Bernoulli(seed=3)),
    "delta": lambda: HybridUnit(discretizer=SignedDelta(0.1)),
    "fire": lambda: HybridUnit(discretizer=SpikingLayer(LIF(dt=DT))),
    "threshold": lambda: HybridUnit(discretizer=Threshold()),
}


def integer_stages() -> list[tuple[Window | None, Kernel | None, Discretizer | None]]:
    """Windows, kernels and discretizers of units for two values that have an integer form, also in C.

    Units that hold their values get them every 3 ms, the others every 1 ms.
    """
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
        (Hold(3), None, Burst()),
        (Hold(3), Exponential(0.002, dt=DT, keep=True), None),
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
