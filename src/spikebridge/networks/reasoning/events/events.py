"""Events from trajectories and collisions: entrances, exits, collisions, and motion.

All scenes of a batch are processed at once, as arrays. The velocity at a sample is the mean of the forward and backward
differences per frame, as far as they exist. An object faster than `_SPEED_LIMIT` moves, unless the scene has its own
motion labels. It enters at a sample where it is visible and was not at the sample before; it leaves at the first sample
without it.

An event depends on each earlier event that shares an object with it, and on the causes of that one (`causes_of`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Scene

# kinds of event, in their order within one frame; `begin` is an object that moves as the video begins, the last three
# are start, end and change of direction of motion
EVENT_KINDS = ("start", "end", "out", "in", "collision", "begin", "move", "stop", "turn")
START, END, OUT, IN, COLLISION, BEGIN, MOVE, STOP, TURN = range(len(EVENT_KINDS))

_START_FRAME = 0
_END_FRAME = 125
_SPEED_LIMIT = 0.1  # slower objects are still [position units per frame]
_FAR_FRAME = np.int64(2**40)  # of padded samples, beyond all frames


class SceneTracks(NamedTuple):
    """Visibility and motion of the objects of a batch of scenes, padded to S samples and O objects."""

    frames: Int[np.ndarray, "V S"]
    visible: Bool[np.ndarray, "V S O"]
    moving: Bool[np.ndarray, "V S O"]


class Events(NamedTuple):
    """Events of a batch of scenes, scene after scene, each in order of time."""

    scene: Int[np.ndarray, "E"]
    kind: Int[np.ndarray, "E"]  # index into `EVENT_KINDS`
    frame: Int[np.ndarray, "E"]
    objects: Int[np.ndarray, "E 2"]  # objects that take part, -1 for none
    score: Float[np.ndarray, "E"]  # perception score, 0 to 1

    def take(self, index: np.ndarray) -> "Events":
        """The events at an index or a mask."""
        return Events(*[column[index] for column in self])


def tracks_of(scenes: Sequence[Scene]) -> SceneTracks:
    """Visibility and motion of every object at every sample; motion labels of a scene take precedence."""
    num_samples = max((len(scene.frames) for scene in scenes), default=0) or 1
    num_objects = max((scene.num_objects for scene in scenes), default=0)
    frames = np.full((len(scenes), num_samples), _FAR_FRAME)
    positions = np.full((len(scenes), num_samples, num_objects, 2), np.nan)

    for v, scene in enumerate(scenes):
        frames[v, : len(scene.frames)] = scene.frames
        positions[v, : len(scene.frames), : scene.num_objects] = scene.positions

    visible = ~np.isnan(positions[..., 0])
    velocity = _velocity(positions, frames)
    moving = visible & (np.hypot(velocity[..., 0], velocity[..., 1]) > _SPEED_LIMIT)

    # labels of a unit take precedence: position noise makes still objects move
    for v, scene in enumerate(scenes):
        if scene.moving is not None:
            own = (v, slice(len(scene.frames)), slice(scene.num_objects))
            moving[own] = visible[own] & scene.moving

    return SceneTracks(frames, visible, moving)


def _velocity(positions: Float[np.ndarray, "V S O 2"], frames: Int[np.ndarray, "V S"]) -> Float[np.ndarray, "V S O 2"]:
    """The mean of the forward and the backward difference per frame, as far as they exist."""
    step = np.diff(positions, axis=1) / np.diff(frames, axis=1)[:, :, None, None].clip(min=1)

    # a missing difference leaves the other one: at the ends, and next to a gap
    edge = np.full_like(positions[:, :1], np.nan)
    differences = np.stack([np.concatenate([edge, step], 1), np.concatenate([step, edge], 1)])
    exists = ~np.isnan(differences)

    return np.where(exists, differences, 0.0).sum(0) / exists.sum(0).clip(min=1)


def observed_events(scenes: Sequence[Scene], tracks: SceneTracks) -> Events:
    """All observed events in order of time; those of one frame in the order of `EVENT_KINDS`, then of objects."""
    visible = tracks.visible
    frames = tracks.frames[:, 1:]
    is_observed = (frames < NUM_OBSERVED_FRAMES)[:, :, None]
    parts = [_markers(len(scenes))]

    for kind, changes in ((IN, visible[:, 1:] & ~visible[:, :-1]), (OUT, visible[:, :-1] & ~visible[:, 1:])):
        v, s, o = np.nonzero(changes & is_observed)
        objects = np.stack([o, np.full_like(o, -1)], 1)
        parts.append(Events(v, np.full_like(v, kind), frames[v, s], objects, np.ones(len(v))))

    parts.append(collision_events([scene.collisions for scene in scenes], [scene.collision_scores for scene in scenes]))
    return in_order(Events(*[np.concatenate(column) for column in zip(*parts, strict=True)]))


def collision_events(
    rows: Sequence[Int[np.ndarray, "_ 3"]], scores: Sequence[Float[np.ndarray, "_"] | None] | None = None
) -> Events:
    """Lists of collisions, one a scene, as events in the order of the lists."""
    numbers = np.array([len(collisions) for collisions in rows], dtype=np.int64)
    scene = np.repeat(np.arange(len(rows)), numbers)
    table = np.concatenate([np.zeros((0, 3), dtype=np.int64), *rows])
    pairs = zip(rows, [None] * len(rows) if scores is None else scores, strict=True)
    score = np.concatenate([np.zeros(0), *[np.ones(len(r)) if s is None else s for r, s in pairs]])

    return Events(scene, np.full_like(scene, COLLISION), table[:, 0], table[:, 1:], score)


def in_order(events: Events) -> Events:
    """Scene by scene in order of time, then of kind; the order of equal events is kept."""
    # the last key is the first to sort by
    return events.take(np.lexsort((events.kind, events.frame, events.scene)))


def ranks(groups: Int[np.ndarray, "E"]) -> Int[np.ndarray, "E"]:
    """The rank of each element within its group; groups are contiguous."""
    first = np.searchsorted(groups, groups, side="left")
    return np.arange(len(groups)) - first


def nearest_samples(tracks: SceneTracks, events: Events) -> Int[np.ndarray, "E"]:
    """The sample nearest to each event's frame; the earlier one of two that are equally near."""
    return np.abs(tracks.frames[events.scene] - events.frame[:, None]).argmin(1)


def _markers(num_scenes: int) -> Events:
    scene = np.tile(np.arange(num_scenes), 2)
    kind = np.repeat([START, END], num_scenes)
    frame = np.repeat([_START_FRAME, _END_FRAME], num_scenes)
    return Events(scene, kind, frame, np.full((2 * num_scenes, 2), -1), np.ones(2 * num_scenes))


class _Causes(NamedTuple):
    """Pairs of an event and one that it depends on, as indices of the list of events."""

    event: Int[np.ndarray, "P"]
    cause: Int[np.ndarray, "P"]


def causes_of(events: Events) -> _Causes:
    """All pairs of an event and an earlier one of its scene that it depends on, through any number of others."""
    numbers = np.bincount(events.scene, minlength=int(events.scene.max(initial=-1)) + 1)
    place = ranks(events.scene)
    max_number = int(numbers.max(initial=0))
    num_objects = int(events.objects.max(initial=-1)) + 1
    takes_part = np.zeros((len(numbers), max_number, num_objects), dtype=np.float32)

    for column in events.objects.T:
        has_object = column >= 0
        takes_part[events.scene[has_object], place[has_object], column[has_object]] = 1

    is_earlier = np.tril(np.ones((max_number, max_number), dtype=bool), -1)
    # a shared object ties two events, a chain of ties is a cause
    needs = _closure((takes_part @ takes_part.transpose(0, 2, 1) > 0) & is_earlier)
    scene, j, k = np.nonzero(needs)
    first = np.cumsum(numbers) - numbers

    return _Causes(first[scene] + j, first[scene] + k)


def without_object(scene: Scene, removed: int) -> Int[np.ndarray, "R 3"]:
    """Counterfactual collisions that use the roll-out only for what depends on the removed object."""
    # after CRCG (arXiv:2506.10753): a roll-out of the whole video drifts away from what was observed
    events = in_order(collision_events([np.concatenate([scene.collisions, scene.predicted])]))
    with_removed = (events.objects == removed).any(1)
    depends = with_removed.copy()
    pairs = causes_of(events)
    depends[pairs.event[with_removed[pairs.cause]]] = True
    kept = np.concatenate([events.frame[~depends, None], events.objects[~depends]], 1)

    # the frame at which each object leaves its observed course
    first_change = np.full(scene.num_objects, np.iinfo(np.int64).max)
    for column in events.objects.T:
        np.minimum.at(first_change, column[depends], events.frame[depends])

    # the roll-out gives the collisions of objects that have left their observed course
    simulated = scene.what_if[removed]
    off_course = (simulated[:, :1] >= first_change[simulated[:, 1:]]).any(1)
    without = (simulated[:, 1:] != removed).all(1)

    return np.concatenate([kept, simulated[off_course & without]])


def _closure(needs: Bool[np.ndarray, "V E E"]) -> Bool[np.ndarray, "V E E"]:
    """The transitive closure, by squaring."""
    # products of floats use the fast matrix product, those of booleans do not
    reached: Float[np.ndarray, "V E E"] = needs.astype(np.float32)
    steps = 1
    while steps < needs.shape[1]:
        reached = ((reached + reached @ reached) > 0).astype(np.float32)
        steps *= 2

    return reached > 0
