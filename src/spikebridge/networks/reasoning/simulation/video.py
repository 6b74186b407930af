"""Generated videos of rolling objects after CLEVRER (K. Yi et al., ICLR 2020), with exact ground truth.

Three to six objects, no two alike in colour, material and shape, lie or roll on a table seen from above. One seed gives
one video. 128 frames are observed; 58 further frames are simulated as the future. A counterfactual is the same
simulation without one object. All objects collide as discs (`table.py`); shape, colour and gloss are rendered
(`render.py`).

Ambiguous videos are rejected and sampled again: those with a contact that is too soft, nearly missed, at the border, in
the last frames, or right after another contact of the same object.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.random import Generator

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.reasoning.data.scene import COLORS, MATERIALS, NUM_OBSERVED_FRAMES, SHAPES, Scene
from spikebridge.networks.reasoning.simulation.table import RADIUS, Contact, RollingTable

HEIGHT = 96
WIDTH = 144
NUM_FRAMES = NUM_OBSERVED_FRAMES + 58
GRID = 5  # frames between two samples of a scene
CUBE = 0.86  # half the side of a rendered cube over the radius of its disc
MIN_CLOSING_SPEED = 0.25  # lowest closing speed of a visible contact [px/frame]

_GONE = RADIUS + 4.0  # distance outside at which an object has left the table [px]
_MIN_GAP = 0.8  # between objects that do not touch [px]
_MIN_FRAMES_BETWEEN = 6  # two contacts of one object
_LAST_ENTRY = 105  # every object enters before this frame
# observed frames at the end without a contact; the first frames of the future have none either
_QUIET_FRAMES = 12
_QUIET_FUTURE_FRAMES = 3
_BORDER = 4.0  # contacts are at least this far inside [px]
_TRIPLES = list(product(COLORS, MATERIALS, SHAPES))
# the first number of each seed, so that no two splits share a video
_SPLITS = {"train": 0, "validation": 1, "test": 2, "outside": 3}


@dataclass(frozen=True)
class Ranges:
    """Ranges of the random parameters of videos: lowest and highest value."""

    num_objects: tuple[int, int] = (3, 6)
    friction: tuple[float, float] = (0.003, 0.010)  # decay of velocities [1/frame]
    speed: tuple[float, float] = (0.9, 2.2)  # of objects that roll in [px/frame]
    brightness: tuple[float, float] = (0.8, 1.2)  # factor of the light
    noise: tuple[float, float] = (0.0, 0.04)  # standard deviation of each pixel (white is 1)
    occluder: float = 0.5  # probability that an occluder passes in front of the camera

    def __post_init__(self) -> None:
        if not 1 <= self.num_objects[0] <= self.num_objects[1] <= 8:
            raise ConfigError(f"num_objects needs 1 <= low <= high <= 8, but got {self.num_objects}")


INSIDE = Ranges()
# Light, noise, friction and speeds that no video of `INSIDE` has.
OUTSIDE = Ranges(friction=(0.011, 0.015), speed=(2.3, 2.9), brightness=(0.6, 0.75), noise=(0.05, 0.08), occluder=1.0)


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
    """Parameters of the rendering of a video."""

    brightness: float
    noise: float
    angles: tuple[float, ...]  # of each object [rad]
    table: float | Float[np.ndarray, "96 144"]  # grey level of the table, or of each of its pixels
    occluder: _Occluder | None


@dataclass(frozen=True, eq=False)
class RollingVideo:
    """A video and its ground truth."""

    name: int | str
    seed: int  # of the noise
    objects: tuple[tuple[str, str, str], ...]  # colour, material and shape of each
    starts: tuple[ObjectStart, ...]
    friction: float  # decay of velocities [1/frame]
    appearance: Appearance
    removed: int | None = None  # an object that is left out

    @cached_property
    def _simulated(self) -> tuple[np.ndarray, tuple[Contact, ...]]:
        return simulate(self.starts, self.friction, self.removed)

    @property
    def positions(self) -> Float[np.ndarray, "F O 2"]:
        """x and y of every centre in every frame, NaN where an object is not on the table."""
        return self._simulated[0]

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Every contact in view, in order of time, with those of the future."""
        return self._simulated[1]

    @property
    def box_sizes(self) -> Float[np.ndarray, "O 2"]:
        """Width and height of the box around each object [px]; a turned cube needs a larger one."""
        angles = np.array(self.appearance.angles)
        turned = RADIUS * CUBE * (abs(np.cos(angles)) + abs(np.sin(angles)))
        half = np.where([shape == "cube" for _, _, shape in self.objects], turned, RADIUS)
        return np.repeat(2 * half[:, None], 2, axis=1)

    def without(self, removed: int) -> "RollingVideo":
        """The same initial states without one of the objects."""
        return replace(self, removed=removed)

    def scene(self) -> Scene:
        """The ground truth as a scene: samples, observed, predicted and counterfactual collisions."""
        frames = np.arange(0, NUM_OBSERVED_FRAMES, GRID)
        positions = self.positions[frames].copy()
        positions[~in_view(positions)] = np.nan
        rows = _contact_rows(self.contacts)
        is_observed = rows[:, 0] < NUM_OBSERVED_FRAMES
        what_if = {o: _contact_rows(self.without(o).contacts) for o in range(len(self.objects))}

        return Scene(
            self.name,
            self.objects,
            frames,
            positions,
            rows[is_observed],
            rows[~is_observed],
            what_if,
            extent=(WIDTH, HEIGHT),
        )


def _contact_rows(contacts: Sequence[Contact]) -> np.ndarray:
    return np.array([contact[:3] for contact in contacts], dtype=np.int64).reshape(-1, 3)


def in_view(positions: Float[np.ndarray, "*S 2"]) -> Bool[np.ndarray, "*S"]:
    """True for centres inside the picture; False for NaN."""
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
    """Positions in all frames, NaN where an object is not on the table, and the contacts in view."""
    table = RollingTable(friction, first)
    positions = np.full((num_frames, len(starts), 2), np.nan)
    contacts: list[Contact] = []

    for frame in range(first, num_frames):
        # the first frame is the initial state
        if frame > first:
            contacts += table.step()

        for i, start in enumerate(starts):
            if start.frame == frame and i != removed:
                table.put(i, start.position, start.velocity)

        for i in table.numbers:
            positions[frame, i] = table.position(i)
            if is_gone(positions[frame, i]):
                table.take(i)

    visible = [contact for contact in contacts if in_view(positions[contact.frame, list(contact[1:3])]).all()]
    return positions, tuple(visible)


def is_gone(position: Float[np.ndarray, "2"]) -> bool:
    """True for a centre so far outside that its object has left the table."""
    # plain numbers, since each object is looked at in each frame
    x, y = position
    return bool(max(-x, x - WIDTH, -y, y - HEIGHT) > _GONE)


def _distance_outside(positions: Float[np.ndarray, "*S 2"]) -> Float[np.ndarray, "*S"]:
    """Distance of centres outside the picture, negative inside [px]."""
    x = positions[..., 0]
    y = positions[..., 1]
    return np.max([-x, x - WIDTH, -y, y - HEIGHT], axis=0)


def generate_video(split: str, number: int, ranges: Ranges = INSIDE) -> RollingVideo:
    """The generated video of a number.

    Args:
        split: train, validation, test or outside; no two share a video.
        number: the number of the video in its split.
        ranges: ranges of the random parameters.

    Raises:
        ConfigError: an unknown split, or only ambiguous videos in 1000 samples.
    """
    if split not in _SPLITS:
        raise ConfigError(f"no split {split!r}; {did_you_mean(split, _SPLITS)}")

    # rejected samples are followed by others of the same generator: a seed gives one video
    generator: Generator = np.random.default_rng([_SPLITS[split], number])
    for _ in range(1000):
        video = _sample_candidate(f"{split}-{number}", number, generator, ranges)
        if find_ambiguity(video) is None:
            return video

    raise ConfigError(f"only ambiguous videos in 1000 samples from {ranges}; take fewer or slower objects")


def _sample_candidate(name: str, seed: int, generator: Generator, ranges: Ranges) -> RollingVideo:
    num_objects = int(generator.integers(ranges.num_objects[0], ranges.num_objects[1] + 1))
    objects = tuple(_TRIPLES[i] for i in generator.permutation(len(_TRIPLES))[:num_objects])
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

    return RollingVideo(name, seed, objects, tuple(starts), float(generator.uniform(*ranges.friction)), appearance)


def _places(num_places: int, generator: Generator) -> list[tuple[float, float]]:
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
    """The reason why a video is ambiguous; None for a clear one."""
    observed = [contact for contact in video.contacts if contact.frame < NUM_OBSERVED_FRAMES]
    if not observed:
        return "nothing happens"
    if any(contact.closing < MIN_CLOSING_SPEED for contact in observed):
        return "a contact is too soft to be visible"

    for contact in observed:
        if _distance_outside(video.positions[contact.frame, list(contact[1:3])]).max() > -_BORDER:
            return "a contact happens at the border"

    late = range(NUM_OBSERVED_FRAMES - _QUIET_FRAMES, NUM_OBSERVED_FRAMES + _QUIET_FUTURE_FRAMES)
    if any(contact.frame in late for contact in video.contacts):
        return "a contact happens in the last observed frames"

    for one, other in combinations(observed, 2):
        is_shared = bool({one.first, one.second} & {other.first, other.second})
        if is_shared and abs(one.frame - other.frame) < _MIN_FRAMES_BETWEEN:
            return "two contacts of one object come too soon after each other"

    positions = video.positions[:NUM_OBSERVED_FRAMES]
    return _near_miss(positions, observed) or _at_border(positions) or _occluded(video)


def _near_miss(positions: np.ndarray, contacts: list[Contact]) -> str | None:
    for i, j in combinations(range(positions.shape[1]), 2):
        contact_frames = [contact.frame for contact in contacts if contact[1:3] == (i, j)]
        gaps = np.hypot(*(positions[:, i] - positions[:, j]).T) - 2 * RADIUS
        near_frames = np.flatnonzero(gaps < _MIN_GAP).tolist()
        if any(all(abs(frame - at) > 8 for at in contact_frames) for frame in near_frames):
            return "two objects nearly miss each other, or stay together"

    return None


def _at_border(positions: np.ndarray) -> str | None:
    distance = _distance_outside(positions)
    if ((np.abs(distance) < 1.5).sum(axis=0) > 6).any():
        return "an object stays on the border"

    return "an object leaves as the video ends" if (np.abs(distance[-1]) < 3).any() else None


def _occluded(video: RollingVideo) -> str | None:
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
