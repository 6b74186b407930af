"""The connections of the spiking concept graph: a fixed table (long-term memory), and those of a scene (Hebbian).

A row of the table connects two groups: all with all inside a world where one of them is shared, else one to one. The
connections of a scene join what is active together. Nothing is learned here.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from spikebridge.networks.reasoning.events.events import COLLISION, END, IN, OUT, START, ranks
from spikebridge.networks.reasoning.graph.layout import MAX_COUNTED, NeuronIndices, NeuronLayout, Preset
from spikebridge.networks.reasoning.graph.worlds import Worlds


class ConnectionKind(IntEnum):
    """The role of a connection.

    In a preset that saturates, positive channels end on the branch, all others on the soma. A tally is a channel to a
    neuron that counts, so that it always sums linearly.
    """

    DRIVE = 0
    GATE = 1
    CHANNEL = 2
    TALLY = 3


class _WeightSize(NamedTuple):
    """A weight in units of the preset: multiples of the drive and of the step."""

    drives: int
    steps: int
    kind: ConnectionKind

    def weight(self, preset: Preset) -> float:
        """The weight under a preset."""
        return self.drives * preset.drive + self.steps * preset.step


_D = _WeightSize(1, 0, ConnectionKind.DRIVE)
_G = _WeightSize(1, -1, ConnectionKind.GATE)
_S = _WeightSize(0, 1, ConnectionKind.CHANNEL)
_MINUS_S = _WeightSize(0, -1, ConnectionKind.CHANNEL)
_MINUS_D = _WeightSize(-1, 0, ConnectionKind.DRIVE)
_ONE_ALLOWED = _WeightSize(1, 1, ConnectionKind.DRIVE)
_TWO_ALLOWED = _WeightSize(1, 2, ConnectionKind.DRIVE)
_TALLY = _WeightSize(0, 1, ConnectionKind.TALLY)

_FIXED: tuple[tuple[str, str, _WeightSize], ...] = (
    ("all_objects", "object", _D),
    ("all_events", "event", _D),
    ("object", "object", _D),
    ("event", "event", _D),
    ("object_memory", "object_memory", _D),
    ("event_memory", "event_memory", _D),
    ("admit_objects", "object", _G),
    ("admit_events", "event", _G),
    ("dismiss_objects", "object", _MINUS_S),
    ("dismiss_events", "event", _MINUS_S),
    ("compare", "object_memory", _MINUS_S),
    ("compare", "event_memory", _MINUS_S),
    ("object_veto", "object", _MINUS_D),
    ("store_objects", "object_memory", _G),
    ("store_events", "event_memory", _G),
    ("veto", "object_veto", _G),
    ("ask_moving", "object_moving", _G),
    ("ask_involved", "object_involved", _G),
    ("ask_causes", "event_cause", _G),
    ("object", "object_memory", _S),
    ("object", "object_veto", _S),
    ("object_involved", "object_memory", _S),
    ("object_moving", "object", _S),
    ("object_still", "object", _S),
    ("object_involved", "object", _S),
    ("event_touched", "event", _S),
    ("event_cause", "event", _S),
    ("event_earlier", "event", _S),
    ("event_later", "event", _S),
    ("ask_still", "object_still", _D),
    ("ask_first", "event_earlier", _ONE_ALLOWED),
    ("ask_first_two", "event_earlier", _TWO_ALLOWED),
    ("ask_last", "event_later", _ONE_ALLOWED),
)
"""Fixed connections of every preset (stage 1 of the paper's working memory)."""

_FIXED_IN_PAPER: tuple[tuple[str, str, _WeightSize], ...] = (
    ("object", "count", _TALLY),
    ("event", "count", _TALLY),
    ("event", "event_memory", _S),
    ("object_memory", "match", _TALLY),
    ("event_memory", "match", _TALLY),
    ("ask_before", "event_earlier", _D),
    ("ask_after", "event_later", _D),
)
"""Of preset `paper`: read-out as potentials; before and after go by rank."""

_FIXED_IF_EXACT: tuple[tuple[str, str, _WeightSize], ...] = (
    ("object_memory", "match", _D),
    ("event_memory", "match", _D),
    ("ask_before", "event_before", _D),
    ("ask_after", "event_after", _D),
    ("event_before", "event", _S),
    ("event_after", "event", _S),
    ("ask_whole", "whole", _D),
    ("whole", "whole", _D),
    ("dismiss_events", "whole", _MINUS_S),
)
"""Of exact presets: read-out as spikes; before and after go by frame; motion at any time has its own neuron."""


@dataclass(frozen=True, eq=False)
class Connections:
    """Connections as arrays.

    Args:
        source: `(C,)` neuron.
        target: `(C,)` neuron.
        weight: `(C,)`.
        kind: `(C,)` a `ConnectionKind`.
        from_scene: `(C,)` whether it was written from the scene.
    """

    source: Int[np.ndarray, "C"]
    target: Int[np.ndarray, "C"]
    weight: Float[np.ndarray, "C"]
    kind: Int[np.ndarray, "C"]
    from_scene: Bool[np.ndarray, "C"]


class _ConnectionList:
    """Collects connections."""

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray, _WeightSize, bool]] = []

    def join(self, source: np.ndarray, target: np.ndarray, size: _WeightSize, from_scene: bool = False) -> None:
        self.parts.append((source, target, size, from_scene))

    def as_arrays(self, preset: Preset) -> Connections:
        numbers = [len(source) for source, *_ in self.parts]
        sizes = [size for _, _, size, _ in self.parts]

        return Connections(
            source=np.concatenate([source for source, *_ in self.parts]),
            target=np.concatenate([target for _, target, *_ in self.parts]),
            weight=np.repeat([size.weight(preset) for size in sizes], numbers),
            kind=np.repeat([int(size.kind) for size in sizes], numbers),
            from_scene=np.repeat([from_scene for *_, from_scene in self.parts], numbers),
        )


def neuron_indices(worlds: Worlds, layout: NeuronLayout) -> NeuronIndices:
    """The indices of the neurons of a batch of worlds."""
    return NeuronIndices(layout, worlds.world_of_object, worlds.events.scene, len(worlds.worlds))


def wire(worlds: Worlds, layout: NeuronLayout, preset: Preset) -> Connections:
    """All connections of a batch of worlds, computed on arrays.

    Args:
        worlds: objects and events.
        layout: neurons of a world.
        preset: sizes of the weights.

    Returns:
        Block-diagonal connections: none connects two worlds.
    """
    indices = neuron_indices(worlds, layout)
    connections = _ConnectionList()
    for source, target, size in (*_FIXED, *(_FIXED_IF_EXACT if layout.exact else _FIXED_IN_PAPER)):
        connections.join(*_pair_up(indices, source, target), size)

    for kind, values in layout.attributes.items():
        for value in values:
            connections.join(indices.of_worlds(f"kind_{kind}"), indices.of_worlds(value), _G)

    _join_order(connections, worlds, indices)
    if layout.exact:
        _join_counters(connections, indices, "object", indices.of_objects("object"), worlds.world_of_object)
        _join_counters(connections, indices, "event", indices.of_events("event"), worlds.events.scene)

    _write_values(connections, worlds, indices)
    _write_events(connections, worlds, indices)
    _write_motion(connections, worlds, indices)

    return connections.as_arrays(preset)


def _pair_up(indices: NeuronIndices, source: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    kinds = indices.elements_of(source), indices.elements_of(target)
    elements = next((kind for kind in kinds if kind != "shared"), "shared")
    world = {"object": indices.world_of_object, "event": indices.world_of_event}.get(elements)

    def index(name: str, kind: str) -> np.ndarray:
        if kind == "object":
            return indices.of_objects(name)
        if kind == "event":
            return indices.of_events(name)

        each = indices.of_worlds(name)
        return each if world is None else each[world]

    return index(source, kinds[0]), index(target, kinds[1])


def _join_order(connections: _ConnectionList, worlds: Worlds, indices: NeuronIndices) -> None:
    """An active event inhibits `earlier` of all events from itself on, and `later` of all events up to itself."""
    k, j = worlds.event_pairs()
    event = indices.of_events("event")
    earlier = indices.of_events("event_earlier")
    later = indices.of_events("event_later")
    connections.join(event[k[k <= j]], earlier[j[k <= j]], _MINUS_S)
    connections.join(event[k[k >= j]], later[j[k >= j]], _MINUS_S)

    if not indices.layout.exact:
        return

    frame = worlds.events.frame
    before = indices.of_events("event_before")
    after = indices.of_events("event_after")

    for group, holds in ((before, frame[k] <= frame[j]), (after, frame[k] >= frame[j])):
        connections.join(event[k[holds]], group[j[holds]], _MINUS_S)

    # two collisions of one pair are the same answer, so memory accepts either
    who = np.sort(worlds.events.objects, axis=1)
    alike = (worlds.events.kind[k] == worlds.events.kind[j]) & (who[k] == who[j]).all(1) & (who[k] >= 0).any(1)
    connections.join(event[k[alike]], indices.of_events("event_memory")[j[alike]], _S)


def _join_counters(
    connections: _ConnectionList, indices: NeuronIndices, name: str, members: np.ndarray, world: np.ndarray
) -> None:
    """Thermometer code: each member excites every neuron; neuron k fires where k members are active."""
    sizes = np.bincount(world, minlength=indices.num_worlds)[world].clip(max=MAX_COUNTED)
    member = np.repeat(np.arange(len(members)), sizes)
    level = ranks(member)
    first = indices.layout.shared_index[f"{name}_count[1]"]
    connections.join(members[member], (first + level) * indices.num_worlds + world[member], _TALLY)


def _write_values(connections: _ConnectionList, worlds: Worlds, indices: NeuronIndices) -> None:
    number, kinds = worlds.values.shape
    objects = np.repeat(indices.of_objects("object"), kinds)
    first = indices.layout.shared_index[indices.layout.values[0]]
    world = np.repeat(worlds.world_of_object, kinds)
    values = (first + worlds.values.reshape(number * kinds)) * indices.num_worlds + world
    connections.join(objects, values, _S, from_scene=True)
    connections.join(values, objects, _S, from_scene=True)


def _write_events(connections: _ConnectionList, worlds: Worlds, indices: NeuronIndices) -> None:
    events = worlds.events
    event = indices.of_events("event")
    touched = indices.of_events("event_touched")
    cause = indices.of_events("event_cause")

    for kind, marker in ((START, "start"), (END, "end")):
        which = events.kind == kind
        connections.join(indices.of_worlds(marker)[events.scene[which]], event[which], _S, from_scene=True)

    for kind, asks in ((IN, "ask_entering"), (OUT, "ask_leaving"), (COLLISION, "ask_colliding")):
        which = events.kind == kind
        connections.join(indices.of_worlds(asks)[events.scene[which]], touched[which], _G, from_scene=True)

    for column in events.objects.T:
        known = column >= 0
        who = worlds.first_object[events.scene[known]] + column[known]
        connections.join(event[known], indices.of_objects("object_involved")[who], _S, from_scene=True)
        connections.join(indices.of_objects("object")[who], touched[known], _S, from_scene=True)

    connections.join(event[worlds.causes.event], cause[worlds.causes.other], _S, from_scene=True)


def _write_motion(connections: _ConnectionList, worlds: Worlds, indices: NeuronIndices) -> None:
    event = indices.of_events("event")
    moving = indices.of_objects("object_moving")
    still = indices.of_objects("object_still")
    connections.join(event[worlds.moving.event], moving[worlds.moving.other], _S, from_scene=True)
    connections.join(event[worlds.not_still.event], still[worlds.not_still.other], _MINUS_S, from_scene=True)

    if not indices.layout.exact:
        return

    whole = indices.of_worlds("whole")[worlds.world_of_object]
    connections.join(whole[worlds.whole_moving], moving[worlds.whole_moving], _S, from_scene=True)
    connections.join(whole[~worlds.whole_still], still[~worlds.whole_still], _MINUS_S, from_scene=True)
