"""Products with events in plain PyTorch: rows of a transposed weight, gathered and summed.

Neurons and pools run as they are. Used where the native library is not there or does not take the numbers.
"""

from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.ops.sparse.layers import EventLayer, LayerRow

# where gathering rows beats the layer itself: shares of events, and products of a dense pass; measured on one core
_LINEAR_SHARE = 0.2
_LINEAR_PRODUCTS = 10**5
_CONVOLUTION_SHARE = 0.002
_CONVOLUTION_PRODUCTS = 3 * 10**7


def _has_few_events(x_t: Tensor, products: int, share: float | None, measured: tuple[float, int]) -> bool:
    """Whether events are few enough for rows: at most `share` of them, or by the share and products measured."""
    if share is None:
        share, least = measured
        if products < least:
            return False  # not worth counting

    return int(torch.count_nonzero(x_t)) <= share * x_t.numel()


class _LinearRows:
    """A linear layer by rows of its transposed weight."""

    def __init__(self, layer: nn.Linear, share: float | None) -> None:
        self.layer = layer
        self.weight = layer.weight.detach().t().contiguous()
        self.share = share

    def __call__(self, x_t: Tensor) -> Tensor:
        measured = _LINEAR_SHARE, _LINEAR_PRODUCTS
        if x_t.ndim != 2 or not _has_few_events(x_t, self.weight.numel(), self.share, measured):
            return self.layer(x_t)

        events = x_t[0].nonzero()[:, 0]
        y = x_t[0].index_select(0, events) @ self.weight.index_select(0, events)

        return (y if self.layer.bias is None else y + self.layer.bias).unsqueeze(0)


class _ConvolutionRows:
    """A convolution by scatter: an event's row of the weight for each tap, added where the tap leads."""

    def __init__(self, layer: nn.Conv2d, share: float | None) -> None:
        self.layer = layer
        self.share = share
        groups, (high, wide) = layer.groups, layer.kernel_size
        weight = layer.weight.detach().reshape(groups, -1, layer.in_channels // groups, high, wide)

        # (in, ky, kx, out of the group)
        self.weight = weight.permute(0, 2, 3, 4, 1).reshape(layer.in_channels, high, wide, -1).contiguous()

    def __call__(self, x_t: Tensor) -> Tensor:
        measured = (_CONVOLUTION_SHARE, _CONVOLUTION_PRODUCTS)
        products = x_t[0, 0].numel() * self.weight.numel()
        if x_t.ndim != 4 or not _has_few_events(x_t, products, self.share, measured):
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

    def __init__(self, layers: list[EventLayer], row: LayerRow, dense_above: float | None) -> None:
        self.row = row
        self.stages: list[tuple[EventLayer, Any]] = []

        for layer in layers:
            stage: Any = layer.module
            if isinstance(stage, nn.Linear):
                stage = _LinearRows(stage, dense_above)
            elif isinstance(stage, nn.Conv2d):
                stage = _ConvolutionRows(stage, dense_above)

            self.stages.append((layer, stage))

    @torch.no_grad()
    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of one sample, `(1, *N)` and the state of the network."""
        states = []
        for layer, stage in self.stages:
            if layer.address is None:
                x_t = stage(x_t)
            else:
                y, new = stage(x_t.unsqueeze(0), layer.find(state))
                x_t = y[0]
                states.append(new)

        return x_t, self.row.states(state, states)
