"""The arithmetic of a stage: floats and integers in numpy. No torch is needed.

A stage is written once, as a function of an arithmetic `a` and arrays (`kernels.py`, `discretizers.py`, `neurons.py`).
What differs between floats and integers is the arithmetic alone:

| | `FloatArithmetic` | `IntegerArithmetic` | `FakeIntegerArithmetic` (`quantization/fake_integers.py`) |
|---|---|---|---|
| arrays | numpy float32 | numpy int64 | torch float64, with integer values |
| `a.rescale(q, ratio)` | gain or unit of the stage | product and shift | the same, straight-through gradient |
| `a.leak(v, rest, decay)` | `rest + decay (v - rest)` | decay in parts of 2^15 | the same, straight-through gradient |
| `a.bound(q)` | as it is | clipped to the width of the state | the same, clipped values counted |
| `a.fire(v, threshold)` | `v >= threshold` | `v >= threshold` | the surrogate gradient |
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.errors import DataError

Ints: TypeAlias = NDArray[np.int64]
MOST_SHIFT = 46
FRACTION = 15  # bits of a decay behind the point
DRAW_BITS = 24  # of a random number
MOST_STEPS = 1 << 16  # that a mean of integers counts
_WORD = 0xFFFFFFFF


def rescale(q: Ints, multiplier: Ints, shift: Ints) -> Ints:
    """An integer in another scale, `(q m + 2^(k - 1)) >> k`: halves are rounded up.

    Example:
        >>> rescale(np.array([3, -3]), np.array(1), np.array(1)).tolist()
        [2, -1]
    """
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    moved: Ints = (q * multiplier + half) >> shift

    return moved


def _leak_towards(v: Ints, rest: Ints | int, decay: Ints) -> Ints:
    """A membrane one step closer to rest; the decay counts parts of 2^15.

    Example:
        >>> _leak_towards(np.array([100]), 0, np.array(1 << 14)).tolist()
        [50]
    """
    left: Ints = rest + (((v - rest) * decay + (1 << (FRACTION - 1))) >> FRACTION)
    return left


def ratio(numbers: Mapping[str, Any], before: str = "", after: str = "") -> tuple[Ints, Ints]:
    """Multiplier and shift among the integers of an operation."""
    return numbers[f"{before}multiplier{after}"].astype(np.int64), numbers[f"{before}shift{after}"].astype(np.int64)


class FloatArithmetic:
    """Floats.

    Args:
        settings: of the stage.
        constants: its numbers: `decay`, `taps`, `v_threshold`, ...; `out.gain` is a factor and `out.unit` a divisor of
            what comes out.
    """

    xp: Any = np

    def __init__(self, settings: Mapping[str, Any], constants: Mapping[str, Any]) -> None:
        self.settings = settings
        self.constants = constants

    def __getitem__(self, name: str) -> Any:
        """A constant of the stage."""
        return self.constants[name]

    def zeros(self, shape: tuple[int, ...], like: Any) -> Any:
        """Zeros of the type of an array."""
        return np.zeros(shape, like.dtype)

    def rescale(self, q: Any, ratio: str = "out.") -> Any:
        """From the scale of the input to that of the state (`in.`), or of the state to the output (`out.`)."""
        gain = self.constants.get(f"{ratio}gain")
        unit = self.constants.get(f"{ratio}unit")
        q = q if gain is None else q * gain
        return q if unit is None else q / unit

    def bound(self, q: Any) -> Any:
        """A state inside its width."""
        return q

    def leak(self, v: Any, decay: Any, rest: Any = 0) -> Any:
        """A state one step closer to rest."""
        return v * decay if isinstance(rest, int) else rest + (v - rest) * decay

    def divide(self, total: Any, number: Any) -> Any:
        """A total by a count, in the scale of the output."""
        return total / number

    def round(self, q: Any) -> Any:
        """To the nearest integer."""
        return np.rint(q)

    def fire(self, v: Any, threshold: Any) -> Any:
        """1 where a threshold is reached, else 0."""
        return (v - threshold >= 0).astype(np.float32)

    def limit(self) -> Any:
        """The largest output of a discretizer that has a limit."""
        limit = self.settings.get("limit")
        return np.inf if limit is None else limit

    def chance(self, h: Any) -> Any:
        """Below which draw a value spikes: its part of 0 to 1, times 2^24."""
        return np.clip(h, 0, 1) * np.float32(1 << DRAW_BITS)

    def draw(self, h: Any, state: Any) -> tuple[Any, Any]:
        """A random integer below 2^24 for every value, and the number of draws so far."""
        index = state or 0
        return _integer_draws(self.settings["seed"], len(h), index, h.shape[1:]), index + 1

    def spikes(self, condition: Any, h: Any) -> Any:
        """1 where a condition holds, else 0; where gradients are, they pass to the probability `h`."""
        return condition.astype(np.float32)

    def clip_output(self, q: Any) -> Any:
        """What comes out, inside its width."""
        return q

    def detached(self, spikes: Any) -> Any:
        """Spikes as a reset uses them."""
        return spikes


class IntegerArithmetic(FloatArithmetic):
    """Integers of 64 bits.

    Args:
        settings: of the stage: widths.
        constants: its integers, as an integer model stores them.
    """

    def __init__(self, settings: Mapping[str, Any], constants: Mapping[str, Any]) -> None:
        super().__init__(settings, {name: np.asarray(value, np.int64) for name, value in constants.items()})

    def rescale(self, q: Ints, ratio: str = "out.") -> Ints:
        """In another scale."""
        key = f"{ratio}multiplier"
        # a state without a scale of its own has that of the input
        return q if ratio == "in." and key not in self.constants else rescale(q, self[key], self[f"{ratio}shift"])

    def bound(self, q: Ints) -> Ints:
        """A state inside its width."""
        return np.clip(q, -self.settings["high"], self.settings["high"])

    def leak(self, v: Ints, decay: Ints, rest: Ints | int = 0) -> Ints:
        """A state one step closer to rest."""
        return _leak_towards(v, rest, decay)

    def divide(self, total: Ints, number: Ints) -> Ints:
        """`total ratio / number` with one division of integers, halves rounded up."""
        unit = (np.int64(1) << self["out.shift"]) * np.minimum(number, MOST_STEPS)
        mean: Ints = (2 * total * self["out.multiplier"] + unit) // (2 * unit)
        return mean

    def round(self, q: Ints) -> Ints:
        """As it is."""
        return q

    def fire(self, v: Ints, threshold: Ints) -> Ints:
        """1 where a threshold is reached, else 0."""
        return (v >= threshold).astype(np.int64)

    def chance(self, h: Ints) -> Ints:
        """Looked up: one entry for each value of the input."""
        found: Ints = self["entries"][h - self.settings["low"]]
        return found

    def spikes(self, condition: Any, h: Ints | None) -> Ints:
        """1 where a condition holds, else 0."""
        return np.asarray(condition, np.int64)

    def clip_output(self, q: Ints) -> Ints:
        """What comes out, inside its width."""
        return np.clip(q, self.settings["low_out"], self.settings["high_out"])


def _integer_draws(seed: int, batch: int, index: int, shape: tuple[int, ...]) -> Ints:
    """The integers below 2^24 that every sample draws in step `index` of its stream, `(B, *shape)`.

    Example:
        >>> draws = _integer_draws(seed=0, batch=2, index=0, shape=(3,))
        >>> draws.shape, bool(((0 <= draws) & (draws < 2**24)).all())
        ((2, 3), True)
    """
    seeds = _mix(np.arange(batch, dtype=np.int64) + (seed * 0x3C6EF372 & _WORD))
    streams = _mix(_mix(np.array([index], np.int64)) ^ seeds)
    places = _mix(np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64) + 0x1B873593)
    words = _mix(_mix(streams[:, None] ^ places))

    return (words >> 8).reshape(batch, *shape)


def _mix(words: Ints) -> Ints:
    words = words & _WORD
    words = (words ^ (words >> 16)) * 0x7FEB352D & _WORD
    words = (words ^ (words >> 15)) * 0x31848BAB & _WORD
    words = (words ^ (words >> 14)) * 0x5BD1E995 & _WORD

    return words ^ (words >> 16)


def check_ticks(most: Any, ticks: Any) -> None:
    """Refuses delays that are no whole steps inside the state.

    Args:
        most: the longest delay.
        ticks: the delays.

    Raises:
        DataError: a longest delay that cannot be, or a delay outside it.
    """
    ticks = np.asarray(ticks)
    if not isinstance(most, int) or not 0 <= most <= MOST_STEPS:
        raise DataError(f"a delay reaches back {most!r} steps; 0 to {MOST_STEPS} can be")
    if ticks.dtype.kind not in "iu" or not ((ticks >= 0) & (ticks <= most)).all():
        raise DataError(f"a delay needs whole steps from 0 to {most}, but has {ticks.ravel()[:4]}")
