"""The kernels of hybrid units in numpy, one step at a time; they define nothing new. No torch is needed."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.manifest import StageRecord
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[np.float32]
Carry: TypeAlias = tuple[NDArray[Any], ...]


class KernelStep:
    """A kernel's step, `h, carry = step(x, carry)`; a carry of None begins a window.

    Args:
        begin: the carry at the start of a window, for steps like this one.
        follow: the step from a carry.
    """

    def __init__(
        self, begin: Callable[[Values], Carry], follow: Callable[[Values, Carry], tuple[Values, Carry]]
    ) -> None:
        self.begin = begin
        self.follow = follow

    def __call__(self, x: Values, carry: Carry | None) -> tuple[Values, Carry]:
        return self.follow(x, self.begin(x) if carry is None else carry)


def kernel_of(stage: StageRecord, numbers: Mapping[str, Values]) -> KernelStep:
    """The step of a kernel.

    Args:
        stage: the kernel in words.
        numbers: its tensors.

    Raises:
        DataError: there is no such kernel.

    Example:
        >>> step = kernel_of(StageRecord("Sum", {"keep": False}), {})
        >>> h, carry = step(np.ones((1, 1), np.float32), None)
        >>> step(np.ones((1, 1), np.float32), carry)[0].item()
        2.0
    """
    if stage.name not in _KERNELS:
        raise DataError(f"there is no kernel {stage.name!r} here; known are {', '.join(_KERNELS)}")
    return _KERNELS[stage.name]({**stage.settings, **numbers})


def restart(carry: Carry | None, fresh: Carry, mask: NDArray[np.bool_]) -> Carry:
    """A carry that begins anew for the samples of a mask `(B,)`.

    Example:
        >>> carry, fresh = (np.array([5.0, 5.0]),), (np.zeros(2),)
        >>> restart(carry, fresh, np.array([True, False]))[0].tolist()
        [0.0, 5.0]
    """
    if carry is None:
        return fresh
    pairs = zip(fresh, carry, strict=True)
    return tuple(np.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in pairs)


def _sum(q: Mapping[str, Any]) -> KernelStep:
    return KernelStep(lambda x: (np.zeros_like(x),), lambda x, carry: (carry[0] + x, (carry[0] + x,)))


def _mean(q: Mapping[str, Any]) -> KernelStep:
    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        total, count = carry[0] + x, carry[1] + np.float32(1)
        return total / count, (total, count)

    return KernelStep(lambda x: (np.zeros_like(x), np.zeros((len(x),) + (1,) * (x.ndim - 1), np.float32)), step)


def _exponential(q: Mapping[str, Any]) -> KernelStep:
    decay = _decay(q)

    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        total = carry[0] * decay + x
        return total, (total,)

    return KernelStep(lambda x: (np.zeros_like(x),), step)


def _alpha(q: Mapping[str, Any]) -> KernelStep:
    decay, rise = _decay(q), q["dt"] * math.e / q["tau"]

    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        second = (carry[1] + carry[0]) * decay
        return second * rise, (carry[0] * decay + x, second)

    return KernelStep(lambda x: (np.zeros_like(x), np.zeros_like(x)), step)


def _difference(q: Mapping[str, Any]) -> KernelStep:
    lag = q["lag"]

    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        last, started = carry
        last = np.where(started.reshape(-1, *[1] * x.ndim), last, x[:, None])
        newest = last if lag is None else np.concatenate([last[:, 1:], x[:, None]], axis=1)
        return x - last[:, 0], (newest, np.ones_like(started))

    def begin(x: Values) -> Carry:
        return np.zeros((len(x), lag or 1, *x.shape[1:]), np.float32), np.zeros(len(x), np.bool_)

    return KernelStep(begin, step)


def _taps(q: Mapping[str, Any]) -> KernelStep:
    taps = q["weight"]

    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        last = np.concatenate([carry[0], x[:, None]], axis=1)
        weights = taps[::-1].reshape(len(taps), *[1] * (x.ndim + 1 - taps.ndim), *taps.shape[1:])
        return (np.moveaxis(last, 1, 0) * weights).sum(0), (last[:, 1:],)

    return KernelStep(lambda x: (np.zeros((len(x), len(taps) - 1, *x.shape[1:]), np.float32),), step)


def _decay(q: Mapping[str, Any]) -> Any:
    tau = q["tau"]
    return math.exp(-q["dt"] / tau) if isinstance(tau, float | int) else np.exp(-q["dt"] / tau)


_KERNELS: dict[str, Callable[[Mapping[str, Any]], KernelStep]] = {
    "Sum": _sum,
    "Mean": _mean,
    "Exponential": _exponential,
    "Alpha": _alpha,
    "Difference": _difference,
    "Taps": _taps,
    "Gaussian": _taps,
}
KERNELS = tuple(_KERNELS)
