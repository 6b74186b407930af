"""A grey disk with a dark triangle, circle and cross at three radii, rotating at a changing speed."""

from dataclasses import dataclass
from functools import cached_property
from math import cos, pi, sin

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.simulation.drawing import window_around
from spikebridge.errors import ConfigError, did_you_mean

# distance from the middle and size of each shape, in parts of the disk's radius, and its angle on the disk
_SHAPES = {"triangle": (0.76, 0.17, 0.0), "circle": (0.52, 0.13, 2.2), "cross": (0.66, 0.16, 4.2)}
_DISK = 0.6
_AROUND = 0.8
_DARK = 0.1
_ARM = 0.35  # half the width of the cross's arms, in parts of its size
_CORNERS = np.array([0.0, 2 * pi / 3, 4 * pi / 3])


@dataclass(frozen=True)
class RotatingDisk:
    """A scene whose angle, speed and boxes are exact.

    Args:
        height: rows of the image.
        width: columns of the image.
        target: the shape that the boxes follow: `triangle`, `circle` or `cross`.
        speed: mean angular speed, clockwise on the screen [rad/s].
        change: largest change of the speed up and down, as a share of the mean; above 1 the disk also turns back.
        seed: draws the first angle and the change of the speed.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> still = RotatingDisk(height=100, width=100, target="circle", speed=0.0)
        >>> still.box(0.0).tolist() == still.box(1.0).tolist(), still.box(0.0)[2:].round(2).tolist()
        (True, [11.96, 11.96])
    """

    height: int = 260
    width: int = 346
    target: str = "triangle"
    speed: float = 6.0
    change: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.target not in _SHAPES:
            raise ConfigError(f"a disk has no {self.target!r}; {did_you_mean(self.target, _SHAPES)}")

        if min(self.height, self.width) < 32 or not self.change >= 0:
            settings = f"{self.width} x {self.height}, change={self.change}"
            raise ConfigError(f"a disk needs 32 x 32 pixels or more and a change of 0 or more, but got {settings}.")

    @property
    def radius(self) -> float:
        """Radius of the disk [px]."""
        return 0.46 * min(self.height, self.width)

    def angle(self, t: float) -> float:
        """Angle of the disk at a time [rad]: the integral of `angular_speed`.

        Args:
            t: time [s].
        """
        start, phase, rate = self._drawn
        return start + self.speed * (t - self.change / rate * (cos(rate * t + phase) - cos(phase)))

    def angular_speed(self, t: float) -> float:
        """Angular speed of the disk at a time [rad/s].

        Args:
            t: time [s].
        """
        _, phase, rate = self._drawn
        return self.speed * (1 + self.change * sin(rate * t + phase))

    def box(self, t: float) -> Float[np.ndarray, "4"]:
        """The box around the target: its corners, or its radius, are known exactly.

        Args:
            t: time [s].
        """
        corners, rounding = self._corners(self.target, t)
        lower = corners.min(axis=0) - rounding
        upper = corners.max(axis=0) + rounding

        return np.concatenate([lower, upper - lower])

    def image(self, t: float) -> Float[np.ndarray, "H W"]:
        """The image; edge pixels are antialiased by coverage.

        Args:
            t: time [s].
        """
        image = self._empty_disk.copy()
        for shape in _SHAPES:
            size = self._size(shape)
            x, y = self._middle(shape, t)
            angle = 0.0 if shape == "circle" else self._turned(shape, t)
            # the corners of the cross reach farthest
            pixels, along, across = window_around(image, (x, y), (1.2 * size, 1.2 * size), angle)
            pixels += _coverage(_signed_distance(shape, along, across, size)) * (_DARK - pixels)

        return image

    @cached_property
    def _drawn(self) -> tuple[float, float, float]:
        """First angle, phase and rate of the change of speed."""
        generator = np.random.default_rng(self.seed)
        return generator.uniform(0, 2 * pi), generator.uniform(0, 2 * pi), 2 * pi * generator.uniform(0.5, 1.5)

    @cached_property
    def _empty_disk(self) -> NDArray[np.float64]:
        rows, columns = np.mgrid[: self.height, : self.width] + 0.5
        inside = _coverage(np.hypot(columns - self.width / 2, rows - self.height / 2) - self.radius)
        return _AROUND + inside * (_DISK - _AROUND)

    def _size(self, shape: str) -> float:
        return _SHAPES[shape][1] * self.radius

    def _turned(self, shape: str, t: float) -> float:
        return self.angle(t) + _SHAPES[shape][2]

    def _middle(self, shape: str, t: float) -> NDArray[np.float64]:
        away = _SHAPES[shape][0] * self.radius
        turned = self._turned(shape, t)
        return np.array([self.width / 2 + away * cos(turned), self.height / 2 + away * sin(turned)])

    def _corners(self, shape: str, t: float) -> tuple[NDArray[np.float64], float]:
        """Corner points of a shape, and the radius around them."""
        middle = self._middle(shape, t)
        size = self._size(shape)
        turned = self._turned(shape, t)
        if shape == "circle":
            return middle[None], size

        if shape == "triangle":
            angles = turned + _CORNERS
            return middle + size * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.0

        arm = np.array([[1, _ARM], [1, -_ARM], [-1, _ARM], [-1, -_ARM]])
        ends = size * np.concatenate([arm, arm[:, ::-1]])

        return middle + ends @ np.array([[cos(turned), sin(turned)], [-sin(turned), cos(turned)]]), 0.0


def _signed_distance(shape: str, along: NDArray, across: NDArray, size: float) -> NDArray[np.float64]:
    """Signed distance of points from a shape, negative inside [px]."""
    if shape == "circle":
        return np.hypot(along, across) - size

    if shape == "triangle":
        # each side is half the radius away from the middle, opposite to a corner
        return np.max([-along * cos(a) - across * sin(a) for a in _CORNERS], axis=0) - size / 2

    arms = [np.maximum(abs(a) - size, abs(b) - _ARM * size) for a, b in ((along, across), (across, along))]
    return np.minimum(*arms)


def _coverage(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a pixel inside an edge at a signed distance."""
    return (0.5 - distance).clip(0, 1)
