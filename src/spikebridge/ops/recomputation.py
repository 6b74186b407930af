"""Less memory in training for one more forward pass: spans of time whose inner values are computed again.

Because a state is an argument and a result, the backward pass needs the states between spans alone: it runs each span
again, the last one first (T. Chen et al., arXiv:1604.06174, 2016).
"""

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spikebridge.errors import ConfigError


def recompute(
    layer: Callable[..., tuple[Tensor, Any]], x: Shaped[Tensor, "T B *N"], state: Any = None, *, span: int
) -> tuple[Shaped[Tensor, "T B *M"], Any]:
    """Runs `layer(x, state)` with the same numbers and gradients, and keeps one span of steps for the backward pass.

    Args:
        layer: a layer or a whole network with a state: `y, state = layer(x, state)`.
        x: the signal.
        state: from an earlier part of the stream, or None.
        span: steps that are computed again together; about the root of T needs the least memory.

    Returns:
        Outputs and the last state.

    Raises:
        ConfigError: a span that is no integer of at least 1, or a network in training that counts its inputs (batch
            normalisation): it would count twice.

    Example:
        >>> from spikebridge.neurons import IF
        >>> spikes, state = recompute(IF(v_threshold=2.0), torch.ones(4, 1, 1), span=2)
        >>> spikes.flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    if not isinstance(span, int) or span < 1:
        raise ConfigError(f"recompute needs a span of at least 1 step, an integer, but got {span!r}")

    for path, module in layer.named_modules() if isinstance(layer, nn.Module) else ():
        if module.training and getattr(module, "track_running_stats", False):
            raise ConfigError(
                f"{type(module).__name__} at {path!r} counts its inputs in training and would count each span twice; "
                "put it in eval mode, use GroupNorm, or train without recompute"
            )

    if not torch.is_grad_enabled() or len(x) <= span:
        return layer(x, state)

    run = layer if torch.compiler.is_compiling() else _in_this_context(layer)
    outputs = []
    for part in x.split(span):
        y, state = checkpoint(run, part, state, use_reentrant=False)
        outputs.append(y)

    return torch.cat(outputs), state


def _in_this_context(layer: Callable[..., tuple[Tensor, Any]]) -> Callable[..., tuple[Tensor, Any]]:
    """A layer that takes the same path again: the backward pass may come outside of `reference()` and its like."""
    context = copy_context()

    def run(x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return context.copy().run(layer, x, state)

    return run
