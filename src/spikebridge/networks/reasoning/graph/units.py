"""The designed hybrid units of the reasoning network: attributes set connections, programs become spike trains.

| unit | W window | H kernel | F nonlinearity | Q discretizer |
|---|---|---|---|---|
| attributes to connections (modulation) | whole video | mean over visible samples | choose a value, times s | none |
| program to spikes (transmission) | running | the last six instructions | lookup of the operator table | SpikingLayer |
"""

from collections.abc import Mapping, Sequence
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


class _DelaysState(NamedTuple):
    """The previous steps, newest first, `(B, n - 1, *N)`."""

    last: Tensor


class Delays(Kernel):
    """A tapped delay line: the last `length` steps side by side, newest first.

    Args:
        length: steps.

    Example:
        >>> h, _ = Delays(2)(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))
        >>> h.squeeze(1).tolist()
        [[1.0, 0.0], [2.0, 1.0], [3.0, 2.0]]
    """

    def __init__(self, length: int) -> None:
        super().__init__(keep=True)
        self.length = length

    def initial_state(self, x_t: Step) -> _DelaysState:
        return _DelaysState(x_t.new_zeros((x_t.shape[0], self.length - 1, *x_t.shape[1:])))

    def step(
        self, x_t: Step, state: _DelaysState, **modulation: Modulated
    ) -> tuple[Float[Tensor, "B *M"], _DelaysState]:
        seen = torch.cat([x_t.unsqueeze(1), state.last], 1)
        return seen.flatten(1), _DelaysState(seen[:, :-1])


class OperatorLookup(nn.Module):
    """Lookup table from the instructions of the last steps to the neurons that they stimulate now.

    Args:
        table: operators and attributes.
        layout: neurons of the graph.
    """

    rows: Tensor

    def __init__(self, table: OperatorTable, layout: NeuronLayout) -> None:
        super().__init__()
        self.numbers = {name: number for number, name in enumerate(table.trains, start=1)}
        self.length = max(len(steps) for steps in table.trains.values())
        rows = torch.zeros(len(self.numbers) + 1, self.length, len(layout.shared))

        for name, number in self.numbers.items():
            for k, neurons in enumerate(table.trains[name]):
                for neuron in neurons:
                    if neuron in layout.shared_index:
                        rows[number, k, layout.shared_index[neuron]] = 1
                    elif layout.exact:
                        hint = did_you_mean(neuron, layout.shared)
                        raise ConfigError(f"operator {name!r} stimulates {neuron!r}, which is not a neuron; {hint}")

        self.register_buffer("rows", rows.flatten(0, 1))

    def forward(self, instructions: Float[Tensor, "B L"]) -> Float[Tensor, "B G"]:
        """Numbers of the instructions begun at each of the last steps (0 for none) to neurons."""
        at = instructions.long() * self.length + torch.arange(self.length, device=instructions.device)
        return nn.functional.embedding_bag(at, self.rows, mode="sum")


def program_unit(table: OperatorTable, layout: NeuronLayout) -> HybridUnit:
    """The hybrid unit from programs to spike trains.

    Its input `(T, B, 1)` is the number of the instruction that starts at a step (`unit.nonlinearity.numbers`), else 0.

    Example:
        >>> layout = NeuronLayout(exact=False)
        >>> unit = program_unit(OperatorTable(), layout)
        >>> begins = torch.zeros(3, 1, 1)
        >>> begins[0] = unit.nonlinearity.numbers["filter_in"]
        >>> spikes, _ = unit(begins)
        >>> [[layout.shared[g] for g in row.nonzero()] for row in spikes[:, 0]]
        [['ask_entering'], ['dismiss_objects', 'dismiss_events'], []]
    """
    lookup = OperatorLookup(table, layout)
    return HybridUnit(None, Delays(lookup.length), lookup, SpikingLayer(Memoryless(v_threshold=1.0)))


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
    """The spike trains of programs, padded at the start, so that all answers are read at the last step.

    Args:
        programs: compiled.
        table: operators and attributes.
        unit: from `program_unit`.
    """
    lookup: OperatorLookup = unit.nonlinearity  # type: ignore[assignment]
    with torch.no_grad():
        return unit(program_begins(programs, table, lookup))[0]


def stimulus_sizes(layout: NeuronLayout, drive: float) -> Float[Tensor, "G"]:
    """Charge of a spike from outside: the drive, twice the drive for attribute values."""
    return torch.tensor([2 * drive if name in layout.values else drive for name in layout.shared])


class _VisibleMeanState(NamedTuple):
    """Sums of scores and of visible samples so far."""

    total: Tensor


class VisibleMean(Kernel):
    """Mean of class scores over the samples at which an object is visible; the last channel says whether it is.

    Example:
        >>> x = torch.tensor([[0.9, 0.1, 1.0], [0.0, 0.0, 0.0], [0.5, 0.5, 1.0]]).unsqueeze(1)
        >>> VisibleMean()(x)[0][-1].tolist()
        [[0.699..., 0.300...]]
    """

    def __init__(self) -> None:
        super().__init__(keep=True)

    def initial_state(self, x_t: Step) -> _VisibleMeanState:
        return _VisibleMeanState(torch.zeros_like(x_t))

    def step(
        self, x_t: Step, state: _VisibleMeanState, **modulation: Modulated
    ) -> tuple[Float[Tensor, "B *M"], _VisibleMeanState]:
        total = state.total + x_t * x_t[..., -1:]
        return total[..., :-1] / total[..., -1:].clamp(min=1), _VisibleMeanState(total)


class ChooseValues(nn.Module):
    """One-hot of the likeliest value of each kind, times `s`: the weights between an object and its values.

    Args:
        attributes: kinds of attribute and their values.
        step: `s`.
    """

    def __init__(self, attributes: Mapping[str, tuple[str, ...]], step: float) -> None:
        super().__init__()
        self.sizes = [len(values) for values in attributes.values()]
        self.step = step

    def forward(self, scores: Float[Tensor, "*O V"]) -> Float[Tensor, "*O V"]:
        """Mean scores to connections."""
        parts = [nn.functional.one_hot(part.argmax(-1), part.shape[-1]) for part in scores.split(self.sizes, -1)]
        return self.step * torch.cat(parts, -1).to(scores.dtype)


def attribute_unit(attributes: Mapping[str, tuple[str, ...]], step: float) -> HybridUnit:
    """The hybrid unit from class scores to connections of objects with their attribute values.

    Its input `(S, O, V + 1)` is the class scores and the visibility of each object at each sample; its last output is
    the connectivity.

    Example:
        >>> unit = attribute_unit({"size": ("small", "large")}, step=1.0)
        >>> scores = torch.tensor([[0.9, 0.1, 1.0], [0.2, 0.8, 1.0], [0.3, 0.7, 1.0]]).unsqueeze(1)
        >>> unit(scores)[0][-1].tolist()  # means 0.47 and 0.53
        [[0.0, 1.0]]
    """
    return HybridUnit(None, VisibleMean(), ChooseValues(attributes, step))
