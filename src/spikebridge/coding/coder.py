"""What coding schemes share.

A coding scheme is a designed hybrid unit (R. Zhao et al., Nature Communications 13:3427, 2022): an encoder makes spikes
of values, a decoder makes values of spikes. Both stream, stand in a `HybridNetwork` and pass gradients as any unit. The
encoder knows its decoder, and how far a value can be from what comes back.
"""

import torch
from torch import Tensor

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

    def admit(self, x: Tensor) -> None:
        super().admit(x)
        if x.numel() and not torch.compiler.is_compiling() and not bool(x.isfinite().all()):
            number = int((~x.isfinite()).sum())
            raise DataError(
                f"{type(self).__name__} needs finite values, but {number} of {x.numel()} are NaN or infinite; look for "
                "the part that made them"
            )
