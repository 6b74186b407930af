"""Discretizers that reduce: from a window's steps to one value, in which time is integrated away."""

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.axes import Windows
from spikebridge.hybrid.discretizer import Discretizer, straight_through


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
