"""Events of single objects in observed scenes, the sides from which objects come, and who strikes in a collision.

They are facts of the worlds of programs that ask for them; in other worlds entrances and exits are changes of
visibility alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.events import BEGIN, COLLISION, IN, MOVE, OUT, Events, in_order
from spikebridge.networks.reasoning.events.track_events import (
    TrackEventUnit,
    border_distances,
    detect_track_events,
    in_picture,
)

SIDE_NAMES = ("left", "right", "top", "bottom")

_UNIT = TrackEventUnit()
_HEADING_SAMPLES = 4  # over which the direction of an object is measured
_MIN_SHARE = 0.35  # of a direction towards a side in the whole


def with_motion(events: Events, scenes: Sequence[Scene | None]) -> Events:
    """The events with those of single objects that the track unit detects; a scene of None keeps what it has."""
    asked = [(v, scene) for v, scene in enumerate(scenes) if scene is not None]
    if not asked:
        return events

    is_replaced = np.isin(events.kind, (IN, OUT)) & np.isin(events.scene, [v for v, _ in asked])
    parts = [events.take(~is_replaced)]
    for v, scene in asked:
        kind, frame, o = detect_track_events(scene, _UNIT).T
        parts.append(Events(np.full_like(o, v), kind, frame, np.stack([o, np.full_like(o, -1)], 1), np.ones(len(o))))

    return in_order(Events(*[np.concatenate(column) for column in zip(*parts, strict=True)]))


def sides_of(events: Events, scenes: Sequence[Scene | None]) -> Bool[np.ndarray, "E 4"]:
    """The sides (`SIDE_NAMES`) from which an object comes, or to which it leaves, by border and heading."""
    sides = np.zeros((len(events.scene), len(SIDE_NAMES)), dtype=bool)
    for e in np.flatnonzero(np.isin(events.kind, (IN, OUT, BEGIN, MOVE))):
        scene = scenes[events.scene[e]]
        if scene is not None:
            sides[e] = _sides(scene, int(events.kind[e]), int(events.frame[e]), int(events.objects[e, 0]))

    return sides


def _sides(scene: Scene, kind: int, frame: int, o: int) -> Bool[np.ndarray, "4"]:
    """The sides of an event of one object."""
    seen = np.flatnonzero(scene.visible[:, o])
    # an entrance is before the first sample of the object, an exit behind the last one
    near = int(np.abs(scene.frames[seen] - frame).argmin())
    far = near - _HEADING_SAMPLES if kind == OUT else near + _HEADING_SAMPLES
    track = in_picture(scene.positions[seen, o], scene)
    place = track[near]
    away = track[np.clip(far, 0, len(seen) - 1)] - place
    # a heading away from a side comes from it; an exit goes where it does not come from
    inwards = np.array([away[1], -away[1], away[0], -away[0]])
    sides = inwards > _MIN_SHARE * np.linalg.norm(away)

    if kind in (IN, OUT):
        sides[int(border_distances(torch.from_numpy(place)).argmin())] = True

    return sides


def hitters_of(events: Events, scenes: Sequence[Scene | None]) -> Int[np.ndarray, "E"]:
    """The object of each collision that was the faster one before contact; -1 where none was, and for other events."""
    hitters = np.full(len(events.scene), -1)
    for e in np.flatnonzero(events.kind == COLLISION):
        scene = scenes[events.scene[e]]
        if scene is not None:
            pair = events.objects[e]
            first, second = (_speed_before(scene, int(o), int(events.frame[e])) for o in pair)
            hitters[e] = -1 if first == second else pair[int(second > first)]

    return hitters


def _speed_before(scene: Scene, o: int, frame: int) -> float:
    seen = np.flatnonzero(scene.visible[:, o])
    if len(seen) < 2:
        return 0.0

    end = max(int((scene.frames[seen] <= frame).sum()) - 1, 1)
    places: Float[np.ndarray, "2 2"] = scene.positions[seen[end - 1 : end + 1], o]
    span = scene.frames[seen[end]] - scene.frames[seen[end - 1]]

    return float(np.linalg.norm(places[1] - places[0]) / span)
