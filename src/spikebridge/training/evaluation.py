"""Evaluation without side effects: eval mode, no gradients, every module's own mode restored."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def preserve_modes(module: nn.Module) -> Iterator[None]:
    """Restores the training or eval mode of every submodule when the block ends.

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
    """Eval mode and no gradients inside the block; every submodule gets its own mode back.

    Args:
        module: any module; its parts may have different modes.

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
