"""Fractal grey textures, sampling between pixels, and a textured background for a moving camera.

The background is larger than the image; the camera moves in front of it, in changing light.
"""

from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.motion import SumOfSines, random_sines


def fractal_noise(
    height: int, width: int, generator: np.random.Generator, largest: int = 32, smallest: int = 4
) -> Float[np.ndarray, "H W"]:
    """Fractal noise: smooth noise of several sizes, the larger ones stronger, as in natural images.

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
        total += size * sample_bilinear(knots, columns / size + 0.5, rows / size + 0.5)
        size //= 2
    total -= total.min()
    return 0.1 + 0.8 * total / max(total.max(), 1e-12)


def sample_bilinear(
    texture: Float[np.ndarray, "h w"], x: Float[np.ndarray, "*S"], y: Float[np.ndarray, "*S"]
) -> Float[np.ndarray, "*S"]:
    """Samples a texture at real coordinates, bilinear between pixel centres; outside, the nearest edge pixel.

    Args:
        texture: intensities.
        x: places along the columns; 0.5 is the middle of the first pixel.
        y: places along the rows.

    Returns:
        Intensities there.

    Example:
        >>> texture = np.array([[0.0, 1.0]])
        >>> sample_bilinear(texture, np.array([0.5, 1.0, 1.5, 9.0]), np.full(4, 0.5)).tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    x = (x - 0.5).clip(0, texture.shape[1] - 1)
    y = (y - 0.5).clip(0, texture.shape[0] - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, texture.shape[1] - 1), np.minimum(top + 1, texture.shape[0] - 1)
    upper = _lerp(texture[top, left], texture[top, right], x - left)
    lower = _lerp(texture[bottom, left], texture[bottom, right], x - left)
    return _lerp(upper, lower, y - top)


def crop_bilinear(
    canvas: Float[np.ndarray, "h w"], x: float, y: float, height: int, width: int
) -> Float[np.ndarray, "H W"]:
    """Crops a rectangle at a subpixel position; like `sample_bilinear`, and much faster.

    Args:
        canvas: intensities.
        x: left edge of the rectangle, which lies inside the canvas with a pixel to spare.
        y: upper edge.
        height: rows.
        width: columns.

    Example:
        >>> crop_bilinear(np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]), x=0.25, y=0.0, height=1, width=2).tolist()
        [[0.25, 1.25]]
    """
    left, top = int(np.floor(x)), int(np.floor(y))
    part = canvas[top : top + height + 1, left : left + width + 1]
    beside = _lerp(part[:, :-1], part[:, 1:], x - left)
    return _lerp(beside[:-1], beside[1:], y - top)


def _lerp(a: NDArray[np.float64], b: NDArray[np.float64], share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return a + share * (b - a)


class MovingBackground(NamedTuple):
    """A background image before which a camera moves in changing light.

    Args:
        canvas: intensities in [0, 1].
        camera_motion: how far the camera goes to each side [px].
        light_change: how far the light goes up and down, as a share.
        camera_x: position of the camera [px].
        camera_y: likewise.
        light: relative change, 0 on average.
    """

    canvas: Float[np.ndarray, "h w"]
    camera_motion: float
    light_change: float
    camera_x: SumOfSines
    camera_y: SumOfSines
    light: SumOfSines

    def view(self, t: float, height: int, width: int) -> Float[np.ndarray, "H W"]:
        """The part of the canvas in the field of view.

        Args:
            t: time [s].
            height: rows.
            width: columns.
        """
        margin = self.camera_motion + 1
        return crop_bilinear(self.canvas, margin + self.camera_x.at(t), margin + self.camera_y.at(t), height, width)

    def illuminate(self, image: Float[np.ndarray, "H W"], t: float) -> Float[np.ndarray, "H W"]:
        """Scales an image by the light at a time.

        Args:
            image: with the objects drawn.
            t: time [s].
        """
        return (image * (1 + self.light.at(t)) / (1 + self.light_change)).clip(0, 1)


def canvas_size(height: int, width: int, camera_motion: float) -> tuple[int, int]:
    """Rows and columns of a canvas that the field of view never leaves.

    Example:
        >>> canvas_size(100, 120, camera_motion=7.5)
        (120, 140)
    """
    margin = 2 * (ceil(camera_motion) + 2)
    return height + margin, width + margin


def random_background(
    canvas: Float[np.ndarray, "h w"], generator: np.random.Generator, camera_motion: float, light_change: float
) -> MovingBackground:
    """A background with random motion of camera and light.

    Args:
        canvas: of `canvas_size`.
        generator: draws the motion.
        camera_motion: how far the camera goes to each side [px].
        light_change: how far the light goes up and down, as a share.

    Example:
        >>> background = random_background(np.ones((30, 40)), np.random.default_rng(0), 3.0, 0.2)
        >>> image = background.illuminate(background.view(0.5, height=20, width=30), 0.5)
        >>> image.shape, bool(image.max() <= 1)
        ((20, 30), True)
    """
    strengths = (camera_motion, camera_motion, light_change)
    x, y, light = (random_sines(generator, strength, slowest=1.0, fastest=6.0) for strength in strengths)
    return MovingBackground(canvas, camera_motion, light_change, x, y, light)
