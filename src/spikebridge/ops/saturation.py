"""Values clipped to a range: with the gradient of the range, both ends included, or with one that leads back."""

from math import inf
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def clip(x: Float[Tensor, "*shape"], low: float = -inf, high: float = inf) -> Float[Tensor, "*shape"]:
    """Values clipped to a range, with the gradient 1 inside and at both ends."""
    # `Tensor.clamp` has this gradient up to PyTorch 2.14; from 2.15 on 0 at the ends, where values of codes often are
    if not (x.requires_grad and torch.is_grad_enabled()):
        return x.clamp(low, high)

    return torch.where((x >= low) & (x <= high), x, x.detach().clamp(low, high))


class _Saturation(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.low, ctx.high = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        # descent moves against the gradient: below the range a negative one leads back, above it a positive one
        leads_away = ((x < ctx.low) & (gradient > 0)) | ((x > ctx.high) & (gradient < 0))
        return gradient.masked_fill(leads_away, 0), None, None


def saturate(x: Float[Tensor, "*shape"], low: float = 0.0, high: float = 1.0) -> Float[Tensor, "*shape"]:
    """Values clipped to a range; outside of it a gradient passes where descent on it moves the value back."""
    # so a learned value that overshoots is neither lost nor driven away; TensorFlow Compression's bounds have the same
    # rule, "identity if towards"
    return _Saturation.apply(x, low, high)
