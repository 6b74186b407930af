"""Ion channels as nonlinearities of hybrid units: membranes to gates, gates to currents.

A gate relaxes to a steady value, and both the value and the time constant depend on the membrane. A membrane relaxes to
the mean of reversal potentials, weighed by conductances, with the time constant `C / sum g`. So each is an `Integrator`
whose `v_leak` and `tau` the other one sets. Sources: A. L. Hodgkin and A. F. Huxley, J. Physiol. 117:500 (1952), in
today's sign and with the rest at -65 mV; R. Brette and W. Gerstner, J. Neurophysiol. 94:3637 (2005).

Units here: mV, ms (s for time constants), uF/cm2, mS/cm2, uA/cm2; in the exponential model pF, nS, pA.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_MS = 1e-3
_NEAR_ZERO = 1e-3  # below it a series is closer to x / (1 - exp(-x)) than the quotient in float32
_MAX_EXPONENT = 40.0  # exponent of the current near a peak


@dataclass(frozen=True)
class MembraneParameters:
    """A patch of membrane with sodium, potassium and leak channels; the defaults are the squid's giant axon."""

    capacitance: float = 1.0  # [uF/cm2]
    conductances: tuple[float, float, float] = (120.0, 36.0, 0.3)  # maxima of sodium, potassium and leak [mS/cm2]
    reversals: tuple[float, float, float] = (50.0, -77.0, -54.387)  # [mV]


SQUID = MembraneParameters()


class _GateRates(nn.Module):
    """Opening and closing rates of the gates m, n and h (Hodgkin and Huxley, eqs. 12, 13, 20, 21, 23 and 24)."""

    shift: Tensor
    scale: Tensor
    factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        # opening of m, n, h, then closing; of one exponential each
        for name, values in (
            ("shift", (40.0, 55.0, 65.0, 65.0, 65.0, 35.0)),
            ("scale", (-10.0, -10.0, -20.0, -18.0, -80.0, -10.0)),
            ("factor", (1.0, 0.1, 0.07, 4.0, 0.125, 1.0)),
        ):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def rates(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Membranes [mV] to rates [1/ms], `*N 3` each."""
        x = (v.unsqueeze(-1) + self.shift) / self.scale
        grown = torch.exp(x)
        minus_x = -x[..., :2]

        # x / (1 - exp(-x)), 1 at 0
        near = minus_x.abs() < _NEAR_ZERO
        linear = torch.where(near, 1 + minus_x / 2, minus_x / torch.where(near, 1.0, 1 - grown[..., :2]))
        logistic = 1 / (1 + grown[..., 5:])
        opening, closing = (torch.cat([linear, grown[..., 2:5], logistic], -1) * self.factor).split(3, -1)

        return opening, closing


class SteadyGates(_GateRates):
    """The steady state of the gates m, n and h at a membrane potential."""

    def forward(self, v: Float[Tensor, "*N"]) -> Float[Tensor, "*N 3"]:
        """Membranes [mV] to gates, 0 to 1."""
        opening, closing = self.rates(v)
        return opening / (opening + closing)


class GateTimeConstant(_GateRates):
    """The time constants of the gates m, n and h."""

    def forward(self, v: Float[Tensor, "*N"]) -> Float[Tensor, "*N 3"]:
        """Membranes [mV] to time constants [s]."""
        opening, closing = self.rates(v)
        return _MS / (opening + closing)


class _Channels(nn.Module):
    """Conductances of the channels, and a fixed conductance `coupling` to a neighbour [mS/cm2]."""

    def __init__(self, membrane: MembraneParameters = SQUID, coupling: float = 0.0) -> None:
        super().__init__()
        self.membrane = membrane
        self.coupling = coupling

    def conductances(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Conductances of sodium and potassium [mS/cm2]."""
        m, n, h = gates.unbind(-1)
        sodium, potassium, _ = self.membrane.conductances
        return sodium * m**3 * h, potassium * n**4


class MembraneTimeConstant(_Channels):
    """The time constant of a membrane, `C / sum g`."""

    def forward(self, gates: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N"]:
        """Gates to time constants [s]."""
        sodium, potassium = self.conductances(gates)
        return _MS * self.membrane.capacitance / (sodium + potassium + (self.membrane.conductances[2] + self.coupling))


class MembraneRest(_Channels):
    """The rest of a membrane under its gates, `(sum g E + I) / sum g`."""

    def forward(self, gates: Float[Tensor, "*N 3"], current: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Gates, and an injected current [uA/cm2] or the neighbour's membrane [mV], to the rest [mV]."""
        sodium, potassium = self.conductances(gates)
        leak = self.membrane.conductances[2]
        of_sodium, of_potassium, of_leak = self.membrane.reversals
        driven = current if self.coupling == 0 else self.coupling * current
        driving = sodium * of_sodium + potassium * of_potassium + leak * of_leak + driven

        return driving / (sodium + potassium + (leak + self.coupling))


@dataclass(frozen=True)
class ExponentialParameters:
    """An exponential neuron with adaptation; the defaults are those of Brette and Gerstner (2005)."""

    capacitance: float = 281.0  # [pF]
    leak: float = 30.0  # conductance [nS]
    v_leak: float = -70.6  # membrane at rest [mV]
    v_threshold: float = -50.4  # start of the exponential current [mV]
    slope: float = 2.0  # of the exponential current [mV]
    v_peak: float = 20.0  # a membrane that reaches it spikes [mV]
    v_reset: float = -70.6  # [mV]
    tau_adaptation: float = 0.144  # [s]
    coupling: float = 4.0  # adaptation current for each mV [nS]
    jump: float = 80.5  # adaptation current for each spike [pA]

    @property
    def tau(self) -> float:
        """Time constant of the membrane [s]."""
        return _MS * self.capacitance / self.leak


BRETTE_GERSTNER = ExponentialParameters()


class ExponentialRest(nn.Module):
    """The rest of an exponential membrane for one step [s]; after a spike, the reset.

    A step is one of the exponential Rosenbrock method (M. Hochbruck and A. Ostermann, Acta Numerica 19:209, 2010). It
    never leads more than 1 mV beyond `v_peak`.
    """

    def __init__(self, neuron: ExponentialParameters, step: float) -> None:
        super().__init__()
        self.neuron = neuron
        self.share = step / neuron.tau
        self.taken = -math.expm1(-self.share)

    def forward(self, current: Float[Tensor, "*N"], v: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Currents [pA] and membranes [mV] to the rest [mV]."""
        neuron = self.neuron
        grown = torch.exp(torch.clamp((v - neuron.v_threshold) / neuron.slope, max=_MAX_EXPONENT))
        slope = neuron.v_leak - v + neuron.slope * grown + current / neuron.leak
        rest = v + slope * _mean_growth(self.share * (grown - 1)) * (self.share / self.taken)
        rest = torch.minimum(rest, v + (neuron.v_peak + 1 - v) / self.taken)

        # a peak is detected half a step late on average, and the reset takes a step: the membrane moves in between
        moved = neuron.v_leak - neuron.v_reset + current / neuron.leak
        return torch.where(v >= neuron.v_peak, neuron.v_reset + 1.5 * self.share * moved, rest)


def _mean_growth(z: Tensor) -> Tensor:
    """`(exp(z) - 1) / z`, 1 at 0; constant above 20, where a membrane is at its peak in one step."""
    near = z.abs() < 0.1
    far = torch.clamp(torch.where(near, 1.0, z), max=20.0)
    return torch.where(near, 1 + z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5))), (torch.exp(far) - 1) / far)


class ResetTimeConstant(nn.Module):
    """The time constant of an exponential membrane: nearly 0 after a spike, so that the reset takes one step."""

    def __init__(self, neuron: ExponentialParameters) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, v: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Membranes [mV] to time constants [s]."""
        return torch.where(v >= self.neuron.v_peak, 1e-9, self.neuron.tau)


class Affine(nn.Module):
    """`scale (x - zero) + weight y`: linear currents."""

    def __init__(self, scale: float, zero: float = 0.0, weight: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.zero = zero
        self.weight = weight

    def forward(self, x: Float[Tensor, "*N"], y: Float[Tensor, "*N"] | None = None) -> Float[Tensor, "*N"]:
        """Signals, and their contexts, to their weighted sum."""
        linear = self.scale * (x - self.zero)
        return linear if y is None else linear + self.weight * y
