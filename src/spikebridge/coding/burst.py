"""Burst: a value is how long a neuron fires without a pause.

After W. Guo et al., Frontiers in Neuroscience 15:638474 (2021). Their bursts also vary the pause between spikes; here
spikes are in consecutive steps, so that the first silent step ends the value.
"""

from torch import Tensor

from spikebridge.axes import Windows
from spikebridge.coding.coder import Decoder, Encoder, Saturate
from spikebridge.hybrid import Burst, Discretizer, Hold, Tumbling
from spikebridge.hybrid.unit.window import checked_integer


class RunLength(Discretizer):
    """The share of a window's steps before its first silent one; later spikes do not count.

    As a sum of products it has a gradient: a spike counts itself and those after it.

    Example:
        >>> import torch
        >>> RunLength()(torch.tensor([1.0, 1.0, 0.0, 1.0]).reshape(1, 4, 1, 1), length=4)[0].item()
        0.5
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        return h.cumprod(1).sum(1, keepdim=True) / length, None


class BurstDecoder(Decoder):
    """The length of the first burst over n: W `Tumbling`, Q `RunLength`.

    Args:
        num_steps: n, steps a value.

    Example:
        >>> import torch
        >>> BurstDecoder(4)(torch.tensor([1.0, 1.0, 1.0, 0.0]).reshape(4, 1, 1))[0].item()
        0.75
    """

    def __init__(self, num_steps: int) -> None:
        window = Tumbling(checked_integer("BurstDecoder", "num_steps", num_steps))
        super().__init__(window, None, None, RunLength())


class BurstEncoder(Encoder):
    """`round(v n)` consecutive spikes from the window's first step: W `Hold`, F `Saturate`, Q `Burst`.

    **Bound** `1 / (2 n)`: spike k is fired where `v n >= k + 1/2`, which makes `round(v n)` spikes (halves up), and
    rounding moves `v n` by at most 1/2. It is attained where `v n` lies halfway between two integers. The bound is
    that of a rate, but the value is known after `v n + 1` steps, and stray spikes behind the burst do not change it.

    Args:
        num_steps: n, steps a value.

    Example:
        >>> import torch
        >>> encoder = BurstEncoder(4)
        >>> spikes, _ = encoder(torch.tensor([0.6]).reshape(1, 1, 1))  # 0.6 * 4 = 2.4
        >>> spikes.flatten().tolist(), encoder.decoder()(spikes)[0].item(), encoder.bound
        ([1.0, 1.0, 0.0, 0.0], 0.5, 0.125)
    """

    def __init__(self, num_steps: int) -> None:
        window = Hold(checked_integer("BurstEncoder", "num_steps", num_steps))
        super().__init__(window, None, Saturate(), Burst())
        self.num_steps = num_steps

    @property
    def bound(self) -> float:
        return 1 / (2 * self.num_steps)

    def decoder(self) -> BurstDecoder:
        return BurstDecoder(self.num_steps)
