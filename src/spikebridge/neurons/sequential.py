"""Layers in a row, stateful and plain ones, with their states threaded."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, StateError, did_you_mean, in_words
from spikebridge.neurons.base import (
    Outputs,
    RowEffects,
    Stateful,
    advance_by_forward,
    first_step,
    over_one_step,
    refuse_timeless,
)
from spikebridge.neurons.dt import bind_dt, check_dt
from spikebridge.neurons.neuron import Neuron, fusable_pool_size, is_plain_neuron
from spikebridge.neurons.state import State, TupleForm, check_state, refuse_other_form, state_remedy, with_path
from spikebridge.neurons.stateless import modulated, outputs_over_time, over_time, refuse_hidden_state
from spikebridge.ops.layers.convolution import convolve
from spikebridge.ops.layers.linear import linear
from spikebridge.ops.layers.pooling import max_pool2d
from spikebridge.ops.selection import has_hooks, has_own_hooks

# layers whose backward pass does not need the output: the axes that a row has at least, and the function of `ops`
_PRODUCTS: dict[type, tuple[int, Callable[..., Tensor]]] = {nn.Linear: (2, linear), nn.Conv2d: (4, convolve)}


class SequentialState(NamedTuple):
    """The state of each layer, None for a plain one."""

    layers: tuple[State, ...]


def split_paths(modulation: Mapping[str, Any], layers: list[str]) -> dict[str, dict[str, Any]]:
    """Modulation by path, sorted by the first name of the path: `{"lif1": {"tau": 0.1}}` of `{"lif1.tau": 0.1}`."""
    by_child: dict[str, dict[str, Any]] = {}
    for path, value in modulation.items():
        child, _, rest = path.partition(".")
        if child not in layers:
            raise ConfigError(f"no layer {child!r} for the modulation of {path!r}; {did_you_mean(child, layers)}")
        if not rest:
            raise ConfigError(f"{path!r} is a layer; name a quantity in it, for example '{path}.v_threshold'")
        by_child.setdefault(child, {})[rest] = value

    return by_child


class Sequential(Stateful):
    """Layers in a row. Plain modules see time folded into the batch; modulation goes by path, `"lif1.v_threshold"`.

    Args:
        layers: modules in order, named "0", "1", ... or by keyword.
        dt: step of the clock [s], given to every layer that depends on it and has none; None where a network binds it.

    Example:
        >>> import torch
        >>> from spikebridge.neurons import IF
        >>> network = Sequential(fc=nn.Linear(3, 2), fire=IF())
        >>> y, state = network(torch.zeros(5, 4, 3))
        >>> y.shape, network.modulable_paths()[:3]
        (torch.Size([5, 4, 2]), ['fc.weight', 'fc.bias', 'fire.v_threshold'])
    """

    def __init__(self, *layers: nn.Module, dt: float | None = None, **named_layers: nn.Module) -> None:
        super().__init__()
        check_dt("Sequential", dt)
        if layers and named_layers:
            raise ConfigError("Sequential takes its layers in order or by name, not both")

        for name, layer in {**{str(i): layer for i, layer in enumerate(layers)}, **named_layers}.items():
            if not isinstance(layer, nn.Module):
                hint = "; write Sequential(*layers)" if isinstance(layer, list | tuple) else ""
                raise ConfigError(f"Sequential needs modules, but {name!r} is {in_words(layer)}{hint}")

            if hasattr(self, name) or "." in name or not name:
                raise ConfigError(
                    f"a layer cannot be called {name!r}; the name is taken or holds a dot, choose another"
                )

            refuse_hidden_state(layer, f"layer {name!r}")
            self.add_module(name, layer)

        # last, so that a row that cannot be built binds nothing
        if dt is not None:
            for name, layer in self._layers():
                bind_dt(name, layer, dt)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter([layer for _, layer in self._layers()])

    def __getitem__(self, index: int) -> nn.Module:
        return list(self)[index]

    def _layers(self) -> list[tuple[str, nn.Module]]:
        """The layers by name, in order; `named_children` would leave out the second place of a layer."""
        return [(name, layer) for name, layer in self._modules.items() if layer is not None]

    def modulable_paths(self) -> list[str]:
        paths: list[str] = []
        for name, layer in self._layers():
            inner = layer.modulable_paths() if isinstance(layer, Stateful) else [n for n, _ in layer.named_parameters()]
            paths += [f"{name}.{path}" for path in inner]

        return paths

    def initial_state(self, x_t: Tensor) -> SequentialState:
        """The initial states, found by sending an empty signal through the layers."""
        return self(x_t.new_empty((0, *x_t.shape)))[1]

    def leak(self, state: SequentialState, num_steps: Tensor) -> SequentialState:
        pairs = zip(self, state.layers, strict=True)
        return SequentialState(tuple(x.leak(s, num_steps) if isinstance(x, Stateful) else s for x, s in pairs))

    def forward(self, x: Tensor, state: State = None, **modulation: Any) -> tuple[Outputs, SequentialState]:
        refuse_timeless(self, x)
        by_layer = split_paths(modulation, list(self._modules)) if modulation else {}
        old = (None,) * len(self) if state is None else self._states_of_layers(state)

        try:
            return self._run(x, old, by_layer, is_first=state is None)
        except StateError as error:
            raise with_path(error, self) from None

    def _states_of_layers(self, state: State) -> tuple[State, ...]:
        refuse_other_form(self, state, TupleForm(SequentialState, {"layers": None}))
        if len(state.layers) != len(self):
            raise StateError(
                f"Sequential got a state of {len(state.layers)} layers, but has {len(self)}; "
                f"{state_remedy('Sequential')}",
                self,
            )

        return state.layers

    def advance(self, x_t: Tensor, state: SequentialState, effects: RowEffects) -> tuple[Outputs, SequentialState]:
        by_layer = split_paths(effects, list(self._modules)) if effects else {}
        states = []
        before: Any = None
        layer: Any

        for (name, layer), layer_state in zip(self._modules.items(), state.layers, strict=True):
            if isinstance(layer, nn.MaxPool2d) and before is not None and (size := fusable_pool_size(before, layer)):
                x_t = max_pool2d(x_t, size)  # as `forward` pools, with its gradients
            else:
                x_t, layer_state = advance_layer(layer, x_t, layer_state, by_layer.get(name, {}))

            states.append(layer_state)
            before = layer

        return x_t, SequentialState(tuple(states))

    def _run(
        self, x: Tensor, old: tuple[State, ...], by_layer: dict[str, dict[str, Any]], is_first: bool
    ) -> tuple[Outputs, SequentialState]:
        new: list[State] = []
        layers = self._layers()
        followers = [*layers[1:], None] if layers else []
        is_pooled = False  # the layer before has done the work of this one
        is_donated = False  # x is a product, which no other layer reads

        for (name, layer), after, state in zip(layers, followers, old, strict=True):
            effects = by_layer.get(name, {})
            is_product = type(layer) in _PRODUCTS and not effects and not has_hooks(layer)
            if not is_first:
                _refuse_missing(layer, state, x)

            if is_pooled:
                is_pooled = False
            elif isinstance(layer, Neuron) and is_plain_neuron(layer):
                size = fusable_pool_size(layer, after[1]) if after is not None and after[0] not in by_layer else None
                x, state = layer.run(x, state, effects, size=size, donated=is_donated)
                is_pooled = size is not None
            elif isinstance(layer, Stateful):
                x, state = layer(x, state, **effects)
            elif effects:
                x = modulated(layer, effects, x)
            else:
                x = _product(layer, x) if is_product else outputs_over_time(layer, x)

            if after is not None and not isinstance(x, Tensor):
                raise ShapeError(
                    f"{type(layer).__name__} at {name!r} gives several tensors, but the layer after it takes one; the "
                    "last layer alone may give several"
                )

            is_donated = is_product
            new.append(state)

        return x, SequentialState(tuple(new))


def advance_layer(layer: nn.Module, x_t: Tensor, state: State, effects: RowEffects) -> tuple[Outputs, State]:
    """One step of a layer, stateful or plain, for loops that have checked its signals before."""
    if isinstance(layer, Stateful):
        if has_own_hooks(layer):
            return advance_by_forward(layer, x_t, state, effects)
        return layer.advance(x_t, state, effects)

    if effects:
        return first_step(modulated(layer, over_one_step(effects), x_t.unsqueeze(0))), None

    if has_own_hooks(layer):
        return layer(x_t), None

    # without gradients the functions of `ops` are the layers themselves
    num_axes, product = _PRODUCTS.get(type(layer), (0, None)) if torch.is_grad_enabled() else (0, None)
    if product is None or x_t.ndim < num_axes or x_t.numel() == 0:
        return layer.forward(x_t), None

    return product(layer, x_t), None


def _refuse_missing(layer: nn.Module, state: State, x: Tensor) -> None:
    """Raises if a stream continues without the state of a layer, or with one for a layer that has none."""
    if isinstance(layer, Stateful):
        if state is None:
            check_state(layer, None, x)
    elif state is not None:
        raise StateError(
            f"{type(layer).__name__} has no state, but the state holds a {type(state).__name__} for it; "
            f"{state_remedy('Sequential')}",
            layer,
        )


def _product(layer: nn.Module, x: Tensor) -> Tensor:
    """A product over all steps, by the function of `ops`."""
    num_axes, run = _PRODUCTS[type(layer)]
    if x.ndim <= num_axes or x.numel() == 0:
        return over_time(layer, x)
    return run(layer, x.flatten(0, 1)).unflatten(0, x.shape[:2])
