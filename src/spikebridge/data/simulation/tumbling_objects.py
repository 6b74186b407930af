"""A generated scene of an object that tumbles (rotates out of the image plane) among distractors.

The outline is foreshortened and hidden texture turns into view, so that after half a second little of the first
appearance is left. The object may be as bright as its background. A tracker has to separate target and background and
cannot match the first template.
"""

from dataclasses import dataclass
from math import cos, exp, pi, sin
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.drawing import sample_bilinear, window_around
from spikebridge.data.simulation.motion import Motion, SumOfSines, random_motion, random_pair
from spikebridge.data.simulation.scene import ObjectScene, free_range, random_half_axes
from spikebridge.data.simulation.textures import MovingBackground, dead_leaves, fractal_noise, random_background
from spikebridge.errors import ConfigError

_HARMONICS = np.arange(2, 8)
_MAX_HARMONICS = 0.55  # of a radius, so that an outline is never thin
_MAX_FORESHORTENING = 0.45  # logarithm of a foreshortened axis
_VISIBLE = 0.35  # of the texture, to each side of its middle
_LEAVES_SHARE = 0.8
_AROUND = 2 * pi * np.arange(180) / 180


@dataclass(frozen=True, eq=False)
class TumblingObjects(ObjectScene):
    """A scene with one target: irregular objects that tumble."""

    # mean length of the target's axes, when nothing is foreshortened [px]
    size: float = 28.0
    # mean speed of the target, stops included [px/s]
    speed: float = 200.0
    # other objects, always behind the target
    num_distractors: int = 3
    # largest angle of objects to each side, in the plane of the image [rad]
    turning: float = 0.8
    # rectangles of one brightness in the background: doors, screens, shelves
    num_panels: int = 6
    # strength of the rotation out of the image plane, 0 to 1; at 1 axes go from two thirds to one and a half of their
    # length, and all of the texture that is visible at first may be hidden later
    tumbling: float = 1.0
    # most objects and the background are covered with shapes of uniform grey (`dead_leaves`)
    leaves: bool = False
    # of the target and of the distractors after it, grey in [0, 1]; the others are generated; the middle third of one
    # is visible at first
    textures: tuple[Float[np.ndarray, "_ _"], ...] = ()

    def __post_init__(self) -> None:
        self._check_settings(num_panels=0, tumbling=0.0)
        if self.light_change >= 1 or self.tumbling > 1 or min(self.height, self.width) < 2 * self.size:
            raise ConfigError(
                "TumblingObjects needs light_change below 1, tumbling of at most 1, and an image twice as large as the "
                f"target, but got light_change={self.light_change}, tumbling={self.tumbling}, "
                f"{self.width} x {self.height} pixels, size={self.size}."
            )

    def _make_background(self) -> MovingBackground:
        generator = np.random.default_rng([self.seed, 0])
        canvas = self.background
        if canvas is None:
            canvas = _panels(*self._canvas_size, self.num_panels, generator)
            if self.leaves:
                canvas = _with_leaves(canvas, np.random.default_rng([self.seed, 0, 1]))

        return random_background(canvas, generator, self.camera_motion, self.light_change)

    def _make_bodies(self) -> tuple["_Body", ...]:
        return tuple(self._make_body(1 + i) for i in range(1 + self.num_distractors))

    def _make_body(self, number: int) -> "_Body":
        generator = np.random.default_rng([self.seed, number])
        half = random_half_axes(generator, self.size, 0.4)

        # large objects may stick out now and then
        distances = free_range(self.height, self.width, 1.2 * max(half) * self.scale_change**0.5)
        motion = random_motion(generator, distances, self.speed, self.scale_change, self.turning)
        foreshortening = random_pair(generator, _MAX_FORESHORTENING * self.tumbling, slowest=1.0, fastest=4.0)
        texture_shift = random_pair(generator, 0.5 * self.tumbling, slowest=1.0, fastest=4.0)
        texture = self._make_texture(number, generator)

        return _Body(motion, half, *_outline(generator), foreshortening, texture_shift, texture)

    def _make_texture(self, number: int, generator: np.random.Generator) -> NDArray[np.float64]:
        # drawn even if it is replaced, so that one seed gives one motion and outline
        side = round(2 * self.size)
        largest = min(int(generator.choice([4, 8, 16])), side // 2)
        texture = _jitter_tone(fractal_noise(side, side, generator, largest, smallest=2), generator)
        texture = _jitter_tone(texture, generator)

        if number <= len(self.textures):
            return np.asarray(self.textures[number - 1], np.float64)
        if self.leaves:
            return _leaves_or(texture, np.random.default_rng([self.seed, number, 1]))

        return texture


class _Body(NamedTuple):
    motion: Motion
    half: tuple[float, float]  # half axes [px] at scale 1
    harmonics: NDArray[np.float64]  # strength of each harmonic of the outline
    phase: NDArray[np.float64]
    foreshortening: tuple[SumOfSines, SumOfSines]  # logarithms of both axes
    texture_shift: tuple[SumOfSines, SumOfSines]  # of the texture under the outline
    texture: NDArray[np.float64]

    def extent(self, t: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The corners of the box around the outline, from the middle [px]."""
        angle = self.motion.angle.at(t)
        radius = self._radius(_AROUND)
        a, b = self._axes(t)
        along = a * radius * np.cos(_AROUND)
        across = b * radius * np.sin(_AROUND)
        points = np.array([along * cos(angle) - across * sin(angle), along * sin(angle) + across * cos(angle)])

        return points.min(axis=1), points.max(axis=1)

    def draw(self, image: NDArray[np.float64], place: tuple[float, float], t: float) -> None:
        """Draws the object into an image, in place."""
        a, b = self._axes(t)
        reach = (1 + _MAX_HARMONICS) * max(a, b) + 1
        pixels, along, across = window_around(image, place, (reach, reach), self.motion.angle.at(t))
        along = along / a
        across = across / b
        level = np.hypot(along, across) / self._radius(np.arctan2(across, along))
        covered = (0.5 + (1 - level) * min(a, b)).clip(0, 1)
        u, v = (
            (_VISIBLE * coordinate + shift.at(t) + 1) / 2 * len(self.texture)
            for coordinate, shift in zip((along, across), self.texture_shift, strict=True)
        )

        pixels += covered * (sample_bilinear(self.texture, u, v) - pixels)

    def _axes(self, t: float) -> tuple[float, float]:
        scale = self.motion.log_scale.at(t)
        a, b = (half * exp(scale + wave.at(t)) for half, wave in zip(self.half, self.foreshortening, strict=True))
        return a, b

    def _radius(self, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        """The radius of the outline, 1 on average, before it is stretched along the axes."""
        radius = np.ones_like(angle)
        for number, strength, phase in zip(_HARMONICS, self.harmonics, self.phase, strict=True):
            radius += strength * np.cos(number * angle + phase)

        return radius


def _outline(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Amplitude and phase of the harmonics: some are missing, and high ones are weaker."""
    number = len(_HARMONICS)
    strength = 0.25 * generator.normal(size=number) / _HARMONICS**0.7 * (generator.random(number) < 0.5)
    # bounded, so that an outline is never thin
    strength *= min(1.0, _MAX_HARMONICS / max(1e-9, np.abs(strength).sum()))
    return strength, generator.uniform(0, 2 * pi, number)


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
    """Shapes of uniform grey, few or many, in place of four in five textures."""
    if generator.random() >= _LEAVES_SHARE:
        return texture

    tones = generator.uniform(0.02, 0.3), generator.uniform(0.7, 0.98)
    height, width = texture.shape
    smallest = generator.uniform(2, 5)
    cover = exp(generator.uniform(-1.2, 1))

    return dead_leaves(height, width, generator, smallest, cover, tones)


def _jitter_tone(texture: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """A texture with random brightness and contrast."""
    middle, contrast = generator.uniform(0.1, 0.9, 2)
    return (middle + contrast * (texture - texture.mean())).clip(0.02, 0.98)
