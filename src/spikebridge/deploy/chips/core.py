"""A network of a chip's neurons in integers, one step a call. No torch is needed.

A population reads the input spikes of this step, or of the step before where the chip delays them, and the spikes that
populations sent in the step before. So the order of populations does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.stages.arithmetic import IntegerArithmetic
from spikebridge.deploy.stages.convolutions import convolution
from spikebridge.deploy.stages.neurons import MembraneState, membrane_step

Ints: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = Mapping[str, NDArray[Any]]
INPUT = "input"
QUANTITIES = ("v_threshold", "bias", "decay", "decay_syn")


@dataclass
class _ChipIntegers(IntegerArithmetic):
    """The primitives of a chip's steps in integers of 64 bits.

    The steps of a chip are methods of one class (`loihi.py`, `xylo.py`), which overrides synapse, membrane, threshold
    and saturation of the neurons in `spikebridge.deploy.stages.neurons`. Mixed with this class they run in integers,
    with `FakeChipIntegers` of `part.py` in torch.
    """

    def shift_down(self, q: Any, bits: Any) -> Any:
        """`q / 2^bits`, rounded towards minus infinity."""
        return q >> bits

    def shift_to_zero(self, q: Any, bits: Any) -> Any:
        """`q / 2^bits`, rounded towards 0."""
        # exact: integers below 2^53, and the conversion cuts the fraction off
        return (q / (1 << bits)).astype(np.int64)

    def clip(self, q: Any, low: int, high: int) -> Any:
        return np.minimum(np.maximum(q, low), high)

    def spike_counts(self, v: Any, threshold: Any, highest: int) -> Any:
        """The number of thresholds in a membrane, up to `highest`."""
        if highest == 1:
            return (v >= threshold).astype(np.int64)

        counts = np.minimum(v // np.maximum(threshold, 1), highest)
        # subtracting a threshold of 0 or less never ends before the limit
        return np.where(v >= threshold, np.where(threshold > 0, counts, highest), 0)


@dataclass(frozen=True)
class Connection:
    """Weights from the input or a population: a matrix, or a convolution of steps of a shape, with its settings."""

    source: str
    shift: int = 0
    shape: tuple[int, ...] = ()
    convolution: dict[str, Any] | None = None


@dataclass(frozen=True)
class Population:
    """Neurons with the shape of their output."""

    name: str
    connections: tuple[Connection, ...]
    max_spikes: int = 1
    shape: tuple[int, ...] = ()


class CoreState(NamedTuple):
    """Membranes and currents of each population, its last spikes, and the last input."""

    membranes: dict[str, MembraneState]
    spikes: dict[str, Ints]


class Core:
    """Populations on a chip: `y, state = core.step(x, core.start(batch))`, with counts of spikes `(B, channels)`.

    Args:
        chip: whose arithmetic they have.
        populations: the last one is the output.
        numbers: integers `NAME/QUANTITY`; `NAME/weight_K` of connection K, `(inputs, neurons)`, with an axis of
            synapses where neurons have two, or the kernel of a convolution; and `NAME/alias`, for each neuron the one
            that copies its spikes, or -1.
    """

    def __init__(self, chip: ChipSpec, populations: Sequence[Population], numbers: Numbers) -> None:
        self.chip = chip
        self.populations = tuple(populations)
        self.numbers = {name: value.astype(np.int64) for name, value in numbers.items()}
        self.layers = [_Layer(chip, one, self.numbers) for one in populations]

    def start(self, batch: int) -> CoreState:
        """The state before the first step."""
        states = {one.name: one.start(batch) for one in self.layers}
        return CoreState(states, {name: state.v for name, state in states.items()})

    def step(self, x: NDArray[Any], state: CoreState) -> tuple[Ints, CoreState]:
        """Counts of input spikes to the spikes of the last population, and the state after the step."""
        arriving = state.spikes.get(INPUT, np.zeros_like(x)) if self.chip.input_delay else x
        sent = {**state.spikes, INPUT: arriving}
        after = {one.name: one.step(sent, state.membranes[one.name]) for one in self.layers}
        spikes = {name: y for name, (y, _) in after.items()}

        return spikes[self.layers[-1].name], CoreState(
            {name: s for name, (_, s) in after.items()}, {INPUT: x, **spikes}
        )


class _Layer:
    """A population with its integers."""

    def __init__(self, chip: ChipSpec, record: Population, numbers: Mapping[str, Ints]) -> None:
        self.name = record.name
        self.max_spikes = record.max_spikes
        self.currents = [_Current(one, numbers[f"{self.name}/weight_{k}"]) for k, one in enumerate(record.connections)]
        quantities = {name: numbers[f"{self.name}/{name}"] for name in QUANTITIES}
        self.threshold = quantities["v_threshold"]
        self.synapses = quantities["decay_syn"].shape
        self.aliases = _aliases(numbers.get(f"{self.name}/alias"))

        settings = {"spikes": True, "refractory": 0, "reset": chip.reset, "max_spikes": record.max_spikes}
        kind = type(f"{chip.name}Integers", (chip.steps, _ChipIntegers), {})
        self.arithmetic = kind(settings, {**quantities, "v_leak": 0, "v_reset": 0})

    def start(self, batch: int) -> MembraneState:
        zeros = np.zeros((batch, self.threshold.size), np.int64)
        return MembraneState(zeros, None, np.zeros((batch, *self.synapses), np.int64))

    def step(self, sent: Mapping[str, Ints], before: MembraneState) -> tuple[Ints, MembraneState]:
        y, after = membrane_step(self.arithmetic, self._current(before.i, sent), before)
        return self._copied(y, after) if self.aliases else (y, after)

    def _current(self, i: Ints, sent: Mapping[str, Ints]) -> Ints:
        """The current of a step; where it could saturate on the way, as it adds up spike by spike."""
        total = self.currents[0](sent[self.currents[0].source])
        for one in self.currents[1:]:
            total += one(sent[one.source])

        limit = self.arithmetic.max_current
        if limit is None or self._is_far(i, sent, limit):
            return total

        saturates = np.abs(i) + sum(one(sent[one.source], one.sizes) for one in self.currents) > limit
        if not saturates.any():
            return total

        rows, *places = np.nonzero(saturates)
        value = i[saturates]
        for one in self.currents:
            counts = sent[one.source]
            for channel in np.flatnonzero(counts.any(0)):
                added = counts[rows, channel] * one.weight[(channel, *places)]
                value = self.arithmetic.clip(value + added, -limit - 1, limit)

        total[saturates] = value - i[saturates]
        return total

    def _is_far(self, i: Ints, sent: Mapping[str, Ints], limit: int) -> bool:
        """True if no current can reach its limit in this step: known sooner than neuron by neuron."""
        reach = sum(int(sent[one.source].max(initial=0)) * one.reach for one in self.currents)
        return bool(reach + np.abs(i).max(initial=0) <= limit)

    def _copied(self, y: Ints, after: MembraneState) -> tuple[Ints, MembraneState]:
        """Spikes after aliases, neuron by neuron: a later neuron has fewer spikes of its own left."""
        total = y.copy()
        v = after.v.copy()
        copied = np.zeros_like(y)

        for neuron, target in self.aliases:
            own = np.minimum(y[:, neuron], self.max_spikes - copied[:, neuron])
            # spikes that did not fit were never taken from the membrane
            v[:, neuron] += (y[:, neuron] - own) * self.threshold[neuron]
            total[:, neuron] = own + copied[:, neuron]
            if target > neuron:
                copied[:, target] = np.minimum(copied[:, target] + total[:, neuron], self.max_spikes)
            elif target >= 0:
                total[:, target] = np.minimum(total[:, target] + total[:, neuron], self.max_spikes)

        return total, after._replace(v=v)


def _aliases(alias: Ints | None) -> list[tuple[int, int]]:
    """The neurons that an alias joins, in order, each with the target of its own, or -1."""
    if alias is None:
        return []

    joined = {*np.flatnonzero(alias >= 0).tolist(), *alias[alias >= 0].tolist()}
    return [(neuron, int(alias[neuron])) for neuron in sorted(joined)]


class _Current:
    """The current of a connection for spikes `(B, *N)`."""

    def __init__(self, record: Connection, weight: Ints) -> None:
        self.source = record.source
        self.shape = record.shape
        self.settings = record.convolution
        self.weight = weight << record.shift
        # exact: sums of integers below 2^53
        factors = self.weight.astype(np.float64)
        self.factors = factors if self.settings else factors.reshape(len(weight), -1)
        self.sizes = np.abs(self.factors)
        self.reach = int(self.sizes.sum(0).max(initial=0))  # of one spike of each channel

    def __call__(self, spikes: NDArray[Any], factors: NDArray[Any] | None = None) -> Ints:
        factors = self.factors if factors is None else factors
        if self.settings:
            x = spikes.reshape(len(spikes), *self.shape).astype(np.float64)
            return convolution(x, factors, None, **self.settings).reshape(len(x), -1).astype(np.int64)

        y = (spikes.astype(np.float64) @ factors).astype(np.int64)
        return y.reshape(len(y), *self.weight.shape[1:])
