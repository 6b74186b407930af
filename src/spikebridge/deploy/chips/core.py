"""A network of a chip's neurons in integers, one step a call. No torch is needed.

A population reads the input spikes of this step, or of the step before where the chip delays them, and the spikes that
populations sent in the step before. The order of steps 1 to 4 of a chip follows from that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.chips.arithmetic import ChipIntegers
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.stages.convolutions import convolution
from spikebridge.deploy.stages.neurons import MembraneState, membrane_step

Ints: TypeAlias = NDArray[np.int64]
INPUT = "input"


@dataclass(frozen=True)
class Connection:
    """Weights `(inputs, neurons)` from the input or a population, with an axis of synapses where neurons have two.

    A convolution has weights `(C_out, C_in, *kernel)`, and its `settings` besides the shape of a step of its source.
    """

    source: str
    weight: Ints
    shift: int = 0
    shape: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Population:
    """Neurons: `v_threshold`, `bias`, `decay`, `decay_syn`, and `alias`, the target of its spikes, or -1."""

    name: str
    connections: Sequence[Connection]
    numbers: Mapping[str, Ints]
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
        populations: in the order of their names in a state; the last one is the output.
    """

    def __init__(self, chip: ChipSpec, populations: Sequence[Population]) -> None:
        self.chip = chip
        self.populations = tuple(populations)
        kind = type(f"{chip.name}Integers", (chip.steps, ChipIntegers), {})
        settings = {"spikes": True, "refractory": 0, "reset": chip.reset}
        rest = {"v_leak": 0, "v_reset": 0}

        self._arithmetic = {
            one.name: kind(settings | {"max_spikes": one.max_spikes}, {**one.numbers, **rest}) for one in populations
        }
        self._currents = {one.name: [_Current(connection) for connection in one.connections] for one in populations}
        self._aliases = {one.name: _aliases(one.numbers.get("alias")) for one in populations}

    def start(self, batch: int) -> CoreState:
        """The state before the first step."""
        membranes = {}
        spikes = {}
        for one in self.populations:
            number = one.numbers["v_threshold"].size
            synapses = one.numbers["decay_syn"].shape[1:]
            zeros = np.zeros((batch, number), np.int64)
            membranes[one.name] = MembraneState(zeros, None, np.zeros((batch, number, *synapses), np.int64))
            spikes[one.name] = zeros

        return CoreState(membranes, spikes)

    def step(self, x: NDArray[Any], state: CoreState) -> tuple[Ints, CoreState]:
        """Counts of input spikes to the spikes of the last population, and the state after the step."""
        arriving = state.spikes.get(INPUT, np.zeros_like(x)) if self.chip.input_delay else x
        sent = {**state.spikes, INPUT: arriving}
        membranes = {}
        spikes = {INPUT: x}

        for one in self.populations:
            a = self._arithmetic[one.name]
            before = state.membranes[one.name]
            current = _total(a, before.i, [(c, sent[c.source]) for c in self._currents[one.name]])
            y, after = membrane_step(a, current, before)
            if self._aliases[one.name]:
                y, v = self._copied(one, y, after.v)
                after = after._replace(v=v)

            membranes[one.name] = after
            spikes[one.name] = y

        return spikes[self.populations[-1].name], CoreState(membranes, spikes)

    def _copied(self, one: Population, y: Ints, v: Ints) -> tuple[Ints, Ints]:
        """Spikes after aliases, neuron by neuron: a later neuron has fewer spikes of its own left."""
        total = y.copy()
        v = v.copy()
        copied = np.zeros_like(y)
        threshold = np.broadcast_to(one.numbers["v_threshold"], y.shape[1:])

        for neuron, target in self._aliases[one.name]:
            own = np.minimum(y[:, neuron], one.max_spikes - copied[:, neuron])
            # spikes that did not fit were never taken from the membrane
            v[:, neuron] += (y[:, neuron] - own) * threshold[neuron]
            total[:, neuron] = own + copied[:, neuron]
            if target > neuron:
                copied[:, target] = np.minimum(copied[:, target] + total[:, neuron], one.max_spikes)
            elif target >= 0:
                total[:, target] = np.minimum(total[:, target] + total[:, neuron], one.max_spikes)

        return total, v


def _aliases(alias: Ints | None) -> list[tuple[int, int]]:
    """The neurons that an alias joins, in order, each with the target of its own, or -1."""
    if alias is None:
        return []

    joined = {*np.flatnonzero(alias >= 0).tolist(), *alias[alias >= 0].tolist()}
    return [(neuron, int(alias[neuron])) for neuron in sorted(joined)]


class _Current:
    """The current of a connection for spikes `(B, *N)`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.source = connection.source
        self.weight = connection.weight << connection.shift
        # exact: sums of integers below 2^53
        self._factors = self.weight.astype(np.float64)
        if not connection.settings:
            self._factors = self._factors.reshape(len(self.weight), -1)

    def __call__(self, spikes: NDArray[Any]) -> Ints:
        shape = self.connection.shape
        if self.connection.settings:
            x = spikes.reshape(len(spikes), *shape).astype(np.float64)
            y = convolution(x, self._factors, None, **self.connection.settings)
            return y.reshape(len(y), -1).astype(np.int64)

        y = spikes.reshape(len(spikes), -1).astype(np.float64) @ self._factors
        return y.astype(np.int64).reshape(len(y), *self.weight.shape[1:])

    def largest(self, spikes: NDArray[Any]) -> Ints:
        """The sum of the magnitudes that the spikes add."""
        y = spikes.reshape(len(spikes), -1).astype(np.float64) @ np.abs(self._factors)
        return y.astype(np.int64).reshape(len(y), *self.weight.shape[1:])


def _total(a: Any, i: Ints, connections: Sequence[tuple[_Current, NDArray[Any]]]) -> Ints:
    """The currents of a step; where they could saturate on the way, as they add up spike by spike."""
    currents = [connection(spikes) for connection, spikes in connections]
    total = sum(currents[1:], currents[0])
    limit = a.max_current
    if limit is None:
        return total

    reached = np.abs(i) + sum(connection.largest(spikes) for connection, spikes in connections)
    saturates = reached > limit
    if not saturates.any():
        return total

    rows, *places = np.nonzero(saturates)
    before = i[saturates]
    value = before
    for connection, spikes in connections:
        counts = spikes.reshape(len(spikes), -1)
        for channel in np.flatnonzero(counts.any(0)):
            added = counts[rows, channel] * connection.weight[(channel, *places)]
            value = a.clip(value + added, -limit - 1, limit)

    total = total.copy()
    total[saturates] = value - before
    return total
