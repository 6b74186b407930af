"""The dynamics of the spiking graph: `v[t] = x[t] + W z[t-1]`, `z[t] = v[t] >= threshold`.

R. Zhao et al., Nature Communications 13:3427 (2022), the reasoning network. Each neuron is a memoryless logic unit, as
`spikebridge.neurons.Memoryless`. Working memory is a self-connection that is strong enough to keep a neuron firing. In
a preset that saturates, positive channels end on a dendritic branch, which gives `s` once their sum reaches `s / 2`.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spikebridge.networks.reasoning.graph.graph_sums import Path, Weights, graph_sums
from spikebridge.networks.reasoning.graph.layout import MAX_COUNTED, NeuronIndices, Preset
from spikebridge.networks.reasoning.graph.wiring import ConnectionKind, Connections


class StimulusSpikes(NamedTuple):
    """Spikes from outside at one step, as a list. No neuron of a column is listed twice."""

    neuron: Int[Tensor, "S"]
    column: Int[Tensor, "S"]
    charge: Float[Tensor, "S"]

    def spread(self, num_columns: int) -> "StimulusSpikes":
        """The stimulus of a single column in several columns."""
        column = torch.arange(num_columns, device=self.neuron.device).repeat_interleave(len(self.neuron))
        return StimulusSpikes(self.neuron.repeat(num_columns), column, self.charge.repeat(num_columns))


class GraphState(NamedTuple):
    """Membranes and spikes of all neurons (of all worlds) and columns after a step."""

    v: Float[Tensor, "N Q"]
    spikes: Float[Tensor, "N Q"]


class SpikingGraph:
    """The graph of a batch of worlds; `path` is that of `spikebridge.networks.reasoning.graph.graph_sums`."""

    def __init__(
        self,
        connections: Connections,
        indices: NeuronIndices,
        preset: Preset,
        path: Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.indices = indices
        self.preset = preset
        self.device = torch.device(device)
        self.num_connections = len(connections.source)
        self.v_threshold = self._thresholds().to(self.device)

        # in a preset that saturates, positive channels add up on the branch and not on the soma
        on_branch = (connections.kind == ConnectionKind.CHANNEL) & (connections.weight > 0) & preset.saturates
        self._soma = self._sums(connections, ~on_branch, path)
        self._branch = self._sums(connections, on_branch, path) if preset.saturates else None

    def run(
        self,
        stimuli: Sequence[StimulusSpikes],
        num_columns: int,
        state: GraphState | None = None,
        silenced: Bool[Tensor, "N Q"] | None = None,
    ) -> Iterator[GraphState]:
        """The state after every step, from rest or from a state; `silenced` neurons never fire."""
        zeros = self.v_threshold.new_zeros(len(self.v_threshold), num_columns)
        v, spikes = (zeros, zeros) if state is None else state

        # expanded to the shape of the membranes: the comparison is twice as fast
        threshold = self.v_threshold[:, None].expand_as(v).contiguous()
        not_silenced = None if silenced is None else (~silenced).float()

        for stimulus in stimuli:
            v = self.charge(stimulus, v, spikes)
            spikes = self.fire(v, threshold)
            if not_silenced is not None:
                spikes *= not_silenced

            yield GraphState(v, spikes)

    def charge(self, stimulus: StimulusSpikes, v: Tensor, spikes: Tensor) -> Float[Tensor, "N Q"]:
        """The membranes of a step from its stimulus and from the state before."""
        charge = self.connection_sums(spikes)

        # indexed addition is exact since a stimulus names each neuron of a column once
        charge.view(-1)[stimulus.neuron * charge.shape[1] + stimulus.column] += stimulus.charge

        return charge

    def fire(self, v: Tensor, threshold: Tensor) -> Float[Tensor, "N Q"]:
        """A spike where the membrane reaches the threshold."""
        return (v >= threshold).to(v.dtype)

    def connection_sums(self, spikes: Float[Tensor, "N Q"]) -> Float[Tensor, "N Q"]:
        """The charge that spikes bring through the connections."""
        charge = self._soma(spikes)
        if self._branch is not None:
            charge.add_(self._branch(spikes) >= self.preset.step / 2, alpha=self.preset.step)

        return charge

    def threshold_distance(self, v: Float[Tensor, "N Q"]) -> Float[Tensor, "N Q"]:
        """Distance of each membrane from its threshold, in steps `s`."""
        return ((v - self.v_threshold[:, None]) / self.preset.step).abs_()

    def min_by_world(self, distance: Float[Tensor, "N Q"]) -> Float[Tensor, "W Q"]:
        """The smallest distance in each world and column."""
        world = torch.as_tensor(self.indices.world_of_neuron, device=distance.device)
        start = distance.new_full((self.indices.num_worlds, distance.shape[1]), float("inf"))
        return start.scatter_reduce_(0, world[:, None].expand_as(distance), distance, "amin")

    def _thresholds(self) -> Float[Tensor, "N"]:
        """The threshold of each neuron; that of a count neuron depends on its number."""
        layout = self.indices.layout
        num_worlds = self.indices.num_worlds
        threshold = torch.full((self.indices.num_neurons,), self.preset.v_threshold)

        # neuron k of a thermometer fires from k members on: half a step below k steps
        if layout.count_neurons:
            first = layout.shared_index[layout.count_neurons[0]] * num_worlds
            heights = (torch.arange(MAX_COUNTED) + 0.5) * self.preset.step
            thermometers = heights.repeat(2).repeat_interleave(num_worlds)
            threshold[first : first + len(thermometers)] = thermometers

        return threshold

    def _sums(self, connections: Connections, chosen: np.ndarray, path: Path | None) -> Callable[[Tensor], Tensor]:
        """The sums of spikes over some of the connections."""
        weights = Weights(
            torch.as_tensor(connections.source[chosen], device=self.device),
            torch.as_tensor(connections.target[chosen], device=self.device),
            torch.as_tensor(connections.weight[chosen], dtype=torch.float32, device=self.device),
            torch.as_tensor(self.indices.world_of_neuron, device=self.device),
        )
        return graph_sums(weights, path)


def warn_of_sums(connections: Connections, indices: NeuronIndices, preset: Preset) -> None:
    """Warns if so many channels end on a neuron that they could fire it alone."""
    if preset.saturates or len(connections.source) == 0:
        return

    channels = (connections.kind == ConnectionKind.CHANNEL) & (connections.weight > 0)
    number = np.bincount(connections.target[channels], minlength=indices.num_neurons)
    max_number = int(np.ceil(preset.v_threshold / preset.step)) - 1
    num_worlds = len(set(indices.world_of_neuron[number > max_number].tolist()))

    if num_worlds:
        warnings.warn(
            f"preset {preset.name!r} is exact while at most {max_number} channels add up, but up to {number.max()} end "
            f"on one neuron in {num_worlds} of {indices.num_worlds} worlds; 'compartment' supports any number",
            stacklevel=2,
        )
