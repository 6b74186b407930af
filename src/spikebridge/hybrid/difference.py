"""The change of a signal since its window opened, or over the last steps of it."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikebridge.axes import Signal, Step
from spikebridge.hybrid.kernel import Kernel
from spikebridge.hybrid.window import whole_number
from spikebridge.neurons.base import refuse_unknown
from spikebridge.neurons.quantity import Modulated
from spikebridge.ops.change import Before, change
from spikebridge.ops.leaky_sum import Restarts


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

    is_faster = True

    def __init__(self, lag: int | None = None, *, keep: bool = False) -> None:
        super().__init__(keep)
        self.lag = None if lag is None else whole_number("Difference", "its lag", lag)

    def initial_state(self, x_t: Step) -> DifferenceCarry:
        empty = x_t.new_zeros((x_t.shape[0], self.lag or 1, *x_t.shape[1:]))
        return DifferenceCarry(empty, torch.zeros(x_t.shape[:1], dtype=torch.bool, device=x_t.device))

    def step(self, x_t: Step, state: DifferenceCarry, **modulation: Modulated) -> tuple[Step, DifferenceCarry]:
        refuse_unknown(self, modulation)
        started = state.started.reshape(-1, *[1] * x_t.ndim)
        # before the window opened its first value stands in
        last = torch.where(started, state.last, x_t.unsqueeze(1))
        newest = last if self.lag is None else torch.cat([last[:, 1:], x_t.unsqueeze(1)], dim=1)
        return x_t - last[:, 0], DifferenceCarry(newest, torch.ones_like(state.started))

    def whole(
        self, x: Signal, carry: DifferenceCarry, restarts: Restarts | None = None
    ) -> tuple[Signal, DifferenceCarry]:
        before = Before(carry.last.transpose(0, 1), carry.started)
        return change(x, self.lag, before), self._newest(x, before.steps(x[0]))

    def from_nothing(self, x: Signal) -> tuple[Signal, DifferenceCarry]:
        return self.values(x), self.after(x)

    def values(self, x: Signal) -> Signal:
        return change(x, self.lag)

    def after(self, x: Signal) -> DifferenceCarry:
        return self._newest(x, x[:1].expand(self.lag or 1, *x.shape[1:]))

    def _newest(self, x: Signal, before: Tensor) -> DifferenceCarry:
        newest = before if self.lag is None else torch.cat([before, x[-self.lag :]])[-self.lag :]
        # a copy: a state must not keep a long signal alive
        started = torch.ones(x.shape[1:2], dtype=torch.bool, device=x.device)
        return DifferenceCarry(newest.transpose(0, 1).clone(), started)

    def last(self, x: Signal) -> Step:
        return x[-1] - x[0 if self.lag is None else max(0, len(x) - 1 - self.lag)]
