"""The motion prior: expected displacement and its uncertainty, and the posterior given the network's response.

The velocity comes from two sources: the boxes of the last two frames, and their pictures. Where the two disagree, a box
was wrong; `MotionFusion` learns from the size of the difference how much to trust each.

All places are displacements `(x, y)` from the target's centre in the frame, in pixels.

A restarted event stream (`bayes_update`) uses the features of an old frame at the estimated place of the target, which
is wrong by d0. When the target moves to d1, the features change by `T_d1 - T_d0`, and with

    f(d) = <h, T_d>,    s(d) = g (<T, T_d> - <T, T>)

the least squares of the change head are `f(d1) - f(d0) + s(d1 - d0)`. Events come from the target's edges, so they also
show where it was. With a Gaussian `p` for d0 and the velocity prior for d1 - d0, the sum over all d0 is a correlation
of two small maps, the prediction step of a Bayes filter.

    p(d1) ~ exp(f(d1)) sum_d0 exp(-f(d0)) p(d0) . exp(s(d1 - d0)) p(d1 - d0)
"""

from math import ceil, floor
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from spikebridge.errors import ConfigError

UNKNOWN_VELOCITY_FACTOR = 1.6
"""Factor of the search distance for a target with unknown velocity."""


class MotionPrior(NamedTuple):
    """The motion prior at a frame.

    Args:
        place: of the target's centre relative to that of its box [px].
        motion: displacement since the frame before [px].
        spread: standard deviation of `motion`; infinite if it is unknown [px].
    """

    place: Float[Tensor, "B 2"]
    motion: Float[Tensor, "B 2"]
    spread: Float[Tensor, " B"]


class MotionPriorNp(NamedTuple):
    """A `MotionPrior` of one sample as NumPy arrays."""

    place: Float[np.ndarray, "2"]
    motion: Float[np.ndarray, "2"]
    spread: float


def to_numpy(start: MotionPrior) -> MotionPriorNp:
    """The prior of one sample as NumPy arrays.

    Example:
        >>> to_numpy(MotionPrior(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.5]))).spread
        0.5
    """
    place, motion = (part[0].double().numpy() for part in (start.place, start.motion))
    return MotionPriorNp(place, motion, float(start.spread))


def search_slice(place: float, reach: float, half: int) -> slice:
    """The pixels along an axis of a map of displacements within `reach` of a place.

    Args:
        place: the map's edge, if it is beyond [px].
        reach: 1 px or more [px].
        half: the map has displacements from `-half` to `half`.

    Example:
        >>> search_slice(0.4, 2.0, half=8), search_slice(9.5, 2.0, half=8)  # -1 to 2, and 6 to 8
        (slice(7, 11, None), slice(14, 17, None))
    """
    place = min(max(place, -half), half)
    return slice(max(ceil(place - reach), -half) + half, min(floor(place + reach), half) + half + 1)


class MotionFusion(nn.Module):
    """Fuses the motion of the boxes with that of the pictures to a motion prior.

    With the difference `r` of the two: the place moves by a share of r, the velocity by another share, and the spread
    is proportional to r. The shares are learned functions of the length of r.

    Example:
        >>> box, picture = torch.tensor([[4.0, 0.0]]), torch.tensor([[6.0, 0.0]])
        >>> start = MotionFusion()(box, picture)
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

    def forward(self, by_box: Float[Tensor, "B 2"], by_picture: Float[Tensor, "B 2"]) -> MotionPrior:
        """Two motions [px] to a start."""
        away = by_picture - by_box
        size = (away.square().sum(1, keepdim=True) + 0.1).log()
        place = torch.sigmoid(self.place_base + self.place_slope * size) * away
        motion = by_box + torch.sigmoid(self.motion_base + self.motion_slope * size) * away
        spread = self.log_spread.exp() * (away.square().sum(1) + 1e-6).sqrt()

        return MotionPrior(place, motion, spread)


class ConstantVelocityPrior(nn.Module):
    """The distribution of a target around its prediction at constant velocity.

    The standard deviation grows with the time since the frame, and with how uncertain the two positions are that the
    velocity was made of.

    Example:
        >>> prior = ConstantVelocityPrior()
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


def soft_argmax(
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
        >>> place, spread = soft_argmax(odds, torch.zeros(1, 2), search=2)
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
    x = share.sum(1)
    y = share.sum(2)
    place = torch.stack([(x * steps).sum(1), (y * steps).sum(1)], 1)
    second = (x * steps.square()).sum(1) + (y * steps.square()).sum(1)
    variance = (second - place.square().sum(1)) / 2

    return place, variance.clamp(min=1e-6).sqrt()


SPREAD_FACTOR = 2.0
"""Factor of the estimated spread: errors are correlated from bin to bin."""
_MAX_DEVIATIONS = 3.0  # of d0, in standard deviations and in pixels
_MAX_DISTANCE = 8.0
_MIN_SPREAD = 0.5  # a smaller standard deviation would fall between the pixels


class StartUncertainty(NamedTuple):
    """The uncertainty of the start of a restarted event stream.

    Args:
        spread: estimated standard deviation of the target's place along each axis [px].
        unchanged: the head's log-odds of displacements where no feature has changed, `s`, one a pixel, 0 in the middle.
    """

    spread: float
    unchanged: Float[np.ndarray, "D D"]


def bayes_update(
    fits: Float[np.ndarray, "D D"],
    uncertainty: StartUncertainty,
    expected: MotionPriorNp,
    variance: float,
    age: float,
    search: float,
) -> tuple[Float[np.ndarray, "2"], float]:
    """The mean place near the predicted one, and its standard deviation along an axis [px].

    Args:
        fits: how well the change fits the template at each displacement, `f`, one a pixel, 0 in the middle.
        uncertainty: of the start of the stream.
        expected: of the stream.
        variance: along each axis of the way since it began; infinite without a prior [px^2].
        age: time since it began, in parts of the time in which the target goes as far as `expected.motion`.
        search: how far from the prediction is looked, along each axis [px].

    Example:
        >>> bump = np.exp(-(np.arange(-8, 9) ** 2) / 8)
        >>> still = 20 * (np.outer(bump, bump) - 1)  # of a round target
        >>> fits = np.roll(still, 3, axis=1) - np.roll(still, -1, axis=1)  # from 1 px on the left to 3 on the right
        >>> expected = MotionPriorNp(np.zeros(2), np.array([2.0, 0.0]), 0.0)
        >>> place, _ = bayes_update(fits, StartUncertainty(1.0, still), expected, variance=4.0, age=1.0, search=5.0)
        >>> place.round(1).tolist()
        [2.9, 0.0]
    """
    half = len(fits) // 2
    motion = expected.motion * age
    spread = max(SPREAD_FACTOR * uncertainty.spread, _MIN_SPREAD)
    before = x0, y0 = [
        search_slice(place, min(_MAX_DEVIATIONS * spread, _MAX_DISTANCE), half) for place in expected.place.tolist()
    ]
    after = x1, y1 = [search_slice(place, search, half) for place in (expected.place + motion).tolist()]

    # displacements from each of the first places to each of the others, which may be more than the map has
    ways = [range(to.start - of.stop + 1, to.stop - of.start) for of, to in zip(before, after, strict=True)]
    far = max(half, *(max(-way.start, way.stop - 1) for way in ways))
    x, y = (slice(way.start + far, way.stop + far) for way in ways)
    still = np.pad(uncertainty.unchanged, far - half, constant_values=-np.inf)
    steps = np.arange(-far, far + 1)
    own = np.arange(-half, half + 1)
    began = _gaussian(own[x0], own[y0], expected.place, spread**2) - fits[y0, x0]
    went = _gaussian(steps[x], steps[y], motion, variance) + still[y, x]

    with np.errstate(divide="ignore"):  # places that nothing leads to
        share = _odds(np.log(_summed(_odds(went), _odds(began))) + fits[y1, x1])

    share /= share.sum()
    of_x = share.sum(0)
    of_y = share.sum(1)
    place = np.array([of_x @ own[x1], of_y @ own[y1]])
    left = float(of_x @ own[x1] ** 2 + of_y @ own[y1] ** 2 - place @ place) / 2

    return place, max(left, 1e-6) ** 0.5


def _gaussian(
    x: NDArray[np.int64], y: NDArray[np.int64], middle: NDArray[np.float64], variance: float
) -> NDArray[np.float64]:
    """Log-odds of displacements in rows and columns."""
    away = (x - middle[0]) ** 2 + ((y - middle[1]) ** 2)[:, None]
    return -away / (2 * variance)


def _odds(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(log_odds - log_odds.max())


def _summed(ways: NDArray[np.float64], began: NDArray[np.float64]) -> NDArray[np.float64]:
    """`sum_d0 began(d0) ways(d1 - d0)` for each d1."""
    turned = np.ascontiguousarray(began[::-1, ::-1])
    return F.conv2d(torch.from_numpy(ways)[None, None], torch.from_numpy(turned)[None, None])[0, 0].numpy()
