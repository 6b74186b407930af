"""A hybrid unit in numpy: window, kernel, nonlinearity, discretizer, one step of its source at a time.

No torch is needed. `Y = Q . F . H . W (X)` (R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 1 and 4-6). The
order of steps stands here once; whether the stages compute with real numbers (`real_unit`) or with whole ones
(`integer_units.py`) is theirs to know.

The kernels of hybrid units in numpy, one step at a time; they define nothing new. No torch is needed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.manifest import StageRecord, UnitRecord
from spikebridge.deploy.runtime.discretizers import Function, discretizer_of, fire_of, kind_of
from spikebridge.deploy.runtime.nir_interpreter import NirRunner
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[Any]
Nonlinearity: TypeAlias = Callable[[Values, Values | None], Values]  # of a value and the context
Make: TypeAlias = Callable[[Sequence[Any], int, Any], tuple[list[Any], Any]]  # values, steps of a window, state
MOST_STEPS = 1 << 20
WINDOWS = ("Hold", "Tumbling", "Sliding", "Since")


class UnitState(NamedTuple):
    """Steps of an unfinished window, steps since a running one opened, the kernel's carry, the discretizer's state."""

    waiting: tuple[Values, ...] = ()
    position: int = 0
    carry: Any = None
    discretizer: Any = None


@runtime_checkable
class KernelSteps(Protocol):
    """A kernel, one step at a time."""

    def begin(self, x: Values, /) -> Any:
        """The carry at the start of a window, for steps like this one."""

    def __call__(self, x: Values, carry: Any, /) -> tuple[Values, Any]:
        """One step; a carry of None begins a window."""


@dataclass(frozen=True)
class Stages:
    """The stages of a unit behind its window; None for one that is not there.

    Attributes:
        kernel: step by step.
        kept: whether every step of a window is given on, or its last one alone.
        of_window: a kernel that takes a window as a whole, `(B, L, *N)`.
        nonlinearity: of one value and the context.
        make: the discretizer.
        kind: of the discretizer: "steps", "reduces" or "expands".
    """

    kernel: KernelSteps | None = None
    kept: bool = True
    of_window: Function | None = None
    nonlinearity: Nonlinearity | None = None
    make: Make | None = None
    kind: str = "steps"


class UnitRunner:
    """A unit that runs without torch: `values, state = unit.push(x, state)`.

    Args:
        window: in words, None where each step stands for itself.
        stages: what follows it.

    Raises:
        DataError: stages that do not follow each other, or a window that cannot be.

    Example:
        >>> unit = UnitRunner(StageRecord("Tumbling", {"length": 2}), Stages())
        >>> values, state = unit.push(np.array([[1.0]]), UnitState())
        >>> [value.item() for value in values]
        [1.0]
    """

    def __init__(self, window: StageRecord | None, stages: Stages) -> None:
        self.kind = window.name if window is not None else None
        self.length, self.stride = window_sizes(window)
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
        position, kernel = state.position, self.stages.kernel
        if self.kind in ("Tumbling", "Sliding"):
            opens, position = position == 0, (position + 1) % self.length
        h, carry = x, state.carry
        if kernel is not None:
            if isinstance(opens, np.ndarray):
                carry = restart(carry, kernel.begin(x), opens)
            elif opens:
                carry = None
            h, carry = kernel(x, carry)
        values, drawn = self._discretize([self._apply(h, context)], state)
        return values, UnitState(state.waiting, position, carry, drawn)

    def _close(self, steps: list[Values], state: UnitState, context: Values | None) -> tuple[list[Values], UnitState]:
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
            carry, kept = None, []
            for x in steps:
                h, carry = kernel(x, carry)
                kept.append(h)
            values = [self._apply(h, context) for h in (kept if self.stages.kept else kept[-1:])]
        values, drawn = self._discretize(values, state)
        return values, state._replace(discretizer=drawn)

    def _apply(self, h: Values, context: Values | None) -> Values:
        return h if self.stages.nonlinearity is None else self.stages.nonlinearity(h, context)

    def _discretize(self, values: list[Values], state: UnitState) -> tuple[list[Values], Any]:
        make = self.stages.make
        return (values, None) if make is None else make(values, self.length, state.discretizer)


def real_unit(
    record: UnitRecord,
    numbers: Mapping[str, Values],
    nonlinearity: Nonlinearity | None = None,
    fires: NirRunner | None = None,
    functions: Mapping[str, Function] | None = None,
) -> UnitRunner:
    """A unit of real numbers.

    Args:
        record: the unit in words.
        numbers: its tensors, named `stage.quantity`.
        nonlinearity: F, None for the identity.
        fires: the layer of a `SpikingLayer` discretizer.
        functions: of stages named `Function`: "kernel", "discretizer".

    Raises:
        DataError: a stage that is not known, or settings that cannot be.

    Example:
        >>> mean = UnitRecord(StageRecord("Tumbling", {"length": 2}), StageRecord("Mean", {"keep": False}))
        >>> unit = real_unit(mean, {})
        >>> values, state = unit.push(np.array([[1.0]], np.float32), UnitState())
        >>> len(values), unit.push(np.array([[3.0]], np.float32), state)[0][0].item()
        (0, 2.0)
    """
    kernel, discretizer, own = record.kernel, record.discretizer, dict(functions or {})
    steps = None if kernel is None or "kernel" in own else kernel_of(kernel, _of("kernel", numbers))
    make = None
    if fires is not None:
        make = fire_of(fires)
    elif discretizer is not None:
        make = discretizer_of(discretizer, _of("discretizer", numbers), own.get("discretizer"))
    stages = Stages(
        kernel=steps,
        kept=kernel is None or bool(kernel.settings.get("keep")),
        of_window=own.get("kernel"),
        nonlinearity=_single(nonlinearity or (lambda h, context: h)),
        make=make,
        kind=kind_of(discretizer),
    )
    return UnitRunner(record.window, stages)


def _single(nonlinearity: Nonlinearity) -> Nonlinearity:
    """A nonlinearity that takes numbers of 32 bits, whatever a kernel gives."""
    return lambda h, context: nonlinearity(h.astype(np.float32, copy=False), context)


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


Carry: TypeAlias = tuple[NDArray[Any], ...]


class KernelStep:
    """A kernel's step, `h, carry = step(x, carry)`; a carry of None begins a window.

    Args:
        begin: the carry at the start of a window, for steps like this one.
        follow: the step from a carry.
    """

    def __init__(
        self, begin: Callable[[Values], Carry], follow: Callable[[Values, Carry], tuple[Values, Carry]]
    ) -> None:
        self.begin = begin
        self.follow = follow

    def __call__(self, x: Values, carry: Carry | None) -> tuple[Values, Carry]:
        return self.follow(x, self.begin(x) if carry is None else carry)


def kernel_of(stage: StageRecord, numbers: Mapping[str, Values]) -> KernelStep:
    """The step of a kernel.

    Args:
        stage: the kernel in words.
        numbers: its tensors.

    Raises:
        DataError: there is no such kernel.

    Example:
        >>> step = kernel_of(StageRecord("Sum", {"keep": False}), {})
        >>> h, carry = step(np.ones((1, 1), np.float32), None)
        >>> step(np.ones((1, 1), np.float32), carry)[0].item()
        2.0
    """
    if stage.name not in _KERNELS:
        raise DataError(f"there is no kernel {stage.name!r} here; known are {', '.join(_KERNELS)}")
    return _KERNELS[stage.name]({**stage.settings, **numbers})


def restart(carry: Carry | None, fresh: Carry, mask: NDArray[np.bool_]) -> Carry:
    """A carry that begins anew for the samples of a mask `(B,)`.

    Example:
        >>> carry, fresh = (np.array([5.0, 5.0]),), (np.zeros(2),)
        >>> restart(carry, fresh, np.array([True, False]))[0].tolist()
        [0.0, 5.0]
    """
    if carry is None:
        return fresh
    pairs = zip(fresh, carry, strict=True)
    return tuple(np.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in pairs)


def _sum(q: Mapping[str, Any]) -> KernelStep:
    return KernelStep(lambda x: (np.zeros_like(x),), lambda x, carry: (carry[0] + x, (carry[0] + x,)))


def _mean(q: Mapping[str, Any]) -> KernelStep:
    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        total, count = carry[0] + x, carry[1] + np.float32(1)
        return total / count, (total, count)

    return KernelStep(lambda x: (np.zeros_like(x), np.zeros((len(x),) + (1,) * (x.ndim - 1), np.float32)), step)


def _exponential(q: Mapping[str, Any]) -> KernelStep:
    decay = _decay(q)

    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        total = carry[0] * decay + x
        return total, (total,)

    return KernelStep(lambda x: (np.zeros_like(x),), step)


def _alpha(q: Mapping[str, Any]) -> KernelStep:
    decay, rise = _decay(q), q["dt"] * math.e / q["tau"]

    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        second = (carry[1] + carry[0]) * decay
        return second * rise, (carry[0] * decay + x, second)

    return KernelStep(lambda x: (np.zeros_like(x), np.zeros_like(x)), step)


def _difference(q: Mapping[str, Any]) -> KernelStep:
    lag = q["lag"]

    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        last, started = carry
        last = np.where(started.reshape(-1, *[1] * x.ndim), last, x[:, None])
        newest = last if lag is None else np.concatenate([last[:, 1:], x[:, None]], axis=1)
        return x - last[:, 0], (newest, np.ones_like(started))

    def begin(x: Values) -> Carry:
        return np.zeros((len(x), lag or 1, *x.shape[1:]), np.float32), np.zeros(len(x), np.bool_)

    return KernelStep(begin, step)


def _taps(q: Mapping[str, Any]) -> KernelStep:
    taps = q["weight"]

    def step(x: Values, carry: Carry) -> tuple[Values, Carry]:
        last = np.concatenate([carry[0], x[:, None]], axis=1)
        weights = taps[::-1].reshape(len(taps), *[1] * (x.ndim + 1 - taps.ndim), *taps.shape[1:])
        return (np.moveaxis(last, 1, 0) * weights).sum(0), (last[:, 1:],)

    return KernelStep(lambda x: (np.zeros((len(x), len(taps) - 1, *x.shape[1:]), np.float32),), step)


def _decay(q: Mapping[str, Any]) -> Any:
    tau = q["tau"]
    return math.exp(-q["dt"] / tau) if isinstance(tau, float | int) else np.exp(-q["dt"] / tau)


_KERNELS: dict[str, Callable[[Mapping[str, Any]], KernelStep]] = {
    "Sum": _sum,
    "Mean": _mean,
    "Exponential": _exponential,
    "Alpha": _alpha,
    "Difference": _difference,
    "Taps": _taps,
    "Gaussian": _taps,
}
KERNELS = tuple(_KERNELS)
