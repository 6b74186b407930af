"""Discretizers of hybrid units in arrays, for floats, integers and C. No torch is needed.

`values, state = step(a, values, length, state)` maps the values of one window to its outputs. The torch forms are in
`spikebridge.hybrid`. A user-defined discretizer names its form in a class attribute `array_form`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.stages.arithmetic import FloatArithmetic, IntegerArithmetic
from spikebridge.deploy.stages.kernels import Forms, Settings, form_of
from spikebridge.deploy.stages.neurons import neuron_start, neuron_step

Result: TypeAlias = tuple[Any, Any]  # values of the steps, in C a `Stack`, and the state
Discretize: TypeAlias = Callable[[Sequence[NDArray[Any]], int, Any], Result]  # values, steps of a window, state
Step: TypeAlias = Callable[[Any, Any, int, Any], Result]
_Levels: TypeAlias = Callable[[Settings, int], tuple[int, int]]  # from settings and the steps of a window
Kind: TypeAlias = Literal["steps", "reduces", "expands"]


@dataclass(frozen=True)
class DiscretizerForm:
    """A discretizer in arrays.

    Attributes:
        step: `values, state = step(a, values, length, state)`.
        arguments: arguments of the class, which a record holds as settings and tensors.
        kind: "steps" (one output a value), "reduces" (one output a window) or "expands" (L outputs of one value).
        levels: the lowest and highest integer of an output of scale 1; "input": the output has the scale of the
            input; None: the scale is calibrated.
        thresholds: arguments that are compared with the input, and have its scale.
        unit: the argument that one integer of the output stands for.
        stateful: whether a window depends on those before.
        settings: arguments that the step reads; an integer record holds them too.
        integer: "array" (the step serves integers), "table" (a table of the outputs for each integer of the input), or
            "torch" (the step serves integers; the torch class, with its gradient, serves the fake integers).
        start: `state = start(a, h)` before the first window, for values like h; without it the step gets None.
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
    start: Callable[[Any, Any], Any] | None = None

    @property
    def rescales(self) -> bool:
        return self.unit is not None or self.levels is None

    def run(self, a: Any, values: Any, length: int, state: Any) -> tuple[Any, Any]:
        """The step, from the start where there is no state yet."""
        if state is None and self.start is not None and len(values):
            state = self.start(a, values[0])
        return self.step(a, values, length, state)


def float_discretizer(name: str, settings: Settings, numbers: Settings, forms: Forms = None) -> Discretize:
    """A discretizer of floats, from its record."""
    form: DiscretizerForm = form_of("discretizer", name, DISCRETIZERS, forms)
    arguments = {**settings, **numbers}
    constants: dict[str, Any] = {key: np.asarray(arguments[key], np.float32) for key in form.thresholds}
    if form.unit is not None:
        constants["out.unit"] = np.float32(arguments[form.unit])

    a = FloatArithmetic(settings, constants)
    return lambda values, length, state: form.run(a, values, length, state)


def integer_discretizer(name: str, settings: Settings, numbers: Settings, forms: Forms = None) -> Discretize:
    """A discretizer of integers, from its record."""
    form: DiscretizerForm = form_of("discretizer", name, INTEGER_DISCRETIZERS, forms)
    a = IntegerArithmetic(settings, numbers)
    return lambda values, length, state: form.run(a, values, length, state)


def kind_of(name: str, forms: Forms = None) -> Kind:
    """The relation of the number of outputs to the number of values, of a discretizer by record name."""
    form = {**INTEGER_DISCRETIZERS, **(forms or {})}.get(name)
    return form.kind if isinstance(form, DiscretizerForm) else "steps"


def _bernoulli(a: Any, values: Any, length: int, state: Any) -> Result:
    spikes = []
    for h in values:
        draws, state = a.draw(h, state)
        spikes.append(a.spikes(draws < a.chance(h), h))

    return spikes, state


def _threshold(a: Any, values: Any, length: int, state: Any) -> Result:
    return [a.fire(h, a["v_threshold"]) for h in values], None


def _signed_delta(a: Any, values: Any, length: int, total: Any) -> Result:
    limit = a.limit()
    outputs = []
    for h in values:
        target = a.rescale(h)
        # the total follows what a receiver can know: the sum of the changes so far
        change = a.xp.clip(a.round(target - total), -limit, limit)
        total = a.between(total + change, total, target)
        outputs.append(change)

    return outputs, total


def _integrate(a: Any, values: Any, length: int, state: Any) -> Result:
    return [a.clip_output(a.rescale(a.xp.stack(values).sum(0)))], None


def _last(a: Any, values: Any, length: int, state: Any) -> Result:
    return [values[-1]], None


def _count(a: Any, values: Any, length: int, state: Any) -> Result:
    return [a.spikes(a.xp.stack(values) != 0, None).sum(0)], None


def _first_time(a: Any, values: Any, length: int, state: Any) -> Result:
    return [a.spikes(a.xp.stack(values) == 0, None).cumprod(0).sum(0)], None


def _first_spike(a: Any, values: Any, length: int, state: Any) -> Result:
    step = np.minimum(np.floor((1 - np.clip(values[0], 0, 1)) * length), length - 1)
    return [a.spikes(step == k, None) for k in range(length)], None


def _phase(a: Any, values: Any, length: int, state: Any) -> Result:
    rest = np.clip(values[0], 0, 1)
    smallest = float(np.finfo(np.float32).tiny)
    spikes = []
    for k in range(length):
        # below the smallest float32 a bit would be 0, and every value would reach it
        bit = np.float32(max(2.0 ** -(k + 1), smallest))
        spikes.append(a.fire(rest, bit))
        rest = rest - spikes[-1] * bit

    return spikes, None


def _burst(a: Any, values: Any, length: int, state: Any) -> Result:
    number = np.clip(values[0], 0, 1) * np.float32(length)
    return [a.fire(number - k, 0.5) for k in range(length)], None


def _k_winners(a: Any, values: Any, length: int, state: Any) -> Result:
    number = [max(1, round(a.settings["rho"] * h.shape[-1])) for h in values]
    return [a.winners(h, most) for h, most in zip(values, number, strict=True)], None


def _table(a: Any, values: Any, length: int, state: Any) -> Result:
    return a.look_up("entries", values[0] - a.settings["low"]), None


def _spiking_layer(a: Any, values: Any, length: int, state: Any) -> Result:
    outputs = []
    for h in values:
        y, state = neuron_step(a, [h], state, {})
        outputs.append(a.clip_output(a.rescale(y)))

    return outputs, state


def _spike_levels(settings: Settings, length: int) -> tuple[int, int]:
    return 0, 1


def _step_levels(settings: Settings, length: int) -> tuple[int, int]:
    return 0, length


def _limit_levels(settings: Settings, length: int) -> tuple[int, int]:
    limit = settings.get("limit") or settings["max_level"]
    return -limit, limit


TABLE = "Spikes"
DISCRETIZERS: dict[str, DiscretizerForm] = {
    "Bernoulli": DiscretizerForm(
        _bernoulli, ("seed",), levels=_spike_levels, stateful=True, settings=("seed",), start=lambda a, h: 0
    ),
    "Threshold": DiscretizerForm(_threshold, ("v_threshold",), levels=_spike_levels, thresholds=("v_threshold",)),
    "SignedDelta": DiscretizerForm(
        _signed_delta,
        ("quantum", "limit"),
        levels=_limit_levels,
        unit="quantum",
        stateful=True,
        settings=("limit",),
        start=lambda a, h: a.xp.zeros_like(h),
    ),
    "KWinners": DiscretizerForm(_k_winners, ("rho",), levels=_spike_levels, integer="torch", settings=("rho",)),
    "Integrate": DiscretizerForm(_integrate, kind="reduces"),
    "Last": DiscretizerForm(_last, kind="reduces", levels="input", integer="torch"),
    "Count": DiscretizerForm(_count, kind="reduces", levels=_step_levels, integer="torch"),
    "FirstTime": DiscretizerForm(_first_time, kind="reduces", levels=_step_levels, integer="torch"),
    "FirstSpike": DiscretizerForm(_first_spike, kind="expands", levels=_spike_levels, integer="table"),
    "Phase": DiscretizerForm(_phase, kind="expands", levels=_spike_levels, integer="table"),
    "Burst": DiscretizerForm(_burst, kind="expands", levels=_spike_levels, integer="table"),
}
# in integers a code is a table of its spikes, and a spiking layer is neurons; floats have an own class and a NIR file
INTEGER_DISCRETIZERS: dict[str, DiscretizerForm] = {
    **DISCRETIZERS,
    TABLE: DiscretizerForm(_table, kind="expands"),
    "Fire": DiscretizerForm(_spiking_layer, stateful=True, start=lambda a, h: neuron_start(a, [h])),
}
