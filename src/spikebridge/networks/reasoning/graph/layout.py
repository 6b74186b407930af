"""The neurons of the spiking concept graph and the sizes of its weights: one neuron stands for one concept.

Shared neurons come first, then one block per group of object neurons, then of event neurons. With several worlds the
index of shared neuron `g` of world `w` is `g * num_worlds + w`; the object and event neurons of all worlds follow each
other. With `num_worlds = 1` this is the order of a single world.

Three sizes of weights make the logic. A *drive* `D` fires a neuron alone. A *gate* `D - s` does not. A *channel* `s` or
`-s` decides: AND is a gate with any channel; a filter is a self-connection that is inhibited (`-s`) unless a channel
compensates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.neurons.dt import decay_of

_STARTERS = ("all_objects", "all_events")
_GATES = ("admit_objects", "dismiss_objects", "admit_events", "dismiss_events", "compare")
_OBJECT_FUNCTIONS = ("store_objects", "veto", "ask_moving", "ask_still", "ask_involved")
_EVENT_FUNCTIONS = (
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
_MARKERS = ("start", "end")
_READ_OUT = ("count", "match")
_WHOLE = ("ask_whole", "whole")
"""Exact presets only: the request for motion at any time, and the neuron that holds it."""

_OBJECT_GROUPS = (
    "object",
    "object_memory",
    "object_veto",
    "object_moving",
    "object_still",
    "object_involved",
)
_EVENT_GROUPS = (
    "event",
    "event_memory",
    "event_touched",
    "event_cause",
    "event_earlier",
    "event_later",
)
_EVENT_GROUPS_BY_FRAME = ("event_before", "event_after")
"""Exact presets only: before and after by frame, while `earlier` and `later` go by rank."""

MAX_COUNTED = 16
"""Neurons of a thermometer code of the size of a set; larger sets are counted by their own spikes."""


@dataclass(frozen=True, eq=False)
class NeuronLayout:
    """The neurons of a world, by name and order.

    Args:
        exact: include the neurons that the exact presets add.
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
        """The neurons that request a kind of attribute."""
        return tuple(f"kind_{kind}" for kind in self.attributes)

    @cached_property
    def count_neurons(self) -> tuple[str, ...]:
        """The thermometer codes of the exact presets."""
        names = ("object_count", "event_count")
        return tuple(f"{name}[{k}]" for name in names for k in range(1, MAX_COUNTED + 1)) if self.exact else ()

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """Neurons that exist once in a world."""
        asked = (*_GATES, *_OBJECT_FUNCTIONS, *_EVENT_FUNCTIONS, *_MARKERS, *_READ_OUT)
        extra = (*_WHOLE, *self.count_neurons) if self.exact else ()
        return (*_STARTERS, *self.kinds, *self.values, *asked, *extra)

    @cached_property
    def event_groups(self) -> tuple[str, ...]:
        """Groups with one neuron for each event."""
        return _EVENT_GROUPS + (_EVENT_GROUPS_BY_FRAME if self.exact else ())

    @cached_property
    def shared_index(self) -> dict[str, int]:
        """Index of each shared neuron."""
        return {name: g for g, name in enumerate(self.shared)}

    def num_neurons(self, num_objects: int, num_events: int, num_worlds: int = 1) -> int:
        """Number of neurons of worlds with that many objects and events in total."""
        shared = len(self.shared) * num_worlds
        return shared + len(_OBJECT_GROUPS) * num_objects + len(self.event_groups) * num_events

    def names(self, num_objects: int, num_events: int) -> list[str]:
        """The neurons of one world by name, in order."""
        of_objects = [f"{group}[{i}]" for group in _OBJECT_GROUPS for i in range(num_objects)]
        of_events = [f"{group}[{j}]" for group in self.event_groups for j in range(num_events)]
        return [*self.shared, *of_objects, *of_events]

    def index(self, name: str, num_objects: int, num_events: int) -> int:
        """The index of a neuron in one world.

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
    """Indices of the neurons of several worlds, as arrays.

    Args:
        layout: neurons of a world.
        world_of_object: `(O,)` the world of each object, ascending.
        world_of_event: `(E,)` the world of each event, ascending.
        num_worlds: number of worlds.
    """

    layout: NeuronLayout
    world_of_object: np.ndarray
    world_of_event: np.ndarray
    num_worlds: int

    @property
    def num_neurons(self) -> int:
        """Neurons of all worlds."""
        return self.layout.num_neurons(len(self.world_of_object), len(self.world_of_event), self.num_worlds)

    def elements_of(self, name: str) -> str:
        """`shared`, `object` or `event`: the elements that have a neuron in this group."""
        if name in _OBJECT_GROUPS:
            return "object"
        return "event" if name in self.layout.event_groups else "shared"

    def of_worlds(self, name: str) -> np.ndarray:
        """`(W,)` a shared neuron in each world."""
        return self.layout.shared_index[name] * self.num_worlds + np.arange(self.num_worlds)

    def of_objects(self, group: str) -> np.ndarray:
        """`(O,)` a group's neuron of each object."""
        num_objects = len(self.world_of_object)
        start = len(self.layout.shared) * self.num_worlds + _OBJECT_GROUPS.index(group) * num_objects
        return start + np.arange(num_objects)

    def of_events(self, group: str) -> np.ndarray:
        """`(E,)` a group's neuron of each event."""
        num_objects = len(self.world_of_object)
        num_events = len(self.world_of_event)
        start = len(self.layout.shared) * self.num_worlds + len(_OBJECT_GROUPS) * num_objects
        return start + self.layout.event_groups.index(group) * num_events + np.arange(num_events)

    @cached_property
    def world_of_neuron(self) -> np.ndarray:
        """`(N,)` the world that each neuron belongs to."""
        shared = np.tile(np.arange(self.num_worlds), len(self.layout.shared))
        of_objects = np.tile(self.world_of_object, len(_OBJECT_GROUPS))
        of_events = np.tile(self.world_of_event, len(self.layout.event_groups))
        return np.concatenate([shared, of_objects, of_events])

    def of_world(self, world: int) -> np.ndarray:
        """The neurons of one world, in the order of `NeuronLayout.names`."""
        return np.flatnonzero(self.world_of_neuron == world)


@dataclass(frozen=True)
class Preset:
    """Weight sizes, threshold and leak of a graph.

    Args:
        name: of the preset.
        drive: `D`.
        step: `s`.
        v_threshold: firing threshold.
        saturates: positive channels end on a dendritic branch that gives `s` once their sum is `s / 2`, and 0 below.
        exact: scene rules, compiler and read-out by spikes that agree with the executor; else those of the paper.
        decay: share of the positive membrane potential that remains after a step, 0 to 1.
        copies: neurons for each concept; connections are split among them, and the majority is read out.

    Raises:
        ConfigError: a leak too slow for the margin, or a number out of range.

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
                f"preset {self.name!r} needs a decay of 0 or below {self.max_decay:.3g} a step, since above it silent "
                f"membranes reach the threshold, but got {self.decay:.3g}; take a shorter tau, or 'compartment'"
            )

    @property
    def gate(self) -> float:
        """`G = D - s`: below threshold alone."""
        return self.drive - self.step

    @property
    def margin(self) -> float:
        """Distance of the threshold from the nearest level of charge, as long as channels do not accumulate."""
        return min(self.drive - self.v_threshold, self.v_threshold - self.gate)

    @property
    def max_decay(self) -> float:
        """Upper limit of the decay: above it a membrane with a subthreshold charge at every step reaches threshold.

        The highest subthreshold charge is a gate `G`; with its remainders it is `G (1 + d + d^2 + ...) = G / (1 - d)`.
        """
        return self.margin / (self.gate + self.margin)

    def with_leak(self, tau: float, dt: float) -> "Preset":
        """The same preset with leaky instead of memoryless membranes.

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
"""`paper` reproduces the published behaviour, `scaled` has a margin of 4, `compartment` of 0.5 at any fan-in."""


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
