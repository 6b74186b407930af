"""Calibration while tracking: the strength with which events of this camera answer to motion, and the best source.

The change head scores a displacement d by `b (a E(d) - a^2 M(d))` with `E(d) = <h, T_d - T_0>` and
`M(d) = |T_d - T_0|^2 / 2`. A trained network has one gain `a` and one weight `b`. With another camera, events may be
fewer or pictures brighter: `E` is smaller, and the trained gain says that nothing has moved. Once the next box is
known, the path between the two boxes is nearly straight, `d_t = motion age_t`, and two things are learned from it:

- the gain of each bin of an interval, by least squares: `a_t = sum E(d_t) / sum 2 M(d_t)`;
- the weights of experts. An expert is a weight `b` of the events (0 is the prior alone), a width of the prior, and the
  source of the prior: the velocity of the boxes, that corrected by the pictures, or the velocity and the acceleration
  of the boxes. One has the trained numbers. Its loss is the
  distance of its place from `d_t` [px], and the answer is the mean of all places with the weights `softmax(-loss)`: the
  exponentially weighted average forecaster (N. Cesa-Bianchi, G. Lugosi, Prediction, Learning, and Games, 2006, ch. 2),
  which is hardly worse than the best expert.

All sums forget. They are a few numbers in the tracker's state, so a stream may be split and resumed.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.networks.sensing.model.motion_prior import MIN_VARIANCE, MotionPriorNp
from spikebridge.networks.sensing.native.places import mean_places

# chosen on validation parts, with events lost: research/sensing/cameras/calibration.py --choose
# factor of all sums at each new interval
_FORGETTING = 0.9
_EVENT_WEIGHTS = (0.0, 0.01, 0.03, 0.1)
# standard deviation of the motion prior at the frame, and its growth until the next one [px]
_WIDTHS = ((0.2, 0.6), (0.5, 1.6), (1.0, 4.0))
_MAX_BINS = 24
# number of intervals that the trained gain counts for
_TRAINED_COUNT = 3.0
# loss of all experts but the trained one before anything is learned [px]
_HANDICAP = 3.0


class TrainedHead(NamedTuple):
    """The gain `a` and the weight `b` of a trained change head, and the width of its velocity prior.

    The width is the standard deviation at the frame, and its growth until the next one [px].
    """

    gain: float
    weight: float
    width: tuple[float, float]


class Calibration(NamedTuple):
    """The calibration to a camera and to the target's motion."""

    # discounted sums of `E` at the true displacement, for each bin of an interval
    fits: Float[np.ndarray, " T"]
    # discounted sums of `2 M` there
    changes: Float[np.ndarray, " T"]
    # discounted numbers of intervals
    counts: Float[np.ndarray, " T"]
    # discounted sums of the distances of each expert [px]
    losses: Float[np.ndarray, " K"]

    def gain(self, number: int, trained: float) -> float:
        """The gain of a bin of an interval, 0 or more; the trained gain counts for a few intervals."""
        t = min(number, _MAX_BINS - 1)
        if not self.changes[t] > 0:
            return trained

        prior = _TRAINED_COUNT * self.changes[t] / self.counts[t]
        return max(float((self.fits[t] + trained * prior) / (self.changes[t] + prior)), 0.0)

    @property
    def weights(self) -> Float[np.ndarray, " K"]:
        """The weights of the experts; their sum is 1."""
        shares = np.exp(self.losses.min() - self.losses)
        return shares / shares.sum()


def initial_calibration() -> Calibration:
    """The calibration before anything is learned: the trained gain, and the trained expert ahead."""
    losses = np.full((1 + len(_EVENT_WEIGHTS), 3, 1 + len(_WIDTHS)), _HANDICAP)
    # trained weight, corrected by pictures, trained width
    losses[0, 1, 0] = 0.0
    zeros = np.zeros(_MAX_BINS)

    return Calibration(zeros, zeros, zeros, losses.ravel())


class BinRecord(NamedTuple):
    """A bin of an interval whose end is not known yet."""

    # number of the bin in its interval, from 0
    number: int
    # time since the frame [s]
    elapsed: float
    # `E` near the predicted place, 0 for no displacement
    fits: Float[np.ndarray, "H W"]
    # `M` there
    changes: Float[np.ndarray, "H W"]
    # displacement of the first row and column, `(x, y)` [px]
    corner: Float[np.ndarray, "2"]
    # displacements that the experts give [px]
    places: Float[np.ndarray, "K 2"]


class Interval(NamedTuple):
    """The priors of an interval between two frames, for all sources and widths."""

    # mean displacement until the next frame, without acceleration [px]
    motion: Float[np.ndarray, "P 2"]
    # change of the motion from one interval to the next [px]
    acceleration: Float[np.ndarray, "P 2"]
    # displacement at the start [px]
    place: Float[np.ndarray, "P 2"]
    # variance of the displacement at the frame [px^2]
    variance: Float[np.ndarray, " P"]
    # growth of the variance until the next frame [px^2]
    growth: Float[np.ndarray, " P"]
    # `M` of the template, one a pixel, displacement 0 in the middle
    changes: Float[np.ndarray, "D D"]
    # the network's own numbers
    trained: TrainedHead
    # largest distance from the prediction along each axis [px]
    search: float

    def means(self, age: float) -> Float[np.ndarray, "P 2"]:
        """Displacements that the priors predict [px], at an age in units of the time of `motion`.

        The motion is the mean velocity of the last interval, and at the frame the target was faster by half a change.
        """
        return self.motion * age + self.acceleration * (age * (1 + age) / 2)

    def window(self, age: float) -> tuple[slice, slice]:
        """Rows and columns of a map that are within the search distance of the middle of all predictions."""
        half = len(self.changes) // 2
        means = self.means(age)
        x, y = ((means.min(0) + means.max(0)) / 2).tolist()

        return _near(y, self.search, half), _near(x, self.search, half)


def begin_interval(
    starts: tuple[MotionPriorNp, MotionPriorNp],
    acceleration: Float[np.ndarray, "2"],
    changes: Float[np.ndarray, "D D"],
    trained: TrainedHead,
    search: float,
) -> Interval:
    """The priors of an interval, by the motion priors from the boxes and with the pictures."""
    by_boxes, with_pictures = starts
    sources = (by_boxes, with_pictures, by_boxes)
    widths = np.square((trained.width, *_WIDTHS))
    num_widths = len(widths)

    return Interval(
        motion=np.repeat([source.motion for source in sources], num_widths, 0),
        acceleration=np.repeat([np.zeros(2), np.zeros(2), acceleration], num_widths, 0),
        place=np.repeat([source.place for source in sources], num_widths, 0),
        variance=np.tile(widths[:, 0], len(sources)),
        growth=np.concatenate([widths[:, 1] + source.spread**2 for source in sources]),
        changes=changes,
        trained=trained,
        search=search,
    )


def calibrated_place(
    fits: Float[np.ndarray, "H W"],
    calibration: Calibration,
    interval: Interval,
    age: float,
    elapsed: float,
    number: int,
) -> tuple[Float[np.ndarray, "2"], float, BinRecord]:
    """The weighted mean of the experts' displacements, its standard deviation along an axis [px], and the bin's record.

    `fits` is `E` in the window of the interval; `age` the time since the frame in units of the time of the priors'
    motion, and `elapsed` the same in seconds; `number` that of the bin in its interval, from 0.
    """
    rows, columns = interval.window(age)
    changes = interval.changes[rows, columns]
    half = len(interval.changes) // 2
    corner = columns.start - half, rows.start - half

    # the log-odds of an expert are b a E - b a^2 M
    trained = interval.trained
    gain = calibration.gain(number, trained.gain)
    event_experts = ((trained.weight, trained.gain), *((weight, gain) for weight in _EVENT_WEIGHTS))
    factors = np.array([(b * a, -b * a * a) for b, a in event_experts])
    spread = interval.variance + interval.growth * age**2
    displacements, variances = mean_places((fits, changes), factors, corner, interval.means(age), spread)

    places = (displacements + interval.place).reshape(-1, 2)
    shares = calibration.weights
    place = shares @ places
    variance = shares @ (variances.ravel() + np.square(places - place).sum(1) / 2)
    record = BinRecord(number, elapsed, fits, changes, np.array(corner, dtype=np.float64), places)

    return place, max(float(variance), MIN_VARIANCE) ** 0.5, record


def update_calibration(
    calibration: Calibration,
    bins: Sequence[BinRecord],
    motion: Float[np.ndarray, "2"],
    period: float,
    certainty: float = 1.0,
) -> Calibration:
    """The calibration after an interval of `period` seconds, in which the target moved by `motion` [px].

    `certainty` is that of the last box, 0 to 1; 1 for a given one.
    """
    if not bins or not certainty > 0:
        return calibration

    fits, changes, counts, losses = (part * _FORGETTING for part in calibration)
    paths = motion * np.minimum(np.array([[record.elapsed / period] for record in bins]), 1.0)
    errors = np.array([record.places for record in bins]) - paths[:, None]
    losses += certainty * np.hypot(*errors.T).sum(1)
    positions = (paths - np.array([record.corner for record in bins])).tolist()

    for record, (x, y) in zip(bins, positions, strict=True):
        t = min(record.number, _MAX_BINS - 1)
        fits[t] += certainty * _interpolate(record.fits, x, y)
        changes[t] += certainty * 2 * _interpolate(record.changes, x, y)
        counts[t] += certainty

    return Calibration(fits, changes, counts, losses)


def _near(center: float, search: float, half: int) -> slice:
    """The pixels of a map of `2 half + 1` along an axis that are near a displacement, two at least."""
    first = min(max(floor(center - search), -half), half - 1)
    last = min(max(ceil(center + search), first + 1), half)
    return slice(first + half, last + half + 1)


def _interpolate(values: Float[np.ndarray, "H W"], x: float, y: float) -> float:
    """Linear interpolation between pixels; beyond the edge, the edge."""
    height, width = values.shape
    x = min(max(x, 0.0), width - 1.0)
    y = min(max(y, 0.0), height - 1.0)
    left = min(int(x), width - 2)
    top = min(int(y), height - 2)
    x = x - left
    y = y - top
    (a, b), (c, d) = values[top : top + 2, left : left + 2].tolist()

    return float((1 - y) * ((1 - x) * a + x * b) + y * ((1 - x) * c + x * d))
