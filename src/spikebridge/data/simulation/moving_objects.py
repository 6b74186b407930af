"""A generated scene: a textured object and distractors over a textured background, changing light, a moving camera.

Everything is a closed form of time: images and boxes are exact at any time, and one seed gives one scene.
"""

from dataclasses import dataclass
from functools import cached_property
from math import cos, exp, sin
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.motion import Motion, SumOfSines, orbiting_motion, random_motion, random_sines
from spikebridge.data.simulation.textures import (
    MovingBackground,
    canvas_size,
    fractal_noise,
    random_background,
    sample_bilinear,
)
from spikebridge.errors import ConfigError

_SETTINGS = {  # name: lowest value
    "size": 8.0,
    "speed": 0.0,
    "num_distractors": 0,
    "scale_change": 1.0,
    "light_change": 0.0,
    "camera_motion": 0.0,
    "turning": 0.0,
    "jitter": 0.0,
}
_BESIDE = (1.0, 1.4)  # from the middle of the target to those of distractors beside it, in sizes of the target


class _Body(NamedTuple):
    motion: Motion
    texture: NDArray[np.float64]
    half: tuple[float, float]  # half axes [px] at scale 1
    is_round: bool


@dataclass(frozen=True, eq=False)
class MovingObjects:
    """A scene with one target.

    Args:
        height: rows of the image.
        width: columns of the image.
        seed: draws everything.
        size: mean length of the target's axes [px].
        speed: mean speed of the target [px/s], stops included.
        num_distractors: other objects, always behind the target.
        beside: the distractors go with the target, beside it, and not each its own way.
        scale_change: largest size of an object over its smallest.
        light_change: how far the light goes up and down, as a share.
        camera_motion: how far the background moves to each side [px].
        turning: how far objects turn to each side [rad].
        stops: how far the speed falls and rises around its mean: 1 stops, 0 is steady.
        jitter: how far objects are jerked to each side, several times a second [px].
        texture: of the target, grey in [0, 1]; generated without it.
        background: behind the objects, grey in [0, 1], at least as large as the image and twice the camera's motion.

    Raises:
        ConfigError: a setting is out of range, or the objects do not fit into the image.

    Example:
        >>> scene = MovingObjects(height=64, width=64, size=16, seed=3)
        >>> scene.image(0.1).shape, bool((scene.image(0.1) <= 1).all())
        ((64, 64), True)
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
    beside: bool = False
    stops: float = 1.0
    jitter: float = 0.0
    texture: Float[np.ndarray, "h w"] | None = None
    background: Float[np.ndarray, "bh bw"] | None = None

    def __post_init__(self) -> None:
        """Refuse settings that are out of range."""
        for name, lowest in _SETTINGS.items():
            if not lowest <= getattr(self, name) < float("inf"):
                raise ConfigError(f"MovingObjects needs {name} of {lowest:g} or more, but got {getattr(self, name)!r}.")

        if not 0 <= self.stops <= 1:
            raise ConfigError(f"MovingObjects needs stops from 0 to 1, but got {self.stops!r}.")

        if self.light_change >= 1 or min(self.height, self.width) < 2.5 * self.size * self.scale_change:
            raise ConfigError(
                "MovingObjects needs light_change below 1, and an image 2.5 times as large as the largest object, but "
                f"got light_change={self.light_change}, {self.width} x {self.height} pixels, size={self.size}, "
                f"scale_change={self.scale_change}."
            )

        for name in ("texture", "background"):
            picture = getattr(self, name)
            if picture is not None and not (picture.size and ((picture >= 0) & (picture <= 1)).all()):
                raise ConfigError(f"MovingObjects needs a {name} of intensities in [0, 1]; divide bytes by 255.")

        if self.background is not None and min(np.subtract(self.background.shape, self._canvas_size)) < 0:
            raise ConfigError(
                f"MovingObjects needs a background of {self._canvas_size} rows and columns or more, but got "
                f"{self.background.shape}. Enlarge it, or let the camera move less."
            )

    def box(self, t: float) -> Float[np.ndarray, "4"]:
        """The box around the target, exact for its outline.

        Args:
            t: time [s].
        """
        x, y = self.center(t)
        reach = np.array(_half_extent(self._target, t))

        return np.concatenate([np.array([x, y]) - reach, 2 * reach])

    def center(self, t: float) -> tuple[float, float]:
        """The middle of the target.

        Args:
            t: time [s].
        """
        return self._center(self._target, t)

    def image(self, t: float) -> Float[np.ndarray, "H W"]:
        """The image of the camera.

        Args:
            t: time [s].
        """
        image = self._background.view(t, self.height, self.width)
        for body in (*self._distractors, self._target):
            self._draw(image, body, t)

        return self._background.illuminate(image, t)

    def _draw(self, image: NDArray[np.float64], body: _Body, t: float) -> None:
        x, y = self._center(body, t)
        reach = _half_extent(body, t)
        left = max(0, int(x - reach[0]) - 1)
        right = min(self.width, int(x + reach[0]) + 2)
        top = max(0, int(y - reach[1]) - 1)
        bottom = min(self.height, int(y + reach[1]) + 2)

        if left >= right or top >= bottom:
            return

        rows, columns = np.mgrid[top:bottom, left:right] + 0.5
        angle = body.motion.angle.at(t)
        scale = exp(body.motion.log_scale.at(t))
        along = ((columns - x) * cos(angle) + (rows - y) * sin(angle)) / scale
        across = ((rows - y) * cos(angle) - (columns - x) * sin(angle)) / scale
        covered = (0.5 - scale * _signed_distance(body, along, across)).clip(0, 1)
        height, width = body.texture.shape
        picture = sample_bilinear(
            body.texture, (along / body.half[0] + 1) / 2 * width, (across / body.half[1] + 1) / 2 * height
        )
        part = image[top:bottom, left:right]
        part += covered * (picture - part)

    def _center(self, body: _Body, t: float) -> tuple[float, float]:
        x, y = body.motion.position(t)
        return self.width / 2 + x, self.height / 2 + y

    @property
    def _canvas_size(self) -> tuple[int, int]:
        return canvas_size(self.height, self.width, self.camera_motion)

    @cached_property
    def _background(self) -> MovingBackground:
        canvas = self.background
        if canvas is None:
            canvas = fractal_noise(*self._canvas_size, np.random.default_rng([self.seed, 0]))

        generator = np.random.default_rng([self.seed, 1])
        return random_background(np.asarray(canvas, np.float64), generator, self.camera_motion, self.light_change)

    @cached_property
    def _target(self) -> _Body:
        return self._body(2, self.texture)

    @cached_property
    def _distractors(self) -> tuple[_Body, ...]:
        bodies = [self._body(3 + i, None) for i in range(self.num_distractors)]
        if not self.beside:
            return tuple(bodies)

        generator = np.random.default_rng([self.seed, 2, 1])
        motions = [
            orbiting_motion(generator, self._target.motion, self.size * generator.uniform(*_BESIDE)) for _ in bodies
        ]

        return tuple(body._replace(motion=motion) for body, motion in zip(bodies, motions, strict=True))

    def _body(self, number: int, texture: NDArray[np.float64] | None) -> _Body:
        generator = np.random.default_rng([self.seed, number])
        shape = exp(generator.uniform(-0.2, 0.2))
        half = (self.size / 2 * shape, self.size / 2 / shape)
        is_round = bool(generator.integers(2))

        # the corner of a turned rectangle reaches farthest
        reach = np.hypot(*half) * self.scale_change**0.5 + 1
        room = (self.width / 2 - reach, self.height / 2 - reach)
        motion = random_motion(generator, room, self.speed, self.scale_change, self.turning)
        motion = motion._replace(stops=self.stops, jitter=self._jitter(number))

        if texture is None:
            side = max(8, round(self.size))
            texture = fractal_noise(side, side, generator, largest=max(4, side // 2), smallest=2)

        return _Body(motion, np.asarray(texture, dtype=np.float64), half, is_round)

    def _jitter(self, number: int) -> tuple[SumOfSines, SumOfSines] | None:
        if not self.jitter:
            return None
        generator = np.random.default_rng([self.seed, number, 2])
        x, y = (random_sines(generator, self.jitter, slowest=15.0, fastest=45.0) for _ in range(2))
        return x, y


def _half_extent(body: _Body, t: float) -> tuple[float, float]:
    """Half the width and height of the box around the outline."""
    angle = body.motion.angle.at(t)
    scale = exp(body.motion.log_scale.at(t))
    c = abs(cos(angle))
    s = abs(sin(angle))
    along = scale * body.half[0]
    across = scale * body.half[1]

    if body.is_round:
        return float(np.hypot(along * c, across * s)), float(np.hypot(along * s, across * c))

    return along * c + across * s, along * s + across * c


def _signed_distance(body: _Body, along: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed distance of points from the outline, negative inside, before scaling [px]."""
    a, b = body.half
    if not body.is_round:
        return np.maximum(abs(along) - a, abs(across) - b)

    # first-order distance to an ellipse: its implicit function over the gradient
    level = np.hypot(along / a, across / b)
    slope = np.hypot(along / a**2, across / b**2) / np.maximum(level, 1e-9)

    return (level - 1) / np.maximum(slope, 1e-9)
