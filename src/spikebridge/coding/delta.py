"""Delta: a spike is a change (send on delta; M. Miskowicz, Sensors 6, 2006). A constant signal sends no spikes."""

from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.coding.coder import Decoder, Encoder
from spikebridge.errors import ConfigError, in_words, is_positive
from spikebridge.hybrid import SignedDelta, Sum
from spikebridge.hybrid.unit.window import checked_integer


class _Scale(nn.Module):
    """A fixed factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Float[Tensor, "rows *N"]) -> Float[Tensor, "rows *N"]:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:g}"


class DeltaDecoder(Decoder):
    """The quantum times the sum of all spikes: H `Sum` since the stream began, F a factor.

    Args:
        quantum: the change that one spike stands for, above 0.

    Example:
        >>> import torch
        >>> DeltaDecoder(0.5)(torch.tensor([1.0, 0.0, -2.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [0.5, 0.5, -0.5]
    """

    def __init__(self, quantum: float) -> None:
        super().__init__(None, Sum(), _Scale(_checked("DeltaDecoder", quantum)))


class DeltaEncoder(Encoder):
    """A signed number of quanta whenever the value has moved: Q `SignedDelta`, on the signal's own clock.

    Any real signal, which the receiver takes to have been 0 before it began. A spike says how many quanta up or down.

    **Bound** `quantum / 2` at every step. Before a step the receiver has r; the sender adds the number of quanta
    nearest to `v - r`, which leaves at most half a quantum. It is attained where the value lies halfway between two
    multiples of the quantum. With a `limit` of m quanta a step the bound holds as long as no step, the first one from
    0 included, moves the value by more than `m quantum`: then `|v - r|` is at most `(m + 1/2) quantum`, and m quanta
    are enough. A faster signal is followed at m quanta a step; once it is reached, the error is within the bound again.

    Args:
        quantum: the change that one spike stands for, above 0.
        limit: m, the maximum of quanta in one step; None sends any number. 1 is a channel of single signed spikes.

    Example:
        >>> import torch
        >>> encoder = DeltaEncoder(0.5)
        >>> spikes, _ = encoder(torch.tensor([0.6, 0.6, -0.5]).reshape(3, 1, 1))
        >>> spikes.flatten().tolist(), encoder.decoder()(spikes)[0].flatten().tolist(), encoder.bound
        ([1.0, 0.0, -2.0], [0.5, 0.5, -0.5], 0.25)
    """

    def __init__(self, quantum: float, limit: int | None = None) -> None:
        if limit is not None:
            checked_integer("DeltaEncoder", "limit", limit)
        super().__init__(discretizer=SignedDelta(_checked("DeltaEncoder", quantum), limit))
        self.quantum = quantum

    @property
    def bound(self) -> float:
        return self.quantum / 2

    def decoder(self) -> DeltaDecoder:
        return DeltaDecoder(self.quantum)


def _checked(name: str, quantum: float) -> float:
    if not is_positive(quantum):
        raise ConfigError(f"{name} needs a finite quantum > 0, but got {in_words(quantum)}")
    return quantum
