"""H, the kernel: convolves a signal in time inside a window, always causally (R. Zhao et al., 2022, eq. 5).

    h(t, k) = sum_s kernel(t - s) x(s),   s from the window's first step to t

| kernel | value at a step, since the window started | learns |
|---|---|---|
| `Sum`, `Mean` | sum or mean of the steps | |
| `Exponential` | leaky sum `h = exp(-dt / tau) h + x` | `tau` |
| `Alpha` | sum weighted by `(t / tau) exp(1 - t / tau)` | `tau` |

Kernels with a finite response are in `finite_response.py`. A kernel is defined by one step, `h_t, carry =
kernel.step(x_t, carry)`, and by the loop over steps; `run` and `last` give the same numbers for many steps at once.
With `keep=True`, or in a streaming window, it gives one value a step; otherwise it gives the last value of each window.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from spikebridge.axes import Signal, Step, Windows
from spikebridge.errors import ConfigError, ShapeError, in_words
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.dt import check_dt, decay_per_step, required_dt
from spikebridge.neurons.quantity import Modulated, Names, Quantity, Value, refuse_ambiguous
from spikebridge.neurons.state import State, where
from spikebridge.ops.filters.fir import last_response, powers
from spikebridge.ops.filters.leaky_sum import (
    Resets,
    last_sum,
    leaky_sum,
    one_pass_alphas,
    one_pass_last,
    one_pass_means,
    one_pass_sums,
    one_step_late,
    sum_of_sums,
    wants_gradients,
)
from spikebridge.ops.precision import HALF, state_dtype, upcast, zero_state
from spikebridge.ops.selection import is_sum_profitable, runs_in_one_pass, supports_one_pass, supports_sequence

Reset: TypeAlias = bool | Tensor  # of all samples or of none, or one flag a sample `(B,)`


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
    is_vectorized: ClassVar[bool] = False  # `run` and `last` give the numbers of `step` without a loop
    resets_by_decay: ClassVar[bool] = False  # a reset is a decay of 0, so that `run` takes `resets`
    min_steps: int = 0  # steps from which `run` is faster than the loop in plain PyTorch, measured

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if {"step", "step_function"} & vars(cls).keys() and "is_vectorized" not in vars(cls):
            cls.is_vectorized = False  # the parent's `run` is that of the parent's step

    def __init__(self, keep: bool = False, dt: float | None = None, learn: Names = (), **quantities: Value) -> None:
        super().__init__()
        who = type(self).__name__
        check_dt(who, dt)
        if not isinstance(keep, bool):
            raise ConfigError(f"{who} needs keep=True or False, but got {in_words(keep)}")

        self.keep = keep
        self.dt = dt
        self.store_quantities(learn, quantities)

    @property
    def uses_dt(self) -> bool:
        return any(name.startswith("tau") for name in self.modulable)

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        """The arguments of the step function from the physical quantities, for steps like `x_t`.

        Arguments that are all numbers depend on the quantities alone; they are kept until an attribute is set.
        """
        return quantities

    def step(self, x_t: Step, state: State, **modulation: Modulated) -> tuple[Float[Tensor, "B *M"], State]:
        for name, value in modulation.items():
            if name in self.modulable and value is not None:
                what = f"{name} of {type(self).__name__}"
                refuse_ambiguous(what, getattr(self, name), x_t.shape[1:])
                refuse_ambiguous(what, value, x_t.shape[1:])

        quantities = self.quantities(x_t.ndim + 1, modulation)
        for name, value in quantities.items():
            if isinstance(value, Tensor) and value.ndim > x_t.ndim:
                quantities[name] = value[0]  # an effect comes with its time

        x = upcast(x_t)
        h_t, state = type(self).step_function(x, state, **self.arguments(quantities, x))

        return h_t.to(x_t.dtype), state

    def forward(self, x: Signal, state: State = None, **modulation: Modulated) -> tuple[Float[Tensor, "T B *M"], State]:
        if x.dtype in HALF:
            h, state = self.forward(upcast(x), state, **modulation)
            return h.to(x.dtype), state

        # once a stream, in which neurons and quantities keep their shapes
        if state is None:
            self.check_quantities(x.shape[2:])

        if modulation or x.ndim < 2 or len(x) == 0 or not (self.can_vectorize(x, state) and self.is_profitable(x)):
            return super().forward(x, state, **modulation)

        return self.run(x, state)

    def loop(
        self, x: Signal, carry: State, resets: Iterable[Reset] | None = None
    ) -> tuple[Float[Tensor, "T B *M"], State]:
        """The values of all steps one after another: the definition of `run`.

        Args:
            x: `(T, B, *N)`, T >= 1.
            carry: after the step before, None at the start of a window.
            resets: for each step True, False, or a flag a sample `(B,)`.
        """
        step = self.bound_step(x[0])
        values = []
        for x_t, flag in zip(x.unbind(0), [False] * len(x) if resets is None else resets, strict=True):
            h_t, carry = step(x_t, self.reset(x_t, carry, flag))
            values.append(h_t)

        return torch.stack(values), carry

    def bound_step(self, x_t: Tensor) -> Callable[[Tensor, State], tuple[Tensor, State]]:
        """The step with its arguments worked out once, for all steps like `x_t`."""
        if type(self).step is not Kernel.step:
            return self.step
        return partial(type(self).step_function, **self.constants(x_t))

    def constants(self, like: Tensor) -> dict[str, Any]:
        """The arguments of the step function without modulation, for signals with the dtype and device of a tensor."""
        # is_compiling first: a compiler would guard what it reads
        if not torch.compiler.is_compiling() and self._kept is not None:
            return self._kept

        arguments = self.arguments({name: getattr(self, name) for name in self.modulable}, like)
        self.keep_numbers(arguments)

        return arguments

    def reset(self, x_t: Step, carry: State, flag: Reset) -> State:
        """The carry before a step, for all samples or some of them that of the start of a window."""
        if carry is None or flag is True:
            return self.initial_state(x_t)
        return where(flag, self.initial_state(x_t), carry) if isinstance(flag, Tensor) else carry

    def run(self, x: Signal, carry: State, resets: Resets | None = None) -> tuple[Float[Tensor, "T B *M"], State]:
        """The values of all steps, from a carry. Here it is the loop; subclasses vectorize it.

        Args:
            x: `(T, B, *N)`, T >= 1.
            carry: after the step before, None at the start of a window.
            resets: for a kernel that `resets_by_decay`, 1 at steps that start a window and else 0: bytes where it
                `resets_in_one_pass`, else `(T, 1 or B, 1, ...)`.
        """
        return self.loop(x, carry)

    def values(self, x: Signal) -> Float[Tensor, "T B *M"]:
        """The values alone, from the start of a window."""
        return self.run(x, None)[0]

    def last(self, x: Signal) -> Step:
        """The last value of a window `(L, B, *N)`."""
        return self.values(x)[-1]

    def last_of_windows(self, windows: Windows) -> Shaped[Tensor, "K B *M"]:
        """The last value of each window; its shape may differ from that of a sample.

        Example:
            >>> Sum().last_of_windows(torch.ones(2, 5, 1, 1)).flatten().tolist()
            [5.0, 5.0]
        """
        steps = windows.movedim(1, 0)
        return self.last(steps) if self.can_vectorize(steps, None) else self.loop(steps, None)[0][-1]

    def can_vectorize(self, x: Signal, carry: State) -> bool:
        """True if `run` and `last` serve this signal: same numbers, without a loop over steps."""
        if not self.is_vectorized or not supports_sequence(x):
            return False

        carried: tuple[Tensor, ...] = () if carry is None else carry
        # the loop promotes and broadcasts, `run` does not
        for kept in (*self._parameters.values(), *self._buffers.values(), *carried):
            if kept is not None and (kept.device != x.device or state_dtype(kept.dtype) not in (x.dtype, torch.bool)):
                return False

        return not carried or all(t.shape[0] == x.shape[1] for t in carried)

    def is_profitable(self, x: Signal, num_segments: int = 1) -> bool:
        """True if `run` is faster than the loop, for a signal that resets cut into some segments."""
        return is_sum_profitable(x, self.min_steps * num_segments)

    def resets_in_one_pass(self, x: Signal) -> bool:
        """True if `run` takes resets of all samples as bytes, one a step."""
        return self.resets_by_decay and runs_in_one_pass(x)

    def check_quantities(self, neurons: Sequence[int]) -> None:
        """Raises if a quantity does not fit neurons `*N`, or fits them in two ways."""
        for name in self.modulable:
            value = getattr(self, name)
            if isinstance(value, Tensor):
                refuse_ambiguous(f"{name} of {type(self).__name__}", value, neurons)
                self._refuse_shape(name, value.shape, neurons)

    def _refuse_shape(self, name: str, shape: Sequence[int], neurons: Sequence[int]) -> None:
        """Raises if values of a shape do not broadcast with neurons `*N`; shapes line up from the right."""
        if any(n != m and 1 not in (n, m) for n, m in zip(reversed(shape), reversed(neurons), strict=False)):
            raise ShapeError(
                f"{type(self).__name__} has {name} of shape {tuple(shape)}, which does not broadcast against "
                f"{tuple(neurons)}, the (*N) of its input"
            )

    def extra_repr(self) -> str:
        texts = [f"{name}={float(torch.as_tensor(getattr(self, name)).mean()):g}" for name in self.modulable]
        return ", ".join([*texts, *([f"dt={self.dt:g}"] if self.dt else []), *(["keep=True"] if self.keep else [])])


class _SumCarry(NamedTuple):
    """The sum so far."""

    total: Tensor


def _sum_step(x_t: Step, carry: _SumCarry) -> tuple[Step, _SumCarry]:
    total = carry.total + x_t
    return total, _SumCarry(total)


class Sum(Kernel):
    """The sum since the window started.

    Args:
        keep: give out every step.

    Example:
        >>> Sum()(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [1.0, 3.0, 6.0]
    """

    step_function = staticmethod(_sum_step)
    is_vectorized = resets_by_decay = True
    min_steps = 64

    def __init__(self, keep: bool = False) -> None:
        super().__init__(keep)

    def initial_state(self, x_t: Step) -> _SumCarry:
        return _SumCarry(zero_state(x_t))

    def run(self, x: Signal, carry: _SumCarry | None, resets: Resets | None = None) -> tuple[Signal, _SumCarry]:
        sums, total = leaky_sum(x, None if carry is None else carry.total, 1.0, resets)
        return sums, _SumCarry(total)

    def last(self, x: Signal) -> Step:
        return last_sum(x)


class MeanCarry(NamedTuple):
    """The sum so far, and its number of steps, `(B, 1, ...)`."""

    total: Tensor
    num_steps: Tensor


def mean_step(x_t: Step, carry: MeanCarry) -> tuple[Step, MeanCarry]:
    """One step of the mean of all steps since the window started."""
    carry = MeanCarry(carry.total + x_t, carry.num_steps + 1)
    return carry.total / carry.num_steps, carry


class Mean(Kernel):
    """The mean since the window started.

    Args:
        keep: give out every step.

    Example:
        >>> Mean()(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [1.0, 1.5, 2.0]
    """

    step_function = staticmethod(mean_step)
    is_vectorized = resets_by_decay = True
    min_steps = 24

    def __init__(self, keep: bool = False) -> None:
        super().__init__(keep)

    def initial_state(self, x_t: Step) -> MeanCarry:
        num_steps = x_t.new_zeros((x_t.shape[0], *[1] * (x_t.ndim - 1)), dtype=state_dtype(x_t.dtype))
        return MeanCarry(zero_state(x_t), num_steps)

    def run(self, x: Signal, carry: MeanCarry | None, resets: Resets | None = None) -> tuple[Signal, MeanCarry]:
        if isinstance(resets, bytes) or (resets is None and runs_in_one_pass(x)):
            return self._in_one_pass(x, carry, resets)

        total, num_steps = self.initial_state(x[0]) if carry is None else carry
        sums, total = leaky_sum(x, total, 1.0, resets)
        num_steps, passed = leaky_sum(x.new_ones((len(x), *num_steps.shape)), num_steps, 1.0, resets)

        return sums.div_(num_steps), MeanCarry(total, passed)

    def _in_one_pass(self, x: Signal, carry: MeanCarry | None, resets: bytes | None) -> tuple[Signal, MeanCarry]:
        total, before = (None, 0.0) if carry is None else carry
        means, total = one_pass_means(x, total, before, resets)
        # the mean behind the last reset counts the steps from there on
        begin = -1 if resets is None else resets.rfind(1)
        passed = before + len(x) if begin < 0 else len(x) - begin

        if not isinstance(passed, Tensor):
            passed = x.new_full((x.shape[1], *[1] * (x.ndim - 2)), passed)

        return means, MeanCarry(total, passed)

    def last(self, x: Signal) -> Step:
        return last_sum(x) / x.shape[0]


class ExponentialCarry(NamedTuple):
    """The leaky sum so far."""

    total: Tensor


def exponential_step(x_t: Step, carry: ExponentialCarry, *, decay: Value) -> tuple[Step, ExponentialCarry]:
    """One step of a leaky sum, `h = decay h + x` with `decay = exp(-dt / tau)`."""
    total = carry.total * decay + x_t
    return total, ExponentialCarry(total)


class Exponential(Kernel):
    """A leaky sum, `h = exp(-dt / tau) h + x`.

    Args:
        tau: time constant [s].
        dt: step of the clock [s]; None where a network binds it.
        keep: give out every step.
        learn: `("tau",)` to train it, stored as its logarithm.

    Example:
        >>> tau = 1 / math.log(2)  # one step halves
        >>> Exponential(tau, dt=1.0)(torch.tensor([4.0, 0.0, 0.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [4.0, 2.0, 1.0]
    """

    tau = Quantity(positive=True)
    step_function = staticmethod(exponential_step)
    is_vectorized = resets_by_decay = True

    def __init__(self, tau: Value, *, dt: float | None = None, keep: bool = False, learn: Names = ()) -> None:
        super().__init__(keep, dt, learn, tau=tau)
        self.min_steps = 32 if isinstance(self.tau, Tensor) else 16  # a decay in a tensor costs two operations a step

    def initial_state(self, x_t: Step) -> ExponentialCarry:
        return ExponentialCarry(zero_state(x_t))

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        return {"decay": decay_per_step(self, quantities["tau"])}

    def run(
        self, x: Signal, carry: ExponentialCarry | None, resets: Resets | None = None
    ) -> tuple[Signal, ExponentialCarry]:
        start = None if carry is None else carry.total
        log_tau = self._parameters.get("log_tau")
        if log_tau is None or self.dt is None or isinstance(resets, Tensor) or not runs_in_one_pass(x, log_tau):
            sums, total = leaky_sum(x, start, self.constants(x)["decay"], resets)
        else:
            sums, total = one_pass_sums(x, start, log_tau, resets, self.dt)

        return sums, ExponentialCarry(total)

    def last(self, x: Signal) -> Step:
        log_tau = self._parameters.get("log_tau")
        if log_tau is not None and self.dt is not None and supports_one_pass(x, log_tau):
            return one_pass_last(x, log_tau, self.dt)
        return last_sum(x, self.constants(x)["decay"])


class AlphaCarry(NamedTuple):
    """The two stages of an alpha function: `sum decay^k x[t - k]` and `sum k decay^k x[t - k]`."""

    first: Tensor
    second: Tensor


def alpha_step(x_t: Step, carry: AlphaCarry, *, decay: Value, rise: Value) -> tuple[Step, AlphaCarry]:
    """One step of `h[t] = rise sum_k k decay^k x[t - k]`, with `rise = e dt / tau`, so that the peak is 1."""
    second = (carry.second + carry.first) * decay
    return second * rise, AlphaCarry(carry.first * decay + x_t, second)


class Alpha(Kernel):
    """The alpha function `(t / tau) exp(1 - t / tau)`: it rises to 1 at tau, then falls.

    Args:
        tau: time to the peak [s].
        dt: step of the clock [s]; None where a network binds it.
        keep: give out every step.
        learn: `("tau",)` to train it.

    Example:
        >>> h, _ = Alpha(tau=2.0, dt=1.0)(torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(4, 1, 1))
        >>> [round(value, 3) for value in h.flatten().tolist()]  # 0, e^.5 / 2, 1, 1.5 e^-.5
        [0.0, 0.824, 1.0, 0.91]
    """

    tau = Quantity(positive=True)
    step_function = staticmethod(alpha_step)
    is_vectorized = resets_by_decay = True
    min_steps = 24

    def __init__(self, tau: Value, *, dt: float | None = None, keep: bool = False, learn: Names = ()) -> None:
        super().__init__(keep, dt, learn, tau=tau)

    def initial_state(self, x_t: Step) -> AlphaCarry:
        return AlphaCarry(zero_state(x_t), zero_state(x_t))

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        tau = quantities["tau"]
        return {"decay": decay_per_step(self, tau), "rise": required_dt(self) * math.e / tau}

    def resets_in_one_pass(self, x: Signal) -> bool:
        return super().resets_in_one_pass(x) and not wants_gradients(*self.parameters())

    def run(self, x: Signal, carry: AlphaCarry | None, resets: Resets | None = None) -> tuple[Signal, AlphaCarry]:
        arguments = self.constants(x)
        decay = arguments["decay"]
        rise = arguments["rise"]
        if isinstance(resets, bytes) or (resets is None and self.resets_in_one_pass(x)):
            first, second = (None, None) if carry is None else carry
            values, first, second = one_pass_alphas(x, first, second, decay, rise, resets)
            return values, AlphaCarry(first, second)

        first, second = self.initial_state(x[0]) if carry is None else carry
        # second + first is a leaky sum of first; second is that sum times the decay
        before = second + first
        both, first, _ = sum_of_sums(x, first, before, decay, resets)
        if resets is not None:
            decay = decay * (1 - resets)

        # the fused operation takes a number; a tensor needs a gradient of its own
        if not isinstance(rise, Tensor):
            late, last = one_step_late(both, before, decay, rise)
            return late, AlphaCarry(first, last)

        second = torch.cat([before.unsqueeze(0), both[:-1]]) * decay
        return second * rise, AlphaCarry(first, second[-1].clone())

    def last(self, x: Signal) -> Step:
        arguments = self.constants(x)
        age, left = powers(arguments["decay"], x)

        return last_response(x, age * left) * arguments["rise"]
