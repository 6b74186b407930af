"""Kernels of finitely many taps: learned ones, and a bell."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid.kernel import Kernel
from spikebridge.hybrid.window import whole_number
from spikebridge.neurons.quantity import Quantity


class History(NamedTuple):
    """The last steps inside the window, oldest first, `(B, n, *N)`."""

    last: Tensor


class _FiniteResponse(Kernel):
    """A kernel of finitely many taps, `h_t = sum_k taps[k] x[t - k]`; before the window opened there is nothing."""

    num_taps: int

    def taps(self) -> Tensor:
        """The weights of the present step, the one before, and so on: `(n,)` or `(n, *N)`."""
        raise NotImplementedError

    def initial_state(self, x_t: Tensor) -> History:
        return History(x_t.new_zeros((x_t.shape[0], self.num_taps - 1, *x_t.shape[1:])))

    def step(self, x_t: Tensor, state: History, **modulation: Any) -> tuple[Tensor, History]:
        last = torch.cat([state.last, x_t.unsqueeze(1)], dim=1)
        taps = self.taps().flip(0)
        taps = taps.reshape(taps.shape[0], *[1] * (last.ndim - 1 - taps.ndim), *taps.shape[1:])
        return (last * taps).sum(1), History(last[:, 1:])


class Taps(_FiniteResponse):
    """Learned taps: the weights of the last `num_taps` steps, trained.

    Args:
        num_taps: steps that the kernel looks back, with the present one.
        shape: `()` for one kernel for all, or the layer's shape for one a neuron.
        keep: give out every step.

    Example:
        >>> kernel = Taps(2)
        >>> _ = nn.init.ones_(kernel.weight)
        >>> kernel(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [1.0, 3.0, 5.0]
    """

    def __init__(self, num_taps: int, shape: tuple[int, ...] = (), *, keep: bool = False) -> None:
        super().__init__(keep)
        self.num_taps = whole_number("Taps", "num_taps", num_taps)
        self.weight = nn.Parameter(torch.full((num_taps, *shape), 1 / num_taps))

    def taps(self) -> Tensor:
        return self.weight


class Gaussian(_FiniteResponse):
    """A bell of past time, `exp(-(t - delay)^2 / (2 sigma^2))`, its taps summing to 1.

    Args:
        delay: how long ago the bell has its peak [s].
        sigma: its width [s].
        dt: step of the source's clock [s].
        keep: give out every step.
        learn: which of "delay" and "sigma" to train; the number of taps stays that of the start.

    Example:
        >>> kernel = Gaussian(delay=2.0, sigma=0.5, dt=1.0)
        >>> len(kernel.taps()), int(kernel.taps().argmax())
        (5, 2)
    """

    delay = Quantity()
    sigma = Quantity(positive=True)

    def __init__(self, delay: float, sigma: float, *, dt: float, keep: bool = False, learn: Iterable[str] = ()) -> None:
        super().__init__(keep, dt)
        if delay < 0:
            raise ConfigError(f"Gaussian needs delay >= 0 s, since a kernel is causal, but got {delay}")
        learned = tuple(learn)
        Gaussian.delay.store(self, delay, learn="delay" in learned)
        Gaussian.sigma.store(self, sigma, learn="sigma" in learned)
        self.num_taps = math.ceil((delay + 4 * sigma) / dt) + 1

    def taps(self) -> Tensor:
        place = next(self.parameters(), torch.empty(0))
        t = torch.arange(self.num_taps, dtype=place.dtype, device=place.device) * (self.dt or 1.0)
        bell = torch.exp(-((t - self.delay) ** 2) / (2 * self.sigma**2))
        return bell / bell.sum()

    def step(self, x_t: Tensor, state: History, **modulation: Any) -> tuple[Tensor, History]:
        h_t, state = super().step(x_t, state)
        return h_t.to(x_t.dtype), state
