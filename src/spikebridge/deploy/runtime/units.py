"""A hybrid unit in numpy: window, kernel, nonlinearity, discretizer, one step of its source at a time.

No torch is needed. `Y = Q . F . H . W (X)` (R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 1 and 4-6). The
order of the stages is the same for floats (`float_unit`) and integers (`integer/units.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.bundle import below
from spikebridge.deploy.bundle.manifest import ClockRecord, StageRecord, UnitRecord
from spikebridge.deploy.runtime.nir_interpreter import NirRunner
from spikebridge.deploy.stages.discretizers import Discretize, Kind, Result, float_discretizer, kind_of
from spikebridge.deploy.stages.kernels import Forms, KernelRunner, float_kernel, restart
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[Any]
Nonlinearity: TypeAlias = Callable[[Values, Values | None], Values]  # of a value and the context
Function: TypeAlias = Callable[[Values], Values]  # of a whole window, batch first
_WINDOWS = ("Hold", "Tumbling", "Sliding", "Since")


class UnitRunnerState(NamedTuple):
    """Steps of an unfinished window, steps since a running window opened, states of kernel and discretizer."""

    waiting: tuple[Values, ...] = ()
    position: int = 0
    carry: Any = None
    discretizer: Any = None


@dataclass(frozen=True)
class UnitStages:
    """The stages of a unit after its window; None for a stage that it lacks."""

    kernel: KernelRunner | None = None
    kept: bool = True  # every step of a window gives a value, not only the last one
    window_function: Function | None = None  # a kernel that takes a window as a whole
    nonlinearity: Nonlinearity | None = None
    discretize: Discretize | None = None
    kind: Kind = "steps"  # of the discretizer


class UnitRunner:
    """A unit that runs without torch: `values, state = unit.push(x, state)`.

    Without a window each step is a value of its own. Raises a `DataError` for stages that do not follow each other.
    """

    def __init__(self, window: StageRecord | None, stages: UnitStages) -> None:
        self.kind = window.name if window is not None else None
        self.length, self.stride = _window_sizes(window)
        self.stages = stages

        changes_number = stages.kind != "steps"
        is_counted = self.kind in ("Tumbling", "Sliding")
        # a running unit has a value at every step, and so need not keep its steps
        self.running = self.kind in (None, "Since") or (is_counted and stages.kept and not changes_number)
        self._check_order(window, changes_number)

    def _check_order(self, window: StageRecord | None, changes_number: bool) -> None:
        stages = self.stages
        loses_held = stages.kind == "reduces" or not (stages.kept or stages.kind == "expands")
        needs_window = changes_number or stages.window_function is not None

        if (self.kind == "Hold" and loses_held) or (self.running and needs_window):
            gives = "every step" if stages.kept else "its last step"
            raise DataError(
                f"the stages of a unit do not follow each other: {window}, a kernel that gives {gives} of it, a "
                f"discretizer of kind {stages.kind!r}"
            )

    def clock(self, source: ClockRecord) -> ClockRecord:
        """The clock of the unit's values for a source's clock."""
        if self.running:
            return source

        closes = source
        if self.kind != "Hold":
            closes = ClockRecord(source.period * self.stride, source.phase + (self.length - 1) * source.period)

        is_single = self.stages.kind == "reduces" or (self.stages.kind == "steps" and not self.stages.kept)
        number = 1 if is_single else self.length
        if closes.period % number:
            raise DataError(f"a unit gives {number} values every {closes.period} base ticks, which does not divide")

        return ClockRecord(closes.period // number, closes.phase)

    def push(
        self, x: Values, state: UnitRunnerState, starts: bool | NDArray[np.bool_] = False, context: Values | None = None
    ) -> tuple[list[Values], UnitRunnerState]:
        """One step `(B, *N)` of the source: the new values, oldest first, and the state.

        `starts` is True, or a mask of samples, if a window of `Since` opens here. The context is the second signal of
        the nonlinearity.
        """
        if self.running:
            return self._run(x, state, starts, context)
        if self.kind == "Hold":
            return self._close([x] * self.length, state, context)

        waiting = (*state.waiting, x)
        if len(waiting) < self.length:
            return [], state._replace(waiting=waiting)

        values, state = self._close(list(waiting), state, context)
        return values, state._replace(waiting=waiting[self.stride :])

    def _run(
        self, x: Values, state: UnitRunnerState, starts: bool | NDArray[np.bool_], context: Values | None
    ) -> tuple[list[Values], UnitRunnerState]:
        position = state.position
        if self.kind in ("Tumbling", "Sliding"):
            # a counted window needs no trigger
            starts = position == 0
            position = (position + 1) % self.length

        h = x
        carry = state.carry
        kernel = self.stages.kernel

        if kernel is not None:
            if isinstance(starts, np.ndarray):
                carry = restart(carry, kernel.start(x), starts)
            elif starts:
                carry = None

            h, carry = kernel(x, carry)

        values, discretizer = self._discretize([self._apply(h, context)], state)
        return values, UnitRunnerState(state.waiting, position, carry, discretizer)

    def _close(
        self, steps: list[Values], state: UnitRunnerState, context: Values | None
    ) -> tuple[list[Values], UnitRunnerState]:
        if self.stages.window_function is not None:
            values = [self._apply(self.stages.window_function(np.stack(steps, axis=1)), context)]
        elif self.stages.kernel is not None:
            values = [self._apply(h, context) for h in self._kernel_values(self.stages.kernel, steps)]
        elif self.kind == "Hold":
            # the steps of a held value are one value
            values = [self._apply(steps[0], context)] * self.length
        else:
            values = [self._apply(x, context) for x in steps]

        values, discretizer = self._discretize(values, state)
        return values, state._replace(discretizer=discretizer)

    def _kernel_values(self, kernel: KernelRunner, steps: list[Values]) -> list[Values]:
        carry = None
        values = []
        for x in steps:
            h, carry = kernel(x, carry)
            values.append(h)

        return values if self.stages.kept else values[-1:]

    def _apply(self, h: Values, context: Values | None) -> Values:
        return h if self.stages.nonlinearity is None else self.stages.nonlinearity(h, context)

    def _discretize(self, values: list[Values], state: UnitRunnerState) -> tuple[list[Values], Any]:
        if self.stages.discretize is None:
            return values, None
        outputs, after = self.stages.discretize(values, self.length, state.discretizer)
        return list(outputs), after


@dataclass(frozen=True)
class UnitFiles:
    """Stages of a unit that are files of their own."""

    nonlinearity: Nonlinearity | None = None
    spiking_layer: NirRunner | None = None  # the layer of a `SpikingLayer` discretizer
    functions: Mapping[str, Function] = field(default_factory=dict)  # "kernel", "discretizer" without an array form


def float_unit(
    record: UnitRecord, numbers: Mapping[str, Values], files: UnitFiles = UnitFiles(), forms: Forms = None
) -> UnitRunner:
    """A unit of floats from its record, its tensors `stage.quantity` and its files."""
    kernel = None
    if record.kernel is not None and "kernel" not in files.functions:
        tensors = below("kernel.", numbers)
        kernel = float_kernel(record.kernel.name, record.kernel.settings, tensors, forms)

    kind: Any = "steps"
    if record.discretizer is not None:
        kind = record.discretizer.settings.get("kind", kind_of(record.discretizer.name, forms))

    stages = UnitStages(
        kernel=kernel,
        kept=record.kernel is None or bool(record.kernel.settings.get("keep")),
        window_function=files.functions.get("kernel"),
        nonlinearity=_in_float32(files.nonlinearity),
        discretize=_discretizer(record.discretizer, numbers, files, forms),
        kind=kind,
    )

    return UnitRunner(record.window, stages)


def _discretizer(
    record: StageRecord | None, numbers: Mapping[str, Values], files: UnitFiles, forms: Forms
) -> Discretize | None:
    if files.spiking_layer is not None:
        return _layer_discretizer(files.spiking_layer)
    if "discretizer" in files.functions:
        return _function_discretizer(files.functions["discretizer"])
    if record is None:
        return None

    return float_discretizer(record.name, record.settings, below("discretizer.", numbers), forms)


def _in_float32(nonlinearity: Nonlinearity | None) -> Nonlinearity:
    """A nonlinearity that takes float32, whatever a kernel gives."""
    if nonlinearity is None:
        return lambda h, context: h.astype(np.float32, copy=False)
    return lambda h, context: nonlinearity(h.astype(np.float32, copy=False), context)


def _layer_discretizer(layer: NirRunner) -> Discretize:
    def discretize(values: Sequence[Values], length: int, state: Any) -> Result:
        spikes = []
        for h in values:
            y, state = layer.step(h, state)
            spikes.append(y)

        return spikes, state

    return discretize


def _function_discretizer(function: Function) -> Discretize:
    def discretize(values: Sequence[Values], length: int, state: Any) -> Result:
        outputs = function(np.stack(values, axis=1))
        return [outputs[:, k] for k in range(outputs.shape[1])], None

    return discretize


def _window_sizes(window: StageRecord | None) -> tuple[int, int]:
    """Length and stride of a window."""
    if window is None or window.name == "Since":
        return 1, 1
    if window.name not in _WINDOWS:
        raise DataError(f"there is no window {window.name!r} here; known are {', '.join(_WINDOWS)}")

    # the record has checked the sizes that it holds
    length: Any = window.settings.get("length")
    stride: Any = window.settings.get("stride", length)
    if length is None:
        raise DataError(f"a window {window.name!r} lacks its length")
    if stride > length:
        raise DataError(f"a window of {length} steps every {stride} loses steps")

    return length, stride
