"""One step of a pathway of two branches in one call of the native library, driven by events.

    sum = leak sum + linear(events) + out(spikes),    spikes of LIF neurons whose current is conv(events)

An event is added to the places whose windows hold it, and so is a spike. So the step costs what its events cost, and
numbers are those of the layers up to rounding. `select("pathway step", ...)` says where it may run.
"""

import ctypes
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.ops.native.library import library

_LAST = torch.channels_last
_MOST_CHANNELS = 256  # MOST_CHANNELS of pathway.h


class _Record(ctypes.Structure):
    """`Pathway` of pathway.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("num_inputs", "height", "width", "channels", "out_height", "out_width")],
        *[(name, ctypes.c_int64) for name in ("kernel_y", "kernel_x", "stride", "pad_y", "pad_x")],
        *[(name, ctypes.c_int64) for name in ("kernel_out_y", "kernel_out_x")],
        ("threshold", ctypes.c_float),
        *[(name, ctypes.c_void_p) for name in ("weights", "bias", "out", "decay", "leak")],
    ]


class NativePathway:
    """A pathway of two branches with its weights laid out for the native library; later changes are not seen.

    Args:
        both: convolution of the events; its first half of channels is the linear branch, the second one the current.
        out: convolution of the spikes, with a stride of 1, as many channels, and no bias.
        decay: of the membranes, one a channel, or one for all.
        leak: of the sum, one a channel, or one for all.
        threshold: from which on a membrane fires; then it is 0.

    Example:
        >>> both, out = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        >>> pathway = NativePathway(both, out, decay=torch.tensor(0.5), leak=torch.tensor(1.0), threshold=1.0)
        >>> pathway.out.shape  # row and column of the kernel, channel of the spike, channel of the sum
        torch.Size([3, 3, 3, 3])
    """

    def __init__(self, both: nn.Conv2d, out: nn.Conv2d, decay: Tensor, leak: Tensor, threshold: float) -> None:
        num_channels = out.out_channels
        weights = both.weight.detach().float()
        bias = weights.new_zeros(2 * num_channels) if both.bias is None else both.bias.detach().float()
        self.weights = weights.permute(1, 2, 3, 0).contiguous()
        self.bias = bias.contiguous()
        self.out = out.weight.detach().float().permute(2, 3, 1, 0).contiguous()
        self.decay, self.leak = (
            part.detach().float().flatten().expand(num_channels).contiguous() for part in (decay, leak)
        )
        pad_y, pad_x = (int(n) for n in both.padding)
        self._sizes = [*self.weights.shape[1:3], both.stride[0], pad_y, pad_x, *self.out.shape[:2], threshold]
        self._records: dict[tuple[torch.Size, torch.Size], _Record] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_records": {}}  # which point to the memory of this one

    def step(
        self, events: Float[Tensor, "1 P H W"], v: Float[Tensor, "1 C H2 W2"], total: Float[Tensor, "1 C H2 W2"]
    ) -> tuple[Float[Tensor, "1 C H2 W2"], Float[Tensor, "1 C H2 W2"]]:
        """Membranes and sum after one step; they lie channels last.

        Args:
            events: of the step.
            v: membranes before.
            total: the sum before.
        """
        if not (events.is_contiguous() and v.stride(1) == total.stride(1) == 1):
            events, (v, total) = events.contiguous(), (x.contiguous(memory_format=_LAST) for x in (v, total))

        record = self._records.get(shapes := (events.shape, v.shape))
        if record is None:
            memory = [x.data_ptr() for x in (self.weights, self.bias, self.out, self.decay, self.leak)]
            record = self._records[shapes] = _Record(*events.shape[1:], *v.shape[1:], *self._sizes, *memory)

        fired = torch.empty_like(v)
        summed = torch.empty_like(total)
        run: Any = library().steps
        run.spikebridge_pathway_step(
            ctypes.byref(record), *[ctypes.c_void_p(x.data_ptr()) for x in (events, v, fired, total, summed)]
        )

        return fired, summed


def fits_pathway(both: nn.Conv2d, out: nn.Conv2d) -> bool:
    """Whether `NativePathway` takes two convolutions.

    Args:
        both: of the events.
        out: of the spikes.

    Example:
        >>> fits_pathway(nn.Conv2d(2, 8, 5, 2, 2), nn.Conv2d(4, 4, 3, padding=1, bias=False))
        True
    """
    plain = all(
        conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros" and type(conv.padding) is tuple
        for conv in (both, out)
    )

    centred = tuple(n // 2 for n in out.kernel_size) == out.padding and all(n % 2 for n in out.kernel_size)
    square = both.stride[0] == both.stride[1] and out.stride == (1, 1)
    widths = both.out_channels == 2 * out.in_channels == 2 * out.out_channels <= 2 * _MOST_CHANNELS

    return plain and centred and square and widths and out.bias is None
