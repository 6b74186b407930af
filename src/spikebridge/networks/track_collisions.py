"""Collisions seen in tracks: two objects came close, and their velocities along the line of the centres turned round.

What is hidden is filled from both sides: gone on from before, and come from after.
"""

from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.rolling_table import RADIUS
from spikebridge.networks.free_motion import Stretch, fit_stretch

Collision = tuple[int, int, int]
"""Frame and two objects."""

_TURN = 0.2
"""Velocity of parting plus velocity of meeting that makes a collision [px/frame]; the softest in view have 0.47."""
_SURE = 3.5  # and so many standard deviations of it
_NOISE = 0.2  # standard deviation of a place [px]
_ROOM = 1.2  # objects that touch are seen up to this far apart [px]
_ROOM_HIDDEN = 5.0
_FAST = 4.0  # no two objects come together faster [px/frame]
_WINDOW = 10  # frames on either side of a collision that its velocities are read from
_LONGEST_WINDOW = 45  # where objects were hidden


def find_collisions(positions: Float[np.ndarray, "F O 2"], friction: float) -> list[Collision]:
    """The collisions in tracks, in the order of time.

    Args:
        positions: of the centres, NaN where an object was not found.
        friction: of the table [1/frame].
    """
    filled = _filled(positions, friction)
    hidden = np.isnan(positions[..., 0])
    candidates = []
    for a, b in combinations(range(positions.shape[1]), 2):
        apart = np.linalg.norm(filled[:, a] - filled[:, b], axis=1)
        apart[np.isnan(apart)] = np.inf
        for frame in range(1, len(apart) - 1):
            around = apart[max(0, frame - 3) : frame + 4]
            room = _ROOM_HIDDEN if hidden[frame, [a, b]].any() else _ROOM
            if apart[frame] < 2 * RADIUS + _FAST / 2 + room and apart[frame] == around.min():
                candidates.append((frame, a, b, float(apart[frame]) - 2 * RADIUS - room))
    candidates.sort()
    found: list[Collision] = []
    for k, (frame, a, b, gap) in enumerate(candidates):
        later = [(f, one, other) for f, one, other, _ in candidates[k + 1 :]]
        if _turned(positions, (frame, a, b), gap, found, later, friction):
            found.append((frame, a, b))
    return found


def _turned(
    positions: np.ndarray,
    candidate: Collision,
    gap: float,
    earlier: list[Collision],
    later: list[Collision],
    friction: float,
) -> bool:
    """Whether velocities along the line of the centres turned round, as far as they were seen."""
    frame, a, b = candidate
    ends = []
    for o in (a, b):
        first = max([f for f, *pair in earlier if o in pair], default=0)
        last = min([f for f, *pair in later if o in pair and f > frame + 2], default=len(positions))
        before = _velocity(positions[:, o], range(frame - 1, first - 1, -1), frame, friction)
        ends.append((before, _velocity(positions[:, o], range(frame + 1, last), frame, friction)))
    seen = [before if before is not None else after for before, after in ends]
    if seen[0] is None or seen[1] is None:
        return False
    line = seen[1].place - seen[0].place
    line = line / max(float(np.hypot(*line)), 1e-9)
    (before_a, after_a), (before_b, after_b) = ends
    if before_a is None or after_a is None or before_b is None or after_b is None:
        # of one object alone it is seen that it was pushed away from the other one
        alone = all(abs(f - frame) > _WINDOW for f, *pair in earlier if {a, b} & set(pair))
        for sign, (before, after) in zip((-1, 1), ends, strict=True):
            if before is not None and after is not None:
                pushed = float((after.velocity - before.velocity) @ (sign * line))
                return alone and pushed > max(_TURN / 2, _SURE * float(np.sqrt(before.doubt + after.doubt)))
        return False
    closing = float((before_a.velocity - before_b.velocity) @ line)
    parting = float((after_b.velocity - after_a.velocity) @ line)
    doubt = float(np.sqrt(before_a.doubt + before_b.doubt + after_a.doubt + after_b.doubt))
    near = gap < closing / 2  # between two pictures they came that much nearer
    return near and closing + parting > max(_TURN, _SURE * doubt) and closing > 0.05 and parting > 0.0


class _Pace(NamedTuple):
    place: np.ndarray
    velocity: np.ndarray
    doubt: float  # variance of each axis of the velocity


def _velocity(places: np.ndarray, frames: range, at: int, friction: float) -> _Pace | None:
    """Place and velocity at a frame from what was seen on one side of it; None where too little was."""
    seen = [f for f in frames[:_LONGEST_WINDOW] if not np.isnan(places[f, 0])]
    near = [f for f in seen if abs(f - at) <= _WINDOW]
    chosen = np.array(sorted(near if len(near) >= 6 else seen[:6]))
    if len(chosen) < 3:
        return None
    start = int(chosen[0])
    position, velocity, rest, _ = fit_stretch(chosen - start, places[chosen], friction)
    place, velocity = Stretch(start, at, position, velocity, rest).at(at, friction)
    return _Pace(place, velocity, 12 * _NOISE**2 / len(chosen) ** 3)


def _filled(positions: np.ndarray, friction: float) -> np.ndarray:
    """Gaps between two finds filled: gone on from before and come from after, with one turn where both fit best."""
    filled = positions.copy()
    for o in range(positions.shape[1]):
        seen = np.flatnonzero(~np.isnan(positions[:, o, 0]))
        for last, first in pairwise(seen.tolist()):
            if first - last < 2:
                continue
            frames = np.arange(last + 1, first)
            onward = _carried_on(positions[:, o], range(last, -1, -1), frames, friction)
            back = _carried_on(positions[:, o], range(first, len(positions)), frames, friction)
            turn = int(np.linalg.norm(onward - back, axis=1).argmin())
            filled[frames, o] = np.where((np.arange(len(frames)) <= turn)[:, None], onward, back)
    return filled


def _carried_on(places: np.ndarray, side: range, frames: np.ndarray, friction: float) -> np.ndarray:
    """Where an object was at frames, judged by what was seen next to them on one side."""
    chosen = np.array(sorted(f for f in side[:_WINDOW] if not np.isnan(places[f, 0])))
    if len(chosen) < 3:
        return np.repeat(places[side[0]][None], len(frames), axis=0)
    start = int(chosen[0])
    position, velocity, rest, _ = fit_stretch(chosen - start, places[chosen], friction)
    stretch = Stretch(start, start, position, velocity, rest)
    return np.stack([stretch.at(int(f), friction)[0] for f in frames])
