"""Encoder and decoder: the base classes of all coding schemes, and saturation.

A coding scheme is a designed hybrid unit (R. Zhao et al., Nature Communications 13:3427, 2022): an encoder turns values
into spikes, a decoder turns spikes into values. Both work on streams, in a `HybridNetwork` and with gradients like any
unit. An encoder gives its decoder and the bound of the round trip, the largest difference between a value and its
decoded code. Values outside the range of a scheme saturate.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import DataError
from spikebridge.hybrid import HybridUnit
from spikebridge.ops.checks import is_finite, reads_values


class Decoder(HybridUnit):
    """A hybrid unit that reads values from spikes."""


class Encoder(HybridUnit):
    """A hybrid unit that turns values into spikes.

    Raises:
        DataError: a value is not finite, at the first call of a stream; its code would be silence without an error.
    """

    @property
    def bound(self) -> float:
        """The largest difference between a value and its decoded code, in units of the value."""
        raise NotImplementedError

    def decoder(self) -> Decoder:
        """The unit that reads this encoder's spikes."""
        raise NotImplementedError

    def check_inputs(self, x: Tensor) -> None:
        """Raises where a signal does not fit, or holds NaN or infinity."""
        super().check_inputs(x)
        if x.numel() and reads_values(x, is_first=True) and not is_finite(x):
            number = int((~x.isfinite()).sum())
            raise DataError(
                f"{type(self).__name__} needs finite values, but {number} of {x.numel()} are NaN or infinite; correct "
                "the part that gave them"
            )


class _Clip(torch.autograd.Function):
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
        further = ((x < ctx.low) & (gradient > 0)) | ((x > ctx.high) & (gradient < 0))
        return gradient.masked_fill(further, 0), None, None


def saturate(x: Float[Tensor, "*shape"], low: float = 0.0, high: float = 1.0) -> Float[Tensor, "*shape"]:
    """Values clipped to a range, with a gradient that leads back into the range.

    Outside the range a gradient passes where descent on it moves the value back, and none where it would move further
    out. So a learned value that overshoots is neither lost nor driven away. (TensorFlow Compression's bounds have the
    same rule, "identity if towards".)

    Args:
        x: any values.
        low: least value.
        high: greatest value.

    Example:
        >>> x = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
        >>> y = saturate(x)
        >>> y.sum().backward()  # descent would lower all three
        >>> y.tolist(), x.grad.tolist()
        ([0.0, 0.5, 1.0], [0.0, 1.0, 1.0])
    """
    return _Clip.apply(x, low, high)


class Saturate(nn.Module):
    """F of the schemes for values in 0..1: values outside are clipped to the range.

    Example:
        >>> Saturate()(torch.tensor([[-0.5, 0.25, 7.0]])).tolist()
        [[0.0, 0.25, 1.0]]
    """

    def forward(self, x: Float[Tensor, "rows *N"]) -> Float[Tensor, "rows *N"]:
        return saturate(x)
