"""Weights that are part of a state and change while a network runs, and their way back into the parameters.

A layer names them: `plastic = {"weight": "fc.weight"}` says that the field `weight` of its state, `(B, *W)`, begins as
the parameter `fc.weight`, `(*W)`. Its step may change it by any rule. Each sample has weights of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, in_words
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.sequential import Sequential
from spikebridge.neurons.state import State

Reduce: TypeAlias = Literal["mean"] | Callable[[Tensor], Tensor]


class _PlasticWeight(NamedTuple):
    """A parameter, its path, and the weights `(B, *W)` that a state has in its place."""

    path: str
    parameter: nn.Parameter
    values: Tensor


def write_weights(layers: Mapping[str, Any], states: Mapping[str, State], reduce: Reduce | None) -> None:
    """Makes the weights in the states of some layers, by name, their parameters."""
    found = [weight for name, layer in layers.items() for weight in _plastic_weights(layer, states[name], name)]
    if not found:
        raise ConfigError(
            "there are no plastic weights in this state; a layer names those that it has: "
            "plastic = {'weight': 'fc.weight'}, by the field of its state the path of the parameter"
        )

    reduced = [_reduced(weight, reduce) for weight in found]
    with torch.no_grad():
        for weight, value in zip(found, reduced, strict=True):
            weight.parameter.copy_(value)


def _plastic_weights(layer: Any, state: Any, path: str) -> Iterator[_PlasticWeight]:
    """The plastic weights of a layer and of the layers inside whose states its own holds."""
    if not isinstance(layer, Stateful) or state is None:
        return

    inside = f"{path}." if path else ""
    if isinstance(layer, Sequential):
        for (name, child), child_state in zip(layer.named_children(), state.layers, strict=True):
            yield from _plastic_weights(child, child_state, inside + name)
        return

    fields = state if isinstance(state, dict) else getattr(state, "_asdict", dict)()
    for field, name in layer.plastic.items():
        where = f"{type(layer).__name__} at {path!r}" if path else type(layer).__name__
        parameter = dict(layer.named_parameters()).get(name)
        if field not in fields or parameter is None:
            kind = f"field {field!r} in its state" if field not in fields else f"parameter {name!r}"
            raise ConfigError(f"{where} names the plastic weight {field!r}: {name!r}, but has no {kind}; correct it")
        yield _PlasticWeight(inside + name, parameter, fields[field])

    for field, value in fields.items():
        yield from _plastic_weights(layer._modules.get(field), value, inside + field)


def _reduced(weight: _PlasticWeight, reduce: Reduce | None) -> Tensor:
    """The weights of all samples as one."""
    values = weight.values.detach()
    if reduce is not None and reduce != "mean" and not callable(reduce):
        raise ConfigError(f"write_back needs reduce= as 'mean', a function or None, but got {in_words(reduce)}")

    if not len(values):
        raise ConfigError(f"the weights {weight.path!r} are those of no sample; give the state of one at least")
    if reduce is None:
        if not bool((values == values[:1]).all()):
            raise ConfigError(
                f"the weights {weight.path!r} differ from sample to sample of the {len(values)}; give reduce='mean', a "
                "function of (B, *W), or a state of one sample, as spikebridge.neurons.select takes one"
            )
        one = values[0]
    else:
        one = values.mean(0) if reduce == "mean" else reduce(values)

    if one.shape != weight.parameter.shape:
        raise ConfigError(
            f"the weights {weight.path!r} are {tuple(one.shape)} in the state, but the parameter is "
            f"{tuple(weight.parameter.shape)}; the state holds one set of weights a sample, (B, *W)"
        )

    return one
