"""The connections of a spiking concept graph: known beforehand (long-term memory), and written from a scene (Hebb).

The first are a table. A row joins two groups: each with each in a world where one of them is shared, else like with
like. The second are arrays made from the worlds: what is active together is connected. Nothing is learned here.
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
    """What a connection is for. In a preset that saturates, positive channels end on the branch, all else on the soma.

    A tally is a channel whose neuron counts, so that it always adds up.
    """

    DRIVE = 0
    GATE = 1
    CHANNEL = 2
    TALLY = 3


class Size(NamedTuple):
    """A weight, as so many drives and so many steps."""

    drives: int
    steps: int
    kind: ConnectionKind

    def weight(self, preset: Preset) -> float:
        """The weight under a preset."""
        return self.drives * preset.drive + self.steps * preset.step


D = Size(1, 0, ConnectionKind.DRIVE)
G = Size(1, -1, ConnectionKind.GATE)
S = Size(0, 1, ConnectionKind.CHANNEL)
MINUS_S = Size(0, -1, ConnectionKind.CHANNEL)
MINUS_D = Size(-1, 0, ConnectionKind.DRIVE)
ONE_ALLOWED = Size(1, 1, ConnectionKind.DRIVE)
TWO_ALLOWED = Size(1, 2, ConnectionKind.DRIVE)
TALLY = Size(0, 1, ConnectionKind.TALLY)

KNOWN: tuple[tuple[str, str, Size], ...] = (
    ("all_objects", "object", D),
    ("all_events", "event", D),
    ("object", "object", D),
    ("event", "event", D),
    ("object_memory", "object_memory", D),
    ("event_memory", "event_memory", D),
    ("admit_objects", "object", G),
    ("admit_events", "event", G),
    ("dismiss_objects", "object", MINUS_S),
    ("dismiss_events", "event", MINUS_S),
    ("compare", "object_memory", MINUS_S),
    ("compare", "event_memory", MINUS_S),
    ("object_veto", "object", MINUS_D),
    ("store_objects", "object_memory", G),
    ("store_events", "event_memory", G),
    ("veto", "object_veto", G),
    ("ask_moving", "object_moving", G),
    ("ask_involved", "object_involved", G),
    ("ask_causes", "event_cause", G),
    ("object", "object_memory", S),
    ("object", "object_veto", S),
    ("object_involved", "object_memory", S),
    ("object_moving", "object", S),
    ("object_still", "object", S),
    ("object_involved", "object", S),
    ("event_touched", "event", S),
    ("event_cause", "event", S),
    ("event_earlier", "event", S),
    ("event_later", "event", S),
    ("ask_still", "object_still", D),
    ("ask_first", "event_earlier", ONE_ALLOWED),
    ("ask_first_two", "event_earlier", TWO_ALLOWED),
    ("ask_last", "event_later", ONE_ALLOWED),
)
"""Known beforehand in every preset (stage 1 of the paper's working memory)."""

KNOWN_IN_PAPER: tuple[tuple[str, str, Size], ...] = (
    ("object", "count", TALLY),
    ("event", "count", TALLY),
    ("event", "event_memory", S),
    ("object_memory", "match", TALLY),
    ("event_memory", "match", TALLY),
    ("ask_before", "event_earlier", D),
    ("ask_after", "event_later", D),
)
"""Read out as potentials; before and after go by rank."""

KNOWN_IF_EXACT: tuple[tuple[str, str, Size], ...] = (
    ("object_memory", "match", D),
    ("event_memory", "match", D),
    ("ask_before", "event_before", D),
    ("ask_after", "event_after", D),
    ("event_before", "event", S),
    ("event_after", "event", S),
    ("ask_whole", "whole", D),
    ("whole", "whole", D),
    ("dismiss_events", "whole", MINUS_S),
)
"""Read out as spikes; before and after go by frame; motion at any time has a slot of its own."""


@dataclass(frozen=True, eq=False)
class Connections:
    """Connections as arrays.

    Args:
        source: `(C,)` neuron.
        target: `(C,)` neuron.
        weight: `(C,)`.
        kind: `(C,)` a `ConnectionKind`.
        written: `(C,)` whether it was written from the scene.
    """

    source: Int[np.ndarray, "C"]
    target: Int[np.ndarray, "C"]
    weight: Float[np.ndarray, "C"]
    kind: Int[np.ndarray, "C"]
    written: Bool[np.ndarray, "C"]


class _Writing:
    """Connections as they are collected."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.parts: list[tuple[np.ndarray, np.ndarray, Size, bool]] = []

    def join(self, source: np.ndarray, target: np.ndarray, size: Size, written: bool = False) -> None:
        self.parts.append((source, target, size, written))

    def done(self) -> Connections:
        numbers = [len(source) for source, *_ in self.parts]
        sizes = [size for _, _, size, _ in self.parts]
        return Connections(
            source=np.concatenate([source for source, *_ in self.parts]),
            target=np.concatenate([target for _, target, *_ in self.parts]),
            weight=np.repeat([size.weight(self.preset) for size in sizes], numbers),
            kind=np.repeat([int(size.kind) for size in sizes], numbers),
            written=np.repeat([written for *_, written in self.parts], numbers),
        )


def neuron_indices(worlds: Worlds, layout: NeuronLayout) -> NeuronIndices:
    """Where the neurons of a batch of worlds stand."""
    return NeuronIndices(layout, worlds.world_of_object, worlds.events.scene, len(worlds.worlds))


def wire(worlds: Worlds, layout: NeuronLayout, preset: Preset) -> Connections:
    """All connections of a batch of worlds, without a loop over worlds, objects or events.

    Args:
        worlds: what was perceived.
        layout: which neurons there are.
        preset: sizes of the weights.

    Returns:
        Block-diagonal connections: none joins two worlds.
    """
    places = neuron_indices(worlds, layout)
    writing = _Writing(preset)
    for source, target, size in (*KNOWN, *(KNOWN_IF_EXACT if layout.exact else KNOWN_IN_PAPER)):
        writing.join(*_like_with_like(places, source, target), size)
    for kind, values in layout.attributes.items():
        for value in values:
            writing.join(places.of_worlds(f"kind_{kind}"), places.of_worlds(value), G)
    _join_order(writing, worlds, places)
    if layout.exact:
        _join_ladder(writing, places, "object", places.of_objects("object"), worlds.world_of_object)
        _join_ladder(writing, places, "event", places.of_events("event"), worlds.events.scene)
    _write_values(writing, worlds, places)
    _write_events(writing, worlds, places)
    _write_motion(writing, worlds, places)
    return writing.done()


def _like_with_like(places: NeuronIndices, source: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    kinds = places.is_group(source), places.is_group(target)
    elements = next((kind for kind in kinds if kind != "shared"), "shared")
    world = {"object": places.world_of_object, "event": places.world_of_event}.get(elements)

    def stand(name: str, kind: str) -> np.ndarray:
        if kind == "object":
            return places.of_objects(name)
        if kind == "event":
            return places.of_events(name)
        each = places.of_worlds(name)
        return each if world is None else each[world]

    return stand(source, kinds[0]), stand(target, kinds[1])


def _join_order(writing: _Writing, worlds: Worlds, places: NeuronIndices) -> None:
    """An active event holds down those not after it among the earlier, those not before it among the later."""
    k, j = worlds.event_pairs()
    event = places.of_events("event")
    earlier, later = places.of_events("event_earlier"), places.of_events("event_later")
    writing.join(event[k[k <= j]], earlier[j[k <= j]], MINUS_S)
    writing.join(event[k[k >= j]], later[j[k >= j]], MINUS_S)
    if not places.layout.exact:
        return
    frame = worlds.events.frame
    before, after = places.of_events("event_before"), places.of_events("event_after")
    for group, holds in ((before, frame[k] <= frame[j]), (after, frame[k] >= frame[j])):
        writing.join(event[k[holds]], group[j[holds]], MINUS_S)
    # two meetings of one pair are one and the same answer, so memory takes either for the other
    who = np.sort(worlds.events.objects, axis=1)
    alike = (worlds.events.kind[k] == worlds.events.kind[j]) & (who[k] == who[j]).all(1) & (who[k] >= 0).any(1)
    writing.join(event[k[alike]], places.of_events("event_memory")[j[alike]], S)


def _join_ladder(writing: _Writing, places: NeuronIndices, name: str, members: np.ndarray, world: np.ndarray) -> None:
    """Each member lifts every rung; rung k fires where k members are active."""
    sizes = np.bincount(world, minlength=places.num_worlds)[world].clip(max=MAX_COUNTED)
    member = np.repeat(np.arange(len(members)), sizes)
    rung = ranks(member)
    first = places.layout.shared_index[f"{name}_count[1]"]
    writing.join(members[member], (first + rung) * places.num_worlds + world[member], TALLY)


def _write_values(writing: _Writing, worlds: Worlds, places: NeuronIndices) -> None:
    number, kinds = worlds.values.shape
    objects = np.repeat(places.of_objects("object"), kinds)
    first = places.layout.shared_index[places.layout.values[0]]
    world = np.repeat(worlds.world_of_object, kinds)
    values = (first + worlds.values.reshape(number * kinds)) * places.num_worlds + world
    writing.join(objects, values, S, written=True)
    writing.join(values, objects, S, written=True)


def _write_events(writing: _Writing, worlds: Worlds, places: NeuronIndices) -> None:
    events, event = worlds.events, places.of_events("event")
    touched, cause = places.of_events("event_touched"), places.of_events("event_cause")
    for kind, marker in ((START, "start"), (END, "end")):
        which = events.kind == kind
        writing.join(places.of_worlds(marker)[events.scene[which]], event[which], S, written=True)
    for kind, asks in ((IN, "ask_entering"), (OUT, "ask_leaving"), (COLLISION, "ask_colliding")):
        which = events.kind == kind
        writing.join(places.of_worlds(asks)[events.scene[which]], touched[which], G, written=True)
    for column in events.objects.T:
        known = column >= 0
        who = worlds.first_object[events.scene[known]] + column[known]
        writing.join(event[known], places.of_objects("object_involved")[who], S, written=True)
        writing.join(places.of_objects("object")[who], touched[known], S, written=True)
    writing.join(event[worlds.causes.event], cause[worlds.causes.other], S, written=True)


def _write_motion(writing: _Writing, worlds: Worlds, places: NeuronIndices) -> None:
    event = places.of_events("event")
    moving, still = places.of_objects("object_moving"), places.of_objects("object_still")
    writing.join(event[worlds.moving.event], moving[worlds.moving.other], S, written=True)
    writing.join(event[worlds.not_still.event], still[worlds.not_still.other], MINUS_S, written=True)
    if not places.layout.exact:
        return
    whole = places.of_worlds("whole")[worlds.world_of_object]
    writing.join(whole[worlds.whole_moving], moving[worlds.whole_moving], S, written=True)
    writing.join(whole[~worlds.whole_still], still[~worlds.whole_still], MINUS_S, written=True)
