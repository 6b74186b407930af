"""What depends on what: an event needs each earlier one that shares an object with it, and what that one needs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from spikebridge.data.scenes import Scene
from spikebridge.networks.reasoning_events import Events, collision_events, in_order, ranks


class Causes(NamedTuple):
    """Pairs of an event and one that it needs, as places in the list of events."""

    event: Int[np.ndarray, "P"]
    cause: Int[np.ndarray, "P"]


def causes_of(events: Events) -> Causes:
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
    return Causes(first[scene] + j, first[scene] + k)


def without_object(scene: Scene, removed: int) -> Int[np.ndarray, "R 3"]:
    """What-if collisions where the roll-out is asked only for what the removed object had a part in.

    Collisions seen or foreseen among objects that the removed one has not reached yet stay as they are. Those with the
    removed object go. The rest comes from the roll-out: collisions in which somebody takes part who is no longer on
    the old course (the idea of CRCG, arXiv:2506.10753).

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
        >>> without_object(scene, 0).tolist()  # the second meeting of 1 and 2 followed from the one with 0
        [[10, 1, 2], [90, 1, 2]]
    """
    rows = np.concatenate([scene.collisions, scene.predicted])
    events = in_order(collision_events([rows]))
    with_removed = (events.objects == removed).any(1)
    follows = with_removed.copy()
    pairs = causes_of(events)
    follows[pairs.event[with_removed[pairs.cause]]] = True
    # from when on each object is no longer on its old course
    leaves = np.full(scene.num_objects, np.iinfo(np.int64).max)
    for column in events.objects.T:
        np.minimum.at(leaves, column[follows], events.frame[follows])
    stays = np.concatenate([events.frame[~follows, None], events.objects[~follows]], 1)
    rolled = scene.what_if[removed]
    off_course = (rolled[:, :1] >= leaves[rolled[:, 1:]]).any(1) & (rolled[:, 1:] != removed).all(1)
    return np.concatenate([stays, rolled[off_course]])


def _closure(needs: Bool[np.ndarray, "V E E"]) -> Bool[np.ndarray, "V E E"]:
    """Whatever can be reached in any number of steps, by squaring."""
    reached: Float[np.ndarray, "V E E"] = needs.astype(np.float32)
    steps = 1
    while steps < needs.shape[1]:
        reached = ((reached + reached @ reached) > 0).astype(np.float32)
        steps *= 2
    return reached > 0
