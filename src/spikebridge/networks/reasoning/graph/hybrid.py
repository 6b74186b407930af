"""The reasoning network as a `HybridNetwork`: two hybrid units and a recurrent graph of memoryless neurons.

    program --delays, lookup, spikes--> stimuli --> graph --> spikes of all neurons
    scores  --mean, argmax (modulation)--------------^ weights between objects and attribute values

This is the reference of the batched engine (`run.py`). It holds one scene; its batch is any number of programs.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid.clock import every
from spikebridge.hybrid.network.link import Modulation, Transmission
from spikebridge.hybrid.network.network import HybridNetwork
from spikebridge.hybrid.unit.discretizer import SpikingLayer
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.graph.compiler import Instructions
from spikebridge.networks.reasoning.graph.layout import NeuronLayout, Preset, preset_of
from spikebridge.networks.reasoning.graph.units import (
    ChooseValues,
    Delays,
    OperatorLookup,
    VisibleMean,
    program_begins,
    stimulus_sizes,
)
from spikebridge.networks.reasoning.graph.wiring import neuron_indices, wire
from spikebridge.networks.reasoning.graph.worlds import World, build_worlds
from spikebridge.networks.reasoning.parsing.operators import OperatorTable
from spikebridge.neurons.memoryless import Memoryless
from spikebridge.neurons.recurrent import Recurrent


class _AttributeWeights(nn.Module):
    """Puts the weights between objects and attribute values into the weight matrix of the graph.

    Args:
        objects: `(O,)` neurons of the objects.
        values: `(V,)` neurons of the values.
        num_neurons: of the graph.
    """

    objects: Tensor
    values: Tensor

    def __init__(self, objects: Tensor, values: Tensor, num_neurons: int) -> None:
        super().__init__()
        self.num_neurons = num_neurons
        self.register_buffer("objects", objects)
        self.register_buffer("values", values)

    def forward(self, joined: Float[Tensor, "B O V"]) -> Float[Tensor, "B N N"]:
        """Both directions: from objects to their values, and from values to their objects."""
        weights = joined.new_zeros(len(joined), self.num_neurons, self.num_neurons)
        weights[:, self.values[:, None], self.objects] = joined.transpose(1, 2)
        weights[:, self.objects[:, None], self.values] = joined
        return weights


class _ScaleSpikes(nn.Module):
    """Scales spikes of the shared neurons to charges of all neurons: the drive, twice the drive for attribute values.

    Args:
        sizes: `(G,)`.
        num_neurons: of the graph.
    """

    sizes: Tensor

    def __init__(self, sizes: Tensor, num_neurons: int) -> None:
        super().__init__()
        self.num_neurons = num_neurons
        self.register_buffer("sizes", sizes)

    def forward(self, spikes: Float[Tensor, "B G"]) -> Float[Tensor, "B N"]:
        """Zero for the neurons of objects and events."""
        return nn.functional.pad(spikes * self.sizes, (0, self.num_neurons - spikes.shape[1]))


def reasoning_network(
    scene: Scene, preset: str | Preset = "scaled", table: OperatorTable | None = None
) -> HybridNetwork:
    """The observed world of a scene as a hybrid network.

    Its inputs are `scores` `(T, B, O, V + 1)`, class scores of each object and whether it is visible, and `program`
    `(T, B, 1)`, see `network_inputs`. Its output are the spikes of all neurons.

    Args:
        scene: the attributes of its objects come from the input `scores`.
        preset: one without saturation: `paper` or `scaled`.
        table: operators and attributes.

    Raises:
        ConfigError: a preset with branches, copies or a leak.
    """
    chosen = preset_of(preset)
    table = table if table is not None else OperatorTable()
    if chosen.saturates or chosen.copies > 1 or chosen.decay > 0:
        raise ConfigError(
            f"the hybrid network needs preset 'paper' or 'scaled' without copies or leak, but got {chosen.name!r}"
        )

    layout = NeuronLayout(chosen.exact, table.attributes)
    worlds = build_worlds([scene], [World(0)], chosen.exact, table.attributes)
    indices = neuron_indices(worlds, layout)
    connections = wire(worlds, layout, chosen)
    weight = nn.Linear(indices.num_neurons, indices.num_neurons, bias=False)
    objects = torch.as_tensor(indices.of_objects("object"))
    values = torch.tensor([layout.shared_index[value] for value in layout.values])
    matrix = torch.zeros_like(weight.weight)
    source, target = (torch.as_tensor(array) for array in (connections.source, connections.target))
    matrix.index_put_((target, source), torch.as_tensor(connections.weight, dtype=matrix.dtype), accumulate=True)

    # the modulation link sets these weights
    matrix[values[:, None], objects] = 0
    matrix[objects[:, None], values] = 0
    weight.weight = nn.Parameter(matrix, requires_grad=False)
    writes = nn.Sequential(
        ChooseValues(table.attributes, chosen.step), _AttributeWeights(objects, values, indices.num_neurons)
    )
    lookup = OperatorLookup(table, layout)
    threshold = torch.full((indices.num_neurons,), chosen.v_threshold)

    return HybridNetwork(
        dt=0.001,
        inputs={"scores": every(0.001), "program": every(0.001)},
        parts={
            "stimuli": _ScaleSpikes(stimulus_sizes(layout, chosen.drive), indices.num_neurons),
            "graph": Recurrent(Memoryless(v_threshold=threshold), weight),
        },
        links=[
            Transmission(
                "program",
                "stimuli",
                HybridUnit(None, Delays(lookup.length), lookup, SpikingLayer(Memoryless(v_threshold=1.0))),
            ),
            Transmission("stimuli", "graph"),
            Modulation("scores", "graph.weight.weight", HybridUnit(None, VisibleMean(), writes), by="add"),
        ],
        outputs=["graph"],
    )


def network_inputs(
    scene: Scene, programs: list[Instructions], network: HybridNetwork, table: OperatorTable | None = None
) -> dict[str, Tensor]:
    """Inputs of the network for a scene with known attributes: scores from the first tick, programs from the second.

    Args:
        scene: that the network was built for.
        programs: one for each sample of the batch.
        network: from `reasoning_network`.
        table: operators and attributes.
    """
    table = table if table is not None else OperatorTable()
    lookup = next(module for module in network.modules() if isinstance(module, OperatorLookup))
    begins = program_begins(programs, table, lookup)
    program = torch.cat([torch.zeros_like(begins[:1]), begins])
    values = [value for values in table.attributes.values() for value in values]
    seen = torch.tensor([[*(float(value in triple) for value in values), 1.0] for triple in scene.objects])
    scores = seen.expand(len(program), len(programs), *seen.shape)

    return {"scores": scores, "program": program}
