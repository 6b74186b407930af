"""What is behind the objects of a made scene: a picture larger than the image, before which a camera moves, in a light
that changes."""

from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.object_motion import Waves, smooth_waves
from spikebridge.data.textures import window


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
