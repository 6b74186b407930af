"""Starts, ends and turns of motion; the side of an entrance or exit; the object that struck in a collision."""

import numpy as np
from jaxtyping import Bool, Float, Int

from spikebridge.networks.reasoning.events.events import (
    COLLISION,
    IN,
    MOVE,
    OUT,
    STOP,
    TURN,
    Events,
    SceneTracks,
    in_order,
)

SIDE_NAMES = ("left", "right", "top", "bottom")

_HEIGHT = 100.0  # of the picture, along x [position units]
_WIDTH = 150.0  # of the picture, along y [position units]
_MIN_TURN = np.cos(np.radians(35.0))  # cosine of the smallest change of direction
_MIN_TURNING_SPEED = 0.2  # of an object whose direction is known [position units per frame]


def with_motion(events: Events, tracks: SceneTracks, has_motion: Bool[np.ndarray, "V"]) -> Events:
    """The events with the starts, ends and turns of motion of some of the scenes."""
    if not has_motion.any():
        return events

    parts = [events]
    for kind, changes in _motion_changes(tracks).items():
        v, s, o = np.nonzero(changes & has_motion[:, None, None])
        objects = np.stack([o, np.full_like(o, -1)], 1)
        parts.append(Events(v, np.full_like(v, kind), tracks.frames[v, s], objects, np.ones(len(v))))

    return in_order(Events(*[np.concatenate(column) for column in zip(*parts, strict=True)]))


def _motion_changes(tracks: SceneTracks) -> dict[int, Bool[np.ndarray, "V S O"]]:
    """The samples at which an object starts to move, stops, or turns."""
    before = _shifted(tracks.moving)
    seen_before = _shifted(tracks.visible)
    seen = tracks.visible & seen_before
    speed = np.linalg.norm(tracks.velocity, axis=-1)
    direction = tracks.velocity / speed.clip(min=1e-9)[..., None]
    fast = speed > _MIN_TURNING_SPEED
    turns = (direction[:, 1:] * direction[:, :-1]).sum(-1) < _MIN_TURN
    turning = np.zeros_like(seen)
    turning[:, 1:] = turns & fast[:, 1:] & fast[:, :-1]

    return {MOVE: seen & tracks.moving & ~before, STOP: seen & ~tracks.moving & before, TURN: seen & turning}


def _shifted(values: Bool[np.ndarray, "V S O"]) -> Bool[np.ndarray, "V S O"]:
    """The values of the sample before; False at the first one."""
    return np.concatenate([np.zeros_like(values[:, :1]), values[:, :-1]], 1)


def sides_of(events: Events, tracks: SceneTracks) -> Int[np.ndarray, "E"]:
    """The side of each entrance and exit, the border that is nearest to the object; -1 for other events."""
    sides = np.full(len(events.scene), -1)
    for kind, offset in ((IN, 0), (OUT, -1)):
        chosen = np.flatnonzero(events.kind == kind)
        scene = events.scene[chosen]
        sample = (tracks.frames[scene] == events.frame[chosen, None]).argmax(1) + offset
        x, y = tracks.positions[scene, sample, events.objects[chosen, 0]].T
        sides[chosen] = np.stack([y, _WIDTH - y, x, _HEIGHT - x], 1).argmin(1)

    return sides


def hitters_of(events: Events, tracks: SceneTracks) -> Int[np.ndarray, "E"]:
    """The object of each collision that was the faster one before contact; -1 where none was, and for other events."""
    hitters = np.full(len(events.scene), -1)
    chosen = np.flatnonzero(events.kind == COLLISION)
    scene = events.scene[chosen]
    last = (tracks.frames[scene] <= events.frame[chosen, None]).sum(1) - 1
    speeds = np.stack([_speed_before(tracks, scene, last, o) for o in events.objects[chosen].T], 1)
    first, second = speeds.T
    faster = np.where(first > second, events.objects[chosen, 0], events.objects[chosen, 1])
    hitters[chosen] = np.where(first == second, -1, faster)

    return hitters


def _speed_before(tracks: SceneTracks, scene: np.ndarray, sample: np.ndarray, o: np.ndarray) -> Float[np.ndarray, "E"]:
    """The speed of objects from the sample before one to that one; where they were not seen, their mean velocity."""
    place = sample.clip(min=1, max=tracks.frames.shape[1] - 1)
    step = tracks.positions[scene, place, o] - tracks.positions[scene, place - 1, o]
    span = tracks.frames[scene, place] - tracks.frames[scene, place - 1]
    speed = np.linalg.norm(step, axis=-1) / span.clip(min=1)
    around = np.linalg.norm(tracks.velocity[scene, place, o], axis=-1)

    return np.where(np.isnan(speed), around, speed)
