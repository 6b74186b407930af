"""Whole numbers in floating tensors: what an integer machine would do, with gradients that go straight through.

Every value is a whole number below 2^53 in float64, so that sums and products are exact in any order, and a network
that computes so gives the same bits as one of integers.
"""

import torch
from torch import Tensor

from spikebridge.hybrid.discretizer import straight_through

MOST_SHIFT = 46
FRACTION = 15  # bits of a multiplier, and of a decay behind the point


def snap(x: Tensor) -> Tensor:
    """The nearest whole number, halves upwards; the gradient goes straight through.

    Example:
        >>> snap(torch.tensor([0.5, -0.5, 1.4])).tolist()
        [1.0, 0.0, 1.0]
    """
    return straight_through(torch.floor(x + 0.5), x)


def dyadic(ratio: Tensor) -> tuple[Tensor, Tensor]:
    """A ratio of scales as multiplier and shift, `m / 2^k`: m has 15 bits, and is 1 for a power of two below 1.

    Args:
        ratio: float64.

    Returns:
        Whole numbers m and k, int64.

    Example:
        >>> m, k = dyadic(torch.tensor([0.25, 0.3, 4.0], dtype=torch.float64))
        >>> m.tolist(), k.tolist()  # 0.3 is 19661 / 65536 to five digits
        ([1, 19661, 4], [2, 16, 0])
    """
    mantissa, exponent = torch.frexp(ratio.detach().abs())
    shift = torch.where(mantissa == 0.5, 1 - exponent, FRACTION - exponent).clamp(0, MOST_SHIFT).long()
    return torch.floor(ratio.detach() * power(shift) + 0.5).long(), shift


def power(shift: Tensor) -> Tensor:
    """`2^shift` in float64."""
    return (torch.ones_like(shift) << shift).double()


def rescale(q: Tensor, ratio: Tensor) -> Tensor:
    """A whole number in another scale: `(q m + 2^(k - 1)) >> k`, halves upwards.

    Args:
        q: whole numbers.
        ratio: of the old scale to the new one, broadcasting against q.

    Example:
        >>> rescale(torch.tensor([3.0, -3.0], dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)).tolist()
        [2.0, -1.0]
    """
    multiplier, shift = dyadic(ratio)
    exact = q * multiplier / power(shift)
    return straight_through(torch.floor(exact + 0.5), exact)


def leak_towards(v: Tensor, rest: Tensor, decay: Tensor) -> Tensor:
    """A membrane one step closer to rest; the decay is a whole number of parts of 2^15.

    Args:
        v: membrane.
        rest: where it goes.
        decay: `round(decay 2^15)`.

    Example:
        >>> leak_towards(*(torch.tensor(x, dtype=torch.float64) for x in (100.0, 0.0, 2.0**14))).item()
        50.0
    """
    exact = (v - rest) * decay / 2**FRACTION
    return rest + straight_through(torch.floor(exact + 0.5), exact)


def double(value: Tensor | float) -> Tensor:
    """A quantity in float64."""
    return torch.as_tensor(value).double()


def up_to_power_of_two(scale: Tensor) -> Tensor:
    """The smallest power of two that is not below.

    Example:
        >>> up_to_power_of_two(torch.tensor([0.3, 0.5], dtype=torch.float64)).tolist()
        [0.5, 0.5]
    """
    mantissa, exponent = torch.frexp(scale)
    exponent = torch.where(mantissa == 0.5, exponent - 1, exponent)
    shift = exponent.abs().clamp(max=60).long()
    return torch.where(exponent >= 0, power(shift), 1 / power(shift))
