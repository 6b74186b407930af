"""Learned units of a Hodgkin-Huxley neuron: small networks fitted to its formulas, or to recordings of its membrane.

In the second case gates, rates and conductances are unknown: a recorded membrane drives the gates (`voltage_clamp`),
and all four units are trained together to predict each next sample.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from research.neuron_models.channels import (
    SQUID,
    GateTimeConstant,
    MembraneParameters,
    MembraneRest,
    MembraneTimeConstant,
    SteadyGates,
)
from research.neuron_models.model import voltage_clamp
from research.neuron_models.simulation import record_hodgkin_huxley
from spikebridge.hybrid import HybridNetwork
from spikebridge.training.batches import Batches

_MS = 1e-3
_LR = 1e-2
_MIN_GATE = 1e-6
_BOUND = 12.0
_THINNED = 10  # samples of a recording for a point
_MIDDLE = -20.0  # mV: membranes as numbers of the order of 1
_RANGE = 40.0


def _layers(num_inputs: int, width: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, num_outputs)
    )


def _bounded_exponential(x: Tensor) -> Tensor:
    """`exp(x)` within `exp(-12)` to `exp(12)`, so that no trial of a line search leaves the range of floats."""
    return torch.exp(x.clamp(-_BOUND, _BOUND))


def _seconds(x: Tensor) -> Tensor:
    """Outputs to time constants [s]."""
    return _MS * _bounded_exponential(x)


class _LearnedGates(nn.Module):
    """A value of each of three gates as a small network of the membrane."""

    def __init__(self, width: int, value: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = _layers(1, width, 3)
        self.value = value

    def forward(self, v: Float[Tensor, "*N"]) -> Float[Tensor, "*N 3"]:
        """Membranes [mV] to values of gates."""
        return self.value(self.layers((v.unsqueeze(-1) - _MIDDLE) / _RANGE))


class _LearnedConductances(nn.Module):
    """Conductances as products of powers of gates, a network of product units (R. Durbin and D. E. Rumelhart, 1989)."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.powers = nn.Parameter(2 * torch.rand(number, 3))
        self.sizes = nn.Parameter(torch.randn(number))
        self.reversals = nn.Parameter(torch.randn(number))

    def forward(self, gates: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N C"]:
        """Gates to conductances [mS/cm2]."""
        return _bounded_exponential(torch.log(gates.clamp(min=_MIN_GATE)) @ self.powers.T + self.sizes)


class _LearnedMembraneTimeConstant(nn.Module):
    """The time constant of a membrane from learned conductances."""

    def __init__(self, conductances: _LearnedConductances) -> None:
        super().__init__()
        self.conductances = conductances

    def forward(self, gates: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N"]:
        """Gates to time constants [s]."""
        return _MS / self.conductances(gates).sum(-1)


class _LearnedMembraneRest(nn.Module):
    """The rest of a membrane from learned conductances and their reversal potentials."""

    def __init__(self, conductances: _LearnedConductances) -> None:
        super().__init__()
        self.conductances = conductances

    def forward(self, gates: Float[Tensor, "*N 3"], current: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Gates and an injected current [uA/cm2] to the rest [mV]."""
        g = self.conductances(gates)
        return (g @ (_MIDDLE + _RANGE * self.conductances.reversals) + current) / g.sum(-1)


def learned_units(width: int, seed: int, num_conductances: int = 6) -> dict[str, nn.Module]:
    """The four units of a Hodgkin-Huxley neuron as untrained networks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        conductances = _LearnedConductances(num_conductances)
        return {
            "steady_gates": _LearnedGates(width, torch.sigmoid),
            "gate_tau": _LearnedGates(width, _seconds),
            "membrane_rest": _LearnedMembraneRest(conductances),
            "membrane_tau": _LearnedMembraneTimeConstant(conductances),
        }


def varied_currents(number: int, duration: float, generator: np.random.Generator) -> Float[np.ndarray, "K number"]:
    """Currents that wander around a level of 0 to 40 uA/cm2, one value a millisecond, after 2 ms of 0."""
    level, deviation, tau = (generator.uniform(low, high, number) for low, high in ((0, 40), (2, 15), (1, 8)))
    kept = np.exp(-1 / tau)
    deviations = []
    deviation_now = generator.normal(size=number)

    for _ in range(round(1e3 * duration) - 2):
        deviation_now = kept * deviation_now + np.sqrt(1 - kept**2) * generator.normal(size=number)
        deviations.append(deviation_now)

    return np.concatenate([np.zeros((2, number)), np.clip(level + deviation * np.array(deviations), -20.0, 70.0)])


def recordings(currents: Float[np.ndarray, "K number"], step: float, membrane: MembraneParameters = SQUID) -> Batches:
    """Recorded membranes under currents of one value a millisecond, `(T, B, 1)` each, as "voltage" and "current"."""
    every = round(step / 1e-5)
    v = np.stack([record_hodgkin_huxley(current, _MS, membrane)[:-1:every] for current in currents.T], 1)
    held = np.repeat(currents, round(_MS / step), 0)
    tensors = {name: torch.tensor(x, dtype=torch.float32)[..., None] for name, x in (("voltage", v), ("current", held))}

    return Batches(tensors, batch=dict.fromkeys(tensors, 1))


def _prediction_error(network: HybridNetwork, batch: dict[str, Tensor]) -> Tensor:
    """Squared error of the predicted slope of the membrane, less weight where it is steep."""
    v = batch["voltage"]
    predicted = network({"voltage": v, "current": batch["current"]})[0]["prediction"]
    steps_per_ms = _MS / (2 * network.dt)
    slope = (v[1:] - v[:-1]) * steps_per_ms
    error = (predicted[:-1] - v[1:]) * steps_per_ms

    return (error / _scale(slope)).square().mean()


def learn_units(units: Mapping[str, nn.Module], data: Batches, step: float, num_updates: int) -> None:
    """Trains units in place on recorded membranes alone: Adam, then at most `num_updates` steps of L-BFGS."""
    clamped = voltage_clamp(step, units=units).double()
    tensors = {name: x.double() for name, x in data.tensors.items()}
    _minimize(clamped, lambda: _prediction_error(clamped, tensors), num_updates, 2 * num_updates)
    clamped.float()


def fit_units(units: Mapping[str, nn.Module], data: Batches, step: float, num_updates: int) -> None:
    """Fits units in place to the formulas, at one in ten of the membranes and gates of recordings."""
    with torch.no_grad():
        gates = voltage_clamp(step)(dict(data.tensors))[0]["gates"]

    points = {**data.tensors, "gates": gates}
    v, current, gates = (points[n].flatten(0, 1)[::_THINNED].double() for n in ("voltage", "current", "gates"))
    steady = SteadyGates().double()(v)
    gate_tau = GateTimeConstant().double()(v)
    tau = MembraneTimeConstant()(gates)
    slope = _MS * (MembraneRest()(gates, current) - v) / tau
    modules = nn.ModuleDict(dict(units)).double()

    def of_steady_gates() -> Tensor:
        return ((modules["steady_gates"](v) - steady) / (0.02 + steady)).square().mean()

    def of_gate_tau() -> Tensor:
        return torch.log(modules["gate_tau"](v) / gate_tau).square().mean()

    def of_membrane() -> Tensor:
        found = modules["membrane_tau"](gates)
        errors = (_MS * (modules["membrane_rest"](gates, current) - v) / found - slope) / _scale(slope)
        return errors.square().mean() + torch.log(found / tau).square().mean()

    for names, loss in (("steady_gates", of_steady_gates), ("gate_tau", of_gate_tau), ("membrane_rest", of_membrane)):
        _minimize(modules[names], loss, num_updates)

    modules.float()


def _scale(slope: Tensor) -> Tensor:
    """The size of an error that counts 1, where a membrane has a slope [mV/ms]."""
    return 0.3 + 0.05 * slope.abs()


def _minimize(module: nn.Module, loss: Callable[[], Tensor], num_updates: int, num_first: int = 0) -> None:
    """Minimizes by L-BFGS: stochastic gradients stay far above the errors of a thousandth that are needed."""
    adam = torch.optim.Adam(module.parameters(), lr=_LR)
    lbfgs = torch.optim.LBFGS(
        module.parameters(), max_iter=num_updates, history_size=50, line_search_fn="strong_wolfe",
        tolerance_grad=0.0, tolerance_change=0.0,
    )  # fmt: skip

    def closure() -> Tensor:
        module.zero_grad()
        found = loss()
        found.backward()
        return found

    for _ in range(num_first):
        closure()
        adam.step()

    lbfgs.step(closure)
