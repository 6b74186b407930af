"""A generated scene of an object that tumbles (rotates out of the image plane) among distractors.

The outline is foreshortened and hidden texture turns into view, so that after half a second little of the first
appearance is left. The object may be as bright as its background. A tracker has to separate target and background and
cannot match the first template.
"""

from dataclasses import dataclass
from functools import cached_property
from math import cos, exp, pi, sin
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.motion import Motion, SumOfSines, random_motion, random_sines
from spikebridge.data.simulation.textures import (
    MovingBackground,
    canvas_size,
    dead_leaves,
    fractal_noise,
    random_background,
    sample_bilinear,
)
from spikebridge.errors import ConfigError

_SETTINGS = {  # name: lowest value
    "size": 8.0,
    "speed": 0.0,
    "num_distractors": 0,
    "num_panels": 0,
    "scale_change": 1.0,
    "light_change": 0.0,
    "camera_motion": 0.0,
    "turning": 0.0,
    "tumbling": 0.0,
}
_HARMONICS = np.arange(2, 8)
_MAX_HARMONICS = 0.55  # of a radius, so that an outline is never thin
_MAX_FORESHORTENING = 0.45  # logarithm of a foreshortened axis
_SHOWN = 0.35  # of the texture, to each side of its middle
_LEAVES_SHARE = 0.8
_AROUND = 2 * pi * np.arange(180) / 180


@dataclass(frozen=True, eq=False)
class TumblingObjects:
    """A scene with one target.

    Args:
        height: rows of the image.
        width: columns of the image.
        seed: draws everything.
        size: mean length of the target's axes, when nothing is foreshortened [px].
        speed: mean speed of the target [px/s], stops included.
        num_distractors: other objects, always behind the target.
        num_panels: rectangles of one brightness in the background: doors, screens, shelves.
        scale_change: largest size of an object over its smallest.
        light_change: how far the light goes up and down, as a share.
        camera_motion: how far the background moves to each side [px].
        turning: how far objects turn in the picture's plane to each side [rad].
        tumbling: how far they turn out of it: 0 not at all; at 1 axes go from two thirds to one and a half of their
            length, and all of the texture that is seen at first may be hidden later.
        leaves: most objects and the background are covered with shapes of uniform grey (`dead_leaves`).
        textures: of the target and of the distractors after it, grey in [0, 1]; the others are generated. The middle
            third of one is seen at first.
        background: behind the objects, grey in [0, 1], of `canvas_size`; generated without it.

    Raises:
        ConfigError: a setting is out of range, or the objects do not fit into the image.

    Example:
        >>> scene = TumblingObjects(height=64, width=64, size=16, seed=3)
        >>> scene.image(0.1).shape, bool((scene.image(0.1) <= 1).all())
        ((64, 64), True)
    """

    height: int = 144
    width: int = 144
    seed: int = 0
    size: float = 28.0
    speed: float = 200.0
    num_distractors: int = 3
    num_panels: int = 6
    scale_change: float = 1.5
    light_change: float = 0.2
    camera_motion: float = 8.0
    turning: float = 0.8
    tumbling: float = 1.0
    leaves: bool = False
    textures: tuple[Float[np.ndarray, "_ _"], ...] = ()
    background: Float[np.ndarray, "bh bw"] | None = None

    def __post_init__(self) -> None:
        """Refuse settings that are out of range."""
        for name, lowest in _SETTINGS.items():
            if not lowest <= getattr(self, name) < float("inf"):
                raise ConfigError(f"TumblingObjects needs {name} of {lowest:g} or more, but got {getattr(self, name)}.")

        if self.light_change >= 1 or self.tumbling > 1 or min(self.height, self.width) < 2 * self.size:
            raise ConfigError(
                "TumblingObjects needs light_change below 1, tumbling of at most 1, and an image twice as large as the "
                f"target, but got light_change={self.light_change}, tumbling={self.tumbling}, "
                f"{self.width} x {self.height} pixels, size={self.size}."
            )

        needed = canvas_size(self.height, self.width, self.camera_motion)
        if self.background is not None and min(np.subtract(self.background.shape, needed)) < 0:
            raise ConfigError(
                f"TumblingObjects needs a background of {needed} rows and columns or more, but got "
                f"{self.background.shape}. Enlarge it, or let the camera move less."
            )

    def box(self, t: float) -> Float[np.ndarray, "4"]:
        """The box around the target's outline.

        Args:
            t: time [s].
        """
        x, y = self._place(self._target, t)
        outline_x, outline_y = self._target.outline(t)

        return np.array([x + outline_x.min(), y + outline_y.min(), np.ptp(outline_x), np.ptp(outline_y)])

    def image(self, t: float) -> Float[np.ndarray, "H W"]:
        """The image of the camera.

        Args:
            t: time [s].
        """
        image = self._background.view(t, self.height, self.width)
        for body in (*self._distractors, self._target):
            body.draw(image, self._place(body, t), t)

        return self._background.illuminate(image, t)

    def _place(self, body: "_Body", t: float) -> tuple[float, float]:
        x, y = body.motion.position(t)
        return self.width / 2 + x, self.height / 2 + y

    @cached_property
    def _background(self) -> MovingBackground:
        generator = np.random.default_rng([self.seed, 0])
        shape = canvas_size(self.height, self.width, self.camera_motion)
        canvas = self.background
        if canvas is None:
            canvas = _panels(*shape, self.num_panels, generator)
            if self.leaves:
                canvas = _with_leaves(canvas, np.random.default_rng([self.seed, 0, 1]))

        return random_background(canvas, generator, self.camera_motion, self.light_change)

    @cached_property
    def _target(self) -> "_Body":
        return self._body(1)

    @cached_property
    def _distractors(self) -> tuple["_Body", ...]:
        return tuple(self._body(2 + i) for i in range(self.num_distractors))

    def _body(self, number: int) -> "_Body":
        generator = np.random.default_rng([self.seed, number])
        shape = exp(generator.uniform(-0.4, 0.4))
        half = (self.size / 2 * shape, self.size / 2 / shape)

        # large objects may stick out now and then
        reach = 1.2 * max(half) * self.scale_change**0.5
        room = (max(0.1 * self.width, self.width / 2 - reach), max(0.1 * self.height, self.height / 2 - reach))
        motion = random_motion(generator, room, self.speed, self.scale_change, self.turning)
        foreshortening = _two_waves(generator, _MAX_FORESHORTENING * self.tumbling)
        texture_shift = _two_waves(generator, 0.5 * self.tumbling)
        side = round(2 * self.size)
        largest = int(generator.choice([4, 8, 16]))
        texture = _jitter_tone(
            fractal_noise(side, side, generator, largest=min(largest, side // 2), smallest=2), generator
        )
        texture = _jitter_tone(texture, generator)

        if number <= len(self.textures):
            texture = np.asarray(self.textures[number - 1], np.float64)
        elif self.leaves:
            texture = _leaves_or(texture, np.random.default_rng([self.seed, number, 1]))

        return _Body(motion, half, *_outline(generator), foreshortening, texture_shift, texture)


class _Body(NamedTuple):
    motion: Motion
    half: tuple[float, float]  # half axes [px] at scale 1
    harmonics: NDArray[np.float64]  # strength of each harmonic of the outline
    phase: NDArray[np.float64]
    foreshortening: tuple[SumOfSines, SumOfSines]  # logarithms of both axes
    texture_shift: tuple[SumOfSines, SumOfSines]  # of the texture under the outline
    texture: NDArray[np.float64]

    def outline(self, t: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points of the outline, from the middle [px]."""
        angle = self.motion.angle.at(t)
        radius = self._radius(_AROUND)
        a, b = self._axes(t)
        along = a * radius * np.cos(_AROUND)
        across = b * radius * np.sin(_AROUND)

        return along * cos(angle) - across * sin(angle), along * sin(angle) + across * cos(angle)

    def draw(self, image: NDArray[np.float64], place: tuple[float, float], t: float) -> None:
        """Draws the object into an image, in place."""
        angle, (x, y) = self.motion.angle.at(t), place
        a, b = self._axes(t)
        reach = (1 + _MAX_HARMONICS) * max(a, b) + 1
        left, top = (max(0, int(middle - reach)) for middle in (x, y))
        right, bottom = (max(0, int(middle + reach) + 1) for middle in (x, y))
        part = image[top:bottom, left:right]

        if not part.size:
            return

        rows, columns = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]] + 0.5
        along = ((columns - x) * cos(angle) + (rows - y) * sin(angle)) / a
        across = ((rows - y) * cos(angle) - (columns - x) * sin(angle)) / b
        level = np.hypot(along, across) / self._radius(np.arctan2(across, along))
        covered = (0.5 + (1 - level) * min(a, b)).clip(0, 1)
        u, v = (
            (_SHOWN * one + texture_shift.at(t) + 1) / 2 * len(self.texture)
            for one, texture_shift in zip((along, across), self.texture_shift, strict=True)
        )

        part += covered * (sample_bilinear(self.texture, u, v) - part)

    def _axes(self, t: float) -> tuple[float, float]:
        scale = self.motion.log_scale.at(t)
        a, b = (half * exp(scale + wave.at(t)) for half, wave in zip(self.half, self.foreshortening, strict=True))
        return a, b

    def _radius(self, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the outline, 1 on average, before it is stretched along the axes."""
        radius = np.ones_like(angle)
        for number, strength, phase in zip(_HARMONICS, self.harmonics, self.phase, strict=True):
            radius += strength * np.cos(number * angle + phase)

        return radius


def _outline(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Amplitude and phase of the harmonics: some are missing, and high ones are weaker."""
    number = len(_HARMONICS)
    strength = 0.25 * generator.normal(size=number) / _HARMONICS**0.7 * (generator.random(number) < 0.5)
    strength *= min(1.0, _MAX_HARMONICS / max(1e-9, np.abs(strength).sum()))
    return strength, generator.uniform(0, 2 * pi, number)


def _two_waves(generator: np.random.Generator, strength: float) -> tuple[SumOfSines, SumOfSines]:
    first, second = (random_sines(generator, strength, slowest=1.0, fastest=4.0) for _ in range(2))
    return first, second


def _panels(height: int, width: int, num_panels: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Fractal noise behind panels, some of them translucent."""
    canvas = _jitter_tone(fractal_noise(height, width, generator), generator)
    for _ in range(num_panels):
        top, left = generator.uniform(-0.2, 1, 2) * (height, width)
        bottom, right = np.array([top, left]) + generator.uniform(0.05, 0.6, 2) * (height, width)
        rows, columns = (slice(max(0, int(a)), max(0, int(b))) for a, b in ((top, bottom), (left, right)))
        canvas[rows, columns] += generator.uniform(0.5, 1) * (generator.uniform(0.05, 0.95) - canvas[rows, columns])

    return canvas


def _with_leaves(canvas: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """A background with shapes of uniform grey over it, translucent."""
    tones = generator.uniform(0.02, 0.3), generator.uniform(0.3, 0.98)
    height, width = canvas.shape
    leaves = dead_leaves(height, width, generator, cover=generator.uniform(0.5, 3), tones=tones)
    return canvas + generator.uniform(0, 1) * (leaves - canvas)


def _leaves_or(texture: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Four in five textures are replaced by shapes of uniform grey, few or many."""
    if generator.random() >= _LEAVES_SHARE:
        return texture

    tones = generator.uniform(0.02, 0.3), generator.uniform(0.7, 0.98)
    height, width = texture.shape

    return dead_leaves(height, width, generator, generator.uniform(2, 5), exp(generator.uniform(-1.2, 1)), tones)


def _jitter_tone(texture: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """A texture with random brightness and contrast."""
    middle, contrast = generator.uniform(0.1, 0.9, 2)
    return (middle + contrast * (texture - texture.mean())).clip(0.02, 0.98)
