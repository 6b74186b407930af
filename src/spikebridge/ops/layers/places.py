"""Mean places of a target under products of a map of log-odds and Gaussians, for several of both at once.

    p(x, y) ~ exp(a fits(x, y) + b changes(x, y)) exp(-((x - x0)^2 + (y - y0)^2) / (2 variance))

A Gaussian is a product of its parts along x and y, so that all sums over a map are two products of matrices.
"""

import ctypes
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.ops.native.library import library
from spikebridge.ops.selection import select


class _Job(ctypes.Structure):
    """`Places` of places.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("height", "width", "num_odds", "num_priors")],
        *[(name, ctypes.c_double) for name in ("left", "top")],
        *[(name, ctypes.c_void_p) for name in ("fits", "changes", "factors", "middles", "variances")],
        *[(name, ctypes.c_void_p) for name in ("places", "spreads")],
    ]


def mean_places(
    maps: tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]],
    factors: Float[np.ndarray, "E 2"],
    corner: tuple[int, int],
    middles: Float[np.ndarray, "P 2"],
    variances: Float[np.ndarray, " P"],
) -> tuple[Float[np.ndarray, "E P 2"], Float[np.ndarray, "E P"]]:
    """The mean place for each pair of log-odds and Gaussian, and its variance along an axis.

    Args:
        maps: what the log-odds are made of, double precision, one a pixel.
        factors: of both maps.
        corner: place of the first pixel, `(x, y)` [px].
        middles: of the Gaussians, `(x, y)` [px].
        variances: of the Gaussians along each axis [px^2].

    Raises:
        MemoryError: no memory for the Gaussians.

    Example:
        >>> nothing = np.zeros((5, 5))
        >>> places, variances = mean_places((nothing, nothing), np.ones((1, 2)), (-2, -2), np.ones((1, 2)), np.ones(1))
        >>> places.round(3).tolist(), variances.round(3).tolist()  # weights .01, .14, .61, 1, .61 of -2 to 2
        ([[[0.871, 0.871]]], [[0.769]])
    """
    if select("mean places") != "native":
        return _in_products(maps, factors, corner, middles, variances)

    num_odds = len(factors)
    num_priors = len(middles)
    places = np.empty((num_odds, num_priors, 2))
    spreads = np.empty((num_odds, num_priors))
    job = _Job(*maps[0].shape, num_odds, num_priors, *corner)
    given = [np.ascontiguousarray(x, np.float64) for x in (*maps, factors, middles, variances)]
    job.fits, job.changes, job.factors, job.middles, job.variances = (x.ctypes.data for x in given)
    job.places = places.ctypes.data
    job.spreads = spreads.ctypes.data
    run: Any = library().steps

    if run.spikebridge_places(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in mean places, for the Gaussians")

    return places, spreads


def _in_products(
    maps: tuple[NDArray[np.float64], NDArray[np.float64]],
    factors: NDArray[np.float64],
    corner: tuple[int, int],
    middles: NDArray[np.float64],
    variances: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    height, width = maps[0].shape
    odds = (factors @ np.stack(maps).reshape(2, -1)).reshape(-1, height, width)
    steps = np.concatenate([np.arange(low, low + n) for low, n in zip(corner, (width, height), strict=True)])
    powers = np.stack((np.ones(width + height), steps, steps * steps))
    gaussians = _gaussians(steps, width, middles, variances)
    shares = np.exp(odds - odds.max((1, 2), keepdims=True)).transpose(1, 0, 2).reshape(height, -1)
    of_rows = (powers[:, None, width:] * gaussians[:, width:]).reshape(-1, height) @ shares
    of_rows = of_rows.reshape(3, -1, len(factors), width) * gaussians[:, None, :width]

    # powers of y, Gaussians, odds, powers of x
    sums = (of_rows.reshape(-1, width) @ powers[:, :width].T).reshape(3, -1, len(factors), 3)
    total = sums[0, ..., 0].T
    x = sums[0, ..., 1].T / total
    y = sums[1, ..., 0].T / total
    second = (sums[0, ..., 2] + sums[2, ..., 0]).T / total

    return np.stack((x, y), 2), (second - x * x - y * y) / 2


def _gaussians(
    steps: NDArray[np.int64], width: int, middles: NDArray[np.float64], variances: NDArray[np.float64]
) -> Float[np.ndarray, "P N"]:
    """Gaussians along x, then along y, each with the largest value 1: a middle may lie far outside."""
    sides = (width, len(steps) - width)
    away = steps - np.repeat(middles, sides, 1)
    low = steps[[0, width]]
    high = steps[[width - 1, -1]]
    least = np.square(np.minimum(np.maximum(np.rint(middles), low), high) - middles)
    gaussians: NDArray[np.float64] = np.exp((np.repeat(least, sides, 1) - away * away) / (2 * variances[:, None]))

    return gaussians
