"""A picture before which a camera moves, turns and zooms, and a part of it as the target.

Of an object that was drawn into a scene everything stands out: its outline, its texture, its motion. What people mark
in a film is often a part of something, such as a face, and nothing but its looks tell it from what is around.
"""

from dataclasses import dataclass
from functools import cached_property
from math import cos, exp, pi, sin
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.motion import Motion, SumOfSines, random_motion, random_sines
from spikebridge.data.simulation.textures import sample_bilinear
from spikebridge.errors import ConfigError

_MAX_FORESHORTENING = 0.3  # logarithm of an axis
_TRIES = 6
_PROBES = 12


@dataclass(frozen=True, eq=False)
class PannedPicture:
    """A scene with one target, an ellipse somewhere in a picture; beyond its edges the picture is mirrored.

    Args:
        picture: grey in [0, 1].
        height: rows of the image.
        width: columns of the image.
        seed: draws everything.
        size: mean length of the target's axes [px].
        speed: mean speed of the target in the image [px/s], stops included.
        scale_change: largest size over the smallest.
        light_change: how far the light goes up and down, as a share.
        turning: how far the camera turns to each side [rad].
        tumbling: how far both axes are foreshortened, from 0 to 1.

    Raises:
        ConfigError: the image is less than twice as large as the target, or a setting is out of range.

    Example:
        >>> scene = PannedPicture(np.random.default_rng(0).random((90, 120)), height=64, width=64, size=16)
        >>> scene.image(0.1).shape, bool((scene.box(0.1)[2:] > 10).all())
        ((64, 64), True)
    """

    picture: Float[np.ndarray, "h w"]
    height: int = 144
    width: int = 144
    seed: int = 0
    size: float = 28.0
    speed: float = 50.0
    scale_change: float = 1.5
    light_change: float = 0.2
    turning: float = 0.5
    tumbling: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings that are out of range."""
        is_drawn = self.speed >= 0 and self.scale_change >= 1 and 0 <= self.light_change < 1 and self.turning >= 0
        if not (is_drawn and 0 <= self.tumbling <= 1 and 0 < 2 * self.size <= min(self.height, self.width)):
            raise ConfigError(
                "PannedPicture needs speed and turning of 0 or more, scale_change of 1 or more, light_change below 1, "
                f"tumbling from 0 to 1, and an image twice as large as the target, but got speed={self.speed}, "
                f"turning={self.turning}, scale_change={self.scale_change}, light_change={self.light_change}, "
                f"tumbling={self.tumbling}, {self.width} x {self.height} pixels, size={self.size}."
            )

    def box(self, t: float) -> Float[np.ndarray, "4"]:
        """The box around the target.

        Args:
            t: time [s].
        """
        view = self._view(t)
        along, across = (half * axis for half, axis in zip(self._drawn.half, view.axes, strict=True))
        c = cos(view.angle)
        s = sin(view.angle)
        reach = np.array([np.hypot(along * c, across * s), np.hypot(along * s, across * c)])

        return np.concatenate([view.place - reach, 2 * reach])

    def image(self, t: float) -> Float[np.ndarray, "H W"]:
        """The image of the camera.

        Args:
            t: time [s].
        """
        view, (rows, columns) = self._view(t), np.mgrid[: self.height, : self.width] + 0.5
        x = columns - view.place[0]
        y = rows - view.place[1]
        c = cos(view.angle)
        s = sin(view.angle)
        places = (x * c + y * s) / view.axes[0], (y * c - x * s) / view.axes[1]
        size = self.picture.shape[::-1]
        u, v = (_mirrored(at + one, n) for at, one, n in zip(self._drawn.middle, places, size, strict=True))
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
        shape = exp(generator.uniform(-0.4, 0.4))
        reach = 0.6 * self.size * self.scale_change**0.5
        room = (max(0.1 * self.width, self.width / 2 - reach), max(0.1 * self.height, self.height / 2 - reach))
        strength = _MAX_FORESHORTENING * self.tumbling
        first, second = (random_sines(generator, strength, slowest=1.0, fastest=4.0) for _ in range(2))
        half = (self.size / 2 * shape, self.size / 2 / shape)

        return _Drawn(
            motion=random_motion(generator, room, self.speed, self.scale_change, self.turning),
            half=half,
            middle=self._marked(half, generator),
            foreshortening=(first, second),
            light=random_sines(generator, self.light_change, slowest=1.0, fastest=2 * pi),
        )

    def _marked(self, half: tuple[float, float], generator: np.random.Generator) -> tuple[float, float]:
        """The middle of the target in the picture: of some places the one with the most contrast."""
        size = np.array(self.picture.shape[::-1])
        steps = np.linspace(-1, 1, _PROBES)
        contrasts = []

        for middle in (places := size * generator.uniform(0.2, 0.8, (_TRIES, 2))):
            columns, rows = (at + reach * steps for at, reach in zip(middle, half, strict=True))
            contrasts.append(sample_bilinear(self.picture, *np.meshgrid(columns, rows)).std())

        x, y = places[int(np.argmax(contrasts))]
        return float(x), float(y)


class _View(NamedTuple):
    """Where the target is in the image: its middle, how it is turned, and the scale of its axes."""

    place: NDArray[np.float64]
    angle: float
    axes: tuple[float, float]


class _Drawn(NamedTuple):
    """What the seed draws: motion, half axes of the target, its middle in the picture, stretching and light."""

    motion: Motion
    half: tuple[float, float]
    middle: tuple[float, float]
    foreshortening: tuple[SumOfSines, SumOfSines]
    light: SumOfSines


def _mirrored(places: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Places inside a picture of this size, mirrored at its edges."""
    inside = places % (2 * size)
    return np.minimum(inside, 2 * size - inside)
