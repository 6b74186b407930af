"""Kernels of hybrid units in arrays, each once for floats and integers: `h, carry = step(a, x, carry)`.

No torch is needed. The torch forms stand in `spikebridge.hybrid`. A kernel of your own names its form in a class
attribute `array_form`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.stages.arithmetic import MOST_STEPS, FloatArithmetic, IntegerArithmetic, check_ticks
from spikebridge.errors import DataError

_ABOVE_ZERO = ("tau", "dt", "sigma")
_Carry: TypeAlias = tuple[Any, ...]
_Constants: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class KernelForm:
    """A kernel in arrays.

    Attributes:
        arguments: of the class, which a record holds as settings and tensors.
        start: `carry = start(a, x)` at the start of a window, for steps like x `(B, *N)`; tensors have the batch first.
        step: `h, carry = step(a, x, carry)`.
        constants: of the float form, from settings and tensors of the record. Those of the integer form come from the
            torch class's `arguments`: what begins with `decay` counts parts of 2^15, `taps` have a scale of their own,
            `rise` is a gain of the output, and anything else has the scale of the state.
        leaks: whether the state has a scale of its own, finer than that of the input.
        settings: arguments that the step reads, which an integer record holds too.
    """

    arguments: tuple[str, ...]
    start: Callable[[Any, Any], _Carry]
    step: Callable[[Any, Any, _Carry], tuple[Any, _Carry]]
    constants: _Constants = field(default=lambda q: {})
    leaks: bool = False
    settings: tuple[str, ...] = ()


class KernelRunner:
    """A kernel that runs step by step, `h, carry = kernel(x, carry)`; a carry of None starts a window.

    Args:
        form: the kernel in arrays.
        arithmetic: of floats or integers.

    Example:
        >>> kernel = float_kernel("Sum", {"keep": False}, {})
        >>> h, carry = kernel(np.ones((1, 1), np.float32), None)
        >>> kernel(np.ones((1, 1), np.float32), carry)[0].item()
        2.0
    """

    def __init__(self, form: KernelForm, arithmetic: FloatArithmetic) -> None:
        self.form = form
        self.arithmetic = arithmetic
        self.keep = bool(arithmetic.settings.get("keep"))

    def start(self, x: NDArray[Any]) -> _Carry:
        """The carry at the start of a window, for steps like this one."""
        return self.form.start(self.arithmetic, x)

    def __call__(self, x: NDArray[Any], carry: _Carry | None) -> tuple[NDArray[Any], _Carry]:
        """One step."""
        h, carry = self.form.step(self.arithmetic, x, self.start(x) if carry is None else carry)
        return self.arithmetic.clip_output(h), carry


def float_kernel(
    name: str, settings: Mapping[str, Any], numbers: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> KernelRunner:
    """A kernel of floats.

    Args:
        name: its record name.
        settings: of its record.
        numbers: tensors of its record.
        own: forms of kernels that the package does not know, by record name.

    Raises:
        DataError: there is no such kernel.
    """
    form = _form(name, own)
    for key, value in numbers.items():
        if not np.isfinite(value).all():
            raise DataError(f"the kernel {name!r} holds numbers in {key!r} that are not finite")
        if key in _ABOVE_ZERO and not (np.asarray(value) > 0).all():
            raise DataError(f"the kernel {name!r} needs {key} above 0, but has {np.min(value)}")

    taps = settings.get("num_taps")
    if name == "Taps" and taps is not None and taps != len(numbers["weight"]):
        raise DataError(f"the kernel {name!r} has num_taps = {taps}, but {len(numbers['weight'])} taps")

    if name == "Delay":
        check_ticks(settings["max_ticks"], numbers["ticks"])

    return KernelRunner(form, FloatArithmetic(settings, form.constants({**settings, **numbers})))


def integer_kernel(
    name: str, settings: Mapping[str, Any], numbers: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> KernelRunner:
    """A kernel of integers.

    Example:
        >>> numbers = {"out.multiplier": np.array(1), "out.shift": np.array(0)}
        >>> kernel = integer_kernel("Sum", {"high": 100, "low_out": -9, "high_out": 9, "keep": False}, numbers)
        >>> h, carry = kernel(np.array([[7]]), None)
        >>> kernel(np.array([[1]]), carry)[0].item()
        8

    Raises:
        DataError: there is no such kernel, or its lag cannot be.
    """
    lag = settings.get("lag") or 1
    if not isinstance(lag, int) or not 1 <= lag <= MOST_STEPS:
        raise DataError(f"an integer kernel has a lag of {lag!r} steps; 1 to {MOST_STEPS} can be")

    _required(settings, ("keep", "high", "low_out", "high_out"))
    if name == "Delay":
        check_ticks(settings["max_ticks"], numbers["ticks"])

    return KernelRunner(_form(name, own), IntegerArithmetic(settings, numbers))


def _required(settings: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        settings[name]


def _form(name: str, own: Mapping[str, Any] | None) -> KernelForm:
    known = {**KERNELS, **{n: form for n, form in (own or {}).items() if isinstance(form, KernelForm)}}
    if name not in known:
        raise DataError(
            f"there is no kernel {name!r} here; known are {', '.join(known)}. "
            "Give a kernel of your own with stages={name: form}"
        )

    return known[name]


def restart(carry: _Carry | None, fresh: _Carry, mask: NDArray[np.bool_]) -> _Carry:
    """A carry that starts anew for the samples of a mask `(B,)`.

    Example:
        >>> carry, fresh = (np.array([5.0, 5.0]),), (np.zeros(2),)
        >>> restart(carry, fresh, np.array([True, False]))[0].tolist()
        [0.0, 5.0]
    """
    if carry is None:
        return fresh

    pairs = zip(fresh, carry, strict=True)
    return tuple(np.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in pairs)


def _one(a: Any, x: Any) -> _Carry:
    return (a.xp.zeros_like(x),)


def _two(a: Any, x: Any) -> _Carry:
    return a.xp.zeros_like(x), a.xp.zeros_like(x)


def _counted(a: Any, x: Any) -> _Carry:
    return a.xp.zeros_like(x), a.zeros((len(x),) + (1,) * (x.ndim - 1), x)


def _sum(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    total = a.bound(carry[0] + x)
    return a.rescale(total), (total,)


def _mean(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    total = a.bound(carry[0] + x)
    number = carry[1] + 1
    return a.divide(total, number), (total, number)


def _exponential(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    total = a.bound(a.leak(carry[0], a["decay"]) + a.rescale(x, "in."))
    return a.rescale(total), (total,)


def _alpha(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    second = a.bound(a.leak(carry[1] + carry[0], a["decay"]))
    first = a.bound(a.leak(carry[0], a["decay"]) + a.rescale(x, "in."))
    return a.rescale(second), (first, second)


def _unstarted(a: Any, x: Any) -> _Carry:
    return a.zeros((len(x), a.settings["lag"] or 1, *x.shape[1:]), x), a.zeros((len(x),), x) > 0


def _difference(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    last, started = carry
    # before the window opened its first value stands in
    last = a.xp.where(started.reshape(-1, *[1] * x.ndim), last, x[:, None])
    newest = last if a.settings["lag"] is None else a.xp.concatenate([last[:, 1:], x[:, None]], 1)
    return a.rescale(x - last[:, 0]), (newest, a.xp.ones_like(started))


def _history(a: Any, x: Any) -> _Carry:
    return (a.zeros((len(x), len(a["taps"]) - 1, *x.shape[1:]), x),)


def _fir(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    taps = a["taps"]
    last = a.xp.concatenate([carry[0], x[:, None]], 1)
    weights = a.xp.flip(taps, (0,)).reshape(len(taps), *[1] * (x.ndim + 1 - taps.ndim), *taps.shape[1:])
    return a.rescale((a.xp.moveaxis(last, 1, 0) * weights).sum(0)), (last[:, 1:],)


def _waiting(a: Any, x: Any) -> _Carry:
    return (a.zeros((len(x), a.settings["max_ticks"], *x.shape[1:]), x),)


def _delay(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    ticks = a["ticks"]
    last = a.xp.concatenate([carry[0], x[:, None]], 1)
    age = a.xp.arange(last.shape[1] - 1, -1, -1).reshape(-1, *[1] * (x.ndim))
    return a.rescale((a.xp.moveaxis(last, 1, 0) * (age == ticks)).sum(0)), (last[:, 1:],)


def _decay(q: Mapping[str, Any]) -> dict[str, Any]:
    tau = q["tau"]
    return {"decay": math.exp(-q["dt"] / tau) if isinstance(tau, float | int) else np.exp(-q["dt"] / tau)}


def _decay_and_rise(q: Mapping[str, Any]) -> dict[str, Any]:
    return _decay(q) | {"out.gain": q["dt"] * math.e / q["tau"]}


def _weight(q: Mapping[str, Any]) -> dict[str, Any]:
    return {"taps": q["weight"]}


def _ticks(q: Mapping[str, Any]) -> dict[str, Any]:
    return {"ticks": q["ticks"]}


KERNELS: dict[str, KernelForm] = {
    "Sum": KernelForm(("keep",), _one, _sum),
    "Mean": KernelForm(("keep",), _counted, _mean),
    "Difference": KernelForm(("lag", "keep"), _unstarted, _difference, settings=("lag",)),
    "Exponential": KernelForm(("tau", "dt", "keep"), _one, _exponential, _decay, leaks=True),
    "Alpha": KernelForm(("tau", "dt", "keep"), _two, _alpha, _decay_and_rise, leaks=True),
    "Gaussian": KernelForm(("delay", "sigma", "dt", "keep"), _history, _fir, _weight),
    "Delay": KernelForm(("ticks", "max_ticks", "dt", "keep"), _waiting, _delay, _ticks, settings=("max_ticks",)),
    "Taps": KernelForm(("num_taps", "keep"), _history, _fir, _weight),
}
