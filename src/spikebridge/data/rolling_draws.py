"""How a video of rolling objects is drawn, and what makes a draw unclear, so that another one is drawn."""

from itertools import combinations, product

import numpy as np
from numpy.random import Generator

from spikebridge.data.rolling_objects import HEIGHT, WIDTH, Card, Look, Ranges, RollingVideo, Start, in_view
from spikebridge.data.rolling_table import RADIUS, Touch
from spikebridge.data.scenes import COLORS, MATERIALS, NUM_OBSERVED_FRAMES, SHAPES

SOFTEST = 0.25
"""A touch at a lower closing speed cannot be seen [px/frame]."""
HAIR = 0.8
"""Objects that come nearer than this do touch [px]."""
PAUSE = 6
"""Frames between two touches of one object."""
LATEST = 105
"""Before this frame every object is there."""
SETTLED = 12
"""Frames without a touch at the end of what is seen; of what is unseen the first 3 are without one too."""
_BORDER = 4.0  # touches are at least this far inside [px]
_TRIPLES = list(product(COLORS, MATERIALS, SHAPES))


def draw(name: str, seed: int, generator: Generator, ranges: Ranges) -> RollingVideo:
    """One draw, clear or not.

    Args:
        name: of the video.
        seed: of its noise.
        generator: draws everything else.
        ranges: what from.
    """
    num_objects = int(generator.integers(ranges.num_objects[0], ranges.num_objects[1] + 1))
    triples = [_TRIPLES[i] for i in generator.permutation(len(_TRIPLES))[:num_objects]]
    num_lying = int(generator.integers(1, max(2, num_objects - 1)))
    lying = _places(num_lying, generator)
    starts = [Start(0, place, (0.0, 0.0)) for place in lying]
    starts += [_roll_in(lying, generator, ranges) for _ in range(num_objects - num_lying)]
    look = Look(
        brightness=float(generator.uniform(*ranges.brightness)),
        noise=float(generator.uniform(*ranges.noise)),
        angles=tuple(generator.uniform(0, np.pi / 2, num_objects).tolist()),
        table=float(generator.uniform(0.45, 0.65)),
        card=_card(generator) if generator.random() < ranges.card else None,
    )
    return RollingVideo(name, seed, tuple(triples), tuple(starts), float(generator.uniform(*ranges.friction)), look)


def _places(num_places: int, generator: Generator) -> list[tuple[float, float]]:
    """Places for lying objects, with room to roll between them."""
    places: list[tuple[float, float]] = []
    while len(places) < num_places:
        place = (generator.uniform(15, WIDTH - 15), generator.uniform(15, HEIGHT - 15))
        if all(np.hypot(place[0] - x, place[1] - y) > 3 * RADIUS for x, y in places):
            places.append(place)
    return places


def _roll_in(lying: list[tuple[float, float]], generator: Generator, ranges: Ranges) -> Start:
    """From beyond a border towards a lying object, or where one might come to roll."""
    outside = RADIUS + 2.0
    along = generator.uniform(0.15, 0.85)
    sides = [(-outside, along * HEIGHT), (WIDTH + outside, along * HEIGHT)]
    sides += [(along * WIDTH, -outside), (along * WIDTH, HEIGHT + outside)]
    begin = np.array(sides[generator.integers(4)])
    aim = np.array(lying[generator.integers(len(lying))]) + generator.uniform(-12, 12, 2)
    if generator.random() < 0.3:
        aim = np.array([generator.uniform(30, WIDTH - 30), generator.uniform(25, HEIGHT - 25)])
    way = aim - begin
    velocity = way / np.hypot(*way) * generator.uniform(*ranges.speed)
    return Start(int(generator.integers(0, LATEST)), tuple(begin.tolist()), tuple(velocity.tolist()))


def _card(generator: Generator) -> Card:
    pace = float(generator.uniform(0.8, 2.0)) * (1 if generator.random() < 0.5 else -1)
    width = float(generator.uniform(8, 16))
    arrival = float(generator.uniform(10, 60))  # frame at which its front edge comes into view
    left = -width - pace * arrival if pace > 0 else WIDTH - pace * arrival
    return Card(left, width, pace)


def fault(video: RollingVideo) -> str | None:
    """What makes a draw unclear; None where nothing does."""
    positions = video.positions
    seen = positions[:NUM_OBSERVED_FRAMES]
    touches = [touch for touch in video.touches if touch.frame < NUM_OBSERVED_FRAMES]
    if not touches:
        return "nothing happens"
    if any(touch.closing < SOFTEST for touch in touches):
        return "a touch is too soft to be seen"
    for touch in touches:
        if _outside_by(positions[touch.frame, [touch.first, touch.second]]).max() > -_BORDER:
            return "a touch happens at the border"
    late = range(NUM_OBSERVED_FRAMES - SETTLED, NUM_OBSERVED_FRAMES + 3)
    if any(touch.frame in late for touch in video.touches):
        return "a touch happens at the end of what is seen"
    for one, other in combinations(touches, 2):
        if {one.first, one.second} & {other.first, other.second} and abs(one.frame - other.frame) < PAUSE:
            return "two touches of one object come too soon after each other"
    return _near(seen, touches) or _borderline(seen) or _hidden(video)


def _near(seen: np.ndarray, touches: list[Touch]) -> str | None:
    met: dict[tuple[int, int], list[int]] = {(touch.first, touch.second): [] for touch in touches}
    for touch in touches:
        met[touch.first, touch.second].append(touch.frame)
    for i, j in combinations(range(seen.shape[1]), 2):
        gaps = np.hypot(*(seen[:, i] - seen[:, j]).T) - 2 * RADIUS
        near = [int(frame) for frame in np.flatnonzero(gaps < HAIR)]
        if any(all(abs(frame - at) > 8 for at in met.get((i, j), [])) for frame in near):
            return "two objects miss each other by less than a hair, or stay together"
    return None


def _outside_by(positions: np.ndarray) -> np.ndarray:
    """How far centres are outside the picture, negative inside [px]."""
    x, y = positions[..., 0], positions[..., 1]
    return np.max([-x, x - WIDTH, -y, y - HEIGHT], axis=0)


def _borderline(seen: np.ndarray) -> str | None:
    """An object that lingers on the border is neither in nor out."""
    around = np.abs(_outside_by(seen)) < 1.5
    if (around.sum(axis=0) > 6).any():
        return "an object lingers on the border"
    last = _outside_by(seen[-1])
    return "an object leaves as the video ends" if (np.abs(last) < 3).any() else None


def _hidden(video: RollingVideo) -> str | None:
    """An entrance or exit behind the card cannot be seen."""
    card = video.look.card
    if card is None:
        return None
    visible = in_view(video.positions[:NUM_OBSERVED_FRAMES])
    for frame, i in np.argwhere(visible[1:] != visible[:-1]):
        x = video.positions[frame : frame + 2, i, 0]
        left = card.left + card.pace * frame
        if np.nanmin(x) < left + card.width + 15 and np.nanmax(x) > left - 15:
            return "an entrance or exit is hidden"
    return None
