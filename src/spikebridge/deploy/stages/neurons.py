"""Neurons in integers, once for integers (numpy) and for fake integers (torch). No torch is needed.

The float runtime steps neurons as nodes of NIR (`runtime/nir_interpreter.py`), or as an ONNX step.

| quantity | scale |
|---|---|
| `v`, `v_threshold`, `v_reset`, `v_leak`, `i` (times r), `a`, `jump` | that of the membranes |
| `decay`, `decay_syn`, `decay_adaptation` | parts of 2^15 |
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from spikebridge.deploy.stages.arithmetic import IntegerArithmetic, Ints, check_ticks, ratio, rescale

QUANTITIES = ("v_threshold", "v_reset", "v_leak")
Effects: TypeAlias = Mapping[str, Sequence[tuple[Any, str]]]  # by quantity: the signals that act on it, and how


class _MembraneState(NamedTuple):
    """The state of a layer of neurons; None for what it does not have.

    Attributes:
        v: membranes after the reset.
        wait: refractory steps left.
        i: synaptic currents, times `r`.
        a: what past spikes have added to the thresholds.
    """

    v: Any
    wait: Any = None
    i: Any = None
    a: Any = None


def membrane_start(a: Any, like: Any) -> _MembraneState:
    """The state before the first step.

    Args:
        a: arithmetic with the constants of the layer.
        like: currents of one step.
    """
    zeros = a.xp.zeros_like(like)
    return _MembraneState(
        v=zeros + a["v_leak"],
        wait=zeros if a.settings["refractory"] else None,
        i=zeros if "decay_syn" in a.constants else None,
        a=zeros if "decay_adaptation" in a.constants else None,
    )


def membrane_step(a: Any, current: Any, state: _MembraneState, now: Mapping[str, Any]) -> tuple[Any, _MembraneState]:
    """One step of LIF, IF, PLIF, Memoryless, Integrator, CubaLIF and AdaptiveLIF.

    Args:
        a: arithmetic with the constants of the layer.
        current: in the scale of the membranes, `(B, *N)`.
        state: after the step before.
        now: threshold, reset and leak, as modulated in this step.

    Returns:
        Spikes, or membranes of a layer that does not spike, and the state.
    """
    i = state.i
    if i is not None:
        i = current = a.bound(a.leak(i, a["decay_syn"]) + current)

    v = a.bound(a.leak(state.v, a["decay"], now["v_leak"]) + current)
    if not a.settings["spikes"]:
        return v, _MembraneState(v)

    adaptation = state.a
    wait = state.wait
    threshold = now["v_threshold"]
    if adaptation is not None:
        adaptation = a.leak(adaptation, a["decay_adaptation"])
        threshold = threshold + adaptation

    if wait is not None:
        v = a.xp.where(wait == 0, v, state.v)

    spikes = a.fire(v, threshold)
    if wait is not None:
        spikes = spikes * (wait == 0)
        wait = a.xp.where(spikes > 0, a.settings["refractory"], a.xp.clip(wait - 1, 0, None))

    if adaptation is not None:
        adaptation = a.bound(adaptation + a["jump"] * spikes)

    fired = a.detached(spikes)
    if a.settings["reset"] in ("subtract", "soft"):  # the second in records of version 0.1
        v = a.bound(v - fired * threshold)
    elif a.settings["reset"] != "none":
        v = v * (1 - fired) + fired * now["v_reset"]

    return spikes, _MembraneState(v, wait, i, adaptation)


def modulated(a: Any, name: str, effects: Sequence[tuple[Any, str]], ndim: int) -> Any:
    """A quantity of a layer under what acts on it.

    Args:
        a: arithmetic with the constants of the layer.
        name: of the quantity.
        effects: integers `(B, *M)` or `(T, B, *M)`, and how each acts.
        ndim: axes of the layer's signal.
    """
    base = a[name]
    high = a.settings["high"]

    for number, (signal, by) in enumerate(effects):
        q = signal.reshape(*signal.shape, *[1] * (ndim - signal.ndim))
        if by == "multiply":
            base = a.rescale(base * q, f"{name}.multiply_{number}.")
        else:
            moved = a.rescale(q, f"{name}.add_{number}.")
            base = moved if by == "replace" else base + moved

        # one above the highest membrane: a threshold out of reach stays out of reach
        base = a.xp.clip(base, -high, high + 1)

    return base


class IntegerNeuron:
    """A layer of neurons.

    Args:
        settings: kind of reset, refractory steps, largest membrane, whether it spikes.
        numbers: quantities in the membranes' scale, and how currents come into it.

    Example:
        >>> numbers = {"decay": np.array(1 << 15), "multiplier_0": np.array(1), "shift_0": np.array(0)}
        >>> numbers |= {"v_threshold": np.array(10), "v_reset": np.array(0), "v_leak": np.array(0)}
        >>> neuron = IntegerNeuron({"high": 100, "spikes": True, "reset": "subtract", "refractory": 0}, numbers)
        >>> y, state = neuron.step([np.array([[12]])], None, {})
        >>> y.item(), state.v.item()
        (1, 2)
    """

    def __init__(self, settings: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
        for name in ("high", "spikes", "reset", "refractory"):
            settings[name]

        self.arithmetic = IntegerArithmetic(settings, numbers)
        count = sum(name.startswith("multiplier_") for name in numbers)
        self.ratios = [ratio(self.arithmetic.constants, after=f"_{i}") for i in range(count)]

    def step(
        self, currents: Sequence[Ints], state: _MembraneState | None, effects: Effects
    ) -> tuple[Ints, _MembraneState]:
        """One step, `(B, *N)`."""
        a = self.arithmetic
        moved = [rescale(x, *by) for x, by in zip(currents, self.ratios, strict=True)]
        current = sum(moved[1:], moved[0])
        now = {name: modulated(a, name, effects.get(name, ()), current.ndim) for name in QUANTITIES}

        return membrane_step(a, current, membrane_start(a, current) if state is None else state, now)


class IntegerFactor:
    """A gain or a gate.

    Args:
        settings: the name of its quantity, the largest factor.
        numbers: the factor, and how what acts on it comes into its scale.

    Example:
        >>> gate = IntegerFactor({"quantity": "gate", "high": 100}, {"gate": np.array(2)})
        >>> gate.step([np.array([[3]])], None, {})[0].item()
        6
    """

    def __init__(self, settings: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
        self.name = settings["quantity"]
        self.arithmetic = IntegerArithmetic(settings, numbers)

    def step(self, given: Sequence[Ints], state: None, effects: Effects) -> tuple[Ints, None]:
        """One step, `(B, *N)`."""
        (x,) = given
        return x * modulated(self.arithmetic, self.name, effects.get(self.name, ()), x.ndim), None


class IntegerDelay:
    """A delay of whole steps, one for each channel.

    Args:
        settings: the longest delay.
        numbers: the delays.

    Raises:
        DataError: a delay that is not inside the longest.

    Example:
        >>> delay = IntegerDelay({"max_ticks": 1}, {"ticks": np.array([0, 1])})
        >>> y, state = delay.step([np.array([[3, 5]])], None, {})
        >>> y.tolist(), delay.step([np.array([[4, 6]])], state, {})[0].tolist()
        ([[3, 0]], [[4, 5]])
    """

    def __init__(self, settings: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
        self.most = settings["max_ticks"]
        self.ticks = numbers["ticks"]
        check_ticks(self.most, self.ticks)

    def step(self, given: Sequence[Ints], state: Ints | None, effects: Effects) -> tuple[Ints, Ints]:
        """One step, `(B, *N)`."""
        (x,) = given
        before = np.zeros((len(x), self.most, *x.shape[1:]), x.dtype) if state is None else state
        seen = np.concatenate([before, x[:, None]], axis=1)
        place = np.broadcast_to(self.most - self.ticks, x.shape)[:, None]

        return np.take_along_axis(seen, place, axis=1)[:, 0], seen[:, 1:]
