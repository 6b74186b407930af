"""Mean displacements of a target under products of a map of log-odds and Gaussians, for several of both at once.

    p(x, y) ~ exp(a fits(x, y) + b changes(x, y)) exp(-((x - x0)^2 + (y - y0)^2) / (2 variance))

A Gaussian is a product of its parts along x and y, so that all sums over a map are two products of matrices.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.networks.sensing.native.job import Job, doubles
from spikebridge.ops.native.library import int64_fields, pointer_fields
from spikebridge.ops.selection import Operation, Path, always, has_native, is_reference, select

MEAN_PLACES = Operation(
    "mean places under products of a map and Gaussians",
    (
        Path("native", "outside `reference()`", lambda: not is_reference() and has_native("spikebridge_places")),
        Path("reference", "always: products of matrices", always),
    ),
    lambda _: (),
)


class _Job(Job):
    """`Places` of places.h."""

    _fields_ = [
        *int64_fields("height", "width", "num_odds", "num_priors"),
        *doubles("left", "top"),
        *pointer_fields("fits", "changes", "factors", "means", "variances", "places", "spreads"),
    ]


def mean_places(
    maps: tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]],
    factors: Float[np.ndarray, "E 2"],
    corner: tuple[int, int],
    means: Float[np.ndarray, "P 2"],
    variances: Float[np.ndarray, " P"],
) -> tuple[Float[np.ndarray, "E P 2"], Float[np.ndarray, "E P"]]:
    """The mean place `(x, y)` for each pair of log-odds and Gaussian, and its variance along an axis [px^2].

    The log-odds are sums of both maps with factors a and b; `corner` is the place of the first pixel [px].
    """
    if select(MEAN_PLACES) != "native":
        return _mean_places_by_products(maps, factors, corner, means, variances)

    num_odds = len(factors)
    num_priors = len(means)
    places = np.empty((num_odds, num_priors, 2))
    spreads = np.empty((num_odds, num_priors))

    job = _Job(*maps[0].shape, num_odds, num_priors, *corner)
    job.point(fits=np.ascontiguousarray(maps[0], np.float64), changes=np.ascontiguousarray(maps[1], np.float64))
    job.point(factors=np.ascontiguousarray(factors, np.float64), means=np.ascontiguousarray(means, np.float64))
    job.point(variances=np.ascontiguousarray(variances, np.float64), places=places, spreads=spreads)
    job.run("spikebridge_places")

    return places, spreads


def _mean_places_by_products(
    maps: tuple[NDArray[np.float64], NDArray[np.float64]],
    factors: NDArray[np.float64],
    corner: tuple[int, int],
    means: NDArray[np.float64],
    variances: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    height, width = maps[0].shape
    odds = (factors @ np.stack(maps).reshape(2, -1)).reshape(-1, height, width)
    shares = np.exp(odds - odds.max((1, 2), keepdims=True)).transpose(1, 0, 2).reshape(height, -1)

    # positions along x, then along y, and their powers 0, 1 and 2
    steps = np.concatenate([np.arange(low, low + n) for low, n in zip(corner, (width, height), strict=True)])
    powers = np.stack((np.ones(width + height), steps, steps * steps))
    gaussians = _gaussians(steps, width, means, variances)

    by_rows = (powers[:, None, width:] * gaussians[:, width:]).reshape(-1, height) @ shares
    by_rows = by_rows.reshape(3, -1, len(factors), width) * gaussians[:, None, :width]

    # powers of y, Gaussians, odds, powers of x
    sums = (by_rows.reshape(-1, width) @ powers[:, :width].T).reshape(3, -1, len(factors), 3)
    total = sums[0, ..., 0].T
    x = sums[0, ..., 1].T / total
    y = sums[1, ..., 0].T / total
    second = (sums[0, ..., 2] + sums[2, ..., 0]).T / total

    return np.stack((x, y), 2), (second - x * x - y * y) / 2


def _gaussians(
    steps: NDArray[np.int64], width: int, means: NDArray[np.float64], variances: NDArray[np.float64]
) -> Float[np.ndarray, "P N"]:
    """Gaussians along x, then along y, each with the largest value 1: a mean may lie far outside."""
    sides = (width, len(steps) - width)
    distance = steps - np.repeat(means, sides, 1)
    low = steps[[0, width]]
    high = steps[[width - 1, -1]]

    nearest = np.minimum(np.maximum(np.rint(means), low), high)
    smallest = np.repeat(np.square(nearest - means), sides, 1)
    gaussians: NDArray[np.float64] = np.exp((smallest - distance * distance) / (2 * variances[:, None]))

    return gaussians
