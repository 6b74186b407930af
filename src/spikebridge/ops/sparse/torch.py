"""Live steps in plain PyTorch: a linear layer adds the rows of its transposed weight that events choose.

Used where the native library is not there or does not take the numbers. All other layers run as they are: gathering
the taps of a convolution is no faster than the convolution.
"""

from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.ops.sparse.layers import EventLayer, LayerRow

# share of events up to which rows beat the layer, and weights from which they do, measured on one core
_MAX_SHARE = 0.2
_MIN_WEIGHTS = 10**5


class _LinearRows:
    """A linear layer for one sample, by rows of its transposed weight where events are few."""

    def __init__(self, layer: nn.Linear, dense_above: float | None) -> None:
        self.layer = layer
        self.weight = layer.weight.detach().t().contiguous()
        self.max_share = _MAX_SHARE if dense_above is None else dense_above
        # a small weight is not worth counting events
        self.is_worthwhile = dense_above is not None or self.weight.numel() >= _MIN_WEIGHTS

    def __call__(self, x_t: Tensor) -> Tensor:
        if not self.is_worthwhile or x_t.ndim != 2 or int(x_t.count_nonzero()) > self.max_share * x_t.numel():
            return self.layer(x_t)

        events = x_t[0].nonzero()[:, 0]
        y = x_t[0].index_select(0, events) @ self.weight.index_select(0, events)

        return (y if self.layer.bias is None else y + self.layer.bias).unsqueeze(0)


class TorchSteps:
    """The step of a network in plain PyTorch; `dense_above` is that of `engine.prepare`."""

    def __init__(self, layers: list[EventLayer], row: LayerRow, dense_above: float | None) -> None:
        self.row = row
        self.stages: list[tuple[EventLayer, Any]] = []
        for layer in layers:
            stage: Any = layer.module
            self.stages.append((layer, _LinearRows(stage, dense_above) if isinstance(stage, nn.Linear) else stage))

    @torch.no_grad()
    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        states = []
        for layer, stage in self.stages:
            if layer.address is None:
                x_t = stage(x_t)
            else:
                y, new = stage(x_t.unsqueeze(0), layer.find(state))
                x_t = y[0]
                states.append(new)

        return x_t, self.row.states(state, states)
