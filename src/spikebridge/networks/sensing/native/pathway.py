"""One step of a pathway of two branches in one native call, driven by events.

    sum = leak sum + linear(events) + out(spikes),    spikes of LIF neurons whose current is conv(events)

An event is added to the cells whose windows hold it, and so is a spike. So the step costs what its events cost, and
numbers are those of the layers up to rounding.
"""

import ctypes
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.networks.sensing.native.job import Job, floats
from spikebridge.ops.native.library import int64_fields, library, pointer_fields
from spikebridge.ops.selection import PICTURES, Operation, Path, always, has_hooks, native_on_pictures

_LAST = torch.channels_last
# as in pathway.h
_MAX_CHANNELS = 256


def _takes_events(events: Tensor, *layers: nn.Module) -> bool:
    return native_on_pictures("spikebridge_pathway_step")(events) and not any(map(has_hooks, layers))


PATHWAY_STEP = Operation(
    "one step of a linear and a spiking branch, and the change that it makes at some displacements",
    (
        Path("native", f"{PICTURES}, no hook on a layer", _takes_events),
        Path("torch", "always: layer after layer, and a transform", always),
    ),
    lambda _: (torch.zeros(1, 2, 8, 8),),
)


class _Weights(Job):
    """`Pathway` of pathway.h."""

    _fields_ = [
        *int64_fields("num_inputs", "height", "width", "channels", "out_height", "out_width"),
        *int64_fields("kernel_y", "kernel_x", "stride", "pad_y", "pad_x"),
        *int64_fields("kernel_out_y", "kernel_out_x"),
        *floats("threshold"),
        *pointer_fields("weights", "bias", "out", "decay", "leak"),
    ]


class NativePathway:
    """A pathway of two branches with its weights laid out for the native library; they are read once.

    `both` is the convolution of the events: its first half of channels is the linear branch, the second one the
    current. `out` is that of the spikes. `decay` of the membranes and `leak` of the sum are one a channel, or one for
    all.
    """

    def __init__(self, both: nn.Conv2d, out: nn.Conv2d, decay: Tensor, leak: Tensor, threshold: float) -> None:
        num_channels = out.out_channels
        weights = both.weight.detach().float()
        bias = weights.new_zeros(2 * num_channels) if both.bias is None else both.bias.detach().float()

        # [input][row][column][channel], so that all channels of an event are added at once
        self.weights = weights.permute(1, 2, 3, 0).contiguous()
        self.bias = bias.contiguous()
        self.out = out.weight.detach().float().permute(2, 3, 1, 0).contiguous()
        self.decay = _by_channel(decay, num_channels)
        self.leak = _by_channel(leak, num_channels)

        pad_y, pad_x = (int(n) for n in both.padding)
        self._sizes = [*self.weights.shape[1:3], both.stride[0], pad_y, pad_x, *self.out.shape[:2], threshold]
        self._jobs: dict[tuple[torch.Size, torch.Size], _Weights] = {}

    def __getstate__(self) -> dict[str, Any]:
        # a copy must not point to the memory of this one
        return {**self.__dict__, "_jobs": {}}

    def step(
        self, events: Float[Tensor, "1 P H W"], v: Float[Tensor, "1 C H2 W2"], total: Float[Tensor, "1 C H2 W2"]
    ) -> tuple[Float[Tensor, "1 C H2 W2"], Float[Tensor, "1 C H2 W2"]]:
        """Membranes and sum after one step; they lie channels last."""
        if not (events.is_contiguous() and v.stride(1) == total.stride(1) == 1):
            events = events.contiguous()
            v = v.contiguous(memory_format=_LAST)
            total = total.contiguous(memory_format=_LAST)

        new_v = torch.empty_like(v)
        new_total = torch.empty_like(total)

        # without `Job.run`: the step allocates nothing, and takes its signals as further arguments
        step: Any = library().steps
        signals = [ctypes.c_void_p(x.data_ptr()) for x in (events, v, new_v, total, new_total)]
        step.spikebridge_pathway_step(ctypes.byref(self._job(events.shape, v.shape)), *signals)

        return new_v, new_total

    def _job(self, inputs: torch.Size, outputs: torch.Size) -> _Weights:
        """The weights for signals of these shapes, made once: a step takes as long as its events."""
        job = self._jobs.get((inputs, outputs))
        if job is None:
            job = self._jobs[inputs, outputs] = _Weights(*inputs[1:], *outputs[1:], *self._sizes)
            job.point(weights=self.weights, bias=self.bias, out=self.out, decay=self.decay, leak=self.leak)

        return job


def _by_channel(values: Tensor, num_channels: int) -> Float[Tensor, " C"]:
    return values.detach().float().flatten().expand(num_channels).contiguous()


def fits_pathway(both: nn.Conv2d, out: nn.Conv2d) -> bool:
    """True if `NativePathway` takes the convolutions of the events and of the spikes."""
    plain = all(
        conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros" and type(conv.padding) is tuple
        for conv in (both, out)
    )

    centred = tuple(n // 2 for n in out.kernel_size) == out.padding and all(n % 2 for n in out.kernel_size)
    square = both.stride[0] == both.stride[1] and out.stride == (1, 1)
    widths = both.out_channels == 2 * out.in_channels == 2 * out.out_channels <= 2 * _MAX_CHANNELS

    return plain and centred and square and widths and out.bias is None
