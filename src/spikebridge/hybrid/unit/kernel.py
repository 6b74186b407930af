"""H, the kernel: convolves a signal in time inside a window, always causally (R. Zhao et al., 2022, eq. 5).

    h(t, k) = sum_s kernel(t - s) x(s),   s from the window's first step to t

A kernel is defined by one step, `h_t, carry = kernel.step(x_t, carry)`. With `keep=True`, or in a streaming window, it
gives one value a step; otherwise it gives the last value of each window. `scan_with_resets` runs a kernel over a signal
and resets it where windows start: over all steps at once where that gives the same numbers, otherwise in a loop.
The kernels themselves are in `kernels.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from spikebridge.axes import Signal, Step, Windows
from spikebridge.errors import ConfigError, in_words
from spikebridge.neurons.base import Stateful, refuse_unknown
from spikebridge.neurons.dt import check_dt
from spikebridge.neurons.quantity import Modulated, names_to_learn, refuse_ambiguous
from spikebridge.neurons.state import State, where
from spikebridge.ops.checks import is_finite, reads_values
from spikebridge.ops.filters.leaky_sum import Restarts
from spikebridge.ops.precision import HALF, state_dtype, upcast
from spikebridge.ops.selection import is_faster_in_windows, is_sum_profitable, runs_in_one_pass, supports_sequence

Reset: TypeAlias = bool | Tensor  # of all samples or of none, or one flag a sample `(B,)`
_MIN_SEGMENT = 4  # steps between two resets; below it the loop is faster


class Kernel(Stateful):
    """Base of all kernels. The tensors of a carry have the batch first, so that single samples can be reset.

    Subclasses give `initial_state` and a pure `step_function` of the input, the carry and the arguments that
    `arguments` makes of the physical quantities, once a sequence; or they give `step` itself. Half-precision signals
    are computed in float32, with a carry in float32; the output has the dtype of the signal.

    Args:
        keep: give out every step of a window, not only the last.
        dt: step of the clock that the kernel runs on [s], for time constants; None where a network binds it.
        learn: names of the quantities that are trained.
        quantities: a float or a tensor of one value a neuron for each declared quantity.
    """

    step_function: ClassVar[Callable[..., tuple[Tensor, State]]]
    is_vectorized: ClassVar[bool] = False  # whether `run` and `last` give the numbers of `step` without a loop
    min_steps: int = 0  # steps from which `run` is faster than the loop in plain PyTorch, measured
    resets_by_decay: ClassVar[bool] = False  # whether a reset is a decay of 0, so that `run` takes `resets`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if {"step", "step_function"} & vars(cls).keys() and "is_vectorized" not in vars(cls):
            cls.is_vectorized = False  # the parent's `run` is that of the parent's step

    def __init__(
        self, keep: bool = False, dt: float | None = None, learn: str | Iterable[str] = (), **quantities: Tensor | float
    ) -> None:
        super().__init__()
        who = type(self).__name__
        check_dt(who, dt)
        if not isinstance(keep, bool):
            raise ConfigError(f"{who} needs keep=True or False, but got {in_words(keep)}")
        self.keep = keep
        self.dt = dt
        learned = names_to_learn(who, learn, quantities)
        for name, value in quantities.items():
            getattr(type(self), name).store(self, value, learn=name in learned)

    @property
    def uses_dt(self) -> bool:
        return any(name.startswith("tau") for name in self.modulable)

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        """The arguments of the step function from the physical quantities, for steps like `x_t`."""
        return quantities

    def step(self, x_t: Step, state: State, **modulation: Modulated) -> tuple[Float[Tensor, "B *M"], State]:
        refuse_unknown(self, modulation)
        quantities = {name: self._modulated(modulation.get(name), name, x_t.shape) for name in self.modulable}
        x = upcast(x_t)
        h_t, state = type(self).step_function(x, state, **self.arguments(quantities, x))
        return h_t.to(x_t.dtype), state

    def check_quantities(self, neurons: Sequence[int]) -> None:
        """Raises where a quantity fits neurons `*N` in two ways."""
        for name in self.modulable:
            refuse_ambiguous(f"{name} of {type(self).__name__}", getattr(self, name), neurons)

    def bound_step(self, x_t: Tensor) -> Callable[[Tensor, State], tuple[Tensor, State]]:
        """The step with its arguments worked out once, for all steps like `x_t`."""
        if type(self).step is not Kernel.step:
            return self.step
        quantities = {name: getattr(self, name) for name in self.modulable}
        return partial(type(self).step_function, **self.arguments(quantities, x_t))

    def forward(self, x: Signal, state: State = None, **modulation: Modulated) -> tuple[Float[Tensor, "T B *M"], State]:
        if x.dtype in HALF:
            h, state = self.forward(upcast(x), state, **modulation)
            return h.to(x.dtype), state
        if state is None:
            self.check_quantities(x.shape[2:])
        if modulation or x.ndim < 2 or len(x) == 0 or not (self.can_vectorize(x, state) and self.is_profitable(x)):
            return super().forward(x, state, **modulation)
        return self.run_from_start(x) if state is None else self.run(x, state)

    def can_vectorize(self, x: Signal, carry: State) -> bool:
        """Whether `run` and `last` serve this signal: same numbers, without a loop over steps."""
        if not self.is_vectorized or not supports_sequence(x):
            return False
        carried: tuple[Tensor, ...] = () if carry is None else carry
        # the loop promotes and broadcasts, `run` does not
        for kept in (*self._parameters.values(), *self._buffers.values(), *carried):
            if kept is not None and (kept.device != x.device or state_dtype(kept.dtype) not in (x.dtype, torch.bool)):
                return False
        return all(t.shape[0] == x.shape[1] for t in carried)

    def is_profitable(self, x: Signal, num_segments: int = 1) -> bool:
        """Whether `run` is faster than the loop, for a signal that resets cut into some segments."""
        return is_sum_profitable(x, self.min_steps * num_segments)

    def resets_in_one_pass(self, x: Signal) -> bool:
        """Whether `run` takes resets of all samples as bytes, one a step."""
        return self.resets_by_decay and runs_in_one_pass(x)

    def run(self, x: Signal, carry: State, resets: Restarts | None = None) -> tuple[Float[Tensor, "T B *M"], State]:
        """The values of all steps, from a carry. Here it is the loop that defines them; subclasses vectorize it.

        Args:
            x: `(T, B, *N)`, T >= 1.
            carry: after the step before, None at the start of a window.
            resets: for a kernel that `resets_by_decay`, 1 at steps that start a window and else 0: bytes where it
                `resets_in_one_pass`, else `(T, 1 or B, 1, ...)`.
        """
        return _loop(self, x, carry, [False] * len(x))

    def run_from_start(self, x: Signal) -> tuple[Float[Tensor, "T B *M"], State]:
        """As `run`, from the start of a window."""
        return self.run(x, None)

    def values_from_start(self, x: Signal) -> Float[Tensor, "T B *M"]:
        """The values alone."""
        return self.run_from_start(x)[0]

    def carry_from_start(self, x: Signal) -> State:
        """The carry alone."""
        return self.run_from_start(x)[1]

    def last(self, x: Signal) -> Step:
        """The last value of a window `(L, B, *N)`."""
        return self.values_from_start(x)[-1]

    def _modulated(self, modulation: Modulated | None, name: str, shape: torch.Size) -> Tensor | float:
        """A quantity for a step `(B, *N)`."""
        if modulation is None:
            return getattr(self, name)
        what = f"{name} of {type(self).__name__}"
        refuse_ambiguous(what, getattr(self, name), shape[1:])
        refuse_ambiguous(what, modulation, shape[1:])
        value = getattr(type(self), name).resolve(self, modulation, len(shape) + 1)
        return value[0] if isinstance(value, Tensor) and value.ndim > len(shape) else value

    def extra_repr(self) -> str:
        texts = [f"{name}={float(torch.as_tensor(getattr(self, name)).mean()):g}" for name in self.modulable]
        return ", ".join([*texts, *([f"dt={self.dt:g}"] if self.dt else []), *(["keep=True"] if self.keep else [])])


def last_of_windows(kernel: Kernel, windows: Windows) -> Shaped[Tensor, "K B *M"]:
    """The last value of each window; its shape may differ from that of a sample.

    Example:
        >>> from spikebridge.hybrid import Sum
        >>> last_of_windows(Sum(), torch.ones(2, 5, 1, 1)).flatten().tolist()
        [5.0, 5.0]
    """
    steps = windows.movedim(1, 0)
    if kernel.can_vectorize(steps, None):
        return kernel.last(steps)
    return _loop(kernel, steps, None, [False] * len(steps))[0][-1]


def scan_with_resets(
    kernel: Kernel, x: Signal, carry: State, resets: Iterable[Reset] | None = None
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """The values of a kernel at all steps, with resets where windows start.

    Args:
        kernel: the kernel.
        x: `(T, B, *N)`, T >= 1, in float32 or float64.
        carry: after the step before, or None.
        resets: for each step True, False, or a flag a sample `(B,)`.

    Returns:
        The values of all steps, and the carry after the last.

    Example:
        >>> from spikebridge.hybrid import Sum
        >>> values, carry = scan_with_resets(Sum(), torch.ones(4, 1, 1), None, [True, False, True, False])
        >>> values.flatten().tolist(), carry.total.item()
        ([1.0, 2.0, 1.0, 2.0], 2.0)
    """
    vectorizes = x.shape[0] > 1 and kernel.can_vectorize(x, carry)
    if resets is None and vectorizes and kernel.is_profitable(x):
        return _without_resets(kernel, x, carry)
    flags: Sequence[Reset] = [False] * len(x) if resets is None else list(resets)
    if not vectorizes:
        return _loop(kernel, x, carry, flags)
    of_all = _of_all_samples(flags)
    if of_all is not None and 1 not in of_all:
        return _without_resets(kernel, x, carry) if kernel.is_profitable(x) else _loop(kernel, x, carry, flags)
    if of_all is not None and kernel.resets_in_one_pass(x):
        return kernel.run(x, carry, of_all)
    starts = [t for t, flag in enumerate(flags) if flag is not False]
    period = _period(starts, flags)
    if kernel.resets_by_decay and not (period and is_faster_in_windows(x)):
        if not kernel.is_profitable(x, 1 if of_all is None else len(starts) + 1):
            return _loop(kernel, x, carry, flags)
        values, end = kernel.run(x, _reset(kernel, x[0], carry, flags[0]), _as_signal(x, flags))
        # 0 times infinity is not 0: only the loop resets what is not finite
        return (values, end) if _is_finite(end) else _loop(kernel, x, carry, flags)
    if period:
        return _side_by_side(kernel, x, carry, starts, period)
    if len(x) < _MIN_SEGMENT * (len(starts) + 1):
        return _loop(kernel, x, carry, flags)
    return _segment_by_segment(kernel, x, carry, starts, flags)


def _without_resets(kernel: Kernel, x: Signal, carry: State) -> tuple[Shaped[Tensor, "T B *M"], State]:
    return kernel.run(x, carry) if carry is not None else kernel.run_from_start(x)


def _loop(kernel: Kernel, x: Signal, carry: State, flags: Sequence[Reset]) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """Step by step: what the other ways have to equal."""
    step, values = kernel.bound_step(x[0]), []
    for x_t, flag in zip(x.unbind(0), flags, strict=True):
        h_t, carry = step(x_t, _reset(kernel, x_t, carry, flag))
        values.append(h_t)
    return torch.stack(values), carry


def _side_by_side(
    kernel: Kernel, x: Signal, carry: State, starts: list[int], period: int
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """Windows of equal length: all complete ones at once, as if they were samples."""
    ends_whole = len(x) - starts[-1] == period
    body_ends = len(x) if ends_whole else starts[-1]
    values = []
    if starts[0]:
        head = x[: starts[0]]
        values.append(kernel.values_from_start(head) if carry is None else kernel.run(head, carry)[0])
    body = x if body_ends - starts[0] == len(x) else x[starts[0] : body_ends]
    windows = body.unflatten(0, (-1, period)).movedim(1, 0)
    kept, ends = kernel.run_from_start(windows) if kernel.resets_by_decay else (kernel.values_from_start(windows), None)
    values.append(kept.movedim(0, 1).flatten(0, 1))
    if not ends_whole:
        last, carry = kernel.run_from_start(x[starts[-1] :])
        values.append(last)
    elif ends is None:
        carry = kernel.carry_from_start(x[starts[-1] :])
    else:
        # the carry of the last window is a part of that of all windows
        carry = type(ends)(*(t[-1].expand(x.shape[1], *t.shape[2:]).clone() for t in ends))
    return values[0] if len(values) == 1 else torch.cat(values), carry


def _segment_by_segment(
    kernel: Kernel, x: Signal, carry: State, starts: list[int], flags: Sequence[Reset]
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """From one reset to the next."""
    edges = sorted({0, *starts})
    values = []
    for t, segment in zip(edges, x.split([b - a for a, b in pairwise([*edges, len(x)])]), strict=True):
        h, carry = kernel.run(segment, _reset(kernel, segment[0], carry, flags[t]))
        values.append(h)
    return torch.cat(values), carry


def _reset(kernel: Kernel, x_t: Step, carry: State, flag: Reset) -> State:
    if carry is None or flag is True:
        return kernel.initial_state(x_t)
    return where(flag, kernel.initial_state(x_t), carry) if isinstance(flag, Tensor) else carry


def _of_all_samples(flags: Sequence[Reset]) -> bytes | None:
    """The flags as bytes, where no sample has its own."""
    return bytes(flags) if {*map(type, flags)} == {bool} else None


def _as_signal(x: Signal, flags: Sequence[Reset]) -> Tensor:
    """1 where a step resets, else 0, `(T, 1 or B, 1, ...)`."""
    of_all = _of_all_samples(flags)
    if of_all is None:
        none = torch.zeros(x.shape[1], dtype=torch.bool, device=x.device)
        mask = torch.stack([flag.expand_as(none) if isinstance(flag, Tensor) else none | flag for flag in flags])
    else:
        mask = torch.tensor([*of_all], device=x.device).unsqueeze(1)
    return mask.to(x.dtype).reshape(*mask.shape, *[1] * (x.ndim - 2))


def _is_finite(carry: State) -> bool:
    """Whether a carry is finite, as far as its numbers can be read without waiting for a device."""
    return all(is_finite(t) for t in carry if reads_values(t, is_first=True))


def _period(starts: list[int], flags: Sequence[Reset]) -> int | None:
    """Steps from one reset of all samples to the next, if there are at least three and all equally far apart."""
    gaps = {b - a for a, b in pairwise(starts)}
    uniform = len(starts) > 2 and len(gaps) == 1 and all(flags[t] is True for t in starts)
    return gaps.pop() if uniform else None
