"""Events from trajectories and collisions: entrances, exits, collisions, and motion.

All scenes of a batch are processed at once, as arrays. The velocity at a sample is the mean of the forward and backward
differences per frame, as far as they exist. Faster than `_SPEED_LIMIT` is moving, unless the scene has its own motion
labels. An object enters at a sample where it is visible and was not at the one before; it leaves at the first sample
without it.

An event depends on each earlier event that shares an object with it, and on what that one depends on (`causes_of`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Scene

EVENT_KINDS = ("start", "end", "out", "in", "collision")
"""Kinds of event, in their order within one frame."""
START, END, OUT, IN, COLLISION = range(len(EVENT_KINDS))

START_FRAME = 0
END_FRAME = 125
_SPEED_LIMIT = 0.1
"""Slower than this is still [position units per frame]."""


class SceneTracks(NamedTuple):
    """Visibility and motion of the objects of a batch of scenes, padded to S samples and O objects.

    Args:
        frames: `(V, S)`, padded by a frame beyond all.
        visible: `(V, S, O)`.
        moving: `(V, S, O)`, False where not visible.
    """

    frames: Int[np.ndarray, "V S"]
    visible: Bool[np.ndarray, "V S O"]
    moving: Bool[np.ndarray, "V S O"]


class Events(NamedTuple):
    """Events of a batch of scenes, scene after scene, each in order of time.

    Args:
        scene: `(E,)` which scene.
        kind: `(E,)` index into `EVENT_KINDS`.
        frame: `(E,)`.
        objects: `(E, 2)` objects that take part, -1 for none.
        score: `(E,)` perception score, 0 to 1.
    """

    scene: Int[np.ndarray, "E"]
    kind: Int[np.ndarray, "E"]
    frame: Int[np.ndarray, "E"]
    objects: Int[np.ndarray, "E 2"]
    score: Float[np.ndarray, "E"]

    def take(self, which: np.ndarray) -> "Events":
        """Some of them."""
        return Events(*[column[which] for column in self])


FAR = np.int64(2**40)


def tracks_of(scenes: Sequence[Scene]) -> SceneTracks:
    """Visibility and motion of every object at every sample; motion labels of a scene take precedence.

    Example:
        >>> scene = Scene.from_lists(
        ...     1,
        ...     objects=[["red", "metal", "cube"]],
        ...     trajectory=[[0, [[0, 10.0, 20.0]]], [5, [[0, 10.0, 22.0]]], [10, [[0, 10.0, 22.0]]]],
        ...     collisions=[],
        ... )
        >>> tracks_of([scene]).moving[0, :, 0].tolist()  # 0.4, then (0.4 + 0) / 2, then 0 a frame
        [True, True, False]
    """
    num_samples = max((len(scene.frames) for scene in scenes), default=0) or 1
    num_objects = max((scene.num_objects for scene in scenes), default=0)
    frames = np.full((len(scenes), num_samples), FAR)
    positions = np.full((len(scenes), num_samples, num_objects, 2), np.nan)

    for v, scene in enumerate(scenes):
        frames[v, : len(scene.frames)] = scene.frames
        positions[v, : len(scene.frames), : scene.num_objects] = scene.positions

    visible = ~np.isnan(positions[..., 0])
    change = np.diff(positions, axis=1) / np.diff(frames, axis=1)[:, :, None, None].clip(min=1)
    nothing = np.full((len(scenes), 1, num_objects, 2), np.nan)
    both = np.stack([np.concatenate([nothing, change], 1), np.concatenate([change, nothing], 1)])
    exists = ~np.isnan(both)
    velocity = np.where(exists, both, 0.0).sum(0) / exists.sum(0).clip(min=1)
    moving = visible & (np.hypot(velocity[..., 0], velocity[..., 1]) > _SPEED_LIMIT)

    for v, scene in enumerate(scenes):
        if scene.moving is not None:
            seen = (v, slice(len(scene.frames)), slice(scene.num_objects))
            moving[seen] = visible[seen] & scene.moving

    return SceneTracks(frames, visible, moving)


def observed_events(scenes: Sequence[Scene], tracks: SceneTracks) -> Events:
    """All observed events in order of time; those of one frame in the order of `EVENT_KINDS`.

    Args:
        scenes: the scenes.
        tracks: of the same scenes.

    Returns:
        Their events; objects of one kind and frame by number, collisions as they were listed.
    """
    seen = tracks.visible
    parts = [_markers(len(scenes))]

    for kind, changes, edge in (
        (IN, seen[:, 1:] & ~seen[:, :-1], tracks.frames[:, 1:]),
        (OUT, seen[:, :-1] & ~seen[:, 1:], tracks.frames[:, 1:]),
    ):
        v, s, o = np.nonzero(changes & (edge < NUM_OBSERVED_FRAMES)[:, :, None])
        who = np.stack([o, np.full_like(o, -1)], 1)
        parts.append(Events(v, np.full_like(v, kind), edge[v, s], who, np.ones(len(v))))

    parts.append(collision_events([scene.collisions for scene in scenes], [scene.collision_scores for scene in scenes]))
    return in_order(Events(*[np.concatenate(column) for column in zip(*parts, strict=True)]))


def collision_events(
    rows: Sequence[Int[np.ndarray, "_ 3"]], scores: Sequence[Float[np.ndarray, "_"] | None] | None = None
) -> Events:
    """Lists of collisions, one a scene, as events in the order given."""
    numbers = np.array([len(listed) for listed in rows], dtype=np.int64)
    scene = np.repeat(np.arange(len(rows)), numbers)
    table = np.concatenate([np.zeros((0, 3), dtype=np.int64), *rows])

    if scores is None:
        score = np.ones(len(scene))
    else:
        each = zip(rows, scores, strict=True)
        score = np.concatenate([np.zeros(0), *[np.ones(len(r)) if s is None else s for r, s in each]])

    return Events(scene, np.full_like(scene, COLLISION), table[:, 0], table[:, 1:], score)


def in_order(events: Events) -> Events:
    """Scene by scene in order of time, then of kind; what is equal stays as it was listed."""
    return events.take(np.lexsort((events.kind, events.frame, events.scene)))


def ranks(groups: Int[np.ndarray, "E"]) -> Int[np.ndarray, "E"]:
    """The rank of each element within its group; groups are contiguous.

    Example:
        >>> ranks(np.array([0, 0, 2, 2, 2])).tolist()
        [0, 1, 0, 1, 2]
    """
    first = np.searchsorted(groups, groups, side="left")
    return np.arange(len(groups)) - first


def nearest_samples(tracks: SceneTracks, events: Events) -> Int[np.ndarray, "E"]:
    """The sample nearest to each event's frame; the earlier one of two that are equally near."""
    return np.abs(tracks.frames[events.scene] - events.frame[:, None]).argmin(1)


def _markers(num_scenes: int) -> Events:
    scene = np.tile(np.arange(num_scenes), 2)
    kind = np.repeat([START, END], num_scenes)
    none = np.full((2 * num_scenes, 2), -1)
    return Events(scene, kind, np.repeat([START_FRAME, END_FRAME], num_scenes), none, np.ones(2 * num_scenes))


class _Causes(NamedTuple):
    """Pairs of an event and one that it depends on, as indices of the list of events."""

    event: Int[np.ndarray, "P"]
    cause: Int[np.ndarray, "P"]


def causes_of(events: Events) -> _Causes:
    """All pairs of an event and an earlier one of its scene that it depends on, through any number of others.

    Args:
        events: scene after scene, each in order of time.

    Example:
        >>> chain = collision_events([np.array([[5, 0, 1], [9, 2, 3], [20, 1, 2]])])
        >>> [(int(j), int(k)) for j, k in zip(*causes_of(chain), strict=True)]
        [(2, 0), (2, 1)]
    """
    numbers = np.bincount(events.scene, minlength=int(events.scene.max(initial=-1)) + 1)
    place = ranks(events.scene)
    most = int(numbers.max(initial=0))
    num_objects = int(events.objects.max(initial=-1)) + 1
    takes_part = np.zeros((len(numbers), most, num_objects), dtype=np.float32)

    for column in events.objects.T:
        known = column >= 0
        takes_part[events.scene[known], place[known], column[known]] = 1

    earlier = np.tril(np.ones((most, most), dtype=bool), -1)
    needs = _closure((takes_part @ takes_part.transpose(0, 2, 1) > 0) & earlier)
    scene, j, k = np.nonzero(needs)
    first = np.cumsum(numbers) - numbers

    return _Causes(first[scene] + j, first[scene] + k)


def without_object(scene: Scene, removed: int) -> Int[np.ndarray, "R 3"]:
    """Counterfactual collisions that use the roll-out only for what depends on the removed object.

    Observed and predicted collisions that do not depend on the removed object are kept. Those with it are dropped. The
    roll-out gives the rest: collisions of objects that have left their observed course (CRCG, arXiv:2506.10753).

    Args:
        scene: with a roll-out for that object.
        removed: its number.

    Example:
        >>> scene = Scene.from_lists(
        ...     1,
        ...     objects=[["red", "metal", "cube"], ["blue", "metal", "cube"], ["gray", "metal", "cube"]],
        ...     trajectory=[],
        ...     collisions=[[10, 1, 2], [30, 0, 1], [50, 1, 2]],
        ...     what_if={0: [[90, 1, 2]]},
        ... )
        >>> without_object(scene, 0).tolist()  # the second collision of 1 and 2 followed from the one with 0
        [[10, 1, 2], [90, 1, 2]]
    """
    rows = np.concatenate([scene.collisions, scene.predicted])
    events = in_order(collision_events([rows]))
    with_removed = (events.objects == removed).any(1)
    follows = with_removed.copy()
    pairs = causes_of(events)
    follows[pairs.event[with_removed[pairs.cause]]] = True

    # the frame at which each object leaves its observed course
    leaves = np.full(scene.num_objects, np.iinfo(np.int64).max)
    for column in events.objects.T:
        np.minimum.at(leaves, column[follows], events.frame[follows])

    stays = np.concatenate([events.frame[~follows, None], events.objects[~follows]], 1)
    rolled = scene.what_if[removed]
    off_course = (rolled[:, :1] >= leaves[rolled[:, 1:]]).any(1) & (rolled[:, 1:] != removed).all(1)

    return np.concatenate([stays, rolled[off_course]])


def _closure(needs: Bool[np.ndarray, "V E E"]) -> Bool[np.ndarray, "V E E"]:
    """The transitive closure, by squaring."""
    reached: Float[np.ndarray, "V E E"] = needs.astype(np.float32)
    steps = 1
    while steps < needs.shape[1]:
        reached = ((reached + reached @ reached) > 0).astype(np.float32)
        steps *= 2

    return reached > 0
