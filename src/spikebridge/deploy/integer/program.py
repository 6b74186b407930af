"""Programs of the integer model: layers in the order in which they run. No floats, and no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from spikebridge.deploy.bundle.manifest import Setting, check_shape
from spikebridge.deploy.integer.layers import LAYERS, layer_of
from spikebridge.deploy.stages.arithmetic import Ints
from spikebridge.deploy.stages.neurons import QUANTITIES, IntegerFactor, IntegerNeuron
from spikebridge.errors import DataError, did_you_mean

NEURON, FACTOR, PREVIOUS = "neuron", "factor", "previous"
MODULABLE = {NEURON: IntegerNeuron, FACTOR: IntegerFactor}
SIZES = ("kernel_size", "stride", "padding", "dilation")
MOST_SIZE = 1 << 10
States: TypeAlias = dict[str, Any]
Effects: TypeAlias = Mapping[tuple[str, str], Sequence[tuple[Ints, str]]]  # by neuron and quantity: signals and how


@dataclass(frozen=True)
class OperationRecord:
    """An operation: what it is called, what it does, to which signals, and its sizes."""

    name: str
    operation: str
    sources: tuple[str, ...]
    settings: dict[str, Setting]


@dataclass(frozen=True)
class ProgramRecord:
    """Operations in order; the whole numbers of each stand under its name."""

    inputs: tuple[str, ...]
    operations: tuple[OperationRecord, ...]
    output: str

    def __post_init__(self) -> None:
        """Refuses programs that cannot run."""
        known, all_names = set(self.inputs), {record.name for record in self.operations}
        operations = (*LAYERS, *MODULABLE, PREVIOUS)
        for record in self.operations:
            if record.operation not in operations:
                raise DataError(
                    f"there is no operation {record.operation!r}; {did_you_mean(record.operation, operations)}"
                )
            for name, size in record.settings.items():
                if name.startswith(SIZES) and not (isinstance(size, int) and 0 <= size <= MOST_SIZE):
                    raise DataError(f"operation {record.name!r} has a {name} of {size!r}; 0 to {MOST_SIZE} can be")
            if not record.sources:
                raise DataError(f"operation {record.name!r} takes no signal")
            for source in record.sources:
                # what was given one tick ago may come from anywhere
                if source not in (all_names if record.operation == PREVIOUS else known):
                    raise DataError(f"operation {record.name!r} takes {source!r}, which does not come before it")
            known.add(record.name)
        if self.output not in known:
            raise DataError(f"a program gives {self.output!r}, which it does not make")

    def modulable(self) -> list[tuple[str, str]]:
        """Layers and their quantities that can be modulated."""
        found = [(one.name, q) for one in self.operations if one.operation == NEURON for q in QUANTITIES]
        return found + [(o.name, str(o.settings.get("quantity"))) for o in self.operations if o.operation == FACTOR]


class IntegerProgram:
    """A part, or the nonlinearity of a unit.

    Args:
        record: its operations.
        numbers: by operation.
    """

    def __init__(self, record: ProgramRecord, numbers: Mapping[str, dict[str, Any]]) -> None:
        self.record = record
        self.layers: dict[str, Any] = {}
        for one in record.operations:
            try:
                own = numbers.get(one.name, {})
                if one.operation in MODULABLE:
                    self.layers[one.name] = MODULABLE[one.operation](one.settings, own)
                elif one.operation != PREVIOUS:
                    self.layers[one.name] = layer_of(one.operation, one.settings, own)
            except KeyError as missing:
                raise DataError(f"operation {one.name!r} lacks {missing}") from None

    def step(self, reads: Mapping[str, Ints], effects: Effects, state: States | None) -> tuple[Ints, States]:
        """One step.

        Args:
            reads: by input, `(B, *N)`.
            effects: of modulations, by neuron and quantity.
            state: of neurons by name; None at the start.
        """
        values, states = dict(reads), state or {}
        after: States = {}
        for one in self.record.operations:
            if one.operation == PREVIOUS:
                values[one.name] = states.get(one.name, _nothing(one.settings, reads))
                continue
            given, layer = [values[source] for source in one.sources], self.layers[one.name]
            if isinstance(layer, IntegerNeuron | IntegerFactor):
                own = {quantity: several for (node, quantity), several in effects.items() if node == one.name}
                values[one.name], after[one.name] = layer.step(given, states.get(one.name), own)
            else:
                values[one.name] = layer(given)
        after |= {o.name: values[o.sources[0]] for o in self.record.operations if o.operation == PREVIOUS}
        return values[self.record.output], after


def _nothing(settings: Mapping[str, Setting], reads: Mapping[str, Ints]) -> Ints:
    """What was given before the first tick."""
    sizes = [settings[f"axis_{i}"] for i in range(len(settings))]
    shape = tuple(size for size in sizes if isinstance(size, int))
    check_shape(shape)
    return np.zeros((len(next(iter(reads.values()))), *shape), np.int64)
