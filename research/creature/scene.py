"""Generated scenes: rolling objects on a table, in one of four environments, for a frame camera and an event camera.

Discs of equal mass roll, collide and leave the table; no two of a scene have one colour. The table is simulated and
rendered at the rate of the event bins. An environment is a light and a camera: a matrix that mixes red, green and blue,
a grey level and a pattern of the table, noise of the frames and thresholds of the events. The same colour looks
different in each.

A scene is drawn again if a contact is too soft, nearly missed, or follows another one of the same object too soon, or
if something happens in the first quarter of a second.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import Generator
from torch import Tensor

from research.creature.events_of_images import events_of_images
from spikebridge.data.simulation.event_camera import EventCamera
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.reasoning.data.scene import COLORS, MATERIALS, SHAPES, Scene
from spikebridge.networks.reasoning.simulation.render import render_frames
from spikebridge.networks.reasoning.simulation.table import BOUNCE, RADIUS
from spikebridge.networks.reasoning.simulation.video import HEIGHT, WIDTH, Appearance, in_view

BIN_RATE = 240
"""Event bins a second."""
BINS_A_FRAME = 24
"""Event bins from one frame to the next: frames at 10 Hz."""
_SCENE_RATE = 30
"""Samples a second of the true scene that answers are computed from."""
_SUBSTEPS = 4
_MIN_CLOSING = 12.0  # of a contact [px/s]
_MIN_GAP = 2.0  # between objects that do not touch [px]
_QUIET = 0.25  # at the start, until two frames and the events after them are seen [s]
_MIN_BETWEEN = 0.15  # between two contacts of one object [s]


class Environment(NamedTuple):
    """A light and a camera: the matrix of the camera's channels, the table, noise of frames and of events."""

    mixing: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    table: float  # grey level
    pattern: str  # plain, stripes, checks or spots
    noise: float  # standard deviation of each pixel of a frame; white is 1
    threshold: float  # mean contrast threshold of the event camera
    shot_noise: float  # chance events [1/s] of a pixel


ENVIRONMENTS = {
    "daylight": Environment(((1, 0, 0), (0, 1, 0), (0, 0, 1)), 0.62, "plain", 0.01, 0.15, 0.0),
    "lamplight": Environment(((0.95, 0.1, 0), (0.1, 0.7, 0), (0, 0.1, 0.4)), 0.5, "stripes", 0.02, 0.2, 0.5),
    "neon": Environment(((0.35, 0, 0.8), (0.55, 0.35, 0), (0, 0.6, 0.3)), 0.42, "checks", 0.02, 0.2, 0.2),
    "swapped": Environment(((0, 0, 0.8), (1, 0, 0), (0, 1, 0)), 0.72, "spots", 0.01, 0.25, 1.0),
}
"""The environments by name; `swapped` is a camera with its channels in another order and its white balance off."""


@dataclass(frozen=True)
class SceneRanges:
    """Ranges of the random parameters of scenes: lowest and highest value."""

    seconds: float = 4.0
    """Length of a scene [s]."""
    num_objects: tuple[int, int] = (3, 5)
    """Objects on the table at the start."""
    speed: tuple[float, float] = (25.0, 70.0)
    """Of objects that roll at the start [px/s]."""
    friction: tuple[float, float] = (0.05, 0.25)
    """Decay of velocities [1/s]."""
    brightness: tuple[float, float] = (0.85, 1.15)
    """Factor of the light."""
    contacts: tuple[int, int] = (1, 5)
    """Contacts of a scene."""
    margin: float = 14.0
    """Least distance of a centre from the border at the start; below 0 it may lie outside [px]."""


class _Touch(NamedTuple):
    """The start of a contact: the bin in which it is, both objects, and the closing speed [px/s]."""

    bin: int
    first: int
    second: int
    closing: float


@dataclass(frozen=True, eq=False)
class CreatureScene:
    """A scene, its truth, and what both cameras see."""

    name: str
    seed: int
    objects: tuple[tuple[str, str, str], ...]
    appearance: Appearance
    look: Environment
    positions: Float[np.ndarray, "T O 2"]
    touches: tuple[_Touch, ...]

    @property
    def num_bins(self) -> int:
        """Event bins."""
        return len(self.positions) - 1

    @cached_property
    def exits(self) -> list[tuple[int, int]]:
        """Bin and number of each object whose centre leaves the view."""
        inside = in_view(self.positions)
        left = [(int(np.flatnonzero(~inside[:, o])[0]), o) for o in range(inside.shape[1]) if not inside[:, o].all()]
        return sorted(left)

    def render(self, bins: np.ndarray) -> Float[np.ndarray, "F 96 144 3"]:
        """The light on the sensor after some bins, without noise, 0 to 1."""
        pictures = render_frames(self, bins).astype(np.float32) / 255
        mixed: np.ndarray = (pictures @ np.array(self.look.mixing, dtype=np.float32).T).clip(0, 1)
        return mixed

    def frames(self) -> Float[Tensor, "K 3 96 144"]:
        """Frames, one every `BINS_A_FRAME` bins, 0 to 1."""
        bins = np.arange(0, self.num_bins, BINS_A_FRAME)
        noise = np.random.default_rng([self.seed, 1]).standard_normal((len(bins), HEIGHT, WIDTH, 3))
        seen = self.render(bins) + self.look.noise * noise
        return torch.from_numpy(seen.clip(0, 1).astype(np.float32)).permute(0, 3, 1, 2)

    def events(self) -> Float[Tensor, "T 2 96 144"]:
        """Events of every bin, ON and OFF: 1 where a pixel had one."""
        look = self.look
        camera = EventCamera(threshold_mean=look.threshold, threshold_sd=0.03, shot_noise=look.shot_noise)
        grey = np.concatenate(
            [
                self.render(np.arange(first, min(first + 120, self.num_bins + 1))).mean(-1)
                for first in range(0, self.num_bins + 1, 120)
            ]
        )

        generator = torch.Generator().manual_seed(self.seed)
        counts = events_of_images(torch.from_numpy(grey)[:, None], camera, 1 / BIN_RATE, generator)

        return (counts[:, 0] > 0).float()

    def scene_until(self, when: int) -> Scene:
        """The truth of the stream up to a bin, as a scene for the executor."""
        samples = np.arange(0, when + 1, BIN_RATE // _SCENE_RATE)
        places = self.positions[samples].copy()
        for left, o in self.exits:
            places[samples >= left, o] = np.nan
            if left <= when:  # also between the last sample and now
                places[-1, o] = np.nan

        rows = [(t.bin * _SCENE_RATE // BIN_RATE, t.first, t.second) for t in self.touches if t.bin <= when]
        collisions = np.array(rows, dtype=np.int64).reshape(-1, 3)

        return Scene(self.name, self.objects, np.arange(len(samples)), places, collisions)


def generate_scene(seed: int, environment: str, ranges: SceneRanges | None = None) -> CreatureScene:
    """The scene of a seed in an environment."""
    if environment not in ENVIRONMENTS:
        raise ConfigError(f"there is no environment {environment!r}; {did_you_mean(environment, ENVIRONMENTS)}")

    ranges = ranges or SceneRanges()
    generator = np.random.default_rng([seed, list(ENVIRONMENTS).index(environment), 28])
    for _ in range(2000):
        drawn = draw_scene(f"{environment}-{seed}", seed, ENVIRONMENTS[environment], ranges, generator)
        if ranges.contacts[0] <= len(drawn.touches) <= ranges.contacts[1] and _is_clear(drawn.positions, drawn.touches):
            return drawn

    raise ConfigError(f"no clear scene in 2000 draws from {ranges}; take fewer objects, or more contacts")


def draw_scene(name: str, seed: int, look: Environment, ranges: SceneRanges, generator: Generator) -> CreatureScene:
    """A random scene, which may not be clear."""
    number = int(generator.integers(ranges.num_objects[0], ranges.num_objects[1] + 1))
    places = _places(number, ranges.margin, generator)
    aims = places[generator.permutation(number)] + generator.uniform(-9, 9, (number, 2))
    direction = aims - places + generator.uniform(-1, 1, (number, 2))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    rolls = generator.random((number, 1)) < 0.75
    velocities = direction * generator.uniform(*ranges.speed, (number, 1)) * rolls
    friction = float(generator.uniform(*ranges.friction))
    course, touches = simulate_table(places, velocities, friction, round(ranges.seconds * BIN_RATE))
    colors = generator.permutation(len(COLORS))[:number]
    materials, shapes = (generator.integers(len(values), size=number) for values in (MATERIALS, SHAPES))
    triples = tuple((COLORS[c], MATERIALS[m], SHAPES[s]) for c, m, s in zip(colors, materials, shapes, strict=True))
    angles = tuple(generator.uniform(0, np.pi / 2, number).tolist())
    table: np.ndarray = (look.table * _pattern(look.pattern, generator)).astype(np.float32)
    light = float(generator.uniform(*ranges.brightness))

    return CreatureScene(name, seed, triples, Appearance(light, 0.0, angles, table, None), look, course, touches)


def _places(number: int, margin: float, generator: Generator) -> Float[np.ndarray, "O 2"]:
    """Places at the start, apart from each other."""
    places: list[np.ndarray] = []
    while len(places) < number:
        place = generator.uniform(margin, (WIDTH - margin, HEIGHT - margin))
        if all(np.linalg.norm(place - other) > 3 * RADIUS for other in places):
            places.append(place)

    return np.stack(places)


def _pattern(kind: str, generator: Generator) -> Float[np.ndarray, "96 144"]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + generator.integers(0, 24, (2, 1, 1))
    waves = {
        "plain": np.zeros((HEIGHT, WIDTH)),
        "stripes": np.sign(np.sin(columns * np.pi / 12)),
        "checks": np.sign(np.sin(columns * np.pi / 12) * np.sin(rows * np.pi / 12)),
        "spots": np.where((rows % 24 - 12) ** 2 + (columns % 24 - 12) ** 2 < 36, 1.0, -0.3),
    }

    return 1 + 0.06 * waves[kind]


def simulate_table(
    places: Float[np.ndarray, "O 2"], velocities: Float[np.ndarray, "O 2"], friction: float, num_bins: int
) -> tuple[Float[np.ndarray, "T O 2"], tuple[_Touch, ...]]:
    """Rolls discs of equal mass that bounce off each other."""
    x = places.copy()
    v = velocities.copy()
    course = [x.copy()]
    touches = list[_Touch]()
    step = 1 / (BIN_RATE * _SUBSTEPS)
    decay = np.exp(-friction / (BIN_RATE * _SUBSTEPS))
    pairs = list(combinations(range(len(x)), 2))
    first, second = np.array(pairs).T.reshape(2, -1)

    for number in range(1, num_bins + 1):
        for _ in range(_SUBSTEPS):
            x = x + v * step
            v = v * decay
            away = x[second] - x[first]

            for k in np.flatnonzero((away**2).sum(1) < (2 * RADIUS) ** 2):
                i, j = pairs[k]
                normal = away[k] / np.linalg.norm(away[k])
                closing = float((v[i] - v[j]) @ normal)
                if closing <= 0:
                    continue

                push = (1 + BOUNCE) / 2 * closing * normal
                v[i] -= push
                v[j] += push
                if in_view(x[[i, j]]).all():
                    touches.append(_Touch(number, i, j, closing))

        course.append(x.copy())

    return np.stack(course), tuple(touches)


def _border(places: Float[np.ndarray, "*S 2"]) -> np.ndarray:
    """Distances of centres from the border of the view, negative outside [px]."""
    x = places[..., 0]
    y = places[..., 1]
    distance: np.ndarray = np.min([x, WIDTH - x, y, HEIGHT - y], axis=0)
    return distance


def _is_clear(course: np.ndarray, touches: tuple[_Touch, ...]) -> bool:
    """True if every contact and exit can be seen after a first look at the objects."""
    if any(t.bin < _QUIET * BIN_RATE for t in touches) or not in_view(course[: round(_QUIET * BIN_RATE)]).all():
        return False
    if any(t.closing < _MIN_CLOSING for t in touches):
        return False
    if any(_border(course[t.bin, [t.first, t.second]]).min() < RADIUS for t in touches):
        return False

    for one, other in combinations(touches, 2):
        if {one.first, one.second} & {other.first, other.second} and abs(one.bin - other.bin) < _MIN_BETWEEN * BIN_RATE:
            return False

    gone = ~in_view(course)
    seen = ~np.maximum.accumulate(gone, axis=0)

    for i, j in combinations(range(course.shape[1]), 2):
        gap = np.linalg.norm(course[:, i] - course[:, j], axis=1) - 2 * RADIUS
        near = np.flatnonzero((gap < _MIN_GAP) & (_border(course[:, [i, j]]).min(1) > -RADIUS))
        at = [t.bin for t in touches if (t.first, t.second) == (i, j)]
        if any(all(abs(when - touch) > 0.2 * BIN_RATE for touch in at) for when in near):
            return False

    # an object that has left stays away, and one that lies on the border is neither inside nor outside
    returns = (~gone & ~seen).any()
    dwells = (np.abs(_border(course)) < 1.5).sum(0).max() > 0.2 * BIN_RATE

    return not returns and not dwells
