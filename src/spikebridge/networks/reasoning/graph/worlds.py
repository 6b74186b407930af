"""Worlds: the observed, predicted and counterfactual events of a scene. Each world is one event list.

The worlds of all videos of a batch are built at once, from arrays. Motion is known in observed worlds only; the others
contain only collisions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, NUM_OBSERVED_FRAMES, Scene
from spikebridge.networks.reasoning.events.events import (
    COLLISION,
    Events,
    SceneTracks,
    causes_of,
    collision_events,
    first_of_each,
    in_order,
    nearest_samples,
    observed_events,
    ranks,
    tracks_of,
    without_object,
)

_MAX_OBJECTS = 128
_MAX_EVENTS = 256
"""Limits of an exact graph."""

PAPER_EVENTS = 20
_PAPER_HYPOTHETICAL_EVENTS = 5
"""Events that the published network keeps of observed worlds, and of predicted or counterfactual ones."""


class World(NamedTuple):
    """A scene under a condition.

    Args:
        scene: its number in the batch.
        condition: `observed`, `predicted`, or the number of the removed object.
    """

    scene: int
    condition: str | int = "observed"


class _IndexPairs(NamedTuple):
    """_IndexPairs of events and objects (or events) of one world, as numbers over all worlds."""

    event: Int[np.ndarray, "P"]
    other: Int[np.ndarray, "P"]


@dataclass(frozen=True, eq=False)
class Worlds:
    """A batch of worlds as arrays; objects and events are numbered through all worlds.

    Args:
        worlds: scene and condition of each.
        world_of_object: `(O,)`.
        values: `(O, K)` index of each object's values among all attribute values.
        value_scores: `(O, K)` perception score of each value.
        events: `events.scene` is the world here; `events.objects` are numbers within the world.
        moving: event and object that moves at that event.
        not_still: event and object that is invisible or moves at that event.
        whole_moving: `(O,)` moves at any observed sample.
        whole_still: `(O,)` is visible, and moves at no observed sample.
        causes: event and an earlier event that it depends on.
    """

    worlds: tuple[World, ...]
    world_of_object: Int[np.ndarray, "O"]
    values: Int[np.ndarray, "O K"]
    value_scores: Float[np.ndarray, "O K"]
    events: Events
    moving: _IndexPairs
    not_still: _IndexPairs
    whole_moving: Bool[np.ndarray, "O"]
    whole_still: Bool[np.ndarray, "O"]
    causes: _IndexPairs

    @property
    def num_objects(self) -> np.ndarray:
        """`(W,)` objects of each world."""
        return np.bincount(self.world_of_object, minlength=len(self.worlds))

    @property
    def num_events(self) -> np.ndarray:
        """`(W,)` events of each world."""
        return np.bincount(self.events.scene, minlength=len(self.worlds))

    @property
    def first_object(self) -> np.ndarray:
        """`(W,)` number of each world's first object."""
        return np.cumsum(self.num_objects) - self.num_objects

    def event_pairs(self) -> _IndexPairs:
        """All pairs of events of the same world."""
        return _all_pairs(self.events.scene, self.num_events)


def build_worlds(
    scenes: Sequence[Scene],
    worlds: Sequence[World],
    exact: bool = True,
    attributes: Mapping[str, tuple[str, ...]] = ATTRIBUTES,
    causal: bool = False,
) -> Worlds:
    """Builds worlds of one kind: all observed, or all hypothetical.

    Args:
        scenes: the scenes of the batch.
        worlds: the worlds, each once.
        exact: all events, and motion as measured; else as in the paper: events clipped, colliding objects move.
        attributes: kinds of attribute and their values.
        causal: counterfactual events as in `without_object`.

    Raises:
        DataError: a world with too many objects or events, or a what-if roll-out that the scene does not have.

    Example:
        >>> scene = Scene.from_lists(
        ...     1,
        ...     objects=[["red", "metal", "cube"], ["blue", "rubber", "sphere"]],
        ...     trajectory=[[0, [[0, 9.0, 9.0]]], [5, [[0, 9.0, 9.0], [1, 0.0, 0.0]]]],
        ...     collisions=[[5, 0, 1]],
        ... )
        >>> worlds = build_worlds([scene], [World(0)])
        >>> from spikebridge.networks.reasoning.events.events import EVENT_KINDS
        >>> [EVENT_KINDS[kind] for kind in worlds.events.kind]
        ['start', 'in', 'collision', 'end']
        >>> worlds.causes  # event 2 needs event 1: they share the sphere
        _IndexPairs(event=array([2]), other=array([1]))
    """
    of_world = [scenes[world.scene] for world in worlds]
    world_of_object = np.repeat(np.arange(len(worlds)), [scene.num_objects for scene in of_world])
    observed = all(world.condition == "observed" for world in worlds)
    tracks = tracks_of(of_world if observed else [])

    if observed:
        events = observed_events(of_world, tracks)
        events = events if exact else first_of_each(events, PAPER_EVENTS)
    else:
        pairs = zip(of_world, worlds, strict=True)
        events = collision_events([_hypothetical_collisions(scene, world, exact, causal) for scene, world in pairs])
        events = in_order(events) if exact else first_of_each(events, _PAPER_HYPOTHETICAL_EVENTS)

    num_objects = np.array([scene.num_objects for scene in of_world], dtype=np.int64)
    if exact:
        _check_sizes(of_world, num_objects, np.bincount(events.scene, minlength=len(worlds)))

    motion = _motion(tracks, events, world_of_object, num_objects, exact, observed)
    return Worlds(
        worlds=tuple(worlds),
        world_of_object=world_of_object,
        values=_value_indices(of_world, attributes),
        value_scores=_value_scores(of_world, len(attributes)),
        events=events,
        **motion,
        causes=_IndexPairs(*causes_of(events)),
    )


def _motion(
    tracks: SceneTracks,
    events: Events,
    world_of_object: np.ndarray,
    num_objects: np.ndarray,
    exact: bool,
    observed: bool,
) -> dict[str, Any]:
    """The motion fields of `Worlds`; empty where the worlds were not observed."""
    each = _all_pairs(events.scene, num_objects)
    local = ranks(world_of_object)
    if not observed:
        nothing = np.zeros(len(local), dtype=bool)
        none = _IndexPairs(each.event[:0], each.other[:0])
        return {"moving": none, "not_still": each, "whole_moving": nothing, "whole_still": nothing}

    at = events.scene[each.event], nearest_samples(tracks, events)[each.event], local[each.other]
    moves = tracks.moving[at]
    still = tracks.visible[at] & ~moves
    if not exact:
        takes_part = (events.objects[each.event] == local[each.other][:, None]).any(1)
        moves = moves | (takes_part & (events.kind[each.event] == COLLISION))

    in_time = np.less(tracks.frames, NUM_OBSERVED_FRAMES)[:, :, None]
    of_object = world_of_object, local
    ever_seen = (tracks.visible & in_time).any(1)[of_object]
    ever_moving = (tracks.moving & in_time).any(1)[of_object]

    return {
        "moving": _IndexPairs(each.event[moves], each.other[moves]),
        "not_still": _IndexPairs(each.event[~still], each.other[~still]),
        "whole_moving": ever_moving,
        "whole_still": ever_seen & ~ever_moving,
    }


def _hypothetical_collisions(scene: Scene, world: World, exact: bool, causal: bool) -> np.ndarray:
    if world.condition == "predicted":
        return scene.predicted

    removed = int(world.condition)
    if removed not in scene.what_if:
        if removed < 0 or not exact:
            return np.zeros((0, 3), dtype=np.int64)
        raise DataError(
            f"video {scene.video} has no what-if roll-out without object {removed} "
            f"({' '.join(scene.objects[removed])}); it has those without {sorted(scene.what_if) or 'none'}"
        )

    return without_object(scene, removed) if causal else scene.what_if[removed]


def _check_sizes(scenes: Sequence[Scene], num_objects: np.ndarray, num_events: np.ndarray) -> None:
    for number, most, what in ((num_objects, _MAX_OBJECTS, "objects"), (num_events, _MAX_EVENTS, "events")):
        if (number > most).any():
            w = int(np.argmax(number > most))
            raise DataError(f"video {scenes[w].video} has {number[w]} {what}, but a graph holds at most {most}")


def _all_pairs(world_of_event: np.ndarray, numbers: np.ndarray) -> _IndexPairs:
    """Each event with each element of its world, where elements are numbered world after world."""
    event = np.repeat(np.arange(len(world_of_event)), numbers[world_of_event])
    first = (np.cumsum(numbers) - numbers)[world_of_event]
    return _IndexPairs(event, np.repeat(first, numbers[world_of_event]) + ranks(event))


def _value_indices(scenes: Sequence[Scene], attributes: Mapping[str, tuple[str, ...]]) -> np.ndarray:
    named = np.array([triple for scene in scenes for triple in scene.objects], dtype=object)
    named = named.reshape(-1, len(attributes)).astype(str)
    places = np.zeros(named.shape, dtype=np.int64)
    start = 0

    for column, (kind, values) in enumerate(attributes.items()):
        order = np.argsort(values)
        found = order[np.searchsorted(np.array(values)[order], named[:, column]).clip(max=len(values) - 1)]
        wrong = np.array(values)[found] != named[:, column]
        if wrong.any():
            word = str(named[:, column][wrong][0])
            raise ConfigError(f"the graph has no {kind} {word!r}; {did_you_mean(word, values)}")

        places[:, column] = start + found
        start += len(values)

    return places


def _value_scores(scenes: Sequence[Scene], num_kinds: int) -> np.ndarray:
    parts = [np.ones((s.num_objects, num_kinds)) if s.attribute_scores is None else s.attribute_scores for s in scenes]
    return np.concatenate([np.zeros((0, num_kinds)), *parts])
