"""Training and eval mode of modules, restored when a block ends."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def preserve_modes(module: nn.Module) -> Iterator[None]:
    """Restores the training or eval mode of every submodule when the block ends."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        # `train()` would set all of them alike
        for part, training in modes:
            part.training = training


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside the block; every submodule gets its own mode back."""
    with preserve_modes(module), torch.no_grad():
        module.eval()
        yield
