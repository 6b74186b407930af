"""Reduction of a set: one value of members of which some do not count, as a nonlinearity of a unit."""

from typing import Literal, get_args

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.errors import ConfigError, in_words

_By = Literal["mean", "sum", "max"]


class SetPool(nn.Module):
    """The mean, sum or maximum over the members of a set that count, 0 without one: F of a unit of a link with `mask=`.

    A mask of floats weighs the members of a mean or a sum, and has a gradient.

    Args:
        by: "mean", "sum" or "max".

    Raises:
        ConfigError: another word.

    Example:
        >>> members = torch.tensor([[[1.0], [3.0], [50.0]]])
        >>> SetPool("mean")(members, torch.tensor([[True, True, False]])).item()
        2.0
    """

    def __init__(self, by: _By = "mean") -> None:
        super().__init__()
        if by not in get_args(_By):
            raise ConfigError(
                f"SetPool reduces by one of {', '.join(map(repr, get_args(_By)))}, but got {in_words(by)}"
            )
        self.by = by

    def forward(self, x: Shaped[Tensor, "B S *N"], mask: Shaped[Tensor, "B S"]) -> Shaped[Tensor, "B *N"]:
        weights = mask.to(x.dtype).reshape(*mask.shape, *[1] * (x.ndim - mask.ndim))
        if self.by == "max":
            largest = torch.where(weights != 0, x, torch.finfo(x.dtype).min).amax(1)
            return torch.where((weights != 0).any(1), largest, torch.zeros_like(largest))

        total = (x * weights).sum(1)
        if self.by == "sum":
            return total

        # of no member the sum is 0 already
        number = weights.sum(1)
        return total / torch.where(number == 0, torch.ones_like(number), number)

    def extra_repr(self) -> str:
        return repr(self.by)
