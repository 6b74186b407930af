"""Hybrid units of the integer model: the stages of `runner_units.py` in whole numbers. No floats, and no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spikebridge.deploy.integer_arithmetic import Whole
from spikebridge.deploy.integer_discretizers import EXPANDING, REDUCING, discretizer_of
from spikebridge.deploy.integer_kernels import IntegerKernel
from spikebridge.deploy.integer_program import IntegerProgram, ProgramRecord
from spikebridge.deploy.manifest import StageRecord
from spikebridge.deploy.runner_units import Stages, UnitRunner


@dataclass(frozen=True)
class IntegerUnitRecord:
    """A unit by its stages."""

    window: StageRecord | None = None
    kernel: StageRecord | None = None
    nonlinearity: ProgramRecord | None = None
    discretizer: StageRecord | None = None


def integer_unit(record: IntegerUnitRecord, numbers: Mapping[str, dict[str, Any]]) -> UnitRunner:
    """A unit of whole numbers.

    Args:
        record: the unit in words.
        numbers: its whole numbers by stage; those of the nonlinearity by operation.

    Raises:
        DataError: a stage that is not known, or settings that cannot be.

    Example:
        >>> import numpy as np
        >>> from spikebridge.deploy.runner_units import UnitState
        >>> numbers = {"discretizer": {"v_threshold": np.array(5)}}
        >>> unit = integer_unit(IntegerUnitRecord(discretizer=StageRecord("Threshold", {})), numbers)
        >>> unit.push(np.array([[6]]), UnitState())[0][0].item()
        1
    """
    kernel, discretizer = record.kernel, record.discretizer
    steps = make = None
    if kernel is not None:
        steps = IntegerKernel(kernel.name, kernel.settings, numbers.get("kernel", {}))
    if discretizer is not None:
        make = discretizer_of(discretizer.name, discretizer.settings, numbers.get("discretizer", {}))
    name = discretizer.name if discretizer is not None else None
    return UnitRunner(
        record.window,
        Stages(
            kernel=steps,
            kept=steps is None or steps.keep,
            nonlinearity=None if record.nonlinearity is None else _program(record.nonlinearity, numbers),
            make=make,
            kind="reduces" if name in REDUCING else "expands" if name in EXPANDING else "steps",
        ),
    )


def _program(record: ProgramRecord, numbers: Mapping[str, dict[str, Any]]) -> Any:
    own = {name.partition(":")[2]: q for name, q in numbers.items() if name.startswith("nonlinearity:")}
    program = IntegerProgram(record, own)

    def run(h: Whole, context: Whole | None) -> Whole:
        signals = {name: x for name, x in zip(record.inputs, (h, context), strict=False) if x is not None}
        return program.step(signals, {}, None)[0]

    return run
