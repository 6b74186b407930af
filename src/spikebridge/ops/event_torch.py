"""Products with events in plain PyTorch: rows of a transposed weight, gathered and summed.

Neurons and pools run as they are. Used where the native library is not there or does not take the numbers.
"""

from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.ops.event_layers import EventLayer, Row

# shares of events below which rows are gathered; measured on one core of an x86-64 machine, see benchmarks/live.py
LINEAR_SHARE = 0.1
CONVOLUTION_SHARE = 0.02


class LinearRows:
    """A linear layer by rows of its transposed weight."""

    def __init__(self, layer: nn.Linear, share: float) -> None:
        self.layer = layer
        self.weight = layer.weight.detach().t().contiguous()
        self.most = int(share * layer.in_features)

    def __call__(self, x_t: Tensor) -> Tensor:
        if x_t.ndim != 2 or int(torch.count_nonzero(x_t)) > self.most:
            return self.layer(x_t)
        events = x_t[0].nonzero()[:, 0]
        y = x_t[0].index_select(0, events) @ self.weight.index_select(0, events)
        return (y if self.layer.bias is None else y + self.layer.bias).unsqueeze(0)


class ConvolutionRows:
    """A convolution by scatter: an event's row of the weight for each tap, added where the tap leads."""

    def __init__(self, layer: nn.Conv2d, share: float) -> None:
        self.layer = layer
        self.share = share
        groups, (high, wide) = layer.groups, layer.kernel_size
        weight = layer.weight.detach().reshape(groups, -1, layer.in_channels // groups, high, wide)
        # (in, ky, kx, out of the group)
        self.weight = weight.permute(0, 2, 3, 4, 1).reshape(layer.in_channels, high, wide, -1).contiguous()

    def __call__(self, x_t: Tensor) -> Tensor:
        if x_t.ndim != 4 or int(torch.count_nonzero(x_t)) > self.share * x_t.numel():
            return self.layer(x_t)
        layer = self.layer
        high, wide = self.layer(x_t[:0]).shape[2:]
        c, y, x = x_t[0].nonzero(as_tuple=True)
        rows, seen_y = _taps(y, 0, layer, int(high))
        columns, seen_x = _taps(x, 1, layer, int(wide))
        event, ky, kx = (seen_y[:, :, None] & seen_x[:, None, :]).nonzero(as_tuple=True)
        taps = self.weight[c[event], ky, kx] * x_t[0, c[event], y[event], x[event]].unsqueeze(1)
        group = c[event] // (layer.in_channels // layer.groups)
        place = (rows[event, ky] * wide + columns[event, kx]) * layer.groups + group
        sums = x_t.new_zeros(int(high * wide) * layer.groups, taps.shape[1]).index_add_(0, place, taps)
        out = sums.reshape(1, high, wide, layer.out_channels).permute(0, 3, 1, 2)
        return out if layer.bias is None else out + layer.bias[:, None, None]


def padding_of(layer: nn.Conv2d, axis: int) -> int:
    """The zeros before the first row (axis 0) or column (axis 1)."""
    if layer.padding == "valid":
        return 0
    if layer.padding == "same":
        return layer.dilation[axis] * (layer.kernel_size[axis] - 1) // 2
    return int(layer.padding[axis])


def _taps(at: Tensor, axis: int, layer: nn.Conv2d, size: int) -> tuple[Tensor, Tensor]:
    """Where each tap of a kernel leads along one axis, and whether that is an output, `(events, taps)` each."""
    offsets = torch.arange(layer.kernel_size[axis], device=at.device) * layer.dilation[axis]
    along = at[:, None] + padding_of(layer, axis) - offsets
    to = along.div(layer.stride[axis], rounding_mode="floor")
    return to, (along % layer.stride[axis] == 0) & (to >= 0) & (to < size)


class TorchSteps:
    """A network's step in plain PyTorch.

    Args:
        layers: its layers.
        row: how its state is put together.
        dense_above: share of events above which the layer itself runs; None chooses by what was measured.
    """

    def __init__(self, layers: list[EventLayer], row: Row, dense_above: float | None) -> None:
        self.row = row
        self.stages: list[tuple[tuple[int, ...] | None, Any]] = []
        for layer in layers:
            stage: Any = layer.module
            if isinstance(stage, nn.Linear):
                stage = LinearRows(stage, LINEAR_SHARE if dense_above is None else dense_above)
            elif isinstance(stage, nn.Conv2d):
                stage = ConvolutionRows(stage, CONVOLUTION_SHARE if dense_above is None else dense_above)
            self.stages.append((layer.address, stage))

    @torch.no_grad()
    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of one sample, `(1, *N)` and the state of the network."""
        states = []
        for address, stage in self.stages:
            if address is None:
                x_t = stage(x_t)
                continue
            old = state
            for index in address:
                old = old[index]
            y, new = stage(x_t.unsqueeze(0), old)
            x_t = y[0]
            states.append(new)
        return x_t, self.row.states(state, states)
