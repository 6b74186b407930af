"""H, the kernel: convolves in time inside a window, always causal (R. Zhao et al., 2022, eq. 5).

A kernel is defined by one step, `h_t, carry = kernel.step(x_t, carry)`. Kept (`keep=True`, or in a running window) it gives one
value a step; else it gives its last one, one a window.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.hybrid.window import whole_number
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.lif import decay_of
from spikebridge.neurons.quantity import Quantity
from spikebridge.neurons.state import State, where


class Kernel(Stateful):
    """What all kernels share. A carry's tensors have the batch first, so that single samples can restart.

    Args:
        keep: give out every step of a window, not only the last.
        dt: step of the source's clock [s], for kernels with time constants.
    """

    def __init__(self, keep: bool = False, dt: float | None = None, **quantities: Any) -> None:
        super().__init__()
        if dt is not None and not dt > 0:
            raise ConfigError(f"{type(self).__name__} needs dt > 0 s, but got {dt}")
        self.keep = keep
        self.dt = dt

    def extra_repr(self) -> str:
        texts = [f"{name}={float(torch.as_tensor(getattr(self, name)).mean()):g}" for name in self.modulable]
        return ", ".join([*texts, *([f"dt={self.dt:g}"] if self.dt else []), *(["keep=True"] if self.keep else [])])


class SumCarry(NamedTuple):
    """What the window has summed so far."""

    total: Tensor


class Sum(Kernel):
    """The sum since the window opened.

    Example:
        >>> Sum()(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [1.0, 3.0, 6.0]
    """

    def initial_state(self, x_t: Tensor) -> SumCarry:
        return SumCarry(torch.zeros_like(x_t))

    def step(self, x_t: Tensor, state: SumCarry, **modulation: Any) -> tuple[Tensor, SumCarry]:
        total = state.total + x_t
        return total, SumCarry(total)


class MeanCarry(NamedTuple):
    """What the window has summed, and over how many steps, `(B, 1, ...)`."""

    total: Tensor
    num_steps: Tensor


class Mean(Kernel):
    """The mean since the window opened.

    Example:
        >>> Mean()(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [1.0, 1.5, 2.0]
    """

    def initial_state(self, x_t: Tensor) -> MeanCarry:
        return MeanCarry(torch.zeros_like(x_t), x_t.new_zeros(x_t.shape[:1] + (1,) * (x_t.ndim - 1)))

    def step(self, x_t: Tensor, state: MeanCarry, **modulation: Any) -> tuple[Tensor, MeanCarry]:
        carry = MeanCarry(state.total + x_t, state.num_steps + 1)
        return carry.total / carry.num_steps, carry


class Exponential(Kernel):
    """A leaky sum, `h = exp(-dt / tau) h + x`.

    Args:
        tau: time constant [s].
        dt: step of the source's clock [s].
        keep: give out every step.
        learn: `("tau",)` to train it, stored as its logarithm.

    Example:
        >>> tau = 1 / math.log(2)  # one step halves
        >>> Exponential(tau, dt=1.0)(torch.tensor([4.0, 0.0, 0.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [4.0, 2.0, 1.0]
    """

    tau = Quantity(positive=True)

    def __init__(self, tau: Tensor | float, *, dt: float, keep: bool = False, learn: Iterable[str] = ()) -> None:
        super().__init__(keep, dt)
        Exponential.tau.store(self, tau, learn="tau" in tuple(learn))

    def initial_state(self, x_t: Tensor) -> SumCarry:
        return SumCarry(torch.zeros_like(x_t))

    def step(self, x_t: Tensor, state: SumCarry, **modulation: Any) -> tuple[Tensor, SumCarry]:
        total = state.total * decay_of(self.tau, self.dt or 1.0) + x_t
        return total, SumCarry(total)


class AlphaCarry(NamedTuple):
    """The two stages of an alpha function."""

    first: Tensor
    second: Tensor


class Alpha(Kernel):
    """The alpha function `(t / tau) exp(1 - t / tau)`: rises to 1 after tau, then falls.

    Args:
        tau: time of the peak [s].
        dt: step of the source's clock [s].
        keep: give out every step.
        learn: `("tau",)` to train it.

    Example:
        >>> h, _ = Alpha(tau=2.0, dt=1.0)(torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(4, 1, 1))
        >>> [round(value, 3) for value in h.flatten().tolist()]  # 0, e^.5 / 2, 1, 1.5 e^-.5
        [0.0, 0.824, 1.0, 0.91]
    """

    tau = Quantity(positive=True)

    def __init__(self, tau: Tensor | float, *, dt: float, keep: bool = False, learn: Iterable[str] = ()) -> None:
        super().__init__(keep, dt)
        Alpha.tau.store(self, tau, learn="tau" in tuple(learn))

    def initial_state(self, x_t: Tensor) -> AlphaCarry:
        return AlphaCarry(torch.zeros_like(x_t), torch.zeros_like(x_t))

    def step(self, x_t: Tensor, state: AlphaCarry, **modulation: Any) -> tuple[Tensor, AlphaCarry]:
        dt = self.dt or 1.0
        decay = decay_of(self.tau, dt)
        # sum_k k decay^k x[t - k], built from sum_k decay^k x[t - k]
        second = (state.second + state.first) * decay
        return second * (dt * math.e / self.tau), AlphaCarry(state.first * decay + x_t, second)


class DifferenceCarry(NamedTuple):
    """Steps to compare with, oldest first `(B, n, *N)`, and whether the window has begun `(B,)`."""

    last: Tensor
    started: Tensor


class Difference(Kernel):
    """The change since the window opened, or over the last `lag` steps of it.

    Args:
        lag: steps to look back; None looks back to the window's first step.
        keep: give out every step.

    Example:
        >>> Difference()(torch.tensor([3.0, 5.0, 4.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [0.0, 2.0, 1.0]
        >>> Difference(lag=1)(torch.tensor([3.0, 5.0, 4.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [0.0, 2.0, -1.0]
    """

    def __init__(self, lag: int | None = None, *, keep: bool = False) -> None:
        super().__init__(keep)
        self.lag = None if lag is None else whole_number("Difference", "lag", lag)

    def initial_state(self, x_t: Tensor) -> DifferenceCarry:
        empty = x_t.new_zeros((x_t.shape[0], self.lag or 1, *x_t.shape[1:]))
        return DifferenceCarry(empty, torch.zeros(x_t.shape[:1], dtype=torch.bool, device=x_t.device))

    def step(self, x_t: Tensor, state: DifferenceCarry, **modulation: Any) -> tuple[Tensor, DifferenceCarry]:
        started = state.started.reshape(-1, *[1] * x_t.ndim)
        # before the window opened its first value stands in
        last = torch.where(started, state.last, x_t.unsqueeze(1))
        newest = last if self.lag is None else torch.cat([last[:, 1:], x_t.unsqueeze(1)], dim=1)
        return x_t - last[:, 0], DifferenceCarry(newest, torch.ones_like(state.started))


def run_kernel(
    kernel: Kernel, steps: Iterable[Tensor], carry: State, restarts: Iterable[Any] | None = None
) -> tuple[list[Tensor], State]:
    """The plain loop of a kernel over steps, restarted where asked.

    Args:
        kernel: what steps.
        steps: each `(B, *N)`, or `(K, B, *N)` for K windows at once.
        carry: from the step before, or None.
        restarts: for each step True, False, or a flag a sample `(B,)`.
    """
    values = []
    flags = iter(restarts) if restarts is not None else None
    for x_t in steps:
        restart = next(flags) if flags is not None else False
        if carry is None or restart is True:
            carry = kernel.initial_state(x_t)
        elif isinstance(restart, Tensor):
            carry = where(restart, kernel.initial_state(x_t), carry)
        h_t, carry = kernel.step(x_t, carry)
        values.append(h_t)
    return values, carry
