"""Discretizers of hybrid units in arrays: each once, for floats and integers. No torch is needed.

`values, state = discretize(a, values, length, state)` maps the values of one window to those that come out. The torch
forms stand in `spikebridge.hybrid`. A discretizer of your own names its form in a class attribute `array_form`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.stages.arithmetic import FloatArithmetic, IntegerArithmetic
from spikebridge.errors import DataError

Result: TypeAlias = tuple[list[Any], Any]
Discretize: TypeAlias = Callable[[Sequence[NDArray[Any]], int, Any], Result]  # values, steps of a window, state
Step: TypeAlias = Callable[[Any, Sequence[Any], int, Any], Result]
_Levels: TypeAlias = Callable[[Mapping[str, Any], int], tuple[int, int]]  # of settings and the steps of a window
Kind: TypeAlias = Literal["steps", "reduces", "expands"]


@dataclass(frozen=True)
class DiscretizerForm:
    """A discretizer in arrays.

    Attributes:
        step: `values, state = step(a, values, length, state)`.
        arguments: of the class, which a record holds as settings and tensors.
        kind: "steps" (value by value), "reduces" (one value a window) or "expands" (L values of one).
        levels: the lowest and highest integer of an output of scale 1; "input": the output has the scale of the
            input; None: the scale is calibrated.
        thresholds: arguments that are compared with the input, and have its scale.
        unit: the argument that one integer of the output stands for.
        stateful: whether a window depends on those before.
        settings: arguments that the step reads, which an integer record holds too.
        integer: "array" (the step serves integers), "table" (a table of what each integer of the input becomes), or
            "torch" (the step serves integers, and the torch class itself the fake integers, with its gradient).
    """

    step: Step
    arguments: tuple[str, ...] = ()
    kind: Kind = "steps"
    levels: _Levels | Literal["input"] | None = None
    thresholds: tuple[str, ...] = ()
    unit: str | None = None
    stateful: bool = False
    integer: Literal["array", "table", "torch"] = "array"
    settings: tuple[str, ...] = ()

    @property
    def rescales(self) -> bool:
        """Whether the integer form changes the scale."""
        return self.unit is not None or self.levels is None


def float_discretizer(
    name: str, settings: Mapping[str, Any], numbers: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> Discretize:
    """A discretizer of floats.

    Args:
        name: its record name.
        settings: of its record.
        numbers: tensors of its record.
        own: forms of discretizers that the package does not know, by record name.

    Raises:
        DataError: there is no such discretizer.

    Example:
        >>> count = float_discretizer("Count", {}, {})
        >>> count([np.array([[1.0]], np.float32), np.array([[0.0]], np.float32)], 2, None)[0][0].item()
        1.0
    """
    form = _form(name, own)
    given = {**settings, **numbers}
    constants: dict[str, Any] = {key: np.asarray(given[key], np.float32) for key in form.thresholds}
    if form.unit is not None:
        constants["out.unit"] = np.float32(given[form.unit])

    arithmetic = FloatArithmetic(settings, constants)
    return lambda values, length, state: form.step(arithmetic, values, length, state)


def integer_discretizer(
    name: str, settings: Mapping[str, Any], numbers: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> Discretize:
    """A discretizer of integers; `Spikes` is a table of spikes.

    Raises:
        DataError: there is no such discretizer.

    Example:
        >>> make = integer_discretizer("Threshold", {}, {"v_threshold": np.array(5)})
        >>> [y.item() for y in make([np.array([[4]]), np.array([[5]])], 2, None)[0]]
        [0, 1]
    """
    # an integer record names its one ratio without a prefix
    numbers = {f"out.{key}" if key in ("multiplier", "shift") else key: value for key, value in numbers.items()}
    step = _table if name == TABLE else _form(name, own).step
    arithmetic = IntegerArithmetic(settings, numbers)

    return lambda values, length, state: step(arithmetic, values, length, state)


def kind_of(name: str, own: Mapping[str, Any] | None = None) -> Kind:
    """What a discretizer does to the number of values.

    Example:
        >>> kind_of("Count"), kind_of("Spikes"), kind_of("Fire")
        ('reduces', 'expands', 'steps')
    """
    form = {**DISCRETIZERS, **(own or {})}.get(name)
    return "expands" if name == TABLE else form.kind if isinstance(form, DiscretizerForm) else "steps"


def _form(name: str, own: Mapping[str, Any] | None) -> DiscretizerForm:
    known = {**DISCRETIZERS, **{n: form for n, form in (own or {}).items() if isinstance(form, DiscretizerForm)}}
    if name not in known:
        raise DataError(
            f"there is no discretizer {name!r} here; known are {', '.join(known)}. "
            "Give a discretizer of your own with stages={name: form}"
        )

    return known[name]


def _bernoulli(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    spikes = []
    for h in values:
        draws, state = a.draw(h, state)
        spikes.append(a.spikes(draws < a.chance(h), h))

    return spikes, state


def _threshold(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    return [a.fire(h, a["v_threshold"]) for h in values], None


def _signed_delta(a: Any, values: Sequence[Any], length: int, total: Any) -> Result:
    limit = a.limit()
    sent = []
    for h in values:
        total = a.xp.zeros_like(h) if total is None else total
        sent.append(a.xp.clip(a.round(a.rescale(h) - total), -limit, limit))
        total = total + sent[-1]

    return sent, total


def _integrate(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    return [a.clip_output(a.rescale(a.xp.stack(values).sum(0)))], None


def _last(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    return [values[-1]], None


def _count(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    return [a.spikes(a.xp.stack(values) != 0, None).sum(0)], None


def _first_time(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    return [a.spikes(a.xp.stack(values) == 0, None).cumprod(0).sum(0)], None


def _first_spike(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    step = np.minimum(np.floor((1 - np.clip(values[0], 0, 1)) * length), length - 1)
    return [a.spikes(step == k, None) for k in range(length)], None


def _phase(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    rest = np.clip(values[0], 0, 1)
    spikes = []
    for k in range(length):
        worth = np.float32(max(2.0 ** -(k + 1), float(np.finfo(np.float32).tiny)))  # below, a bit would be 0
        spikes.append(a.fire(rest, worth))
        rest = rest - spikes[-1] * worth

    return spikes, None


def _burst(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    value = np.clip(values[0], 0, 1) * np.float32(length)
    return [a.fire(value - k, 0.5) for k in range(length)], None


def _table(a: Any, values: Sequence[Any], length: int, state: Any) -> Result:
    rows = a["entries"][values[0] - a.settings["low"]]
    return [rows[..., k] for k in range(rows.shape[-1])], None


def _spikes(settings: Mapping[str, Any], length: int) -> tuple[int, int]:
    return 0, 1


def _steps_of_a_window(settings: Mapping[str, Any], length: int) -> tuple[int, int]:
    return 0, length


def _limited(settings: Mapping[str, Any], length: int) -> tuple[int, int]:
    most = settings.get("limit") or settings["most"]
    return -most, most


TABLE = "Spikes"
DISCRETIZERS: dict[str, DiscretizerForm] = {
    "Bernoulli": DiscretizerForm(_bernoulli, ("seed",), levels=_spikes, stateful=True, settings=("seed",)),
    "Threshold": DiscretizerForm(_threshold, ("v_threshold",), levels=_spikes, thresholds=("v_threshold",)),
    "SignedDelta": DiscretizerForm(
        _signed_delta, ("quantum", "limit"), levels=_limited, unit="quantum", stateful=True, settings=("limit",)
    ),
    "Integrate": DiscretizerForm(_integrate, kind="reduces"),
    "Last": DiscretizerForm(_last, kind="reduces", levels="input", integer="torch"),
    "Count": DiscretizerForm(_count, kind="reduces", levels=_steps_of_a_window, integer="torch"),
    "FirstTime": DiscretizerForm(_first_time, kind="reduces", levels=_steps_of_a_window, integer="torch"),
    "FirstSpike": DiscretizerForm(_first_spike, kind="expands", levels=_spikes, integer="table"),
    "Phase": DiscretizerForm(_phase, kind="expands", levels=_spikes, integer="table"),
    "Burst": DiscretizerForm(_burst, kind="expands", levels=_spikes, integer="table"),
}
