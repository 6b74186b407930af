"""Kernels of the integer model, one step at a time. No floats, and no torch."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from spikebridge.deploy.integer_arithmetic import Whole, leak_towards, ratio, rescale
from spikebridge.errors import DataError

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

    def begin(self, x: Whole) -> Carry:
        """The carry at the start of a window, for steps like this one."""
        return self.begins(self, x)

    def __call__(self, x: Whole, carry: Carry | None) -> tuple[Whole, Carry]:
        """One step of a window; None begins it."""
        q, carry = self.follows(self, x, self.begin(x) if carry is None else carry)
        return np.clip(q, self.low_out, self.high_out), carry

    def kept(self, q: Whole) -> Whole:
        """Inside the width of what it remembers."""
        return np.clip(q, -self.high, self.high)

    def out(self, q: Whole) -> Whole:
        """In the scale of what comes out."""
        return rescale(q, *ratio(self.numbers, "out."))

    def came(self, x: Whole) -> Whole:
        """In the scale of what it remembers."""
        return rescale(x, *ratio(self.numbers, "in."))

    def left(self, q: Whole) -> Whole:
        """After one step of the leak."""
        return leak_towards(q, 0, self.numbers["decay"].astype(np.int64))


def _one(kernel: IntegerKernel, x: Whole) -> Carry:
    return (np.zeros_like(x),)


def _two(kernel: IntegerKernel, x: Whole) -> Carry:
    return np.zeros_like(x), np.zeros_like(x)


def _sum(kernel: IntegerKernel, x: Whole, carry: Carry) -> tuple[Whole, Carry]:
    total = kernel.kept(carry[0] + x)
    return kernel.out(total), (total,)


def _counted(kernel: IntegerKernel, x: Whole) -> Carry:
    return np.zeros_like(x), np.zeros((len(x),) + (1,) * (x.ndim - 1), np.int64)


def _mean(kernel: IntegerKernel, x: Whole, carry: Carry) -> tuple[Whole, Carry]:
    total, number = kernel.kept(carry[0] + x), np.minimum(carry[1] + 1, MOST_STEPS)
    multiplier, shift = ratio(kernel.numbers, "out.")
    unit = (np.int64(1) << shift) * number
    return (2 * total * multiplier + unit) // (2 * unit), (total, number)


def _exponential(kernel: IntegerKernel, x: Whole, carry: Carry) -> tuple[Whole, Carry]:
    total = kernel.kept(kernel.left(carry[0]) + kernel.came(x))
    return kernel.out(total), (total,)


def _alpha(kernel: IntegerKernel, x: Whole, carry: Carry) -> tuple[Whole, Carry]:
    second = kernel.kept(kernel.left(carry[1] + carry[0]))
    first = kernel.kept(kernel.left(carry[0]) + kernel.came(x))
    return kernel.out(second), (first, second)


def _first(kernel: IntegerKernel, x: Whole) -> Carry:
    empty = np.zeros((len(x), kernel.settings["lag"] or 1, *x.shape[1:]), np.int64)
    return empty, np.zeros(len(x), np.bool_)


def _difference(kernel: IntegerKernel, x: Whole, carry: Carry) -> tuple[Whole, Carry]:
    last, started = carry
    last = np.where(started.reshape(-1, *[1] * x.ndim), last, x[:, None])
    lag = kernel.settings["lag"]
    newest = last if lag is None else np.concatenate([last[:, 1:], x[:, None]], axis=1)
    return kernel.out(x - last[:, 0]), (newest, np.ones_like(started))


def _before(kernel: IntegerKernel, x: Whole) -> Carry:
    return (np.zeros((len(x), len(kernel.numbers["taps"]) - 1, *x.shape[1:]), np.int64),)


def _taps(kernel: IntegerKernel, x: Whole, carry: Carry) -> tuple[Whole, Carry]:
    taps = kernel.numbers["taps"].astype(np.int64)
    last = np.concatenate([carry[0], x[:, None]], axis=1)
    weights = taps[::-1].reshape(len(taps), *[1] * (x.ndim + 1 - taps.ndim), *taps.shape[1:])
    return kernel.out((np.moveaxis(last, 1, 0) * weights).sum(0)), (last[:, 1:],)


Begin: TypeAlias = Callable[[IntegerKernel, Whole], Carry]
Follow: TypeAlias = Callable[[IntegerKernel, Whole, Carry], tuple[Whole, Carry]]
_STEPS: dict[str, tuple[Begin, Follow]] = {
    "Sum": (_one, _sum),
    "Mean": (_counted, _mean),
    "Exponential": (_one, _exponential),
    "Alpha": (_two, _alpha),
    "Difference": (_first, _difference),
    "Taps": (_before, _taps),
}
