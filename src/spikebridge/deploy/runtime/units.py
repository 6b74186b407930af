"""A hybrid unit in numpy: window, kernel, nonlinearity, discretizer, one step of its source at a time.

No torch is needed. `Y = Q . F . H . W (X)` (R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 1 and 4-6). The
order of the stages is the same for floats (`float_unit`) and integers (`integer/units.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.manifest import ClockRecord, StageRecord, UnitRecord
from spikebridge.deploy.runtime.nir_interpreter import NirRunner
from spikebridge.deploy.stages.discretizers import Discretize, Kind, Result, float_discretizer, kind_of
from spikebridge.deploy.stages.kernels import KernelRunner, float_kernel, restart
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[Any]
Nonlinearity: TypeAlias = Callable[[Values, Values | None], Values]  # of a value and the context
Function: TypeAlias = Callable[[Values], Values]  # of a whole window, batch first
MOST_STEPS = 1 << 20
_WINDOWS = ("Hold", "Tumbling", "Sliding", "Since")


class UnitRunnerState(NamedTuple):
    """Steps of an unfinished window, steps since a running one opened, the kernel's carry, the discretizer's state."""

    waiting: tuple[Values, ...] = ()
    position: int = 0
    carry: Any = None
    discretizer: Any = None


@dataclass(frozen=True)
class UnitStages:
    """The stages of a unit behind its window; None for one that is not there.

    Attributes:
        kernel: step by step.
        kept: whether every step of a window gives a value, or the last one alone.
        of_window: a kernel that takes a window as a whole, `(B, L, *N)`.
        nonlinearity: of one value and the context.
        discretize: the discretizer.
        kind: of the discretizer: "steps", "reduces" or "expands".
    """

    kernel: KernelRunner | None = None
    kept: bool = True
    of_window: Function | None = None
    nonlinearity: Nonlinearity | None = None
    discretize: Discretize | None = None
    kind: Kind = "steps"


class UnitRunner:
    """A unit that runs without torch: `values, state = unit.push(x, state)`.

    Args:
        window: in words, None where each step stands for itself.
        stages: what follows it.

    Raises:
        DataError: stages that do not follow each other, or a window that cannot be.

    Example:
        >>> unit = UnitRunner(StageRecord("Tumbling", {"length": 2}), UnitStages())
        >>> values, state = unit.push(np.array([[1.0]]), UnitRunnerState())
        >>> [value.item() for value in values]
        [1.0]
    """

    def __init__(self, window: StageRecord | None, stages: UnitStages) -> None:
        self.kind = window.name if window is not None else None
        self.length, self.stride = _window_sizes(window)
        self.stages = stages
        changes = stages.kind != "steps"
        tumbles = self.kind in ("Tumbling", "Sliding")
        self.running = self.kind in (None, "Since") or (tumbles and stages.kept and not changes)
        holds = self.kind == "Hold" and (stages.kind == "reduces" or not (stages.kept or stages.kind == "expands"))

        if holds or (self.running and (changes or stages.of_window is not None)):
            gives = "every step" if stages.kept else "its last step"
            raise DataError(
                f"the stages of a unit do not follow each other: {window}, a kernel that gives {gives} of it, a "
                f"discretizer of kind {stages.kind!r}"
            )

    def clock(self, source: ClockRecord) -> ClockRecord:
        """The clock of the unit's values for a source's clock.

        Raises:
            DataError: the values of a window do not divide its base ticks.

        Example:
            >>> UnitRunner(StageRecord("Tumbling", {"length": 6}), UnitStages(kept=False)).clock(ClockRecord(1, 0))
            ClockRecord(period=6, phase=5)
        """
        if self.running:
            return source

        closes = source
        if self.kind != "Hold":
            closes = ClockRecord(source.period * self.stride, source.phase + (self.length - 1) * source.period)

        single = self.stages.kind == "reduces" or (self.stages.kind == "steps" and not self.stages.kept)
        number = 1 if single else self.length
        if closes.period % number:
            raise DataError(f"a unit gives {number} values every {closes.period} base ticks, which does not divide")

        return ClockRecord(closes.period // number, closes.phase)

    def push(
        self, x: Values, state: UnitRunnerState, starts: bool | NDArray[np.bool_] = False, context: Values | None = None
    ) -> tuple[list[Values], UnitRunnerState]:
        """One step of the source.

        Args:
            x: `(B, *N)`.
            state: after the step before, `UnitRunnerState()` at the start.
            starts: for `Since`: whether a window starts here, or which samples' windows do.
            context: the second signal of the nonlinearity.

        Returns:
            The values that come out, oldest first, and the state.
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
        """One step of the kernel, and its value."""
        position = state.position
        kernel = self.stages.kernel
        if self.kind in ("Tumbling", "Sliding"):
            starts = position == 0
            position = (position + 1) % self.length

        h = x
        carry = state.carry

        if kernel is not None:
            if isinstance(starts, np.ndarray):
                carry = restart(carry, kernel.start(x), starts)
            elif starts:
                carry = None

            h, carry = kernel(x, carry)

        values, drawn = self._discretize([self._apply(h, context)], state)
        return values, UnitRunnerState(state.waiting, position, carry, drawn)

    def _close(
        self, steps: list[Values], state: UnitRunnerState, context: Values | None
    ) -> tuple[list[Values], UnitRunnerState]:
        """A whole window."""
        kernel = self.stages.kernel
        if self.stages.of_window is not None:
            values = [self._apply(self.stages.of_window(np.stack(steps, axis=1)), context)]
        elif kernel is None:
            # the steps of a held value are one value
            alike = self.kind == "Hold"
            values = [self._apply(x, context) for x in (steps[:1] if alike else steps)]
            values = values * self.length if alike else values
        else:
            carry = None
            kept = []
            for x in steps:
                h, carry = kernel(x, carry)
                kept.append(h)

            values = [self._apply(h, context) for h in (kept if self.stages.kept else kept[-1:])]

        values, drawn = self._discretize(values, state)
        return values, state._replace(discretizer=drawn)

    def _apply(self, h: Values, context: Values | None) -> Values:
        return h if self.stages.nonlinearity is None else self.stages.nonlinearity(h, context)

    def _discretize(self, values: list[Values], state: UnitRunnerState) -> tuple[list[Values], Any]:
        discretize = self.stages.discretize
        return (values, None) if discretize is None else discretize(values, self.length, state.discretizer)


@dataclass(frozen=True)
class UnitFiles:
    """What a unit has in files of its own.

    Attributes:
        nonlinearity: F, None for the identity.
        spiking_layer: of a `SpikingLayer` discretizer.
        functions: of stages named `Function`: "kernel", "discretizer".
    """

    nonlinearity: Nonlinearity | None = None
    spiking_layer: NirRunner | None = None
    functions: Mapping[str, Function] = field(default_factory=dict)


def float_unit(
    record: UnitRecord,
    numbers: Mapping[str, Values],
    files: UnitFiles = UnitFiles(),
    own: Mapping[str, Any] | None = None,
) -> UnitRunner:
    """A unit of floats.

    Args:
        record: of the unit.
        numbers: its tensors, named `stage.quantity`.
        files: what it has in files of its own.
        own: forms of stages that the package does not know, by record name.

    Raises:
        DataError: a stage that is not known, or settings that cannot be.

    Example:
        >>> mean = UnitRecord(StageRecord("Tumbling", {"length": 2}), StageRecord("Mean", {"keep": False}))
        >>> unit = float_unit(mean, {})
        >>> values, state = unit.push(np.array([[1.0]], np.float32), UnitRunnerState())
        >>> len(values), unit.push(np.array([[3.0]], np.float32), state)[0][0].item()
        (0, 2.0)
    """
    kernel = record.kernel
    discretizer = record.discretizer
    functions = files.functions
    steps = discretize = None

    if kernel is not None and "kernel" not in functions:
        steps = float_kernel(kernel.name, kernel.settings, _of("kernel", numbers), own)

    if files.spiking_layer is not None:
        discretize = _layer(files.spiking_layer)
    elif "discretizer" in functions:
        discretize = _function(functions["discretizer"])
    elif discretizer is not None:
        discretize = float_discretizer(discretizer.name, discretizer.settings, _of("discretizer", numbers), own)

    kind: Any = "steps" if discretizer is None else discretizer.settings.get("kind", kind_of(discretizer.name, own))
    stages = UnitStages(
        kernel=steps,
        kept=kernel is None or bool(kernel.settings.get("keep")),
        of_window=functions.get("kernel"),
        nonlinearity=_single(files.nonlinearity),
        discretize=discretize,
        kind=kind,
    )

    return UnitRunner(record.window, stages)


def _single(nonlinearity: Nonlinearity | None) -> Nonlinearity:
    """A nonlinearity that takes floats of 32 bits, whatever a kernel gives."""
    if nonlinearity is None:
        return lambda h, context: h.astype(np.float32, copy=False)
    return lambda h, context: nonlinearity(h.astype(np.float32, copy=False), context)


def _layer(layer: NirRunner) -> Discretize:
    """A spiking layer makes the spikes."""

    def discretize(values: Sequence[Values], length: int, state: Any) -> Result:
        spikes = []
        for h in values:
            y, state = layer.step(h, state)
            spikes.append(y)

        return spikes, state

    return discretize


def _function(function: Function) -> Discretize:
    def discretize(values: Sequence[Values], length: int, state: Any) -> Result:
        given = function(np.stack(values, axis=1))
        return [given[:, k] for k in range(given.shape[1])], None

    return discretize


def _window_sizes(window: StageRecord | None) -> tuple[int, int]:
    """Length and stride of a window.

    Raises:
        DataError: a window that is not known, or cannot be.
    """
    if window is None or window.name == "Since":
        return 1, 1
    if window.name not in _WINDOWS:
        raise DataError(f"there is no window {window.name!r} here; known are {', '.join(_WINDOWS)}")

    length = window.settings.get("length")
    stride = window.settings.get("stride", length)
    for size in (length, stride):
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MOST_STEPS:
            raise DataError(f"a window of {length!r} steps every {stride!r} cannot be")

    if stride > length:  # type: ignore[operator]
        raise DataError(f"a window of {length} steps every {stride} loses steps")

    return int(length), int(stride)  # type: ignore[arg-type]


def _of(stage: str, numbers: Mapping[str, Values]) -> dict[str, Values]:
    return {name.partition(".")[2]: value for name, value in numbers.items() if name.startswith(f"{stage}.")}
