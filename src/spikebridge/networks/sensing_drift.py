"""Where a target is that was not quite where its stream began: both places are asked for together.

A stream that goes on with an old frame has the target's features moved to where the target is believed to be by then;
it is some pixels off, at d0. When it goes to d1 the features change by `T_d1 - T_d0`, and with

    f(d) = <h, T_d>,    s(d) = g (<T, T_d> - <T, T>)

the least squares of the change head are `f(d1) - f(d0) + s(d1 - d0)`. Events come from the target's edges, so they also
tell where it was. With a Gaussian `p` for d0 and the velocity prior for d1 - d0, the sum over all d0 is a correlation
of two small maps: what a Bayes filter predicts, before it weighs by what is seen.

    p(d1) ~ exp(f(d1)) sum_d0 exp(-f(d0)) p(d0) . exp(s(d1 - d0)) p(d1 - d0)
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.networks.sensing_motion import Expected, near

DOUBT = 2.0
"""A target is so many times as far beside its place as the answers say: what they are off lasts from bin to bin."""
_FAR, _FARTHEST = 3.0, 8.0  # d0 is looked for up to so many standard deviations, but no more pixels than this
_LEAST = 0.5  # a smaller standard deviation would fall between the pixels


class Drift(NamedTuple):
    """What is not known of the beginning of a stream.

    Args:
        spread: standard deviation of the target's place along each axis, as the answers say [px].
        still: the head's log-odds of displacements where nothing has changed, `s`, one a pixel, 0 in the middle.
    """

    spread: float
    still: Float[np.ndarray, "D D"]


def place_with_drift(
    fits: Float[np.ndarray, "D D"], drift: Drift, expected: Expected, variance: float, age: float, search: float
) -> tuple[Float[np.ndarray, "2"], float]:
    """The mean place near the predicted one, and its standard deviation along an axis [px].

    Args:
        fits: how well the change fits the template at each displacement, `f`, one a pixel, 0 in the middle.
        drift: of the stream.
        expected: of the stream.
        variance: along each axis of the way since it began; infinite without a prior [px^2].
        age: time since it began, in parts of the time in which the target goes as far as `expected.motion`.
        search: how far from the prediction is looked, along each axis [px].

    Example:
        >>> bump = np.exp(-(np.arange(-8, 9) ** 2) / 8)
        >>> still = 20 * (np.outer(bump, bump) - 1)  # of a round target
        >>> fits = np.roll(still, 3, axis=1) - np.roll(still, -1, axis=1)  # from 1 px on the left to 3 on the right
        >>> expected = Expected(np.zeros(2), np.array([2.0, 0.0]), 0.0)
        >>> place_with_drift(fits, Drift(1.0, still), expected, variance=4.0, age=1.0, search=5.0)[0].round(1).tolist()
        [2.9, 0.0]
    """
    half, motion = len(fits) // 2, expected.motion * age
    spread = max(DOUBT * drift.spread, _LEAST)
    before = x0, y0 = [near(place, min(_FAR * spread, _FARTHEST), half) for place in expected.place.tolist()]
    after = x1, y1 = [near(place, search, half) for place in (expected.place + motion).tolist()]
    # displacements from each of the first places to each of the others, which may be more than the map has
    ways = [range(to.start - of.stop + 1, to.stop - of.start) for of, to in zip(before, after, strict=True)]
    far = max(half, *(max(-way.start, way.stop - 1) for way in ways))
    x, y = (slice(way.start + far, way.stop + far) for way in ways)
    still = np.pad(drift.still, far - half, constant_values=-np.inf)
    steps = np.arange(-far, far + 1)
    own = np.arange(-half, half + 1)
    began = _gaussian(own[x0], own[y0], expected.place, spread**2) - fits[y0, x0]
    went = _gaussian(steps[x], steps[y], motion, variance) + still[y, x]
    with np.errstate(divide="ignore"):  # places that nothing leads to
        share = _odds(np.log(_summed(_odds(went), _odds(began))) + fits[y1, x1])
    share /= share.sum()
    of_x, of_y = share.sum(0), share.sum(1)
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
