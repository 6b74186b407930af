"""The reasoning network as a `HybridNetwork`: two designed hybrid units and a recurrent graph of memoryless neurons.

    program --delays, lookup, spikes--> stimuli --> graph --> spikes of all neurons
    scores  --mean, argmax (modulation)--------------^ weights between objects and attribute values

It is the reference of the batched graph (`spikebridge.networks.reasoning.graph.run`), without the thermometer codes of
set sizes. It holds one scene; its batch is any number of programs. `research/reasoning/twins.py` counts its cost.

| unit | W window | H kernel | F nonlinearity | Q discretizer |
|---|---|---|---|---|
| attributes to connections (modulation) | whole video | mean over visible samples | choose a value, times s | none |
| program to spikes (transmission) | running | the last six instructions | lookup of the operator table | SpikingLayer |
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.axes import Step
from spikebridge.errors import ConfigError
from spikebridge.hybrid.clock import every
from spikebridge.hybrid.network.link import Modulation, Transmission
from spikebridge.hybrid.network.network import HybridNetwork
from spikebridge.hybrid.unit.kernel import Kernel
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.graph._units import OperatorLookup, program_begins, program_unit, stimulus_sizes
from spikebridge.networks.reasoning.graph.compiler import Instructions
from spikebridge.networks.reasoning.graph.run import RunOptions
from spikebridge.networks.reasoning.graph.wiring import Connections, neuron_indices
from spikebridge.networks.reasoning.graph.worlds import World
from spikebridge.neurons.memoryless import Memoryless
from spikebridge.neurons.quantity import Modulated
from spikebridge.neurons.recurrent import Recurrent

_DT = 0.001  # step of the clock [s]; nothing depends on it


class _VisibleMeanState(NamedTuple):
    """Sums of scores and of visible samples."""

    total: Tensor


class VisibleMean(Kernel):
    """Mean of class scores over the samples at which an object is visible (the last channel).

    Example:
        >>> x = torch.tensor([[0.9, 0.1, 1.0], [0.0, 0.0, 0.0], [0.5, 0.5, 1.0]]).unsqueeze(1)
        >>> VisibleMean()(x)[0][-1].tolist()
        [[0.699..., 0.300...]]
    """

    def __init__(self) -> None:
        super().__init__(keep=True)

    def initial_state(self, x_t: Step) -> _VisibleMeanState:
        return _VisibleMeanState(torch.zeros_like(x_t))

    def step(self, x_t: Step, state: _VisibleMeanState, **modulation: Modulated) -> tuple[Tensor, _VisibleMeanState]:
        total = state.total + x_t * x_t[..., -1:]
        return total[..., :-1] / total[..., -1:].clamp(min=1), _VisibleMeanState(total)


class ChooseValues(nn.Module):
    """One-hot of the likeliest value of each kind, times `s`: the weights between an object and its values."""

    def __init__(self, attributes: Mapping[str, tuple[str, ...]], step: float) -> None:
        super().__init__()
        self.sizes = [len(values) for values in attributes.values()]
        self.step = step

    def forward(self, scores: Float[Tensor, "*O V"]) -> Float[Tensor, "*O V"]:
        parts = [nn.functional.one_hot(part.argmax(-1), part.shape[-1]) for part in scores.split(self.sizes, -1)]
        return self.step * torch.cat(parts, -1).to(scores.dtype)


def attribute_unit(attributes: Mapping[str, tuple[str, ...]], step: float) -> HybridUnit:
    """The hybrid unit from class scores and visibility `(S, O, V + 1)` to connections of objects with their values.

    Example:
        >>> unit = attribute_unit({"size": ("small", "large")}, step=1.0)
        >>> scores = torch.tensor([[0.9, 0.1, 1.0], [0.2, 0.8, 1.0], [0.3, 0.7, 1.0]]).unsqueeze(1)
        >>> unit(scores)[0][-1].tolist()  # means 0.47 and 0.53
        [[0.0, 1.0]]
    """
    return HybridUnit(None, VisibleMean(), ChooseValues(attributes, step))


class _AttributeWeights(nn.Module):
    """Puts the weights between objects and attribute values, in both directions, into the matrix of the graph."""

    objects: Tensor
    values: Tensor

    def __init__(self, objects: Tensor, values: Tensor, num_neurons: int) -> None:
        super().__init__()
        self.num_neurons = num_neurons
        self.register_buffer("objects", objects)
        self.register_buffer("values", values)

    def forward(self, weights: Float[Tensor, "B O V"]) -> Float[Tensor, "B N N"]:
        matrix = weights.new_zeros(len(weights), self.num_neurons, self.num_neurons)
        matrix[:, self.values[:, None], self.objects] = weights.transpose(1, 2)
        matrix[:, self.objects[:, None], self.values] = weights
        return matrix


class _ScaleSpikes(nn.Module):
    """Scales spikes of the shared neurons to charges; the neurons of objects and events get none."""

    sizes: Tensor

    def __init__(self, sizes: Tensor, num_neurons: int) -> None:
        super().__init__()
        self.num_neurons = num_neurons
        self.register_buffer("sizes", sizes)

    def forward(self, spikes: Float[Tensor, "B G"]) -> Float[Tensor, "B N"]:
        return nn.functional.pad(spikes * self.sizes, (0, self.num_neurons - spikes.shape[1]))


def reasoning_network(scene: Scene, options: RunOptions) -> HybridNetwork:
    """The observed world of a scene as a hybrid network.

    Its inputs are `scores` `(T, B, O, V + 1)`, class scores of each object and its visibility, and `program`
    `(T, B, 1)`, see `network_inputs`. Its output are the spikes of all neurons. Raises `ConfigError` for a preset with
    branches.
    """
    preset = options.preset
    layout = options.layout
    if preset.saturates:
        raise ConfigError(f"the hybrid network needs a preset without branches, but got {preset.name!r}")

    worlds = options.build_worlds([scene], [World(0)])
    indices = neuron_indices(worlds, layout)
    num_neurons = indices.num_neurons
    objects = torch.as_tensor(indices.of_objects("object"))
    values = torch.tensor([layout.shared_index[value] for value in layout.values])

    # one threshold for all: the neurons of the thermometer codes, which only the read-out needs, stay silent here
    threshold = torch.full((num_neurons,), preset.v_threshold)
    weight = nn.Linear(num_neurons, num_neurons, bias=False)
    weight.weight = nn.Parameter(_weights(options.connections(worlds), objects, values, num_neurons), False)
    attributes = HybridUnit(
        None,
        VisibleMean(),
        nn.Sequential(ChooseValues(layout.attributes, preset.step), _AttributeWeights(objects, values, num_neurons)),
    )

    return HybridNetwork(
        dt=_DT,
        inputs={"scores": every(_DT), "program": every(_DT)},
        parts={
            "stimuli": _ScaleSpikes(stimulus_sizes(layout, preset.drive), num_neurons),
            "graph": Recurrent(Memoryless(v_threshold=threshold), weight),
        },
        links=[
            Transmission("program", "stimuli", program_unit(options.table, layout)),
            Transmission("stimuli", "graph"),
            Modulation("scores", "graph.weight.weight", attributes, by="add"),
        ],
        outputs=["graph"],
    )


def _weights(connections: Connections, objects: Tensor, values: Tensor, num_neurons: int) -> Float[Tensor, "N N"]:
    """The weight matrix, without the weights between objects and values, which the modulation link sets."""
    matrix = torch.zeros(num_neurons, num_neurons)
    source, target = (torch.as_tensor(array) for array in (connections.source, connections.target))
    matrix.index_put_((target, source), torch.as_tensor(connections.weight, dtype=matrix.dtype), accumulate=True)
    matrix[values[:, None], objects] = 0
    matrix[objects[:, None], values] = 0

    return matrix


def network_inputs(
    scene: Scene, programs: list[Instructions], network: HybridNetwork, options: RunOptions
) -> dict[str, Tensor]:
    """Inputs of the network for a scene with known attributes: scores from the first tick, programs from the second."""
    lookup = next(module for module in network.modules() if isinstance(module, OperatorLookup))
    begins = program_begins(programs, options.table, lookup)
    program = torch.cat([torch.zeros_like(begins[:1]), begins])
    values = options.layout.values
    score = torch.tensor([[*(float(value in triple) for value in values), 1.0] for triple in scene.objects])

    return {"scores": score.expand(len(program), len(programs), *score.shape), "program": program}
