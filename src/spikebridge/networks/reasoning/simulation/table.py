"""A table seen from above on which discs glide, slow down, come to rest and bounce off each other (pymunk).

All discs have one radius and one mass and bounce without friction, so that nothing but a centre and its velocity
decides what happens. Lengths are in pixels, times in frames. Within a frame the engine takes `SUBSTEPS` steps of equal
length; in each a disc first moves, then its velocity loses a share, so that after n frames of free motion it has moved
`velocity * distance(n)`, a closed form that a fit can use.

Free motion on that table: where an object is, how fast, and until when.

Place and velocity of a stretch of free motion are two numbers an axis, found by least squares; the friction is known.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.errors import ConfigError

RADIUS = 7.0
"""Of every disc [px]."""
BOUNCE = 0.9
"""Speed of parting over speed of meeting, along the line of the centres."""
REST = 0.3
"""A disc slower than this at the end of a frame stays where it is [px/frame]."""
SUBSTEPS = 6


class Contact(NamedTuple):
    """Two discs begin to touch.

    Args:
        frame: the frame at whose end they have touched.
        first: number of one disc.
        second: number of the other, which is greater.
        closing: speed at which they came together, along the line of their centres [px/frame].
    """

    frame: int
    first: int
    second: int
    closing: float


class RollingTable:
    """Discs by number, and a clock that counts frames.

    Args:
        friction: share of its velocity that a disc loses in a frame, as the exponent of a decay [1/frame].
        frame: what the clock begins with.

    Raises:
        ConfigError: pymunk is not installed, or the friction is below 0.

    Example:
        >>> table = RollingTable(friction=0.0)
        >>> table.put(0, (20.0, 50.0), (1.0, 0.0))
        >>> table.put(1, (44.5, 50.0), (0.0, 0.0))
        >>> contacts = [contact for _ in range(12) for contact in table.step()]
        >>> contacts[0].frame, round(contacts[0].closing, 3)  # they are 24.5 px apart, and contact at 14 px
        (11, 1.0)
        >>> [round(table.velocity(i)[0], 2) for i in (0, 1)]  # the first one would keep 0.05, and rests
        [0.0, 0.95]
    """

    def __init__(self, friction: float, frame: int = 0) -> None:
        if not friction >= 0:
            raise ConfigError(f"a table needs a friction of 0 or more, but got {friction}")
        self._engine = _engine()
        self._space: Any = self._engine.Space()
        self._space.damping = float(np.exp(-friction))
        # contacts that overlap are not pushed apart beyond what the bounce does, so that energy is never added
        self._space.collision_bias = 1.0
        self._space.collision_slop = 0.5
        self._space.on_collision(begin=self._begin)
        self._shapes: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}
        self._touches: list[Contact] = []
        self.frame = frame

    def put(self, number: int, position: Iterable[float], velocity: Iterable[float]) -> None:
        """Puts a disc on the table, or moves one that is there.

        Args:
            number: which disc.
            position: of its centre [px].
            velocity: [px/frame].
        """
        shape = self._shapes.get(number)
        if shape is None:
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
        """Where the centre of a disc is [px]."""
        x, y = self._shapes[number].body.position
        return x, y

    def velocity(self, number: int) -> tuple[float, float]:
        """How fast a disc moves [px/frame]."""
        x, y = self._shapes[number].body.velocity
        return x, y

    def step(self) -> list[Contact]:
        """One frame; what began to touch in it."""
        self.frame += 1
        self._touches = []
        for _ in range(SUBSTEPS):
            self._space.step(1 / SUBSTEPS)
        for shape in self._shapes.values():
            if shape.body.velocity.length < REST:
                shape.body.velocity = (0.0, 0.0)
        return self._touches

    def _begin(self, arbiter: Any, space: Any, data: Any) -> None:
        one, other = arbiter.shapes
        away = other.body.position - one.body.position
        closing = (one.body.velocity - other.body.velocity).dot(away.normalized())
        first, second = sorted((self._numbers[one], self._numbers[other]))
        self._touches.append(Contact(self.frame, first, second, float(closing)))


def distance(num_frames: np.ndarray, friction: float) -> np.ndarray:
    """How far a disc of velocity 1 comes in so many frames of free motion, if it does not come to rest before.

    Args:
        num_frames: numbers of frames, also below 0: where it came from.
        friction: of the table [1/frame].

    Returns:
        Distances [frames].

    Example:
        >>> distance(np.array([0, 2]), 0.0).tolist()
        [0.0, 2.0]
    """
    if friction < 1e-9:
        return np.asarray(num_frames, dtype=np.float64)
    share = -np.expm1(-friction / SUBSTEPS) * SUBSTEPS
    return np.asarray(-np.expm1(-friction * num_frames) / share)


def frames_to_rest(speed: float, friction: float) -> float:
    """After how many frames a disc of a speed comes to rest; infinite without friction.

    Example:
        >>> frames_to_rest(0.6, 0.1)  # 0.6 * exp(-0.1 * 7) is the first below 0.3
        7
        >>> frames_to_rest(0.2, 0.1)
        0
    """
    if speed < REST:
        return 0
    if friction <= 0:
        return float("inf")
    return int(np.floor(np.log(speed / REST) / friction)) + 1


def _engine() -> Any:
    try:
        import pymunk
    except ImportError as error:
        raise ConfigError(
            "rolling objects need pymunk, which is not installed: pip install 'spikebridge[videos]'"
        ) from error
    return pymunk


class MotionSegment(NamedTuple):
    """Free motion of one object from `first` to before `last`, by place and velocity at `first`."""

    first: int
    last: int
    position: Float[np.ndarray, "2"]
    velocity: Float[np.ndarray, "2"]
    rest: float = np.inf
    """Frames after `first` at which it comes to rest."""

    def at(self, frame: int, friction: float) -> tuple[np.ndarray, np.ndarray]:
        """Place [px] and velocity [px/frame] at a frame, also outside of the stretch."""
        num_frames = frame - self.first
        moved = float(distance(np.array(min(num_frames, self.rest)), friction))
        left = self.velocity * np.exp(-friction * num_frames) if num_frames < self.rest else np.zeros(2)
        return self.position + self.velocity * moved, left


def fit_segment(frames: np.ndarray, places: np.ndarray, friction: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Place and velocity at frame 0 of a piece, frames until it rests, and the sum of squared errors.

    Every frame is tried as the one of rest, and a speed is taken that comes to rest about then.
    """
    lying = places.mean(0)
    still = (lying, np.zeros(2), 0.0, float(((places - lying) ** 2).sum()))
    rests = np.append(np.arange(2.0, frames.max() - 1), np.inf)  # at least two frames show the rest
    moved = distance(np.minimum(frames[None, :], rests[:, None]), friction)
    spread = moved - moved.mean(1, keepdims=True)
    power = (spread**2).sum(1)
    velocity = spread @ places / np.maximum(power, 1e-9)[:, None]
    errors = still[3] - power * (velocity**2).sum(1)
    speed = np.hypot(*velocity.T)
    stops = np.log(np.maximum(speed, 1e-9) / REST) / max(friction, 1e-9)
    slack = 4 + 0.05 / (np.maximum(speed, REST) * max(friction, 1e-9))  # a speed is known to about 0.05 px/frame
    fits = np.where(np.isinf(rests), stops > frames.max() - slack, abs(stops - rests) < slack)
    errors[~fits | (speed < 0.8 * REST) | (power < 1e-9)] = np.inf
    best = int(errors.argmin())
    if not errors[best] < still[3]:
        return still
    rest = max(float(np.floor(stops[best])) + 1, float(frames.max())) if np.isinf(rests[best]) else float(rests[best])
    position = lying - velocity[best] * moved[best].mean()
    return position, velocity[best], rest, float(errors[best])
