"""Programs of the integer model: layers in the order in which they run. No floats, and no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from spikebridge.deploy.integer_arithmetic import Whole
from spikebridge.deploy.integer_layers import LAYERS, layer_of
from spikebridge.deploy.integer_neurons import QUANTITIES, IntegerNeuron
from spikebridge.deploy.manifest import Setting
from spikebridge.errors import DataError, did_you_mean

NEURON = "neuron"
States: TypeAlias = dict[str, Any]
Effects: TypeAlias = Mapping[tuple[str, str], Sequence[tuple[Whole, str]]]  # by neuron and quantity: signals and how


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
        known = set(self.inputs)
        for record in self.operations:
            if record.operation not in (*LAYERS, NEURON):
                known_operations = (*LAYERS, NEURON)
                raise DataError(
                    f"there is no operation {record.operation!r}; {did_you_mean(record.operation, known_operations)}"
                )
            if not record.sources:
                raise DataError(f"operation {record.name!r} takes no signal")
            for source in record.sources:
                if source not in known:
                    raise DataError(f"operation {record.name!r} takes {source!r}, which does not come before it")
            known.add(record.name)
        if self.output not in known:
            raise DataError(f"a program gives {self.output!r}, which it does not make")

    def modulable(self) -> list[tuple[str, str]]:
        """Neurons and their quantities that can be modulated."""
        return [(one.name, q) for one in self.operations if one.operation == NEURON for q in QUANTITIES]


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
                made = IntegerNeuron(one.settings, own) if one.operation == NEURON else None
                self.layers[one.name] = made or layer_of(one.operation, one.settings, own)
            except KeyError as missing:
                raise DataError(f"operation {one.name!r} lacks {missing}") from None

    def step(self, reads: Mapping[str, Whole], effects: Effects, state: States | None) -> tuple[Whole, States]:
        """One step.

        Args:
            reads: by input, `(B, *N)`.
            effects: of modulations, by neuron and quantity.
            state: of neurons by name; None at the start.
        """
        values, states = dict(reads), state or {}
        after: States = {}
        for one in self.record.operations:
            given, layer = [values[source] for source in one.sources], self.layers[one.name]
            if isinstance(layer, IntegerNeuron):
                own = {quantity: several for (node, quantity), several in effects.items() if node == one.name}
                values[one.name], after[one.name] = layer.step(given, states.get(one.name), own)
            else:
                values[one.name] = layer(given)
        return values[self.record.output], after
