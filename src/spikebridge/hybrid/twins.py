"""Twins of equal size: the width at which a network has as many parameters as the one that it is compared with."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import nn

from spikebridge.errors import ConfigError, in_words, is_integer

N = TypeVar("N", bound=nn.Module)


class Twin(NamedTuple, Generic[N]):
    """A network of the width at which its number of parameters is nearest to the target."""

    network: N
    width: int
    num_parameters: int


def match_parameters(build: Callable[[int], N], target: nn.Module | int, *, min_width: int = 1) -> Twin[N]:
    """The twin of a network with the nearest number of trainable parameters, for a comparison at equal size.

    Networks that are only counted draw no random numbers: the twin begins as `build(width)` would alone.

    Args:
        build: makes the twin from its width, such as the features of a hidden layer; more width, more parameters.
        target: the network to match, or a number of parameters.
        min_width: the smallest width that `build` takes.

    Returns:
        The network, its width and its number of trainable parameters; of two widths equally near, the smaller one.

    Raises:
        ConfigError: a target without parameters, or a `build` that makes no module, or none that grows with its width.

    Example:
        >>> twin = match_parameters(lambda width: nn.Linear(width, 10, bias=False), nn.Linear(6, 7))
        >>> twin.width, twin.num_parameters
        (5, 50)
    """
    goal = _num_trainable(target) if isinstance(target, nn.Module) else target
    if not is_integer(goal) or goal < 1:
        raise ConfigError(f"match_parameters needs a network with trainable parameters, but got {in_words(target)}")
    if not is_integer(min_width) or min_width < 1:
        raise ConfigError(
            f"match_parameters needs min_width as an integer of at least 1, but got {in_words(min_width)}"
        )

    with torch.random.fork_rng(devices=[]):
        width = _nearest_width(lambda width: _num_trainable(build(width)), goal, min_width)

    network = build(width)
    return Twin(network, width, _num_trainable(network))


def _nearest_width(size: Callable[[int], int], goal: int, min_width: int) -> int:
    """The width whose size is nearest to a goal, found by doubling and halving, so that no large network is built."""
    low = high = min_width
    before = 0
    while (number := size(high)) < goal:
        if number <= before:
            raise ConfigError(
                f"match_parameters needs a build that grows, but width {high} has {number} parameters again"
            )
        before = number
        low = high
        high = 2 * high

    widths = range(low, high + 1)
    first = bisect_left(widths, goal, key=size)
    return min(widths[max(first - 1, 0) : first + 1], key=lambda width: abs(size(width) - goal))


def _num_trainable(network: Any) -> int:
    if not isinstance(network, nn.Module):
        raise ConfigError(f"match_parameters needs a build(width) that makes a module, but it made {in_words(network)}")
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
