"""Hybrid units of the integer model: their stages in integers. No floats, and no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikebridge.deploy.bundle.manifest import StageRecord
from spikebridge.deploy.integer.program import IntegerProgram, ProgramRecord
from spikebridge.deploy.runtime.units import UnitRunner, UnitStages
from spikebridge.deploy.stages.arithmetic import Ints, ratio, rescale
from spikebridge.deploy.stages.discretizers import Discretize, Result, integer_discretizer, kind_of
from spikebridge.deploy.stages.kernels import integer_kernel
from spikebridge.deploy.stages.neurons import IntegerNeuron

_SPIKING_LAYER = "Fire"  # the record name of `SpikingLayer`


@dataclass(frozen=True)
class IntegerUnitRecord:
    """A unit by its stages."""

    window: StageRecord | None = None
    kernel: StageRecord | None = None
    nonlinearity: ProgramRecord | None = None
    discretizer: StageRecord | None = None


def integer_unit(
    record: IntegerUnitRecord, numbers: Mapping[str, dict[str, Any]], own: Mapping[str, Any] | None = None
) -> UnitRunner:
    """A unit of integers.

    Args:
        record: of the unit.
        numbers: its integers by stage; those of the nonlinearity by operation.
        own: forms of stages that the package does not know, by record name.

    Raises:
        DataError: a stage that is not known, or settings that cannot be.

    Example:
        >>> from spikebridge.deploy.runtime.units import UnitRunnerState
        >>> numbers = {"discretizer": {"v_threshold": np.array(5)}}
        >>> unit = integer_unit(IntegerUnitRecord(discretizer=StageRecord("Threshold", {})), numbers)
        >>> unit.push(np.array([[6]]), UnitRunnerState())[0][0].item()
        1
    """
    kernel = record.kernel
    discretizer = record.discretizer
    steps = discretize = None
    if kernel is not None:
        steps = integer_kernel(kernel.name, kernel.settings, numbers.get("kernel", {}), own)

    if discretizer is not None:
        given = discretizer.settings, numbers.get("discretizer", {})
        is_layer = discretizer.name == _SPIKING_LAYER
        discretize = _layer(*given) if is_layer else integer_discretizer(discretizer.name, *given, own)

    return UnitRunner(
        record.window,
        UnitStages(
            kernel=steps,
            kept=steps is None or steps.keep,
            nonlinearity=None if record.nonlinearity is None else _program(record.nonlinearity, numbers),
            discretize=discretize,
            kind="steps" if discretizer is None else kind_of(discretizer.name, own),
        ),
    )


def _layer(settings: Mapping[str, Any], numbers: dict[str, Any]) -> Discretize:
    neuron = IntegerNeuron(settings, numbers)
    out = ratio(numbers, "out.")

    def discretize(values: Sequence[Ints], length: int, state: Any) -> Result:
        given = []
        for h in values:
            y, state = neuron.step([h], state, {})
            given.append(np.clip(rescale(y, *out), settings["low_out"], settings["high_out"]))

        return given, state

    return discretize


def _program(record: ProgramRecord, numbers: Mapping[str, dict[str, Any]]) -> Any:
    own = {name.partition(":")[2]: q for name, q in numbers.items() if name.startswith("nonlinearity:")}
    program = IntegerProgram(record, own)

    def run(h: Ints, context: Ints | None) -> Ints:
        signals = {name: x for name, x in zip(record.inputs, (h, context), strict=False) if x is not None}
        return program.step(signals, {}, None)[0]

    return run
