"""A correlation filter that learns the target while it runs: ridge regression, solved in the Fourier domain.

The filter maps features `f_c` of a search patch to a Gaussian `y` at the target's place. With `F_c`, `T_c`, `S_c` and
`Y` the Fourier transforms of the patch, of the target alone, of patches beside it, and of `y`, and sums over the frames
so far,

    W_c = sum conj(T_c) Y / (sum sum_c |F_c|^2 + k |S_c|^2 + lambda),    response = inverse transform of sum_c F_c W_c

A filter of the whole patch with `k = 0` is the least-squares solution for one frame (D. Bolme et al., CVPR 2010; J.
Henriques et al., IEEE TPAMI 37:583, 2015). Where the target fills little of its patch, that filter follows the
background. Three things prevent it:

| what | how |
|---|---|
| the target alone is learned | a window of its shape, and less weight where colours are those of the surroundings |
| the surroundings are negatives | four patches beside the target add to the power (M. Mueller et al., CVPR 2017) |
| colours answer, too | the mean share of the target in the box, `colour_model.py` (L. Bertinetto et al., CVPR 2016) |

The size has a filter of its own (`_scale_filter.py`).
"""

from dataclasses import dataclass
from functools import cache
from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from scipy import fft

from spikebridge.networks.sensing.detection._scale_filter import ScaleFilter, initial_scale, parabola_vertex
from spikebridge.networks.sensing.detection.box_detector import DetectedBox, DetectorInputs
from spikebridge.networks.sensing.detection.colour_model import ColourModel, initial_colours, unit_steps
from spikebridge.networks.sensing.detection.patches import Cells, ColourFrame, read_cells
from spikebridge.networks.sensing.model.boxes import Box, box_center, box_from_center, clamp_box

# added to the deviation of a response, so that a target without contrast has no clear peak
_DEVIATION_FLOOR = 1e-3
# smallest peak-to-sidelobe ratio
_MIN_RATIO = 1e-3
# added to the mean power of the first frame, which is about 100 where there is contrast
_POWER_FLOOR = 0.1
# smallest size of a target, and smallest side that the filter makes [px]
_MIN_SIDE = 2.0
# sizes that the filter makes, in those of the first box
_SIZES = (0.2, 5.0)
# shares of the target in the colours of a cell: as the surroundings, and as the target
_SHARES = (0.3, 0.6)
# distance from which on a place is another one, in sides of the target
_APART = 0.5
# frames after the given one that show the usual signs
_NUM_USUAL = 5
# added to each of `Signs` before a logarithm
_FLOORS = (0.02, 0.02, 0.05)
# weights of their log-ratios in the log-odds of an overlap by half, and the log-odds of usual signs: in colours by
# `research/sensing/closed_loop/left_out_clips.py --fit`, in grey by `research/sensing/cameras/confidence.py --fit`
_ODDS = {True: ((2.0, 3.42, 0.84), 3.3), False: ((0.93, 0.68, 1.48), 2.37)}


class FilterSums(NamedTuple):
    """`conj(T_c) Y`, and the power of the patch and those beside it; transforms are those of real maps (`rfft2`)."""

    numerator: Complex[np.ndarray, "C N M"]
    power: Float[np.ndarray, "N M"]


class Signs(NamedTuple):
    """Signs of the target at a detected place, in units that differ from clip to clip."""

    # answer of the filter of the first frame there
    first: float
    # mean share of the target in the colours of the box, less that in the patch
    colour: float
    # height of the peak over the highest one apart from it, in that over the mean
    margin: float

    def log_ratios(self, usual: "Signs") -> list[float]:
        """The logarithms of signs over the usual ones; a sign below zero is none at all."""
        floored = [(max(one, 0.0), max(other, 0.0)) for one, other in zip(self, usual, strict=True)]
        return [log((one + floor) / (other + floor)) for (one, other), floor in zip(floored, _FLOORS, strict=True)]


class FilterState(NamedTuple):
    """State of a target: what the filters have learned, and the usual signs."""

    # weighted sums over frames
    sums: FilterSums
    # sums of the frame with the given box
    first: FilterSums
    # lambda
    ridge: float
    # colours of target and surroundings
    colours: ColourModel
    # the filter of the size
    scale: ScaleFilter
    # width and height of the given box [px]
    size: Float[np.ndarray, "2"]
    # of the last frame; None before it
    last: Signs | None = None
    # means over the first frames after the given one, from which the filter has learned
    usual: Signs | None = None
    # number of those frames
    num_usual: int = 0


@dataclass(frozen=True)
class CorrelationFilter:
    """A detector that learns its target; see `BoxDetector`."""

    # cells along a side of a patch
    num_cells: int = 32
    # surroundings in a patch, in sides of a square target, added to both sides of the box
    margin: float = 1.5
    # standard deviation of the label, in sides of a square target
    label: float = 0.1
    # lambda, in units of the mean power of the first frame
    ridge: float = 1e-2
    # weight of a new frame
    rate: float = 0.03
    # smallest weight of the first frame
    first_share: float = 0.1
    # weight k of the patches beside the target
    beside: float = 0.2
    # distance of their centres, in sides of a patch
    distance: float = 0.5
    # standard deviation of the target's window, in sides of the target and a little around
    window: float = 0.4
    # largest part of a cell's weight that is lost where it has the colours of the surroundings
    colour_weight: float = 0.7
    # share of the colours in the response
    colour_share: float = 0.3

    def start(self, picture: ColourFrame, box: Box) -> FilterState:
        """See `BoxDetector`."""
        colours = initial_colours(picture.richest, box)
        first = self._frame_sums(picture, box, colours)
        ridge = self.ridge * (float(first.power.mean()) + _POWER_FLOOR)

        return FilterState(first, first, ridge, colours, initial_scale(picture.grey, box), box[2:].copy())

    def detect(self, inputs: DetectorInputs, target: FilterState) -> tuple[DetectedBox, FilterState]:
        """See `BoxDetector`."""
        picture = ColourFrame(inputs.frame, inputs.colours)
        sides = self._sides(inputs.box)
        responses = self._responses(picture, inputs.box, target)
        place, ratio, signs = self._peak(responses, inputs.box)

        center = box_center(inputs.box) + place * sides / self.num_cells
        moved = clamp_box(picture.grey, box_from_center(center, inputs.box[2:]))
        size = moved[2:] * self._factor(picture, moved, target)
        detected = box_from_center(box_center(moved), size)

        spread = target_side(inputs.box) / max(ratio, _MIN_RATIO)
        probability = _overlap_probability(signs, target.usual or signs, picture)

        return DetectedBox(inputs.box, detected, spread, probability=probability), target._replace(last=signs)

    def update(self, picture: ColourFrame, box: Box, target: FilterState) -> FilterState:
        """See `BoxDetector`."""
        new = self._frame_sums(picture, box, target.colours)
        sums = FilterSums(*(old + self.rate * (one - old) for old, one in zip(target.sums, new, strict=True)))
        target = target._replace(
            sums=sums,
            colours=target.colours.updated(picture.richest, box),
            scale=target.scale.updated(picture.grey, box),
        )
        if target.last is None or target.num_usual == _NUM_USUAL:
            return target

        number = target.num_usual + 1
        before = target.usual or target.last
        usual = Signs(*(old + (one - old) / number for old, one in zip(before, target.last, strict=True)))

        return target._replace(usual=usual, num_usual=number)

    def _sides(self, box: Box) -> Float[np.ndarray, "2"]:
        sides: NDArray[np.float64] = box[2:] + self.margin * target_side(box)
        return sides

    def _cells(self, picture: ColourFrame, box: Box, offsets: NDArray[np.float64], colours: ColourModel) -> Cells:
        return read_cells(picture, box, self._sides(box), offsets, self.num_cells, colours.shares())

    def _responses(self, picture: ColourFrame, box: Box, target: FilterState) -> Float[np.ndarray, "3 N N"]:
        """The answers of the filter, the filter of the first frame and the colours to each displacement from (0, 0)."""
        features, shares = self._cells(picture, box, np.zeros((1, 2)), target.colours)
        numerator, power = (
            (1 - self.first_share) * one + self.first_share * first
            for one, first in zip(target.sums, target.first, strict=True)
        )
        size = (self.num_cells, self.num_cells)
        spectrum = fft.rfft2(features[0] * _hann(self.num_cells))
        by_filter = fft.irfft2((spectrum * numerator).sum(0) / (power + target.ridge), size)
        first = target.first
        by_first = fft.irfft2((spectrum * first.numerator).sum(0) / (first.power + target.ridge), size)
        by_colours = fft.irfft2(fft.rfft2(shares[0]) * fft.rfft2(self._box_weights(box)), size)

        return np.stack([by_filter, by_first, by_colours])

    def _peak(self, responses: Float[np.ndarray, "3 N N"], box: Box) -> tuple[NDArray[np.float64], float, Signs]:
        """The displacement `(x, y)` of the target [cells], the peak-to-sidelobe ratio, and the signs there."""
        by_filter, by_first, by_colours = responses
        mixed = (1 - self.colour_share) * by_filter + self.colour_share * by_colours
        row, column, place = _highest(mixed)

        cells = np.arange(self.num_cells, dtype=np.float64)
        distances = [
            np.abs(_centered(cells - index, self.num_cells)) * side / extent / self.num_cells
            for index, side, extent in zip((column, row), self._sides(box), box[2:], strict=True)
        ]
        apart = np.maximum(distances[1][:, None], distances[0]) > _APART
        others = mixed[apart]
        height = float(mixed[row, column] - others.mean())
        signs = Signs(
            first=float(by_first[row, column]),
            colour=float(by_colours[row, column] - by_colours.mean()),
            margin=float(mixed[row, column] - others.max()) / (height + _DEVIATION_FLOOR),
        )

        return place, height / (float(others.std()) + _DEVIATION_FLOOR), signs

    def _box_weights(self, box: Box) -> Float[np.ndarray, "N N"]:
        """The weights of cells in a mean over a box in the middle of a patch."""
        extents = box[2:] / self._sides(box) * self.num_cells
        steps = np.abs(np.arange(self.num_cells) - self.num_cells // 2)
        column, row = (((extent + 1) / 2 - steps).clip(0, 1) for extent in extents)
        weights = np.outer(row, column)

        return weights / weights.sum()

    def _factor(self, picture: ColourFrame, box: Box, target: FilterState) -> float:
        factor = target.scale.factor(picture.grey, box)
        size = factor * target_side(box) / sqrt(target.size.prod())
        is_likely = _SIZES[0] < size < _SIZES[1] and (factor * box[2:] > _MIN_SIDE).all()

        return factor if is_likely else 1.0

    def _frame_sums(self, picture: ColourFrame, box: Box, colours: ColourModel) -> FilterSums:
        sides = self._sides(box)
        right = np.array([self.distance * sides[0], 0.0])
        down = np.array([0.0, self.distance * sides[1]])
        offsets = np.stack([np.zeros(2), right, -right, down, -down])

        features, shares = self._cells(picture, box, offsets, colours)
        windowed = features * _hann(self.num_cells)
        weights = np.array([1.0, *4 * [self.beside]], np.float32)
        power = np.einsum("k,kcnm->nm", weights, np.abs(fft.rfft2(windowed)) ** 2)
        target = fft.rfft2(windowed[0] * self._target_weights(box, shares[0]))

        return FilterSums(target.conj() * self._label(box), power)

    def _target_weights(self, box: Box, shares: Float[np.ndarray, "N N"]) -> Float[np.ndarray, "N N"]:
        """The weight of each cell for the target: by place, and by colour."""
        side = target_side(box)
        lines = (
            np.exp(-0.5 * (unit_steps(self.num_cells) * whole / (self.window * (extent + 0.3 * side))) ** 2)
            for whole, extent in zip(self._sides(box), box[2:], strict=True)
        )
        column, row = lines
        likely = ((shares - _SHARES[0]) / (_SHARES[1] - _SHARES[0])).clip(0, 1)

        return (np.outer(row, column) * (1 - self.colour_weight * (1 - likely))).astype(np.float32)

    def _label(self, box: Box) -> Complex[np.ndarray, "N M"]:
        steps = fft.fftfreq(self.num_cells, 1 / self.num_cells)
        deviations = self.label * target_side(box) * self.num_cells / self._sides(box)
        column, row = (np.exp(-0.5 * (steps / deviation) ** 2) for deviation in deviations)

        return fft.rfft2(np.outer(row, column).astype(np.float32))


def _overlap_probability(signs: Signs, usual: Signs, picture: ColourFrame) -> float:
    weights, bias = _ODDS[picture.colours is not None]
    odds = bias + sum(weight * x for weight, x in zip(weights, signs.log_ratios(usual), strict=True))

    return 1 / (1 + exp(-odds))


def target_side(box: Box) -> float:
    """The root of the area of a box, at least two pixels [px]."""
    return max(sqrt(max(float(box[2] * box[3]), 0.0)), _MIN_SIDE)


@cache
def _hann(num_cells: int) -> Float[np.ndarray, "N N"]:
    line = np.hanning(num_cells + 2)[1:-1].astype(np.float32)
    return np.outer(line, line)


def _centered(cells: NDArray[np.float64], num_cells: int) -> NDArray[np.float64]:
    # places wrap around
    return (cells + num_cells / 2) % num_cells - num_cells / 2


def _highest(response: Float[np.ndarray, "N N"]) -> tuple[int, int, NDArray[np.float64]]:
    """Row and column of the peak, and its displacement `(x, y)` [cells], between cells by a parabola."""
    num_cells = len(response)
    row, column = divmod(int(response.argmax()), num_cells)
    vertices = [
        parabola_vertex(*(float(line[(index + step) % num_cells]) for step in (-1, 0, 1)))
        for line, index in ((response[row], column), (response[:, column], row))
    ]
    return row, column, _centered(np.array([column, row]) + vertices, num_cells)
