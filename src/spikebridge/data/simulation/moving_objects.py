"""A generated scene: a textured object and distractors over a textured background, changing light, a moving camera."""

from dataclasses import dataclass
from math import cos, exp, sin
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.drawing import ellipse_extent, sample_bilinear, window_around
from spikebridge.data.simulation.motion import Motion, orbiting_motion, random_motion, random_pair
from spikebridge.data.simulation.scene import ObjectScene, random_half_axes
from spikebridge.data.simulation.textures import MovingBackground, fractal_noise, random_background
from spikebridge.errors import ConfigError

_ORBIT = (1.0, 1.4)  # radius of distractors that go with the target, in sizes of the target


@dataclass(frozen=True, eq=False)
class MovingObjects(ObjectScene):
    """A scene with one target: textured ellipses and rectangles that move, turn and change their size.

    Args:
        beside: the distractors go with the target, beside it, and not each its own way.
        stops: largest change of the speed around its mean, as a share: 1 stops, 0 is steady.
        jitter: largest displacement of objects to each side, several times a second [px].
        texture: texture of the target, grey in [0, 1]; generated without it.

    The other settings are those of `ObjectScene`: `height`, `width`, `seed`, `size`, `speed`, `num_distractors`,
    `scale_change`, `light_change`, `camera_motion`, `turning` and `background`.

    Raises:
        ConfigError: a setting is out of range, or the objects do not fit into the image.

    Example:
        >>> scene = MovingObjects(height=64, width=64, size=16, seed=3)
        >>> scene.image(0.1).shape, bool((scene.image(0.1) <= 1).all())
        ((64, 64), True)
    """

    beside: bool = False
    stops: float = 1.0
    jitter: float = 0.0
    texture: Float[np.ndarray, "h w"] | None = None

    def __post_init__(self) -> None:
        self._check_settings(jitter=0.0)
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

    def _make_background(self) -> MovingBackground:
        canvas = self.background
        if canvas is None:
            canvas = fractal_noise(*self._canvas_size, np.random.default_rng([self.seed, 0]))

        generator = np.random.default_rng([self.seed, 1])
        return random_background(np.asarray(canvas, np.float64), generator, self.camera_motion, self.light_change)

    def _make_bodies(self) -> tuple["_Body", ...]:
        target = self._make_body(2, self.texture)
        distractors = [self._make_body(3 + i, None) for i in range(self.num_distractors)]
        if self.beside:
            generator = np.random.default_rng([self.seed, 2, 1])
            for i, body in enumerate(distractors):
                motion = orbiting_motion(generator, target.motion, self.size * generator.uniform(*_ORBIT))
                distractors[i] = body._replace(motion=motion)

        return (target, *distractors)

    def _make_body(self, number: int, texture: NDArray[np.float64] | None) -> "_Body":
        generator = np.random.default_rng([self.seed, number])
        half = random_half_axes(generator, self.size, 0.2)
        is_round = bool(generator.integers(2))

        # the corner of a turned rectangle reaches farthest
        reach = np.hypot(*half) * self.scale_change**0.5 + 1
        distances = (self.width / 2 - reach, self.height / 2 - reach)
        motion = random_motion(generator, distances, self.speed, self.scale_change, self.turning)
        motion = motion._replace(stops=self.stops)
        if self.jitter:
            jitter = random_pair(np.random.default_rng([self.seed, number, 2]), self.jitter, slowest=15.0, fastest=45.0)
            motion = motion._replace(jitter=jitter)

        if texture is None:
            side = max(8, round(self.size))
            texture = fractal_noise(side, side, generator, largest=max(4, side // 2), smallest=2)

        return _Body(motion, np.asarray(texture, dtype=np.float64), half, is_round)


class _Body(NamedTuple):
    motion: Motion
    texture: NDArray[np.float64]
    half: tuple[float, float]  # half axes [px] at scale 1
    is_round: bool

    def extent(self, t: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The corners of the box around the outline, from the middle [px]."""
        reach = np.array(self._reach(t))
        return -reach, reach

    def draw(self, image: NDArray[np.float64], place: tuple[float, float], t: float) -> None:
        """Draws the object into an image, in place."""
        pixels, along, across = window_around(image, place, self._reach(t), self.motion.angle.at(t))
        scale = exp(self.motion.log_scale.at(t))
        along = along / scale
        across = across / scale
        covered = (0.5 - scale * self._signed_distance(along, across)).clip(0, 1)
        height, width = self.texture.shape
        u = (along / self.half[0] + 1) / 2 * width
        v = (across / self.half[1] + 1) / 2 * height

        pixels += covered * (sample_bilinear(self.texture, u, v) - pixels)

    def _reach(self, t: float) -> tuple[float, float]:
        """Half the width and height of the box around the outline."""
        angle = self.motion.angle.at(t)
        scale = exp(self.motion.log_scale.at(t))
        along = scale * self.half[0]
        across = scale * self.half[1]
        if self.is_round:
            return ellipse_extent(along, across, angle)

        c = abs(cos(angle))
        s = abs(sin(angle))
        return along * c + across * s, along * s + across * c

    def _signed_distance(self, along: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
        """Signed distance of points from the outline, negative inside, before scaling [px]."""
        a, b = self.half
        if not self.is_round:
            return np.maximum(abs(along) - a, abs(across) - b)

        # first-order distance to an ellipse: its implicit function over the gradient
        level = np.hypot(along / a, across / b)
        slope = np.hypot(along / a**2, across / b**2) / np.maximum(level, 1e-9)

        return (level - 1) / np.maximum(slope, 1e-9)
