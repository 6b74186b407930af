"""Hybrid units of the integer model: their stages in integers. No floats, and no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spikebridge.deploy.bundle.bundle import below
from spikebridge.deploy.bundle.manifest import StageRecord
from spikebridge.deploy.integer.program import IntegerProgram, ProgramRecord
from spikebridge.deploy.runtime.units import Nonlinearity, UnitRunner, UnitStages
from spikebridge.deploy.stages.arithmetic import Ints
from spikebridge.deploy.stages.discretizers import integer_discretizer, kind_of
from spikebridge.deploy.stages.kernels import Forms, integer_kernel


@dataclass(frozen=True)
class IntegerUnitRecord:
    """A unit by its stages."""

    window: StageRecord | None = None
    kernel: StageRecord | None = None
    nonlinearity: ProgramRecord | None = None
    discretizer: StageRecord | None = None


def integer_unit(record: IntegerUnitRecord, numbers: Mapping[str, dict[str, Any]], forms: Forms = None) -> UnitRunner:
    """A unit of integers, from its record and its integers by stage."""
    kernel = None
    if record.kernel is not None:
        kernel = integer_kernel(record.kernel.name, record.kernel.settings, numbers.get("kernel", {}), forms)

    discretize = None
    if record.discretizer is not None:
        name = record.discretizer.name
        discretize = integer_discretizer(name, record.discretizer.settings, numbers.get("discretizer", {}), forms)

    stages = UnitStages(
        kernel=kernel,
        kept=kernel is None or kernel.keep,
        nonlinearity=None if record.nonlinearity is None else _nonlinearity(record.nonlinearity, numbers),
        discretize=discretize,
        kind="steps" if record.discretizer is None else kind_of(record.discretizer.name, forms),
    )

    return UnitRunner(record.window, stages)


def nonlinearity_numbers(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The integers of a unit's nonlinearity by operation."""
    return below("nonlinearity:", numbers)


def _nonlinearity(record: ProgramRecord, numbers: Mapping[str, dict[str, Any]]) -> Nonlinearity:
    program = IntegerProgram(record, nonlinearity_numbers(numbers))

    def run(h: Ints, context: Ints | None) -> Ints:
        signals = {name: x for name, x in zip(record.inputs, (h, context), strict=False) if x is not None}
        return program.step(signals, {}, None)[0]

    return run
