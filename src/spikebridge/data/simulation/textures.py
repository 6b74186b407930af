"""Grey textures, fractal or of overlapping shapes, sampling between pixels, and a background for a moving camera.

The background is larger than the image; the camera moves in front of it, in changing light.
"""

from math import ceil, cos, exp, pi, sin
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


def dead_leaves(
    height: int,
    width: int,
    generator: np.random.Generator,
    smallest: float = 2.0,
    cover: float = 3.0,
    tones: tuple[float, float] = (0.02, 0.98),
) -> Float[np.ndarray, "H W"]:
    """Overlapping shapes of uniform grey, as leaves on the ground or objects in an image: fractals have no edges.

    Radii are distributed as `r^-3`, so that the texture has no scale of its own, as natural images. Half of the shapes
    are ellipses and half are rectangles, both turned.

    Args:
        height: rows.
        width: columns.
        generator: draws it.
        smallest: radius [px]; the largest is half the shorter side.
        cover: summed area of the shapes over that of the texture; below 1 most of the ground is seen.
        tones: the darkest and the brightest.

    Returns:
        Intensities.

    Source: A. B. Lee, D. Mumford, J. Huang, Int. J. Computer Vision 41:35 (2001).

    Example:
        >>> texture = dead_leaves(40, 60, np.random.default_rng(0))
        >>> texture.shape, bool((texture >= 0.02).all() and (texture <= 0.98).all())
        ((40, 60), True)
    """
    total = np.full((height, width), generator.uniform(*tones))
    largest = max(min(height, width) / 2, smallest + 1)
    left = cover * height * width

    while left > 0:
        # the inverse of the distribution of radii
        radius = (smallest**-2 - generator.random() * (smallest**-2 - largest**-2)) ** -0.5
        left -= pi * radius**2
        shape = exp(generator.uniform(-0.7, 0.7))
        angle = generator.uniform(0, pi)
        x = generator.uniform(0, width)
        y = generator.uniform(0, height)
        is_round = generator.random() < 0.5
        half = (radius * shape, radius / shape)
        reach = radius * 3
        rows = slice(max(0, int(y - reach)), int(y + reach) + 2)
        columns = slice(max(0, int(x - reach)), int(x + reach) + 2)
        part = total[rows, columns]
        v, u = np.mgrid[rows.start : rows.start + part.shape[0], columns.start : columns.start + part.shape[1]] + 0.5
        along = np.abs((u - x) * cos(angle) + (v - y) * sin(angle)) / half[0]
        across = np.abs((v - y) * cos(angle) - (u - x) * sin(angle)) / half[1]
        level = np.hypot(along, across) if is_round else np.maximum(along, across)
        part += (0.5 + (1 - level) * min(half)).clip(0, 1) * (generator.uniform(*tones) - part)

    return total


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
    left = int(np.floor(x))
    top = int(np.floor(y))
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
