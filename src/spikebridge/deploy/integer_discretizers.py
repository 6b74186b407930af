"""Discretizers of the integer model: the values of one window to those it gives out. No floats, and no torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from spikebridge.deploy.integer_arithmetic import Whole, ratio, rescale
from spikebridge.deploy.integer_neurons import IntegerNeuron
from spikebridge.deploy.runner_discretizers import whole_draws
from spikebridge.errors import DataError

Given: TypeAlias = tuple[list[Whole], Any]
Make: TypeAlias = Callable[[Sequence[Whole], int, Any], Given]  # values, steps of a window, state
REDUCING = ("Integrate", "Last", "Count", "FirstTime")
EXPANDING = ("Spikes",)


def discretizer_of(name: str, settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    """What a discretizer does with the values of a window.

    Args:
        name: one of `DISCRETIZERS`.
        settings: its widths.
        numbers: its whole numbers.

    Raises:
        DataError: there is no such discretizer.

    Example:
        >>> make = discretizer_of("Threshold", {}, {"v_threshold": np.array(5)})
        >>> [y.item() for y in make([np.array([[4]]), np.array([[5]])], 2, None)[0]]
        [0, 1]
    """
    if name not in _DISCRETIZERS:
        raise DataError(f"there is no integer discretizer {name!r}; known are {', '.join(_DISCRETIZERS)}")
    return _DISCRETIZERS[name](settings, numbers)


def _threshold(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    return lambda values, length, state: ([(h >= numbers["v_threshold"]).astype(np.int64) for h in values], None)


def _fire(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    neuron, out = IntegerNeuron(settings, numbers), ratio(numbers, "out.")

    def make(values: Sequence[Whole], length: int, state: Any) -> Given:
        given = []
        for h in values:
            y, state = neuron.step([h], state, {})
            given.append(np.clip(rescale(y, *out), settings["low_out"], settings["high_out"]))
        return given, state

    return make


def _spikes(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    entries = numbers["entries"].astype(np.int64)

    def make(values: Sequence[Whole], length: int, state: Any) -> Given:
        rows = entries[values[0] - settings["low"]]
        return [rows[..., k] for k in range(rows.shape[-1])], None

    return make


def _bernoulli(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    entries = numbers["entries"].astype(np.int64)

    def make(values: Sequence[Whole], length: int, state: Any) -> Given:
        index, given = state or 0, []
        for h in values:
            drawn = whole_draws(settings["seed"], len(h), index, h.shape[1:])
            given.append((drawn < entries[h - settings["low"]]).astype(np.int64))
            index += 1
        return given, index

    return make


def _signed_delta(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    by, limit = ratio(numbers), settings["limit"]

    def make(values: Sequence[Whole], length: int, state: Any) -> Given:
        total, sent = np.zeros_like(values[0]) if state is None else state, []
        for h in values:
            sent.append(np.clip(rescale(h, *by) - total, -limit, limit))
            total = total + sent[-1]
        return sent, total

    return make


def _integrate(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    by, low, high = ratio(numbers), settings["low_out"], settings["high_out"]
    return _reducing(lambda h: np.clip(rescale(h.sum(0), *by), low, high))


def _reducing(reduce: Callable[[Whole], Whole]) -> Make:
    return lambda values, length, state: ([reduce(np.stack(values))], None)


_DISCRETIZERS: dict[str, Callable[[Mapping[str, Any], dict[str, Any]], Make]] = {
    "Threshold": _threshold,
    "Fire": _fire,
    "Spikes": _spikes,
    "Bernoulli": _bernoulli,
    "SignedDelta": _signed_delta,
    "Integrate": _integrate,
    "Last": lambda settings, numbers: _reducing(lambda h: h[-1]),
    "Count": lambda settings, numbers: _reducing(lambda h: (h != 0).sum(0)),
    "FirstTime": lambda settings, numbers: _reducing(lambda h: np.cumprod(h == 0, axis=0).sum(0)),
}
DISCRETIZERS = tuple(_DISCRETIZERS)
