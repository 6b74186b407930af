"""Generated videos of rolling objects after CLEVRER (K. Yi et al., ICLR 2020): one seed is one video, truth is exact.

Three to six objects, no two alike in colour, material and shape, lie or roll on a table seen from above. 128 frames are
seen, 58 more happen unseen. What happens next is the same table simulated on; what would happen without an object is
the same table simulated without it, from the same beginnings. All objects meet as discs (`rolling_table`); shape,
colour and gloss are drawn (`rolling_pictures`).

A drawn video is clear, or another one is drawn: within the frames seen no touch is too soft to be seen, none is missed
by less than a hair, none happens at the border, in the last frames, or right after another one of the same object.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from spikebridge.data.rolling_table import RADIUS, RollingTable, Touch
from spikebridge.data.scenes import COLORS, MATERIALS, NUM_OBSERVED_FRAMES, SHAPES, Scene
from spikebridge.errors import ConfigError, did_you_mean

HEIGHT, WIDTH = 96, 144
NUM_FRAMES = NUM_OBSERVED_FRAMES + 58
GRID = 5
"""A scene has a sample every so many frames."""
_GONE = RADIUS + 4.0
"""An object farther outside than this is off the table [px]."""
# each part draws from numbers of its own, so that no seed of one is a seed of another
SPLITS = {"train": 0, "validation": 1, "test": 2, "outside": 3}


@dataclass(frozen=True)
class Ranges:
    """What videos are drawn from, each a lowest and a highest value."""

    num_objects: tuple[int, int] = (3, 6)
    friction: tuple[float, float] = (0.003, 0.010)
    """Decay of velocities [1/frame]."""
    speed: tuple[float, float] = (0.9, 2.2)
    """Of objects that roll in [px/frame]."""
    brightness: tuple[float, float] = (0.8, 1.2)
    """Factor of the light."""
    noise: tuple[float, float] = (0.0, 0.04)
    """Standard deviation of each pixel (white is 1)."""
    card: float = 0.5
    """Chance that a card passes before the camera and hides what is behind it."""

    def __post_init__(self) -> None:
        most = len(COLORS) * len(MATERIALS) * len(SHAPES)
        if not 1 <= self.num_objects[0] <= self.num_objects[1] <= min(8, most):
            raise ConfigError(f"num_objects needs 1 <= low <= high <= 8, but got {self.num_objects}")


INSIDE = Ranges()
OUTSIDE = Ranges(friction=(0.011, 0.015), speed=(2.3, 2.9), brightness=(0.6, 0.75), noise=(0.05, 0.08), card=1.0)
"""Light, noise, friction and speeds that no video of `INSIDE` has."""


class Start(NamedTuple):
    """How an object comes to the table: frame, place of its centre [px], velocity [px/frame]."""

    frame: int
    position: tuple[float, float]
    velocity: tuple[float, float]


class Card(NamedTuple):
    """A grey card before the camera: left edge at frame 0 [px], width [px], pace to the right [px/frame]."""

    left: float
    width: float
    pace: float


class Look(NamedTuple):
    """How a video is drawn: factor of the light, noise, angle of each object [rad], shade of the table, card."""

    brightness: float
    noise: float
    angles: tuple[float, ...]
    table: float
    card: Card | None


@dataclass(frozen=True, eq=False)
class RollingVideo:
    """One video and all that is true of it.

    Args:
        name: by which questions refer to it.
        seed: of its noise.
        objects: colour, material and shape of each.
        starts: how each came to the table.
        friction: decay of velocities [1/frame].
        look: how it is drawn.
        removed: an object that never comes.

    Example:
        >>> video = draw_video("train", 0)
        >>> video.positions.shape[0], video.scene().frames[-1].item()
        (186, 125)
        >>> bool(np.isnan(video.without(1).positions[:, 1]).all())
        True
    """

    name: int | str
    seed: int
    objects: tuple[tuple[str, str, str], ...]
    starts: tuple[Start, ...]
    friction: float
    look: Look
    removed: int | None = field(default=None)

    @cached_property
    def _run(self) -> tuple[np.ndarray, tuple[Touch, ...]]:
        return run(self.starts, self.friction, self.removed)

    @property
    def positions(self) -> Float[np.ndarray, "F O 2"]:
        """x and y of every centre in every frame, NaN where an object is not on the table."""
        return self._run[0]

    @property
    def touches(self) -> tuple[Touch, ...]:
        """Every touch in view, in the order of time, seen and unseen."""
        return self._run[1]

    @property
    def boxes(self) -> Float[np.ndarray, "F O 4"]:
        """x, y of the upper left corner, width and height around each object in view, else NaN."""
        angles = np.array(self.look.angles)
        turned = RADIUS * CUBE * (abs(np.cos(angles)) + abs(np.sin(angles)))
        half = np.where([shape == "cube" for _, _, shape in self.objects], turned, RADIUS)
        size = np.broadcast_to(half[None, :, None], self.positions.shape)
        boxes = np.concatenate([self.positions - size, 2 * size], axis=2)
        boxes[~in_view(self.positions)] = np.nan
        return boxes

    def without(self, removed: int) -> "RollingVideo":
        """The same beginnings without one of the objects."""
        return RollingVideo(self.name, self.seed, self.objects, self.starts, self.friction, self.look, removed)

    def scene(self) -> Scene:
        """What is true, as a scene: samples, collisions, what comes next, what would be without each object."""
        frames = np.arange(0, NUM_OBSERVED_FRAMES, GRID)
        positions = self.positions[frames].copy()
        positions[~in_view(positions)] = np.nan
        rows = touch_rows(self.touches)
        return Scene(
            self.name,
            self.objects,
            frames,
            positions,
            rows[rows[:, 0] < NUM_OBSERVED_FRAMES],
            rows[rows[:, 0] >= NUM_OBSERVED_FRAMES],
            {k: touch_rows(self.without(k).touches) for k in range(len(self.objects))},
        )


CUBE = 0.86
"""Half the side of a drawn cube over the radius of its disc."""


def touch_rows(touches: Sequence[Touch]) -> np.ndarray:
    """Touches as rows `frame, object, object`."""
    return np.array([touch[:3] for touch in touches], dtype=np.int64).reshape(-1, 3)


def in_view(positions: Float[np.ndarray, "*S 2"]) -> np.ndarray:
    """Whether centres are inside the picture; False for NaN.

    Example:
        >>> in_view(np.array([[0.0, 10.0], [144.0, 10.0], [np.nan, 0.0]])).tolist()
        [True, False, False]
    """
    x, y = positions[..., 0], positions[..., 1]
    return (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)


def run(
    starts: Sequence[Start],
    friction: float,
    removed: int | None = None,
    first: int = 0,
    num_frames: int = NUM_FRAMES,
) -> tuple[Float[np.ndarray, "F O 2"], tuple[Touch, ...]]:
    """Simulates the table over all frames.

    Args:
        starts: of each object.
        friction: decay of velocities [1/frame].
        removed: an object that never comes.
        first: the frame to begin with; what starts before it is not there.
        num_frames: where to stop.

    Returns:
        Positions, NaN where an object is not on the table, and the touches in view.
    """
    table = RollingTable(friction, first)
    positions = np.full((num_frames, len(starts), 2), np.nan)
    touches: list[Touch] = []
    for frame in range(first, num_frames):
        if frame > first:
            touches += table.step()
        for i, start in enumerate(starts):
            if start.frame == frame and i != removed:
                table.put(i, start.position, start.velocity)
        for i in table.numbers:
            positions[frame, i] = table.position(i)
            if is_gone(positions[frame, i]):
                table.take(i)
    seen = [t for t in touches if in_view(positions[t.frame, [t.first, t.second]]).all()]
    return positions, tuple(seen)


def is_gone(position: Float[np.ndarray, "2"]) -> bool:
    """Whether a centre is so far outside that its object has left the table."""
    x, y = position
    return bool(max(-x, x - WIDTH, -y, y - HEIGHT) > _GONE)


def draw_video(split: str, number: int, ranges: Ranges = INSIDE) -> RollingVideo:
    """The video of a number.

    Args:
        split: train, validation, test or outside; no two share a video.
        number: which one.
        ranges: what it is drawn from.

    Raises:
        ConfigError: an unknown split, or no clear video after many draws.
    """
    from spikebridge.data.rolling_draws import draw, fault

    if split not in SPLITS:
        raise ConfigError(f"no split {split!r}; {did_you_mean(split, SPLITS)}")
    generator: Generator = np.random.default_rng([SPLITS[split], number])
    for _ in range(1000):
        video = draw(f"{split}-{number}", number, generator, ranges)
        if fault(video) is None:
            return video
    raise ConfigError(f"no clear video in 1000 draws from {ranges}: fewer objects or slower ones make it likelier")
