"""What leaves whole numbers whole: rectifying, flattening, pooling, and what was given one tick ago."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikebridge.deploy.quantize_grid import Quantizer
from spikebridge.deploy.quantize_layers import Record, Settings, Value
from spikebridge.deploy.quantize_trace import Function
from spikebridge.errors import ExportError


class Plain(nn.Module):
    """What leaves whole numbers whole: rectifying, flattening, the largest or the sum of several.

    Args:
        layer: `ReLU`, `Flatten`, `Identity`, a pooling.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.window = 1  # values that a mean is taken over

    def forward(self, values: list[Value]) -> Value:
        (value,) = values
        layer: Any = self.layer
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            self.window = value.x.shape[-1] * value.x.shape[-2]
            y = value.x.sum((-2, -1), keepdim=True) if value.scale is not None else layer(value.x)
        elif isinstance(layer, nn.AvgPool2d):
            rows, columns = _pair(layer.kernel_size)
            self.window = rows * columns
            if value.scale is None:
                y = layer(value.x)
            else:
                y = F.avg_pool2d(value.x, layer.kernel_size, layer.stride, layer.padding, divisor_override=1)
        else:
            y = layer(value.x)
        return Value(y, None if value.scale is None else value.scale / self.window)

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> Record:
        """The integer operation."""
        layer: Any = self.layer
        settings: Settings = {}
        if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
            for name in ("kernel_size", "stride", "padding"):
                settings |= {f"{name}_{axis}": n for axis, n in enumerate(_pair(getattr(layer, name)))}
        if isinstance(layer, nn.Flatten):
            settings = {"start": layer.start_dim, "end": layer.end_dim}
        names = {nn.ReLU: "relu", nn.Flatten: "flatten", nn.MaxPool2d: "largest", nn.AvgPool2d: "sums"}
        names |= {nn.AdaptiveAvgPool2d: "sum"}
        name = next((name for kind, name in names.items() if isinstance(layer, kind)), "same")
        return Record(name, settings, {}, scales[0] / self.window)


class Previous(nn.Module):
    """What a later operation gave one tick ago; zeros at first.

    Args:
        shape: of one sample.
        quantizer: of that operation, once it is known.
    """

    quantizer: Quantizer

    def __init__(self, shape: tuple[int, ...], quantizer: Quantizer) -> None:
        super().__init__()
        self.shape, self.quantizer = shape, quantizer

    def start(self, like: Tensor, batch: int, whole: bool) -> Tensor:
        """Before the first tick, `(B, *shape)`."""
        return like.new_zeros((batch, *self.shape), dtype=torch.float64 if whole else like.dtype)

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> Record:
        """The integer operation."""
        return Record("previous", {f"axis_{i}": n for i, n in enumerate(self.shape)}, {}, self.quantizer.scale)


def refuse_odd(layer: nn.Module, path: str) -> None:
    """Refuses convolutions that pad in a way of their own."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
        raise ExportError(
            f"{path!r} pads with {layer.padding_mode!r} by {layer.padding!r}; only zeros by a number can be"
        )


def plain_layer(module: nn.Module, path: str) -> nn.Module | None:
    """A layer that leaves whole numbers whole, None for another."""
    known: Any = module
    if isinstance(module, Function):
        name = module.function if isinstance(module.function, str) else module.function.__name__
        if name == "relu":
            return nn.ReLU()
        if name == "flatten":
            start = module.args[1] if len(module.args) > 1 else module.named.get("start_dim", 0)
            return nn.Flatten(start)
        return None
    if isinstance(module, nn.ReLU):
        return nn.ReLU()
    if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d):
        return nn.Identity()
    if isinstance(module, nn.MaxPool2d):
        if known.ceil_mode or known.return_indices or known.dilation not in (1, (1, 1)):
            raise ExportError(f"{path!r} pools with ceil_mode, indices or dilation, which has no integer form")
        return module
    if isinstance(module, nn.AvgPool2d):
        if (
            known.ceil_mode
            or known.divisor_override
            or (known.padding not in (0, (0, 0)) and not known.count_include_pad)
        ):
            raise ExportError(f"{path!r} takes means over uneven numbers of values, which has no integer form")
        return module
    if isinstance(module, nn.AdaptiveAvgPool2d):
        if known.output_size not in (1, (1, 1)):
            raise ExportError(f"{path!r} pools to {known.output_size}; only pooling to one value has an integer form")
        return module
    return module if isinstance(module, nn.Flatten) else None


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
