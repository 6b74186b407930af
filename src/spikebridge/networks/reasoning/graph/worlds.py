"""Worlds: the observed, predicted and counterfactual events of a scene. Each world is one list of events.

The worlds of all videos of a batch are built at once, from arrays. Motion is known in observed worlds only; the others
contain only collisions. Starts, ends and turns of motion are events of the world `motion` alone, in which the programs
run that ask for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, NUM_OBSERVED_FRAMES, Scene
from spikebridge.networks.reasoning.events.events import (
    Events,
    SceneTracks,
    causes_of,
    collision_events,
    in_order,
    nearest_samples,
    observed_events,
    ranks,
    tracks_of,
    without_object,
)
from spikebridge.networks.reasoning.events.motion import hitters_of, sides_of, with_motion

OBSERVED = ("observed", "motion")  # conditions of observed worlds, without and with events of motion

_MAX_OBJECTS = 128
_MAX_EVENTS = 256


class World(NamedTuple):
    """A scene, by number, and a condition: one of `OBSERVED`, `predicted`, or the number of a removed object."""

    scene: int
    condition: str | int = "observed"


class IndexPairs(NamedTuple):
    """Pairs of an event and an object (or another event) of its world, as numbers over all worlds."""

    event: Int[np.ndarray, "P"]
    other: Int[np.ndarray, "P"]


@dataclass(frozen=True, eq=False)
class Worlds:
    """A batch of worlds as arrays; objects and events are numbered over all worlds."""

    worlds: tuple[World, ...]
    world_of_object: Int[np.ndarray, "O"]
    values: Int[np.ndarray, "O K"]  # index of each object's values among all attribute values
    value_scores: Float[np.ndarray, "O K"]  # perception score of each value
    events: Events  # `events.scene` is the world; `events.objects` are numbers within the world
    moving: IndexPairs  # an event, and an object that moves at that event
    not_still: IndexPairs  # an event, and an object that is invisible or moves at that event
    ever_moving: Bool[np.ndarray, "O"]
    always_still: Bool[np.ndarray, "O"]  # objects that are visible at some observed sample and move at none
    causes: IndexPairs  # an event, and an earlier event that it depends on
    sides: Bool[np.ndarray, "E 4"]  # of `SIDE_NAMES`, from which an object comes or to which it leaves
    hitters: Int[np.ndarray, "E"]  # the object that struck in a collision, -1 for none

    @property
    def num_objects(self) -> Int[np.ndarray, "W"]:
        """Objects of each world."""
        return np.bincount(self.world_of_object, minlength=len(self.worlds))

    @property
    def num_events(self) -> Int[np.ndarray, "W"]:
        """Events of each world."""
        return np.bincount(self.events.scene, minlength=len(self.worlds))

    @property
    def first_object(self) -> Int[np.ndarray, "W"]:
        """The number of each world's first object."""
        return np.cumsum(self.num_objects) - self.num_objects

    def event_pairs(self) -> IndexPairs:
        """All pairs of events of the same world."""
        return _all_pairs(self.events.scene, self.num_events)


def build_worlds(
    scenes: Sequence[Scene],
    worlds: Sequence[World],
    attributes: Mapping[str, tuple[str, ...]] = ATTRIBUTES,
    causal: bool = False,
) -> Worlds:
    """Builds worlds of one kind: all observed, or all hypothetical; `causal` is that of `answer`."""
    scene_of_world = [scenes[world.scene] for world in worlds]

    # hypothetical events come from roll-outs, which have no trajectories
    tracks = None
    if all(world.condition in OBSERVED for world in worlds):
        tracks = tracks_of(scene_of_world)
        events = with_motion(observed_events(scene_of_world, tracks), _with_motion(worlds, scene_of_world))
    else:
        pairs = zip(scene_of_world, worlds, strict=True)
        events = in_order(collision_events([_hypothetical_collisions(scene, world, causal) for scene, world in pairs]))

    num_objects = np.array([scene.num_objects for scene in scene_of_world], dtype=np.int64)
    _check_sizes(scene_of_world, "objects", num_objects, _MAX_OBJECTS)
    _check_sizes(scene_of_world, "events", np.bincount(events.scene, minlength=len(worlds)), _MAX_EVENTS)

    return join_worlds(worlds, scene_of_world, events, tracks, attributes)


def join_worlds(
    worlds: Sequence[World],
    scenes: Sequence[Scene],
    events: Events,
    tracks: SceneTracks | None,
    attributes: Mapping[str, tuple[str, ...]],
) -> Worlds:
    """Worlds from the scene of each, their events, and their tracks; None where the worlds were not observed."""
    num_objects = np.array([scene.num_objects for scene in scenes], dtype=np.int64)
    world_of_object = np.repeat(np.arange(len(worlds)), num_objects)

    return Worlds(
        worlds=tuple(worlds),
        world_of_object=world_of_object,
        values=_value_indices(scenes, attributes),
        value_scores=_value_scores(scenes, len(attributes)),
        events=events,
        **_motion(tracks, events, world_of_object, num_objects),
        causes=IndexPairs(*causes_of(events)),
        sides=sides_of(events, _with_motion(worlds, scenes)),
        hitters=hitters_of(events, _with_motion(worlds, scenes)),
    )


def _with_motion(worlds: Sequence[World], scenes: Sequence[Scene]) -> list[Scene | None]:
    """The scene of each world in which programs ask for events of motion, None for the other worlds."""
    return [scene if world.condition == "motion" else None for world, scene in zip(worlds, scenes, strict=True)]


def _motion(
    tracks: SceneTracks | None, events: Events, world_of_object: np.ndarray, num_objects: np.ndarray
) -> dict[str, Any]:
    """The motion fields of `Worlds`; nothing moves or rests in worlds that were not observed."""
    pairs = _all_pairs(events.scene, num_objects)
    if tracks is None:
        none = IndexPairs(pairs.event[:0], pairs.other[:0])
        never = np.zeros(len(world_of_object), dtype=bool)
        return {"moving": none, "not_still": pairs, "ever_moving": never, "always_still": never}

    number_in_world = ranks(world_of_object)
    at = events.scene[pairs.event], nearest_samples(tracks, events)[pairs.event], number_in_world[pairs.other]
    moves = tracks.moving[at]
    still = tracks.visible[at] & ~moves

    # samples after the observed frames are predictions
    is_observed = np.less(tracks.frames, NUM_OBSERVED_FRAMES)[:, :, None]
    of_object = world_of_object, number_in_world
    ever_visible = (tracks.visible & is_observed).any(1)[of_object]
    ever_moving = (tracks.moving & is_observed).any(1)[of_object]

    return {
        "moving": IndexPairs(pairs.event[moves], pairs.other[moves]),
        "not_still": IndexPairs(pairs.event[~still], pairs.other[~still]),
        "ever_moving": ever_moving,
        "always_still": ever_visible & ~ever_moving,
    }


def _hypothetical_collisions(scene: Scene, world: World, causal: bool) -> np.ndarray:
    if world.condition == "predicted":
        return scene.predicted

    removed = int(world.condition)
    if removed < 0:  # no object was selected
        return np.zeros((0, 3), dtype=np.int64)

    if removed not in scene.what_if:
        raise DataError(
            f"video {scene.video} has no what-if roll-out without object {removed} "
            f"({' '.join(scene.objects[removed])}); it has those without {sorted(scene.what_if) or 'none'}"
        )

    return without_object(scene, removed) if causal else scene.what_if[removed]


def _check_sizes(scenes: Sequence[Scene], name: str, numbers: np.ndarray, max_number: int) -> None:
    if (numbers > max_number).any():
        w = int(np.argmax(numbers > max_number))
        raise DataError(f"video {scenes[w].video} has {numbers[w]} {name}, but a graph holds at most {max_number}")


def _all_pairs(world_of_event: np.ndarray, numbers: np.ndarray) -> IndexPairs:
    """Each event with each element of its world, where elements are numbered world after world."""
    event = np.repeat(np.arange(len(world_of_event)), numbers[world_of_event])
    first = (np.cumsum(numbers) - numbers)[world_of_event]
    return IndexPairs(event, np.repeat(first, numbers[world_of_event]) + ranks(event))


def _value_indices(scenes: Sequence[Scene], attributes: Mapping[str, tuple[str, ...]]) -> np.ndarray:
    triples = np.array([triple for scene in scenes for triple in scene.objects], dtype=object)
    words = triples.reshape(-1, len(attributes)).astype(str)
    indices = np.zeros(words.shape, dtype=np.int64)
    start = 0

    for column, (kind, values) in enumerate(attributes.items()):
        # all objects of all scenes at once: a dictionary look-up for each would be slower
        order = np.argsort(values)
        place = np.searchsorted(np.array(values)[order], words[:, column])
        index = order[place.clip(max=len(values) - 1)]
        is_unknown = np.array(values)[index] != words[:, column]

        if is_unknown.any():
            word = str(words[:, column][is_unknown][0])
            raise ConfigError(f"the graph has no {kind} {word!r}; {did_you_mean(word, values)}")

        indices[:, column] = start + index
        start += len(values)

    return indices


def _value_scores(scenes: Sequence[Scene], num_kinds: int) -> np.ndarray:
    parts = [np.ones((s.num_objects, num_kinds)) if s.attribute_scores is None else s.attribute_scores for s in scenes]
    return np.concatenate([np.zeros((0, num_kinds)), *parts])
