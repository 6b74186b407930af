"""Grey textures, fractal or of overlapping shapes, and a background for a moving camera.

The background is larger than the image; the camera moves in front of it, in changing light.
"""

from math import ceil, exp, pi
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.simulation.drawing import crop_bilinear, sample_bilinear, window_around
from spikebridge.data.simulation.motion import SumOfSines, random_sines


def fractal_noise(
    height: int, width: int, generator: np.random.Generator, largest: int = 32, smallest: int = 4
) -> Float[np.ndarray, "H W"]:
    """Fractal noise from 0.1 to 0.9: smooth noise with patches of several sizes, from `smallest` to `largest` [px]."""
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

    Radii are distributed as `r^-3` from `smallest` to half the shorter side [px], so that the texture has no scale of
    its own, as natural images. Half of the shapes are ellipses and half are rectangles, all of them turned. `cover` is
    the summed area of the shapes over that of the texture; below 1 most of the ground stays visible.

    Source: A. B. Lee, D. Mumford, J. Huang, Int. J. Computer Vision 41:35 (2001).
    """
    total = np.full((height, width), generator.uniform(*tones))
    largest = max(min(height, width) / 2, smallest + 1)
    uncovered = cover * height * width

    while uncovered > 0:
        # the inverse of the distribution of radii
        radius = (smallest**-2 - generator.random() * (smallest**-2 - largest**-2)) ** -0.5
        uncovered -= pi * radius**2
        shape = exp(generator.uniform(-0.7, 0.7))
        angle = generator.uniform(0, pi)
        place = (generator.uniform(0, width), generator.uniform(0, height))
        is_round = generator.random() < 0.5
        half = (radius * shape, radius / shape)

        pixels, along, across = window_around(total, place, (3 * radius, 3 * radius), angle)
        along = np.abs(along) / half[0]
        across = np.abs(across) / half[1]
        level = np.hypot(along, across) if is_round else np.maximum(along, across)
        pixels += (0.5 + (1 - level) * min(half)).clip(0, 1) * (generator.uniform(*tones) - pixels)

    return total


class MovingBackground(NamedTuple):
    """A background image before which a camera moves in changing light."""

    canvas: Float[np.ndarray, "h w"]
    camera_motion: float  # largest distance to each side [px]
    light_change: float  # largest change up and down, as a share
    camera_x: SumOfSines
    camera_y: SumOfSines
    light: SumOfSines  # relative change, 0 on average

    def view(self, t: float, height: int, width: int) -> Float[np.ndarray, "H W"]:
        """The part of the canvas in the field of view at a time [s]."""
        margin = self.camera_motion + 1
        return crop_bilinear(self.canvas, margin + self.camera_x.at(t), margin + self.camera_y.at(t), height, width)

    def illuminate(self, image: Float[np.ndarray, "H W"], t: float) -> Float[np.ndarray, "H W"]:
        """Scales an image by the light at a time [s]."""
        return (image * (1 + self.light.at(t)) / (1 + self.light_change)).clip(0, 1)


def canvas_size(height: int, width: int, camera_motion: float) -> tuple[int, int]:
    """Rows and columns of a canvas that the field of view never leaves."""
    margin = 2 * (ceil(camera_motion) + 2)
    return height + margin, width + margin


def random_background(
    canvas: Float[np.ndarray, "h w"], generator: np.random.Generator, camera_motion: float, light_change: float
) -> MovingBackground:
    """A background with random motion of camera and light; the canvas is of `canvas_size`."""
    strengths = (camera_motion, camera_motion, light_change)
    x, y, light = (random_sines(generator, strength, slowest=1.0, fastest=6.0) for strength in strengths)

    return MovingBackground(canvas, camera_motion, light_change, x, y, light)
