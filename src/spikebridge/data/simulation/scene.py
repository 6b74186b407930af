"""The common part of generated scenes: a target and distractors before a background, in changing light.

Everything is a closed form of time: images and boxes are exact at any time, and one seed gives one scene.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from math import exp
from typing import Protocol

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.motion import Motion
from spikebridge.data.simulation.textures import MovingBackground, canvas_size
from spikebridge.errors import ConfigError

_MINIMUM = {
    "size": 8.0,
    "speed": 0.0,
    "num_distractors": 0,
    "scale_change": 1.0,
    "light_change": 0.0,
    "camera_motion": 0.0,
    "turning": 0.0,
}


class Body(Protocol):
    """An object of a scene."""

    @property
    def motion(self) -> Motion:
        """Motion of its middle, with size and angle."""

    def extent(self, t: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The upper left and the lower right corner of the box around its outline, from its middle [px]."""

    def draw(self, image: NDArray[np.float64], place: tuple[float, float], t: float) -> None:
        """Draws it into an image, with its middle at a place, at a time [s]."""


@dataclass(frozen=True, eq=False)
class ObjectScene(ABC):
    """A target and distractors before a background; subclasses make the bodies and the background.

    Args:
        height: rows of the image.
        width: columns of the image.
        seed: draws everything.
        size: mean length of the target's axes [px].
        speed: mean speed of the target [px/s], stops included.
        num_distractors: other objects, always behind the target.
        scale_change: largest size of an object over its smallest.
        light_change: largest change of the light up and down, as a share.
        camera_motion: largest distance of the background to each side [px].
        turning: largest angle of objects to each side, in the plane of the image [rad].
        background: behind the objects, grey in [0, 1], of `canvas_size`; generated without it.
    """

    height: int = 144
    width: int = 144
    seed: int = 0
    size: float = 32.0
    speed: float = 250.0
    num_distractors: int = 2
    scale_change: float = 1.5
    light_change: float = 0.2
    camera_motion: float = 8.0
    turning: float = 0.5
    background: Float[np.ndarray, "bh bw"] | None = None

    def _check_settings(self, **minimum: float) -> None:
        """Refuses settings below their minimum, and a background that is too small."""
        kind = type(self).__name__
        for name, lowest in {**_MINIMUM, **minimum}.items():
            if not lowest <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{kind} needs {name} of {lowest:g} or more, but got {getattr(self, name)!r}.")

        if self.background is not None and min(np.subtract(self.background.shape, self._canvas_size)) < 0:
            raise ConfigError(
                f"{kind} needs a background of {self._canvas_size} rows and columns or more, but got "
                f"{self.background.shape}. Enlarge it, or let the camera move less."
            )

    def box(self, t: float) -> Float[np.ndarray, "4"]:
        """The box around the target's outline at a time [s]."""
        upper_left, lower_right = self._target.extent(t)
        return np.concatenate([np.array(self.center(t)) + upper_left, lower_right - upper_left])

    def center(self, t: float) -> tuple[float, float]:
        """The middle of the target at a time [s]."""
        return self._place(self._target, t)

    def image(self, t: float) -> Float[np.ndarray, "H W"]:
        """The image of the camera at a time [s]."""
        image = self._background.view(t, self.height, self.width)
        # the target comes last and hides the others
        for body in (*self._bodies[1:], self._target):
            body.draw(image, self._place(body, t), t)

        return self._background.illuminate(image, t)

    def _place(self, body: Body, t: float) -> tuple[float, float]:
        x, y = body.motion.position(t)
        return self.width / 2 + x, self.height / 2 + y

    @property
    def _canvas_size(self) -> tuple[int, int]:
        return canvas_size(self.height, self.width, self.camera_motion)

    @cached_property
    def _background(self) -> MovingBackground:
        return self._make_background()

    @cached_property
    def _bodies(self) -> tuple[Body, ...]:
        return self._make_bodies()

    @property
    def _target(self) -> Body:
        return self._bodies[0]

    @abstractmethod
    def _make_background(self) -> MovingBackground:
        """The background that the seed draws."""

    @abstractmethod
    def _make_bodies(self) -> tuple[Body, ...]:
        """The target and the distractors that the seed draws."""


def random_half_axes(generator: np.random.Generator, size: float, spread: float) -> tuple[float, float]:
    """Half axes of an object of a mean size; `spread` is the largest logarithm of their stretching."""
    shape = exp(generator.uniform(-spread, spread))
    return size / 2 * shape, size / 2 / shape


def free_range(height: int, width: int, reach: float) -> tuple[float, float]:
    """Distances from the middle of an image within which an object rarely leaves it [px]."""
    return max(0.1 * width, width / 2 - reach), max(0.1 * height, height / 2 - reach)
