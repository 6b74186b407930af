"""The change head, the motion fusion and the mask of the template for one target, in NumPy. Weights are read once.

Arrays of a single target are small: NumPy takes less time for them than PyTorch.
"""

from collections.abc import Callable
from math import exp, inf, log

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.networks.sensing.model.heads import HARDNESS, MASK_SIZE, ChangeHead, between_cells
from spikebridge.networks.sensing.model.motion_prior import (
    MIN_VARIANCE,
    UNKNOWN_VELOCITY_FACTOR,
    ConstantVelocityPrior,
    MotionFusion,
    MotionPriorNp,
    StartUncertainty,
    bayes_update,
    search_slice,
)
from spikebridge.networks.sensing.native.correlation import correlate
from spikebridge.networks.sensing.tracker.calibration import TrainedHead

# the correlation of a change with a template, by rows and columns of displacements in cells, from `-reach` on
Response = Callable[[range, range], Float[np.ndarray, "I J"]]


def trained_head(head: ChangeHead, prior: ConstantVelocityPrior | None) -> TrainedHead | None:
    """The numbers that calibration starts from; None where there is no prior or the gain is not above 0."""
    gain = head.g.item()
    if prior is None or not gain > 0:
        return None

    width = (exp(prior.log_start.item()), exp(prior.log_growth.item()))
    return TrainedHead(gain, exp(head.log_scale.item()) / gain, width)


def ellipse_masks(
    places: Float[np.ndarray, " N"], boxes: Float[np.ndarray, "K 4"], margin: float
) -> Float[Tensor, "K 1 N N"]:
    """Masks of `Template`, by the places of the cells and boxes, both relative to the centre of the crop [px]."""
    centers = boxes[:, :2, None]
    halves = MASK_SIZE * boxes[:, 2:, None] + margin
    squares = ((places - centers) / halves) ** 2
    distance = np.sqrt(squares[:, :1] + squares[:, 1, :, None])
    masks = 1 / (1 + np.exp(np.minimum(HARDNESS * (distance - 1), 80.0)))

    return torch.from_numpy(masks.astype(np.float32))[:, None]


class FusedMotionFusion:
    """A `MotionFusion` of one target."""

    def __init__(self, trust: MotionFusion) -> None:
        self.place = trust.place_base.item(), trust.place_slope.item()
        self.motion = trust.motion_base.item(), trust.motion_slope.item()
        self.spread = exp(trust.log_spread.item())

    def __call__(self, by_box: Float[np.ndarray, "2"], by_picture: Float[np.ndarray, "2"]) -> MotionPriorNp:
        """The prior of two motions [px]."""
        difference = by_picture - by_box
        square = float(difference @ difference)
        place, motion = (
            difference / (1 + exp(-base - slope * log(square + 0.1))) for base, slope in (self.place, self.motion)
        )

        return MotionPriorNp(place, by_box + motion, self.spread * (square + 1e-6) ** 0.5)


class FusedHead:
    """A `ChangeHead` of one target, given spectra, and its answer with a prior.

    Without a prior all displacements near the predicted one are alike.
    """

    def __init__(self, head: ChangeHead, prior: ConstantVelocityPrior | None = None) -> None:
        self.reach = head.reach
        self.g = head.g.item()
        self.scale = exp(head.log_scale.item())
        self.num_cells = 2 * head.reach + 1
        num_pixels = 2 * head.stride * head.reach + 1
        self.half = num_pixels // 2
        self.between: NDArray[np.float64] = between_cells(self.num_cells, num_pixels).double().numpy()

        # the first of the cells that pixels from here on read, and the last of those that pixels up to here read
        is_read = self.between != 0
        first = is_read.argmax(1)
        last = self.num_cells - 1 - is_read[:, ::-1].argmax(1)
        self.first = np.minimum.accumulate(first[::-1])[::-1].tolist()
        self.last = np.maximum.accumulate(last).tolist()

        steps = np.arange(num_pixels, dtype=np.float64) - self.half
        self.powers: NDArray[np.float64] = np.stack([np.ones(num_pixels), steps, steps**2])

        # variance of the prior: at the start, and its growth until age 1
        self.prior: tuple[float, float] | None = None
        if prior is not None:
            self.prior = exp(2 * prior.log_start.item()), exp(2 * prior.log_growth.item())

    def deficit(self, own: Complex[Tensor, "N M"]) -> Float[np.ndarray, "K K"]:
        """The autocorrelation of a template at each displacement minus that at displacement 0, by its spectrum."""
        autocorrelation = self._cells(own)
        return autocorrelation - autocorrelation[self.reach, self.reach]

    def answer(
        self,
        response: Response,
        deficit: Float[np.ndarray, "K K"],
        expected: MotionPriorNp,
        age: float,
        search: float,
        uncertainty: StartUncertainty | None = None,
    ) -> tuple[Float[np.ndarray, "2"], float]:
        """The mean displacement near the predicted one, and its standard deviation along an axis [px].

        `response` is that of the change since the frame, `deficit` that of the template, `expected` the prior of the
        stream, and `age` the time since its start in units of the time of `expected.motion`. Displacements within
        `search` of the prediction along each axis count, and more for an unknown velocity [px]. `uncertainty` is that
        of the start of a restarted stream.
        """
        if uncertainty is not None:
            cells = range(self.num_cells)
            fits = self.scale * (self.between @ response(cells, cells) @ self.between.T)
            return bayes_update(fits, uncertainty, expected, self._variance(expected, age), age, search)

        mean = expected.motion * age
        if self.prior is not None and expected.spread == inf:
            search *= UNKNOWN_VELOCITY_FACTOR

        columns, rows = (search_slice(place, search, self.half) for place in mean.tolist())
        y, weights_y = self._cells_of(rows)
        x, weights_x = self._cells_of(columns)
        # without the response at displacement 0: a constant changes no share
        score = self.scale * (response(y, x) + self.g * deficit[y.start : y.stop, x.start : x.stop])
        odds = weights_y @ score @ weights_x.T

        if self.prior is not None:
            distance = (self.powers[1, :, None] - mean[::-1]) ** 2 / (2 * self._variance(expected, age))
            odds -= distance[rows, :1] + distance[columns, 1]

        place, variance = self._moments(np.exp(odds - odds.max()), rows, columns)
        return expected.place + place, max(variance, MIN_VARIANCE) ** 0.5

    def _moments(self, share: NDArray[np.float64], rows: slice, columns: slice) -> tuple[NDArray[np.float64], float]:
        """The mean displacement `(x, y)` of shares of pixels, and the variance along an axis."""
        # rows for 1, y, y^2 and columns for 1, x, x^2
        moments = self.powers[:, rows] @ share @ self.powers[:, columns].T
        sums = moments[0, 1], moments[1, 0], moments[0, 2] + moments[2, 0]
        x, y, second = (float(value / moments[0, 0]) for value in sums)

        return np.array([x, y]), (second - x * x - y * y) / 2

    def fits_by_pixel(self, response: Response, window: tuple[slice, slice]) -> Float[np.ndarray, "h w"]:
        """The response minus that at displacement 0, one a pixel, in rows and columns of the map."""
        rows, weights_y = self._cells_of(window[0])
        columns, weights_x = self._cells_of(window[1])
        cells = response(rows, columns)

        middle = self.reach
        if middle in rows and middle in columns:
            still = cells[middle - rows.start, middle - columns.start]
        else:
            still = response(range(middle, middle + 1), range(middle, middle + 1))[0, 0]

        return weights_y @ cells @ weights_x.T - still

    def response_of_spectrum(self, spectrum: Complex[Tensor, "N M"]) -> Response:
        """The response of a spectrum, whose displacements start at `-reach`."""
        cells = self._cells(spectrum)
        return lambda rows, columns: cells[rows.start : rows.stop, columns.start : columns.stop]

    def response_of_sums(self, change: Float[Tensor, "1 C H W"], template: Float[Tensor, "H2 W2 C"]) -> Response:
        """The response as sums over cells, where they are asked for; the template is padded with zeros."""
        num_cells = self.num_cells

        # made in each bin: a plain type costs less than one that is checked
        def response(rows: range, columns: range) -> NDArray[np.float64]:
            # displacement d reads the padded template from `reach - d` on
            reversed_rows = range(num_cells - rows.stop, num_cells - rows.start)
            reversed_columns = range(num_cells - columns.stop, num_cells - columns.start)
            return correlate(change, template, reversed_rows, reversed_columns)[::-1, ::-1]

        return response

    def unchanged(self, deficit: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "D D"]:
        """The log-odds of displacements where nothing has changed, one a pixel, by the deficit of the template."""
        return self.scale * self.g * (self.between @ deficit @ self.between.T)

    def _cells_of(self, pixels: slice) -> tuple[range, Float[np.ndarray, "P N"]]:
        """The cells between which pixels lie, and their weights at each pixel."""
        cells = range(self.first[pixels.start], self.last[pixels.stop - 1] + 1)
        return cells, self.between[pixels, cells.start : cells.stop]

    def _variance(self, expected: MotionPriorNp, age: float) -> float:
        """See `ConstantVelocityPrior.variance`."""
        if self.prior is None:
            return inf
        start, growth = self.prior
        return start + growth * age**2 + (expected.spread * age) ** 2

    def _cells(self, spectrum: Tensor) -> NDArray[np.float64]:
        """The correlation at shifts from `-reach` to `reach` cells."""
        rows = torch.fft.ifft(spectrum, dim=-2)[: self.num_cells]
        return torch.fft.irfft(rows, spectrum.shape[-2])[:, : self.num_cells].double().numpy()
