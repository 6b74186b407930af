"""Neurons, gains, gates and delays in arrays: once for floats, fake integers, integers and C. No torch is needed.

| quantity | scale in integers |
|---|---|
| `v`, `v_threshold`, `v_reset`, `v_leak`, `i` (times r), `a`, `jump` | that of the membranes |
| `decay`, `decay_syn`, `decay_adaptation` | parts of 2^15 |
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from spikebridge.deploy.stages.kernels import Forms, delay_step, form_of, past_ticks

QUANTITIES = ("v_threshold", "v_reset", "v_leak")
Effects: TypeAlias = Mapping[str, Sequence[tuple[Any, str]]]  # by quantity: signals, and "add", "multiply", "replace"


class MembraneState(NamedTuple):
    """Membranes after the reset, refractory steps left, synaptic currents, what spikes added to the thresholds."""

    v: Any
    wait: Any = None
    i: Any = None
    a: Any = None


def membrane_start(a: Any, current: Any) -> MembraneState:
    """The state before the first step, for currents like these."""
    zeros = a.xp.zeros_like(current)
    return MembraneState(
        v=zeros + a["v_leak"],
        wait=zeros if a.settings["refractory"] else None,
        i=zeros if "decay_syn" in a.constants else None,
        a=zeros if "decay_adaptation" in a.constants else None,
    )


def membrane_step(a: Any, current: Any, state: MembraneState) -> tuple[Any, MembraneState]:
    """One step of LIF, IF, PLIF, Memoryless, Integrator, CubaLIF or AdaptiveLIF: spikes or membranes, and the state."""
    synaptic = state.i
    if synaptic is not None:
        synaptic = current = a.synapse(synaptic, current)

    v = a.membrane(state.v, current)
    if not a.settings["spikes"]:
        return v, MembraneState(v, i=synaptic)

    threshold = a["v_threshold"]
    adaptation = state.a
    if adaptation is not None:
        adaptation = a.leak(adaptation, a["decay_adaptation"])
        threshold = threshold + adaptation

    wait = state.wait
    if wait is not None:
        # a refractory neuron keeps its membrane
        v = a.xp.where(wait == 0, v, state.v)

    spikes = a.fire(v, threshold)
    if wait is not None:
        spikes = spikes * (wait == 0)
        wait = a.xp.where(spikes > 0, a.settings["refractory"], a.xp.clip(wait - 1, 0, None))

    if adaptation is not None:
        adaptation = a.bound(adaptation + a["jump"] * spikes)

    reset = a.settings["reset"]
    if reset in ("subtract", "soft"):  # "soft" in records of version 0.1
        v = a.bound(v - a.detached(spikes) * threshold)
    elif reset != "none":
        v = a.reset(v, a.detached(spikes), a["v_reset"])

    return spikes, MembraneState(v, wait, synaptic, adaptation)


def membrane_leak(a: Any, state: MembraneState, steps: Any) -> MembraneState:
    """The state after some steps without input, each decay as one power."""
    v = a.leak(state.v, a.power(a["decay"], steps), a["v_leak"])
    synaptic = state.i
    if synaptic is not None:
        v = a.bound(v + a.charge(a.charge_over(synaptic, a["decay"], a["decay_syn"], steps)))
        synaptic = a.leak(synaptic, a.power(a["decay_syn"], steps))

    adaptation = state.a
    if adaptation is not None:
        adaptation = a.leak(adaptation, a.power(a["decay_adaptation"], steps))

    wait = state.wait
    if wait is not None:
        wait = a.xp.clip(wait - steps, 0, None)

    return MembraneState(v, wait, synaptic, adaptation)


def effects_on(layer: str, effects: Mapping[tuple[str, str], Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The effects on a layer by quantity, from those by layer and quantity."""
    return {quantity: signals for (name, quantity), signals in effects.items() if name == layer}


def modulated(a: Any, name: str, effects: Sequence[tuple[Any, str]], ndim: int) -> Any:
    """A quantity under signals `(B, *M)` or `(T, B, *M)`, for a layer with `ndim` axes."""
    value = a[name]
    for number, (signal, by) in enumerate(effects):
        # the axes of a signal line up with those of the layer from the left
        q = signal.reshape(*signal.shape, *[1] * (ndim - signal.ndim))
        if by == "multiply":
            value = a.rescale(value * q, f"{name}.multiply_{number}.")
        else:
            q = a.rescale(q, f"{name}.add_{number}.")
            value = q if by == "replace" else value + q

        value = a.bound_quantity(value)

    return value


def under_effects(a: Any, effects: Effects, ndim: int) -> Any:
    """The arithmetic of a layer, with its quantities as modulated in this step."""
    if not effects:
        return a
    return a.with_constants({name: modulated(a, name, signals, ndim) for name, signals in effects.items()})


@dataclass(frozen=True)
class NeuronForm:
    """A neuron in arrays, for fake integers, integers and C.

    Attributes:
        start: `state = start(a, current)`, a tuple of arrays, before the first step, for currents like these `(B, *N)`.
        step: `y, state = step(a, current, state)`. Its constants are the torch class's `arguments`: `decay...` counts
            parts of 2^15; any other has the scale of the state, and so has the current, times the quantity `r` if any.
        spikes: whether the output is spikes; another one has the scale of the state.
        settings: arguments that the step reads; an integer record holds them too.
        leak: `state = leak(a, state, steps)` after some steps without input, of decays as `a.power(a["decay"], steps)`.
    """

    start: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    spikes: bool = True
    settings: tuple[str, ...] = ()
    leak: Callable[[Any, Any, Any], Any] | None = None


def _pooled_start(a: Any, current: Any) -> tuple[Any, Any]:
    return a.xp.zeros_like(current), a.xp.zeros_like(current)


def _pooled_step(a: Any, current: Any, state: tuple[Any, Any]) -> tuple[Any, tuple[Any, Any]]:
    """A sum, divided by the root of the number of its terms: `decays` has these factors."""
    total = a.bound(state[0] + current)
    number = a.xp.clip(state[1] + 1, 0, len(a["decays"]) - 1)
    return a.leak(total, a.entry("decays", state[1])), (total, number)


MEMBRANE = NeuronForm(membrane_start, membrane_step, settings=("reset", "refractory"), leak=membrane_leak)
POOLED = NeuronForm(_pooled_start, _pooled_step, spikes=False)
_NEURONS = {"Membrane": MEMBRANE, "PooledEvidence": POOLED}


def neuron_start(a: Any, currents: Sequence[Any], form: NeuronForm = MEMBRANE) -> Any:
    """The state of a layer of neurons before its first step."""
    return form.start(a, _total_current(a, currents))


def neuron_step(
    a: Any, currents: Sequence[Any], state: Any, effects: Effects, form: NeuronForm = MEMBRANE
) -> tuple[Any, Any]:
    """One step of a layer of neurons, whose currents come in scales of their own."""
    current = _total_current(a, currents)
    return form.step(under_effects(a, effects, current.ndim), current, state)


def _total_current(a: Any, currents: Sequence[Any]) -> Any:
    rescaled = [a.rescale(x, f"{i}.") for i, x in enumerate(currents)]
    return sum(rescaled[1:], rescaled[0])


def _factor_step(a: Any, inputs: Sequence[Any], state: None, effects: Effects) -> tuple[Any, None]:
    """One step of a gain or a gate."""
    (x,) = inputs
    return x * under_effects(a, effects, x.ndim)[a.settings["quantity"]], None


def _delay_start(a: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
    return past_ticks(a, inputs[0])


def _delay_layer(a: Any, inputs: Sequence[Any], state: tuple[Any, ...], effects: Effects) -> tuple[Any, Any]:
    return delay_step(a, inputs[0], state)


def _taps_start(a: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
    return (a.past(inputs[0], a.settings["num_taps"] - 1),)


def _taps_step(a: Any, inputs: Sequence[Any], state: tuple[Any, ...], effects: Effects) -> tuple[Any, Any]:
    steps = a.append(state[0], inputs[0])
    return steps, (a.drop_oldest(steps),)


@dataclass(frozen=True)
class _LayerForm:
    """A layer that can be modulated or has a state: `y, state = step(a, inputs, state, effects)`."""

    step: Callable[[Any, Sequence[Any], Any, Effects], tuple[Any, Any]]
    start: Callable[[Any, Sequence[Any]], Any] | None = None  # `state = start(a, inputs)`; None without a state
    settings: tuple[str, ...] = ()  # that a record has to hold
    leak: Callable[[Any, Any, Any], Any] | None = None  # `state = leak(a, state, steps)`


LAYERS: dict[str, _LayerForm] = {
    "neuron": _LayerForm(neuron_step, neuron_start, ("high", "spikes", *MEMBRANE.settings), membrane_leak),
    "factor": _LayerForm(_factor_step, None, ("quantity", "high")),
    "delay": _LayerForm(_delay_layer, _delay_start, ("max_ticks",)),
    "taps": _LayerForm(_taps_step, _taps_start, ("num_taps",)),
}


def layer_form(operation: str, record_settings: Mapping[str, Any], forms: Forms = None) -> _LayerForm:
    """The form of a layer by its operation; a neuron with the setting `form` is user-defined."""
    name = record_settings.get("form")
    if operation != "neuron" or name is None:
        return LAYERS[operation]

    form: NeuronForm = form_of("neuron", str(name), _NEURONS, forms)
    settings = ("high", "spikes", *form.settings)
    return _LayerForm(partial(neuron_step, form=form), partial(neuron_start, form=form), settings, form.leak)
