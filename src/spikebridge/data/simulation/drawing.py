"""Sampling between pixels, and the window of an image in which an object is drawn.

Coordinates are those of boxes: the pixel in column i and row j covers `[i, i + 1) x [j, j + 1)`.
"""

from math import cos, sin
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


class ObjectWindow(NamedTuple):
    """A view of an image around an object, and the places of its pixels along and across the object [px]."""

    pixels: NDArray[np.float64]
    along: NDArray[np.float64]
    across: NDArray[np.float64]


def window_around(
    image: Float[np.ndarray, "H W"], place: tuple[float, float], reach: tuple[float, float], angle: float
) -> ObjectWindow:
    """The window around a turned object, which reaches at most `reach` from its middle along x and y [px, rad]."""
    x, y = place
    left, top = (max(0, int(middle - far) - 1) for middle, far in zip(place, reach, strict=True))
    right, bottom = (max(0, int(middle + far) + 2) for middle, far in zip(place, reach, strict=True))
    pixels = image[top:bottom, left:right]
    rows, columns = np.mgrid[top : top + pixels.shape[0], left : left + pixels.shape[1]] + 0.5
    along = (columns - x) * cos(angle) + (rows - y) * sin(angle)
    across = (rows - y) * cos(angle) - (columns - x) * sin(angle)

    return ObjectWindow(pixels, along, across)


def ellipse_extent(along: float, across: float, angle: float) -> tuple[float, float]:
    """Half the width and height of the box around a turned ellipse with these half axes."""
    c = abs(cos(angle))
    s = abs(sin(angle))
    return float(np.hypot(along * c, across * s)), float(np.hypot(along * s, across * c))


def sample_bilinear(
    texture: Float[np.ndarray, "h w"], x: Float[np.ndarray, "*S"], y: Float[np.ndarray, "*S"]
) -> Float[np.ndarray, "*S"]:
    """Samples a texture at real coordinates, bilinear between pixel centres; outside, the nearest edge pixel."""
    # 0.5 is the centre of the first pixel
    x = (x - 0.5).clip(0, texture.shape[1] - 1)
    y = (y - 0.5).clip(0, texture.shape[0] - 1)
    left = np.floor(x).astype(np.int64)
    top = np.floor(y).astype(np.int64)
    right = np.minimum(left + 1, texture.shape[1] - 1)
    bottom = np.minimum(top + 1, texture.shape[0] - 1)
    upper = _lerp(texture[top, left], texture[top, right], x - left)
    lower = _lerp(texture[bottom, left], texture[bottom, right], x - left)

    return _lerp(upper, lower, y - top)


def crop_bilinear(
    canvas: Float[np.ndarray, "h w"], x: float, y: float, height: int, width: int
) -> Float[np.ndarray, "H W"]:
    """Crops a rectangle at a subpixel position `x, y`, with a pixel to spare; much faster than `sample_bilinear`."""
    left = int(np.floor(x))
    top = int(np.floor(y))
    part = canvas[top : top + height + 1, left : left + width + 1]
    columns = _lerp(part[:, :-1], part[:, 1:], x - left)

    return _lerp(columns[:-1], columns[1:], y - top)


def _lerp(a: NDArray[np.float64], b: NDArray[np.float64], share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return a + share * (b - a)
