"""The membranes of a layer, step by step."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.neurons import Stateful
from spikebridge.neurons.base import split_in_time


def membrane_trace(
    layer: Stateful, x: Float[Tensor, "T B *N"], state: Any = None, **modulation: Any
) -> Float[Tensor, "T B *N"]:
    """What a layer's membrane is after each step (after the reset where it fired).

    Args:
        layer: a layer whose state begins with its membrane.
        x: its input.
        state: of an earlier part of the stream, or None.
        modulation: as the layer takes it.

    Raises:
        ConfigError: the layer has no membrane.

    Example:
        >>> from spikebridge.neurons import IF
        >>> membrane_trace(IF(v_threshold=2.5), torch.ones(4, 1, 1)).flatten().tolist()
        [1.0, 2.0, 0.0, 1.0]
    """
    if state is None:
        state = layer.initial_state(x.new_zeros(x.shape[1:]))
    if not hasattr(state, "v"):
        raise ConfigError(f"{type(layer).__name__} has no membrane to trace; choose a layer of neurons")
    varying, constant = split_in_time(modulation, len(x), x.ndim)
    membranes = []
    for t, x_t in enumerate(x.unbind(0)):
        _, state = layer.step(x_t, state, **constant, **{name: values[t] for name, values in varying.items()})
        membranes.append(state.v)
    return torch.stack(membranes) if membranes else torch.empty_like(x)
