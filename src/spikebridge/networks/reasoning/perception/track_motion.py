"""Fits the motion of tracked objects: segments of free motion between collisions, and one friction for the whole video.

A collision is detected where two objects come close and their relative velocity along the line of the centres reverses.
Gaps of tracks are filled by extrapolation from both sides. A segment with few observations takes the velocity that
conserves the momentum of its collision.
"""

from itertools import combinations, pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from spikebridge.networks.reasoning.simulation.table import RADIUS, MotionSegment, distance, fit_segment
from spikebridge.networks.reasoning.simulation.video import in_view

_Collision: TypeAlias = tuple[int, int, int]  # frame and two objects

_MIN_REVERSAL = 0.2  # closing plus separating velocity of a collision [px/frame]; the softest in view have 0.47
_NUM_DEVIATIONS = 3.5  # smallest reversal in standard deviations of its estimate
_NOISE = 0.2  # standard deviation of a position [px]
_TOLERANCE = 1.2  # of the distance of touching objects [px]
_TOLERANCE_HIDDEN = 5.0
_MAX_CLOSING_SPEED = 4.0  # [px/frame]
_WINDOW = 10  # frames on either side of a collision used for its velocities
_MAX_WINDOW = 45  # where objects were hidden

_FRICTIONS = np.linspace(0.0, 0.024, 33)
_INITIAL_FRICTIONS = (0.007, 0.012, 0.003)  # start values of the search
_MIN_FRICTION = 0.001
_MIN_OBSERVATIONS = 5  # below, the velocity of a segment is unreliable


class FittedMotion(NamedTuple):
    """The fitted motion of all objects."""

    friction: float  # decay of velocities [1/frame]
    segments: tuple[tuple[MotionSegment, ...], ...]  # free motion of each object between collisions
    collisions: tuple[_Collision, ...]
    num_frames: int  # number of observed frames

    def at(self, number: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity of an object at a frame, also after the last observed one."""
        segments = self.segments[number]
        started = [segment for segment in segments if segment.first <= frame]
        return (started[-1] if started else segments[0]).at(frame, self.friction)

    def positions(self) -> Float[np.ndarray, "F O 2"]:
        """Positions of every object in every frame, NaN out of view."""
        places = np.array([[self.at(o, f)[0] for o in range(len(self.segments))] for f in range(self.num_frames)])
        places = places.reshape(self.num_frames, len(self.segments), 2)
        return np.where(in_view(places)[..., None], places, np.nan)


def fit_motion(positions: Float[np.ndarray, "F O 2"]) -> FittedMotion:
    """Fits the motion of tracks: NaN without detection; each object has at least two detections."""
    # collisions depend on the friction, and the friction on the segments between collisions
    for friction in _INITIAL_FRICTIONS:
        for _ in range(2):
            friction = _fit_friction(_free_segments(positions, _find_collisions(positions, friction)))
        if friction > _MIN_FRICTION:
            break

    collisions = _find_collisions(positions, friction)
    segments = []
    num_observations = []

    for o in range(positions.shape[1]):
        bounds = _segment_bounds(o, collisions, len(positions))
        observations = [_observations(positions[:, o], first, last) for first, last in bounds]
        segments.append(_fit_segments(bounds, observations, friction))
        num_observations.append([len(frames) for frames, _ in observations])

    _conserve_momentum(segments, num_observations, collisions, friction)
    return FittedMotion(friction, tuple(map(tuple, segments)), tuple(collisions), len(positions))


class _Candidate(NamedTuple):
    """A possible collision, and the gap that is left between the objects [px]."""

    frame: int
    first: int
    second: int
    gap: float


def _find_collisions(positions: Float[np.ndarray, "F O 2"], friction: float) -> list[_Collision]:
    """The collisions in tracks, in order of time."""
    # in order of time: a collision limits the observations before and after the next one
    candidates = sorted(_near_encounters(positions, friction))
    collisions: list[_Collision] = []
    for k, candidate in enumerate(candidates):
        later = [one[:3] for one in candidates[k + 1 :]]
        if _reverses(positions, candidate, collisions, later, friction):
            collisions.append(candidate[:3])

    return collisions


def _near_encounters(positions: np.ndarray, friction: float) -> list[_Candidate]:
    """Pairs of objects at the frames at which they are nearest, if they may touch."""
    filled = _fill_gaps(positions, friction)
    is_hidden = np.isnan(positions[..., 0])
    candidates = []

    for a, b in combinations(range(positions.shape[1]), 2):
        apart = np.linalg.norm(filled[:, a] - filled[:, b], axis=1)
        apart[np.isnan(apart)] = np.inf
        for frame in range(1, len(apart) - 1):
            tolerance = _TOLERANCE_HIDDEN if is_hidden[frame, [a, b]].any() else _TOLERANCE
            is_near = apart[frame] < 2 * RADIUS + _MAX_CLOSING_SPEED / 2 + tolerance
            if is_near and apart[frame] == apart[max(0, frame - 3) : frame + 4].min():
                candidates.append(_Candidate(frame, a, b, float(apart[frame]) - 2 * RADIUS - tolerance))

    return candidates


class _VelocityEstimate(NamedTuple):
    """Position and velocity at a frame, and the variance of each axis of the velocity."""

    place: np.ndarray
    velocity: np.ndarray
    variance: float


def _reverses(
    positions: np.ndarray,
    candidate: _Candidate,
    earlier: list[_Collision],
    later: list[_Collision],
    friction: float,
) -> bool:
    """True if the relative velocity along the line of the centres reverses, as far as it was observed."""
    frame, a, b, gap = candidate
    sides = []
    for o in (a, b):
        first = max([f for f, *pair in earlier if o in pair], default=0)
        last = min([f for f, *pair in later if o in pair and f > frame + 2], default=len(positions))
        before = _estimate_velocity(positions[:, o], range(frame - 1, first - 1, -1), frame, friction)
        sides.append((before, _estimate_velocity(positions[:, o], range(frame + 1, last), frame, friction)))

    (before_a, after_a), (before_b, after_b) = sides
    estimate_a = before_a or after_a
    estimate_b = before_b or after_b
    if estimate_a is None or estimate_b is None:
        return False

    line = estimate_b.place - estimate_a.place
    line = line / max(float(np.hypot(*line)), 1e-9)
    if before_a is None or after_a is None or before_b is None or after_b is None:
        is_alone = all(abs(f - frame) > _WINDOW for f, *pair in earlier if {a, b} & set(pair))
        return is_alone and _is_pushed_away(sides, line)

    closing = float((before_a.velocity - before_b.velocity) @ line)
    parting = float((after_b.velocity - after_a.velocity) @ line)
    deviation = float(np.sqrt(before_a.variance + before_b.variance + after_a.variance + after_b.variance))
    touches = gap < closing / 2  # between two frames the gap shrinks by this
    reverses = closing + parting > max(_MIN_REVERSAL, _NUM_DEVIATIONS * deviation)

    return touches and reverses and closing > 0.05 and parting > 0.0


def _is_pushed_away(sides: list[tuple[_VelocityEstimate | None, _VelocityEstimate | None]], line: np.ndarray) -> bool:
    """True if the one object that was observed on both sides was accelerated away from the other one."""
    for sign, (before, after) in zip((-1, 1), sides, strict=True):
        if before is not None and after is not None:
            push = float((after.velocity - before.velocity) @ (sign * line))
            deviation = float(np.sqrt(before.variance + after.variance))
            return push > max(_MIN_REVERSAL / 2, _NUM_DEVIATIONS * deviation)

    return False


def _estimate_velocity(places: np.ndarray, frames: range, at: int, friction: float) -> _VelocityEstimate | None:
    """The estimate at a frame from the observations on one side of it; None with too few."""
    observed = [f for f in frames[:_MAX_WINDOW] if not np.isnan(places[f, 0])]
    near = [f for f in observed if abs(f - at) <= _WINDOW]
    used = np.array(sorted(near if len(near) >= 6 else observed[:6]))
    if len(used) < 3:
        return None

    place, velocity = _fit_free_motion(used, places, friction).at(at, friction)
    return _VelocityEstimate(place, velocity, 12 * _NOISE**2 / len(used) ** 3)


def _fit_free_motion(frames: np.ndarray, places: np.ndarray, friction: float) -> MotionSegment:
    """The free motion of an object through its observations at some frames."""
    start = int(frames[0])
    position, velocity, rest, _ = fit_segment(frames - start, places[frames], friction)
    return MotionSegment(start, start, position, velocity, rest)


def _fill_gaps(positions: np.ndarray, friction: float) -> np.ndarray:
    """Fills gaps by extrapolation from before and from after, switching where both are nearest."""
    filled = positions.copy()
    for o in range(positions.shape[1]):
        places = positions[:, o]
        observed = np.flatnonzero(~np.isnan(places[:, 0]))
        for last, first in pairwise(observed.tolist()):
            if first - last < 2:
                continue

            frames = np.arange(last + 1, first)
            forward = _extrapolate(places, range(last, -1, -1), frames, friction)
            backward = _extrapolate(places, range(first, len(positions)), frames, friction)
            turn = int(np.linalg.norm(forward - backward, axis=1).argmin())
            filled[frames, o] = np.where((np.arange(len(frames)) <= turn)[:, None], forward, backward)

    return filled


def _extrapolate(places: np.ndarray, side: range, frames: np.ndarray, friction: float) -> np.ndarray:
    """Positions of an object at frames, extrapolated from the observations on one side."""
    used = np.array(sorted(f for f in side[:_WINDOW] if not np.isnan(places[f, 0])))
    if len(used) < 3:
        return np.repeat(places[side[0]][None], len(frames), axis=0)

    segment = _fit_free_motion(used, places, friction)
    return np.stack([segment.at(int(f), friction)[0] for f in frames])


def _segment_bounds(number: int, collisions: list[_Collision], num_frames: int) -> list[tuple[int, int]]:
    """The first and last frame of each segment of an object."""
    frames = sorted({frame for frame, *pair in collisions if number in pair})
    return list(pairwise([0, *frames, num_frames]))


def _observations(places: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The observations of an object inside a segment; the frame of a collision belongs to neither side."""
    frames = np.arange(first + (first > 0), last)
    frames = frames[~np.isnan(places[frames, 0])]
    return frames, places[frames]


def _fit_segments(
    bounds: list[tuple[int, int]], observations: list[tuple[np.ndarray, np.ndarray]], friction: float
) -> list[MotionSegment]:
    """Fits every segment; one without observations starts where the one before ended, at rest."""
    segments: list[MotionSegment] = []
    for (first, last), (frames, places) in zip(bounds, observations, strict=True):
        velocity = np.zeros(2)
        rest = 0.0
        if len(frames) >= 2:
            position, velocity, rest, _ = fit_segment(frames - first, places, friction)
        elif len(frames) == 1:
            position = places[0]
        elif segments:
            position = segments[-1].at(first, friction)[0]
        else:
            continue

        segments.append(MotionSegment(first, last, position, velocity, rest))

    return segments


def _conserve_momentum(
    segments: list[list[MotionSegment]],
    num_observations: list[list[int]],
    collisions: list[_Collision],
    friction: float,
) -> None:
    """Gives a segment with few observations the velocity that conserves the momentum of its collision."""
    for frame, a, b in collisions:
        after = {o: next(k for k, segment in enumerate(segments[o]) if segment.first == frame) for o in (a, b)}
        sides = [(o, k) for o in (a, b) for k in (after[o] - 1, after[o])]
        weak = [(o, k) for o, k in sides if num_observations[o][k] < _MIN_OBSERVATIONS]
        # momentum determines one velocity from the other three
        if len(weak) != 1:
            continue

        o, k = weak[0]
        other = b if o == a else a
        is_after = k == after[o]
        place, velocity = segments[o][after[o] - 1 if is_after else after[o]].at(frame, friction)
        before_other, after_other = (segments[other][after[other] - shift].at(frame, friction)[1] for shift in (1, 0))
        push = after_other - before_other

        if is_after:
            segments[o][k] = segments[o][k]._replace(position=place, velocity=velocity - push, rest=np.inf)
        else:
            segments[o][k] = _ending_at(segments[o][k], frame, place, velocity + push, friction)


def _ending_at(
    segment: MotionSegment, frame: int, place: np.ndarray, velocity: np.ndarray, friction: float
) -> MotionSegment:
    """A segment with the free motion that has this position and velocity at a frame."""
    back = frame - segment.first
    growth = np.exp(friction * back)
    position = place - velocity * float(distance(np.array(back), friction)) * growth
    return segment._replace(position=position, velocity=velocity * growth, rest=np.inf)


def _free_segments(positions: np.ndarray, collisions: list[_Collision]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The observations of the segments from which the friction is fitted, with frames from their start."""
    pieces = []
    for o in range(positions.shape[1]):
        for first, last in _segment_bounds(o, collisions, len(positions)):
            frames, places = _observations(positions[:, o], first, last)
            if len(frames) >= 8:
                pieces.append((frames - first, places))

    return pieces


def _fit_friction(pieces: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The friction with the smallest total error over all segments."""
    # an object at rest fits every friction
    moving = [(frames, places) for frames, places in pieces if np.ptp(places, axis=0).max() > 4]
    if not moving:
        return _INITIAL_FRICTIONS[0]

    errors = [sum(fit_segment(frames, places, friction)[3] for frames, places in moving) for friction in _FRICTIONS]
    best = int(np.argmin(errors))
    if best in (0, len(errors) - 1):
        return float(_FRICTIONS[best])

    # the minimum of the parabola through three errors
    before, lowest, after = errors[best - 1 : best + 2]
    bend = before - 2 * lowest + after
    shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(_FRICTIONS[best] + shift * (_FRICTIONS[1] - _FRICTIONS[0]))
