"""The dynamics of the spiking graph: `v[t] = decay v[t-1] (1 - z[t-1]) + x[t] + W z[t-1]`, `z[t] = v[t] >= threshold`.

R. Zhao et al., Nature Communications 13:3427 (2022), the reasoning network. With decay 0 each neuron is a memoryless
logic unit. Working memory is a self-connection that is strong enough to keep a neuron firing. In a preset that
saturates, positive channels end on a dendritic branch, which gives `s` once their sum reaches `s / 2`.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.graph.layout import MAX_COUNTED, NeuronIndices, Preset
from spikebridge.networks.reasoning.graph.wiring import ConnectionKind, Connections
from spikebridge.ops.graph_sums import Path, Weights, graph_sums


class _SpikingGraphState(NamedTuple):
    """Membranes and spikes after a step, batch first: `(B, N)`."""

    v: Float[Tensor, "B N"]
    spikes: Float[Tensor, "B N"]


@dataclass(frozen=True)
class GraphFaults:
    """Injected faults, random by seed: once for weights and lost neurons, at every step for spikes.

    Args:
        weight_noise: relative standard deviation of each weight.
        lost: share of neurons that never fire.
        deleted: share of spikes that do not arrive.
        bits: bits of a weight with its sign, on a grid up to the largest weight; None does not round.
        seed: random seed.
    """

    weight_noise: float = 0.0
    lost: float = 0.0
    deleted: float = 0.0
    bits: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bits is not None and self.bits < 2:
            raise ConfigError(f"a weight with a sign needs at least 2 bits, but got {self.bits}")
        if not self.weight_noise >= 0 or not 0 <= self.lost <= 1 or not 0 <= self.deleted <= 1:
            raise ConfigError(f"faults are shares from 0 to 1 and a noise from 0 on, but got {self}")


def _warn_of_sums(connections: Connections, indices: NeuronIndices, preset: Preset) -> None:
    """Warns where so many channels end on a neuron that they could fire it alone."""
    if preset.saturates or not preset.exact or len(connections.source) == 0:
        return

    channels = (connections.kind == ConnectionKind.CHANNEL) & (connections.weight > 0)
    number = np.bincount(connections.target[channels], minlength=indices.num_neurons)
    most = int(np.ceil(preset.v_threshold / preset.step)) - 1
    worlds = len(set(indices.world_of_neuron[number > most].tolist()))

    if worlds:
        warnings.warn(
            f"preset {preset.name!r} is exact while at most {most} channels add up, but up to {number.max()} end on "
            f"one neuron in {worlds} of {indices.num_worlds} worlds; 'compartment' supports any number",
            stacklevel=2,
        )


class StimulusSpikes(NamedTuple):
    """Spikes from outside at one step, as a list.

    Args:
        neuron: `(S,)`.
        column: `(S,)`.
        size: `(S,)`.
    """

    neuron: Int[Tensor, "S"]
    column: Int[Tensor, "S"]
    size: Float[Tensor, "S"]

    def spread(self, columns: int) -> "StimulusSpikes":
        """The same stimulus for several columns, from that of a single one."""
        column = torch.arange(columns, device=self.neuron.device).repeat_interleave(len(self.neuron))
        return StimulusSpikes(self.neuron.repeat(columns), column, self.size.repeat(columns))


class StepOutput(NamedTuple):
    """One step of a run: membranes and spikes `(N, Q)`, of all copies."""

    v: Tensor
    spikes: Tensor


class SpikingGraph:
    """The graph of one or more worlds.

    Args:
        connections: from `wire`.
        indices: of the neurons.
        preset: sizes of weights, threshold, leak, copies.
        path: how spikes are summed; see `spikebridge.ops.graph_sums`.
        faults: faults to inject; None for none.
        device: where it runs.
    """

    def __init__(
        self,
        connections: Connections,
        indices: NeuronIndices,
        preset: Preset,
        path: Path | None = None,
        faults: GraphFaults | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        _warn_of_sums(connections, indices, preset)
        self.indices = indices
        self.preset = preset
        self.faults = faults if faults is not None else GraphFaults()
        self.num_neurons = indices.num_neurons
        self._generator = torch.Generator(device).manual_seed(self.faults.seed)
        device = torch.device(device)

        # copies with equal connections get equal sums: that of the mean over the presynaptic copies
        self.has_equal_copies = preset.copies > 1 and self.faults.weight_noise == 0
        summed = 1 if self.has_equal_copies else preset.copies
        block = torch.as_tensor(indices.world_of_neuron, device=device).repeat(summed)
        source, target, weight, kind = self._expanded(connections, summed, device)
        self.num_connections = len(connections.source) * preset.copies**2

        on_branch = (
            (kind == ConnectionKind.CHANNEL) & (weight > 0)
            if preset.saturates
            else torch.zeros_like(source, dtype=torch.bool)
        )
        if self.faults.bits is not None:
            grid = weight.abs().max() / (2 ** (self.faults.bits - 1) - 1)
            weight = (weight / grid).round() * grid

        if self.faults.weight_noise > 0:
            drawn = torch.randn(weight.shape, generator=self._generator, device=device)
            weight = weight * (1 + self.faults.weight_noise * drawn)

        at = ~on_branch
        self.soma = graph_sums(Weights(source[at], target[at], weight[at], block), path)
        at = on_branch
        self.branch = graph_sums(Weights(source[at], target[at], weight[at], block), path) if preset.saturates else None
        self.v_threshold, self.decay = self._quantities(device)
        lost = torch.rand(len(self.v_threshold), generator=self._generator, device=device) < self.faults.lost
        self.alive = (~lost).float().unsqueeze(1) if self.faults.lost > 0 else None

    def _expanded(self, connections: Connections, copies: int, device: torch.device) -> tuple[Tensor, ...]:
        """Each connection from every copy to every copy, its weight divided by the number of copies."""
        number = self.num_neurons
        source, target = (torch.as_tensor(a, device=device) for a in (connections.source, connections.target))
        weight = torch.as_tensor(connections.weight, dtype=torch.float32, device=device) / copies
        kind = torch.as_tensor(connections.kind, device=device)

        if copies == 1:
            return source, target, weight, kind

        shift = torch.arange(copies, device=device) * number
        source = (source + shift[:, None]).repeat_interleave(copies, 0).flatten()
        target = (target + shift[:, None]).repeat(copies, 1).flatten()

        return source, target, weight.repeat(copies**2), kind.repeat(copies**2)

    def _quantities(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Threshold `(N, 1)` and decay `(N, 1)` of each neuron; a count neuron has its own threshold and no memory."""
        preset = self.preset
        layout = self.indices.layout
        worlds = self.indices.num_worlds
        threshold = torch.full((self.num_neurons,), preset.v_threshold)
        decay = torch.full((self.num_neurons,), preset.decay)

        if layout.exact:
            first = layout.shared_index["object_count[1]"] * worlds
            counters = slice(first, first + len(layout.count_neurons) * worlds)
            heights = (torch.arange(MAX_COUNTED) + 0.5) * preset.step
            threshold[counters] = heights.repeat(2).repeat_interleave(worlds)
            decay[counters] = 0.0

        threshold, decay = (q.repeat(preset.copies).unsqueeze(1).to(device) for q in (threshold, decay))
        return threshold, decay if preset.decay > 0 else None

    def start(self, columns: int) -> _SpikingGraphState:
        """The state before the first step."""
        zeros = self.v_threshold.new_zeros(columns, self.num_neurons * self.preset.copies)
        return _SpikingGraphState(zeros, zeros)

    def run(
        self,
        stimuli: Sequence[StimulusSpikes],
        columns: int,
        state: _SpikingGraphState | None = None,
        silenced: Bool[Tensor, "N Q"] | None = None,
    ) -> Iterator[StepOutput]:
        """The graph step by step.

        Args:
            stimuli: for each step what arrives from outside.
            columns: number of runs side by side.
            state: after the steps before; None starts at rest.
            silenced: neurons that never fire, by column.

        Yields:
            Membranes and spikes of every step. The state after the last is `state_of(moment)`.
        """
        state = state if state is not None else self.start(columns)
        v = state.v.T.contiguous()
        spikes = state.spikes.T.contiguous()

        # expanded to the shape of the membranes: the comparison is twice as fast
        threshold = self.v_threshold.expand_as(v).contiguous()
        not_silenced = None if silenced is None else (~silenced).float().repeat(self.preset.copies, 1)

        for stimulus in stimuli:
            v = self._charge(stimulus, v, spikes)
            spikes = (v >= threshold).to(v.dtype)
            if self.alive is not None:
                spikes *= self.alive

            if not_silenced is not None:
                spikes *= not_silenced

            if self.faults.deleted > 0:
                drawn = torch.rand(spikes.shape, generator=self._generator, device=spikes.device)
                spikes *= drawn >= self.faults.deleted

            yield StepOutput(v, spikes)

    def state_of(self, moment: StepOutput) -> _SpikingGraphState:
        """The state after a step, batch first, for the steps that follow."""
        return _SpikingGraphState(moment.v.T, moment.spikes.T)

    def _charge(self, stimulus: StimulusSpikes, v: Tensor, spikes: Tensor) -> Tensor:
        sent = spikes.view(self.preset.copies, self.num_neurons, -1).mean(0) if self.has_equal_copies else spikes
        charge = self.soma(sent)
        if self.branch is not None:
            charge.add_(self.branch(sent) >= self.preset.step / 2, alpha=self.preset.step)

        if self.has_equal_copies:
            charge = charge.repeat(self.preset.copies, 1)

        if self.decay is not None:
            # negative potentials are not kept, or inhibition would accumulate
            charge += self.decay * v.clamp(min=0) * (1 - spikes)

        # indexed addition is exact since a stimulus names each neuron of a column once
        by_copy = charge.view(self.preset.copies, -1)
        by_copy[:, stimulus.neuron * charge.shape[1] + stimulus.column] += stimulus.size

        return charge

    def majority(self, spikes: Float[Tensor, "M Q"]) -> Bool[Tensor, "N Q"]:
        """The spikes of the majority of the copies."""
        if self.preset.copies == 1:
            return spikes > 0
        return spikes.view(self.preset.copies, self.num_neurons, -1).sum(0) > self.preset.copies / 2

    def mean_membrane(self, v: Float[Tensor, "M Q"]) -> Float[Tensor, "N Q"]:
        """The mean membrane potential over the copies of each neuron."""
        return v.view(self.preset.copies, self.num_neurons, -1).mean(0)

    def threshold_distance(self, v: Float[Tensor, "M Q"]) -> Float[Tensor, "M Q"]:
        """Distance of each membrane potential from its threshold, in steps `s`."""
        return ((v - self.v_threshold) / self.preset.step).abs_()

    def minimum_by_world(self, distance: Float[Tensor, "M Q"]) -> Float[Tensor, "W Q"]:
        """The smallest distance in each world and column, over all copies."""
        world: Int[Tensor, "N"] = torch.as_tensor(self.indices.world_of_neuron, device=distance.device)
        at = world.repeat(self.preset.copies)[:, None].expand_as(distance)
        least = distance.new_full((self.indices.num_worlds, distance.shape[1]), float("inf"))
        return least.scatter_reduce_(0, at, distance, "amin")
