"""Rich neurons made of leaky integrators and hybrid units (R. Zhao et al., 2022, "richer neurons").

    current --> membrane <-- tau, v_leak -- gates        Hodgkin-Huxley: a membrane, three gates, four units
                membrane --- tau, v_leak -> gates

Every part is an `Integrator`, whose step is exact as long as what modulates it does not change. Membranes step at whole
multiples of `step` and everything else halfway between: a leapfrog, of second order in `step`. The base step of these
networks is half of `step`. `membrane[k]` is the membrane at the time `k step`, and `current[k]` flows from then on. All
start at rest, so that gates half a step earlier are the same.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from research.neuron_models.channels import (
    BRETTE_GERSTNER,
    SQUID,
    Affine,
    ExponentialParameters,
    ExponentialRest,
    GateTimeConstant,
    MembraneParameters,
    MembraneRest,
    MembraneTimeConstant,
    ResetTimeConstant,
    SteadyGates,
)
from spikebridge.errors import ConfigError, did_you_mean, in_words, is_positive
from spikebridge.hybrid import HybridNetwork, HybridUnit, Modulation, Threshold, Transmission, every, ticks
from spikebridge.neurons import Integrator

CURRENT = "current"
MEMBRANE = "membrane"
GATES = "gates"
UNITS = ("steady_gates", "gate_tau", "membrane_rest", "membrane_tau")
"""The four units of a Hodgkin-Huxley neuron."""
_MS = 1e-3


class _Spread(nn.Module):
    """A value for each of the three gates. A gate has no input current, but an integrator needs one."""

    def forward(self, v: Tensor) -> Tensor:
        """`*N` to `*N 3`."""
        return torch.stack([v, v, v], -1)


class _Relaxation(nn.Module):
    """One exact step of a membrane."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def forward(self, v: Tensor, rest: Tensor, tau: Tensor) -> Tensor:
        """Membranes, their rests [mV] and time constants [s], `*N` each."""
        return rest + torch.exp(-self.step / tau) * (v - rest)


class _OpposedCurrent(nn.Module):
    """A current without the adaptation current that opposes it."""

    def forward(self, current: Tensor, adaptation: Tensor) -> Tensor:
        """`*N` each."""
        return current - adaptation


def rest_of(membrane: MembraneParameters, dendrite: tuple[float, float] = (0.0, 0.0)) -> float:
    """The membrane at which all currents cancel [mV]; `dendrite` is conductance and reversal of a further current."""
    low = min(membrane.reversals)
    high = -50.0

    for _ in range(60):
        v = (low + high) / 2
        m, n, h = SteadyGates().double()(torch.tensor([v], dtype=torch.float64))[0].tolist()
        g = (
            membrane.conductances[0] * m**3 * h,
            membrane.conductances[1] * n**4,
            membrane.conductances[2],
            dendrite[0],
        )

        outward = sum(g_i * (v - e) for g_i, e in zip(g, (*membrane.reversals, dendrite[1]), strict=True))
        low, high = (low, v) if outward > 0 else (v, high)

    return (low + high) / 2


def hodgkin_huxley(
    step: float = 2e-5, membrane: MembraneParameters = SQUID, units: Mapping[str, nn.Module] | None = None
) -> HybridNetwork:
    """Hodgkin-Huxley neurons: the current [uA/cm2] in, membrane [mV] and gates out, `(T, B, *N)` each.

    `units` are nonlinearities in place of some in `UNITS`, for example learned ones.
    """
    f = _units(membrane, units)
    parts, rest = _at_rest(membrane)
    links = [
        Transmission(CURRENT, MEMBRANE),
        *_gates_from(MEMBRANE, f, rest),
        *_membrane_from_gates(f, context=CURRENT),
    ]

    return _leapfrog(step, parts, links, outputs=[MEMBRANE, GATES], halfway=[GATES])


def voltage_clamp(
    step: float = 2e-5, membrane: MembraneParameters = SQUID, units: Mapping[str, nn.Module] | None = None
) -> HybridNetwork:
    """The same parts and units without feedback: a recorded voltage drives the gates, and each step is predicted alone.

    Whole recordings run at once; units that are trained here fit `hodgkin_huxley`. Outputs are the gates and the
    prediction, the membrane at the end of each step.
    """
    _check_step(step)
    f = _units(membrane, units)
    parts, rest = _at_rest(membrane)
    voltage = "voltage"

    links = [
        *_gates_from(voltage, f, rest),
        Transmission(voltage, "prediction", held=True, into="v", initial=rest),
        Transmission(GATES, "prediction", f["membrane_rest"], into="rest", context=CURRENT, name="membrane_rest"),
        Transmission(GATES, "prediction", f["membrane_tau"], into="tau", name="membrane_tau"),
    ]
    return HybridNetwork(
        dt=step / 2,
        inputs={voltage: every(step), CURRENT: every(step)},
        parts={GATES: parts[GATES], "prediction": _Relaxation(step)},
        links=links,
        outputs=["prediction", GATES],
        clocks={GATES: every(step, step / 2)},
    )


def two_compartments(
    step: float = 2e-5, membrane: MembraneParameters = SQUID, coupling: float = 1.0, leak: float = 0.3
) -> HybridNetwork:
    """A Hodgkin-Huxley soma with a passive dendrite of the same area, into which the current flows.

    `coupling` is the conductance between the two, `leak` that of the dendrite [mS/cm2].
    """
    for name, value in (("coupling", coupling), ("leak", leak)):
        if not is_positive(value):
            raise ConfigError(f"two_compartments needs {name} > 0 mS/cm2, but got {in_words(value)}")

    both = coupling + leak
    of_leak = membrane.reversals[2]
    # the dendrite at rest is a mean of the soma and its own leak potential, so it acts as a leak of the soma
    parts, rest = _at_rest(membrane, (coupling * leak / both, of_leak))
    dendrite = (coupling * rest + leak * of_leak) / both
    parts["dendrite"] = Integrator(_MS * membrane.capacitance / both, v_leak=dendrite, r=0.0)
    pulled = Affine(coupling / both, -leak * of_leak / coupling, 1 / both)
    f = _units(membrane, None, coupling)

    links = [
        Transmission(CURRENT, MEMBRANE),
        *_gates_from(MEMBRANE, f, rest),
        Transmission(MEMBRANE, "dendrite", held=True, initial=rest),
        Modulation(
            MEMBRANE, "dendrite.v_leak", HybridUnit(nonlinearity=pulled), "replace",
            context=CURRENT, name="dendrite_rest",
        ),
        *_membrane_from_gates(f, context="dendrite"),
    ]  # fmt: skip
    return _leapfrog(step, parts, links, outputs=list(parts), halfway=[GATES, "dendrite"])


def adaptive_exponential(step: float = 5e-6, neuron: ExponentialParameters = BRETTE_GERSTNER) -> HybridNetwork:
    """An exponential integrate-and-fire neuron with adaptation (AdEx; Brette and Gerstner, 2005).

    The current [pA] in, membrane [mV] and adaptation [pA] out. The reset is a modulation too: a membrane at its peak
    goes to `v_reset` with a time constant of nearly zero. It happens at a step, so that the error is of first order.
    """
    _check_step(step)
    parts = {
        MEMBRANE: Integrator(neuron.tau, v_leak=neuron.v_leak, r=0.0),
        "adaptation": Integrator(neuron.tau_adaptation, r=neuron.jump),
        "drive": _OpposedCurrent(),
    }

    spikes = HybridUnit(discretizer=Threshold(neuron.v_peak))
    subthreshold = HybridUnit(nonlinearity=Affine(neuron.coupling, neuron.v_leak))
    links: list[Transmission | Modulation] = [
        Transmission(CURRENT, MEMBRANE),
        Transmission(CURRENT, "drive", held=True),
        Transmission("adaptation", "drive"),
        Transmission(MEMBRANE, "adaptation", spikes, held=True, name="spikes"),
        Modulation(MEMBRANE, "adaptation.v_leak", subthreshold, "replace", name="subthreshold"),
        Modulation(
            "drive", "membrane.v_leak", HybridUnit(nonlinearity=ExponentialRest(neuron, step)), "replace",
            delay=ticks(1), context=MEMBRANE, name="membrane_rest",
        ),
        Modulation(
            MEMBRANE, "membrane.tau", HybridUnit(nonlinearity=ResetTimeConstant(neuron)), "replace",
            delay=ticks(2), name="membrane_tau",
        ),
    ]  # fmt: skip

    return _leapfrog(step, parts, links, outputs=[MEMBRANE, "adaptation"], halfway=["adaptation", "drive"])


def _at_rest(
    membrane: MembraneParameters, dendrite: tuple[float, float] = (0.0, 0.0)
) -> tuple[dict[str, nn.Module], float]:
    """Membrane and gates at rest, and the membrane's rest."""
    rest = rest_of(membrane, dendrite)
    gates = SteadyGates().double()(torch.tensor(rest, dtype=torch.float64)).float()
    return {MEMBRANE: Integrator(_MS, v_leak=rest, r=0.0), GATES: Integrator(_MS, v_leak=gates[None], r=0.0)}, rest


def _units(
    membrane: MembraneParameters, replaced: Mapping[str, nn.Module] | None, coupling: float = 0.0
) -> dict[str, HybridUnit]:
    """The units of `UNITS`, some of them replaced."""
    nonlinearities: dict[str, nn.Module] = {
        "steady_gates": SteadyGates(),
        "gate_tau": GateTimeConstant(),
        "membrane_rest": MembraneRest(membrane, coupling),
        "membrane_tau": MembraneTimeConstant(membrane, coupling),
    }
    for name in replaced or {}:
        if name not in nonlinearities:
            raise ConfigError(f"there is no unit {name!r}; {did_you_mean(name, nonlinearities)}")

    return {name: HybridUnit(nonlinearity=one) for name, one in {**nonlinearities, **(replaced or {})}.items()}


def _gates_from(source: str, units: Mapping[str, HybridUnit], rest: float) -> list[Transmission | Modulation]:
    """The links from a membrane to its gates."""
    return [
        Transmission(source, GATES, HybridUnit(nonlinearity=_Spread()), held=True, initial=rest),
        Modulation(source, "gates.v_leak", units["steady_gates"], "replace", name="steady_gates"),
        Modulation(source, "gates.tau", units["gate_tau"], "replace", name="gate_tau"),
    ]


def _membrane_from_gates(units: Mapping[str, HybridUnit], context: str) -> list[Modulation]:
    """The links from gates to their membrane; `context` is the current that flows into it, or where it comes from."""
    return [
        Modulation(
            GATES, "membrane.v_leak", units["membrane_rest"], "replace",
            delay=ticks(1), context=context, name="membrane_rest",
        ),
        Modulation(GATES, "membrane.tau", units["membrane_tau"], "replace", delay=ticks(1), name="membrane_tau"),
    ]  # fmt: skip


def _check_step(step: float) -> None:
    if not is_positive(step):
        raise ConfigError(f"a neuron model needs step > 0 s, but got {in_words(step)}")


def _leapfrog(
    step: float,
    parts: Mapping[str, nn.Module],
    links: list[Transmission | Modulation],
    outputs: list[str],
    halfway: list[str],
) -> HybridNetwork:
    """Membranes at whole steps, the parts in `halfway` between them."""
    _check_step(step)
    return HybridNetwork(
        dt=step / 2,
        inputs={CURRENT: every(step)},
        parts=parts,
        links=links,
        outputs=outputs,
        clocks={name: every(step, step / 2) for name in halfway},
    )
