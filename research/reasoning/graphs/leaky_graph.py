"""The spiking graph with leaky membranes: `v[t] = decay max(v[t-1], 0) (1 - z[t-1]) + x[t] + W z[t-1]`.

A charge below the threshold at every step adds up. The highest one is a gate `G`; with its remainders it is
`G (1 + d + d^2 + ...) = G / (1 - d)`, which stays below the threshold for a decay below `margin / (G + margin)`: 1/3 a
step for the preset `compartment`, 1/24 for `scaled`. Then no answer changes.

`run_questions(scenes, questions, LeakyOptions(preset, decay=0.3))` runs it.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.graph.layout import Preset
from spikebridge.networks.reasoning.graph.run import RunOptions
from spikebridge.networks.reasoning.graph.spiking_graph import SpikingGraph, StimulusSpikes
from spikebridge.networks.reasoning.graph.wiring import neuron_indices
from spikebridge.networks.reasoning.graph.worlds import Worlds


def max_decay(preset: Preset) -> float:
    """Upper limit of the decay: above it a membrane with a subthreshold charge at every step reaches threshold."""
    return preset.margin / (preset.gate + preset.margin)


@dataclass(frozen=True, eq=False)
class LeakyOptions(RunOptions):
    """Settings of a run with leaky membranes."""

    decay: float = 0.0

    def __post_init__(self) -> None:
        limit = max_decay(self.preset)
        if not 0 <= self.decay < limit:
            raise ConfigError(
                f"preset {self.preset.name!r} needs a decay from 0 to below {limit:.3g} a step, since above it silent "
                f"membranes reach the threshold, but got {self.decay:.3g}"
            )

    @property
    def measures_margins(self) -> bool:
        return self.decay > 0 or super().measures_margins

    def build_graph(self, worlds: Worlds) -> SpikingGraph:
        indices = neuron_indices(worlds, self.layout)
        arguments = self.connections(worlds), indices, self.preset, self.execution.path, self.execution.device
        return LeakyGraph(self.decay, *arguments)


class LeakyGraph(SpikingGraph):
    """The graph of a batch of worlds with leaky membranes; count neurons have no memory."""

    def __init__(self, decay: float, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.decay = self.v_threshold.new_full(self.v_threshold.shape, decay)
        for name in self.indices.layout.count_neurons:
            self.decay[self.indices.of_worlds(name)] = 0.0

    def charge(self, stimulus: StimulusSpikes, v: Tensor, spikes: Tensor) -> Tensor:
        # negative potentials are not kept, or inhibition would accumulate
        return super().charge(stimulus, v, spikes) + self.decay[:, None] * v.clamp(min=0) * (1 - spikes)
