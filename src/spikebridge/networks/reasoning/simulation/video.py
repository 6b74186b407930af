"""Generated videos of rolling objects after CLEVRER (K. Yi et al., ICLR 2020), with exact ground truth.

Three to six objects, no two alike in colour, material and shape, lie or roll on a table seen from above. One seed gives
one video. 128 frames are observed; 58 further frames are simulated as the future. A counterfactual is the same
simulation without one object. All objects collide as discs (`table.py`); shape, colour and gloss are rendered
(`render.py`).

Ambiguous videos are rejected and sampled again: those with a contact that is too soft, nearly missed, at the border, in
the last frames, or right after another contact of the same object.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.reasoning.data.scene import COLORS, MATERIALS, NUM_OBSERVED_FRAMES, SHAPES, Scene
from spikebridge.networks.reasoning.simulation.table import RADIUS, Contact, RollingTable

HEIGHT = 96
WIDTH = 144
NUM_FRAMES = NUM_OBSERVED_FRAMES + 58
GRID = 5
"""Frames between two samples of a scene."""
_GONE = RADIUS + 4.0
"""An object farther outside than this has left the table [px]."""
# the first number of each seed, so that no two splits share a video
_SPLITS = {"train": 0, "validation": 1, "test": 2, "outside": 3}


@dataclass(frozen=True)
class Ranges:
    """Ranges of the random parameters of videos: lowest and highest value."""

    num_objects: tuple[int, int] = (3, 6)
    friction: tuple[float, float] = (0.003, 0.010)
    """Decay of velocities [1/frame]."""
    speed: tuple[float, float] = (0.9, 2.2)
    """Of objects that roll in [px/frame]."""
    brightness: tuple[float, float] = (0.8, 1.2)
    """Factor of the light."""
    noise: tuple[float, float] = (0.0, 0.04)
    """Standard deviation of each pixel (white is 1)."""
    occluder: float = 0.5
    """Probability that an occluder passes in front of the camera."""

    def __post_init__(self) -> None:
        most = len(COLORS) * len(MATERIALS) * len(SHAPES)
        if not 1 <= self.num_objects[0] <= self.num_objects[1] <= min(8, most):
            raise ConfigError(f"num_objects needs 1 <= low <= high <= 8, but got {self.num_objects}")


INSIDE = Ranges()
OUTSIDE = Ranges(friction=(0.011, 0.015), speed=(2.3, 2.9), brightness=(0.6, 0.75), noise=(0.05, 0.08), occluder=1.0)
"""Light, noise, friction and speeds that no video of `INSIDE` has."""


class ObjectStart(NamedTuple):
    """The initial state of an object: frame, position of its centre [px], velocity [px/frame]."""

    frame: int
    position: tuple[float, float]
    velocity: tuple[float, float]


class _Occluder(NamedTuple):
    """A grey bar in front of the camera: left edge at frame 0 [px], width [px], velocity to the right [px/frame]."""

    left: float
    width: float
    velocity: float


class Appearance(NamedTuple):
    """Rendering of a video: brightness, noise, angle of each object [rad], grey level of the table or of each of its
    pixels, occluder."""

    brightness: float
    noise: float
    angles: tuple[float, ...]
    table: float | Float[np.ndarray, "96 144"]
    occluder: _Occluder | None


@dataclass(frozen=True, eq=False)
class RollingVideo:
    """A video and its ground truth.

    Args:
        name: by which questions refer to it.
        seed: of its noise.
        objects: colour, material and shape of each.
        starts: initial state of each object.
        friction: decay of velocities [1/frame].
        appearance: parameters of the rendering.
        removed: an object that is left out.

    Example:
        >>> video = generate_video("train", 0)
        >>> video.positions.shape[0], video.scene().frames[-1].item()
        (186, 125)
        >>> bool(np.isnan(video.without(1).positions[:, 1]).all())
        True
    """

    name: int | str
    seed: int
    objects: tuple[tuple[str, str, str], ...]
    starts: tuple[ObjectStart, ...]
    friction: float
    appearance: Appearance
    removed: int | None = field(default=None)

    @cached_property
    def _run(self) -> tuple[np.ndarray, tuple[Contact, ...]]:
        return simulate(self.starts, self.friction, self.removed)

    @property
    def positions(self) -> Float[np.ndarray, "F O 2"]:
        """x and y of every centre in every frame, NaN where an object is not on the table."""
        return self._run[0]

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Every contact in view, in the order of time, including the future."""
        return self._run[1]

    @property
    def boxes(self) -> Float[np.ndarray, "F O 4"]:
        """x, y of the upper left corner, width and height around each object in view, else NaN."""
        angles = np.array(self.appearance.angles)
        turned = RADIUS * CUBE * (abs(np.cos(angles)) + abs(np.sin(angles)))
        half = np.where([shape == "cube" for _, _, shape in self.objects], turned, RADIUS)
        size = np.broadcast_to(half[None, :, None], self.positions.shape)
        boxes = np.concatenate([self.positions - size, 2 * size], axis=2)
        boxes[~in_view(self.positions)] = np.nan

        return boxes

    def without(self, removed: int) -> "RollingVideo":
        """The same initial states without one of the objects."""
        return RollingVideo(self.name, self.seed, self.objects, self.starts, self.friction, self.appearance, removed)

    def scene(self) -> Scene:
        """The ground truth as a scene: samples, observed, predicted and counterfactual collisions."""
        frames = np.arange(0, NUM_OBSERVED_FRAMES, GRID)
        positions = self.positions[frames].copy()
        positions[~in_view(positions)] = np.nan
        rows = _contact_rows(self.contacts)

        return Scene(
            self.name,
            self.objects,
            frames,
            positions,
            rows[rows[:, 0] < NUM_OBSERVED_FRAMES],
            rows[rows[:, 0] >= NUM_OBSERVED_FRAMES],
            {k: _contact_rows(self.without(k).contacts) for k in range(len(self.objects))},
        )


CUBE = 0.86
"""Half the side of a rendered cube over the radius of its disc."""


def _contact_rows(contacts: Sequence[Contact]) -> np.ndarray:
    """Contacts as rows `frame, object, object`."""
    return np.array([contact[:3] for contact in contacts], dtype=np.int64).reshape(-1, 3)


def in_view(positions: Float[np.ndarray, "*S 2"]) -> np.ndarray:
    """Whether centres are inside the picture; False for NaN.

    Example:
        >>> in_view(np.array([[0.0, 10.0], [144.0, 10.0], [np.nan, 0.0]])).tolist()
        [True, False, False]
    """
    x = positions[..., 0]
    y = positions[..., 1]

    return (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)


def simulate(
    starts: Sequence[ObjectStart],
    friction: float,
    removed: int | None = None,
    first: int = 0,
    num_frames: int = NUM_FRAMES,
) -> tuple[Float[np.ndarray, "F O 2"], tuple[Contact, ...]]:
    """Simulates the table over all frames.

    Args:
        starts: initial states.
        friction: decay of velocities [1/frame].
        removed: an object that is left out.
        first: the first frame; objects that start earlier are left out.
        num_frames: end of the simulation.

    Returns:
        Positions, NaN where an object is not on the table, and the contacts in view.
    """
    table = RollingTable(friction, first)
    positions = np.full((num_frames, len(starts), 2), np.nan)
    contacts: list[Contact] = []

    for frame in range(first, num_frames):
        if frame > first:
            contacts += table.step()

        for i, start in enumerate(starts):
            if start.frame == frame and i != removed:
                table.put(i, start.position, start.velocity)

        for i in table.numbers:
            positions[frame, i] = table.position(i)
            if is_gone(positions[frame, i]):
                table.take(i)

    seen = [t for t in contacts if in_view(positions[t.frame, [t.first, t.second]]).all()]
    return positions, tuple(seen)


def is_gone(position: Float[np.ndarray, "2"]) -> bool:
    """Whether a centre is so far outside that its object has left the table."""
    x, y = position
    return bool(max(-x, x - WIDTH, -y, y - HEIGHT) > _GONE)


def generate_video(split: str, number: int, ranges: Ranges = INSIDE) -> RollingVideo:
    """The generated video of a number.

    Args:
        split: train, validation, test or outside; no two share a video.
        number: which one.
        ranges: of the random parameters.

    Raises:
        ConfigError: an unknown split, or only ambiguous videos in 1000 samples.
    """

    if split not in _SPLITS:
        raise ConfigError(f"no split {split!r}; {did_you_mean(split, _SPLITS)}")

    generator: Generator = np.random.default_rng([_SPLITS[split], number])
    for _ in range(1000):
        video = _sample_candidate(f"{split}-{number}", number, generator, ranges)
        if find_ambiguity(video) is None:
            return video

    raise ConfigError(f"only ambiguous videos in 1000 samples from {ranges}; take fewer or slower objects")


MIN_CLOSING_SPEED = 0.25
"""Lowest closing speed of a visible contact [px/frame]."""
_MIN_GAP = 0.8
"""Smallest gap between objects that do not contact [px]."""
_MIN_FRAMES_BETWEEN = 6
"""Frames between two contacts of one object."""
_LAST_ENTRY = 105
"""Every object enters before this frame."""
_QUIET_FRAMES = 12
"""Observed frames at the end without a contact; the first 3 frames of the future have none either."""
_BORDER = 4.0  # contacts are at least this far inside [px]
_TRIPLES = list(product(COLORS, MATERIALS, SHAPES))


def _sample_candidate(name: str, seed: int, generator: Generator, ranges: Ranges) -> RollingVideo:
    """A random video, which may be ambiguous.

    Args:
        name: of the video.
        seed: of its noise.
        generator: of all random parameters.
        ranges: of the random parameters.
    """
    num_objects = int(generator.integers(ranges.num_objects[0], ranges.num_objects[1] + 1))
    triples = [_TRIPLES[i] for i in generator.permutation(len(_TRIPLES))[:num_objects]]
    num_lying = int(generator.integers(1, max(2, num_objects - 1)))
    lying = _places(num_lying, generator)
    starts = [ObjectStart(0, place, (0.0, 0.0)) for place in lying]
    starts += [_roll_in(lying, generator, ranges) for _ in range(num_objects - num_lying)]

    appearance = Appearance(
        brightness=float(generator.uniform(*ranges.brightness)),
        noise=float(generator.uniform(*ranges.noise)),
        angles=tuple(generator.uniform(0, np.pi / 2, num_objects).tolist()),
        table=float(generator.uniform(0.45, 0.65)),
        occluder=_occluder(generator) if generator.random() < ranges.occluder else None,
    )

    friction = float(generator.uniform(*ranges.friction))
    return RollingVideo(name, seed, tuple(triples), tuple(starts), friction, appearance)


def _places(num_places: int, generator: Generator) -> list[tuple[float, float]]:
    """Positions of lying objects, with space to roll between them."""
    places: list[tuple[float, float]] = []
    while len(places) < num_places:
        place = (generator.uniform(15, WIDTH - 15), generator.uniform(15, HEIGHT - 15))
        if all(np.hypot(place[0] - x, place[1] - y) > 3 * RADIUS for x, y in places):
            places.append(place)

    return places


def _roll_in(lying: list[tuple[float, float]], generator: Generator, ranges: Ranges) -> ObjectStart:
    """The initial state of a rolling object: from outside towards a lying object or a random point."""
    outside = RADIUS + 2.0
    along = generator.uniform(0.15, 0.85)
    sides = [(-outside, along * HEIGHT), (WIDTH + outside, along * HEIGHT)]
    sides += [(along * WIDTH, -outside), (along * WIDTH, HEIGHT + outside)]
    begin = np.array(sides[generator.integers(4)])
    aim = np.array(lying[generator.integers(len(lying))]) + generator.uniform(-12, 12, 2)

    if generator.random() < 0.3:
        aim = np.array([generator.uniform(30, WIDTH - 30), generator.uniform(25, HEIGHT - 25)])

    path = aim - begin
    velocity = path / np.hypot(*path) * generator.uniform(*ranges.speed)

    return ObjectStart(int(generator.integers(0, _LAST_ENTRY)), tuple(begin.tolist()), tuple(velocity.tolist()))


def _occluder(generator: Generator) -> _Occluder:
    velocity = float(generator.uniform(0.8, 2.0)) * (1 if generator.random() < 0.5 else -1)
    width = float(generator.uniform(8, 16))
    arrival = float(generator.uniform(10, 60))  # frame at which its front edge comes into view
    left = -width - velocity * arrival if velocity > 0 else WIDTH - velocity * arrival

    return _Occluder(left, width, velocity)


def find_ambiguity(video: RollingVideo) -> str | None:
    """What makes a video ambiguous; None for a clear one."""
    positions = video.positions
    seen = positions[:NUM_OBSERVED_FRAMES]
    contacts = [contact for contact in video.contacts if contact.frame < NUM_OBSERVED_FRAMES]
    if not contacts:
        return "nothing happens"
    if any(contact.closing < MIN_CLOSING_SPEED for contact in contacts):
        return "a contact is too soft to be visible"

    for contact in contacts:
        if _outside_by(positions[contact.frame, [contact.first, contact.second]]).max() > -_BORDER:
            return "a contact happens at the border"

    late = range(NUM_OBSERVED_FRAMES - _QUIET_FRAMES, NUM_OBSERVED_FRAMES + 3)
    if any(contact.frame in late for contact in video.contacts):
        return "a contact happens in the last observed frames"

    for one, other in combinations(contacts, 2):
        if {one.first, one.second} & {other.first, other.second} and abs(one.frame - other.frame) < _MIN_FRAMES_BETWEEN:
            return "two contacts of one object come too soon after each other"

    return _near_miss(seen, contacts) or _at_border(seen) or _occluded(video)


def _near_miss(seen: np.ndarray, contacts: list[Contact]) -> str | None:
    met: dict[tuple[int, int], list[int]] = {(contact.first, contact.second): [] for contact in contacts}
    for contact in contacts:
        met[contact.first, contact.second].append(contact.frame)

    for i, j in combinations(range(seen.shape[1]), 2):
        gaps = np.hypot(*(seen[:, i] - seen[:, j]).T) - 2 * RADIUS
        near = [int(frame) for frame in np.flatnonzero(gaps < _MIN_GAP)]
        if any(all(abs(frame - at) > 8 for at in met.get((i, j), [])) for frame in near):
            return "two objects nearly miss each other, or stay together"

    return None


def _outside_by(positions: np.ndarray) -> np.ndarray:
    """How far centres are outside the picture, negative inside [px]."""
    x = positions[..., 0]
    y = positions[..., 1]
    return np.max([-x, x - WIDTH, -y, y - HEIGHT], axis=0)


def _at_border(seen: np.ndarray) -> str | None:
    """An object that stays on the border is neither inside nor outside."""
    around = np.abs(_outside_by(seen)) < 1.5
    if (around.sum(axis=0) > 6).any():
        return "an object stays on the border"

    last = _outside_by(seen[-1])
    return "an object leaves as the video ends" if (np.abs(last) < 3).any() else None


def _occluded(video: RollingVideo) -> str | None:
    """An entrance or exit behind the occluder is invisible."""
    occluder = video.appearance.occluder
    if occluder is None:
        return None

    visible = in_view(video.positions[:NUM_OBSERVED_FRAMES])
    for frame, i in np.argwhere(visible[1:] != visible[:-1]):
        x = video.positions[frame : frame + 2, i, 0]
        left = occluder.left + occluder.velocity * frame
        if np.nanmin(x) < left + occluder.width + 15 and np.nanmax(x) > left - 15:
            return "an entrance or exit is hidden"

    return None
