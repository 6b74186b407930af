"""Calling a module on signals: a stateful part, a plain one, or a plain one whose parameters are modulated."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.quantity import Effect
from spikebridge.neurons.state import State
from spikebridge.neurons.stateless import modulated, over_time


def call(
    part: nn.Module,
    signals: Sequence[Tensor],
    named: Mapping[str, Tensor] = MappingProxyType({}),
    state: State = None,
    effects: Mapping[str, list[Effect]] = MappingProxyType({}),
) -> tuple[Tensor, State]:
    """A part on its signals `(T, B, *N)`, with what modulates it by path.

    Raises:
        ConfigError: the part writes into a signal, which others read, too.

    Example:
        >>> import torch
        >>> y, state = call(nn.Identity(), [torch.ones(2, 1, 3)])
        >>> y.shape
        torch.Size([2, 1, 3])
    """
    given = [x for x in (*signals, *named.values()) if not x.is_inference()]
    before = [x._version for x in given]
    if isinstance(part, Stateful):
        y, state = part(*signals, state, **named, **effects)
    elif effects:
        y, state = modulated(part, effects, *signals, **named), None
    else:
        y, state = over_time(part, *signals, **named), None
    if [x._version for x in given] != before:
        raise ConfigError(
            f"{type(part).__name__} writes into its input, which others read, too; give its layers inplace=False"
        )
    return y, state
