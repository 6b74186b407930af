"""Which collisions hang by a thread: where a quarter of a pixel makes two objects meet or miss, nobody should be asked.

What comes next, and what would be without an object, is simulated again from slightly other states at the last moment
at which everything was still as it was seen. A pair of objects that does not always do the same is doubtful.
"""

from collections.abc import Sequence

import numpy as np

from spikebridge.data.rolling_objects import NUM_FRAMES, RollingVideo, Start, is_gone, run
from spikebridge.data.rolling_table import Touch
from spikebridge.data.scenes import NUM_OBSERVED_FRAMES

Pair = tuple[int, int]
PLACE = 0.25
"""Standard deviation of other places [px]."""
PACE = 0.015
"""Standard deviation of other velocities [px/frame]."""
NUM_TRIES = 10
HORIZON = 5
"""What happens so many frames before the end of time, or would so soon after it, is doubtful too."""


def doubtful_pairs(video: RollingVideo, removed: int | None = None) -> frozenset[Pair]:
    """Pairs of objects that may or may not collide.

    Args:
        video: its first part, without touches from here on, is as it was seen.
        removed: after the video's end everything is simulated if None; else from the first touch of this object on.

    Returns:
        Pairs, the lower number first.

    Example:
        >>> from spikebridge.data.rolling_objects import draw_video
        >>> video = draw_video("train", 0)
        >>> all(a < b for a, b in doubtful_pairs(video))
        True
    """
    first = _last_as_seen(video, removed)
    world = video if removed is None else video.without(removed)
    after = max(first, NUM_OBSERVED_FRAMES - 1) if removed is None else first
    usual = _pairs(world.touches, after)
    horizons = (NUM_FRAMES - HORIZON, NUM_FRAMES + HORIZON)
    generator = np.random.default_rng([video.seed, 17, 0 if removed is None else removed + 1])
    doubtful: set[Pair] = set()
    for _ in range(NUM_TRIES):
        starts = [_shaken(start, i, first, world.positions, generator) for i, start in enumerate(video.starts)]
        touches = run(starts, video.friction, removed, first, horizons[1])[1]
        for horizon in horizons:
            doubtful |= usual ^ _pairs([touch for touch in touches if touch.frame < horizon], after)
    return frozenset(doubtful)


def _last_as_seen(video: RollingVideo, removed: int | None) -> int:
    last = NUM_OBSERVED_FRAMES - 1
    if removed is None:
        return last
    own = [touch.frame - 1 for touch in video.touches if removed in touch[1:3]]
    return min([last, *own])


def _pairs(touches: Sequence[Touch], after: int) -> set[Pair]:
    return {(touch.first, touch.second) for touch in touches if touch.frame > after}


def _shaken(start: Start, number: int, frame: int, positions: np.ndarray, generator: np.random.Generator) -> Start:
    """How an object goes on from a frame, slightly otherwise; one that has not come yet comes slightly otherwise."""
    place, velocity = np.array(start.position), np.array(start.velocity)
    when = start.frame
    if frame > start.frame:
        place, when = positions[frame, number], frame
        velocity = place - positions[frame - 1, number]
        if np.isnan(place).any() or np.isnan(velocity).any() or is_gone(place):
            return Start(NUM_FRAMES + HORIZON, start.position, start.velocity)
    place = place + PLACE * generator.standard_normal(2)
    if velocity.any():
        velocity = velocity + PACE * generator.standard_normal(2)
    return Start(when, tuple(place.tolist()), tuple(velocity.tolist()))
