"""The spiking graph with injected faults, and with copies of each neuron that vote.

`run_questions(scenes, questions, FaultyOptions(preset, faults=GraphFaults(lost=0.01), copies=5))` runs it. Connections
are split among the copies of a neuron; the majority is read out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.graph.graph_sums import Path
from spikebridge.networks.reasoning.graph.layout import NeuronIndices, Preset
from spikebridge.networks.reasoning.graph.run import RunOptions
from spikebridge.networks.reasoning.graph.spiking_graph import GraphState, SpikingGraph, StimulusSpikes
from spikebridge.networks.reasoning.graph.wiring import Connections, neuron_indices
from spikebridge.networks.reasoning.graph.worlds import Worlds


@dataclass(frozen=True)
class GraphFaults:
    """Injected faults, random by seed: once for weights and lost neurons, at every step for spikes."""

    weight_noise: float = 0.0  # relative standard deviation of each weight
    lost: float = 0.0  # share of neurons that never fire
    deleted: float = 0.0  # share of spikes that do not arrive
    bits: int | None = None  # bits of a weight with its sign, up to the largest weight; None does not round
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bits is not None and self.bits < 2:
            raise ConfigError(f"a weight with a sign needs at least 2 bits, but got {self.bits}")
        if not self.weight_noise >= 0 or not 0 <= self.lost <= 1 or not 0 <= self.deleted <= 1:
            raise ConfigError(f"faults are shares from 0 to 1 and a noise from 0 on, but got {self}")


@dataclass(frozen=True, eq=False)
class FaultyOptions(RunOptions):
    """Settings of a run with faults and copies."""

    faults: GraphFaults = field(default_factory=GraphFaults)
    copies: int = 1

    @property
    def has_faults(self) -> bool:
        return self.faults != GraphFaults(seed=self.faults.seed)

    @property
    def measures_margins(self) -> bool:
        return self.has_faults or super().measures_margins

    def build_graph(self, worlds: Worlds) -> SpikingGraph:
        indices = neuron_indices(worlds, self.layout)
        arguments = self.connections(worlds), indices, self.preset, self.execution.path, self.execution.device
        if not self.has_faults and self.copies == 1:
            return SpikingGraph(*arguments)

        return FaultyGraph(*arguments, faults=self.faults, copies=self.copies)


class FaultyGraph(SpikingGraph):
    """The graph of a batch of worlds, with faults and copies."""

    def __init__(
        self,
        connections: Connections,
        indices: NeuronIndices,
        preset: Preset,
        path: Path | None = None,
        device: torch.device | str = "cpu",
        *,
        faults: GraphFaults,
        copies: int = 1,
    ) -> None:
        self.faults = faults
        self.copies = copies
        self._generator = torch.Generator(device).manual_seed(faults.seed)
        self.num_neurons = indices.num_neurons

        # copies with equal connections get equal sums: that of the mean over the presynaptic copies
        self.has_equal_copies = copies > 1 and faults.weight_noise == 0
        num_summed = 1 if self.has_equal_copies else copies
        super().__init__(
            self._perturbed(_copied(connections, self.num_neurons, num_summed)),
            _copied_indices(indices, num_summed),
            preset,
            path,
            device,
        )

        # sums are over all copies, everything else is about one of them
        self.indices = indices
        self.v_threshold = self.v_threshold[: self.num_neurons].repeat(copies)
        lost = torch.rand(len(self.v_threshold), generator=self._generator, device=self.device) < faults.lost
        self.alive = (~lost).float().unsqueeze(1)

    def run(
        self,
        stimuli: list[StimulusSpikes],  # type: ignore[override]
        num_columns: int,
        state: GraphState | None = None,
        silenced: Tensor | None = None,
    ) -> Iterator[GraphState]:
        """The majority of the spikes and the mean of the membranes of the copies after every step."""
        if silenced is not None:
            silenced = silenced.repeat(self.copies, 1)

        for output in super().run(stimuli, num_columns, state, silenced):
            v, spikes = (part.view(self.copies, self.num_neurons, -1) for part in output)
            yield GraphState(v.mean(0), (spikes.sum(0) > self.copies / 2).to(v.dtype))

    def charge(self, stimulus: StimulusSpikes, v: Tensor, spikes: Tensor) -> Tensor:
        num_spikes = len(stimulus.neuron)
        first = torch.arange(self.copies).repeat_interleave(num_spikes) * self.num_neurons
        neuron = stimulus.neuron.repeat(self.copies) + first
        every_copy = StimulusSpikes(neuron, stimulus.column.repeat(self.copies), stimulus.charge.repeat(self.copies))
        return super().charge(every_copy, v, spikes)

    def connection_sums(self, spikes: Tensor) -> Tensor:
        if not self.has_equal_copies:
            return super().connection_sums(spikes)

        mean = spikes.view(self.copies, self.num_neurons, -1).mean(0)
        return super().connection_sums(mean).repeat(self.copies, 1)

    def fire(self, v: Tensor, threshold: Tensor) -> Tensor:
        spikes = super().fire(v, threshold) * self.alive
        if self.faults.deleted > 0:
            random = torch.rand(spikes.shape, generator=self._generator, device=spikes.device)
            spikes *= random >= self.faults.deleted

        return spikes

    def threshold_distance(self, v: Tensor) -> Tensor:
        threshold = self.v_threshold[: self.num_neurons, None]
        return ((v - threshold) / self.preset.step).abs_()

    def _perturbed(self, connections: Connections) -> Connections:
        weight = torch.as_tensor(connections.weight, dtype=torch.float32)
        if self.faults.bits is not None:
            grid = weight.abs().max() / (2 ** (self.faults.bits - 1) - 1)
            weight = (weight / grid).round() * grid

        if self.faults.weight_noise > 0:
            noise = torch.randn(weight.shape, generator=self._generator)
            weight = weight * (1 + self.faults.weight_noise * noise)

        return replace(connections, weight=weight.numpy())


@dataclass(frozen=True, eq=False)
class _CopiedIndices(NeuronIndices):
    """Indices of the neurons of all copies; groups are those of the first copy."""

    copies: int = 1

    @property
    def num_neurons(self) -> int:
        return self.copies * super().num_neurons

    @property
    def world_of_neuron(self) -> np.ndarray:  # type: ignore[override]
        return np.tile(super().world_of_neuron, self.copies)


def _copied_indices(indices: NeuronIndices, copies: int) -> _CopiedIndices:
    worlds = indices.world_of_object, indices.world_of_event, indices.num_worlds
    return _CopiedIndices(indices.layout, *worlds, copies)


def _copied(connections: Connections, num_neurons: int, copies: int) -> Connections:
    """Each connection from every copy to every copy, its weight divided by the number of copies."""
    if copies == 1:
        return connections

    shift = np.arange(copies) * num_neurons
    return Connections(
        source=np.repeat(connections.source + shift[:, None], copies, axis=0).ravel(),
        target=np.tile(connections.target + shift[:, None], (copies, 1)).ravel(),
        weight=np.tile(connections.weight, copies**2) / copies,
        kind=np.tile(connections.kind, copies**2),
        from_scene=np.tile(connections.from_scene, copies**2),
    )
