"""The neurons of the spiking graph and the sizes of its weights. One neuron stands for one concept.

The names are in `layout.json`. Shared neurons come first, then one block for each group of object neurons, then one for
each group of event neurons. In a batch of worlds the index of shared neuron `g` of world `w` is `g * num_worlds + w`;
inside a block the neurons of all worlds follow each other. With `num_worlds = 1` this is the order of a single world.
Events are earlier and later by rank, before and after by frame. The published network counts by the neuron `count`,
this one by a thermometer code.

Weights of three sizes make the logic. A *drive* `D` fires a neuron alone. A *gate* `D - s` does not. A *channel* `s` or
`-s` decides: AND is a gate with any channel; a filter is a self-connection that is inhibited (`-s`) unless a channel
compensates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int

from spikebridge._moved import moved
from spikebridge.data.io.json_text import read_json
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES

_NAMES: dict[str, list[str]] = read_json(Path(__file__).with_suffix(".json"), "names of neurons")
_OBJECT_GROUPS = _NAMES["object groups"]
MAX_COUNTED = 16  # neurons of a thermometer code of the size of a set; larger sets are counted by their own spikes


@dataclass(frozen=True, eq=False)
class NeuronLayout:
    """Names and order of the neurons of a world; each attribute value has a neuron."""

    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=ATTRIBUTES.copy)

    def __post_init__(self) -> None:
        if len(set(self.values)) != len(self.values):
            raise ConfigError(f"attribute values need different names, but got {self.values}")

    @cached_property
    def values(self) -> tuple[str, ...]:
        """All attribute values, kind after kind."""
        return tuple(value for values in self.attributes.values() for value in values)

    @cached_property
    def count_neurons(self) -> tuple[str, ...]:
        """The thermometer codes of the sizes of both sets."""
        names = ("object_count", "event_count")
        return tuple(f"{name}[{k}]" for name in names for k in range(1, MAX_COUNTED + 1))

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """Neurons that exist once in a world."""
        kinds = tuple(f"kind_{kind}" for kind in self.attributes)
        groups = ("gates", "object functions", "event functions", "markers", "read-out", "whole video")
        functions = [name for group in groups for name in _NAMES[group]]
        return (*_NAMES["starters"], *kinds, *self.values, *functions, *self.count_neurons)

    @cached_property
    def event_groups(self) -> tuple[str, ...]:
        """Groups with one neuron for each event."""
        return tuple(_NAMES["event groups"])

    @cached_property
    def shared_index(self) -> dict[str, int]:
        """The index of each shared neuron."""
        return {name: g for g, name in enumerate(self.shared)}

    def num_neurons(self, num_objects: int, num_events: int, num_worlds: int = 1) -> int:
        """Number of neurons of worlds with that many objects and events in total."""
        shared = len(self.shared) * num_worlds
        return shared + len(_OBJECT_GROUPS) * num_objects + len(self.event_groups) * num_events

    def names(self, num_objects: int, num_events: int) -> list[str]:
        """The neurons of one world by name, in order."""
        objects = [f"{group}[{i}]" for group in _OBJECT_GROUPS for i in range(num_objects)]
        events = [f"{group}[{j}]" for group in self.event_groups for j in range(num_events)]
        return [*self.shared, *objects, *events]

    def index(self, name: str, num_objects: int, num_events: int) -> int:
        """The index of a neuron in one world; raises `ConfigError` for an unknown name."""
        names = self.names(num_objects, num_events)
        # layouts of different tables differ, so a name may be of another one
        if name not in names:
            raise ConfigError(f"there is no neuron {name!r} in this graph; {did_you_mean(name, names)}")

        return names.index(name)


@dataclass(frozen=True, eq=False)
class NeuronIndices:
    """Indices of the neurons of a batch of worlds, as arrays."""

    layout: NeuronLayout
    world_of_object: Int[np.ndarray, "O"]
    world_of_event: Int[np.ndarray, "E"]
    num_worlds: int

    @property
    def num_neurons(self) -> int:
        """Neurons of all worlds."""
        return self.layout.num_neurons(len(self.world_of_object), len(self.world_of_event), self.num_worlds)

    def element_of(self, name: str) -> str:
        """`shared`, `object` or `event`: the element that has a neuron in this group."""
        if name in _OBJECT_GROUPS:
            return "object"
        return "event" if name in self.layout.event_groups else "shared"

    def of_worlds(self, name: str) -> Int[np.ndarray, "W"]:
        """A shared neuron in each world."""
        return self.layout.shared_index[name] * self.num_worlds + np.arange(self.num_worlds)

    def of_objects(self, group: str) -> Int[np.ndarray, "O"]:
        """A group's neuron of each object."""
        num_objects = len(self.world_of_object)
        start = len(self.layout.shared) * self.num_worlds + _OBJECT_GROUPS.index(group) * num_objects
        return start + np.arange(num_objects)

    def of_events(self, group: str) -> Int[np.ndarray, "E"]:
        """A group's neuron of each event."""
        num_events = len(self.world_of_event)
        start = len(self.layout.shared) * self.num_worlds + len(_OBJECT_GROUPS) * len(self.world_of_object)
        return start + self.layout.event_groups.index(group) * num_events + np.arange(num_events)

    @cached_property
    def world_of_neuron(self) -> Int[np.ndarray, "N"]:
        """The world of each neuron."""
        shared = np.tile(np.arange(self.num_worlds), len(self.layout.shared))
        objects = np.tile(self.world_of_object, len(_OBJECT_GROUPS))
        events = np.tile(self.world_of_event, len(self.layout.event_groups))
        return np.concatenate([shared, objects, events])


@dataclass(frozen=True)
class Preset:
    """Weight sizes and threshold of a graph; with `saturates`, positive channels end on a dendritic branch."""

    name: str
    drive: float
    step: float
    v_threshold: float
    saturates: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.step < self.drive or not self.drive - self.step < self.v_threshold <= self.drive:
            raise ConfigError(
                "a preset needs 0 < step < drive and a threshold above the gate (drive - step), up to the drive, but "
                f"got drive={self.drive}, step={self.step}, v_threshold={self.v_threshold}"
            )

    @property
    def gate(self) -> float:
        """`D - s`: below threshold alone."""
        return self.drive - self.step

    @property
    def margin(self) -> float:
        """Distance of the threshold from the nearest level of charge, as long as channels do not accumulate."""
        return min(self.drive - self.v_threshold, self.v_threshold - self.gate)


# `scaled` has a margin of 4 while few channels add up, `compartment` of 0.5 at any number of channels.
PRESETS = {
    "scaled": Preset("scaled", drive=100.0, step=8.0, v_threshold=96.0),
    "compartment": Preset("compartment", drive=2.0, step=1.0, v_threshold=1.5, saturates=True),
}


def preset_of(preset: str | Preset) -> Preset:
    """A preset by name, or that preset itself; raises `ConfigError` for an unknown name."""
    if isinstance(preset, Preset):
        return preset

    if preset not in PRESETS:
        # a preset of an earlier release says where it is now
        line = moved("presets", f"reasoning.{preset}")
        raise ConfigError(line or f"there is no preset {preset!r}; {did_you_mean(preset, PRESETS)}")

    return PRESETS[preset]
