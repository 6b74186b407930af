"""A hybrid unit in numpy: window, kernel, nonlinearity, discretizer, one step of its source at a time.

No torch is needed. `Y = Q . F . H . W (X)` (R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 1 and 4-6).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.manifest import StageRecord, UnitRecord
from spikebridge.deploy.runner_discretizers import Function, discretizer_of, fire_of, kind_of
from spikebridge.deploy.runner_kernels import kernel_of, restart
from spikebridge.deploy.runner_nir import NirRunner
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[np.float32]
Nonlinearity: TypeAlias = Callable[[Values, Values | None], Values]  # of a value and the context
MOST_STEPS = 1 << 20
WINDOWS = ("Hold", "Tumbling", "Sliding", "Since")


class UnitState(NamedTuple):
    """Steps of an unfinished window, steps since a running one opened, the kernel's carry, the discretizer's state."""

    waiting: tuple[Values, ...] = ()
    position: int = 0
    carry: Any = None
    discretizer: Any = None


class UnitRunner:
    """A unit that runs without torch: `values, state = unit.push(x, state)`.

    Args:
        record: the unit in words.
        numbers: its tensors, named `stage.quantity`.
        nonlinearity: F, None for the identity.
        fires: the layer of a `Fire` discretizer.
        functions: of stages named `Function`: "kernel", "discretizer".

    Raises:
        DataError: a stage that is not known, or settings that cannot be.

    Example:
        >>> mean = UnitRecord(StageRecord("Tumbling", {"length": 2}), StageRecord("Mean", {"keep": False}))
        >>> unit = UnitRunner(mean, {})
        >>> values, state = unit.push(np.array([[1.0]], np.float32), UnitState())
        >>> len(values), unit.push(np.array([[3.0]], np.float32), state)[0][0].item()
        (0, 2.0)
    """

    def __init__(
        self,
        record: UnitRecord,
        numbers: Mapping[str, Values],
        nonlinearity: Nonlinearity | None = None,
        fires: NirRunner | None = None,
        functions: Mapping[str, Function] | None = None,
    ) -> None:
        window = record.window
        self.kind = window.name if window is not None else None
        self.length, self.stride = window_sizes(window)
        self.kept = record.kernel is None or bool(record.kernel.settings.get("keep"))
        own = dict(functions or {})
        self.of_window = own.get("kernel")
        self.kernel = None
        if record.kernel is not None and self.of_window is None:
            self.kernel = kernel_of(record.kernel, _of("kernel", numbers))
        self.nonlinearity = nonlinearity
        discretizer = record.discretizer
        self.make = None
        if fires is not None:
            self.make = fire_of(fires)
        elif discretizer is not None:
            self.make = discretizer_of(discretizer, _of("discretizer", numbers), own.get("discretizer"))
        reduces, expands = (kind_of(discretizer) == kind for kind in ("reduces", "expands"))
        tumbles = self.kind in ("Tumbling", "Sliding")
        self.running = self.kind in (None, "Since") or (tumbles and self.kept and not reduces and not expands)
        holds = self.kind == "Hold" and (reduces or not (self.kept or expands))
        if holds or (self.running and (reduces or expands or self.of_window is not None)):
            raise DataError(f"the stages of a unit do not follow each other: {record}")

    def push(
        self, x: Values, state: UnitState, opens: bool | NDArray[np.bool_] = False, context: Values | None = None
    ) -> tuple[list[Values], UnitState]:
        """One step of the source.

        Args:
            x: `(B, *N)`.
            state: after the step before, `UnitState()` at the start.
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
        self, x: Values, state: UnitState, opens: bool | NDArray[np.bool_], context: Values | None
    ) -> tuple[list[Values], UnitState]:
        """The kernel goes on, and gives one value."""
        position = state.position
        if self.kind in ("Tumbling", "Sliding"):
            opens, position = position == 0, (position + 1) % self.length
        h, carry = x, state.carry
        if self.kernel is not None:
            if isinstance(opens, np.ndarray):
                carry = restart(carry, self.kernel.begin(x), opens)
            elif opens:
                carry = None
            h, carry = self.kernel(x, carry)
        values, drawn = self._discretize([self._apply(h, context)], state)
        return values, UnitState(state.waiting, position, carry, drawn)

    def _close(self, steps: list[Values], state: UnitState, context: Values | None) -> tuple[list[Values], UnitState]:
        """A whole window."""
        if self.of_window is not None:
            values = [self._apply(self.of_window(np.stack(steps, axis=1)), context)]
        elif self.kernel is None:
            # the steps of a held value are one value
            alike = self.kind == "Hold"
            values = [self._apply(x, context) for x in (steps[:1] if alike else steps)]
            values = values * self.length if alike else values
        else:
            carry, kept = None, []
            for x in steps:
                h, carry = self.kernel(x, carry)
                kept.append(h)
            values = [self._apply(h, context) for h in (kept if self.kept else kept[-1:])]
        values, drawn = self._discretize(values, state)
        return values, state._replace(discretizer=drawn)

    def _apply(self, h: Values, context: Values | None) -> Values:
        h = h.astype(np.float32, copy=False)
        return h if self.nonlinearity is None else self.nonlinearity(h, context)

    def _discretize(self, values: list[Values], state: UnitState) -> tuple[list[Values], Any]:
        return (values, None) if self.make is None else self.make(values, self.length, state.discretizer)


def window_sizes(window: StageRecord | None) -> tuple[int, int]:
    """Length and stride of a window.

    Raises:
        DataError: a window that is not known, or cannot be.
    """
    if window is None or window.name == "Since":
        return 1, 1
    if window.name not in WINDOWS:
        raise DataError(f"there is no window {window.name!r} here; known are {', '.join(WINDOWS)}")
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
