"""Hybrid units of the integer model, one step of their source at a time. No floats, and no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.integer_arithmetic import Whole
from spikebridge.deploy.integer_discretizers import EXPANDING, REDUCING, discretizer_of
from spikebridge.deploy.integer_kernels import IntegerKernel
from spikebridge.deploy.integer_program import IntegerProgram, ProgramRecord
from spikebridge.deploy.manifest import StageRecord
from spikebridge.deploy.runner_kernels import restart
from spikebridge.deploy.runner_units import window_sizes
from spikebridge.errors import DataError


@dataclass(frozen=True)
class IntegerUnitRecord:
    """A unit by its stages."""

    window: StageRecord | None = None
    kernel: StageRecord | None = None
    nonlinearity: ProgramRecord | None = None
    discretizer: StageRecord | None = None


class IntegerUnitState(NamedTuple):
    """Steps of an unfinished window, steps since a running one opened, the kernel's carry, the discretizer's state."""

    waiting: tuple[Whole, ...] = ()
    position: int = 0
    carry: Any = None
    discretizer: Any = None


class IntegerUnit:
    """A unit: `values, state = unit.push(x, state)`.

    Args:
        record: the unit in words.
        numbers: its whole numbers by stage; those of the nonlinearity by operation.

    Raises:
        DataError: a stage that is not known, or settings that cannot be.

    Example:
        >>> unit = IntegerUnit(IntegerUnitRecord(StageRecord("Tumbling", {"length": 2})), {})
        >>> values, state = unit.push(np.array([[1]]), IntegerUnitState())
        >>> [value.item() for value in values]
        [1]
    """

    def __init__(self, record: IntegerUnitRecord, numbers: Mapping[str, dict[str, Any]]) -> None:
        self.kind = record.window.name if record.window is not None else None
        self.length, self.stride = window_sizes(record.window)
        kernel, discretizer = record.kernel, record.discretizer
        self.kernel = self.program = self.make = None
        if kernel is not None:
            self.kernel = IntegerKernel(kernel.name, kernel.settings, numbers.get("kernel", {}))
        if record.nonlinearity is not None:
            own = {name.partition(":")[2]: q for name, q in numbers.items() if name.startswith("nonlinearity:")}
            self.program = IntegerProgram(record.nonlinearity, own)
        if discretizer is not None:
            self.make = discretizer_of(discretizer.name, discretizer.settings, numbers.get("discretizer", {}))
        name = discretizer.name if discretizer is not None else None
        reduces, expands = name in REDUCING, name in EXPANDING
        self.kept = kernel is None or bool(kernel.settings["keep"])
        tumbles = self.kind in ("Tumbling", "Sliding")
        self.running = self.kind in (None, "Since") or (tumbles and self.kept and not reduces and not expands)
        holds = self.kind == "Hold" and (reduces or not (self.kept or expands))
        if holds or (self.running and (reduces or expands)):
            raise DataError(f"the stages of a unit do not follow each other: {record}")

    def push(
        self, x: Whole, state: IntegerUnitState, opens: bool | NDArray[np.bool_] = False, context: Whole | None = None
    ) -> tuple[list[Whole], IntegerUnitState]:
        """One step of the source.

        Args:
            x: `(B, *N)`.
            state: after the step before, `IntegerUnitState()` at the start.
            opens: for `Since`: whether a window opens here, or which samples' windows do.
            context: the second signal of the nonlinearity.

        Returns:
            The values that come out, oldest first, and the state.
        """
        if self.running:
            return self._run(x, state, opens, context)
        if self.kind == "Hold":
            return self._close([x] * self.length, state, context)
        waiting = (*state.waiting, x)
        if len(waiting) < self.length:
            return [], state._replace(waiting=waiting)
        values, state = self._close(list(waiting), state, context)
        return values, state._replace(waiting=waiting[self.stride :])

    def _run(
        self, x: Whole, state: IntegerUnitState, opens: bool | NDArray[np.bool_], context: Whole | None
    ) -> tuple[list[Whole], IntegerUnitState]:
        position = state.position
        if self.kind in ("Tumbling", "Sliding"):
            opens, position = position == 0, (position + 1) % self.length
        h, carry = x, state.carry
        if self.kernel is not None:
            if isinstance(opens, np.ndarray):
                carry = restart(carry, self.kernel.begin(x), opens)
            elif opens:
                carry = None
            h, carry = self.kernel.step(x, carry)
        values, drawn = self._discretize([self._apply(h, context)], state)
        return values, IntegerUnitState(state.waiting, position, carry, drawn)

    def _close(
        self, steps: list[Whole], state: IntegerUnitState, context: Whole | None
    ) -> tuple[list[Whole], IntegerUnitState]:
        values = steps
        if self.kernel is not None:
            carry, kept = None, []
            for x in steps:
                h, carry = self.kernel.step(x, carry)
                kept.append(h)
            values = kept if self.kept else kept[-1:]
        values, drawn = self._discretize([self._apply(h, context) for h in values], state)
        return values, state._replace(discretizer=drawn)

    def _apply(self, h: Whole, context: Whole | None) -> Whole:
        if self.program is None:
            return h
        signals = {name: x for name, x in zip(self.program.record.inputs, (h, context), strict=False) if x is not None}
        return self.program.run(signals, {}, {})[0]

    def _discretize(self, values: list[Whole], state: IntegerUnitState) -> tuple[list[Whole], Any]:
        return (values, None) if self.make is None else self.make(values, state.discretizer)
