"""Fits the motion of tracked objects: segments of free motion between collisions, and one friction for the whole video.

A collision is detected where two objects come close and their relative velocity along the line of the centres reverses.
Gaps of tracks are filled by extrapolation from both sides. A segment with few observations takes the velocity that
conserves the momentum of its collision.
"""

from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.networks.reasoning.simulation.table import RADIUS, MotionSegment, distance, fit_segment
from spikebridge.networks.reasoning.simulation.video import in_view, is_gone

_Collision = tuple[int, int, int]  # frame and two objects

_MIN_REVERSAL = 0.2  # closing plus separating velocity of a collision [px/frame]; the softest in view have 0.47
_NUM_DEVIATIONS = 3.5  # smallest reversal in standard deviations of its estimate
_NOISE = 0.2  # standard deviation of a position [px]
_TOLERANCE = 1.2  # of the distance of touching objects [px]
_TOLERANCE_HIDDEN = 5.0
_MAX_CLOSING_SPEED = 4.0  # [px/frame]
_WINDOW = 10  # frames on either side of a collision used for its velocities
_MAX_WINDOW = 45  # where objects were hidden


def _find_collisions(positions: Float[np.ndarray, "F O 2"], friction: float) -> list[_Collision]:
    """The collisions in tracks, in the order of time.

    Args:
        positions: of the centres, NaN without detection.
        friction: of the table [1/frame].
    """
    filled = _fill_gaps(positions, friction)
    hidden = np.isnan(positions[..., 0])
    candidates = []

    for a, b in combinations(range(positions.shape[1]), 2):
        apart = np.linalg.norm(filled[:, a] - filled[:, b], axis=1)
        apart[np.isnan(apart)] = np.inf
        for frame in range(1, len(apart) - 1):
            around = apart[max(0, frame - 3) : frame + 4]
            tolerance = _TOLERANCE_HIDDEN if hidden[frame, [a, b]].any() else _TOLERANCE
            if apart[frame] < 2 * RADIUS + _MAX_CLOSING_SPEED / 2 + tolerance and apart[frame] == around.min():
                candidates.append((frame, a, b, float(apart[frame]) - 2 * RADIUS - tolerance))

    candidates.sort()
    found: list[_Collision] = []
    for k, (frame, a, b, gap) in enumerate(candidates):
        later = [(f, one, other) for f, one, other, _ in candidates[k + 1 :]]
        if _reverses(positions, (frame, a, b), gap, found, later, friction):
            found.append((frame, a, b))

    return found


def _reverses(
    positions: np.ndarray,
    candidate: _Collision,
    gap: float,
    earlier: list[_Collision],
    later: list[_Collision],
    friction: float,
) -> bool:
    """Whether the relative velocity along the line of the centres reverses, as far as it was observed."""
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
        # with one observed object: whether it was accelerated away from the other one
        alone = all(abs(f - frame) > _WINDOW for f, *pair in earlier if {a, b} & set(pair))
        for sign, (before, after) in zip((-1, 1), ends, strict=True):
            if before is not None and after is not None:
                pushed = float((after.velocity - before.velocity) @ (sign * line))
                return alone and pushed > max(
                    _MIN_REVERSAL / 2, _NUM_DEVIATIONS * float(np.sqrt(before.variance + after.variance))
                )

        return False

    closing = float((before_a.velocity - before_b.velocity) @ line)
    parting = float((after_b.velocity - after_a.velocity) @ line)
    deviation = float(np.sqrt(before_a.variance + before_b.variance + after_a.variance + after_b.variance))
    touches = gap < closing / 2  # between two frames the gap shrinks by this
    reverses = closing + parting > max(_MIN_REVERSAL, _NUM_DEVIATIONS * deviation)

    return touches and reverses and closing > 0.05 and parting > 0.0


class _VelocityEstimate(NamedTuple):
    place: np.ndarray
    velocity: np.ndarray
    variance: float  # variance of each axis of the velocity


def _velocity(places: np.ndarray, frames: range, at: int, friction: float) -> _VelocityEstimate | None:
    """Position and velocity at a frame from the observations on one side of it; None with too few."""
    seen = [f for f in frames[:_MAX_WINDOW] if not np.isnan(places[f, 0])]
    near = [f for f in seen if abs(f - at) <= _WINDOW]
    chosen = np.array(sorted(near if len(near) >= 6 else seen[:6]))
    if len(chosen) < 3:
        return None

    start = int(chosen[0])
    position, velocity, rest, _ = fit_segment(chosen - start, places[chosen], friction)
    place, velocity = MotionSegment(start, at, position, velocity, rest).at(at, friction)

    return _VelocityEstimate(place, velocity, 12 * _NOISE**2 / len(chosen) ** 3)


def _fill_gaps(positions: np.ndarray, friction: float) -> np.ndarray:
    """Fills gaps by extrapolation from before and from after, switching where both are nearest."""
    filled = positions.copy()
    for o in range(positions.shape[1]):
        seen = np.flatnonzero(~np.isnan(positions[:, o, 0]))
        for last, first in pairwise(seen.tolist()):
            if first - last < 2:
                continue
            frames = np.arange(last + 1, first)
            onward = _extrapolate(positions[:, o], range(last, -1, -1), frames, friction)
            back = _extrapolate(positions[:, o], range(first, len(positions)), frames, friction)
            turn = int(np.linalg.norm(onward - back, axis=1).argmin())
            filled[frames, o] = np.where((np.arange(len(frames)) <= turn)[:, None], onward, back)

    return filled


def _extrapolate(places: np.ndarray, side: range, frames: np.ndarray, friction: float) -> np.ndarray:
    """Positions of an object at frames, extrapolated from the observations on one side."""
    chosen = np.array(sorted(f for f in side[:_WINDOW] if not np.isnan(places[f, 0])))
    if len(chosen) < 3:
        return np.repeat(places[side[0]][None], len(frames), axis=0)

    start = int(chosen[0])
    position, velocity, rest, _ = fit_segment(chosen - start, places[chosen], friction)
    segment = MotionSegment(start, start, position, velocity, rest)

    return np.stack([segment.at(int(f), friction)[0] for f in frames])


_FRICTIONS = np.linspace(0.0, 0.024, 33)
_INITIAL_FRICTIONS = (0.007, 0.012, 0.003)  # start values of the search
_MIN_FRICTION = 0.001
_FEW = 5  # observations below which the velocity of a segment is unreliable


class FittedMotion(NamedTuple):
    """The fitted motion of all objects.

    Args:
        friction: of the table [1/frame].
        segments: of each object.
        collisions: rows `frame, object, object`.
        num_frames: number of observed frames.
    """

    friction: float
    segments: tuple[tuple[MotionSegment, ...], ...]
    collisions: tuple[tuple[int, int, int], ...]
    num_frames: int

    def at(self, number: int, frame: int, before: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity of an object at a frame.

        Args:
            number: of the object.
            frame: from 0, also after the last observed one.
            before: before a collision at this frame.
        """
        segments = self.segments[number]
        last = [s for s in segments if s.first < frame or (s.first == frame and not before)]

        return (last[-1] if last else segments[0]).at(frame, self.friction)

    def positions(self) -> Float[np.ndarray, "F O 2"]:
        """Positions of every object in every frame, NaN out of view."""
        places = np.array([[self.at(o, f)[0] for o in range(len(self.segments))] for f in range(self.num_frames)])
        places = places.reshape(self.num_frames, len(self.segments), 2)
        return np.where(in_view(places)[..., None], places, np.nan)

    def on_table(self, number: int, frame: int) -> bool:
        """Whether an object is in view or just outside."""
        return not is_gone(self.at(number, frame)[0])


def fit_motion(positions: Float[np.ndarray, "F O 2"]) -> FittedMotion:
    """Fits the motion of tracks.

    Args:
        positions: of the centres, NaN without detection; each object has at least two detections.

    Example:
        >>> frames = np.arange(30.0)
        >>> rolling = np.stack([10 + frames.clip(max=15), np.full(30, 40.0)], 1)  # it collides at 25 and stops
        >>> lying = np.stack([39 + (frames - 15).clip(min=0), np.full(30, 40.0)], 1)
        >>> motion = fit_motion(np.stack([rolling, lying], 1))
        >>> motion.collisions, round(motion.friction, 3)
        (((15, 0, 1),), 0.0)
        >>> motion.at(1, 40)[0].round(1).tolist()
        [64.0, 40.0]
    """
    for begin in _INITIAL_FRICTIONS:
        friction = begin
        for _ in range(2):
            friction = _fit_friction(_free_segments(positions, _find_collisions(positions, friction)))
        if friction > _MIN_FRICTION:
            break

    collisions = _find_collisions(positions, friction)
    segments = []
    weights = []

    for o in range(positions.shape[1]):
        own = [
            (first, last, *_observations(positions[:, o], first, last))
            for first, last in _segment_bounds(o, collisions, positions)
        ]
        segments.append(_fit_segments(own, friction))
        weights.append([len(frames) for _, _, frames, _ in own])

    _conserve_momentum(segments, weights, collisions, friction)
    return FittedMotion(friction, tuple(map(tuple, segments)), tuple(collisions), len(positions))


def _conserve_momentum(
    segments: list[list[MotionSegment]], weights: list[list[int]], collisions: list[_Collision], friction: float
) -> None:
    """Gives a segment with few observations the velocity that conserves the momentum of its collision."""
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


def _fit_segments(pieces: list[tuple[int, int, np.ndarray, np.ndarray]], friction: float) -> list[MotionSegment]:
    """Fits every segment; one without observations starts where the one before ended, at rest."""
    segments: list[MotionSegment] = []
    for first, last, frames, places in pieces:
        if len(frames) >= 2:
            position, velocity, rest, _ = fit_segment(frames - first, places, friction)
        elif len(frames) == 1:
            position = places[0]
            velocity = np.zeros(2)
            rest = 0.0
        elif segments:
            position = segments[-1].at(first, friction)[0]
            velocity = np.zeros(2)
            rest = 0.0
        else:
            continue

        segments.append(MotionSegment(first, last, position, velocity, rest))

    return segments


def _segment_bounds(number: int, collisions: list[_Collision], positions: np.ndarray) -> list[tuple[int, int]]:
    cuts = sorted({frame for frame, *pair in collisions if number in pair})
    ends = [0, *cuts, len(positions)]
    return list(pairwise(ends))


def _observations(places: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The observations of an object inside a segment; the frame of a collision belongs to neither side."""
    frames = np.arange(first + (first > 0), last)
    frames = frames[~np.isnan(places[frames, 0])]
    return frames, places[frames]


def _free_segments(positions: np.ndarray, collisions: list[_Collision]) -> list[tuple[np.ndarray, np.ndarray]]:
    pieces = []
    for o in range(positions.shape[1]):
        for first, last in _segment_bounds(o, collisions, positions):
            frames, places = _observations(positions[:, o], first, last)
            if len(frames) >= 8:
                pieces.append((frames - first, places))

    return pieces


def _fit_friction(pieces: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The friction with the smallest total error over all segments."""
    moving = [piece for piece in pieces if np.ptp(piece[1], axis=0).max() > 4]
    if not moving:
        return _INITIAL_FRICTIONS[0]

    errors = [sum(fit_segment(frames, places, k)[3] for frames, places in moving) for k in _FRICTIONS]
    best = int(np.argmin(errors))
    if 0 < best < len(errors) - 1:
        before, here, after = errors[best - 1 : best + 2]
        bend = before - 2 * here + after
        shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
        return float(_FRICTIONS[best] + shift * (_FRICTIONS[1] - _FRICTIONS[0]))

    return float(_FRICTIONS[best])
