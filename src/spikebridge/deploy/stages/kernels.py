"""Kernels of hybrid units in arrays: `h, carry = step(a, x, carry)`, for floats, integers and C. No torch is needed.

The torch forms are in `spikebridge.hybrid`. A user-defined kernel names its form in a class attribute `array_form`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.stages.arithmetic import MAX_STEPS, FloatArithmetic, IntegerArithmetic, check_ticks
from spikebridge.errors import DataError

_POSITIVE = ("tau", "dt", "sigma")
_INTEGER_SETTINGS = ("keep", "high", "low_out", "high_out")
_Carry: TypeAlias = tuple[Any, ...]
Settings: TypeAlias = Mapping[str, Any]
Forms: TypeAlias = Mapping[str, Any] | None  # forms of user-defined stages by record name
_Constants: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class KernelForm:
    """A kernel in arrays.

    Attributes:
        arguments: arguments of the class, which a record holds as settings and tensors.
        start: `carry = start(a, x)` at the start of a window, for steps like x `(B, *N)`; tensors have the batch first.
        step: `h, carry = step(a, x, carry)`.
        constants: constants of the float form, from settings and tensors of the record. Those of the integer form come
            from the torch class's `arguments`: `decay...` counts parts of 2^15, `taps` have a scale of their own,
            `rise` is a gain of the output, and any other has the scale of the state.
        leaks: whether the state has a scale of its own, finer than that of the input.
        settings: arguments that the step reads; an integer record holds them too.
    """

    arguments: tuple[str, ...]
    start: Callable[[Any, Any], _Carry]
    step: Callable[[Any, Any, _Carry], tuple[Any, _Carry]]
    constants: _Constants = field(default=lambda quantities: {})
    leaks: bool = False
    settings: tuple[str, ...] = ()


class KernelRunner:
    """A kernel that runs step by step, `h, carry = kernel(x, carry)`; a carry of None starts a window."""

    def __init__(self, form: KernelForm, arithmetic: FloatArithmetic) -> None:
        self.form = form
        self.arithmetic = arithmetic
        self.keep = bool(arithmetic.settings.get("keep"))

    def start(self, x: NDArray[Any]) -> _Carry:
        return self.form.start(self.arithmetic, x)

    def __call__(self, x: NDArray[Any], carry: _Carry | None) -> tuple[NDArray[Any], _Carry]:
        h, carry = self.form.step(self.arithmetic, x, self.start(x) if carry is None else carry)
        return self.arithmetic.clip_output(h), carry


def float_kernel(name: str, settings: Settings, numbers: Settings, forms: Forms = None) -> KernelRunner:
    """A kernel of floats, from its record."""
    form: KernelForm = form_of("kernel", name, KERNELS, forms)
    for key, value in numbers.items():
        if not np.isfinite(value).all():
            raise DataError(f"the kernel {name!r} holds numbers in {key!r} that are not finite")
        if key in _POSITIVE and not (np.asarray(value) > 0).all():
            raise DataError(f"the kernel {name!r} needs {key} above 0, but has {np.min(value)}")

    num_taps = settings.get("num_taps")
    if name == "Taps" and num_taps is not None and num_taps != len(numbers["weight"]):
        raise DataError(f"the kernel {name!r} has num_taps = {num_taps}, but {len(numbers['weight'])} taps")

    if name == "Delay":
        check_ticks(settings["max_ticks"], numbers["ticks"])

    return KernelRunner(form, FloatArithmetic(settings, form.constants({**settings, **numbers})))


def integer_kernel(name: str, settings: Settings, numbers: Settings, forms: Forms = None) -> KernelRunner:
    """A kernel of integers, from its record."""
    lag = settings.get("lag") or 1
    if not isinstance(lag, int) or not 1 <= lag <= MAX_STEPS:
        raise DataError(f"an integer kernel has a lag of {lag!r} steps; expected an integer from 1 to {MAX_STEPS}")

    for required in _INTEGER_SETTINGS:
        if required not in settings:
            raise KeyError(required)

    if name == "Delay":
        check_ticks(settings["max_ticks"], numbers["ticks"])

    form: KernelForm = form_of("kernel", name, KERNELS, forms)
    return KernelRunner(form, IntegerArithmetic(settings, numbers))


def form_of(stage: str, name: str, forms: Mapping[str, Any], user_forms: Forms) -> Any:
    """The form of a kernel, discretizer or neuron by record name, of the package or user-defined."""
    named = with_user_forms(forms, user_forms)
    if name not in named:
        raise DataError(
            f"there is no {stage} {name!r} here; known are {', '.join(named)}. "
            f"Give a {stage} of your own with stages={{name: form}}"
        )

    return named[name]


def with_user_forms(forms: Mapping[str, Any], user_forms: Forms) -> dict[str, Any]:
    """Forms of the package, and the user-defined ones of the same kind."""
    kind = type(next(iter(forms.values())))
    # those of kernels, discretizers and neurons come together
    return {**forms, **{name: form for name, form in (user_forms or {}).items() if isinstance(form, kind)}}


def restart(carry: _Carry | None, fresh: _Carry, mask: NDArray[np.bool_]) -> _Carry:
    """A carry that starts again for the samples of a mask `(B,)`."""
    if carry is None:
        return fresh

    pairs = zip(fresh, carry, strict=True)
    return tuple(np.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in pairs)


def _zeros(a: Any, x: Any) -> _Carry:
    return (a.xp.zeros_like(x),)


def _two_zeros(a: Any, x: Any) -> _Carry:
    return a.xp.zeros_like(x), a.xp.zeros_like(x)


def _sum(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    total = a.bound(carry[0] + x)
    return a.rescale(total), (total,)


def _total_and_count(a: Any, x: Any) -> _Carry:
    return a.xp.zeros_like(x), a.zeros((len(x),) + (1,) * (x.ndim - 1), x)


def _mean(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    total = a.bound(carry[0] + x)
    number = a.count(carry[1])
    return a.divide(total, number), (total, number)


def _exponential(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    total = a.bound(a.leak(carry[0], a["decay"]) + a.rescale(x, "in."))
    return a.rescale(total), (total,)


def _alpha(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    second = a.bound(a.leak(carry[1] + carry[0], a["decay"]))
    first = a.bound(a.leak(carry[0], a["decay"]) + a.rescale(x, "in."))
    return a.rescale(second), (first, second)


def _lagged_steps(a: Any, x: Any) -> _Carry:
    return a.past(x, a.settings["lag"] or 1), a.zeros((len(x),), x) > 0


def _difference(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    past, started = carry
    past = a.fill(past, started, x)
    change = a.rescale(x - a.oldest(past))
    # without a lag the first step of the window stays
    newest = past if a.settings["lag"] is None else a.drop_oldest(a.append(past, x))

    return change, (newest, a.xp.ones_like(started))


def _past_taps(a: Any, x: Any) -> _Carry:
    return (a.past(x, len(a["taps"]) - 1),)


def _fir(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    steps = a.append(carry[0], x)
    return a.rescale(a.weighted_sum(steps, a["taps"])), (a.drop_oldest(steps),)


def past_ticks(a: Any, x: Any) -> _Carry:
    """The past of a delay."""
    return (a.past(x, a.settings["max_ticks"]),)


def _delay(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    y, carry = delay_step(a, x, carry)
    return a.rescale(y), carry


def delay_step(a: Any, x: Any, carry: _Carry) -> tuple[Any, _Carry]:
    """A delay of whole steps, one for each channel."""
    steps = a.append(carry[0], x)
    return a.delayed(steps, a["ticks"]), (a.drop_oldest(steps),)


def _decay(quantities: Mapping[str, Any]) -> dict[str, Any]:
    dt = quantities["dt"]
    tau = quantities["tau"]
    return {"decay": math.exp(-dt / tau) if isinstance(tau, float | int) else np.exp(-dt / tau)}


def _decay_and_rise(quantities: Mapping[str, Any]) -> dict[str, Any]:
    return _decay(quantities) | {"out.gain": quantities["dt"] * math.e / quantities["tau"]}


def _ticks(quantities: Mapping[str, Any]) -> dict[str, Any]:
    return {"ticks": quantities["ticks"]}


def _taps(quantities: Mapping[str, Any]) -> dict[str, Any]:
    return {"taps": quantities["weight"]}


KERNELS: dict[str, KernelForm] = {
    "Sum": KernelForm(("keep",), _zeros, _sum),
    "Mean": KernelForm(("keep",), _total_and_count, _mean),
    "Difference": KernelForm(("lag", "keep"), _lagged_steps, _difference, settings=("lag",)),
    "Exponential": KernelForm(("tau", "dt", "keep"), _zeros, _exponential, _decay, leaks=True),
    "Alpha": KernelForm(("tau", "dt", "keep"), _two_zeros, _alpha, _decay_and_rise, leaks=True),
    "Gaussian": KernelForm(("delay", "sigma", "dt", "keep"), _past_taps, _fir, _taps),
    "Delay": KernelForm(
        ("ticks", "max_ticks", "dt", "keep"),
        past_ticks,
        _delay,
        _ticks,
        settings=("max_ticks",),
    ),
    "Taps": KernelForm(("num_taps", "keep"), _past_taps, _fir, _taps),
}
