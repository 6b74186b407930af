"""The connections of the spiking graph: a fixed table (long-term memory), and those written from a scene (Hebbian).

A row of the table, in `wiring.json`, connects two groups: each shared neuron with all neurons of its world, other
groups one to one (stage 1 of the paper's working memory). The connections of a scene join neurons that are active
together. Nothing is learned here.
"""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from spikebridge.data.io.json_text import read_json
from spikebridge.networks.reasoning.events.events import BEGIN, COLLISION, END, IN, MOVE, OUT, START, STOP, TURN, ranks
from spikebridge.networks.reasoning.events.motion import SIDE_NAMES
from spikebridge.networks.reasoning.graph.layout import MAX_COUNTED, NeuronIndices, NeuronLayout, Preset
from spikebridge.networks.reasoning.graph.worlds import Worlds


class ConnectionKind(IntEnum):
    """The role of a connection; in a preset that saturates, positive channels end on the branch, others on the soma."""

    DRIVE = 0
    GATE = 1
    CHANNEL = 2
    TALLY = 3


class WeightSize(NamedTuple):
    """A weight as multiples of the drive and of the step of a preset."""

    drives: int
    steps: int
    kind: ConnectionKind

    def weight(self, preset: Preset) -> float:
        return self.drives * preset.drive + self.steps * preset.step


DRIVE = WeightSize(1, 0, ConnectionKind.DRIVE)
CHANNEL = WeightSize(0, 1, ConnectionKind.CHANNEL)
INHIBITION = WeightSize(0, -1, ConnectionKind.CHANNEL)
TALLY = WeightSize(0, 1, ConnectionKind.TALLY)
_GATE = WeightSize(1, -1, ConnectionKind.GATE)
_SIZES = {
    "drive": DRIVE,
    "gate": _GATE,
    "channel": CHANNEL,
    "inhibition": INHIBITION,
    "veto": WeightSize(-1, 0, ConnectionKind.DRIVE),
    # above the drive, so that one or two active events do not inhibit the neuron
    "drive despite one": WeightSize(1, 1, ConnectionKind.DRIVE),
    "drive despite two": WeightSize(1, 2, ConnectionKind.DRIVE),
}

_ROWS = read_json(Path(__file__).with_suffix(".json"), "fixed connections")
FIXED = tuple((source, target, _SIZES[size]) for source, target, size in _ROWS)


@dataclass(frozen=True, eq=False)
class Connections:
    """Connections as arrays: neurons, weights, `ConnectionKind`, and whether they were written from the scene."""

    source: Int[np.ndarray, "C"]
    target: Int[np.ndarray, "C"]
    weight: Float[np.ndarray, "C"]
    kind: Int[np.ndarray, "C"]
    from_scene: Bool[np.ndarray, "C"]


class _Part(NamedTuple):
    """Connections of one size."""

    source: np.ndarray
    target: np.ndarray
    size: WeightSize
    from_scene: bool


def wire(worlds: Worlds, layout: NeuronLayout, preset: Preset) -> Connections:
    """All connections of a batch of worlds; none connects two worlds."""
    return Wiring(worlds, layout).connections(preset)


class Wiring:
    """Collects the connections of a batch of worlds, group by group. A subclass can wire another form of the graph."""

    fixed = FIXED
    # the neurons that ask for events of a kind
    requests = (
        *((IN, "ask_entering"), (OUT, "ask_leaving"), (COLLISION, "ask_colliding")),
        *((MOVE, "ask_starting"), (STOP, "ask_stopping"), (TURN, "ask_turning")),
        *((IN, "ask_coming"), (BEGIN, "ask_coming"), (MOVE, "ask_coming")),
        *((MOVE, "ask_changing"), (STOP, "ask_changing"), (TURN, "ask_changing")),
    )

    def __init__(self, worlds: Worlds, layout: NeuronLayout) -> None:
        self.worlds = worlds
        self.layout = layout
        self.indices = neuron_indices(worlds, layout)
        self.parts: list[_Part] = []

    def connections(self, preset: Preset) -> Connections:
        """All connections with the weights of a preset."""
        self.connect_fixed()
        self.connect_order()
        self.connect_repetitions()
        self.connect_counters()
        self.connect_values()
        self.connect_events()
        self.connect_sides()
        self.connect_hitters()
        self.connect_motion()
        self.connect_whole_video()

        # sizes are kept apart from neurons until here, so that one wiring serves every preset
        numbers = [len(part.source) for part in self.parts]
        return Connections(
            source=np.concatenate([part.source for part in self.parts]),
            target=np.concatenate([part.target for part in self.parts]),
            weight=np.repeat([part.size.weight(preset) for part in self.parts], numbers),
            kind=np.repeat([int(part.size.kind) for part in self.parts], numbers),
            from_scene=np.repeat([part.from_scene for part in self.parts], numbers),
        )

    def connect(self, source: np.ndarray, target: np.ndarray, size: WeightSize, from_scene: bool = False) -> None:
        """Connects neurons one to one."""
        self.parts.append(_Part(source, target, size, from_scene))

    def connect_fixed(self) -> None:
        for source, target, size in self.fixed:
            self.connect(*self._paired(source, target), size)

        for kind, values in self.layout.attributes.items():
            # a requested kind brings its values to the gate; the object decides which of them fires
            for value in values:
                self.connect(self.indices.of_worlds(f"kind_{kind}"), self.indices.of_worlds(value), _GATE)

    def connect_order(self) -> None:
        """An active event inhibits the events that it is not before (after): by rank, itself too, and by frame."""
        k, j = self.worlds.event_pairs()
        frame = self.worlds.events.frame
        event = self.indices.of_events("event")

        for group, inhibits in (
            ("event_earlier", k <= j),
            ("event_later", k >= j),
            ("event_before", frame[k] <= frame[j]),
            ("event_after", frame[k] >= frame[j]),
        ):
            self.connect(event[k[inhibits]], self.indices.of_events(group)[j[inhibits]], INHIBITION)

    def connect_repetitions(self) -> None:
        """Each event with the memory of all events of its kind and objects: they are the same answer."""
        k, j = self.worlds.event_pairs()
        kind = self.worlds.events.kind
        members = np.sort(self.worlds.events.objects, axis=1)
        # `start` and `end` have no objects, and are no answers
        alike = (kind[k] == kind[j]) & (members[k] == members[j]).all(1) & (members[k] >= 0).any(1)
        event = self.indices.of_events("event")
        self.connect(event[k[alike]], self.indices.of_events("event_memory")[j[alike]], CHANNEL)

    def connect_counters(self) -> None:
        """Thermometer code: each member excites every neuron; neuron k fires where k members are active."""
        self._connect_counter("object", self.indices.of_objects("object"), self.worlds.world_of_object)
        self._connect_counter("event", self.indices.of_events("event"), self.worlds.events.scene)

    def connect_values(self) -> None:
        """Each object with its attribute values, in both directions."""
        num_objects, num_kinds = self.worlds.values.shape
        objects = np.repeat(self.indices.of_objects("object"), num_kinds)
        world = np.repeat(self.worlds.world_of_object, num_kinds)
        first = self.layout.shared_index[self.layout.values[0]]
        values = (first + self.worlds.values.reshape(num_objects * num_kinds)) * self.indices.num_worlds + world

        self.connect(objects, values, CHANNEL, from_scene=True)
        self.connect(values, objects, CHANNEL, from_scene=True)

    def connect_events(self) -> None:
        """Each event with its kind, with the objects that take part, and with its causes."""
        events = self.worlds.events
        event = self.indices.of_events("event")
        touched = self.indices.of_events("event_touched")

        for kind, marker in ((START, "start"), (END, "end")):
            is_kind = events.kind == kind
            self.connect(self.indices.of_worlds(marker)[events.scene[is_kind]], event[is_kind], CHANNEL, True)

        # a request alone is a gate: the objects in the set decide which events are touched
        for kind, request in self.requests:
            is_kind = events.kind == kind
            self.connect(self.indices.of_worlds(request)[events.scene[is_kind]], touched[is_kind], _GATE, True)

        # an entrance has one object, a collision two
        for column in events.objects.T:
            has_object = column >= 0
            number = self.worlds.first_object[events.scene[has_object]] + column[has_object]
            self.connect(event[has_object], self.indices.of_objects("object_involved")[number], CHANNEL, True)
            self.connect(self.indices.of_objects("object")[number], touched[has_object], CHANNEL, True)

        cause = self.indices.of_events("event_cause")
        self.connect(event[self.worlds.causes.event], cause[self.worlds.causes.other], CHANNEL, True)

    def connect_sides(self) -> None:
        """Each event of one object with the sides from which it comes, or to which it leaves."""
        event = self.indices.of_events("event")
        for number, side in enumerate(SIDE_NAMES):
            at_side = self.worlds.sides[:, number]
            self.connect(self.indices.of_worlds(side)[self.worlds.events.scene[at_side]], event[at_side], CHANNEL, True)

    def connect_hitters(self) -> None:
        """Each collision with the object that struck."""
        is_struck = self.worlds.hitters >= 0
        world = self.worlds.events.scene[is_struck]
        struck = self.indices.of_events("event_struck")[is_struck]
        hitter = self.worlds.first_object[world] + self.worlds.hitters[is_struck]
        self.connect(self.indices.of_worlds("ask_hitting")[world], struck, _GATE, True)
        self.connect(self.indices.of_objects("object")[hitter], struck, CHANNEL, True)

    def connect_motion(self) -> None:
        """Each event with the objects that move or do not rest at it."""
        event = self.indices.of_events("event")
        moving = self.indices.of_objects("object_moving")
        still = self.indices.of_objects("object_still")
        pairs = self.worlds.moving
        self.connect(event[pairs.event], moving[pairs.other], CHANNEL, True)
        pairs = self.worlds.not_still
        self.connect(event[pairs.event], still[pairs.other], INHIBITION, True)

    def connect_whole_video(self) -> None:
        """The whole video with the objects that move or do not rest at any time."""
        whole = self.indices.of_worlds("whole")[self.worlds.world_of_object]
        moves = self.worlds.ever_moving
        not_still = ~self.worlds.always_still
        self.connect(whole[moves], self.indices.of_objects("object_moving")[moves], CHANNEL, True)
        self.connect(whole[not_still], self.indices.of_objects("object_still")[not_still], INHIBITION, True)

    def _paired(self, source: str, target: str) -> tuple[np.ndarray, np.ndarray]:
        """The neurons of two groups, one to one; shared neurons are repeated for each element of the other group."""
        elements = [self.indices.element_of(name) for name in (source, target)]
        repeated = next((element for element in elements if element != "shared"), "shared")
        world = {"object": self.indices.world_of_object, "event": self.indices.world_of_event}.get(repeated)

        def neurons(name: str, element: str) -> np.ndarray:
            if element == "object":
                return self.indices.of_objects(name)
            if element == "event":
                return self.indices.of_events(name)

            shared = self.indices.of_worlds(name)
            return shared if world is None else shared[world]

        return neurons(source, elements[0]), neurons(target, elements[1])

    def _connect_counter(self, name: str, members: np.ndarray, world: np.ndarray) -> None:
        # a set of three members reaches three neurons of the thermometer at most
        sizes = np.bincount(world, minlength=self.indices.num_worlds)[world].clip(max=MAX_COUNTED)
        member = np.repeat(np.arange(len(members)), sizes)
        first = self.layout.shared_index[f"{name}_count[1]"]
        counter = (first + ranks(member)) * self.indices.num_worlds + world[member]
        self.connect(members[member], counter, TALLY)


def neuron_indices(worlds: Worlds, layout: NeuronLayout) -> NeuronIndices:
    """The indices of the neurons of a batch of worlds."""
    return NeuronIndices(layout, worlds.world_of_object, worlds.events.scene, len(worlds.worlds))
