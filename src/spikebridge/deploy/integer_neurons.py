"""Neurons of the integer model, one step at a time. No floats, and no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spikebridge.deploy.integer_arithmetic import Whole, leak_towards, ratio, rescale

Effects = Mapping[str, Sequence[tuple[Whole, str]]]  # by quantity: the signals that act on it, and how


class MembraneState(NamedTuple):
    """Membranes after the reset, and refractory steps left."""

    v: Whole
    wait: Whole | None


class IntegerNeuron:
    """A layer of neurons.

    Args:
        settings: kind of reset, refractory steps, largest membrane, whether it spikes.
        numbers: quantities in the membranes' scale, and how currents come into it.

    Example:
        >>> numbers = {"decay": np.array(1 << 15), "multiplier_0": np.array(1), "shift_0": np.array(0)}
        >>> numbers |= {"v_threshold": np.array(10), "v_reset": np.array(0), "v_leak": np.array(0)}
        >>> neuron = IntegerNeuron({"high": 100, "spikes": True, "reset": "soft", "refractory": 0}, numbers)
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
        self, currents: Sequence[Whole], state: MembraneState | None, effects: Effects
    ) -> tuple[Whole, MembraneState]:
        """One step, `(B, *N)`."""
        moved = [rescale(x, *by) for x, by in zip(currents, self.ratios, strict=True)]
        came = sum(moved[1:], moved[0])
        v_threshold, v_reset, v_leak = (self._under(n, effects.get(n, ()), came) for n in QUANTITIES)
        if state is None:
            rest = np.zeros_like(came) + self.numbers["v_leak"]
            state = MembraneState(rest, np.zeros_like(came) if self.refractory else None)
        v = self._bounded(leak_towards(state.v, v_leak, self.numbers["decay"]) + came)
        if not self.spikes:
            return v, MembraneState(v, None)
        active = None
        if state.wait is not None:
            active = state.wait == 0
            v = np.where(active, v, state.v)
        spikes = (v >= v_threshold).astype(np.int64)
        wait = state.wait
        if active is not None and wait is not None:
            spikes = spikes * active
            wait = np.where(spikes > 0, self.refractory, np.maximum(wait - 1, 0))
        v = self._bounded(v - spikes * v_threshold) if self.reset == "soft" else v * (1 - spikes) + spikes * v_reset
        return spikes, MembraneState(v, wait)

    def _under(self, name: str, effects: Sequence[tuple[Whole, str]], x: Whole) -> Whole:
        base = self.numbers[name]
        for i, (signal, by) in enumerate(effects):
            q = signal.reshape(*signal.shape, *[1] * (x.ndim - signal.ndim))
            if by == "multiply":
                base = rescale(base * q, *ratio(self.numbers, f"{name}.multiply_{i}."))
            else:
                moved = rescale(q, *ratio(self.numbers, f"{name}.add_{i}."))
                base = moved if by == "replace" else base + moved
            base = np.clip(base, -self.high, self.high + 1)
        return base

    def _bounded(self, v: Whole) -> Whole:
        return np.clip(v, -self.high, self.high)


QUANTITIES = ("v_threshold", "v_reset", "v_leak")
