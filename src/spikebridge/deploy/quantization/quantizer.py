"""The scale and range of a signal's integers, calibrated on observed values, and rounding with gradients.

Fake integers are float64 tensors of integers below 2^53: sums and products are exact in any order, and a network gives
the same bits as with integers. Gradients are straight-through (`round_ste`). The fixed-point multipliers and shifts
are those of B. Jacob et al., CVPR 2018.
"""

from typing import TypeAlias

import torch
from torch import Tensor, nn

from spikebridge.deploy.integer.records import QParamsRecord
from spikebridge.deploy.quantization.config import QConfig
from spikebridge.deploy.stages.arithmetic import FRACTION, MAX_SHIFT
from spikebridge.hybrid.unit.discretizer import straight_through
from spikebridge.ops.saturation import clip

Numbers: TypeAlias = dict[str, Tensor]
_MAX_OBSERVED = 1 << 16  # values of a call that are kept to choose the scale
# scales that are tried, in parts of 40 of the one without clipping; smaller ones always clip too much
_SHARES = range(40, 13, -1)


class Quantizer(nn.Module):
    """Observes a signal, chooses its scale and range, and clips to it; a positive signal needs no sign.

    `counts` are the numbers of clipped values and of all values, while they are counted.
    """

    scale: Tensor
    bounds: Tensor

    def __init__(self, bits: int, power_of_two: bool = False, positive: bool = False) -> None:
        super().__init__()
        self.bits = bits
        self.power_of_two = power_of_two
        self.positive = positive
        self.observing = True
        self.observed: list[Tensor] = []
        self.counts: list[int] | None = None
        self.register_buffer("scale", torch.tensor(1.0, dtype=torch.float64))
        self.register_buffer("bounds", torch.tensor([0, 1]))

    @classmethod
    def of(cls, qconfig: QConfig, positive: bool = False) -> "Quantizer":
        return cls(qconfig.activations, qconfig.power_of_two, positive)

    @property
    def qparams(self) -> QParamsRecord:
        low, high = self.bounds.tolist()
        return QParamsRecord(float(self.scale), low, high)

    def set_qparams(self, qparams: QParamsRecord) -> None:
        self.scale.fill_(qparams.scale)
        self.bounds.copy_(torch.tensor([qparams.low, qparams.high]))
        self.observing = False
        self.observed = []

    def observe(self, x: Tensor) -> None:
        """Keeps values: the extremes, and some of the others."""
        flat = x.detach().flatten().double()
        if flat.numel() == 0:
            return

        # the extremes are kept, since they alone choose the widest scale
        if flat.numel() > _MAX_OBSERVED:
            step = flat.numel() // _MAX_OBSERVED + 1
            flat = torch.cat([flat[::step], flat.min()[None], flat.max()[None]])

        self.observed.append(flat)

    def calibrate(self) -> None:
        """Chooses the scale with the least mean squared error; integers that fit keep a scale of 1."""
        if not self.observing:
            return

        x = torch.cat(self.observed) if self.observed else torch.zeros(1, dtype=torch.float64)
        # spikes and counts keep their values
        is_integer = bool((x == x.round()).all())
        is_unsigned = self.positive or (is_integer and bool(x.min() >= 0))
        high = 2**self.bits - 1 if is_unsigned else 2 ** (self.bits - 1) - 1
        low = 0 if is_unsigned else -high
        largest = float(x.abs().max())

        if largest == 0 or (is_integer and low <= x.min() and largest <= high):
            self.set_qparams(QParamsRecord(1.0, low, high))
            return

        scales = self._candidate_scales(largest / high)
        errors = [float((x - torch.floor(x / s + 0.5).clamp(low, high) * s).square().mean()) for s in scales]
        self.set_qparams(QParamsRecord(float(scales[errors.index(min(errors))]), low, high))

    def _candidate_scales(self, widest: float) -> list[Tensor]:
        if not self.power_of_two:
            return [torch.tensor(widest * share / 40, dtype=torch.float64) for share in _SHARES]

        # a power of two is too coarse for a search of small steps
        power_above = up_to_power_of_two(torch.tensor(widest, dtype=torch.float64))
        return [power_above, power_above / 2, power_above / 4]

    def clamp(self, q: Tensor) -> Tensor:
        """Clips integers to the range, and counts those that were outside."""
        low, high = self.bounds.tolist()
        if self.counts is not None:
            # before the clip, which loses the values outside
            self.counts[0] += int(((q < low) | (q > high)).sum())
            self.counts[1] += q.numel()

        return clip(q, low, high)

    def quantize(self, x: Tensor) -> Tensor:
        return self.clamp(round_ste(x.double() / self.scale))


def scales_of(largest: Tensor, qconfig: QConfig) -> Tensor:
    """The scales of weights with some largest values; weights of 0 have scale 1."""
    scale = torch.where(largest > 0, largest / (2 ** (qconfig.weights - 1) - 1), 1.0)
    return up_to_power_of_two(scale) if qconfig.power_of_two else scale


def state_scale(largest: float, high: int, qconfig: QConfig) -> Tensor:
    """The scale of a state, of its largest value in calibration and its largest integer."""
    scale = torch.tensor(largest / high, dtype=torch.float64)
    return up_to_power_of_two(scale) if qconfig.power_of_two else scale


def round_ste(x: Tensor) -> Tensor:
    """The nearest integer, halves upwards, with a straight-through gradient."""
    return straight_through(torch.floor(x + 0.5), x)


def fixed_point_ratio(ratio: Tensor) -> tuple[Tensor, Tensor]:
    """A float64 ratio of scales as int64 multiplier and shift, `m / 2^k`: m has 15 bits, and is 1 for 2^-k."""
    # a power of two becomes a shift alone, any other ratio a product of 15 bits
    mantissa, exponent = torch.frexp(ratio.detach().abs())
    shift = torch.where(mantissa == 0.5, 1 - exponent, FRACTION - exponent).clamp(0, MAX_SHIFT).long()

    return torch.floor(ratio.detach() * power(shift) + 0.5).long(), shift


def ratio_numbers(ratio: Tensor, prefix: str = "", suffix: str = "") -> Numbers:
    """A ratio of scales as integers with the names of a record."""
    multiplier, shift = fixed_point_ratio(ratio)
    return {f"{prefix}multiplier{suffix}": multiplier, f"{prefix}shift{suffix}": shift}


def power(shift: Tensor) -> Tensor:
    """`2^shift` in float64."""
    return (torch.ones_like(shift) << shift).double()


def rescale(q: Tensor, ratio: Tensor) -> Tensor:
    """Integers in another scale: `(q m + 2^(k - 1)) >> k`, halves upwards; the ratio is that of old to new scale."""
    multiplier, shift = fixed_point_ratio(ratio)
    exact = q * multiplier / power(shift)

    return straight_through(torch.floor(exact + 0.5), exact)


def double(value: Tensor | float) -> Tensor:
    """A quantity in float64."""
    return torch.as_tensor(value).double()


def up_to_power_of_two(scale: Tensor) -> Tensor:
    """The smallest power of two that is not below."""
    mantissa, exponent = torch.frexp(scale)
    # frexp gives mantissas from 0.5, which is that of a power of two
    exponent = torch.where(mantissa == 0.5, exponent - 1, exponent)
    shift = exponent.abs().clamp(max=60).long()

    return torch.where(exponent >= 0, power(shift), 1 / power(shift))
