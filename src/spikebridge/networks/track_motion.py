"""The motion behind tracks: stretches of free motion between collisions, fitted with one friction for the whole video.

Where a stretch was hardly seen, the velocity that keeps the momentum of its collision is taken.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.rolling_objects import in_view, is_gone
from spikebridge.data.rolling_table import distance
from spikebridge.networks.free_motion import Stretch, fit_stretch
from spikebridge.networks.track_collisions import Collision, find_collisions

_FRICTIONS = np.linspace(0.0, 0.024, 33)
_BEGINNINGS = (0.007, 0.012, 0.003)  # what the friction is looked for from
_LEAST_FRICTION = 0.001
_FEW = 5  # frames in which a stretch was hardly seen


class Motion(NamedTuple):
    """What happened on the table.

    Args of the tuple: the friction [1/frame]; of each object its stretches; rows `frame, object, object` of the
    collisions; how many frames were seen.
    """

    friction: float
    stretches: tuple[tuple[Stretch, ...], ...]
    collisions: tuple[tuple[int, int, int], ...]
    num_frames: int

    def at(self, number: int, frame: int, before: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Place and velocity of an object at a frame.

        Args:
            number: of the object.
            frame: counted from 0, also after the last one seen.
            before: as it was going to be, had it not collided at this very frame.
        """
        stretches = self.stretches[number]
        last = [s for s in stretches if s.first < frame or (s.first == frame and not before)]
        return (last[-1] if last else stretches[0]).at(frame, self.friction)

    def positions(self) -> Float[np.ndarray, "F O 2"]:
        """Where every object was in view in every frame, NaN where it was not."""
        places = np.array([[self.at(o, f)[0] for o in range(len(self.stretches))] for f in range(self.num_frames)])
        places = places.reshape(self.num_frames, len(self.stretches), 2)
        return np.where(in_view(places)[..., None], places, np.nan)

    def on_table(self, number: int, frame: int) -> bool:
        """Whether an object is in view or just outside."""
        return not is_gone(self.at(number, frame)[0])


def fit_motion(positions: Float[np.ndarray, "F O 2"]) -> Motion:
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
    stretches = []
    weights = []
    for o in range(positions.shape[1]):
        own = [
            (first, last, *_points(positions[:, o], first, last)) for first, last in _bounds(o, collisions, positions)
        ]
        stretches.append(_chain(own, friction))
        weights.append([len(frames) for _, _, frames, _ in own])
    _balance(stretches, weights, collisions, friction)
    return Motion(friction, tuple(map(tuple, stretches)), tuple(collisions), len(positions))


def _balance(
    stretches: list[list[Stretch]], weights: list[list[int]], collisions: list[Collision], friction: float
) -> None:
    """Gives a stretch that was hardly seen the velocity that keeps the momentum of its collision."""
    for frame, a, b in collisions:
        cut = {o: next(k for k, s in enumerate(stretches[o]) if s.first == frame) for o in (a, b)}
        sides = [(o, k) for o in (a, b) for k in (cut[o] - 1, cut[o])]
        weak = [(o, k) for o, k in sides if weights[o][k] < _FEW]
        if len(weak) != 1:
            continue
        o, k = weak[0]
        other = b if o == a else a
        after = k == cut[o]
        same = stretches[o][cut[o] - 1 if after else cut[o]]
        place, velocity = same.at(frame, friction)
        push = (
            stretches[other][cut[other]].at(frame, friction)[1]
            - stretches[other][cut[other] - 1].at(frame, friction)[1]
        )
        wanted = velocity - push if after else velocity + push
        begin = stretches[o][k].first
        if after:
            stretches[o][k] = stretches[o][k]._replace(position=place, velocity=wanted, rest=np.inf)
        else:
            back = frame - begin
            position = place - wanted * float(distance(np.array(back), friction)) * np.exp(friction * back)
            stretches[o][k] = stretches[o][k]._replace(
                position=position, velocity=wanted * np.exp(friction * back), rest=np.inf
            )


def _chain(pieces: list[tuple[int, int, np.ndarray, np.ndarray]], friction: float) -> list[Stretch]:
    """Fits every piece; one that nobody saw begins where the one before ended, and lies still."""
    stretches: list[Stretch] = []
    for first, last, frames, places in pieces:
        if len(frames) >= 2:
            position, velocity, rest, _ = fit_stretch(frames - first, places, friction)
        elif len(frames) == 1:
            position, velocity, rest = places[0], np.zeros(2), 0.0
        elif stretches:
            position, velocity, rest = stretches[-1].at(first, friction)[0], np.zeros(2), 0.0
        else:
            continue
        stretches.append(Stretch(first, last, position, velocity, rest))
    return stretches


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
    errors = [sum(fit_stretch(frames, places, k)[3] for frames, places in moving) for k in _FRICTIONS]
    best = int(np.argmin(errors))
    if 0 < best < len(errors) - 1:
        before, here, after = errors[best - 1 : best + 2]
        bend = before - 2 * here + after
        shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
        return float(_FRICTIONS[best] + shift * (_FRICTIONS[1] - _FRICTIONS[0]))
    return float(_FRICTIONS[best])
