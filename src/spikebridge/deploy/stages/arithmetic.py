"""The arithmetic of a stage: floats and integers in numpy. No torch is needed.

A stage or a neuron is written once, as a function of an arithmetic `a` and of arrays (`kernels.py`, `discretizers.py`,
`neurons.py`). Only the arithmetic differs:

| | `FloatArithmetic` | `IntegerArithmetic` | `FakeIntegerArithmetic` | `CArithmetic` |
|---|---|---|---|---|
| file | here | here | `quantization/fake_integers.py` | `c/arithmetic.py` |
| arrays | numpy float32 | numpy int64 | torch float64, with integer values | expressions, with ranges |
| `a.rescale(q, ratio)` | gain or unit of the stage | product and shift | the same, straight-through gradient | a call |
| `a.leak(v, decay, rest)` | `rest + decay (v - rest)` | decay in parts of 2^15 | the same, straight-through | a call |
| `a.product(p, q)` | `p q` | product, and a change of scale | the same | a call |
| `a.bound(q)` | the value itself | clipped to the width of the state | the same, clipped values counted | a call |
| `a.fire(v, threshold)` | `v >= threshold` | `v >= threshold` | the surrogate gradient | a comparison |
"""

import copy
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.errors import DataError

Ints: TypeAlias = NDArray[np.int64]
MAX_SHIFT = 46
FRACTION = 15  # fractional bits of a decay
DRAW_BITS = 24  # bits of a random number
MAX_STEPS = 1 << 16  # steps that a mean of integers counts, and that a delay reaches back
SEED_FACTOR = 0x3C6EF372
PLACE_OFFSET = 0x1B873593
WORD = 0xFFFFFFFF
COMPARISONS = {name: getattr(operator, name) for name in ("gt", "ge", "lt", "eq")}
_NUMBERED_RATIO = re.compile(r"(multiplier|shift)(?:_(\d+))?")


def rescale(q: Ints, multiplier: Ints, shift: Ints) -> Ints | np.int64:
    """An integer in another scale, `(q m + 2^(k - 1)) >> k`: halves are rounded up."""
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    rescaled: Ints | np.int64 = (q * multiplier + half) >> shift

    return rescaled


def root(q: Ints) -> Ints:
    """The nearest integer to a square root."""
    below = np.zeros_like(q)
    for bit in range(30, -1, -1):
        higher = below + (1 << bit)
        below = np.where(higher * higher <= q, higher, below)

    return below + (q - below * below > below)


def ratio_name(name: str) -> str:
    """The name of an integer as stages use it: files name some ratios `multiplier` or `multiplier_0`."""
    match = _NUMBERED_RATIO.fullmatch(name)
    return name if match is None else f"{match[2] or 'out'}.{match[1]}"


@dataclass
class FloatArithmetic:
    """Floats, and the base of the other arithmetics; `xp` is the module of the arrays, numpy or torch.

    Constants are those of the stage, such as `decay` or `v_threshold`. `out.gain` multiplies the output, `out.unit`
    divides it.
    """

    xp: ClassVar[Any] = np

    settings: Mapping[str, Any]
    constants: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.constants[name]

    def with_constants(self, constants: Mapping[str, Any]) -> Self:
        changed = copy.copy(self)
        changed.constants = {**self.constants, **constants}
        return changed

    def zeros(self, shape: tuple[int, ...], like: Any) -> Any:
        return np.zeros(shape, like.dtype)

    def rescale(self, q: Any, ratio: str = "out.") -> Any:
        """A value in another scale: from input to state (`in.`), from state to output (`out.`)."""
        gain = self.constants.get(f"{ratio}gain")
        unit = self.constants.get(f"{ratio}unit")
        q = q if gain is None else q * gain
        return q if unit is None else q / unit

    def bound(self, q: Any) -> Any:
        """A state, clipped to its width."""
        return q

    def bound_quantity(self, q: Any) -> Any:
        """A quantity of a layer, clipped to the width of the layer."""
        return q

    def clip_output(self, q: Any) -> Any:
        return q

    def leak(self, v: Any, decay: Any, rest: Any = 0.0) -> Any:
        """A state one step closer to rest."""
        # the shortcuts of `spikebridge.neurons.lif.leak`: without them, -0.0 would become 0.0
        if isinstance(rest, float | int) and rest == 0:
            return v if isinstance(decay, float) and decay == 1 else v * decay
        return rest + decay * (v - rest)

    def power(self, decay: Any, steps: Any) -> Any:
        """A decay over a number of steps."""
        return decay**steps

    def charge_over(self, current: Any, decay: Any, decay_syn: Any, steps: Any) -> Any:
        """A current times the sum of `decay^(n - k) decay_syn^k` over the steps k = 1 ... n."""
        first, ratio = np.float64(decay), np.float64(decay_syn) / np.float64(decay)
        growth = np.expm1(np.log(ratio))
        # a geometric series, which keeps its digits where both decays are nearly equal
        series = np.where(growth == 0, steps, np.expm1(steps * np.log(ratio)) / np.where(growth == 0, 1, growth))
        return current * (first**steps * ratio * series).astype(np.float32)

    def product(self, p: Any, q: Any) -> Any:
        """The product of two states of a neuron, in their scale."""
        return p * q

    def charge(self, current: Any) -> Any:
        """The current times the resistance `r`; in integers the ratio of the input includes `r`."""
        r = self.constants.get("r", 1.0)
        return current if isinstance(r, float) and r == 1 else r * current

    def synapse(self, i: Any, current: Any) -> Any:
        """A synaptic current after its decay and the current of a step."""
        return self.bound(self.leak(i, self["decay_syn"]) + current)

    def membrane(self, v: Any, current: Any) -> Any:
        """A membrane after its leak and the current of a step, before it fires."""
        return self.bound(self.leak(v, self["decay"], self["v_leak"]) + self.charge(current))

    def fire(self, v: Any, threshold: Any) -> Any:
        return (v - threshold >= 0).astype(np.float32)

    def reset(self, v: Any, spikes: Any, v_reset: Any) -> Any:
        """Membranes, set to `v_reset` where they fired."""
        # as `spikebridge.neurons.lif.fire_and_reset`, to the bit
        if isinstance(v_reset, float) and v_reset == 0:
            return v - spikes * v
        return v * (1 - spikes) + spikes * v_reset

    def detached(self, spikes: Any) -> Any:
        """The spikes that a reset uses; fake integers may pass no gradient through it."""
        return spikes

    def count(self, number: Any) -> Any:
        return number + 1

    def divide(self, total: Any, number: Any) -> Any:
        """A total divided by a number of steps, in the scale of the output."""
        return total / number

    def round(self, q: Any) -> Any:
        return np.rint(q)

    def between(self, q: Any, first: Any, second: Any) -> Any:
        """A value that is known to lie between two others: C derives the range of a state from it."""
        return q

    def limit(self) -> Any:
        limit = self.settings.get("limit")
        return np.inf if limit is None else limit

    def chance(self, h: Any) -> Any:
        """The number of draws, of 2^24, for which a value spikes."""
        return np.clip(h, 0, 1) * np.float32(1 << DRAW_BITS)

    def draw(self, h: Any, index: Any) -> tuple[Any, Any]:
        """A random integer below 2^24 for every value, and the number of draws after this one."""
        return _random_integers(self.settings["seed"], len(h), index, h.shape[1:]), index + 1

    def spikes(self, condition: Any, h: Any) -> Any:
        """1 where a condition holds, else 0; fake integers pass the gradient to the probability `h`."""
        return condition.astype(np.float32)

    def winners(self, h: Any, number: int) -> Any:
        """1 for the largest values of the last axis; ties go to the lower place."""
        order = np.argsort(-h, -1, kind="stable")
        return self.spikes(np.argsort(order, -1) < number, h)

    def entry(self, name: str, index: Any) -> Any:
        return self[name][index]

    def look_up(self, name: str, index: Any) -> Sequence[Any]:
        """The rows of a table at integers, one value for each column of the table."""
        rows = self.entry(name, index)
        return [rows[..., k] for k in range(rows.shape[-1])]

    def past(self, x: Any, num_steps: int) -> Any:
        """The last steps of a signal before its first step: zeros `(B, n, *N)`, oldest first."""
        return self.zeros((len(x), num_steps, *x.shape[1:]), x)

    def fill(self, past: Any, started: Any, x: Any) -> Any:
        """Past steps; where a window has not started, all of them are the first step."""
        return self.xp.where(started.reshape(-1, *[1] * x.ndim), past, x[:, None])

    def append(self, past: Any, x: Any) -> Any:
        return self.xp.concatenate([past, x[:, None]], 1)

    def drop_oldest(self, steps: Any) -> Any:
        return steps[:, 1:]

    def oldest(self, steps: Any) -> Any:
        return steps[:, 0]

    def weighted_sum(self, steps: Any, taps: Any) -> Any:
        """Steps times taps, the first tap for the newest step."""
        num_axes = steps.ndim - 1
        weights = self.xp.flip(taps, (0,)).reshape(len(taps), *[1] * (num_axes + 1 - taps.ndim), *taps.shape[1:])
        return (self.xp.moveaxis(steps, 1, 0) * weights).sum(0)

    def delayed(self, steps: Any, ticks: Any) -> Any:
        """The step that lies `ticks` back, for each value."""
        shape = (len(steps), 1, *steps.shape[2:])
        index = self.xp.broadcast_to(steps.shape[1] - 1 - ticks, shape)
        return self._take(steps, index)[:, 0]

    def _take(self, steps: Any, index: Any) -> Any:
        return np.take_along_axis(steps, index, axis=1)


@dataclass
class IntegerArithmetic(FloatArithmetic):
    """Integers of 64 bits; constants have the names of an integer model, settings hold the widths."""

    def __post_init__(self) -> None:
        self.constants = {ratio_name(name): np.asarray(value, np.int64) for name, value in self.constants.items()}

    def rescale(self, q: Any, ratio: str = "out.") -> Any:
        key = f"{ratio}multiplier"
        # a state without a scale of its own has that of the input
        if ratio == "in." and key not in self.constants:
            return q
        return rescale(q, self.constants[key], self.constants[f"{ratio}shift"])

    def bound(self, q: Any) -> Any:
        return self.xp.clip(q, -self.settings["high"], self.settings["high"])

    def bound_quantity(self, q: Any) -> Any:
        # one above the highest membrane, so that a threshold out of reach stays out of reach
        return self.xp.clip(q, -self.settings["high"], self.settings["high"] + 1)

    def clip_output(self, q: Any) -> Any:
        return self.xp.clip(q, self.settings["low_out"], self.settings["high_out"])

    def leak(self, v: Any, decay: Any, rest: Any = 0) -> Any:
        return rest + self._shifted((v - rest) * decay)

    def power(self, decay: Any, steps: Any) -> Any:
        return self._powers(decay, decay, steps)[0]

    def charge_over(self, current: Any, decay: Any, decay_syn: Any, steps: Any) -> Any:
        return self._shifted(current * self._powers(decay, decay_syn, steps)[2])

    def _powers(self, decay: Any, decay_syn: Any, steps: Any) -> tuple[Any, Any, Any]:
        """Both decays over some steps, and the sum of their products, by squares: the same in torch and C."""
        one = 1 << FRACTION
        square = (decay, decay_syn, decay_syn)
        power = (one + 0 * (decay * steps), one + 0 * (decay * steps), 0 * (decay * steps))
        for bit in range(int(steps.max()).bit_length()):
            product = self._joined(power, square)
            is_set = (steps >> bit) % 2 == 1
            power = tuple(self.xp.where(is_set, p, q) for p, q in zip(product, power, strict=True))
            square = self._joined(square, square)

        return power

    def _joined(self, first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
        """The powers over the steps of both."""
        charge = self._shifted(first[0] * second[2]) + self._shifted(first[2] * second[1])
        charge = self.xp.clip(charge, 0, self._max_charge)
        return self._shifted(first[0] * second[0]), self._shifted(first[1] * second[1]), charge

    @property
    def _max_charge(self) -> int:
        """The largest sum of powers whose product with a current is exact in fake integers."""
        return (1 << 52) // (self.settings["high"] + 1)

    def _shifted(self, q: Any) -> Any:
        return (q + (1 << (FRACTION - 1))) >> FRACTION

    def product(self, p: Any, q: Any) -> Any:
        return self.rescale(p * q, "state.")

    def charge(self, current: Any) -> Any:
        return current

    def fire(self, v: Any, threshold: Any) -> Any:
        return (v >= threshold).astype(np.int64)

    def count(self, number: Any) -> Any:
        return np.minimum(number + 1, MAX_STEPS)

    def divide(self, total: Any, number: Any) -> Any:
        # one division of integers: `total ratio / number`, halves are rounded up
        unit = (np.int64(1) << self["out.shift"]) * number
        return (2 * total * self["out.multiplier"] + unit) // (2 * unit)

    def round(self, q: Any) -> Any:
        return q

    def chance(self, h: Any) -> Any:
        # looked up: the table has one entry for each integer of the input
        return self.entry("entries", h - self.settings["low"])

    def spikes(self, condition: Any, h: Any) -> Any:
        return np.asarray(condition, np.int64)


def _random_integers(seed: int, batch: int, index: int, shape: tuple[int, ...]) -> Ints:
    """The integers below 2^24 that every sample draws in step `index` of its stream, `(B, *shape)`."""
    seeds = _mix(np.arange(batch, dtype=np.int64) + (seed * SEED_FACTOR & WORD))
    streams = _mix(_mix(np.array([index], np.int64)) ^ seeds)
    places = _mix(np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64) + PLACE_OFFSET)
    # the order of mixing is part of the integer model: torch and C draw the same
    words = _mix(_mix(streams[:, None] ^ places))

    return (words >> 8).reshape(batch, *shape)


def _mix(words: Ints) -> Ints:
    words = words & WORD
    words = (words ^ (words >> 16)) * 0x7FEB352D & WORD
    words = (words ^ (words >> 15)) * 0x31848BAB & WORD
    words = (words ^ (words >> 14)) * 0x5BD1E995 & WORD

    return words ^ (words >> 16)


def check_ticks(max_ticks: Any, ticks: Any) -> None:
    """Raises a `DataError` for delays that are no integers from 0 to the longest delay."""
    ticks = np.asarray(ticks)
    if not isinstance(max_ticks, int) or not 0 <= max_ticks <= MAX_STEPS:
        raise DataError(f"a delay reaches back {max_ticks!r} steps; expected an integer from 0 to {MAX_STEPS}")
    if ticks.dtype.kind not in "iu" or not ((ticks >= 0) & (ticks <= max_ticks)).all():
        raise DataError(f"a delay needs integer steps from 0 to {max_ticks}, but has {ticks.ravel()[:4]}")
