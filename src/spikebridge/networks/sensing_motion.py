"""Where the target is expected, how far that is to be trusted, and the place on which prior and response agree.

The velocity comes from two sources: the boxes of the last two frames, and their pictures. Where the two disagree, a box
was wrong; by how much they do says how far to trust them, and how to mend the start.

All places are displacements `(x, y)` from the target's middle in the frame, in pixels.
"""

from math import ceil, floor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError

WIDER = 1.6
"""A target whose velocity is not known is looked for so many times as far away."""


class Start(NamedTuple):
    """What is expected when a frame has come.

    Args:
        place: where the target's middle is, beside that of its box [px].
        motion: how far it went since the frame before [px].
        spread: standard deviation of `motion`; infinite where it is not known [px].
    """

    place: Float[Tensor, "B 2"]
    motion: Float[Tensor, "B 2"]
    spread: Float[Tensor, " B"]


class Expected(NamedTuple):
    """What was expected when a stream began, as numbers; see `Start`."""

    place: Float[np.ndarray, "2"]
    motion: Float[np.ndarray, "2"]
    spread: float


def numbers(start: Start) -> Expected:
    """A start of one sample as numbers.

    Example:
        >>> numbers(Start(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.5]))).spread
        0.5
    """
    place, motion = (part[0].double().numpy() for part in (start.place, start.motion))
    return Expected(place, motion, float(start.spread))


def near(place: float, reach: float, half: int) -> slice:
    """Which pixels along an axis of a map of displacements are no further than `reach` from a place.

    Args:
        place: the map's edge, if it is beyond [px].
        reach: 1 px or more [px].
        half: the map has displacements from `-half` to `half`.

    Example:
        >>> near(0.4, 2.0, half=8), near(9.5, 2.0, half=8)  # -1 to 2, and 6 to 8
        (slice(7, 11, None), slice(14, 17, None))
    """
    place = min(max(place, -half), half)
    return slice(max(ceil(place - reach), -half) + half, min(floor(place + reach), half) + half + 1)


class Trust(nn.Module):
    """A start made of what the boxes and what the pictures say of the last motion.

    With a difference `r` between them: the start moves by a share of r, the velocity by another share, and the spread
    is in proportion to r. The shares are learned functions of the length of r.

    Example:
        >>> box, picture = torch.tensor([[4.0, 0.0]]), torch.tensor([[6.0, 0.0]])
        >>> start = Trust()(box, picture)
        >>> 0 < start.place[0, 0] < 1, 4 < start.motion[0, 0] < 6
        (tensor(True), tensor(True))
    """

    def __init__(self) -> None:
        super().__init__()
        self.place_base = nn.Parameter(torch.tensor(-1.0))
        self.place_slope = nn.Parameter(torch.tensor(0.3))
        self.motion_base = nn.Parameter(torch.tensor(0.0))
        self.motion_slope = nn.Parameter(torch.tensor(0.3))
        self.log_spread = nn.Parameter(torch.tensor(-1.5))

    def forward(self, by_box: Float[Tensor, "B 2"], by_picture: Float[Tensor, "B 2"]) -> Start:
        """Two motions [px] to a start."""
        away = by_picture - by_box
        size = (away.square().sum(1, keepdim=True) + 0.1).log()
        place = torch.sigmoid(self.place_base + self.place_slope * size) * away
        motion = by_box + torch.sigmoid(self.motion_base + self.motion_slope * size) * away
        spread = self.log_spread.exp() * (away.square().sum(1) + 1e-6).sqrt()
        return Start(place, motion, spread)


class VelocityPrior(nn.Module):
    """How far from its prediction a target that keeps its velocity is found.

    The standard deviation grows with the time since the frame, and with how uncertain the two positions are that the
    velocity was made of.

    Example:
        >>> prior = VelocityPrior()
        >>> early, late = prior.variance(torch.tensor([0.0, 1.0]), torch.zeros(2))
        >>> bool(early < late)
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_start = nn.Parameter(torch.tensor(0.0))
        self.log_growth = nn.Parameter(torch.tensor(0.5))

    def variance(self, age: Float[Tensor, "*S"], spread: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Of the target's place along each axis [px^2].

        Args:
            age: time since the frame, in parts of the time between the last two frames.
            spread: standard deviation of the difference of the two positions [px]; infinite without a second one.
        """
        own = (2 * self.log_start).exp() + (2 * self.log_growth).exp() * age.square()
        return own + (spread * age).square()

    def forward(
        self, predicted: Float[Tensor, "B 2"], age: Float[Tensor, " B"], spread: Float[Tensor, " B"], side: int
    ) -> Float[Tensor, "B D D"]:
        """The prior's log-odds of displacements, one a pixel, `side` in each direction.

        Args:
            predicted: displacement of a target that keeps its velocity [px].
            age: as for `variance`.
            spread: as for `variance`.
            side: length of the map, odd.
        """
        steps = torch.arange(side, dtype=predicted.dtype, device=predicted.device) - side // 2
        away = (steps - predicted[:, :1]).square().unsqueeze(1) + (steps - predicted[:, 1:]).square().unsqueeze(2)
        return -away / (2 * self.variance(age, spread))[:, None, None]


def expected_place(
    log_odds: Float[Tensor, "B D D"], around: Float[Tensor, "B 2"], search: float | Float[Tensor, " B"]
) -> tuple[Float[Tensor, "B 2"], Float[Tensor, " B"]]:
    """The mean place under the softmax of a map, and how far the map is spread around it.

    Args:
        log_odds: one a pixel, the displacement 0 in the middle.
        around: only places near this one count [px].
        search: how near, along each axis; one for all, or one for each [px].

    Returns:
        The displacement `(x, y)`, and its standard deviation along an axis [px].

    Raises:
        ConfigError: nothing to search in.

    Example:
        >>> odds = torch.full((1, 5, 5), -99.0)
        >>> odds[0, 3, 2] = odds[0, 3, 3] = 0.0
        >>> place, spread = expected_place(odds, torch.zeros(1, 2), search=2)
        >>> place.tolist(), round(spread.item(), 3)  # half way along x: sqrt(0.25 / 2)
        ([[0.5, 1.0]], 0.354)
    """
    if not isinstance(search, Tensor):
        if not search >= 1:
            raise ConfigError(f"a search needs 1 px or more, but got {search}")
        search = around.new_tensor([search])
    side = log_odds.shape[-1]
    steps = torch.arange(side, dtype=log_odds.dtype, device=log_odds.device) - side // 2
    middle = around.clamp(-(side // 2), side // 2)
    outside = (steps - middle.unsqueeze(-1)).abs() > search[:, None, None]
    odds = log_odds.masked_fill(outside[:, 0].unsqueeze(1) | outside[:, 1].unsqueeze(2), -torch.inf)
    share = odds.flatten(1).softmax(1).reshape(odds.shape)
    x, y = share.sum(1), share.sum(2)
    place = torch.stack([(x * steps).sum(1), (y * steps).sum(1)], 1)
    second = (x * steps.square()).sum(1) + (y * steps.square()).sum(1)
    variance = (second - place.square().sum(1)) / 2
    return place, variance.clamp(min=1e-6).sqrt()
