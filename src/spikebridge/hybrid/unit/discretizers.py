"""Discretizers that expand: the spikes of one held value, over the steps of its window.

Discretizers that reduce: from a window's steps to one value, in which time is integrated away.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.axes import Windows
from spikebridge.hybrid.unit.discretizer import Discretizer, straight_through
from spikebridge.neurons.surrogate import Surrogate, Triangle


class FirstSpike(Discretizer):
    """One spike, the earlier the larger the value: v in 0..1 fires in step `floor((1 - v) L)`, and 0 in the last one.

    The gradient moves the spike between neighbouring steps: its value, `sum (1 - k / L) s_k`, has slope 1 everywhere.

    Example:
        >>> spikes, _ = FirstSpike()(torch.tensor([1.0, 0.6]).reshape(1, 1, 1, 2), length=4)
        >>> spikes[0, :, 0].T.tolist()  # 0.4 * 4 = 1.6: the second step
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    """

    kind = "expands"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K L2 B *N"], None]:
        value = h[:, :1].clamp(0, 1)
        step = torch.arange(length, device=h.device, dtype=h.dtype).reshape(1, -1, *[1] * (h.ndim - 2))
        time = ((1 - value) * length).floor().clamp(max=length - 1)
        edge = Triangle(width=1 / length)
        # a value that crosses the lower edge of a step moves the spike there; above the first step there is no other
        crossed = edge(value - (length - 1 - step) / length) + (step == 0) * edge(value - 1)
        soft = crossed.diff(dim=1, prepend=torch.zeros_like(crossed[:, :1]))
        return straight_through((time == step).to(h.dtype), soft), None


class Phase(Discretizer):
    """The bits of a value in 0..1, the largest first: a spike in step k is worth `2^-(k + 1)` (J. Kim et al., 2018).

    Args:
        surrogate: derivative of each bit; None goes straight through, since every bit rises once over the whole range.

    Example:
        >>> spikes, _ = Phase()(torch.tensor([0.625]).reshape(1, 1, 1, 1), length=3)
        >>> spikes.flatten().tolist()  # 1/2 + 1/8
        [1.0, 0.0, 1.0]
    """

    kind = "expands"

    def __init__(self, surrogate: Surrogate | None = None) -> None:
        super().__init__()
        self.surrogate = surrogate

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K L2 B *N"], None]:
        value = rest = h[:, 0].clamp(0, 1)
        spikes = []
        for k in range(length):
            worth = 2.0 ** -(k + 1)
            hard = (rest >= worth).to(h.dtype)
            bit = self.surrogate(rest - worth) if self.surrogate else straight_through(hard, value)
            rest = rest - bit.detach() * worth
            spikes.append(bit)
        return torch.stack(spikes, dim=1), None


class Burst(Discretizer):
    """A burst at the start of the window: `round(v L)` spikes side by side for a value v in 0..1.

    The gradient spreads over the burst's last spike: a bump as wide as one spike's worth.

    Example:
        >>> Burst()(torch.tensor([0.5]).reshape(1, 1, 1, 1), length=4)[0].flatten().tolist()
        [1.0, 1.0, 0.0, 0.0]
    """

    kind = "expands"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K L2 B *N"], None]:
        value = h[:, :1].clamp(0, 1) * length
        step = torch.arange(length, device=h.device, dtype=h.dtype).reshape(1, -1, *[1] * (h.ndim - 2))
        return Triangle(width=1.0)(value - step - 0.5), None


class Integrate(Discretizer):
    """The sum over a window's steps.

    Example:
        >>> Integrate()(torch.tensor([1.0, 0.5]).reshape(1, 2, 1, 1), length=2)[0].flatten().tolist()
        [1.5]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K 1 B *N"], None]:
        return h.sum(1, keepdim=True), None


class Last(Discretizer):
    """The last of a window's steps.

    Example:
        >>> Last()(torch.tensor([1.0, 0.5]).reshape(1, 2, 1, 1), length=2)[0].flatten().tolist()
        [0.5]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K 1 B *N"], None]:
        return h[:, -1:], None


class Count(Discretizer):
    """How many of a window's steps are not zero, whatever their sign; the gradient is that of the sum of their sizes.

    Example:
        >>> Count()(torch.tensor([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1), length=3)[0].flatten().tolist()
        [2.0]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K 1 B *N"], None]:
        count = (h != 0).to(h.dtype).sum(1, keepdim=True)
        return straight_through(count, _size(h).sum(1, keepdim=True)), None


class FirstTime(Discretizer):
    """The step of a window's first spike of any sign, counted from 0; L where there is none.

    The gradient is that of a sum over steps of "no spike yet": a spike that grows earlier makes the time shorter.

    Example:
        >>> FirstTime()(torch.tensor([0.0, 1.0, 1.0]).reshape(1, 3, 1, 1), length=3)[0].flatten().tolist()
        [1.0]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K 1 B *N"], None]:
        time = (h == 0).to(h.dtype).cumprod(1).sum(1, keepdim=True)
        return straight_through(time, (1 - _size(h)).clamp(min=0).cumprod(1).sum(1, keepdim=True)), None


def _size(h: Tensor) -> Tensor:
    """The absolute value, with slope 1 at 0, where `abs` has none: a silent step could never learn to fire."""
    return torch.where(h < 0, -h, h)
