"""The designed hybrid unit from programs to spike trains.

| W window | H kernel | F nonlinearity | Q discretizer |
|---|---|---|---|
| running | the last six instructions | lookup of the operator table | SpikingLayer |
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.axes import Step
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid.unit.discretizer import SpikingLayer
from spikebridge.hybrid.unit.kernel import Kernel
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.networks.reasoning.graph.compiler import Instructions
from spikebridge.networks.reasoning.graph.layout import NeuronLayout
from spikebridge.networks.reasoning.parsing.operators import OperatorTable
from spikebridge.neurons.memoryless import Memoryless
from spikebridge.neurons.quantity import Modulated


class _DelayState(NamedTuple):
    """The previous steps, newest first."""

    last: Float[Tensor, "B L *N"]


class _Delays(Kernel):
    """A tapped delay line: the last `length` steps in one vector, newest first."""

    def __init__(self, length: int) -> None:
        super().__init__(keep=True)
        self.length = length

    def initial_state(self, x_t: Step) -> _DelayState:
        return _DelayState(x_t.new_zeros((x_t.shape[0], self.length - 1, *x_t.shape[1:])))

    def step(self, x_t: Step, state: _DelayState, **modulation: Modulated) -> tuple[Float[Tensor, "B *M"], _DelayState]:
        taps = torch.cat([x_t.unsqueeze(1), state.last], 1)
        return taps.flatten(1), _DelayState(taps[:, :-1])


class OperatorLookup(nn.Module):
    """Lookup table from the instructions of the last steps to the neurons that they stimulate at this step."""

    rows: Tensor

    def __init__(self, table: OperatorTable, layout: NeuronLayout) -> None:
        super().__init__()
        self.numbers = {name: number for number, name in enumerate(table.trains, start=1)}
        self.length = max(len(steps) for steps in table.trains.values())
        # row 0 is that of no instruction: silence
        rows = torch.zeros(len(self.numbers) + 1, self.length, len(layout.shared))

        for name, number in self.numbers.items():
            for k, neurons in enumerate(table.trains[name]):
                for neuron in neurons:
                    if neuron not in layout.shared_index:
                        hint = did_you_mean(neuron, layout.shared)
                        raise ConfigError(f"operator {name!r} stimulates {neuron!r}, which is not a neuron; {hint}")
                    rows[number, k, layout.shared_index[neuron]] = 1

        self.register_buffer("rows", rows.flatten(0, 1))

    def forward(self, instructions: Float[Tensor, "B L"]) -> Float[Tensor, "B G"]:
        """From numbers of the instructions that began at the last steps, 0 for none."""
        # an instruction that began k steps ago sends step k of its train
        row = instructions.long() * self.length + torch.arange(self.length, device=instructions.device)
        return nn.functional.embedding_bag(row, self.rows, mode="sum")


def program_unit(table: OperatorTable, layout: NeuronLayout) -> HybridUnit:
    """The hybrid unit from the number of the instruction that starts at a step `(T, B, 1)`, else 0, to spike trains."""
    lookup = OperatorLookup(table, layout)
    return HybridUnit(None, _Delays(lookup.length), lookup, SpikingLayer(Memoryless(v_threshold=1.0)))


def program_begins(
    programs: Sequence[Instructions], table: OperatorTable, lookup: OperatorLookup
) -> Float[Tensor, "T P 1"]:
    """The input of `program_unit`; short programs start later, so that all end at the same step."""
    durations = {name: len(train) for name, train in table.trains.items()}
    lengths = [program.num_steps(table) for program in programs]
    longest = max(lengths, default=1)
    begins = np.zeros((len(programs), longest, 1), dtype=np.float32)

    for p, program in enumerate(programs):
        steps = np.cumsum([longest - lengths[p], *[durations[name] for name in program.names[:-1]]])
        begins[p, steps, 0] = [lookup.numbers[name] for name in program.names]

    return torch.from_numpy(begins).transpose(0, 1)


def program_spikes(programs: Sequence[Instructions], table: OperatorTable, unit: HybridUnit) -> Float[Tensor, "T P G"]:
    """The spike trains of programs, padded at the start, so that all answers are read at the last step."""
    lookup: OperatorLookup = unit.nonlinearity  # type: ignore[assignment]
    with torch.no_grad():
        return unit(program_begins(programs, table, lookup))[0]


def stimulus_sizes(layout: NeuronLayout, drive: float) -> Float[Tensor, "G"]:
    """Charge of a spike from outside: the drive, twice the drive for attribute values."""
    return torch.tensor([2 * drive if name in layout.values else drive for name in layout.shared])
