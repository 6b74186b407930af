"""What has a state: `Stateful` layers, and `Neuron`s, which are defined by a pure step function.

State is an argument and a result: `y, state = layer(x, state)`. Modules hold parameters only, so two halves of a sequence
equal the whole, and a stream, truncated back-propagation and a whole sequence are one code path.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError, did_you_mean
from spikebridge.neurons.quantity import Effect, Modulated, Quantity
from spikebridge.neurons.state import State


class Stateful(nn.Module):
    """A layer that remembers. `step` defines it; `forward` is the same over a whole sequence.

    Subclasses give `initial_state(x_t)` and `step(x_t, state, **modulation)`. Quantities that can be modulated are declared
    with `Quantity`, and are listed in `modulable`.
    """

    modulable: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [name for name, value in vars(cls).items() if isinstance(value, Quantity)]
        cls.modulable = tuple(dict.fromkeys([*cls.modulable, *own]))

    def initial_state(self, x_t: Tensor) -> State:
        """The state before the first step, for a signal shaped, typed and placed like the step `x_t` `(B, *N)`."""
        raise NotImplementedError

    def step(self, x_t: Tensor, state: State, **modulation: Any) -> tuple[Tensor, State]:
        """One step: `x_t` `(B, *N)` and a state to `y_t` `(B, *M)` and the next state."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: State = None, **modulation: Any) -> tuple[Tensor, State]:
        """A whole sequence `(T, B, *N)`, from a given or the initial state; see `scan` for modulation."""
        return scan(self, x, state, **modulation)

    def modulable_paths(self) -> list[str]:
        """All that can be modulated in this layer, by path."""
        return list(self.modulable)


def scan(layer: Stateful, x: Tensor, state: State = None, **modulation: Any) -> tuple[Tensor, State]:
    """The plain loop over time.

    Args:
        layer: what steps.
        x: `(T, B, *N)`; T may be 0.
        state: from an earlier part of the stream, or None for the initial state.
        modulation: a value with as many axes as `x` changes in time, one with fewer does not; `Effect`s carry their own time.

    Returns:
        The outputs `(T, B, *M)` and the state after the last step.

    Example:
        >>> from spikebridge.neurons import Integrator
        >>> y, state = scan(Integrator(tau=float("inf"), dt=0.001), torch.ones(3, 1, 1))
        >>> y.flatten().tolist()
        [1.0, 2.0, 3.0]
    """
    if x.ndim < 2:
        raise ShapeError(f"{type(layer).__name__} needs a signal (T, B, *N), but got shape {tuple(x.shape)}")
    if state is None:
        state = layer.initial_state(x.new_zeros(x.shape[1:]))
    if len(x) == 0:
        y_t, _ = layer.step(x.new_zeros(x.shape[1:]), state)
        return y_t.new_empty((0, *y_t.shape)), state
    varying, constant = split_in_time(modulation, len(x), x.ndim)
    outputs = []
    # unbind, not x[t]: indexing in the loop would add a whole zero tensor a step to the backward pass
    for t, x_t in enumerate(x.unbind(0)):
        y_t, state = layer.step(x_t, state, **constant, **{name: values[t] for name, values in varying.items()})
        outputs.append(y_t)
    return torch.stack(outputs), state


def split_in_time(modulation: dict[str, Any], num_steps: int, ndim: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits modulation in what changes in time (a list of one value a step each) and what does not."""
    varying: dict[str, Any] = {}
    constant: dict[str, Any] = {}
    for name, value in modulation.items():
        signals = [value] if isinstance(value, Effect | Tensor) else value
        if isinstance(value, Tensor):
            if value.ndim == ndim:
                varying[name] = _unbind(name, value, num_steps)
            else:
                constant[name] = value
        elif isinstance(signals, list | tuple):
            columns = [_unbind(name, effect.signal, num_steps) for effect in signals]
            varying[name] = [
                tuple(
                    Effect(column[t].unsqueeze(0), effect.by) for column, effect in zip(columns, signals, strict=True)
                )
                for t in range(num_steps)
            ]
        elif value is not None:
            constant[name] = value
    return varying, constant


def _unbind(name: str, value: Tensor, num_steps: int) -> Iterable[Tensor]:
    if len(value) == 1:
        return [value[0]] * num_steps
    if len(value) != num_steps:
        raise ShapeError(f"modulation of {name} has {len(value)} steps in time, but the signal has {num_steps}")
    return value.unbind(0)


class Neuron(Stateful):
    """A layer of neurons, defined by a pure step function of the input, the state and the arguments of a step.

    Subclasses give `step_function`, `initial_state` and `arguments`, which turns physical quantities (seconds) into the
    arguments of the step function (decays). `arguments` runs once a sequence, however long it is.

    Args:
        dt: the step of the neuron's clock [s]; None for a neuron that does not depend on it.
        learn: names of the quantities that are trained.
        quantities: a float or a tensor of one value a neuron for each declared quantity.
    """

    step_function: ClassVar[Callable[..., tuple[Tensor, State]]]

    def __init__(self, dt: float | None = None, learn: Iterable[str] = (), **quantities: Tensor | float) -> None:
        super().__init__()
        if dt is not None and not dt > 0:
            raise ConfigError(f"{type(self).__name__} needs dt > 0 s, but got {dt}")
        self.dt = dt
        self.learned = tuple(learn)
        for name in self.learned:
            if name not in quantities:
                raise ConfigError(f"{type(self).__name__} cannot learn {name!r}; {did_you_mean(name, quantities)}")
        for name, value in quantities.items():
            getattr(type(self), name).store(self, value, learn=name in self.learned)

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the step function from the physical quantities."""
        raise NotImplementedError

    def quantities(self, ndim: int, modulation: dict[str, Modulated]) -> dict[str, Any]:
        """Every quantity by name, those under modulation with their effects, for signals with `ndim` axes."""
        for name in modulation:
            if name not in self.modulable:
                raise ConfigError(
                    f"{type(self).__name__} has no quantity {name!r}; {did_you_mean(name, self.modulable)}"
                )
        return {
            name: getattr(type(self), name).resolve(self, value, ndim)
            if (value := modulation.get(name)) is not None
            else getattr(self, name)
            for name in self.modulable
        }

    def step(self, x_t: Tensor, state: State, **modulation: Modulated) -> tuple[Tensor, State]:
        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return y[0], state

    def forward(self, x: Tensor, state: State = None, **modulation: Modulated) -> tuple[Tensor, State]:
        if x.ndim < 2:
            raise ShapeError(f"{type(self).__name__} needs a signal (T, B, *N), but got shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ShapeError(f"{type(self).__name__} needs a floating signal, but got {x.dtype}; use x.float()")
        if state is None:
            state = self.initial_state(x.new_zeros(x.shape[1:]))
        if len(x) == 0:
            return x.new_empty(x.shape), state
        arguments = self.arguments(self.quantities(x.ndim, modulation))
        varying: dict[str, Any] = {}
        for name, value in arguments.items():
            if isinstance(value, Tensor):
                self._check_fit(name, value, x)
                if value.ndim == x.ndim:
                    varying[name] = _unbind(name, value, len(x))
        fixed = {name: value for name, value in arguments.items() if name not in varying}
        step_function = type(self).step_function
        outputs = []
        for t, x_t in enumerate(x.unbind(0)):
            y_t, state = step_function(x_t, state, **fixed, **{name: values[t] for name, values in varying.items()})
            outputs.append(y_t)
        y = torch.stack(outputs)
        refuse_nan(self, state[0])
        return y, state

    def _check_fit(self, name: str, value: Tensor, x: Tensor) -> None:
        if value.dtype != x.dtype or value.device != x.device:
            raise ShapeError(
                f"{type(self).__name__} has {name} in {value.dtype} on {value.device}, but its input is {x.dtype} on "
                f"{x.device}; move one of them with .to()"
            )
        try:
            fits = torch.broadcast_shapes(value.shape, x.shape) == x.shape
        except RuntimeError:
            fits = False
        if not fits:
            raise ShapeError(
                f"{type(self).__name__} has {name} of shape {tuple(value.shape)}, which does not broadcast against its "
                f"input {tuple(x.shape)} (T, B, *N)"
            )

    def extra_repr(self) -> str:
        shown = {name: getattr(self, name) for name in self.modulable}
        texts = [f"{n}={v:g}" if isinstance(v, float) else f"{n}={tuple(v.shape)}" for n, v in shown.items()]
        return ", ".join(texts + ([f"dt={self.dt:g}"] if self.dt is not None else []))


def refuse_nan(layer: nn.Module, v: Tensor) -> None:
    """Raises where a membrane is not a number: NaN never spikes, so it would pass in silence."""
    if not torch.compiler.is_compiling() and not torch._C._functorch.is_batchedtensor(v) and bool(v.isnan().any()):
        raise DataError(
            f"{type(layer).__name__} met NaN in its input or parameters ({int(v.isnan().sum())} of {v.numel()} membranes); "
            "check the data and, in training, the learning rate"
        )
