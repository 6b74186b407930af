"""Recordings of neurons: their differential equations, integrated by LSODA (A. C. Hindmarsh, 1983) at 1e-9.

The equations are written again here, in plain numbers, so that the networks of `model.py` are compared with something
that shares nothing with them. A current is constant over each step of its samples.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import exp, expm1
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from research.neuron_models.channels import (
    BRETTE_GERSTNER,
    SQUID,
    ExponentialParameters,
    MembraneParameters,
)
from spikebridge.errors import DataError

_Values: TypeAlias = Sequence[float] | NDArray[np.float64]
_TOLERANCE = 1e-9
_GRID = 1e-5  # s between samples of a recording


def record_hodgkin_huxley(
    current: _Values, period: float, membrane: MembraneParameters = SQUID
) -> Float[np.ndarray, " K"]:
    """The membrane [mV] every 10 us of a Hodgkin-Huxley neuron from rest, for one current [uA/cm2] a period [s]."""
    soma = _hodgkin_huxley(membrane)

    def equations(t: float, y: _Values, i: float) -> list[float]:
        return soma(y, i)

    return _integrate(equations, _settled(equations, [-65.0, 0.05, 0.6, 0.32]), current, period)[0]


def record_two_compartments(
    current: _Values,
    period: float,
    membrane: MembraneParameters = SQUID,
    coupling: float = 1.0,
    leak: float = 0.3,
) -> Float[np.ndarray, " K"]:
    """The soma of a neuron of two compartments, from rest; arguments as in `model.two_compartments`."""
    soma = _hodgkin_huxley(membrane)

    def equations(t: float, y: _Values, i: float) -> list[float]:
        flow = coupling * (y[4] - y[0])
        inward = i - flow - leak * (y[4] - membrane.reversals[2])
        return [*soma(y[:4], flow), inward / membrane.capacitance]

    return _integrate(equations, _settled(equations, [-65.0, 0.05, 0.6, 0.32, -65.0]), current, period)[0]


def spikes_of_exponential(
    current: float, duration: float, neuron: ExponentialParameters = BRETTE_GERSTNER
) -> NDArray[np.float64]:
    """Spike times [s] of an exponential neuron under a constant current [pA], from rest."""
    from scipy.integrate import solve_ivp  # lazy: scipy takes long to import

    p = neuron
    # from 15 slopes above the threshold on, the peak is less than 1e-5 ms away
    level = min(p.v_peak, p.v_threshold + 15 * p.slope)

    def equations(t: float, y: _Values) -> list[float]:
        v, w = y
        grown = p.leak * p.slope * exp(min((v - p.v_threshold) / p.slope, 80.0))
        slope = (-p.leak * (v - p.v_leak) + grown - w + current) / p.capacitance
        return [slope, (p.coupling * (v - p.v_leak) - w) / (1e3 * p.tau_adaptation)]

    def peak(t: float, y: _Values) -> float:
        return y[0] - level

    peak.terminal = True  # type: ignore[attr-defined]
    time = 0.0
    state = [p.v_leak, 0.0]
    spikes = []

    while time < 1e3 * duration:
        found = solve_ivp(
            equations, (time, 1e3 * duration), state, "LSODA", events=peak, rtol=_TOLERANCE, atol=_TOLERANCE
        )
        if found.status != 1:
            break
        time = float(found.t[-1])
        spikes.append(1e-3 * time)
        state = [p.v_reset, float(found.y[1, -1]) + p.jump]

    return np.array(spikes)


def spike_times(v: Float[np.ndarray, " K"], period: float, level: float = 0.0) -> NDArray[np.float64]:
    """Times at which a membrane rises above a level [s], interpolated between samples."""
    (below,) = np.nonzero((v[:-1] < level) & (v[1:] >= level))
    return (below + (level - v[below]) / (v[below + 1] - v[below])) * period


_Equations = Callable[[float, _Values, float], list[float]]


def _hodgkin_huxley(membrane: MembraneParameters) -> Callable[[_Values, float], list[float]]:
    """`dy/dt` [1/ms] of membrane, m, h, n under an inward current."""
    g_sodium, g_potassium, g_leak = membrane.conductances
    e_sodium, e_potassium, e_leak = membrane.reversals

    def linear(x: float) -> float:
        return x / -expm1(-x) if x else 1.0

    def equations(y: _Values, inward: float) -> list[float]:
        v, m, h, n = y
        currents = g_sodium * m**3 * h * (v - e_sodium) + g_potassium * n**4 * (v - e_potassium) + g_leak * (v - e_leak)

        return [
            (inward - currents) / membrane.capacitance,
            linear((v + 40) / 10) * (1 - m) - 4 * exp(-(v + 65) / 18) * m,
            0.07 * exp(-(v + 65) / 20) * (1 - h) - h / (1 + exp(-(v + 35) / 10)),
            0.1 * linear((v + 55) / 10) * (1 - n) - 0.125 * exp(-(v + 65) / 80) * n,
        ]

    return equations


def _settled(equations: _Equations, guess: _Values) -> list[float]:
    """The steady state without a current."""
    from scipy.optimize import fsolve

    return [float(value) for value in fsolve(lambda y: equations(0.0, y, 0.0), guess, xtol=1e-13)]


def _integrate(equations: _Equations, start: _Values, current: _Values, period: float) -> NDArray[np.float64]:
    """All variables every 10 us, `(variables, K)`; a new start at every change of the current."""
    from scipy.integrate import solve_ivp

    values = np.asarray(current, dtype=float)
    per_period = round(period / _GRID)
    changes = [0, *(np.nonzero(np.diff(values))[0] + 1).tolist(), len(values)]
    pieces = [np.array(start)[:, None]]
    state = np.array(start)

    for a, b in pairwise(changes):
        times = np.arange((b - a) * per_period + 1) * (1e3 * _GRID)
        found = solve_ivp(
            equations, (0.0, times[-1]), state, "LSODA", times, args=(values[a],), rtol=_TOLERANCE, atol=_TOLERANCE
        )
        if found.status != 0:
            raise DataError(f"the equations could not be integrated at a current of {values[a]:g}: {found.message}")
        pieces.append(found.y[:, 1:])
        state = found.y[:, -1]

    return np.concatenate(pieces, 1)
