"""Calibration while tracking: how strongly events of this camera answer to motion, and which source to believe.

The change head scores a displacement d by `b (a E(d) - a^2 M(d))` with `E(d) = <h, T_d - T_0>` and
`M(d) = |T_d - T_0|^2 / 2`. A trained network has one gain `a` and one weight `b`. With another camera, events may be
fewer or pictures brighter: `E` is smaller, and the trained gain says that nothing has moved. Once the next box is
known, the path between the two boxes is nearly straight, `d_t = motion age_t`, and two things are learned from it:

- the gain of each bin of an interval, by least squares: `a_t = sum E(d_t) / sum 2 M(d_t)`;
- the weights of experts. An expert is a weight `b` of the events (0 is the prior alone), a width of the prior, and what
  the prior is made of: the velocity of the boxes, that corrected by the pictures, or the velocity and the acceleration
  of the boxes. One has the trained numbers. Its loss is the
  distance of its place from `d_t` [px], and the answer is the mean of all places with the weights `softmax(-loss)`: the
  exponentially weighted average forecaster (N. Cesa-Bianchi, G. Lugosi, Prediction, Learning, and Games, 2006, ch. 2),
  which is hardly worse than the best expert.

All sums forget. They are a few numbers in the tracker's state, so a stream that is split or resumed is the whole.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.networks.sensing.model.motion_prior import MotionPriorNp
from spikebridge.ops.layers.places import mean_places

_FORGETTING = 0.9
"""Factor of all sums at each new interval."""
_EVENT_WEIGHTS = (0.0, 0.01, 0.03, 0.1)
_WIDTHS = ((0.2, 0.6), (0.5, 1.6), (1.0, 4.0))
"""Standard deviation of the motion prior at the frame, and its growth until the next one [px]."""
_MAX_BINS = 24
_TRAINED_COUNT = 3.0
"""Number of intervals that the trained gain counts for."""
_HANDICAP = 3.0
"""Loss of all experts but the trained one before anything is learned [px]."""


class TrainedHead(NamedTuple):
    """The numbers of a trained change head and of its velocity prior.

    Args:
        gain: `a`.
        weight: `b`.
        width: standard deviation of the prior at the frame, and its growth until the next one [px].
    """

    gain: float
    weight: float
    width: tuple[float, float]


class Calibration(NamedTuple):
    """What is learned of a camera and of the target's motion.

    Args:
        fits: discounted sums of `E` at the true displacement, for each bin of an interval.
        changes: discounted sums of `2 M` there.
        counts: discounted numbers of intervals.
        losses: discounted sums of the distances of each expert [px].
    """

    fits: Float[np.ndarray, " T"]
    changes: Float[np.ndarray, " T"]
    counts: Float[np.ndarray, " T"]
    losses: Float[np.ndarray, " K"]

    def gain(self, number: int, trained: float) -> float:
        """The gain of a bin, 0 or more.

        Args:
            number: of the bin in its interval, from 0.
            trained: the gain of the network, which counts for a few intervals.
        """
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


def uncalibrated() -> Calibration:
    """Nothing learned: the trained gain, and the trained expert ahead.

    Example:
        >>> calibration = uncalibrated()
        >>> calibration.gain(0, trained=1.01), len(calibration.weights)
        (1.01, 60)
    """
    losses = np.full((1 + len(_EVENT_WEIGHTS), 3, 1 + len(_WIDTHS)), _HANDICAP)
    losses[0, 1, 0] = 0.0  # trained weight, corrected by pictures, trained width
    nothing = np.zeros(_MAX_BINS)

    return Calibration(nothing, nothing, nothing, losses.ravel())


class BinRecord(NamedTuple):
    """A bin of an interval whose end is not known yet.

    Args:
        number: of the bin in its interval, from 0.
        elapsed: since the frame [s].
        fits: `E` near the predicted place, 0 for no displacement.
        changes: `M` there.
        corner: displacement of the first row and column, `(x, y)` [px].
        places: displacements that the experts give [px].
    """

    number: int
    elapsed: float
    fits: Float[np.ndarray, "H W"]
    changes: Float[np.ndarray, "H W"]
    corner: Float[np.ndarray, "2"]
    places: Float[np.ndarray, "K 2"]


class Interval(NamedTuple):
    """What is known when an interval starts; the priors are those of all starts and widths.

    Args:
        motion: mean displacement until the next frame, without acceleration [px].
        acceleration: change of the motion from one interval to the next [px].
        place: of the start [px].
        variance: of the displacement at the frame [px^2].
        growth: of the variance until the next frame [px^2].
        changes: `M` of the template, one a pixel, displacement 0 in the middle.
        trained: the network's own numbers.
        search: how far from the prediction is looked, along each axis [px].
    """

    motion: Float[np.ndarray, "P 2"]
    acceleration: Float[np.ndarray, "P 2"]
    place: Float[np.ndarray, "P 2"]
    variance: Float[np.ndarray, " P"]
    growth: Float[np.ndarray, " P"]
    changes: Float[np.ndarray, "D D"]
    trained: TrainedHead
    search: float

    def middles(self, age: float) -> Float[np.ndarray, "P 2"]:
        """Displacements that the priors predict [px].

        The motion is the mean velocity of the last interval, and at the frame the target was faster by half a change.

        Args:
            age: time since the frame, in units of the time of `motion`.
        """
        return self.motion * age + self.acceleration * (age * (1 + age) / 2)

    def window(self, age: float) -> tuple[slice, slice]:
        """Rows and columns of a map that are within the search distance of the middle of all predictions.

        Args:
            age: as of `middles`.
        """
        half = len(self.changes) // 2
        middles = self.middles(age)
        x, y = ((middles.min(0) + middles.max(0)) / 2).tolist()

        return _near(y, self.search, half), _near(x, self.search, half)


def begin_interval(
    starts: tuple[MotionPriorNp, MotionPriorNp],
    acceleration: Float[np.ndarray, "2"],
    changes: Float[np.ndarray, "D D"],
    trained: TrainedHead,
    search: float,
) -> Interval:
    """An interval that starts.

    Args:
        starts: the motion priors, from the boxes and with the pictures.
        acceleration: of the boxes, see `Interval`; 0 if it is not known.
        changes: see `Interval`.
        trained: see `Interval`.
        search: see `Interval`.
    """
    widths = np.square((trained.width, *_WIDTHS))
    all_starts = (*starts, starts[0])
    motion, place = (
        np.repeat([getattr(one, name) for one in all_starts], len(widths), 0) for name in ("motion", "place")
    )
    bent = np.repeat([np.zeros(2), np.zeros(2), acceleration], len(widths), 0)
    growth = np.concatenate([widths[:, 1] + start.spread**2 for start in all_starts])
    variance = np.tile(widths[:, 0], len(all_starts))

    return Interval(motion, bent, place, variance, growth, changes, trained, search)


def calibrated_place(
    fits: Float[np.ndarray, "H W"],
    calibration: Calibration,
    interval: Interval,
    age: float,
    elapsed: float,
    number: int,
) -> tuple[Float[np.ndarray, "2"], float, BinRecord]:
    """The weighted mean of the experts' places.

    Args:
        fits: `E` of the events since the frame, one a pixel, in the window of the interval.
        calibration: so far.
        interval: that the bin is in.
        age: time since the frame, in units of the time in which the target moves by the motion of the priors.
        elapsed: the same [s].
        number: of the bin in its interval, from 0.

    Returns:
        The displacement, its standard deviation along an axis [px], and the record of the bin.
    """
    rows, columns = interval.window(age)
    changes, half = interval.changes[rows, columns], len(interval.changes) // 2
    trained, gain = interval.trained, calibration.gain(number, interval.trained.gain)
    experts = ((trained.weight, trained.gain), *((weight, gain) for weight in _EVENT_WEIGHTS))
    factors = np.array([(weight * gain, -weight * gain * gain) for weight, gain in experts])
    corner = columns.start - half, rows.start - half
    middles = interval.middles(age)
    spread = interval.variance + interval.growth * age**2
    around, variances = mean_places((fits, changes), factors, corner, middles, spread)
    places = (around + interval.place).reshape(-1, 2)
    shares = calibration.weights
    place = shares @ places
    variance = shares @ (variances.ravel() + np.square(places - place).sum(1) / 2)
    record = BinRecord(number, elapsed, fits, changes, np.array(corner, dtype=np.float64), places)

    return place, max(float(variance), 1e-6) ** 0.5, record


def learned(
    calibration: Calibration,
    bins: Sequence[BinRecord],
    motion: Float[np.ndarray, "2"],
    period: float,
    certainty: float = 1.0,
) -> Calibration:
    """The calibration after an interval whose end is known.

    Args:
        calibration: before.
        bins: records of the interval.
        motion: displacement of the target between the two frames [px].
        period: time between them [s].
        certainty: of the last box, 0 to 1; 1 for a given one.
    """
    if not bins or not certainty > 0:
        return calibration

    fits, changes, counts, losses = (part * _FORGETTING for part in calibration)
    ways = motion * np.minimum(np.array([[record.elapsed / period] for record in bins]), 1.0)
    losses += certainty * np.hypot(*(np.array([record.places for record in bins]) - ways[:, None]).T).sum(1)
    places = (ways - np.array([record.corner for record in bins])).tolist()

    for record, (x, y) in zip(bins, places, strict=True):
        t = min(record.number, _MAX_BINS - 1)
        fits[t] += certainty * _at(record.fits, x, y)
        changes[t] += certainty * 2 * _at(record.changes, x, y)
        counts[t] += certainty

    return Calibration(fits, changes, counts, losses)


def _near(middle: float, search: float, half: int) -> slice:
    """The pixels of a map of `2 half + 1` along an axis that are near a displacement, two at least."""
    first = min(max(floor(middle - search), -half), half - 1)
    return slice(first + half, min(max(ceil(middle + search), first + 1), half) + half + 1)


def _at(values: Float[np.ndarray, "H W"], x: float, y: float) -> float:
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
