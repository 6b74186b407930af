"""Kernels with a time constant, which can be learned: a leak, and a rise and fall."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikebridge.axes import Signal, Step
from spikebridge.hybrid.kernel import Kernel, SumCarry
from spikebridge.neurons.lif import decay_of
from spikebridge.neurons.quantity import Quantity
from spikebridge.ops import native_sums
from spikebridge.ops.finite_response import last_response, powers
from spikebridge.ops.leaky_sum import Restarts, last_sum, leaky_sum, one_step_late, sum_of_sums
from spikebridge.ops.one_pass import alphas_of, last_of_sums, runs_in_one_pass, sums_of, wants_gradients


def exponential_step(x_t: Step, carry: SumCarry, *, decay: Tensor | float) -> tuple[Step, SumCarry]:
    """One step of a leaky sum, `h = decay h + x`.

    Args:
        x_t: input.
        carry: after the last step.
        decay: `exp(-dt / tau)`.

    Returns:
        The leaky sum, as output and as carry.

    Example:
        >>> h_t, carry = exponential_step(torch.tensor([[1.0]]), SumCarry(torch.tensor([[4.0]])), decay=0.5)
        >>> h_t.item()
        3.0
    """
    total = carry.total * decay + x_t
    return total, SumCarry(total)


class Exponential(Kernel):
    """A leaky sum, `h = exp(-dt / tau) h + x`.

    Args:
        tau: time constant [s].
        dt: step of the clock [s].
        keep: give out every step.
        learn: `("tau",)` to train it, stored as its logarithm.

    Example:
        >>> tau = 1 / math.log(2)  # one step halves
        >>> Exponential(tau, dt=1.0)(torch.tensor([4.0, 0.0, 0.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [4.0, 2.0, 1.0]
    """

    tau = Quantity(positive=True)
    step_function = staticmethod(exponential_step)
    is_faster = forgets = True

    def __init__(self, tau: Tensor | float, *, dt: float, keep: bool = False, learn: str | Iterable[str] = ()) -> None:
        super().__init__(keep, dt, learn, tau=tau)
        self.fewest = 32 if isinstance(self.tau, Tensor) else 16  # a decay that is a tensor takes two operations a step

    def initial_state(self, x_t: Step) -> SumCarry:
        return SumCarry(torch.zeros_like(x_t))

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        return {"decay": decay_of(quantities["tau"], self.dt)}

    def whole(self, x: Signal, carry: SumCarry | None, restarts: Restarts | None = None) -> tuple[Signal, SumCarry]:
        start, log_tau = None if carry is None else carry.total, self._parameters.get("log_tau")
        if log_tau is None or self.dt is None or isinstance(restarts, Tensor) or not runs_in_one_pass(x, log_tau):
            sums, total = leaky_sum(x, start, decay_of(self.tau, self.dt), restarts)
        else:
            sums, total = sums_of(x, start, log_tau, restarts, self.dt)
        return sums, SumCarry(total)

    def last(self, x: Signal) -> Step:
        log_tau = self._parameters.get("log_tau")
        if log_tau is not None and self.dt is not None and native_sums.serves(x, log_tau):
            return last_of_sums(x, log_tau, self.dt)
        return last_sum(x, decay_of(self.tau, self.dt))


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
    """The alpha function `(t / tau) exp(1 - t / tau)`: rises to 1 after tau, then falls.

    Args:
        tau: time of the peak [s].
        dt: step of the clock [s].
        keep: give out every step.
        learn: `("tau",)` to train it.

    Example:
        >>> h, _ = Alpha(tau=2.0, dt=1.0)(torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(4, 1, 1))
        >>> [round(value, 3) for value in h.flatten().tolist()]  # 0, e^.5 / 2, 1, 1.5 e^-.5
        [0.0, 0.824, 1.0, 0.91]
    """

    tau = Quantity(positive=True)
    step_function = staticmethod(alpha_step)
    is_faster = forgets = True
    fewest = 24

    def __init__(self, tau: Tensor | float, *, dt: float, keep: bool = False, learn: str | Iterable[str] = ()) -> None:
        super().__init__(keep, dt, learn, tau=tau)
        self.dt: float = dt

    def initial_state(self, x_t: Step) -> AlphaCarry:
        return AlphaCarry(torch.zeros_like(x_t), torch.zeros_like(x_t))

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        tau = quantities["tau"]
        return {"decay": decay_of(tau, self.dt), "rise": self.dt * math.e / tau}

    def restarts_in_one_pass(self, x: Signal) -> bool:
        return super().restarts_in_one_pass(x) and not wants_gradients(*self.parameters())

    def whole(self, x: Signal, carry: AlphaCarry | None, restarts: Restarts | None = None) -> tuple[Signal, AlphaCarry]:
        decay, rise = decay_of(self.tau, self.dt), self.dt * math.e / self.tau
        if isinstance(restarts, bytes) or (restarts is None and self.restarts_in_one_pass(x)):
            first, second = (None, None) if carry is None else carry
            values, first, second = alphas_of(x, first, second, decay, rise, restarts)
            return values, AlphaCarry(first, second)
        first, second = self.initial_state(x[0]) if carry is None else carry
        # second + first is a leaky sum of first, and second is what a decay leaves of it
        before = second + first
        both, first, _ = sum_of_sums(x, first, before, decay, restarts)
        if restarts is not None:
            decay = decay * (1 - restarts)
        if not isinstance(rise, Tensor):
            late, last = one_step_late(both, before, decay, rise)
            return late, AlphaCarry(first, last)
        second = torch.cat([before.unsqueeze(0), both[:-1]])
        second = second * decay
        return second * rise, AlphaCarry(first, second[-1].clone())

    def last(self, x: Signal) -> Step:
        age, left = powers(decay_of(self.tau, self.dt), x)
        return last_response(x, age * left) * (self.dt * math.e / self.tau)
