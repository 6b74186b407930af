"""What has a state: `Stateful` layers, and the plain loop over time.

State is an argument and a result: `y, state = layer(x, state)`. Modules hold parameters only, so two halves of a
sequence equal the whole, and a stream, truncated back-propagation and a whole sequence are one code path.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, did_you_mean, in_words
from spikebridge.neurons.quantity import Effect, Quantified
from spikebridge.neurons.state import (
    Form,
    State,
    allow_states_of,
    form_of,
    has_form,
    join_tensors,
    map_tensors,
    refuse_other_form,
)

_FORMS: WeakKeyDictionary[nn.Module, tuple[Any, Form]] = WeakKeyDictionary()  # of the last signal of each layer


class Stateful(Quantified):
    """A layer with a state. `step` defines it; `forward` is the same over a whole sequence.

    Subclasses give `initial_state(x_t)` and `step(x_t, state, **modulation)`. Quantities that can be modulated are
    declared with `Quantity`, and are listed in `modulable`; a container lists those of its layers in `modulable_paths`.
    Further inputs are keyword arguments of `step` with names of their own, `step(x_t, state, *, motion, **modulation)`.

    A layer whose numbers depend on the step of its clock has an attribute `dt` [s], None until it is known: a network
    or a `Sequential(dt=...)` binds it.
    """

    dt: float | None = None
    state_grows: ClassVar[bool] = True  # whether what is None or of length 0 in the initial state may become a tensor

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        allow_states_of(cls)

    @property
    def uses_dt(self) -> bool:
        """Whether the layer's numbers depend on the step of its clock: here, whether it has an attribute `dt`."""
        return "dt" in vars(self)

    def initial_state(self, x_t: Shaped[Tensor, "B *N"]) -> State:
        """The state before the first step, for a signal shaped, typed and placed like the step `x_t`."""
        raise NotImplementedError

    def step(self, x_t: Shaped[Tensor, "B *N"], state: State, **modulation: Any) -> tuple[Tensor, State]:
        """One step: `x_t` and a state to `y_t` `(B, *M)` and the next state.

        A part of a network may give several tensors by name: a dict or a NamedTuple of `(B, *M)`.
        """
        raise NotImplementedError

    def forward(self, x: Shaped[Tensor, "T B *N"], state: State = None, **modulation: Any) -> tuple[Tensor, State]:
        """A whole sequence, from a given or the initial state; see `scan` for modulation."""
        return scan(self, x, state, **modulation)

    def check_state(self, state: State, x: Shaped[Tensor, "T B *N"]) -> None:
        """Compares a state with the initial one for this signal: types, shapes, dtypes, devices. It reads no values.

        Raises:
            StateError: a state of another layer, batch, shape, dtype or device.
        """
        if torch.compiler.is_compiling():
            return

        key = (x.shape[1:], x.dtype, x.device)
        known = _FORMS.get(self)
        if known is not None and known[0] == key and has_form(state, known[1]):
            return

        form = form_of(self.initial_state(x.new_zeros(x.shape[1:])))
        _FORMS[self] = (key, form)
        refuse_other_form(self, state, form, self.state_grows)

    def modulable_paths(self) -> list[str]:
        """All that can be modulated in this layer, by path."""
        return list(self.modulable)


def scan(
    layer: Stateful, x: Shaped[Tensor, "T B *N"], state: State = None, **modulation: Any
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """The plain loop over time.

    Args:
        layer: what steps.
        x: the signal; T may be 0.
        state: from an earlier part of the stream, or None for the initial state.
        modulation: a tensor with as many axes as `x` changes in time, one with fewer does not; `Effect`s carry their
            own time. What `step` takes by a name that is no quantity is a further input, `(T, B, *M)`.

    Returns:
        The outputs and the state after the last step.

    Raises:
        ShapeError: a signal without time and batch, or a modulation of another length.
        StateError: a state of another layer or stream.
        ConfigError: a modulation of what the layer does not have.

    Example:
        >>> from spikebridge.neurons import Integrator
        >>> y, state = scan(Integrator(tau=float("inf"), dt=0.001), torch.ones(3, 1, 1))
        >>> y.flatten().tolist()
        [1.0, 2.0, 3.0]
    """
    refuse_timeless(layer, x)
    inputs = _further_inputs(layer, x, modulation) if modulation else {}
    effects = {name: value for name, value in modulation.items() if name not in inputs}
    if effects:
        refuse_unknown(layer, effects)

    if state is None:
        state = layer.initial_state(x.new_zeros(x.shape[1:]))
    else:
        layer.check_state(state, x)

    if len(x) == 0:
        nothing = {name: value.new_zeros(value.shape[1:]) for name, value in inputs.items()}
        y_t, _ = layer.step(x.new_zeros(x.shape[1:]), state, **nothing)
        return map_tensors(lambda one: one.new_empty((0, *one.shape)), y_t), state

    varying, constant = split_in_time(effects, len(x), x.ndim)
    varying |= {name: value.unbind(0) for name, value in inputs.items()}
    outputs = []

    # unbind, not x[t]: indexing in the loop would add a whole zero tensor a step to the backward pass
    for t, x_t in enumerate(x.unbind(0)):
        y_t, state = layer.step(x_t, state, **constant, **{name: values[t] for name, values in varying.items()})
        outputs.append(y_t)

    return join_tensors(torch.stack, outputs), state


def _further_inputs(layer: Stateful, x: Tensor, given: Mapping[str, Any]) -> dict[str, Tensor]:
    """What is given beside modulation: arguments of the layer's step that are no quantities, `(T, B, *M)` each."""
    known = layer.modulable_paths()
    others = [name for name in given if name not in known]
    arguments = inspect.signature(layer.step).parameters if others else {}
    taken = [n for n, argument in arguments.items() if argument.kind is not argument.VAR_KEYWORD]
    inputs = {name: given[name] for name in others if name in taken}

    for name, value in inputs.items():
        if not isinstance(value, Tensor) or value.shape[:2] != x.shape[:2]:
            got = tuple(value.shape) if isinstance(value, Tensor) else value
            raise ShapeError(
                f"{type(layer).__name__} needs {name} with the steps and samples of its signal, "
                f"{tuple(x.shape[:2])}, but got {got}"
            )

    return inputs


def split_in_time(
    modulation: dict[str, Any], num_steps: int, ndim: int
) -> tuple[dict[str, Sequence[Any]], dict[str, Any]]:
    """Splits modulation in what changes in time (one value a step each) and what does not.

    Example:
        >>> varying, constant = split_in_time({"tau": torch.ones(3, 2, 4), "r": torch.ones(2, 4)}, num_steps=3, ndim=3)
        >>> len(varying["tau"]), constant["r"].shape
        (3, torch.Size([2, 4]))
    """
    varying: dict[str, Sequence[Any]] = {}
    constant: dict[str, Any] = {}

    for name, value in modulation.items():
        if isinstance(value, Effect | list | tuple):
            effects = [value] if isinstance(value, Effect) else value
            columns = [unbind_time(name, effect.signal, num_steps) for effect in effects]
            varying[name] = [
                tuple(Effect(column[t].unsqueeze(0), e.by) for column, e in zip(columns, effects, strict=True))
                for t in range(num_steps)
            ]
        elif isinstance(value, Tensor) and value.ndim == ndim:
            varying[name] = unbind_time(name, value, num_steps)
        elif value is not None:
            constant[name] = value

    return varying, constant


def unbind_time(name: str, value: Tensor, num_steps: int) -> Sequence[Tensor]:
    """One value a step, from as many, or from one that holds for all."""
    if len(value) == 1:
        return [value[0]] * num_steps
    if len(value) != num_steps:
        raise ShapeError(f"modulation of {name} has {len(value)} steps in time, but the signal has {num_steps}")

    return value.unbind(0)


def refuse_timeless(layer: nn.Module, x: Tensor) -> None:
    """Raises where a signal lacks time or batch."""
    if not isinstance(x, Tensor) or x.ndim < 2:
        came = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else in_words(x)
        raise ShapeError(f"{type(layer).__name__} needs a signal (T, B, *N), but got {came}")


def refuse_unknown(layer: Stateful, modulation: Iterable[str]) -> None:
    """Raises where something is modulated that the layer does not have."""
    known = layer.modulable_paths()
    for name in modulation:
        if name not in known:
            raise ConfigError(f"{type(layer).__name__} has no quantity {name!r}; {did_you_mean(name, known)}")
