"""Calibration while tracking: the strength with which events of this camera answer to motion, and the best source.

The change head scores a displacement d by `b (a E(d) - a^2 M(d))` with `E(d) = <h, T_d - T_0>` and
`M(d) = |T_d - T_0|^2 / 2`. A trained network has one gain `a` and one weight `b`. With another camera, events may be
fewer or pictures brighter: `E` is smaller, and the trained gain says that nothing has moved. Once the next box is
known, the path between the two boxes is nearly straight, `d_t = motion age_t` (of a long interval the parabola through
the last three boxes), and two things are learned from it:

- the gain of each bin of an interval, by least squares: `a_t = sum E(d_t) / sum 2 M(d_t)`;
- the weights of experts. An expert is a weight `b` of the events (0 is the prior alone), a width of the prior, and the
  source of the prior: the velocity of the boxes, that corrected by the pictures, or the velocity and the acceleration
  of the boxes. One has the trained numbers. Its loss is the distance of its place from `d_t`, in units of the answer's
  own distance (of 1.5 px at least: at rare frames all are large). The answer is the mean of all places with the weights
  `softmax(-loss)`: the exponentially weighted average forecaster (N. Cesa-Bianchi, G. Lugosi, Prediction, Learning, and
  Games, 2006, ch. 2), which is hardly worse than the best expert.

The trained expert is ahead of the 59 others together before anything is learned, and constant velocity of the rest. A
network whose gain is too large for the events says that nothing moves, so its lead is the share of the first
displacement that it saw, before any velocity was known.

Where the next frame is late, a new event stream starts where the trained expert has the target: this one stays the
network alone. The experts with the velocity of the boxes continue from the frame, so that `b = 0` stays constant
velocity however long the interval is; those with the pictures' take the velocity of the last stream. Of a long interval
only the end is known, so bins count less where the path bends, and all of them together as those of a short one.

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
# losses before anything is learned: of constant velocity, and of all others but the trained expert
_VELOCITY_HANDICAP = 8.5
_HANDICAP = 10.0
# number of bins that an interval counts for
_INTERVAL_BINS = 12.0
# least unit of losses; a displacement as large as this says little of the network [px]
_MIN_ERROR = 1.5
# distance between parabola and straight line at which a place on the path counts half [px]
_PATH_ERROR = 0.3
# records kept for the next frame: a camera may pause for any time
_MAX_RECORDS = 120
# place of the trained expert with the trained width, pictures correcting the velocity, among the experts
_TRAINED = 1 + len(_WIDTHS)


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
    # discounted sums of the distances of each expert, in units of the answer's
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
    # no weight of the events, velocity of the boxes
    losses[1, 0] = _VELOCITY_HANDICAP
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
    # displacement of the first row and column, `(x, y)`, relative to `start` [px]
    corner: Float[np.ndarray, "2"]
    # displacements since the frame that the experts give [px]
    places: Float[np.ndarray, "K 2"]
    # that of the trained expert, and its standard deviation along an axis [px]
    trained: tuple[Float[np.ndarray, "2"], float]
    # time from the frame to the stream's start [s]
    begun: float
    # displacement of the stream's crop since the frame [px]
    start: Float[np.ndarray, "2"]


class Interval(NamedTuple):
    """The priors of a stream between two frames, for all sources and widths.

    The displacement is `offset + velocity age + curvature age^2 / 2`, with the time since the stream's start in units
    of the time in which the target moves by the prior's motion.
    """

    offset: Float[np.ndarray, "P 2"]
    velocity: Float[np.ndarray, "P 2"]
    curvature: Float[np.ndarray, "P 2"]
    # displacement of the target from its box at the frame [px]
    place: Float[np.ndarray, "P 2"]
    # variance of the displacement at the frame [px^2]
    variance: Float[np.ndarray, " P"]
    # growth of the variance in the first unit of time [px^2]
    growth: Float[np.ndarray, " P"]
    # age at the stream's start
    since: Float[np.ndarray, " P"]
    # unit of time [s]
    unit: float
    # displacement from the crop at the frame to that of the stream, from which displacements count [px]
    crop: Float[np.ndarray, "2"]
    # time from the frame to the stream's start [s]
    begun: float
    # `M` of the template, one a pixel, displacement 0 in the middle
    changes: Float[np.ndarray, "D D"]
    # the network's own numbers
    trained: TrainedHead
    # largest distance from the prediction along each axis [px]
    search: float

    @property
    def is_restarted(self) -> bool:
        """True if the stream has no frame of its own."""
        return self.begun > 0

    def means(self, elapsed: float) -> Float[np.ndarray, "P 2"]:
        """Displacements that the priors predict [px], some time after the stream's start [s]."""
        age = elapsed / self.unit
        return self.offset + self.velocity * age + self.curvature * (age * age / 2)

    def window(self, elapsed: float) -> tuple[slice, slice]:
        """Rows and columns of a map that are within the search distance of the trained prior's prediction."""
        half = len(self.changes) // 2
        x, y = self.means(elapsed)[_TRAINED].tolist()

        return _near(y, self.search, half), _near(x, self.search, half)

    def restarted(
        self,
        displacement: Float[np.ndarray, "2"],
        crop: Float[np.ndarray, "2"],
        motion: Float[np.ndarray, "2"],
        elapsed: float,
    ) -> "Interval":
        """The priors after a restart at displacements of the target and of the crop since the frame [px].

        `motion` is that of the last stream [px], which took `elapsed` seconds; it replaces that of the pictures.
        """
        age = elapsed / self.unit
        by_events = np.repeat([False, True, False], len(self.since) // 3)
        one_each = by_events[:, None]
        offset = np.where(one_each, displacement, self.means(elapsed) + self.place + self.crop) - crop

        return self._replace(
            offset=offset,
            velocity=np.where(one_each, motion / age, self.velocity + self.curvature * age),
            curvature=np.where(one_each, 0.0, self.curvature),
            place=np.zeros_like(self.place),
            since=np.where(by_events, 0.0, self.since + age),
            crop=crop,
            begun=self.begun + elapsed,
        )


def begin_interval(
    starts: tuple[MotionPriorNp, MotionPriorNp],
    change: Float[np.ndarray, "2"],
    changes: Float[np.ndarray, "D D"],
    trained: TrainedHead,
    search: float,
    unit: float,
    length: float,
) -> Interval:
    """The priors of an interval, by the motion priors from the boxes and with the pictures.

    Their motion is that of a `unit` of time [s]; the boxes are `length` units apart, and their displacement changed by
    `change` from one interval to the next [px]. At the frame the target was faster by half of it.
    """
    by_boxes, with_pictures = starts
    sources = (by_boxes, with_pictures, by_boxes)
    widths = np.square((trained.width, *_WIDTHS))
    num_widths = len(widths)
    num_priors = num_widths * len(sources)
    none = np.zeros(2)
    velocities = (by_boxes.motion, with_pictures.motion, by_boxes.motion + change / (2 * length))

    return Interval(
        offset=np.zeros((num_priors, 2)),
        velocity=np.repeat(velocities, num_widths, 0),
        curvature=np.repeat([none, none, change / length**2], num_widths, 0),
        place=np.repeat([source.place for source in sources], num_widths, 0),
        variance=np.tile(widths[:, 0], len(sources)),
        growth=np.concatenate([widths[:, 1] + source.spread**2 for source in sources]),
        since=np.zeros(num_priors),
        unit=unit,
        crop=none,
        begun=0.0,
        changes=changes,
        trained=trained,
        search=search,
    )


def calibrated_place(
    fits: Float[np.ndarray, "H W"],
    calibration: Calibration,
    interval: Interval,
    elapsed: float,
    number: int,
    restarted: tuple[Float[np.ndarray, "2"], float] | None = None,
) -> tuple[Float[np.ndarray, "2"], float, BinRecord]:
    """The weighted mean of the experts' displacements, its standard deviation along an axis [px], and the bin's record.

    `fits` is `E` in the window of the interval, `elapsed` the time since the stream's start [s], and `number` that of
    the bin in its interval, from 0. `restarted` is the network's own answer in a restarted stream.
    """
    rows, columns = interval.window(elapsed)
    changes = interval.changes[rows, columns]
    half = len(interval.changes) // 2
    corner = columns.start - half, rows.start - half
    means = interval.means(elapsed)
    spreads = interval.variance + interval.growth * (interval.since + elapsed / interval.unit) ** 2

    # the log-odds of an expert are b a E - b a^2 M
    trained = interval.trained
    gain = calibration.gain(number, trained.gain)
    event_experts = ((trained.weight, trained.gain), *((weight, gain) for weight in _EVENT_WEIGHTS[1:]))
    factors = np.array([(b * a, -b * a * a) for b, a in event_experts])
    by_events, variances = mean_places((fits, changes), factors, corner, means, spreads)

    # b = 0 is the prior itself, between pixels and beyond the window, too
    places = (np.insert(by_events, 1, means, 0) + interval.place).reshape(-1, 2)
    variances = np.insert(variances, 1, spreads, 0).ravel()
    if restarted is not None:
        place, deviation = restarted
        places[_TRAINED] = place
        variances[_TRAINED] = deviation**2

    shares = calibration.weights
    place = shares @ places
    variance = shares @ (variances + np.square(places - place).sum(1) / 2)
    displacements = places + interval.crop
    record = BinRecord(
        number=number,
        elapsed=interval.begun + elapsed,
        fits=fits,
        changes=changes,
        corner=np.array(corner, dtype=np.float64),
        places=displacements,
        trained=(displacements[_TRAINED], max(float(variances[_TRAINED]), MIN_VARIANCE) ** 0.5),
        begun=interval.begun,
        start=interval.crop,
    )

    return place, max(float(variance), MIN_VARIANCE) ** 0.5, record


def add_record(bins: tuple[BinRecord, ...], record: BinRecord) -> tuple[BinRecord, ...]:
    """The records of an interval with that of a further bin; of a very long interval the newest."""
    return (*bins, record)[-_MAX_RECORDS:]


def update_calibration(
    calibration: Calibration,
    bins: Sequence[BinRecord],
    motion: Float[np.ndarray, "2"],
    period: float,
    certainty: float = 1.0,
    answer: Float[np.ndarray, "2"] | None = None,
    change: Float[np.ndarray, "2"] | None = None,
) -> Calibration:
    """The calibration after an interval of `period` seconds, in which the target moved by `motion` [px].

    `certainty` is that of the last box, `answer` the motion that was seen, `change` that since the last interval.
    """
    if not bins and answer is not None and not calibration.counts.any():
        return _weigh_first_answer(calibration, answer, motion, certainty)
    if not bins or not certainty > 0:
        return calibration

    fits, changes, counts, losses = (part * _FORGETTING for part in calibration)
    # the noise of boxes would bend the path of a short interval
    is_long = any(record.begun for record in bins)
    bend = np.zeros(2) if change is None or not is_long else change / 2
    ages = np.minimum(np.array([(record.begun, record.elapsed) for record in bins]) / period, 1.0)
    paths = motion * ages[..., None] + bend * (ages * (ages - 1))[..., None]

    doubts = np.hypot(*bend) * ages[:, 1] * (1 - ages[:, 1]) / _PATH_ERROR
    shares = certainty / (1 + doubts**2)
    errors = np.array([record.places for record in bins]) - paths[:, 1, None]
    distances = shares / shares.sum() @ np.hypot(*errors.transpose(2, 0, 1))
    unit = max(float(calibration.weights @ distances), _MIN_ERROR)
    losses += certainty * _INTERVAL_BINS / unit * distances

    for record, (begin, end), share in zip(bins, paths, shares.tolist(), strict=True):
        t = min(record.number, _MAX_BINS - 1)
        place = end - record.start
        fit = _interpolate(record.fits, *(place - record.corner).tolist())
        # events come from the place where the target was at the start, too
        if record.begun:
            fit -= _interpolate(record.fits, *(begin - record.start - record.corner).tolist())
            place = end - begin
        fits[t] += share * fit
        changes[t] += share * 2 * _interpolate(record.changes, *(place - record.corner).tolist())
        counts[t] += share

    return Calibration(fits, changes, counts, losses)


def _weigh_first_answer(
    calibration: Calibration, answer: Float[np.ndarray, "2"], motion: Float[np.ndarray, "2"], certainty: float
) -> Calibration:
    """The calibration whose trained expert leads by the share of the motion that the network saw."""
    seen, moved = np.hypot(*np.transpose((answer, motion))) + _MIN_ERROR
    losses = calibration.losses.copy()
    losses[_TRAINED] = certainty * _HANDICAP * max(1 - seen / moved, 0.0)

    return calibration._replace(losses=losses)


def _near(center: float, search: float, half: int) -> slice:
    """The pixels of a map of `2 half + 1` along an axis that are near a displacement, two at least."""
    first = min(max(floor(center - search), -half), half - 1)
    last = min(max(ceil(center + search), first + 1), half)
    return slice(first + half, last + half + 1)


def _interpolate(values: Float[np.ndarray, "H W"], x: float, y: float) -> float:
    height, width = values.shape
    x = min(max(x, 0.0), width - 1.0)
    y = min(max(y, 0.0), height - 1.0)
    left = min(int(x), width - 2)
    top = min(int(y), height - 2)
    x = x - left
    y = y - top
    (a, b), (c, d) = values[top : top + 2, left : left + 2].tolist()

    return float((1 - y) * ((1 - x) * a + x * b) + y * ((1 - x) * c + x * d))
