"""The neurons of a spiking concept graph by name: one neuron, one concept, so that every spike is a statement.

Shared neurons come first, then a block a group for the objects, then for the events. With many worlds the blocks lie
side by side: neuron `g` of world `w` stands at `g * num_worlds + w`, objects and events of all worlds behind each
other. The order of neurons of one world alone is the same with `num_worlds = 1`.

Sizes of weights in a spiking concept graph: how far a spike is from its threshold, and what that buys.

Three sizes make the logic. A *drive* `D` fires a neuron alone, a *gate* `D - s` does not, a *channel* `s` or `-s`
decides: AND is a gate with any channel, a filter is a hold that is dismissed (`- s`) unless a channel brings it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.neurons.lif import decay_of

STARTERS = ("all_objects", "all_events")
GATES = ("admit_objects", "dismiss_objects", "admit_events", "dismiss_events", "compare")
OBJECT_FUNCTIONS = ("store_objects", "veto", "ask_moving", "ask_still", "ask_involved")
EVENT_FUNCTIONS = (
    "store_events",
    "ask_entering",
    "ask_leaving",
    "ask_colliding",
    "ask_causes",
    "ask_before",
    "ask_after",
    "ask_first",
    "ask_first_two",
    "ask_last",
)
MARKERS = ("start", "end")
READ_OUT = ("count", "match")
WHOLE = ("ask_whole", "whole")
"""Exact presets alone: the slot for motion at any time, and the neuron that lights it."""

OBJECT_GROUPS = (
    "object",
    "object_memory",
    "object_veto",
    "object_moving",
    "object_still",
    "object_involved",
)
EVENT_GROUPS = (
    "event",
    "event_memory",
    "event_touched",
    "event_cause",
    "event_earlier",
    "event_later",
)
EVENT_GROUPS_BY_FRAME = ("event_before", "event_after")
"""Exact presets alone: before and after by frame, while `earlier` and `later` go by rank."""

MAX_COUNTED = 16
"""Rungs of a counting ladder; above that the spikes of the set itself are counted."""


@dataclass(frozen=True, eq=False)
class NeuronLayout:
    """Which neurons there are, and where they stand.

    Args:
        exact: with the neurons that the exact presets add.
        attributes: kinds of attribute and their values; a new value is a new neuron.

    Example:
        >>> layout = NeuronLayout(exact=False)
        >>> len(layout.shared), layout.num_neurons(num_objects=4, num_events=10)
        (42, 126)
        >>> layout.names(num_objects=1, num_events=1)[42:45]
        ['object[0]', 'object_memory[0]', 'object_veto[0]']
    """

    exact: bool
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=ATTRIBUTES.copy)

    def __post_init__(self) -> None:
        if len(set(self.values)) != len(self.values):
            raise ConfigError(f"attribute values have names of their own, but got {self.values}")

    @cached_property
    def values(self) -> tuple[str, ...]:
        """All attribute values, kind after kind."""
        return tuple(value for values in self.attributes.values() for value in values)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The neurons that ask for a kind of attribute."""
        return tuple(f"kind_{kind}" for kind in self.attributes)

    @cached_property
    def rungs(self) -> tuple[str, ...]:
        """The counting ladders of the exact presets."""
        names = ("object_count", "event_count")
        return tuple(f"{name}[{k}]" for name in names for k in range(1, MAX_COUNTED + 1)) if self.exact else ()

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """Neurons that stand once in a world."""
        asked = (*GATES, *OBJECT_FUNCTIONS, *EVENT_FUNCTIONS, *MARKERS, *READ_OUT)
        extra = (*WHOLE, *self.rungs) if self.exact else ()
        return (*STARTERS, *self.kinds, *self.values, *asked, *extra)

    @cached_property
    def event_groups(self) -> tuple[str, ...]:
        """Groups with a neuron an event."""
        return EVENT_GROUPS + (EVENT_GROUPS_BY_FRAME if self.exact else ())

    @cached_property
    def shared_index(self) -> dict[str, int]:
        """Place of a shared neuron among them."""
        return {name: g for g, name in enumerate(self.shared)}

    def num_neurons(self, num_objects: int, num_events: int, num_worlds: int = 1) -> int:
        """Neurons of worlds with that many objects and events in all."""
        shared = len(self.shared) * num_worlds
        return shared + len(OBJECT_GROUPS) * num_objects + len(self.event_groups) * num_events

    def names(self, num_objects: int, num_events: int) -> list[str]:
        """The neurons of one world by name, in order."""
        of_objects = [f"{group}[{i}]" for group in OBJECT_GROUPS for i in range(num_objects)]
        of_events = [f"{group}[{j}]" for group in self.event_groups for j in range(num_events)]
        return [*self.shared, *of_objects, *of_events]

    def index(self, name: str, num_objects: int, num_events: int) -> int:
        """The place of a neuron in one world.

        Raises:
            ConfigError: there is no such neuron.

        Example:
            >>> NeuronLayout(exact=False).index("object[1]", num_objects=2, num_events=3)
            43
        """
        names = self.names(num_objects, num_events)
        if name not in names:
            raise ConfigError(f"there is no neuron {name!r} in this graph; {did_you_mean(name, names)}")
        return names.index(name)


@dataclass(frozen=True, eq=False)
class NeuronIndices:
    """Where the neurons of several worlds stand; everything is an array.

    Args:
        layout: which neurons there are.
        world_of_object: `(O,)` the world of each object, rising.
        world_of_event: `(E,)` the world of each event, rising.
        num_worlds: how many.
    """

    layout: NeuronLayout
    world_of_object: np.ndarray
    world_of_event: np.ndarray
    num_worlds: int

    @property
    def num_neurons(self) -> int:
        """Neurons of all worlds."""
        return self.layout.num_neurons(len(self.world_of_object), len(self.world_of_event), self.num_worlds)

    def is_group(self, name: str) -> str:
        """`shared`, `object` or `event`: what a group has a neuron for."""
        if name in OBJECT_GROUPS:
            return "object"
        return "event" if name in self.layout.event_groups else "shared"

    def of_worlds(self, name: str) -> np.ndarray:
        """`(W,)` a shared neuron in each world."""
        return self.layout.shared_index[name] * self.num_worlds + np.arange(self.num_worlds)

    def of_objects(self, group: str) -> np.ndarray:
        """`(O,)` a group's neuron of each object."""
        num_objects = len(self.world_of_object)
        start = len(self.layout.shared) * self.num_worlds + OBJECT_GROUPS.index(group) * num_objects
        return start + np.arange(num_objects)

    def of_events(self, group: str) -> np.ndarray:
        """`(E,)` a group's neuron of each event."""
        num_objects, num_events = len(self.world_of_object), len(self.world_of_event)
        start = len(self.layout.shared) * self.num_worlds + len(OBJECT_GROUPS) * num_objects
        return start + self.layout.event_groups.index(group) * num_events + np.arange(num_events)

    @cached_property
    def world_of_neuron(self) -> np.ndarray:
        """`(N,)` the world that each neuron belongs to."""
        shared = np.tile(np.arange(self.num_worlds), len(self.layout.shared))
        of_objects = np.tile(self.world_of_object, len(OBJECT_GROUPS))
        of_events = np.tile(self.world_of_event, len(self.layout.event_groups))
        return np.concatenate([shared, of_objects, of_events])

    def of_world(self, world: int) -> np.ndarray:
        """The neurons of one world, in the order of `NeuronLayout.names`."""
        return np.flatnonzero(self.world_of_neuron == world)


@dataclass(frozen=True)
class Preset:
    """Weight sizes, threshold and leak of a graph.

    Args:
        name: what it is called.
        drive: `D`.
        step: `s`.
        v_threshold: where a neuron fires.
        saturates: positive channels end on a branch that gives `s` once their sum is `s / 2`, and nothing below.
        exact: scene rules, compiler and read-out by spikes that agree with the executor; else those of the paper.
        decay: share of the membrane (where positive) that is left after a step, 0 to 1.
        copies: neurons for each concept, each connection split among the copies, read-out by majority.

    Raises:
        ConfigError: a leak that would reach half a channel, or a number that cannot be meant.

    Example:
        >>> PRESETS["compartment"].gate, PRESETS["compartment"].margin
        (1.0, 0.5)
        >>> PRESETS["paper"].margin  # a spike needs exactly the threshold
        0.0
    """

    name: str
    drive: float
    step: float
    v_threshold: float
    saturates: bool = False
    exact: bool = True
    decay: float = 0.0
    copies: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.step < self.drive or not self.drive - self.step < self.v_threshold <= self.drive:
            raise ConfigError(
                "a preset needs 0 < step < drive and a threshold above the gate (drive - step), up to the drive, but "
                f"got drive={self.drive}, step={self.step}, v_threshold={self.v_threshold}"
            )
        if not isinstance(self.copies, int) or isinstance(self.copies, bool) or self.copies < 1:
            raise ConfigError(f"a preset needs copies as a whole number of at least 1, but got {self.copies!r}")
        if self.decay != 0 and not 0 < self.decay < self.max_decay:
            raise ConfigError(
                f"preset {self.name!r} bears a decay of 0, or below {self.max_decay:.3g} a step, or what is left of a "
                f"membrane reaches the threshold, but got {self.decay:.3g}; take a shorter tau, or 'compartment'"
            )

    @property
    def gate(self) -> float:
        """`G = D - s`: not enough alone."""
        return self.drive - self.step

    @property
    def margin(self) -> float:
        """Distance of the threshold from the nearest level on either side, as long as channels do not pile up."""
        return min(self.drive - self.v_threshold, self.v_threshold - self.gate)

    @property
    def max_decay(self) -> float:
        """Where decay becomes unbearable: a silent membrane that is charged again and again reaches the threshold.

        The highest silent charge is a gate `G`; with its remainders it is `G (1 + d + d^2 + ...) = G / (1 - d)`.
        """
        return self.margin / (self.gate + self.margin)

    def with_leak(self, tau: float, dt: float) -> "Preset":
        """The same preset with membranes that leak instead of forgetting at once.

        Args:
            tau: time constant [s].
            dt: step of the graph's clock [s].

        Example:
            >>> round(PRESETS["compartment"].with_leak(tau=0.001, dt=0.002).decay, 3)  # exp(-2)
            0.135
        """
        return replace(self, decay=float(decay_of(tau, dt)))

    def with_copies(self, copies: int) -> "Preset":
        """The same preset with several neurons for each concept."""
        return replace(self, copies=copies)


PRESETS = {
    "paper": Preset("paper", drive=100.0, step=1.0, v_threshold=100.0, exact=False),
    "scaled": Preset("scaled", drive=100.0, step=8.0, v_threshold=96.0),
    "compartment": Preset("compartment", drive=2.0, step=1.0, v_threshold=1.5, saturates=True),
}
"""`paper` reproduces the published behaviour, `scaled` has a margin of 4, `compartment` one of 0.5 at any fan-in."""


def preset_of(preset: str | Preset) -> Preset:
    """A preset by name, or the one given.

    Raises:
        ConfigError: there is none of that name.

    Example:
        >>> preset_of("scaled").v_threshold
        96.0
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; {did_you_mean(preset, PRESETS)}")
    return PRESETS[preset]
