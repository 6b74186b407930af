"""The change head and the prior, ready to answer at one sample: only what the search needs is worked out."""

from math import exp, inf, log

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.networks.sensing_drift import Drift, place_with_drift
from spikebridge.networks.sensing_head import ChangeHead, between_cells
from spikebridge.networks.sensing_motion import WIDER, Expected, Trust, VelocityPrior, near


class ReadyTrust:
    """A `Trust` in numbers. Weights are read once.

    Args:
        trust: that it answers for.

    Example:
        >>> ready = ReadyTrust(Trust())
        >>> bool(0 < ready(np.array([4.0, 0.0]), np.array([6.0, 0.0])).place[0] < 1)
        True
    """

    def __init__(self, trust: Trust) -> None:
        self.place, self.motion = (
            (base.item(), slope.item())
            for base, slope in ((trust.place_base, trust.place_slope), (trust.motion_base, trust.motion_slope))
        )
        self.spread = exp(trust.log_spread.item())

    def __call__(self, by_box: Float[np.ndarray, "2"], by_picture: Float[np.ndarray, "2"]) -> Expected:
        """Two motions [px] to what is expected."""
        away = by_picture - by_box
        square = float(away @ away)
        place, motion = (
            away / (1 + exp(-base - slope * log(square + 0.1))) for base, slope in (self.place, self.motion)
        )
        return Expected(place, by_box + motion, self.spread * (square + 1e-6) ** 0.5)


def soft_ellipse(
    places: Float[np.ndarray, " N"], box: Float[np.ndarray, "4"], margin: float, hardness: float
) -> Float[Tensor, "1 1 N N"]:
    """See `Template.mask`.

    Args:
        places: of the cells, beside the middle of the crop [px].
        box: middle of the target beside that of the crop, and its size [px].
        margin: added to the half axes [px].
        hardness: how fast the mask falls.
    """
    x, y = (((places - box[i]) / (0.55 * box[2 + i] + margin)) ** 2 for i in (0, 1))
    mask = 1 / (1 + np.exp(np.minimum(hardness * (np.sqrt(x + y[:, None]) - 1), 80.0)))
    return torch.from_numpy(mask.astype(np.float32))[None, None]


class ReadyHead:
    """A `ChangeHead` that is given spectra, and its answer with a prior. Weights are read once.

    Args:
        head: that it answers for.
        prior: of the place; without it all places near the expected one are alike.

    Example:
        >>> head = ReadyHead(ChangeHead(reach=2))
        >>> head.between.shape, head.between[4].tolist()  # a pixel on a cell reads that cell alone
        ((9, 5), [0.0, 0.0, 1.0, 0.0, 0.0])
    """

    def __init__(self, head: ChangeHead, prior: VelocityPrior | None = None) -> None:
        self.reach, self.g, self.scale = head.reach, head.g.item(), exp(head.log_scale.item())
        num_cells, num_pixels = 2 * head.reach + 1, 2 * head.stride * head.reach + 1
        self.between: NDArray[np.float64] = between_cells(num_cells, num_pixels).double().numpy()
        self.half = num_pixels // 2
        steps = np.arange(num_pixels, dtype=np.float64) - self.half
        self.powers: NDArray[np.float64] = np.stack([np.ones(num_pixels), steps, steps**2])
        # of its variance: at the beginning, and what it has grown by at age 1
        logs = () if prior is None else (prior.log_start, prior.log_growth)
        self.prior = None if prior is None else tuple(exp(2 * log.item()) for log in logs)

    def lacking(self, own: Complex[Tensor, "N M"]) -> Float[np.ndarray, "K K"]:
        """How much less than at its place the template is like itself at each displacement, below 0.

        Args:
            own: spectrum of the correlation of the template with itself, its displacements from `-reach` on.
        """
        alike = self._cells(own)
        return alike - alike[self.reach, self.reach]

    def answer(
        self,
        seen: Complex[Tensor, "N M"],
        lacking: Float[np.ndarray, "K K"],
        expected: Expected,
        age: float,
        search: float,
        drift: Drift | None = None,
    ) -> tuple[Float[np.ndarray, "2"], float]:
        """The mean place near the predicted one, and its standard deviation along an axis [px].

        Args:
            seen: spectrum of the correlation of the change with the template, its displacements from `-reach` on.
            lacking: of the template.
            expected: of the stream.
            age: time since it began, in parts of the time in which the target goes as far as `expected.motion`.
            search: how far from the prediction is looked, along each axis; a prior without a velocity has it look
                further [px].
            drift: what is not known of the stream's beginning; None where it began with its frame.
        """
        if drift is not None:
            fits = self.scale * (self.between @ self._cells(seen) @ self.between.T)
            return place_with_drift(fits, drift, expected, self._variance(expected, age), age, search)
        middle = expected.motion * age
        if self.prior is not None and expected.spread == inf:
            search *= WIDER
        columns, rows = (near(place, search, self.half) for place in middle.tolist())
        # a constant counts for nothing, so the place that was never left need not have 0
        score = self.scale * (self._cells(seen) + self.g * lacking)
        odds = self.between[rows] @ score @ self.between[columns].T
        if self.prior is not None:
            away = (self.powers[1, :, None] - middle[::-1]) ** 2 / (2 * self._variance(expected, age))
            odds -= away[rows, :1] + away[columns, 1]
        share = np.exp(odds - odds.max())
        # rows for 1, y, y^2 and columns for 1, x, x^2
        moments = self.powers[:, rows] @ share @ self.powers[:, columns].T
        x, y, second = moments[0, 1], moments[1, 0], moments[0, 2] + moments[2, 0]
        x, y, second = (float(value / moments[0, 0]) for value in (x, y, second))
        variance = (second - x * x - y * y) / 2
        return expected.place + np.array([x, y]), max(variance, 1e-6) ** 0.5

    def still(self, lacking: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "D D"]:
        """The log-odds of displacements where nothing has changed, one a pixel.

        Args:
            lacking: of the template.
        """
        return self.scale * self.g * (self.between @ lacking @ self.between.T)

    def _variance(self, expected: Expected, age: float) -> float:
        """Of the way since the stream began; see `VelocityPrior`."""
        if self.prior is None:
            return inf
        start, growth = self.prior
        return start + growth * age**2 + (expected.spread * age) ** 2

    def _cells(self, spectrum: Tensor) -> NDArray[np.float64]:
        """The correlation at shifts from `-reach` to `reach` cells."""
        number = 2 * self.reach + 1
        rows = torch.fft.ifft(spectrum, dim=-2)[:number]
        return torch.fft.irfft(rows, spectrum.shape[-2])[:, :number].double().numpy()
