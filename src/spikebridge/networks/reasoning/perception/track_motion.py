"""The motion behind tracks: stretches of free motion between collisions, fitted with one friction for the whole video.

Where a stretch was hardly seen, the velocity that keeps the momentum of its collision is taken.

Collisions seen in tracks: two objects came close, and their velocities along the line of the centres turned round.

What is hidden is filled from both sides: gone on from before, and come from after.
"""

from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.networks.reasoning.simulation.table import RADIUS, MotionSegment, distance, fit_segment
from spikebridge.networks.reasoning.simulation.video import in_view, is_gone

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
    position, velocity, rest, _ = fit_segment(chosen - start, places[chosen], friction)
    place, velocity = MotionSegment(start, at, position, velocity, rest).at(at, friction)
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
    position, velocity, rest, _ = fit_segment(chosen - start, places[chosen], friction)
    segment = MotionSegment(start, start, position, velocity, rest)
    return np.stack([segment.at(int(f), friction)[0] for f in frames])


_FRICTIONS = np.linspace(0.0, 0.024, 33)
_BEGINNINGS = (0.007, 0.012, 0.003)  # what the friction is looked for from
_LEAST_FRICTION = 0.001
_FEW = 5  # frames in which a stretch was hardly seen


class FittedMotion(NamedTuple):
    """What happened on the table.

    Args of the tuple: the friction [1/frame]; of each object its stretches; rows `frame, object, object` of the
    collisions; how many frames were seen.
    """

    friction: float
    segments: tuple[tuple[MotionSegment, ...], ...]
    collisions: tuple[tuple[int, int, int], ...]
    num_frames: int

    def at(self, number: int, frame: int, before: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Place and velocity of an object at a frame.

        Args:
            number: of the object.
            frame: counted from 0, also after the last one seen.
            before: as it was going to be, had it not collided at this very frame.
        """
        segments = self.segments[number]
        last = [s for s in segments if s.first < frame or (s.first == frame and not before)]
        return (last[-1] if last else segments[0]).at(frame, self.friction)

    def positions(self) -> Float[np.ndarray, "F O 2"]:
        """Where every object was in view in every frame, NaN where it was not."""
        places = np.array([[self.at(o, f)[0] for o in range(len(self.segments))] for f in range(self.num_frames)])
        places = places.reshape(self.num_frames, len(self.segments), 2)
        return np.where(in_view(places)[..., None], places, np.nan)

    def on_table(self, number: int, frame: int) -> bool:
        """Whether an object is in view or just outside."""
        return not is_gone(self.at(number, frame)[0])


def fit_motion(positions: Float[np.ndarray, "F O 2"]) -> FittedMotion:
    """The motion behind tracks.

    Args:
        positions: of the centres, NaN where an object was not found; each object was found at least twice.

    Example:
        >>> frames = np.arange(30.0)
        >>> rolling = np.stack([10 + frames.clip(max=15), np.full(30, 40.0)], 1)  # it stops at 25 and hands over
        >>> lying = np.stack([39 + (frames - 15).clip(min=0), np.full(30, 40.0)], 1)
        >>> motion = fit_motion(np.stack([rolling, lying], 1))
        >>> motion.collisions, round(motion.friction, 3)
        (((15, 0, 1),), 0.0)
        >>> motion.at(1, 40)[0].round(1).tolist()
        [64.0, 40.0]
    """
    for begin in _BEGINNINGS:
        friction = begin
        for _ in range(2):
            friction = _friction(_pieces(positions, find_collisions(positions, friction)))
        if friction > _LEAST_FRICTION:
            break
    collisions = find_collisions(positions, friction)
    segments = []
    weights = []
    for o in range(positions.shape[1]):
        own = [
            (first, last, *_points(positions[:, o], first, last)) for first, last in _bounds(o, collisions, positions)
        ]
        segments.append(_chain(own, friction))
        weights.append([len(frames) for _, _, frames, _ in own])
    _balance(segments, weights, collisions, friction)
    return FittedMotion(friction, tuple(map(tuple, segments)), tuple(collisions), len(positions))


def _balance(
    segments: list[list[MotionSegment]], weights: list[list[int]], collisions: list[Collision], friction: float
) -> None:
    """Gives a stretch that was hardly seen the velocity that keeps the momentum of its collision."""
    for frame, a, b in collisions:
        cut = {o: next(k for k, s in enumerate(segments[o]) if s.first == frame) for o in (a, b)}
        sides = [(o, k) for o in (a, b) for k in (cut[o] - 1, cut[o])]
        weak = [(o, k) for o, k in sides if weights[o][k] < _FEW]
        if len(weak) != 1:
            continue
        o, k = weak[0]
        other = b if o == a else a
        after = k == cut[o]
        same = segments[o][cut[o] - 1 if after else cut[o]]
        place, velocity = same.at(frame, friction)
        push = (
            segments[other][cut[other]].at(frame, friction)[1] - segments[other][cut[other] - 1].at(frame, friction)[1]
        )
        wanted = velocity - push if after else velocity + push
        begin = segments[o][k].first
        if after:
            segments[o][k] = segments[o][k]._replace(position=place, velocity=wanted, rest=np.inf)
        else:
            back = frame - begin
            position = place - wanted * float(distance(np.array(back), friction)) * np.exp(friction * back)
            segments[o][k] = segments[o][k]._replace(
                position=position, velocity=wanted * np.exp(friction * back), rest=np.inf
            )


def _chain(pieces: list[tuple[int, int, np.ndarray, np.ndarray]], friction: float) -> list[MotionSegment]:
    """Fits every piece; one that nobody saw begins where the one before ended, and lies still."""
    segments: list[MotionSegment] = []
    for first, last, frames, places in pieces:
        if len(frames) >= 2:
            position, velocity, rest, _ = fit_segment(frames - first, places, friction)
        elif len(frames) == 1:
            position, velocity, rest = places[0], np.zeros(2), 0.0
        elif segments:
            position, velocity, rest = segments[-1].at(first, friction)[0], np.zeros(2), 0.0
        else:
            continue
        segments.append(MotionSegment(first, last, position, velocity, rest))
    return segments


def _bounds(number: int, collisions: list[Collision], positions: np.ndarray) -> list[tuple[int, int]]:
    cuts = sorted({frame for frame, *pair in collisions if number in pair})
    ends = [0, *cuts, len(positions)]
    return list(pairwise(ends))


def _points(places: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """What was seen of an object inside a stretch; the frame of a collision belongs to neither side."""
    frames = np.arange(first + (first > 0), last)
    frames = frames[~np.isnan(places[frames, 0])]
    return frames, places[frames]


def _pieces(positions: np.ndarray, collisions: list[Collision]) -> list[tuple[np.ndarray, np.ndarray]]:
    pieces = []
    for o in range(positions.shape[1]):
        for first, last in _bounds(o, collisions, positions):
            frames, places = _points(positions[:, o], first, last)
            if len(frames) >= 8:
                pieces.append((frames - first, places))
    return pieces


def _friction(pieces: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The friction with which all pieces together fit best."""
    moving = [piece for piece in pieces if np.ptp(piece[1], axis=0).max() > 4]
    if not moving:
        return _BEGINNINGS[0]
    errors = [sum(fit_segment(frames, places, k)[3] for frames, places in moving) for k in _FRICTIONS]
    best = int(np.argmin(errors))
    if 0 < best < len(errors) - 1:
        before, here, after = errors[best - 1 : best + 2]
        bend = before - 2 * here + after
        shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
        return float(_FRICTIONS[best] + shift * (_FRICTIONS[1] - _FRICTIONS[0]))
    return float(_FRICTIONS[best])
