"""One case for every kind of layer with a state: how to build it, what to feed it, its equation written plainly."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modules import DT, LAYERS
from spikebridge.neurons import (
    IF,
    LIF,
    CubaLIF,
    Integrator,
    Izhikevich,
    Recurrent,
    Sequential,
    Stateful,
)


def fire(distance: Tensor, width: float = 1.0) -> Tensor:
    """A step forward, an arctan backward, by plain autograd."""
    smooth = torch.atan(math.pi * distance / width) / math.pi
    return smooth + ((distance >= 0).to(distance.dtype) - smooth).detach()


def reset(v: Tensor, s: Tensor, q: dict[str, Tensor], threshold: Tensor, soft: bool) -> Tensor:
    return v - s * threshold if soft else (1 - s) * v + s * q["v_reset"]


def lif_equation(x: Tensor, q: list[dict[str, Tensor]], v: Tensor, dt: float, soft: bool = False) -> Tensor:
    spikes = []
    for x_t, q_t in zip(x, q, strict=True):
        decay = torch.exp(-dt / q_t["tau"]) if "tau" in q_t else 1.0
        rest = q_t.get("v_leak", torch.tensor(0.0))
        v = rest + decay * (v - rest) + q_t["r"] * x_t
        s = fire(v - q_t["v_threshold"])
        v = reset(v, s, q_t, q_t["v_threshold"], soft)
        spikes.append(s)

    return torch.stack(spikes)


def memoryless_equation(x: Tensor, q: list[dict[str, Tensor]], v: Tensor, dt: float) -> Tensor:
    return torch.stack([fire(q_t["r"] * x_t - q_t["v_threshold"]) for x_t, q_t in zip(x, q, strict=True)])


def adaptive_equation(x: Tensor, q: list[dict[str, Tensor]], v: Tensor, dt: float, soft: bool = False) -> Tensor:
    spikes = []
    a = torch.zeros_like(v)

    for x_t, q_t in zip(x, q, strict=True):
        a = a * torch.exp(-dt / q_t["tau_adaptation"])
        v = q_t["v_leak"] + torch.exp(-dt / q_t["tau"]) * (v - q_t["v_leak"]) + q_t["r"] * x_t
        s = fire(v - (q_t["v_threshold"] + a))
        v = reset(v, s, q_t, q_t["v_threshold"] + a, soft)
        a = a + q_t["jump"] * s
        spikes.append(s)

    return torch.stack(spikes)


def cuba_equation(x: Tensor, q: list[dict[str, Tensor]], v: Tensor, dt: float, soft: bool = False) -> Tensor:
    spikes = []
    i = torch.zeros_like(v)

    for x_t, q_t in zip(x, q, strict=True):
        i = i * torch.exp(-dt / q_t["tau_syn"]) + x_t
        v = q_t["v_leak"] + torch.exp(-dt / q_t["tau"]) * (v - q_t["v_leak"]) + q_t["r"] * i
        s = fire(v - q_t["v_threshold"])
        v = reset(v, s, q_t, q_t["v_threshold"], soft)
        spikes.append(s)

    return torch.stack(spikes)


def integrator_equation(x: Tensor, q: list[dict[str, Tensor]], v: Tensor, dt: float) -> Tensor:
    membranes = []
    for x_t, q_t in zip(x, q, strict=True):
        v = q_t["v_leak"] + torch.exp(-dt / q_t["tau"]) * (v - q_t["v_leak"]) + q_t["r"] * x_t
        membranes.append(v)

    return torch.stack(membranes)


def izhikevich_equation(x: Tensor, q: list[dict[str, Tensor]], v: Tensor, dt: float) -> Tensor:
    spikes = []
    u = 0.2 * v
    ms = 1000 * dt

    for x_t, q_t in zip(x, q, strict=True):
        dv = 0.04 * v**2 + 5 * v + 140 - u + x_t
        du = q_t["a"] * (q_t["b"] * v - u)
        v = v + ms * dv
        u = u + ms * du
        s = fire(v - q_t["v_threshold"], width=10.0)
        v = (1 - s) * v + s * q_t["c"]
        u = u + s * q_t["d"]
        spikes.append(s)

    return torch.stack(spikes)


class Gain(nn.Module):
    """A plain module for inputs of any shape."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


@dataclass(frozen=True)
class Case:
    """A kind of layer: its quantities, its equation, its construction where it is not that of `LAYERS`, its signals."""

    name: str
    quantities: dict[str, float]
    equation: Callable[..., Tensor] | None = None
    make: Callable[..., Stateful] | None = None
    scale: float = 1.0
    offset: float = 0.4
    dt: float = DT
    v0: float = 0.0
    remembers: bool = True

    @property
    def kind(self) -> type[Stateful]:
        return type(self.build())

    def build(self, **settings: Any) -> Stateful:
        make = self.make or LAYERS[self.name]
        return make(**{**self.quantities, **settings})

    def signal(self, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
        """Noise that makes the layer fire now and then."""
        generator = torch.Generator().manual_seed(seed)
        return self.scale * torch.randn(*shape, generator=generator, dtype=dtype) + self.offset

    def reference(self, x: Tensor, quantities: dict[str, Tensor]) -> Tensor:
        """The outputs by the plain equation, each quantity given as a tensor that broadcasts against `x`."""
        spread = {name: value.expand(x.shape) for name, value in quantities.items()}
        steps = [{name: value[t] for name, value in spread.items()} for t in range(len(x))]
        return self.equation(x, steps, torch.full_like(x[0], self.v0), self.dt)


MEMBRANE = {"v_threshold": 0.8, "v_reset": 0.05, "v_leak": 0.1, "r": 1.2}
LIF_Q = {"tau": 0.004, **MEMBRANE}
IF_Q = {"v_threshold": 0.8, "v_reset": 0.05, "r": 0.6}
ADAPTIVE_Q = {"tau": 0.004, "tau_adaptation": 0.02, "jump": 0.3, **MEMBRANE}
CUBA_Q = {"tau": 0.004, "tau_syn": 0.002, **MEMBRANE, "r": 0.6}
IZHIKEVICH_Q = {"a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0, "v_threshold": 30.0}


def soft(equation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, q, v, dt: equation(x, q, v, dt, soft=True)


NEURONS = [
    Case("LIF", LIF_Q, lif_equation, v0=0.1),
    Case("LIF, subtract", LIF_Q, soft(lif_equation), v0=0.1),
    Case("IF", IF_Q, lif_equation, partial(IF, v_leak=0.2), v0=0.2),
    Case("PLIF", LIF_Q, lif_equation, v0=0.1),
    Case("Memoryless", {"v_threshold": 0.8, "r": 1.2}, memoryless_equation, remembers=False),
    Case("AdaptiveLIF", ADAPTIVE_Q, adaptive_equation, v0=0.1),
    Case("AdaptiveLIF, subtract", ADAPTIVE_Q, soft(adaptive_equation), v0=0.1),
    Case("CubaLIF", CUBA_Q, cuba_equation, v0=0.1),
    Case("CubaLIF, subtract", CUBA_Q, soft(cuba_equation), v0=0.1),
    Case("Integrator", {"tau": 0.004, "v_leak": 0.1, "r": 1.2}, integrator_equation, v0=0.1),
    Case(
        "Izhikevich",
        IZHIKEVICH_Q,
        izhikevich_equation,
        partial(Izhikevich, dt=DT / 2),
        scale=30.0,
        offset=60.0,
        dt=DT / 2,
        v0=-65.0,
    ),
]


def recurrent(**settings: Any) -> Stateful:
    return Recurrent(LIF(dt=DT, **settings), Gain(-0.5))


def silent_at_first(**settings: Any) -> Stateful:
    return Recurrent(LIF(dt=DT, **settings), Gain(-0.5), starts_silent=True)


def in_a_row(**settings: Any) -> Stateful:
    return Sequential(inner=Gain(1.5), lif=LIF(dt=DT, **settings), outer=Gain(0.5), out=Integrator(0.01, dt=DT))


def recurrent_row(**settings: Any) -> Stateful:
    return Recurrent(Sequential(inner=Gain(1.5), cuba=CubaLIF(dt=DT, **settings)), Gain(-0.5))


CONTAINERS = [
    Case("LIF, refractory", LIF_Q),
    Case("Recurrent", LIF_Q, make=recurrent),
    Case("Recurrent, silent at first", LIF_Q, make=silent_at_first),
    Case("Sequential", LIF_Q, make=in_a_row),
    Case("Recurrent of Sequential", CUBA_Q, make=recurrent_row),
]
CASES = [*NEURONS, *CONTAINERS]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Every layer with a state."""
    return request.param


@pytest.fixture
def cases() -> list[Case]:
    return CASES


@pytest.fixture(params=NEURONS, ids=lambda case: case.name)
def neuron(request: pytest.FixtureRequest) -> Case:
    """Every neuron, with its equation."""
    return request.param


@pytest.fixture(
    params=[(case, name) for case in NEURONS for name in case.quantities], ids=lambda pair: f"{pair[0].name}-{pair[1]}"
)
def quantity(request: pytest.FixtureRequest) -> tuple[Case, str]:
    """Every quantity of every neuron."""
    return request.param
