"""The discretizers of hybrid units in numpy: the values of one window to those it gives out. No torch is needed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.manifest import StageRecord
from spikebridge.deploy.runtime.nir_interpreter import NirRunner
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[np.float32]
Given: TypeAlias = tuple[list[Values], Any]
Make: TypeAlias = Callable[[Sequence[Values], int, Any], Given]  # values, steps of a window, state

Function: TypeAlias = Callable[[Values], Values]  # of a whole window, batch first

_WORD = 0xFFFFFFFF
REDUCING = ("Integrate", "Last", "Count", "FirstTime")
EXPANDING = ("FirstSpike", "Phase", "Burst")


def kind_of(stage: StageRecord | None) -> str:
    """What a discretizer does to the number of values: "steps", "reduces" or "expands".

    Example:
        >>> kind_of(StageRecord("Count", {})), kind_of(None)
        ('reduces', 'steps')
    """
    if stage is None:
        return "steps"
    told = stage.settings.get("kind", "steps")
    return "reduces" if stage.name in REDUCING else "expands" if stage.name in EXPANDING else str(told)


def discretizer_of(stage: StageRecord, numbers: Mapping[str, Values], function: Function | None = None) -> Make:
    """What a discretizer does with the values of a window.

    Args:
        stage: the discretizer in words.
        numbers: its tensors.
        function: of one named `Function`, `(B, M, *N)` to `(B, M2, *N2)`.

    Raises:
        DataError: there is no such discretizer.

    Example:
        >>> count = discretizer_of(StageRecord("Count", {}), {})
        >>> values = [np.array([[1.0]], np.float32), np.array([[0.0]], np.float32)]
        >>> count(values, 2, None)[0][0].item()
        1.0
    """
    if function is not None:
        return _as_function(function)
    if stage.name not in _DISCRETIZERS:
        raise DataError(f"there is no discretizer {stage.name!r} here; known are {', '.join(DISCRETIZERS)}")
    return _DISCRETIZERS[stage.name]({**stage.settings, **numbers})


def uniform_draws(seed: int, batch: int, index: int, shape: tuple[int, ...]) -> Values:
    """The numbers in [0, 1) that every sample draws in step `index` of its stream, `(B, *shape)`.

    Example:
        >>> draws = uniform_draws(seed=0, batch=2, index=0, shape=(3,))
        >>> draws.shape, bool(((0 <= draws) & (draws < 1)).all())
        ((2, 3), True)
    """
    return integer_draws(seed, batch, index, shape).astype(np.float32) / np.float32(1 << 24)


def integer_draws(seed: int, batch: int, index: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The same as whole numbers below 2^24."""
    seeds = _mix(np.arange(batch, dtype=np.int64) + (seed * 0x3C6EF372 & _WORD))
    streams = _mix(_mix(np.array([index], np.int64)) ^ seeds)
    places = _mix(np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64) + 0x1B873593)
    words = _mix(_mix(streams[:, None] ^ places))
    return (words >> 8).reshape(batch, *shape)


def _mix(words: NDArray[np.int64]) -> NDArray[np.int64]:
    words = words & _WORD
    words = (words ^ (words >> 16)) * 0x7FEB352D & _WORD
    words = (words ^ (words >> 15)) * 0x31848BAB & _WORD
    words = (words ^ (words >> 14)) * 0x5BD1E995 & _WORD
    return words ^ (words >> 16)


def _bernoulli(q: Mapping[str, Any]) -> Make:
    def make(values: Sequence[Values], length: int, drawn: Any) -> Given:
        index = drawn or 0
        spikes = []
        for h in values:
            draws = uniform_draws(q["seed"], len(h), index, h.shape[1:])
            spikes.append((draws < np.clip(h, 0, 1)).astype(np.float32))
            index += 1
        return spikes, index

    return make


def _threshold(q: Mapping[str, Any]) -> Make:
    return lambda values, length, state: ([(h - q["v_threshold"] >= 0).astype(np.float32) for h in values], None)


def fire_of(layer: NirRunner) -> Make:
    """A spiking layer makes the spikes."""

    def make(values: Sequence[Values], length: int, state: Any) -> Given:
        spikes = []
        for h in values:
            y, state = layer.step(h, state)
            spikes.append(y)
        return spikes, state

    return make


def _as_function(function: Function) -> Make:
    def make(values: Sequence[Values], length: int, state: Any) -> Given:
        given = function(np.stack(values, axis=1))
        return [given[:, k] for k in range(given.shape[1])], None

    return make


def _signed_delta(q: Mapping[str, Any]) -> Make:
    quantum, limit = q["quantum"], q["limit"]

    def make(values: Sequence[Values], length: int, total: Any) -> Given:
        sent = []
        for h in values:
            total = np.zeros_like(h) if total is None else total
            number = np.rint(h / np.float32(quantum) - total)
            sent.append(number if limit is None else np.clip(number, -limit, limit))
            total = total + sent[-1]
        return sent, total

    return make


def _reducing(reduce: Callable[[Values], Values]) -> Callable[[Mapping[str, Any]], Make]:
    return lambda q: lambda values, length, state: ([reduce(np.stack(values)).astype(np.float32)], None)


def _first_spike(q: Mapping[str, Any]) -> Make:
    def make(values: Sequence[Values], length: int, state: Any) -> Given:
        value = np.clip(values[0], 0, 1)
        step = np.minimum(np.floor((1 - value) * length), length - 1)
        return [(step == k).astype(np.float32) for k in range(length)], None

    return make


def _phase(q: Mapping[str, Any]) -> Make:
    def make(values: Sequence[Values], length: int, state: Any) -> Given:
        rest, spikes = np.clip(values[0], 0, 1), []
        for k in range(length):
            worth = np.float32(2.0 ** -(k + 1))
            spikes.append((rest >= worth).astype(np.float32))
            rest = rest - spikes[-1] * worth
        return spikes, None

    return make


def _burst(q: Mapping[str, Any]) -> Make:
    def make(values: Sequence[Values], length: int, state: Any) -> Given:
        value = np.clip(values[0], 0, 1) * np.float32(length)
        return [(value - k - 0.5 >= 0).astype(np.float32) for k in range(length)], None

    return make


_DISCRETIZERS: dict[str, Callable[[Mapping[str, Any]], Make]] = {
    "Bernoulli": _bernoulli,
    "Threshold": _threshold,
    "SignedDelta": _signed_delta,
    "Integrate": _reducing(lambda h: h.sum(0)),
    "Last": _reducing(lambda h: h[-1]),
    "Count": _reducing(lambda h: (h != 0).sum(0)),
    "FirstTime": _reducing(lambda h: np.cumprod(h == 0, axis=0).sum(0)),
    "FirstSpike": _first_spike,
    "Phase": _phase,
    "Burst": _burst,
}
DISCRETIZERS = tuple(_DISCRETIZERS)
