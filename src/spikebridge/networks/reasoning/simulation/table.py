"""Simulation of discs that slide, decelerate, stop and collide on a table (pymunk), and the fit of their free motion.

All discs have the same radius and mass and collide without friction, so that centre and velocity are the whole state.
Lengths are in pixels, times in frames. A frame has `_SUBSTEPS` equal steps; in each a disc first moves, then its
velocity decays. After n frames of free motion it has moved `velocity * distance(n)`. With this closed form position and
velocity of a segment of free motion follow from linear least squares for a known friction.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.errors import ConfigError, import_extra

RADIUS = 7.0  # radius of every disc [px]
BOUNCE = 0.9  # coefficient of restitution, along the line of the centres
REST = 0.3  # a disc slower than this at the end of a frame stops [px/frame]
_SUBSTEPS = 6  # equal steps of a frame


class Contact(NamedTuple):
    """The start of a contact of two discs, the lower number first, with their closing speed [px/frame]."""

    frame: int
    first: int
    second: int
    closing: float


class RollingTable:
    """Discs by number, and a clock that counts frames; the friction is the decay rate of velocities [1/frame]."""

    def __init__(self, friction: float, frame: int = 0) -> None:
        if not friction >= 0:
            raise ConfigError(f"a table needs a friction of 0 or more, but got {friction}")

        self._engine = import_extra("pymunk", "videos", "rolling objects need")
        self._space: Any = self._engine.Space()
        self._space.damping = float(np.exp(-friction))

        # overlapping discs are not pushed apart beyond the bounce, so that no energy is added
        self._space.collision_bias = 1.0
        self._space.collision_slop = 0.5
        self._space.on_collision(begin=self._begin)
        self._shapes: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}
        self._contacts: list[Contact] = []
        self.frame = frame

    def put(self, number: int, position: Iterable[float], velocity: Iterable[float]) -> None:
        """Puts a disc on the table, or moves it: centre [px] and velocity [px/frame]."""
        shape = self._shapes.get(number)
        if shape is None:
            # an infinite moment of inertia: discs do not turn
            body = self._engine.Body(1.0, float("inf"))
            shape = self._engine.Circle(body, RADIUS)
            shape.elasticity = BOUNCE**0.5  # the engine multiplies those of both
            self._space.add(body, shape)
            self._shapes[number] = shape
            self._numbers[shape] = number

        shape.body.position = tuple(float(value) for value in position)
        shape.body.velocity = tuple(float(value) for value in velocity)

    def take(self, number: int) -> None:
        """Takes a disc away."""
        shape = self._shapes.pop(number)
        del self._numbers[shape]
        self._space.remove(shape, shape.body)

    @property
    def numbers(self) -> list[int]:
        """The discs on the table."""
        return list(self._shapes)

    def position(self, number: int) -> tuple[float, float]:
        """Position of the centre of a disc [px]."""
        x, y = self._shapes[number].body.position
        return x, y

    def velocity(self, number: int) -> tuple[float, float]:
        """Velocity of a disc [px/frame]."""
        x, y = self._shapes[number].body.velocity
        return x, y

    def step(self) -> list[Contact]:
        """Simulates one frame; returns the new contacts."""
        self.frame += 1
        self._contacts = []
        # small steps place a contact within a sixth of a frame
        for _ in range(_SUBSTEPS):
            self._space.step(1 / _SUBSTEPS)

        for shape in self._shapes.values():
            if shape.body.velocity.length < REST:
                shape.body.velocity = (0.0, 0.0)

        return self._contacts

    def _begin(self, arbiter: Any, space: Any, data: Any) -> None:
        """Records the start of a contact."""
        one, other = arbiter.shapes
        line = (other.body.position - one.body.position).normalized()
        closing = (one.body.velocity - other.body.velocity).dot(line)
        first, second = sorted((self._numbers[one], self._numbers[other]))
        self._contacts.append(Contact(self.frame, first, second, float(closing)))


def distance(num_frames: np.ndarray, friction: float) -> np.ndarray:
    """The distance that a disc of velocity 1 moves in n frames of free motion; n below 0 is the past."""
    if friction < 1e-9:
        return np.asarray(num_frames, dtype=np.float64)

    decay_of_step = -np.expm1(-friction / _SUBSTEPS) * _SUBSTEPS
    return np.asarray(-np.expm1(-friction * num_frames) / decay_of_step)


class MotionSegment(NamedTuple):
    """Free motion of one object from frame `first` to before `last`, by position and velocity at `first`."""

    first: int
    last: int
    position: Float[np.ndarray, "2"]
    velocity: Float[np.ndarray, "2"]
    rest: float = np.inf  # frames after `first` until it stops

    def at(self, frame: int, friction: float) -> tuple[np.ndarray, np.ndarray]:
        """Position [px] and velocity [px/frame] at a frame, also outside of the segment."""
        num_frames = frame - self.first
        moved = float(distance(np.array(min(num_frames, self.rest)), friction))
        velocity = self.velocity * np.exp(-friction * num_frames) if num_frames < self.rest else np.zeros(2)
        return self.position + self.velocity * moved, velocity


class _SegmentFit(NamedTuple):
    """A fitted segment: position and velocity at frame 0, frames until it stops, and the sum of squared errors."""

    position: Float[np.ndarray, "2"]
    velocity: Float[np.ndarray, "2"]
    rest: float
    error: float


def fit_segment(frames: np.ndarray, positions: np.ndarray, friction: float) -> _SegmentFit:
    """Fits free motion by least squares; every frame is tried as the one at which the object stops."""
    mean = positions.mean(0)
    still = _SegmentFit(mean, np.zeros(2), 0.0, float(((positions - mean) ** 2).sum()))

    # one row for each stopping frame, after which at least two frames show the rest; the last one never stops
    rests = np.append(np.arange(2.0, frames.max() - 1), np.inf)
    moved = distance(np.minimum(frames[None, :], rests[:, None]), friction)
    spread = moved - moved.mean(1, keepdims=True)
    power = (spread**2).sum(1)
    velocity = spread @ positions / np.maximum(power, 1e-9)[:, None]
    errors = still.error - power * (velocity**2).sum(1)

    speed = np.hypot(*velocity.T)
    stops = np.log(np.maximum(speed, 1e-9) / REST) / max(friction, 1e-9)
    slack = 4 + 0.05 / (np.maximum(speed, REST) * max(friction, 1e-9))  # a speed is known to about 0.05 px/frame
    is_consistent = np.where(np.isinf(rests), stops > frames.max() - slack, abs(stops - rests) < slack)
    errors[~is_consistent | (speed < 0.8 * REST) | (power < 1e-9)] = np.inf

    best = int(errors.argmin())
    if not errors[best] < still.error:
        return still

    rest = float(rests[best])
    if np.isinf(rest):
        rest = max(float(np.floor(stops[best])) + 1, float(frames.max()))

    return _SegmentFit(mean - velocity[best] * moved[best].mean(), velocity[best], rest, float(errors[best]))
