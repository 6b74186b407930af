"""Population: a value decides which neurons of a group fire most, each tuned to a value of its own.

After A. P. Georgopoulos et al., Science 233 (1986). The tuning curves here are triangles, not bells: between two
neighbours the responses then add up to 1, and their centre of mass is the value itself.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.coding.coder import Decoder, Encoder
from spikebridge.coding.rate import EvenlySpaced
from spikebridge.errors import ConfigError, ShapeError, in_words, is_number
from spikebridge.hybrid import Hold, Mean, Tumbling
from spikebridge.hybrid.unit.window import checked_integer
from spikebridge.ops.saturation import saturate


class Tuning(nn.Module):
    """Triangular tuning curves, their centres evenly spaced from `low` to `high`: `(B, *N)` to `(B, *N, C)`.

    A neuron responds with 1 at its centre and with 0 beyond its neighbours' centres. Values outside the range saturate.

    Args:
        num_neurons: C, at least 2.
        low: centre of the first.
        high: centre of the last.

    Example:
        >>> Tuning(3, 0.0, 1.0)(torch.tensor([[0.125]])).tolist()
        [[[0.75, 0.25, 0.0]]]
    """

    def __init__(self, num_neurons: int, low: float, high: float) -> None:
        super().__init__()
        if not (is_number(low) and is_number(high) and -math.inf < low < high < math.inf):
            raise ConfigError(
                f"a population needs a finite range with low < high, but got low={in_words(low)}, high={in_words(high)}"
            )

        self.num_neurons = checked_integer("a population", "num_neurons", num_neurons, minimum=2)
        self.low = low
        self.high = high

    @property
    def spacing(self) -> float:
        """The distance from one centre to the next."""
        return (self.high - self.low) / (self.num_neurons - 1)

    def forward(self, x: Float[Tensor, "rows *N"]) -> Float[Tensor, "rows *N C"]:
        place = (saturate(x, self.low, self.high) - self.low).unsqueeze(-1) / self.spacing
        left = place.detach().floor().clamp(0, self.num_neurons - 2)
        share = place - left
        neuron = torch.arange(self.num_neurons, device=x.device)

        return (neuron == left) * (1 - share) + (neuron == left + 1) * share

    def extra_repr(self) -> str:
        return f"{self.num_neurons}, {self.low:g}, {self.high:g}"


class CentreOfMass(nn.Module):
    """The mean of a population's centres, weighed by its rates: `(B, *N, C)` to `(B, *N)`.

    A silent population is decoded as the middle of the range.

    Args:
        tuning: the tuning curves of the population.
        least: the lowest rate that is not silence.

    Raises:
        ShapeError: the last axis is not that of the population.

    Example:
        >>> CentreOfMass(Tuning(3, 0.0, 1.0), least=0.25)(torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]])).tolist()
        [0.125, 0.5]
    """

    def __init__(self, tuning: Tuning, least: float) -> None:
        super().__init__()
        self.tuning = tuning
        self.least = least

    def forward(self, rates: Float[Tensor, "rows *N C"]) -> Float[Tensor, "rows *N"]:
        number = self.tuning.num_neurons
        if rates.ndim < 2 or rates.shape[-1] != number:
            raise ShapeError(
                f"a population of {number} neurons needs them as the last axis, (T, B, *N, {number}), but one step has "
                f"shape {tuple(rates.shape)}"
            )

        neuron = torch.arange(number, device=rates.device, dtype=rates.dtype)
        offset = (neuron - (number - 1) / 2) * self.tuning.spacing
        total = rates.sum(-1).clamp(min=self.least)

        return (self.tuning.low + self.tuning.high) / 2 + (rates * offset).sum(-1) / total


class PopulationDecoder(Decoder):
    """The centre of mass of the neurons' rates: W `Tumbling`, H `Mean`, F `CentreOfMass`.

    Args:
        num_steps: n, steps a value.
        num_neurons: C, the last axis of the spikes.
        low: lower end of the range.
        high: upper end of the range.

    Example:
        >>> spikes = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(2, 1, 2)
        >>> PopulationDecoder(2, num_neurons=2)(spikes)[0].item()
        0.5
    """

    def __init__(self, num_steps: int, num_neurons: int = 8, low: float = 0.0, high: float = 1.0) -> None:
        window = Tumbling(checked_integer("PopulationDecoder", "num_steps", num_steps))
        super().__init__(window, Mean(), CentreOfMass(Tuning(num_neurons, low, high), 1 / num_steps))


class PopulationEncoder(Encoder):
    """Each neuron fires at the rate of its tuning curve: W `Hold`, F `Tuning`, Q `EvenlySpaced`.

    `(T, B, *N)` becomes `(n T, B, *N, C)`.

    **Bound** `D / (2 n)` with the spacing of centres `D = (high - low) / (C - 1)`. Between two neighbours the right one
    responds with r, the left one with `1 - r`; so they fire `m = round(r n)` and `n - m` spikes, and the centre of mass
    is `D |m / n - r|` away from the value, at most `D / (2 n)`. Exactly halfway, where `r n = m - 1/2`, both round up:
    there are `n + 1` spikes, and the error is smaller, at most `D (n - 1) / (2 n (n + 1))`. So the bound is a supremum,
    approached next to the halfway points. A group of C neurons is C - 1 times as fine as one neuron's rate.

    Args:
        num_steps: n, steps a value.
        num_neurons: C, at least 2.
        low: lower end of the range; smaller values are clipped to it.
        high: upper end of the range; larger values are clipped to it.

    Example:
        >>> encoder = PopulationEncoder(4, num_neurons=3)
        >>> spikes, _ = encoder(torch.tensor([0.2]).reshape(1, 1, 1))  # responses 0.6, 0.4, 0
        >>> spikes.sum(0).tolist(), encoder.decoder()(spikes)[0].item(), encoder.bound
        ([[[2.0, 2.0, 0.0]]], 0.25, 0.0625)
    """

    def __init__(self, num_steps: int, num_neurons: int = 8, low: float = 0.0, high: float = 1.0) -> None:
        window = Hold(checked_integer("PopulationEncoder", "num_steps", num_steps))
        tuning = Tuning(num_neurons, low, high)
        super().__init__(window, None, tuning, EvenlySpaced())
        self.num_steps = num_steps
        self.tuning = tuning

    @property
    def bound(self) -> float:
        return self.tuning.spacing / (2 * self.num_steps)

    def decoder(self) -> PopulationDecoder:
        return PopulationDecoder(self.num_steps, self.tuning.num_neurons, self.tuning.low, self.tuning.high)
