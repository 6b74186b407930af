"""The kernels without a finite response: sums and means, a leak, an alpha function, the change of a signal.

| kernel | value at a step, since the window started | learns |
|---|---|---|
| `Sum`, `Mean` | sum or mean of the steps | |
| `Exponential` | leaky sum `h = exp(-dt / tau) h + x` | `tau` |
| `Alpha` | sum weighted by `(t / tau) exp(1 - t / tau)` | `tau` |
| `Difference` | change since the first step, or over the last `lag` steps | |

Each kernel has a pure step function (or `step`), which defines it, and methods that give the same numbers for many
steps at once.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikebridge.axes import Signal, Step
from spikebridge.hybrid.unit.kernel import Kernel
from spikebridge.hybrid.unit.window import whole_number
from spikebridge.neurons.base import refuse_unknown
from spikebridge.neurons.dt import known_dt
from spikebridge.neurons.lif import decay_per_step
from spikebridge.neurons.quantity import Modulated, Quantity
from spikebridge.ops.filters.difference import Before, change
from spikebridge.ops.filters.fir import last_response, powers
from spikebridge.ops.filters.leaky_sum import Restarts, last_sum, leaky_sum, one_step_late, sum_of_sums
from spikebridge.ops.filters.one_pass import (
    alphas_of,
    last_of_sums,
    means_of,
    sums_of,
    wants_gradients,
)
from spikebridge.ops.precision import state_dtype, upcast, zero_state
from spikebridge.ops.selection import runs_in_one_pass, supports_one_pass


def _zeros(x_t: Step, shape: tuple[int, ...]) -> Tensor:
    """Zeros of a carry, in the dtype of a state and on the device of a step."""
    return x_t.new_zeros(shape, dtype=state_dtype(x_t.dtype))


class _SumCarry(NamedTuple):
    """The sum so far."""

    total: Tensor


def _sum_step(x_t: Step, carry: _SumCarry) -> tuple[Step, _SumCarry]:
    """One step of a sum.

    Args:
        x_t: input.
        carry: after the last step.

    Returns:
        The sum, as output and as carry.

    Example:
        >>> h_t, carry = _sum_step(torch.tensor([[2.0]]), _SumCarry(torch.tensor([[1.0]])))
        >>> h_t.item()
        3.0
    """
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

    def run(self, x: Signal, carry: _SumCarry | None, resets: Restarts | None = None) -> tuple[Signal, _SumCarry]:
        sums, total = leaky_sum(x, None if carry is None else carry.total, 1.0, resets)
        return sums, _SumCarry(total)

    def last(self, x: Signal) -> Step:
        return last_sum(x)


class MeanCarry(NamedTuple):
    """The sum so far, and over how many steps, `(B, 1, ...)`."""

    total: Tensor
    num_steps: Tensor


def mean_step(x_t: Step, carry: MeanCarry) -> tuple[Step, MeanCarry]:
    """One step of a mean.

    Args:
        x_t: input.
        carry: after the last step.

    Returns:
        The mean with this step, and the carry.

    Example:
        >>> h_t, carry = mean_step(torch.tensor([[4.0]]), MeanCarry(torch.tensor([[2.0]]), torch.tensor([[1.0]])))
        >>> h_t.item(), carry.num_steps.item()
        (3.0, 2.0)
    """
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
        return MeanCarry(zero_state(x_t), _zeros(x_t, x_t.shape[:1] + (1,) * (x_t.ndim - 1)))

    def run(self, x: Signal, carry: MeanCarry | None, resets: Restarts | None = None) -> tuple[Signal, MeanCarry]:
        if isinstance(resets, bytes) or (resets is None and runs_in_one_pass(x)):
            return self._in_one_pass(x, carry, resets)
        total, num_steps = self.initial_state(x[0]) if carry is None else carry
        sums, total = leaky_sum(x, total, 1.0, resets)
        num_steps, passed = leaky_sum(x.new_ones((len(x), *num_steps.shape)), num_steps, 1.0, resets)
        return sums.div_(num_steps), MeanCarry(total, passed)

    def _in_one_pass(self, x: Signal, carry: MeanCarry | None, resets: bytes | None) -> tuple[Signal, MeanCarry]:
        total, before = (None, 0.0) if carry is None else carry
        means, total = means_of(x, total, before, resets)
        begin = -1 if resets is None else resets.rfind(1)
        passed = before + len(x) if begin < 0 else len(x) - begin
        if not isinstance(passed, Tensor):
            passed = x.new_full((x.shape[1], *[1] * (x.ndim - 2)), passed)
        return means, MeanCarry(total, passed)

    def last(self, x: Signal) -> Step:
        return last_sum(x) / len(x)


class ExponentialCarry(NamedTuple):
    """The leaky sum so far."""

    total: Tensor


def exponential_step(x_t: Step, carry: ExponentialCarry, *, decay: Tensor | float) -> tuple[Step, ExponentialCarry]:
    """One step of a leaky sum, `h = decay h + x`.

    Args:
        x_t: input.
        carry: after the last step.
        decay: `exp(-dt / tau)`.

    Returns:
        The leaky sum, as output and as carry.

    Example:
        >>> h_t, carry = exponential_step(torch.tensor([[1.0]]), ExponentialCarry(torch.tensor([[4.0]])), decay=0.5)
        >>> h_t.item()
        3.0
    """
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

    def __init__(
        self, tau: Tensor | float, *, dt: float | None = None, keep: bool = False, learn: str | Iterable[str] = ()
    ) -> None:
        super().__init__(keep, dt, learn, tau=tau)
        self.min_steps = 32 if isinstance(self.tau, Tensor) else 16  # a decay in a tensor costs two operations a step

    def initial_state(self, x_t: Step) -> ExponentialCarry:
        return ExponentialCarry(zero_state(x_t))

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        return {"decay": decay_per_step(self, quantities["tau"])}

    def run(
        self, x: Signal, carry: ExponentialCarry | None, resets: Restarts | None = None
    ) -> tuple[Signal, ExponentialCarry]:
        start, log_tau = None if carry is None else carry.total, self._parameters.get("log_tau")
        if log_tau is None or self.dt is None or isinstance(resets, Tensor) or not runs_in_one_pass(x, log_tau):
            sums, total = leaky_sum(x, start, decay_per_step(self, self.tau), resets)
        else:
            sums, total = sums_of(x, start, log_tau, resets, self.dt)
        return sums, ExponentialCarry(total)

    def last(self, x: Signal) -> Step:
        log_tau = self._parameters.get("log_tau")
        if log_tau is not None and self.dt is not None and supports_one_pass(x, log_tau):
            return last_of_sums(x, log_tau, self.dt)
        return last_sum(x, decay_per_step(self, self.tau))


class AlphaCarry(NamedTuple):
    """The two stages of an alpha function: `sum decay^k x[t - k]` and `sum k decay^k x[t - k]`."""

    first: Tensor
    second: Tensor


def alpha_step(x_t: Step, carry: AlphaCarry, *, decay: Tensor | float, rise: Tensor | float) -> tuple[Step, AlphaCarry]:
    """One step of an alpha function, `h[t] = rise sum_k k decay^k x[t - k]`.

    Args:
        x_t: input.
        carry: after the last step.
        decay: `exp(-dt / tau)`.
        rise: `e dt / tau`, with which the peak is 1.

    Returns:
        The value and the carry.

    Example:
        >>> carry = AlphaCarry(first=torch.tensor([[4.0]]), second=torch.tensor([[2.0]]))
        >>> h_t, carry = alpha_step(torch.tensor([[1.0]]), carry, decay=0.5, rise=2.0)
        >>> h_t.item(), carry.first.item(), carry.second.item()  # (2 + 4) / 2 and 4 / 2 + 1
        (6.0, 3.0, 3.0)
    """
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

    def __init__(
        self, tau: Tensor | float, *, dt: float | None = None, keep: bool = False, learn: str | Iterable[str] = ()
    ) -> None:
        super().__init__(keep, dt, learn, tau=tau)

    def initial_state(self, x_t: Step) -> AlphaCarry:
        return AlphaCarry(zero_state(x_t), zero_state(x_t))

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        tau = quantities["tau"]
        return {"decay": decay_per_step(self, tau), "rise": known_dt(self) * math.e / tau}

    def resets_in_one_pass(self, x: Signal) -> bool:
        return super().resets_in_one_pass(x) and not wants_gradients(*self.parameters())

    def run(self, x: Signal, carry: AlphaCarry | None, resets: Restarts | None = None) -> tuple[Signal, AlphaCarry]:
        decay, rise = decay_per_step(self, self.tau), known_dt(self) * math.e / self.tau
        if isinstance(resets, bytes) or (resets is None and self.resets_in_one_pass(x)):
            first, second = (None, None) if carry is None else carry
            values, first, second = alphas_of(x, first, second, decay, rise, resets)
            return values, AlphaCarry(first, second)
        first, second = self.initial_state(x[0]) if carry is None else carry
        # second + first is a leaky sum of first; second is that sum times the decay
        before = second + first
        both, first, _ = sum_of_sums(x, first, before, decay, resets)
        if resets is not None:
            decay = decay * (1 - resets)
        if not isinstance(rise, Tensor):
            late, last = one_step_late(both, before, decay, rise)
            return late, AlphaCarry(first, last)
        second = torch.cat([before.unsqueeze(0), both[:-1]])
        second = second * decay
        return second * rise, AlphaCarry(first, second[-1].clone())

    def last(self, x: Signal) -> Step:
        age, left = powers(decay_per_step(self, self.tau), x)
        return last_response(x, age * left) * (known_dt(self) * math.e / self.tau)


class _DifferenceCarry(NamedTuple):
    """Steps to compare with, oldest first `(B, n, *N)`, and whether the window has started `(B,)`."""

    last: Tensor
    started: Tensor


class Difference(Kernel):
    """The change since the window started, or over its last `lag` steps.

    Args:
        lag: steps to compare over; None compares with the window's first step.
        keep: give out every step.

    Example:
        >>> Difference()(torch.tensor([3.0, 5.0, 4.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [0.0, 2.0, 1.0]
        >>> Difference(lag=1)(torch.tensor([3.0, 5.0, 4.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [0.0, 2.0, -1.0]
    """

    is_vectorized = True

    def __init__(self, lag: int | None = None, *, keep: bool = False) -> None:
        super().__init__(keep)
        self.lag = None if lag is None else whole_number("Difference", "its lag", lag)

    def initial_state(self, x_t: Step) -> _DifferenceCarry:
        empty = _zeros(x_t, (x_t.shape[0], self.lag or 1, *x_t.shape[1:]))
        return _DifferenceCarry(empty, torch.zeros(x_t.shape[:1], dtype=torch.bool, device=x_t.device))

    def step(self, x_t: Step, state: _DifferenceCarry, **modulation: Modulated) -> tuple[Step, _DifferenceCarry]:
        refuse_unknown(self, modulation)
        dtype, x_t = x_t.dtype, upcast(x_t)
        started = state.started.reshape(-1, *[1] * x_t.ndim)
        # a missing step has the window's first value
        last = torch.where(started, state.last, x_t.unsqueeze(1))
        newest = last if self.lag is None else torch.cat([last[:, 1:], x_t.unsqueeze(1)], dim=1)
        return (x_t - last[:, 0]).to(dtype), _DifferenceCarry(newest, torch.ones_like(state.started))

    def run(
        self, x: Signal, carry: _DifferenceCarry, resets: Restarts | None = None
    ) -> tuple[Signal, _DifferenceCarry]:
        before = Before(carry.last.transpose(0, 1), carry.started)
        return change(x, self.lag, before), self._newest(x, before.steps(x[0]))

    def run_from_start(self, x: Signal) -> tuple[Signal, _DifferenceCarry]:
        return self.values_from_start(x), self.carry_from_start(x)

    def values_from_start(self, x: Signal) -> Signal:
        return change(x, self.lag)

    def carry_from_start(self, x: Signal) -> _DifferenceCarry:
        return self._newest(x, x[:1].expand(self.lag or 1, *x.shape[1:]))

    def _newest(self, x: Signal, before: Tensor) -> _DifferenceCarry:
        newest = before if self.lag is None else torch.cat([before, x[-self.lag :]])[-self.lag :]
        # a copy, so that the state does not keep a long signal in memory
        started = torch.ones(x.shape[1:2], dtype=torch.bool, device=x.device)
        return _DifferenceCarry(newest.transpose(0, 1).clone(), started)

    def last(self, x: Signal) -> Step:
        return x[-1] - x[0 if self.lag is None else max(0, len(x) - 1 - self.lag)]
