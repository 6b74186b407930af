"""Fractal grey textures, sampling between pixels, and a textured background for a moving camera.

The background is larger than the image; the camera moves in front of it, in changing light.
"""

from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.motion import Waves, smooth_waves


def fractal_noise(
    height: int, width: int, generator: np.random.Generator, largest: int = 32, smallest: int = 4
) -> Float[np.ndarray, "H W"]:
    """Smooth noise of several sizes, as in a photograph out of which nothing can be recognised.

    Args:
        height: rows.
        width: columns.
        generator: draws it.
        largest: size of the largest patches [px].
        smallest: size of the smallest patches [px].

    Returns:
        Intensities from 0.1 to 0.9.

    Example:
        >>> texture = fractal_noise(40, 60, np.random.default_rng(0))
        >>> texture.shape, round(float(texture.min()), 2), round(float(texture.max()), 2)
        ((40, 60), 0.1, 0.9)
    """
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    total = np.zeros((height, width))
    size = largest
    while size >= smallest:
        knots = generator.normal(size=(height // size + 3, width // size + 3))
        # larger patches are stronger, as in natural images
        total += size * read_between(knots, columns / size + 0.5, rows / size + 0.5)
        size //= 2
    total -= total.min()
    return 0.1 + 0.8 * total / max(total.max(), 1e-12)


def read_between(
    texture: Float[np.ndarray, "h w"], x: Float[np.ndarray, "*S"], y: Float[np.ndarray, "*S"]
) -> Float[np.ndarray, "*S"]:
    """A texture at real places, bilinear between the middles of its pixels; outside, the value of the nearest edge.

    Args:
        texture: intensities.
        x: places along the columns; 0.5 is the middle of the first pixel.
        y: places along the rows.

    Returns:
        Intensities there.

    Example:
        >>> texture = np.array([[0.0, 1.0]])
        >>> read_between(texture, np.array([0.5, 1.0, 1.5, 9.0]), np.full(4, 0.5)).tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    x = (x - 0.5).clip(0, texture.shape[1] - 1)
    y = (y - 0.5).clip(0, texture.shape[0] - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, texture.shape[1] - 1), np.minimum(top + 1, texture.shape[0] - 1)
    upper = _mix(texture[top, left], texture[top, right], x - left)
    lower = _mix(texture[bottom, left], texture[bottom, right], x - left)
    return _mix(upper, lower, y - top)


def window(canvas: Float[np.ndarray, "h w"], x: float, y: float, height: int, width: int) -> Float[np.ndarray, "H W"]:
    """A rectangle of a larger canvas, moved by parts of a pixel; like `read_between`, and much faster.

    Args:
        canvas: intensities.
        x: left edge of the rectangle, which lies inside the canvas with a pixel to spare.
        y: upper edge.
        height: rows.
        width: columns.

    Example:
        >>> window(np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]), x=0.25, y=0.0, height=1, width=2).tolist()
        [[0.25, 1.25]]
    """
    left, top = int(np.floor(x)), int(np.floor(y))
    part = canvas[top : top + height + 1, left : left + width + 1]
    beside = _mix(part[:, :-1], part[:, 1:], x - left)
    return _mix(beside[:-1], beside[1:], y - top)


def _mix(a: NDArray[np.float64], b: NDArray[np.float64], share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return a + share * (b - a)


class Backdrop(NamedTuple):
    """A canvas, a camera and a light.

    Args:
        canvas: intensities in [0, 1].
        camera_motion: how far the camera goes to each side [px].
        light_change: how far the light goes up and down, as a share.
        camera_x: where the camera is.
        camera_y: likewise.
        light: 0 on average.
    """

    canvas: Float[np.ndarray, "h w"]
    camera_motion: float
    light_change: float
    camera_x: Waves
    camera_y: Waves
    light: Waves

    def seen(self, t: float, height: int, width: int) -> Float[np.ndarray, "H W"]:
        """The part of the canvas before the camera.

        Args:
            t: time [s].
            height: rows.
            width: columns.
        """
        margin = self.camera_motion + 1
        return window(self.canvas, margin + self.camera_x.at(t), margin + self.camera_y.at(t), height, width)

    def lit(self, image: Float[np.ndarray, "H W"], t: float) -> Float[np.ndarray, "H W"]:
        """An image in the light of a time.

        Args:
            image: with the objects drawn.
            t: time [s].
        """
        return (image * (1 + self.light.at(t)) / (1 + self.light_change)).clip(0, 1)


def canvas_size(height: int, width: int, camera_motion: float) -> tuple[int, int]:
    """Rows and columns of a canvas that is never left.

    Example:
        >>> canvas_size(100, 120, camera_motion=7.5)
        (120, 140)
    """
    margin = 2 * (ceil(camera_motion) + 2)
    return height + margin, width + margin


def moving_backdrop(
    canvas: Float[np.ndarray, "h w"], generator: np.random.Generator, camera_motion: float, light_change: float
) -> Backdrop:
    """A backdrop whose camera and light go their own ways.

    Args:
        canvas: of `canvas_size`.
        generator: draws the ways.
        camera_motion: how far the camera goes to each side [px].
        light_change: how far the light goes up and down, as a share.

    Example:
        >>> backdrop = moving_backdrop(np.ones((30, 40)), np.random.default_rng(0), 3.0, 0.2)
        >>> image = backdrop.lit(backdrop.seen(0.5, height=20, width=30), 0.5)
        >>> image.shape, bool(image.max() <= 1)
        ((20, 30), True)
    """
    strengths = (camera_motion, camera_motion, light_change)
    x, y, light = (smooth_waves(generator, strength, slowest=1.0, fastest=6.0) for strength in strengths)
    return Backdrop(canvas, camera_motion, light_change, x, y, light)
