"""A picture before which a camera moves, turns and zooms, and a part of it as the target.

An object that was drawn into a scene stands out by its outline, its texture and its motion. In a film people often mark
a part of an object, such as a face, which only its looks distinguish from its surroundings.
"""

from dataclasses import dataclass
from functools import cached_property
from math import cos, exp, pi, sin
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.drawing import ellipse_extent, sample_bilinear
from spikebridge.data.simulation.motion import Motion, SumOfSines, random_motion, random_pair, random_sines
from spikebridge.data.simulation.scene import free_range, random_half_axes
from spikebridge.errors import ConfigError

_MAX_FORESHORTENING = 0.3  # logarithm of an axis
_NUM_TRIES = 6
_NUM_PROBES = 12


@dataclass(frozen=True, eq=False)
class PannedPicture:
    """A scene with one target, an ellipse somewhere in a picture; beyond its edges the picture is mirrored."""

    # grey in [0, 1]
    picture: Float[np.ndarray, "h w"]
    height: int = 144
    width: int = 144
    seed: int = 0
    # mean length of the target's axes [px]
    size: float = 28.0
    # mean speed of the target in the image, stops included [px/s]
    speed: float = 50.0
    # largest size over the smallest
    scale_change: float = 1.5
    # largest change of the light up and down, as a share
    light_change: float = 0.2
    # largest angle of the camera to each side [rad]
    turning: float = 0.5
    # strength of the foreshortening of both axes, 0 to 1
    tumbling: float = 0.5

    def __post_init__(self) -> None:
        is_possible = self.speed >= 0 and self.scale_change >= 1 and 0 <= self.light_change < 1 and self.turning >= 0
        if not (is_possible and 0 <= self.tumbling <= 1 and 0 < 2 * self.size <= min(self.height, self.width)):
            raise ConfigError(
                "PannedPicture needs speed and turning of 0 or more, scale_change of 1 or more, light_change below 1, "
                f"tumbling from 0 to 1, and an image twice as large as the target, but got speed={self.speed}, "
                f"turning={self.turning}, scale_change={self.scale_change}, light_change={self.light_change}, "
                f"tumbling={self.tumbling}, {self.width} x {self.height} pixels, size={self.size}."
            )

    def box(self, t: float) -> Float[np.ndarray, "4"]:
        """The box around the target."""
        view = self._view(t)
        along, across = (half * axis for half, axis in zip(self._drawn.half, view.axes, strict=True))
        reach = np.array(ellipse_extent(along, across, view.angle))

        return np.concatenate([view.place - reach, 2 * reach])

    def image(self, t: float) -> Float[np.ndarray, "H W"]:
        """The image of the camera."""
        view = self._view(t)
        rows, columns = np.mgrid[: self.height, : self.width] + 0.5
        x = columns - view.place[0]
        y = rows - view.place[1]
        c = cos(view.angle)
        s = sin(view.angle)
        height, width = self.picture.shape
        u = _mirrored(self._drawn.middle[0] + (x * c + y * s) / view.axes[0], width)
        v = _mirrored(self._drawn.middle[1] + (y * c - x * s) / view.axes[1], height)
        light = (1 + self._drawn.light.at(t)) / (1 + self.light_change)

        return (light * sample_bilinear(self.picture, u, v)).clip(0, 1)

    def _view(self, t: float) -> "_View":
        drawn = self._drawn
        scale = drawn.motion.log_scale.at(t)
        place = np.add(drawn.motion.position(t), (self.width / 2, self.height / 2))
        first, second = (exp(scale + wave.at(t)) for wave in drawn.foreshortening)

        return _View(place, drawn.motion.angle.at(t), (first, second))

    @cached_property
    def _drawn(self) -> "_Drawn":
        generator = np.random.default_rng([self.seed, 4])
        half = random_half_axes(generator, self.size, 0.4)
        distances = free_range(self.height, self.width, 0.6 * self.size * self.scale_change**0.5)
        foreshortening = random_pair(generator, _MAX_FORESHORTENING * self.tumbling, slowest=1.0, fastest=4.0)

        return _Drawn(
            motion=random_motion(generator, distances, self.speed, self.scale_change, self.turning),
            half=half,
            middle=self._target_place(half, generator),
            foreshortening=foreshortening,
            light=random_sines(generator, self.light_change, slowest=1.0, fastest=2 * pi),
        )

    def _target_place(self, half: tuple[float, float], generator: np.random.Generator) -> tuple[float, float]:
        """The place with the most contrast of some random ones in the picture, as the middle of the target."""
        height, width = self.picture.shape
        places = np.array([width, height]) * generator.uniform(0.2, 0.8, (_NUM_TRIES, 2))
        steps = np.linspace(-1, 1, _NUM_PROBES)

        contrasts = []
        for x, y in places:
            columns, rows = np.meshgrid(x + half[0] * steps, y + half[1] * steps)
            contrasts.append(sample_bilinear(self.picture, columns, rows).std())

        x, y = places[int(np.argmax(contrasts))]
        return float(x), float(y)


class _View(NamedTuple):
    """The target in the image."""

    place: NDArray[np.float64]  # its middle
    angle: float
    axes: tuple[float, float]  # their scale


class _Drawn(NamedTuple):
    """The properties that the seed draws."""

    motion: Motion
    half: tuple[float, float]  # half axes of the target
    middle: tuple[float, float]  # of the target in the picture
    foreshortening: tuple[SumOfSines, SumOfSines]
    light: SumOfSines


def _mirrored(places: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Places inside a picture of this size, mirrored at its edges."""
    inside = places % (2 * size)
    return np.minimum(inside, 2 * size - inside)
