"""One step of a layer without its checks: the numbers of `forward` on one step, to the bit, at a third of the cost.

For loops that step a layer many times: `forward` checks a signal, a state and a modulation where they are new, and
later steps with the same shapes go the short way. Signals, states and modulation are rows `(B, *N)`, without time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import is_
from typing import Any, TypeAlias

from torch import Tensor, nn

from spikebridge.neurons.base import Stateful
from spikebridge.neurons.neuron import Neuron, fusable_pool_size
from spikebridge.neurons.quantity import By, Effect
from spikebridge.neurons.sequential import PRODUCTS, Sequential, SequentialState, split_paths
from spikebridge.neurons.state import State, map_tensors
from spikebridge.neurons.stateless import modulated
from spikebridge.ops.layers.pooling import max_pool2d
from spikebridge.ops.selection import has_hooks
from spikebridge.ops.sequence.spec import Size

# modulating signals `(B, *M)` by the path of the quantity, each with how it acts
Effects: TypeAlias = Mapping[str, Sequence[tuple[Tensor, By]]]
# a row, or several by name, and a state
Step: TypeAlias = Callable[[Tensor, State, Effects], tuple[Any, State]]


def one_step(layer: nn.Module) -> Step:
    """How a layer is stepped, with its quantities read once: good until the layer is changed or gets a hook.

    Args:
        layer: stateful or plain.

    Returns:
        A function of a row, a state and effects by path, which gives a row and a state; they may share memory.

    Example:
        >>> import torch
        >>> from spikebridge.neurons import Integrator
        >>> layer = Integrator(tau=float("inf"), dt=0.001)
        >>> x_t = torch.ones(1, 1)
        >>> step, state = one_step(layer), layer.initial_state(x_t)
        >>> y_t, state = step(x_t, state, {})
        >>> y_t, state = step(x_t, state, {"r": [(torch.full((1, 1), 3.0), "replace")]})
        >>> y_t.item()
        4.0
    """
    kind: Any = type(layer)
    if has_hooks(layer):
        return _by_forward(layer)
    if isinstance(layer, Neuron) and kind.forward is Neuron.forward and kind._loop is Neuron._loop:
        return _NeuronStep(layer)
    if isinstance(layer, Sequential) and kind.forward is Sequential.forward:
        return _SequentialStep(layer)
    if isinstance(layer, Stateful) and kind.forward is Stateful.forward:
        return _by_definition(layer)

    return _product(layer, *PRODUCTS[kind]) if kind in PRODUCTS else _by_forward(layer)


@dataclass(frozen=True, eq=False)
class KeptStep:
    """The step of a layer for later calls, until the layer is changed or gets a hook.

    Numbers, layers and modes are compared by identity. Quantities that are tensors may change in place: a step that has
    read them is good for one call.

    Attributes:
        step: of the layer.
        modules: the layer and all in it.
        kept: what each of them kept when the step was made.
        reads_tensors: whether the step has read tensors.
    """

    step: Step
    modules: list[nn.Module]
    kept: list[list[Any]]
    reads_tensors: bool

    @classmethod
    def of(cls, layer: nn.Module) -> "KeptStep":
        """The step of a layer, stateful or plain."""
        modules = list(layer.modules())
        return cls(one_step(layer), modules, [_kept_by(one) for one in modules], any(map(_reads_tensors, modules)))

    @property
    def is_current(self) -> bool:
        """Whether it gives what a new step would."""
        if self.reads_tensors:
            return False

        for module, kept in zip(self.modules, self.kept, strict=True):
            now = _kept_by(module)
            if len(now) != len(kept) or not all(map(is_, now, kept)) or has_hooks(module):
                return False

        return True


def _kept_by(module: nn.Module) -> list[Any]:
    return [*vars(module).values(), *module._modules.values()]


def _reads_tensors(module: nn.Module) -> bool:
    """Whether a neuron's step has read tensors, which may be trained meanwhile."""
    if not isinstance(module, Neuron):
        return False

    quantities = {name: getattr(module, name) for name in module.modulable}
    read = [*quantities.values(), *module.arguments(dict(quantities)).values()]

    return bool(module._parameters or module._buffers) or any(isinstance(value, Tensor) for value in read)


def timed(effects: Effects) -> dict[str, list[Effect]]:
    """Effects with a time axis of one step."""
    return {path: [Effect(row.unsqueeze(0), by) for row, by in acts] for path, acts in effects.items()}


def first_step(y: Any) -> Any:
    """A signal `(1, B, *M)` as a row `(B, *M)`; several by name as several rows."""
    return y[0] if isinstance(y, Tensor) else map_tensors(lambda one: one[0], y)


class _NeuronStep:
    """The step function of neurons, on arguments that are worked out again under modulation alone."""

    def __init__(self, layer: Neuron) -> None:
        self.layer = layer
        self.function = type(layer).step_function
        self.quantities = {name: getattr(layer, name) for name in layer.modulable}
        self.arguments = layer.arguments(dict(self.quantities))

    def __call__(self, x_t: Tensor, state: State, effects: Effects) -> tuple[Tensor, State]:
        if not effects:
            return self.function(x_t, state, **self.arguments)

        quantities = dict(self.quantities)
        for name, acts in effects.items():
            value = quantities[name]
            ndim = x_t.ndim
            for row, by in acts:
                if row.ndim < ndim:  # axes line up from the left
                    row = row.reshape(*row.shape, *[1] * (ndim - row.ndim))
                value = row if by == "replace" else value + row if by == "add" else value * row

            quantities[name] = value

        return self.function(x_t, state, **self.layer.arguments(quantities))


def _by_definition(layer: Stateful) -> Step:
    """A layer whose sequences are a plain loop over its step."""

    def step(x_t: Tensor, state: State, effects: Effects) -> tuple[Tensor, State]:
        return layer.step(x_t, state, **{path: tuple(acts) for path, acts in timed(effects).items()})

    return step


def _by_forward(layer: nn.Module) -> Step:
    """Any other layer: a sequence of one step."""

    def step(x_t: Tensor, state: State, effects: Effects) -> tuple[Any, State]:
        if isinstance(layer, Stateful):
            y, state = layer(x_t.unsqueeze(0), state, **timed(effects))
            return first_step(y), state
        return first_step(modulated(layer, timed(effects), x_t.unsqueeze(0))) if effects else layer(x_t), None

    return step


class _SequentialStep:
    """Layers in a row; what `Sequential.forward` runs in a way of its own runs in the same way here."""

    def __init__(self, layers: Sequential) -> None:
        self.names = list(layers._modules)
        children = [layer for layer in layers._modules.values() if layer is not None]
        self.steps = [one_step(layer) for layer in children]

        for index, (layer, after) in enumerate(pairwise(children), start=1):
            if isinstance(after, nn.MaxPool2d) and (size := fusable_pool_size(layer, after)):
                self.steps[index] = _pool(size)

    def __call__(self, x_t: Tensor, state: State, effects: Effects) -> tuple[Tensor, State]:
        by_layer: Mapping[str, Any] = split_paths(dict(effects), self.names) if effects else {}
        states = []
        for name, step, old in zip(self.names, self.steps, state.layers, strict=True):
            x_t, new = step(x_t, old, by_layer.get(name, {}))
            states.append(new)

        return x_t, SequentialState(tuple(states))


def _product(layer: nn.Module, num_axes: int, run: Callable[..., Tensor]) -> Step:
    """A linear layer or a convolution in the way of `ops`."""
    otherwise = _by_forward(layer)

    def step(x_t: Tensor, state: State, effects: Effects) -> tuple[Tensor, State]:
        if effects or x_t.ndim < num_axes or x_t.numel() == 0:
            return otherwise(x_t, state, effects)
        return run(layer, x_t), None

    return step


def _pool(size: Size) -> Step:
    return lambda x_t, state, effects: (max_pool2d(x_t, size), None)
