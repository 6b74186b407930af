"""What coding schemes share.

A coding scheme is a designed hybrid unit (R. Zhao et al., Nature Communications 13:3427, 2022): an encoder makes spikes
of values, a decoder makes values of spikes. Both stream, stand in a `HybridNetwork` and pass gradients as any unit. The
encoder knows its decoder, and how far a value can be from what comes back.

Saturation: a neuron cannot fire less than never, nor more than always.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import DataError
from spikebridge.hybrid import HybridUnit


class Decoder(HybridUnit):
    """A hybrid unit that reads values from spikes."""


class Encoder(HybridUnit):
    """A hybrid unit that makes spikes of values.

    Raises:
        DataError: a value is not finite; it would become a silence that nobody notices.
    """

    @property
    def bound(self) -> float:
        """The greatest difference between a value and what the decoder reads, in units of the value."""
        raise NotImplementedError

    def decoder(self) -> Decoder:
        """The unit that reads this encoder's spikes."""
        raise NotImplementedError

    def check_inputs(self, x: Tensor) -> None:
        super().check_inputs(x)
        if x.numel() and not torch.compiler.is_compiling() and not bool(x.isfinite().all()):
            number = int((~x.isfinite()).sum())
            raise DataError(
                f"{type(self).__name__} needs finite values, but {number} of {x.numel()} are NaN or infinite; look for "
                "the part that made them"
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
    """Values clipped to a range, with a gradient that leads back into it.

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
    """F of the schemes for values in 0..1: what lies outside is taken as the nearest value inside.

    Example:
        >>> Saturate()(torch.tensor([[-0.5, 0.25, 7.0]])).tolist()
        [[0.0, 0.25, 1.0]]
    """

    def forward(self, x: Float[Tensor, "rows *N"]) -> Float[Tensor, "rows *N"]:
        return saturate(x)
