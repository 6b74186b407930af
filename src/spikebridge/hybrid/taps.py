"""Kernels of finitely many taps: learned ones, and a bell."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.axes import Signal, Step
from spikebridge.errors import ConfigError
from spikebridge.hybrid.kernel import Kernel
from spikebridge.hybrid.window import whole_number
from spikebridge.neurons.quantity import Quantity
from spikebridge.ops.finite_response import finite_response, last_response
from spikebridge.ops.leaky_sum import Restarts


class History(NamedTuple):
    """The last steps inside the window, oldest first, `(B, n, *N)`."""

    last: Tensor


def taps_step(x_t: Step, carry: History, *, taps: Float[Tensor, "n *M"]) -> tuple[Step, History]:
    """One step of a finite response, `h_t = sum_k taps[k] x[t - k]`; before the window opened there is nothing.

    Args:
        x_t: input.
        carry: the `n - 1` steps before.
        taps: weights of the present step, the one before, and so on: `(n,)`, `(n, *N)` or `(n, B, *N)`.

    Returns:
        The value and the steps that the next one looks back on.

    Example:
        >>> carry = History(torch.tensor([[[2.0]]]))
        >>> h_t, carry = taps_step(torch.tensor([[3.0]]), carry, taps=torch.tensor([1.0, 0.5]))
        >>> h_t.item(), carry.last.item()  # 3 + 2 / 2
        (4.0, 3.0)
    """
    last = torch.cat([carry.last, x_t.unsqueeze(1)], dim=1)
    weights = taps.flip(0).reshape(taps.shape[0], *[1] * (x_t.ndim + 1 - taps.ndim), *taps.shape[1:])
    return (last.movedim(1, 0) * weights).sum(0), History(last[:, 1:])


class _FiniteResponse(Kernel):
    """What kernels of finitely many taps share: `num_taps`, and a carry of the steps before."""

    step_function = staticmethod(taps_step)
    is_faster = True
    num_taps: int

    def initial_state(self, x_t: Step) -> History:
        return History(x_t.new_zeros((x_t.shape[0], self.num_taps - 1, *x_t.shape[1:])))

    def whole(self, x: Signal, carry: History, restarts: Restarts | None = None) -> tuple[Signal, History]:
        before = carry.last.transpose(0, 1)
        return finite_response(x, self._taps(x), before), self._newest(x, before)

    def from_nothing(self, x: Signal) -> tuple[Signal, History]:
        return self.values(x), self.after(x)

    def values(self, x: Signal) -> Signal:
        return finite_response(x, self._taps(x))

    def after(self, x: Signal) -> History:
        return self._newest(x, x.new_zeros((max(0, self.num_taps - 1 - len(x)), *x.shape[1:])))

    def _newest(self, x: Signal, before: Tensor) -> History:
        kept = self.num_taps - 1
        newest = x[max(0, len(x) - kept) :]
        steps = before[len(before) + len(newest) - kept :], newest
        # a copy: a state must not keep a long signal alive
        return History(torch.cat([part.transpose(0, 1) for part in steps], 1))

    def last(self, x: Signal) -> Step:
        inside = min(len(x), self.num_taps)
        return last_response(x[len(x) - inside :], self._taps(x)[:inside])

    def _taps(self, x: Signal) -> Tensor:
        taps: Tensor = self.arguments({name: getattr(self, name) for name in self.modulable}, x[0])["taps"]
        return taps


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

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        return {"taps": self.weight}


class Gaussian(_FiniteResponse):
    """A bell of past time, `exp(-(t - delay)^2 / (2 sigma^2))`, its taps summing to 1.

    Args:
        delay: how long ago the bell has its peak [s].
        sigma: its width [s].
        dt: step of the clock [s].
        keep: give out every step.
        learn: which of "delay" and "sigma" to train; the number of taps stays that of the start.

    Example:
        >>> kernel = Gaussian(delay=2.0, sigma=0.5, dt=1.0)
        >>> len(kernel.taps()), int(kernel.taps().argmax())
        (5, 2)
    """

    delay = Quantity()
    sigma = Quantity(positive=True)

    def __init__(
        self,
        delay: Tensor | float,
        sigma: Tensor | float,
        *,
        dt: float,
        keep: bool = False,
        learn: str | Iterable[str] = (),
    ) -> None:
        super().__init__(keep, dt, learn, delay=delay, sigma=sigma)
        self.dt: float = dt
        if float(torch.as_tensor(delay).min()) < 0:
            raise ConfigError(f"Gaussian needs delay >= 0 s, since a kernel is causal, but got {delay}")
        reach = float((torch.as_tensor(delay) + 4 * torch.as_tensor(sigma)).max())
        self.num_taps = math.ceil(reach / dt) + 1

    def taps(self) -> Tensor:
        """The weights of the present step, the one before, and so on: `(n,)` or `(n, *N)`."""
        place = next(self.parameters(), torch.empty(0))
        return self.arguments({"delay": self.delay, "sigma": self.sigma}, place)["taps"]

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        delay, sigma = quantities["delay"], quantities["sigma"]
        if not (isinstance(delay, Tensor) or isinstance(sigma, Tensor)):
            exponents = [-((k * self.dt - delay) ** 2) / (2 * sigma**2) for k in range(self.num_taps)]
            return {"taps": torch.tensor(exponents, dtype=x_t.dtype, device=x_t.device).softmax(0)}
        delay, sigma = (torch.as_tensor(quantity).to(x_t) for quantity in (delay, sigma))
        t = torch.arange(self.num_taps, dtype=x_t.dtype, device=x_t.device) * self.dt
        t = t.reshape(-1, *[1] * max(delay.ndim, sigma.ndim))
        return {"taps": (-((t - delay) ** 2) / (2 * sigma**2)).softmax(0)}
