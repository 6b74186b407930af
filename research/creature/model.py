"""The creature: the sensing, the modulation and the reasoning network as one graph on one stream.

    frames  --> environment (ANN) ----unit, nearest gate----> gates of both read-outs
    frames  --> objects (ANN) --> readout (gated) --> slots ------------------------+
    frames  --> what (ANN) --> templates (at the slots) ---------+                  |
    events  --> where (SNN) --unit since the frame, sum, map--> tracks (240 Hz) <---+
    tracks  --> pairs --unit, learned taps--> collisions (gated SNN) --unit, threshold--> memory
    program --> stimuli (2400 Hz) --> graph (SNN) <--held-- memory
    graph   --unit, mean over a bin--> follow <-- tracks

| network | parts | clock |
|---|---|---|
| modulation | environment; gates of readout and collisions | 10 Hz |
| sensing | what, templates, where, tracks, follow | 10 Hz, 240 Hz |
| reasoning | objects, readout, slots; pairs, collisions, memory; stimuli, graph | 10, 240, 2400 Hz |

`follow` is the object that the question names, and where it is. All objects are tracked, so that no collision is missed
while another one is followed. Source: R. Zhao et al., Nature Communications 13:3427 (2022), for each of the three.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from research.creature.memory import EVENT_SIZE, NUM_EVENTS, ConceptGraph, EventMemory, ProgramSpikes
from research.creature.perception import (
    NUM_VIEW,
    PAIRS,
    EnvironmentView,
    GatedReadout,
    NearestGate,
    ObjectFeatures,
    PairDistances,
    Slots,
    SlotTemplates,
    Tracks,
)
from research.creature.scene import BIN_RATE, BINS_A_FRAME
from spikebridge.errors import ConfigError
from spikebridge.hybrid import (
    FIR,
    Gate,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Threshold,
    Transmission,
    Tumbling,
    every,
)
from spikebridge.hybrid.network.link import Link
from spikebridge.networks.modulation import Backbone
from spikebridge.networks.reasoning.graph.layout import NeuronLayout
from spikebridge.networks.reasoning.parsing.operators import OperatorTable
from spikebridge.networks.sensing.model.backbones import WhatPathway, WherePathway
from spikebridge.networks.sensing.model.units import additive_unit
from spikebridge.neurons import LIF, Integrator, Sequential, Stateful

TICKS_A_BIN = 10
"""Steps of the concept graph in an event bin."""
DT = 1 / (BIN_RATE * TICKS_A_BIN)
"""Base step of the network [s]."""
_TAPS = 24
"""Event bins that the taps of the collision unit cover."""


@dataclass(frozen=True)
class CreatureOptions:
    """Sizes of the network."""

    num_objects: int = 16
    num_readout: int = 128
    num_features: int = 4
    num_copies: int = 6
    num_collisions: int = 64
    num_environments: int = 4
    has_events: bool = True
    is_gated: bool = True
    remembers: bool = True

    def __post_init__(self) -> None:
        if min(self.num_objects, self.num_readout, self.num_features, self.num_copies, self.num_collisions) < 2:
            raise ConfigError(f"a creature needs sizes of 2 or more, but got {self}")


class _FollowState(NamedTuple):
    """Fading sum of the activity of each object, `(B, 8)`."""

    trace: Tensor


class Follow(Stateful):
    """The object that was active for longest in the last runs of the program, and its place, `(T, B, 10)`.

    A program begins with all objects or none and then selects those that it names, so that a named one is active
    for longest. The output is the object as 0 and 1 (all 0 without a single longest one), x and y [px].
    """

    _DECAY = 0.9

    def initial_state(self, x_t: Tensor) -> _FollowState:
        return _FollowState(torch.zeros_like(x_t))

    def step(  # type: ignore[override]
        self, x_t: Tensor, state: _FollowState, *, tracks: Tensor, **modulation: Any
    ) -> tuple[Tensor, _FollowState]:
        trace = self._DECAY * state.trace + x_t
        best = (trace > trace.amax(1, keepdim=True) - 1e-3).to(x_t.dtype)
        one = best * (best.sum(1, keepdim=True) < 1.5).to(x_t.dtype)
        place = (one.unsqueeze(2) * tracks[..., :2]).sum(1)

        return torch.cat([one, place], 1), _FollowState(trace)


class _ObjectRates(nn.Module):
    """The object neurons of the spikes of all neurons."""

    def __init__(self, graph: ConceptGraph) -> None:
        super().__init__()
        self.first = graph.objects.start
        self.last = graph.objects.stop

    def forward(self, spikes: Float[Tensor, "B N"]) -> Float[Tensor, "B S"]:
        """Those of the set of objects."""
        return spikes[:, self.first : self.last]


class _ActiveNeurons(nn.Module):
    """A gate on the shape of the collision SNN's neurons, from one on their channels."""

    def forward(self, gate: Float[Tensor, "B C"]) -> Float[Tensor, "B C 1 1"]:
        """With axes for pairs."""
        return gate[:, :, None, None]


class _ObjectsOnly(nn.Module):
    """A memory without its events, for comparison."""

    def forward(self, memory: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
        """Zeros in place of the events."""
        first = NUM_EVENTS * EVENT_SIZE
        return torch.cat([torch.zeros_like(memory[:, :first]), memory[:, first:]], 1)


class Creature(HybridNetwork):
    """The three networks as one."""

    def __init__(self, options: CreatureOptions | None = None) -> None:
        options = options or CreatureOptions()
        layout = NeuronLayout()
        table = OperatorTable()
        backbone = Backbone(NUM_VIEW, (options.num_readout, options.num_collisions), hidden=(32,))

        super().__init__(
            dt=DT,
            inputs={
                "frames": every(TICKS_A_BIN * BINS_A_FRAME * DT),
                **({"events": every(TICKS_A_BIN * DT)} if options.has_events else {}),
                "program": every(DT),
            },
            parts=_parts(options, backbone, table, layout),
            links=_links(options, backbone, ConceptGraph(layout)),
            outputs=["tracks", "collisions", "memory", "graph", "follow"],
            clocks={"tracks": every(TICKS_A_BIN * DT)},
        )

        self.options = options
        self.layout = layout
        self.operators = table

    @property
    def graph(self) -> ConceptGraph:
        """The concept graph."""
        part = self.parts["graph"]
        if not isinstance(part, ConceptGraph):
            raise ConfigError(f"a creature needs a ConceptGraph as its part 'graph', but has a {type(part).__name__}")
        return part


def _parts(
    options: CreatureOptions, backbone: Backbone, table: OperatorTable, layout: NeuronLayout
) -> dict[str, nn.Module]:
    copies = options.num_copies
    hidden = options.num_collisions
    parts: dict[str, nn.Module] = {
        "environment": EnvironmentView(backbone),
        "objects": ObjectFeatures(options.num_objects),
        "readout": GatedReadout(options.num_objects, options.num_readout),
        "slots": Slots(),
        "what": WhatPathway(options.num_features),
        "templates": SlotTemplates(),
        "where": WherePathway(options.num_features),
        "tracks": Tracks(),
        "pairs": PairDistances(copies),
        "collisions": Sequential(
            fc1=nn.Conv2d(copies + 1, hidden, 1),
            lif=LIF(torch.full((hidden, 1, 1), 0.01), v_threshold=0.5, learn=("tau",)),
            gate=Gate(),
            fc2=nn.Conv2d(hidden, 1, 1),
            out=Integrator(0.008),
        ),
        "memory": EventMemory(),
        "stimuli": ProgramSpikes(table, layout),
        "graph": ConceptGraph(layout),
        "follow": Follow(),
    }
    if not options.has_events:
        del parts["where"]

    if not options.is_gated:
        del parts["environment"]

    return parts


def _links(options: CreatureOptions, backbone: Backbone, graph: ConceptGraph) -> list[Link]:
    taps = FIR(_TAPS, (options.num_copies + 1, 1, 1), keep=True)
    _start_as_differences(taps)
    links: list[Link] = [
        Transmission("frames", "objects"),
        Transmission("objects", "readout"),
        Transmission("readout", "slots"),
        Transmission("frames", "what", HybridUnit(nonlinearity=Luminance())),
        Transmission("what", "templates"),
        Transmission("slots", "templates"),
        Transmission("slots", "tracks", held=True, into="slots"),
        Transmission("templates", "tracks", held=True, into="template"),
        Transmission("tracks", "pairs"),
        Transmission("pairs", "collisions", HybridUnit(None, taps, nn.Identity()), name="distances"),
        Transmission(
            "collisions", "memory", HybridUnit(discretizer=Threshold(torch.zeros(1, len(PAIRS), 1))), name="spikes"
        ),
        Transmission("tracks", "memory", into="tracks"),
        Transmission("slots", "memory", held=True, into="slots"),
        Transmission("program", "stimuli"),
        Transmission("stimuli", "graph"),
        Transmission(
            "memory",
            "graph",
            None if options.remembers else HybridUnit(nonlinearity=_ObjectsOnly()),
            held=True,
            into="memory",
        ),
        Transmission("graph", "follow", HybridUnit(Tumbling(TICKS_A_BIN), Mean(), _ObjectRates(graph)), held=True),
        Transmission("tracks", "follow", into="tracks"),
    ]
    if options.has_events:
        unit = additive_unit("learned", options.num_features)
        links += [Transmission("events", "where"), Transmission("where", "tracks", unit, into="change", name="unit")]

    if options.is_gated:
        of_readout, of_collisions = (
            nn.Sequential(head, NearestGate(torch.ones(options.num_environments, number)))
            for head, number in zip(backbone.heads, backbone.num_gated, strict=True)
        )

        opens = nn.Sequential(of_collisions, _ActiveNeurons())
        links += [
            Transmission("frames", "environment"),
            Transmission("environment", "readout", HybridUnit(nonlinearity=of_readout), into="gate", name="gate1"),
            Modulation("environment", "collisions.gate.gate", HybridUnit(nonlinearity=opens), name="gate2"),
        ]

    return links


def _start_as_differences(taps: FIR) -> None:
    """Taps of the present, of means, and of changes over 3, 6 and 12 bins, in turn."""
    with torch.no_grad():
        taps.weight.zero_()
        taps.weight[0] = 1.0
        for copy in range(1, taps.weight.shape[1] - 1):
            width = (3, 6, 12)[copy % 3]
            taps.weight[:width, copy] = 1 / width
            if copy > 1:
                taps.weight[width : 2 * width, copy] = -1 / width
                taps.weight[:, copy] *= 4.0


class Luminance(nn.Module):
    """The grey levels of a frame in colour, 0 to 255."""

    def forward(self, frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        """The mean of the three channels."""
        return 255 * frames.mean(1, keepdim=True)
