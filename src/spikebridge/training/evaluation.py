"""Looking at a network without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def preserve_modes(module: nn.Module) -> Iterator[None]:
    """Gives every submodule its training or eval mode back when the block ends.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> with preserve_modes(layer):
        ...     _ = layer.eval()
        >>> layer.training
        True
    """
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside the block; afterwards every submodule has its own mode again.

    Args:
        module: any module; a mixture of modes among its parts comes back as it was.

    Example:
        >>> network = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1))
        >>> with evaluating(network):
        ...     (network.training, network(torch.ones(1, 2)).requires_grad)
        (False, False)
        >>> network.training
        True
    """
    with preserve_modes(module), torch.no_grad():
        module.eval()
        yield
