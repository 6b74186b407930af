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

# factor of the search distance for a target with unknown velocity
UNKNOWN_VELOCITY_FACTOR = 1.6
# factor of the estimated spread of a restarted stream: errors are correlated from bin to bin
SPREAD_FACTOR = 2.0
# smallest variance of a place [px^2]; rounding may give less, or a negative one
MIN_VARIANCE = 1e-6
# the uncertainty of the start of a restarted stream, in standard deviations and in pixels
_MAX_DEVIATIONS = 3.0
_MAX_DISTANCE = 8.0
# a smaller standard deviation would fall between the pixels
_MIN_SPREAD = 0.5


class MotionPrior(NamedTuple):
    """The target's centre relative to that of its box, its displacement since the frame before, and the standard
    deviation of that, infinite if it is unknown [px]."""

    place: Float[Tensor, "B 2"]
    motion: Float[Tensor, "B 2"]
    spread: Float[Tensor, " B"]


class MotionPriorNp(NamedTuple):
    """A `MotionPrior` of one sample as NumPy arrays."""

    place: Float[np.ndarray, "2"]
    motion: Float[np.ndarray, "2"]
    spread: float


def to_numpy(start: MotionPrior) -> MotionPriorNp:
    """The prior of one sample as NumPy arrays."""
    place = start.place[0].double().numpy()
    motion = start.motion[0].double().numpy()
    return MotionPriorNp(place, motion, float(start.spread))


def search_slice(place: float, reach: float, half: int) -> slice:
    """The pixels of an axis with displacements from `-half` to `half` that are within `reach` of a place [px].

    A place beyond the axis counts as its end; `reach` is 1 px or more.
    """
    place = min(max(place, -half), half)
    return slice(max(ceil(place - reach), -half) + half, min(floor(place + reach), half) + half + 1)


class MotionFusion(nn.Module):
    """Fuses the motion of the boxes with that of the pictures to a motion prior.

    With the difference `r` of the two: the place moves by a share of r, the velocity by another share, and the spread
    is proportional to r. The shares are learned functions of the length of r.
    """

    def __init__(self) -> None:
        super().__init__()
        self.place_base = nn.Parameter(torch.tensor(-1.0))
        self.place_slope = nn.Parameter(torch.tensor(0.3))
        self.motion_base = nn.Parameter(torch.tensor(0.0))
        self.motion_slope = nn.Parameter(torch.tensor(0.3))
        self.log_spread = nn.Parameter(torch.tensor(-1.5))

    def forward(self, by_box: Float[Tensor, "B 2"], by_picture: Float[Tensor, "B 2"]) -> MotionPrior:
        """The prior of two motions [px]."""
        difference = by_picture - by_box
        log_size = (difference.square().sum(1, keepdim=True) + 0.1).log()
        place = torch.sigmoid(self.place_base + self.place_slope * log_size) * difference
        motion = by_box + torch.sigmoid(self.motion_base + self.motion_slope * log_size) * difference
        spread = self.log_spread.exp() * (difference.square().sum(1) + 1e-6).sqrt()

        return MotionPrior(place, motion, spread)


class ConstantVelocityPrior(nn.Module):
    """The distribution of a target around its prediction at constant velocity.

    The standard deviation grows with the time since the frame, and with the uncertainty of the two positions that the
    velocity was made of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_start = nn.Parameter(torch.tensor(0.0))
        self.log_growth = nn.Parameter(torch.tensor(0.5))

    def variance(self, age: Float[Tensor, "*S"], spread: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """The variance of the place along each axis [px^2].

        `age` is the time since the frame, in units of the time between the last two frames; `spread` the standard
        deviation of the difference of the two positions [px], infinite without a second one.
        """
        own = (2 * self.log_start).exp() + (2 * self.log_growth).exp() * age.square()
        return own + (spread * age).square()

    def forward(
        self, predicted: Float[Tensor, "B 2"], age: Float[Tensor, " B"], spread: Float[Tensor, " B"], side: int
    ) -> Float[Tensor, "B D D"]:
        """Log-odds of displacements, one a pixel of a map of an odd side, around the predicted displacement [px]."""
        steps = torch.arange(side, dtype=predicted.dtype, device=predicted.device) - side // 2
        distance = (steps - predicted[:, :1]).square().unsqueeze(1) + (steps - predicted[:, 1:]).square().unsqueeze(2)

        return -distance / (2 * self.variance(age, spread))[:, None, None]


def soft_argmax(
    log_odds: Float[Tensor, "B D D"], around: Float[Tensor, "B 2"], search: float | Float[Tensor, " B"]
) -> tuple[Float[Tensor, "B 2"], Float[Tensor, " B"]]:
    """The mean displacement `(x, y)` under the softmax of a map, and its standard deviation along an axis [px].

    The map has one value a pixel, displacement 0 in the middle. Only displacements within `search` of `around` along
    each axis count [px]; it is one for all samples, or one for each.
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

    return place, variance.clamp(min=MIN_VARIANCE).sqrt()


class StartUncertainty(NamedTuple):
    """The uncertainty of the start of a restarted event stream.

    `spread` is the estimated standard deviation of the target's place along each axis [px]; `unchanged` are the head's
    log-odds of displacements where no feature has changed, `s`, one a pixel, displacement 0 in the middle.
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
    """The mean place of a restarted stream, and its standard deviation along an axis [px].

    `fits` is `f`, one a pixel; `variance` that of the displacement since the start along each axis [px^2]; `age` the
    time since the start, in units of the time of `expected.motion`. Places within `search` of the predicted one along
    each axis count [px].
    """
    half = len(fits) // 2
    motion = expected.motion * age
    spread = max(SPREAD_FACTOR * uncertainty.spread, _MIN_SPREAD)
    reach = min(_MAX_DEVIATIONS * spread, _MAX_DISTANCE)
    x0, y0 = (search_slice(place, reach, half) for place in expected.place.tolist())
    x1, y1 = (search_slice(place, search, half) for place in (expected.place + motion).tolist())

    # displacements from each start to each end, which may be more than the map has
    steps_x = range(x1.start - x0.stop + 1, x1.stop - x0.start)
    steps_y = range(y1.start - y0.stop + 1, y1.stop - y0.start)
    far = max(half, *(max(-steps.start, steps.stop - 1) for steps in (steps_x, steps_y)))
    x = slice(steps_x.start + far, steps_x.stop + far)
    y = slice(steps_y.start + far, steps_y.stop + far)
    unchanged = np.pad(uncertainty.unchanged, far - half, constant_values=-np.inf)
    steps = np.arange(-far, far + 1)
    places = np.arange(-half, half + 1)

    start = _gaussian(places[x0], places[y0], expected.place, spread**2) - fits[y0, x0]
    displacement = _gaussian(steps[x], steps[y], motion, variance) + unchanged[y, x]

    # the logarithm of 0: places that no start leads to
    with np.errstate(divide="ignore"):
        share = _odds(np.log(_summed(_odds(displacement), _odds(start))) + fits[y1, x1])

    share /= share.sum()
    share_x = share.sum(0)
    share_y = share.sum(1)
    place = np.array([share_x @ places[x1], share_y @ places[y1]])
    remainder = float(share_x @ places[x1] ** 2 + share_y @ places[y1] ** 2 - place @ place) / 2

    return place, max(remainder, MIN_VARIANCE) ** 0.5


def _gaussian(
    x: NDArray[np.int64], y: NDArray[np.int64], mean: NDArray[np.float64], variance: float
) -> NDArray[np.float64]:
    """Log-odds of displacements in rows and columns."""
    distance = (x - mean[0]) ** 2 + ((y - mean[1]) ** 2)[:, None]
    return -distance / (2 * variance)


def _odds(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(log_odds - log_odds.max())


def _summed(displacement: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """`sum_d0 start(d0) displacement(d1 - d0)` for each d1."""
    kernel = np.ascontiguousarray(start[::-1, ::-1])
    return F.conv2d(torch.from_numpy(displacement)[None, None], torch.from_numpy(kernel)[None, None])[0, 0].numpy()
