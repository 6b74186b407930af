"""Neurons of the integer model, one step at a time. No floats, and no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from spikebridge.deploy.integer.layers import Ints, leak_towards, ratio, rescale

QUANTITIES = ("v_threshold", "v_reset", "v_leak")
Effects: TypeAlias = Mapping[str, Sequence[tuple[Ints, str]]]  # by quantity: the signals that act on it, and how


class MembraneState(NamedTuple):
    """Membranes after the reset, refractory steps left, currents, and what spikes have added to the thresholds."""

    v: Ints
    wait: Ints | None = None
    i: Ints | None = None
    a: Ints | None = None


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

    def __init__(self, settings: Mapping[str, Any], numbers: dict[str, Any]) -> None:
        self.high, self.spikes = settings["high"], settings["spikes"]
        self.reset, self.refractory = settings["reset"], settings["refractory"]
        self.numbers = {name: np.asarray(value, np.int64) for name, value in numbers.items()}
        count = sum(name.startswith("multiplier_") for name in numbers)
        self.ratios = [ratio(self.numbers, after=f"_{i}") for i in range(count)]

    def step(
        self, currents: Sequence[Ints], state: MembraneState | None, effects: Effects
    ) -> tuple[Ints, MembraneState]:
        """One step, `(B, *N)`."""
        moved = [rescale(x, *by) for x, by in zip(currents, self.ratios, strict=True)]
        came = sum(moved[1:], moved[0])
        threshold, v_reset, v_leak = (under(self.numbers, n, effects, came, self.high) for n in QUANTITIES)
        if state is None:
            state = self._start(came)
        i = state.i
        if i is not None:
            i = came = self._bounded(leak_towards(i, 0, self.numbers["decay_syn"]) + came)
        v = self._bounded(leak_towards(state.v, v_leak, self.numbers["decay"]) + came)
        if not self.spikes:
            return v, MembraneState(v)
        a, wait = state.a, state.wait
        if a is not None:
            a = leak_towards(a, 0, self.numbers["decay_adaptation"])
            threshold = threshold + a
        if wait is not None:
            v = np.where(wait == 0, v, state.v)
        spikes = (v >= threshold).astype(np.int64)
        if wait is not None:
            spikes = spikes * (wait == 0)
            wait = np.where(spikes > 0, self.refractory, np.maximum(wait - 1, 0))
        if a is not None:
            a = self._bounded(a + self.numbers["jump"] * spikes)
        if self.reset in ("subtract", "soft"):  # the second in records of version 0.1
            v = self._bounded(v - spikes * threshold)
        elif self.reset != "none":
            v = v * (1 - spikes) + spikes * v_reset
        return spikes, MembraneState(v, wait, i, a)

    def _start(self, like: Ints) -> MembraneState:
        zeros = np.zeros_like(like)
        return MembraneState(
            v=zeros + self.numbers["v_leak"],
            wait=zeros if self.refractory else None,
            i=zeros if "decay_syn" in self.numbers else None,
            a=zeros if "decay_adaptation" in self.numbers else None,
        )

    def _bounded(self, v: Ints) -> Ints:
        return np.clip(v, -self.high, self.high)


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

    def __init__(self, settings: Mapping[str, Any], numbers: dict[str, Any]) -> None:
        self.name, self.high = settings["quantity"], settings["high"]
        self.numbers = {name: np.asarray(value, np.int64) for name, value in numbers.items()}

    def step(self, given: Sequence[Ints], state: None, effects: Effects) -> tuple[Ints, None]:
        """One step, `(B, *N)`."""
        (x,) = given
        return x * under(self.numbers, self.name, effects, x, self.high), None


def under(numbers: Mapping[str, Ints], name: str, effects: Effects, x: Ints, high: int) -> Ints:
    """A quantity under what acts on it.

    Args:
        numbers: of the layer.
        name: of the quantity.
        effects: by quantity.
        x: a signal of the layer's, `(B, *N)`.
        high: the largest whole number.
    """
    base = numbers[name]
    for i, (signal, by) in enumerate(effects.get(name, ())):
        q = signal.reshape(*signal.shape, *[1] * (x.ndim - signal.ndim))
        if by == "multiply":
            base = rescale(base * q, *ratio(numbers, f"{name}.multiply_{i}."))
        else:
            moved = rescale(q, *ratio(numbers, f"{name}.add_{i}."))
            base = moved if by == "replace" else base + moved
        base = np.clip(base, -high, high + 1)
    return base
