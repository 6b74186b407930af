"""Layers with a state (`Stateful`), and the plain loop over time (`scan`).

State is an argument and a result: `y, state = layer(x, state)`. Modules hold parameters only, so two halves of a
sequence equal the whole, and a stream, truncated back-propagation and a whole sequence are one code path.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, did_you_mean, in_words
from spikebridge.neurons.quantity import By, Effect, Modulated, Quantified, are_effects
from spikebridge.neurons.state import State, allow_states_of, check_state, join_tensors, map_tensors

# the output of a layer: one tensor, or several by name in a dict or a NamedTuple, as of the last layer of a row
Outputs: TypeAlias = Any
# modulating signals of one step, `(B, *M)`, by the path of the quantity, each with how it acts
RowEffects: TypeAlias = Mapping[str, Sequence[tuple[Tensor, By]]]


class Stateful(Quantified):
    """A layer with a state. `step` defines it; `forward` is the same over a whole sequence.

    Subclasses give `initial_state(x_t)` and `step(x_t, state, **modulation)`. Quantities that can be modulated are
    declared with `Quantity`, and are listed in `modulable`; a container lists those of its layers in `modulable_paths`.
    Further inputs are keyword arguments of `step` with names of their own, `step(x_t, state, *, motion, **modulation)`.

    A layer whose numbers depend on the step of its clock has an attribute `dt` [s], None until a network or a
    `Sequential(dt=...)` binds it.
    """

    dt: float | None = None
    state_grows: ClassVar[bool] = True  # None, or a length of 0, in the initial state may become a tensor
    no_leak: ClassVar[str] = "does not say how its state leaks; give it a method leak"  # reason, without the method

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        allow_states_of(cls)
        if "forward" in vars(cls) and "advance" not in vars(cls):
            cls.advance = Stateful.advance  # type: ignore[method-assign] # that of a parent is its forward

    @property
    def uses_dt(self) -> bool:
        """True if the layer's numbers depend on the step of its clock: here, if it has an attribute `dt`."""
        return "dt" in vars(self)

    def initial_state(self, x_t: Shaped[Tensor, "B *N"]) -> State:
        """The state before the first step, for a signal shaped, typed and placed like the step `x_t`."""
        raise NotImplementedError

    def step(self, x_t: Shaped[Tensor, "B *N"], state: State, **modulation: Any) -> tuple[Outputs, State]:
        """One step: `x_t` and a state to `y_t` `(B, *M)` and the next state; a subclass may define `forward` instead.

        A part of a network may give several tensors by name: a dict or a NamedTuple of `(B, *M)`.
        """
        if type(self).forward is Stateful.forward:
            raise NotImplementedError

        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return first_step(y), state

    def forward(self, x: Shaped[Tensor, "T B *N"], state: State = None, **modulation: Any) -> tuple[Outputs, State]:
        """A whole sequence, from a state or the initial one; see `scan` for modulation."""
        return scan(self, x, state, **modulation)

    def advance(self, x_t: Shaped[Tensor, "B *N"], state: State, effects: RowEffects) -> tuple[Outputs, State]:
        """One step for loops that have checked its signals before: the numbers of `forward`, to the bit."""
        if type(self).forward is Stateful.forward:
            return self.step(x_t, state, **{path: tuple(acts) for path, acts in over_one_step(effects).items()})
        return advance_by_forward(self, x_t, state, effects)

    def leak(self, state: State, num_steps: Tensor) -> State:
        """The state of each sample after a number of steps `(B,)` without input, as one power of the decay."""
        raise ConfigError(f"{type(self).__name__} {self.no_leak}")

    def modulable_paths(self) -> list[str]:
        """All that can be modulated in this layer, by path."""
        return list(self.modulable)

    def quantities(self, ndim: int, modulation: Mapping[str, Modulated], is_first: bool = True) -> dict[str, Any]:
        """Every quantity by name, those under modulation with their effects.

        Args:
            ndim: axes of the signal.
            modulation: by name.
            is_first: true if the call begins a stream, so that values under modulation are checked.
        """
        values = {name: getattr(self, name) for name in self.modulable}
        if modulation:
            refuse_unknown(self, modulation)
            for name, value in modulation.items():
                if value is not None:
                    values[name] = getattr(type(self), name).resolve(self, value, ndim, is_first)

        return values


def advance_by_forward(layer: Stateful, x_t: Tensor, state: State, effects: RowEffects) -> tuple[Outputs, State]:
    """One step of a layer as a sequence of one, with its checks and hooks."""
    y, state = layer(x_t.unsqueeze(0), state, **over_one_step(effects))
    return first_step(y), state


def over_one_step(effects: RowEffects) -> dict[str, list[Effect]]:
    """Effects on one step with a time axis."""
    return {path: [Effect(row.unsqueeze(0), by) for row, by in acts] for path, acts in effects.items()}


def first_step(y: Outputs) -> Outputs:
    """A signal `(1, B, *M)` as a row `(B, *M)`; several by name as several rows."""
    return y[0] if isinstance(y, Tensor) else map_tensors(lambda one: one[0], y)


def scan(layer: Stateful, x: Shaped[Tensor, "T B *N"], state: State = None, **modulation: Any) -> tuple[Outputs, State]:
    """The plain loop over time.

    Args:
        layer: any stateful layer.
        x: the signal; T may be 0.
        state: from an earlier part of the stream, or None for the initial state.
        modulation: a tensor with as many axes as `x` changes in time, one with fewer does not; `Effect`s carry their
            own time. An argument of `step` that is no quantity is a further input, `(T, B, *M)`.

    Returns:
        The outputs and the state after the last step.

    Raises:
        ShapeError: a signal without time and batch, or a modulation of another length.
        StateError: a state of another layer or stream.
        ConfigError: a modulation of a quantity that the layer does not have.

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
        check_state(layer, state, x)

    # one step of zeros shows the shape of the outputs
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


def _further_inputs(layer: Stateful, x: Tensor, keywords: Mapping[str, Any]) -> dict[str, Tensor]:
    """The keyword arguments of a layer's step that are no quantities, `(T, B, *M)` each."""
    quantities = layer.modulable_paths()
    others = [name for name in keywords if name not in quantities]
    arguments = inspect.signature(layer.step).parameters if others else {}
    taken = [n for n, argument in arguments.items() if argument.kind is not argument.VAR_KEYWORD]
    inputs = {name: keywords[name] for name in others if name in taken}

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
    """Modulation that changes in time, one value a step each, and modulation that does not."""
    varying: dict[str, Sequence[Any]] = {}
    constant: dict[str, Any] = {}

    for name, value in modulation.items():
        if isinstance(value, Effect) or are_effects(value):
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
    """Raises if a signal lacks time or batch."""
    if not isinstance(x, Tensor) or x.is_nested or x.ndim < 2:
        actual = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) and not x.is_nested else in_words(x)
        raise ShapeError(f"{type(layer).__name__} needs a signal (T, B, *N), but got {actual}")


def refuse_unknown(layer: Stateful, modulation: Iterable[str]) -> None:
    """Raises if something is modulated that the layer does not have."""
    paths = layer.modulable_paths()
    for name in modulation:
        if name not in paths:
            raise ConfigError(f"{type(layer).__name__} has no quantity {name!r}; {did_you_mean(name, paths)}")
