"""Phase: a spike counts by its place in a cycle, each place half as much as the one before.

J. Kim et al., "Deep neural networks with weighted spikes", Neurocomputing 311 (2018).
"""

from torch import Tensor

from spikebridge.axes import Windows
from spikebridge.coding.coder import Decoder, Encoder, Saturate
from spikebridge.hybrid import Discretizer, Hold, PhaseCode, Tumbling
from spikebridge.hybrid.unit.window import checked_integer


class BinaryFraction(Discretizer):
    """The binary fraction whose digits are a window's steps: a spike in step k is worth `2^-(k + 1)`.

    Example:
        >>> import torch
        >>> BinaryFraction()(torch.tensor([1.0, 0.0, 1.0]).reshape(1, 3, 1, 1), length=3)[0].item()  # 1/2 + 1/8
        0.625
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        # a product of halves is exact, a power need not be
        worth = h.new_full((length,), 0.5).cumprod(0).reshape(1, -1, *[1] * (h.ndim - 2))
        return (h * worth).sum(1, keepdim=True), None


class PhaseDecoder(Decoder):
    """The sum of `2^-(k + 1)` over spikes in steps k: W `Tumbling`, Q `BinaryFraction`.

    Args:
        num_steps: n, steps in a cycle.

    Example:
        >>> import torch
        >>> PhaseDecoder(2)(torch.tensor([1.0, 1.0]).reshape(2, 1, 1))[0].item()
        0.75
    """

    def __init__(self, num_steps: int) -> None:
        window = Tumbling(checked_integer("PhaseDecoder", "num_steps", num_steps))
        super().__init__(window, None, None, BinaryFraction())


class PhaseEncoder(Encoder):
    """The first n bits of a value: W `Hold`, F `Saturate`, Q `PhaseCode`.

    **Bound** `2^-n`: the rest of the value is less than the last bit, and 1 is written as `0.11...1`, which is short of
    it by `2^-n`: there the bound is attained. No dtype holds more bits than it has: float32 serves n up to 24.

    Args:
        num_steps: n, steps in a cycle.

    Example:
        >>> import torch
        >>> encoder = PhaseEncoder(3)
        >>> spikes, _ = encoder(torch.tensor([0.7]).reshape(1, 1, 1))
        >>> spikes.flatten().tolist(), encoder.decoder()(spikes)[0].item(), encoder.bound
        ([1.0, 0.0, 1.0], 0.625, 0.125)
    """

    def __init__(self, num_steps: int) -> None:
        window = Hold(checked_integer("PhaseEncoder", "num_steps", num_steps))
        super().__init__(window, None, Saturate(), PhaseCode())
        self.num_steps = num_steps

    @property
    def bound(self) -> float:
        return 2.0**-self.num_steps

    def decoder(self) -> PhaseDecoder:
        return PhaseDecoder(self.num_steps)
