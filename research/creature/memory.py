"""The memory of events, and the spiking concept graph whose connections it writes.

Collisions and exits take the next free event slot of the memory as they happen. The memory is what the reasoning
network calls the connections written from the scene: here they arrive as a signal, so that the graph runs on a stream.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from research.creature.perception import NUM_SLOTS, PAIRS
from spikebridge.networks.reasoning.data.scene import COLORS, MATERIALS, SHAPES, Scene
from spikebridge.networks.reasoning.graph._units import OperatorLookup, stimulus_sizes
from spikebridge.networks.reasoning.graph.layout import MAX_COUNTED, NeuronIndices, NeuronLayout, Preset
from spikebridge.networks.reasoning.graph.wiring import wire
from spikebridge.networks.reasoning.graph.worlds import World, build_worlds
from spikebridge.networks.reasoning.parsing.operators import OperatorTable
from spikebridge.networks.reasoning.simulation.video import HEIGHT, WIDTH
from spikebridge.neurons import Stateful

NUM_EVENTS = 12
"""Event slots of the memory."""
EVENT_SIZE = 2 + NUM_SLOTS
"""Of an event: collision, exit, and the objects that take part."""
NUM_VALUES = len(COLORS) + len(MATERIALS) + len(SHAPES)
_OBJECT_SIZE = 1 + NUM_VALUES
MEMORY_SIZE = NUM_EVENTS * EVENT_SIZE + NUM_SLOTS * _OBJECT_SIZE
"""Numbers of the memory: events, then of each object whether it is known, and its values."""
_PAST = 20  # bins for which both objects of a collision were in view
_PAUSE = 96  # bins until one pair may collide again
# more channels than in the presets, since all event slots may be active
_PRESET = Preset("creature", drive=100.0, step=4.0, v_threshold=98.0)


class _MemoryState(NamedTuple):
    """Events so far, how many, the bins until each pair may collide again, and which objects were in view or left.

    `since` is the bins for which each object has been in view.
    """

    events: Tensor
    number: Tensor
    pause: Tensor
    since: Tensor
    inside: Tensor
    gone: Tensor


class EventMemory(Stateful):
    """Writes collisions and exits into event slots, in the order of time, and the values of objects.

    Its first input is the spike of each pair, `(T, B, 1, 28, 1)`. Events after the last slot are dropped.
    """

    rows: Tensor
    colors: Tensor

    def __init__(self) -> None:
        super().__init__()
        who = nn.functional.one_hot(PAIRS, NUM_SLOTS).sum(1)
        collisions = torch.cat([torch.tensor([[1, 0]]).expand(len(PAIRS), 2), who], 1)
        exits = torch.cat([torch.tensor([[0, 1]]).expand(NUM_SLOTS, 2), torch.eye(NUM_SLOTS)], 1)

        # the event of each pair, then of each exit
        self.register_buffer("rows", torch.cat([collisions, exits]).float())
        self.register_buffer("colors", torch.eye(NUM_SLOTS))

    def initial_state(self, x_t: Tensor) -> _MemoryState:
        batch = x_t.shape[0]
        return _MemoryState(
            x_t.new_zeros(batch, NUM_EVENTS, EVENT_SIZE),
            x_t.new_zeros(batch, 1),
            x_t.new_zeros(batch, len(PAIRS)),
            x_t.new_zeros(batch, NUM_SLOTS),
            x_t.new_zeros(batch, NUM_SLOTS),
            x_t.new_zeros(batch, NUM_SLOTS),
        )

    def step(  # type: ignore[override]
        self, x_t: Tensor, state: _MemoryState, *, tracks: Tensor, slots: Tensor, **modulation: Any
    ) -> tuple[Tensor, _MemoryState]:
        known = slots[..., 3]
        x = tracks[..., 0]
        y = tracks[..., 1]
        in_view = ((x > 0) & (x < WIDTH) & (y > 0) & (y < HEIGHT)).to(x_t.dtype) * tracks[..., 2]

        # it has left once it was inside, is near the border, and is seen no more
        border = torch.minimum(torch.minimum(x, WIDTH - x), torch.minimum(y, HEIGHT - y))
        left = state.inside * (1 - in_view) * (border < _NEAR_BORDER).to(x_t.dtype) * (1 - state.gone) * known
        since = (state.since + 1) * tracks[..., 2]

        # the taps need a past, and what has left touches nothing
        ready = known * (1 - state.gone) * (since > _PAST).to(x_t.dtype)
        both = ready[:, PAIRS[:, 0]] * ready[:, PAIRS[:, 1]]
        hits = x_t[:, 0, :, 0] * (state.pause < 0.5).to(x_t.dtype) * both
        pause = torch.where(hits > 0.5, torch.full_like(hits, _PAUSE), (state.pause - 1).clamp(min=0))
        happened = torch.cat([hits, left], 1)
        place = state.number + happened.cumsum(1) - 1
        slot = torch.arange(NUM_EVENTS, dtype=x_t.dtype, device=x_t.device)
        put = happened.unsqueeze(2) * (place.unsqueeze(2) == slot).to(x_t.dtype)
        events = state.events + put.transpose(1, 2) @ self.rows
        number = state.number + happened.sum(1, keepdim=True)
        gone = (state.gone + left).clamp(max=1)
        state = _MemoryState(events, number, pause, since, torch.maximum(state.inside, in_view) * (1 - gone), gone)
        sizes = (len(MATERIALS), len(SHAPES))
        best = [
            nn.functional.one_hot(part.argmax(-1), size).to(x_t.dtype)
            for part, size in zip(slots[..., 4:].split(sizes, -1), sizes, strict=True)
        ]

        values = torch.cat([self.colors.expand(x_t.shape[0], -1, -1), *best], -1)
        objects = torch.cat([known.unsqueeze(2), values * known.unsqueeze(2)], 2)

        return torch.cat([events.flatten(1), objects.flatten(1)], 1), state


_NEAR_BORDER = 5.0  # px


class _ProgramState(NamedTuple):
    """The numbers of the instructions begun at the last steps, newest first, `(B, L - 1)`."""

    last: Tensor


class ProgramSpikes(Stateful):
    """A program to spike trains: the numbers of instructions, as they begin, to the stimuli of the shared neurons.

    Its input `(T, B, 2)` is the number of the instruction that begins at a step, else 0, and a flag at the first step
    of a run. Its output `(T, B, G + 1)` is the charge of each shared neuron, and that flag.
    """

    table: Tensor
    sizes: Tensor

    def __init__(self, table: OperatorTable, layout: NeuronLayout) -> None:
        super().__init__()
        lookup = OperatorLookup(table, layout)
        self.length = lookup.length
        self.register_buffer("table", lookup.rows)
        self.register_buffer("sizes", stimulus_sizes(layout, _PRESET.drive))

    def initial_state(self, x_t: Tensor) -> _ProgramState:
        return _ProgramState(x_t.new_zeros(x_t.shape[0], self.length - 1))

    def step(self, x_t: Tensor, state: _ProgramState, **modulation: Any) -> tuple[Tensor, _ProgramState]:
        begins = x_t[:, 1:]
        seen = torch.cat([x_t[:, :1], state.last * (1 - begins)], 1)
        at = seen.long() * self.length + torch.arange(self.length, device=x_t.device)
        charge = self.table[at].sum(1) * self.sizes

        return torch.cat([charge, begins], 1), _ProgramState(seen[:, :-1])


class _SpikesState(NamedTuple):
    """The spikes of the last step, `(B, N)`."""

    spikes: Tensor


class ConceptGraph(Stateful):
    """The spiking concept graph of the reasoning network, with the connections of the scene from a memory.

    A spike acts one step later: `v = W z + W_memory z + x`, `z = (v >= v_threshold)`. A run begins from rest.
    """

    weight: Tensor
    v_threshold: Tensor

    def __init__(self, layout: NeuronLayout) -> None:
        super().__init__()
        self.layout = layout
        self.num_shared = len(layout.shared)
        threshold = torch.full((self.indices.num_neurons,), _PRESET.v_threshold)

        for name in ("object_count", "event_count"):
            # a thermometer code: neuron k fires where k members are active
            first = layout.shared_index[f"{name}[1]"]
            threshold[first : first + MAX_COUNTED] = _PRESET.step * (torch.arange(MAX_COUNTED) + 0.5)

        self.register_buffer("v_threshold", threshold)
        weight = torch.zeros(self.indices.num_neurons, self.indices.num_neurons)
        source, target, value = _fixed_connections(layout)
        weight.index_put_((target, source), value, accumulate=True)
        self.register_buffer("weight", weight)

    @cached_property
    def indices(self) -> NeuronIndices:
        """Numbers of the neurons."""
        return NeuronIndices(
            self.layout, np.zeros(NUM_SLOTS, dtype=np.int64), np.zeros(NUM_EVENTS, dtype=np.int64), num_worlds=1
        )

    @cached_property
    def _first(self) -> dict[str, int]:
        """The first neuron of each group that the memory writes to, and of the attribute values."""
        groups = {name: int(self.indices.of_objects(name)[0]) for name in ("object", "object_involved")}
        groups |= {name: int(self.indices.of_events(name)[0]) for name in ("event", "event_touched")}
        return {"values": self.layout.shared_index[self.layout.values[0]], **groups}

    @property
    def objects(self) -> slice:
        """The neurons of the set of objects."""
        return slice(self._first["object"], self._first["object"] + NUM_SLOTS)

    def initial_state(self, x_t: Tensor) -> _SpikesState:
        return _SpikesState(x_t.new_zeros(x_t.shape[0], self.indices.num_neurons))

    def step(  # type: ignore[override]
        self, x_t: Tensor, state: _SpikesState, *, memory: Tensor, **modulation: Any
    ) -> tuple[Tensor, _SpikesState]:
        z = state.spikes * (1 - x_t[:, -1:])
        outside = self.weight.shape[0] - self.num_shared
        v = z @ self.weight.T + nn.functional.pad(x_t[:, :-1], (0, outside)) + self._written(z, memory)
        spikes = (v >= self.v_threshold).to(x_t.dtype)

        return spikes, _SpikesState(spikes)

    def _written(self, z: Tensor, memory: Tensor) -> Tensor:
        """The charge through the connections that the scene writes."""
        events, objects = memory.split([NUM_EVENTS * EVENT_SIZE, NUM_SLOTS * _OBJECT_SIZE], 1)
        events = events.unflatten(1, (NUM_EVENTS, -1))
        objects = objects.unflatten(1, (NUM_SLOTS, -1))
        known = objects[..., 0]
        values = objects[..., 1:]
        kinds = events[..., :2]
        who = events[..., 2:]
        at = self._first
        shared = self.layout.shared_index
        s = _PRESET.step
        gate = _PRESET.gate
        drive = _PRESET.drive
        named = z[:, at["values"] : at["values"] + NUM_VALUES]
        members = z[:, at["object"] : at["object"] + NUM_SLOTS]
        happened = z[:, at["event"] : at["event"] + NUM_EVENTS]
        asked = z[:, [shared["ask_colliding"], shared["ask_leaving"]]]
        all_objects = z[:, shared["all_objects"], None]
        all_events = z[:, shared["all_events"], None]

        charges = {
            "values": s * _sums(members, values),
            "object": s * _sums(named, values.transpose(1, 2)) - drive * all_objects * (1 - known),
            "object_involved": s * _sums(happened, who),
            # what has not happened is not among all events
            "event": -drive * all_events * (1 - kinds.sum(2)),
            "event_touched": s * _sums(members, who.transpose(1, 2)) + gate * _sums(asked, kinds.transpose(1, 2)),
        }

        parts = list[Tensor]()
        end = 0
        for name in sorted(charges, key=lambda name: at[name]):
            parts += [torch.zeros_like(z[:, end : at[name]]), charges[name]]
            end = at[name] + charges[name].shape[1]

        return torch.cat([*parts, torch.zeros_like(z[:, end:])], 1)


def _sums(spikes: Float[Tensor, "B M"], weights: Float[Tensor, "B M N"]) -> Float[Tensor, "B N"]:
    """The spikes through weights of each sample."""
    return (spikes.unsqueeze(1) @ weights).squeeze(1)


def _fixed_connections(layout: NeuronLayout) -> tuple[Tensor, Tensor, Tensor]:
    """Source, target and weight of the connections that no scene writes, for the slots of the memory."""
    triples = [(color, MATERIALS[0], SHAPES[0]) for color in COLORS]
    # a scene of as many events as slots: the start, collisions of different pairs, the end
    rows = [[frame + 1, *pair] for frame, pair in enumerate(PAIRS[: NUM_EVENTS - 2].tolist())]
    scene = Scene.from_lists(0, triples, [[0, []]], rows)
    worlds = build_worlds([scene], [World(0)], layout.attributes)
    connections = wire(worlds, layout, _PRESET)
    fixed = ~connections.from_scene

    return (
        torch.from_numpy(connections.source[fixed]),
        torch.from_numpy(connections.target[fixed]),
        torch.from_numpy(connections.weight[fixed]).float(),
    )
