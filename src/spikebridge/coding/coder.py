"""Encoder and decoder: the base classes of all coding schemes, and saturation.

A coding scheme is a designed hybrid unit (R. Zhao et al., Nature Communications 13:3427, 2022): an encoder turns values
into spikes, a decoder turns spikes into values. Both work on streams, in a `HybridNetwork` and with gradients like any
unit. An encoder gives its decoder and the bound of the round trip, the largest difference between a value and its
decoded code. Values outside the range of a scheme saturate.
"""

from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import DataError
from spikebridge.hybrid import HybridUnit
from spikebridge.ops.checks import is_finite, reads_values
from spikebridge.ops.saturation import saturate


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
        """Raises if a signal does not fit, or holds NaN or infinity."""
        super().check_inputs(x)
        if x.numel() and reads_values(x, is_first=True) and not is_finite(x):
            number = int((~x.isfinite()).sum())
            raise DataError(
                f"{type(self).__name__} needs finite values, but {number} of {x.numel()} are NaN or infinite; correct "
                "the part that gave them"
            )


class Saturate(nn.Module):
    """F of the schemes for values in 0..1: values outside are clipped to the range.

    Example:
        >>> import torch
        >>> Saturate()(torch.tensor([[-0.5, 0.25, 7.0]])).tolist()
        [[0.0, 0.25, 1.0]]
    """

    def forward(self, x: Float[Tensor, "rows *N"]) -> Float[Tensor, "rows *N"]:
        return saturate(x)
