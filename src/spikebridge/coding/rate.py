"""Rate: a value is how often a neuron fires (E. D. Adrian and Y. Zotterman, Journal of Physiology 61, 1926)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.axes import Windows
from spikebridge.coding.coder import Decoder, Encoder, Saturate
from spikebridge.hybrid import Bernoulli, Discretizer, Hold, Mean, Tumbling
from spikebridge.hybrid.unit.discretizer import straight_through
from spikebridge.hybrid.unit.window import checked_integer
from spikebridge.ops.saturation import clip


def spread_evenly(value: Float[Tensor, "K 1 B *N"], num_steps: int) -> Float[Tensor, "K L B *N"]:
    """`round(v n)` spikes over n steps for a value v in 0..1, as evenly as steps allow; halves round up."""
    # they are where a line of slope `round(v n) / n` passes an integer, worked out in integers (J. E. Bresenham, IBM
    # Systems Journal 4, 1965)
    number = (value * num_steps + 0.5).floor().long()
    step = torch.arange(1, num_steps + 1, device=value.device).reshape(1, -1, *[1] * (value.ndim - 2))
    spikes = (step * number + num_steps // 2) % num_steps < number

    return straight_through(spikes.to(value.dtype), value.expand(spikes.shape))


class EvenlySpaced(Discretizer):
    """`round(v L)` spikes spread evenly over the L steps of a window, for a value v in 0..1; halves round up.

    The gradient goes straight through to the value.

    Example:
        >>> spikes, _ = EvenlySpaced()(torch.tensor([0.75]).reshape(1, 1, 1, 1), length=4)
        >>> spikes.flatten().tolist()
        [1.0, 1.0, 0.0, 1.0]
    """

    kind = "expands"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        return spread_evenly(clip(h[:, :1], 0, 1), length), None


class RateDecoder(Decoder):
    """The share of steps with a spike: W `Tumbling`, H `Mean`.

    Args:
        num_steps: n, steps a value.

    Example:
        >>> RateDecoder(4)(torch.tensor([1.0, 0.0, 1.0, 1.0]).reshape(4, 1, 1))[0].item()
        0.75
    """

    def __init__(self, num_steps: int) -> None:
        super().__init__(Tumbling(checked_integer("RateDecoder", "num_steps", num_steps)), Mean())


class RateEncoder(Encoder):
    """`round(v n)` spikes spread evenly over n steps: W `Hold`, F `Saturate`, Q `EvenlySpaced`.

    **Bound** `1 / (2 n)`: the decoder reads `round(v n) / n`, and rounding moves `v n` by at most 1/2. It is attained
    where `v n` lies halfway between two integers.

    Args:
        num_steps: n, steps a value.

    Example:
        >>> encoder = RateEncoder(4)
        >>> spikes, _ = encoder(torch.tensor([0.6]).reshape(1, 1, 1))  # 0.6 * 4 = 2.4
        >>> spikes.flatten().tolist(), encoder.decoder()(spikes)[0].item(), encoder.bound
        ([1.0, 0.0, 1.0, 0.0], 0.5, 0.125)
    """

    def __init__(self, num_steps: int) -> None:
        window = Hold(checked_integer("RateEncoder", "num_steps", num_steps))
        super().__init__(window, None, Saturate(), EvenlySpaced())
        self.num_steps = num_steps

    @property
    def bound(self) -> float:
        return 1 / (2 * self.num_steps)

    def decoder(self) -> RateDecoder:
        return RateDecoder(self.num_steps)


class BernoulliEncoder(Encoder):
    """A spike in each of n steps with probability v: W `Hold`, F `Saturate`, Q `Bernoulli`.

    **Bound** `2 / sqrt(n)`: the number of spikes is binomial, so the decoded value is right on average and has the
    standard deviation `sqrt(v (1 - v) / n)` (`deviation`), at most `1 / (2 sqrt(n))`; the bound is four times that. As
    chance has no bound, this one is passed now and then: with a probability of at most `2 exp(-8)`, 7 in 10000,
    whatever v and n are (Hoeffding's inequality). Four deviations at v itself are passed by 6 values in 100000 where
    spikes and silences are many (the normal law), and by 1 in 16 at most (Chebyshev's inequality).

    Args:
        num_steps: n, steps a value.
        seed: of a new stream in evaluation, as in `Bernoulli`; in training it comes from the global generator.

    Example:
        >>> encoder = BernoulliEncoder(100).eval()
        >>> spikes, _ = encoder(torch.tensor([1.0, 0.0]).reshape(2, 1, 1))
        >>> encoder.decoder()(spikes)[0].flatten().tolist(), encoder.bound, encoder.deviation(0.5)
        ([1.0, 0.0], 0.2, 0.05)
    """

    def __init__(self, num_steps: int, seed: int | None = None) -> None:
        window = Hold(checked_integer("BernoulliEncoder", "num_steps", num_steps))
        super().__init__(window, None, Saturate(), Bernoulli(seed))
        self.num_steps = num_steps

    def deviation(self, value: float) -> float:
        """The standard deviation of the decoded value, for a value in 0..1."""
        return math.sqrt(value * (1 - value) / self.num_steps)

    @property
    def bound(self) -> float:
        return 4 * self.deviation(0.5)

    def decoder(self) -> RateDecoder:
        return RateDecoder(self.num_steps)
