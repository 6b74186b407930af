"""Hybrid units of the integer model: the stages of `runner_units.py` in whole numbers. No floats, and no torch.

Kernels of the integer model, one step at a time. No floats, and no torch.

Discretizers of the integer model: the values of one window to those it gives out. No floats, and no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from spikebridge.deploy.bundle.manifest import StageRecord
from spikebridge.deploy.integer.layers import Ints, leak_towards, ratio, rescale
from spikebridge.deploy.integer.neurons import IntegerNeuron
from spikebridge.deploy.integer.program import IntegerProgram, ProgramRecord
from spikebridge.deploy.runtime.discretizers import integer_draws
from spikebridge.deploy.runtime.units import Stages, UnitRunner
from spikebridge.errors import DataError


@dataclass(frozen=True)
class IntegerUnitRecord:
    """A unit by its stages."""

    window: StageRecord | None = None
    kernel: StageRecord | None = None
    nonlinearity: ProgramRecord | None = None
    discretizer: StageRecord | None = None


def integer_unit(record: IntegerUnitRecord, numbers: Mapping[str, dict[str, Any]]) -> UnitRunner:
    """A unit of whole numbers.

    Args:
        record: the unit in words.
        numbers: its whole numbers by stage; those of the nonlinearity by operation.

    Raises:
        DataError: a stage that is not known, or settings that cannot be.

    Example:
        >>> import numpy as np
        >>> from spikebridge.deploy.runtime.units import UnitState
        >>> numbers = {"discretizer": {"v_threshold": np.array(5)}}
        >>> unit = integer_unit(IntegerUnitRecord(discretizer=StageRecord("Threshold", {})), numbers)
        >>> unit.push(np.array([[6]]), UnitState())[0][0].item()
        1
    """
    kernel, discretizer = record.kernel, record.discretizer
    steps = make = None
    if kernel is not None:
        steps = IntegerKernel(kernel.name, kernel.settings, numbers.get("kernel", {}))
    if discretizer is not None:
        make = discretizer_of(discretizer.name, discretizer.settings, numbers.get("discretizer", {}))
    name = discretizer.name if discretizer is not None else None
    return UnitRunner(
        record.window,
        Stages(
            kernel=steps,
            kept=steps is None or steps.keep,
            nonlinearity=None if record.nonlinearity is None else _program(record.nonlinearity, numbers),
            make=make,
            kind="reduces" if name in REDUCING else "expands" if name in EXPANDING else "steps",
        ),
    )


def _program(record: ProgramRecord, numbers: Mapping[str, dict[str, Any]]) -> Any:
    own = {name.partition(":")[2]: q for name, q in numbers.items() if name.startswith("nonlinearity:")}
    program = IntegerProgram(record, own)

    def run(h: Ints, context: Ints | None) -> Ints:
        signals = {name: x for name, x in zip(record.inputs, (h, context), strict=False) if x is not None}
        return program.step(signals, {}, None)[0]

    return run


Carry: TypeAlias = tuple[Any, ...]
MOST_STEPS = 1 << 16


class IntegerKernel:
    """A kernel.

    Args:
        name: of its class.
        settings: its widths.
        numbers: its whole numbers.

    Example:
        >>> numbers = {"out.multiplier": np.array(1), "out.shift": np.array(0)}
        >>> kernel = IntegerKernel("Sum", {"high": 100, "low_out": -9, "high_out": 9, "keep": False}, numbers)
        >>> h, carry = kernel(np.array([[7]]), None)
        >>> kernel(np.array([[1]]), carry)[0].item()
        8
    """

    def __init__(self, name: str, settings: Mapping[str, Any], numbers: dict[str, Any]) -> None:
        if name not in _STEPS:
            raise DataError(f"there is no integer kernel {name!r}; known are {', '.join(_STEPS)}")
        lag = settings.get("lag") or 1
        if not isinstance(lag, int) or not 1 <= lag <= MOST_STEPS:
            raise DataError(f"an integer kernel has a lag of {lag!r} steps; 1 to {MOST_STEPS} can be")
        self.begins, self.follows = _STEPS[name]
        self.settings, self.numbers, self.keep = settings, numbers, bool(settings["keep"])
        self.high, self.low_out, self.high_out = (settings[key] for key in ("high", "low_out", "high_out"))

    def begin(self, x: Ints) -> Carry:
        """The carry at the start of a window, for steps like this one."""
        return self.begins(self, x)

    def __call__(self, x: Ints, carry: Carry | None) -> tuple[Ints, Carry]:
        """One step of a window; None begins it."""
        q, carry = self.follows(self, x, self.begin(x) if carry is None else carry)
        return np.clip(q, self.low_out, self.high_out), carry

    def kept(self, q: Ints) -> Ints:
        """Inside the width of what it remembers."""
        return np.clip(q, -self.high, self.high)

    def out(self, q: Ints) -> Ints:
        """In the scale of what comes out."""
        return rescale(q, *ratio(self.numbers, "out."))

    def came(self, x: Ints) -> Ints:
        """In the scale of what it remembers."""
        return rescale(x, *ratio(self.numbers, "in."))

    def left(self, q: Ints) -> Ints:
        """After one step of the leak."""
        return leak_towards(q, 0, self.numbers["decay"].astype(np.int64))


def _one(kernel: IntegerKernel, x: Ints) -> Carry:
    return (np.zeros_like(x),)


def _two(kernel: IntegerKernel, x: Ints) -> Carry:
    return np.zeros_like(x), np.zeros_like(x)


def _sum(kernel: IntegerKernel, x: Ints, carry: Carry) -> tuple[Ints, Carry]:
    total = kernel.kept(carry[0] + x)
    return kernel.out(total), (total,)


def _counted(kernel: IntegerKernel, x: Ints) -> Carry:
    return np.zeros_like(x), np.zeros((len(x),) + (1,) * (x.ndim - 1), np.int64)


def _mean(kernel: IntegerKernel, x: Ints, carry: Carry) -> tuple[Ints, Carry]:
    total, number = kernel.kept(carry[0] + x), np.minimum(carry[1] + 1, MOST_STEPS)
    multiplier, shift = ratio(kernel.numbers, "out.")
    unit = (np.int64(1) << shift) * number
    return (2 * total * multiplier + unit) // (2 * unit), (total, number)


def _exponential(kernel: IntegerKernel, x: Ints, carry: Carry) -> tuple[Ints, Carry]:
    total = kernel.kept(kernel.left(carry[0]) + kernel.came(x))
    return kernel.out(total), (total,)


def _alpha(kernel: IntegerKernel, x: Ints, carry: Carry) -> tuple[Ints, Carry]:
    second = kernel.kept(kernel.left(carry[1] + carry[0]))
    first = kernel.kept(kernel.left(carry[0]) + kernel.came(x))
    return kernel.out(second), (first, second)


def _first(kernel: IntegerKernel, x: Ints) -> Carry:
    empty = np.zeros((len(x), kernel.settings["lag"] or 1, *x.shape[1:]), np.int64)
    return empty, np.zeros(len(x), np.bool_)


def _difference(kernel: IntegerKernel, x: Ints, carry: Carry) -> tuple[Ints, Carry]:
    last, started = carry
    last = np.where(started.reshape(-1, *[1] * x.ndim), last, x[:, None])
    lag = kernel.settings["lag"]
    newest = last if lag is None else np.concatenate([last[:, 1:], x[:, None]], axis=1)
    return kernel.out(x - last[:, 0]), (newest, np.ones_like(started))


def _before(kernel: IntegerKernel, x: Ints) -> Carry:
    return (np.zeros((len(x), len(kernel.numbers["taps"]) - 1, *x.shape[1:]), np.int64),)


def _taps(kernel: IntegerKernel, x: Ints, carry: Carry) -> tuple[Ints, Carry]:
    taps = kernel.numbers["taps"].astype(np.int64)
    last = np.concatenate([carry[0], x[:, None]], axis=1)
    weights = taps[::-1].reshape(len(taps), *[1] * (x.ndim + 1 - taps.ndim), *taps.shape[1:])
    return kernel.out((np.moveaxis(last, 1, 0) * weights).sum(0)), (last[:, 1:],)


Begin: TypeAlias = Callable[[IntegerKernel, Ints], Carry]
Follow: TypeAlias = Callable[[IntegerKernel, Ints, Carry], tuple[Ints, Carry]]
_STEPS: dict[str, tuple[Begin, Follow]] = {
    "Sum": (_one, _sum),
    "Mean": (_counted, _mean),
    "Exponential": (_one, _exponential),
    "Alpha": (_two, _alpha),
    "Difference": (_first, _difference),
    "Taps": (_before, _taps),
}


Given: TypeAlias = tuple[list[Ints], Any]
Make: TypeAlias = Callable[[Sequence[Ints], int, Any], Given]  # values, steps of a window, state
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

    def make(values: Sequence[Ints], length: int, state: Any) -> Given:
        given = []
        for h in values:
            y, state = neuron.step([h], state, {})
            given.append(np.clip(rescale(y, *out), settings["low_out"], settings["high_out"]))
        return given, state

    return make


def _spikes(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    entries = numbers["entries"].astype(np.int64)

    def make(values: Sequence[Ints], length: int, state: Any) -> Given:
        rows = entries[values[0] - settings["low"]]
        return [rows[..., k] for k in range(rows.shape[-1])], None

    return make


def _bernoulli(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    entries = numbers["entries"].astype(np.int64)

    def make(values: Sequence[Ints], length: int, state: Any) -> Given:
        index, given = state or 0, []
        for h in values:
            drawn = integer_draws(settings["seed"], len(h), index, h.shape[1:])
            given.append((drawn < entries[h - settings["low"]]).astype(np.int64))
            index += 1
        return given, index

    return make


def _signed_delta(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    by, limit = ratio(numbers), settings["limit"]

    def make(values: Sequence[Ints], length: int, state: Any) -> Given:
        total, sent = np.zeros_like(values[0]) if state is None else state, []
        for h in values:
            sent.append(np.clip(rescale(h, *by) - total, -limit, limit))
            total = total + sent[-1]
        return sent, total

    return make


def _integrate(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Make:
    by, low, high = ratio(numbers), settings["low_out"], settings["high_out"]
    return _reducing(lambda h: np.clip(rescale(h.sum(0), *by), low, high))


def _reducing(reduce: Callable[[Ints], Ints]) -> Make:
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
