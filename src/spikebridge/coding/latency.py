"""Latency: a value is how soon a neuron fires (S. Thorpe et al., Neural Networks 14, 2001)."""

import torch
from torch import Tensor

from spikebridge.axes import Windows
from spikebridge.coding.coder import Decoder, Encoder, Saturate
from spikebridge.hybrid import Discretizer, FirstSpike, Hold, Tumbling
from spikebridge.hybrid.unit.discretizer import straight_through
from spikebridge.hybrid.unit.window import checked_integer


class Earliness(Discretizer):
    """The earliness of a window's first spike: 1 in the first step, 1/L in the last, 0 without a spike.

    The gradient is that of the sum over all spikes, each worth its earliness.

    Example:
        >>> Earliness()(torch.tensor([0.0, 1.0, 0.0, 1.0]).reshape(1, 4, 1, 1), length=4)[0].item()
        0.75
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        step = torch.arange(length, device=h.device, dtype=h.dtype).reshape(1, -1, *[1] * (h.ndim - 2))
        worth = (length - step) / length
        # the first spike is worth most
        earliest = ((h != 0) * worth).amax(1, keepdim=True)

        return straight_through(earliest, (h * worth).sum(1, keepdim=True)), None


class LatencyDecoder(Decoder):
    """`1 - t / n` for a first spike in step t, 0 for none: W `Tumbling`, Q `Earliness`.

    Args:
        num_steps: n, steps a value.

    Example:
        >>> LatencyDecoder(4)(torch.tensor([0.0, 1.0, 0.0, 0.0]).reshape(4, 1, 1))[0].item()
        0.75
    """

    def __init__(self, num_steps: int) -> None:
        window = Tumbling(checked_integer("LatencyDecoder", "num_steps", num_steps))
        super().__init__(window, None, None, Earliness())


class LatencyEncoder(Encoder):
    """One spike a value, the earlier the larger: W `Hold`, F `Saturate`, Q `FirstSpike`.

    **Bound** `1 / n`, one step: the spike is in step `t = floor((1 - v) n)`, so the decoder's `1 - t / n` is v or up to
    one step more. The value 0 still fires in the last step and reads as `1 / n`: there the bound is attained.

    Args:
        num_steps: n, steps a value.

    Example:
        >>> encoder = LatencyEncoder(4)
        >>> spikes, _ = encoder(torch.tensor([0.6]).reshape(1, 1, 1))  # 0.4 * 4 = 1.6: the second step
        >>> spikes.flatten().tolist(), encoder.decoder()(spikes)[0].item(), encoder.bound
        ([0.0, 1.0, 0.0, 0.0], 0.75, 0.25)
    """

    def __init__(self, num_steps: int) -> None:
        window = Hold(checked_integer("LatencyEncoder", "num_steps", num_steps))
        super().__init__(window, None, Saturate(), FirstSpike())
        self.num_steps = num_steps

    @property
    def bound(self) -> float:
        return 1 / self.num_steps

    def decoder(self) -> LatencyDecoder:
        return LatencyDecoder(self.num_steps)
