"""Layers in fake integers: products with weights, changes of scale, tables, and layers that keep the scale.

Each layer runs on floats while it observes, on integers with straight-through gradients afterwards, and writes the
record of an integer operation.
"""

from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikebridge.deploy.quantization.config import QConfig
from spikebridge.deploy.quantization.quantizer import Quantizer, fixed_point_ratio, rescale, round_ste, weight_scales
from spikebridge.deploy.quantization.tracer import TracedFunction
from spikebridge.errors import ExportError
from spikebridge.hybrid.unit.discretizer import straight_through
from spikebridge.ops.saturation import clip

Numbers: TypeAlias = dict[str, Tensor]
Settings: TypeAlias = dict[str, int | float | bool | str | None]
_MOST_SUM = 2**31 - 1


class QTensor(NamedTuple):
    """A signal inside a program: rows `(R, *N)`, and the scale of its integers; None for real values."""

    x: Tensor
    scale: Tensor | None = None

    @property
    def known(self) -> Tensor:
        """The scale of integers."""
        if self.scale is None:
            raise ValueError("a real value has no scale")
        return self.scale


class IntegerOp(NamedTuple):
    """An integer operation: its name, settings and integers, and the scale of what it gives."""

    operation: str
    settings: Settings
    numbers: Numbers
    scale: Tensor


class QuantLinear(nn.Module):
    """A linear layer or a convolution, with the batch normalisation behind it; the sum is kept whole.

    Args:
        layer: the layer.
        qconfig: its widths.
        norm: its normalisation, in evaluation mode for good.
        path: for messages.
    """

    def __init__(self, layer: nn.Module, qconfig: QConfig, norm: nn.Module | None, path: str) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm
        self.qconfig = qconfig
        self.path = path

    def forward(self, values: list[QTensor]) -> QTensor:
        (value,) = values
        if value.scale is None:
            y = self.layer(value.x)
            return QTensor(y if self.norm is None else self.norm(y))

        weight, bias, scale = self.whole(value.scale)
        layer: Any = self.layer
        if isinstance(layer, nn.Linear):
            return QTensor(F.linear(value.x, weight, bias), scale)

        convolve: Any = F.conv2d if isinstance(layer, nn.Conv2d) else F.conv1d
        y = convolve(value.x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)

        return QTensor(y, scale)

    def counted(self, output: QTensor) -> dict[str, float]:
        """A bias is added once a value; products are seen where they happen."""
        return {"adds": 0 if self._folded()[1] is None else output.x.numel()}

    def whole(self, scale: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Whole weights and bias, and the scale of a sum, one a channel."""
        weight, bias = self._folded()
        own = weight_scales(weight, self.qconfig)
        sums = own * scale
        whole = round_ste(weight.double() / own.reshape(-1, *[1] * (weight.ndim - 1)))
        shifted = None if bias is None else clip(round_ste(bias.double() / sums), -_MOST_SUM / 2, _MOST_SUM / 2)

        return whole, shifted, sums.reshape(-1, *[1] * (weight.ndim - 2))

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        """The integer operation."""
        weight, bias, sums = self.whole(scales[0])
        max_seen = weight.abs().flatten(1).sum(1) * max(abs(bound) for bound in bounds[0])
        max_seen = max_seen if bias is None else max_seen + bias.abs()
        if float(max_seen.max()) > _MOST_SUM:
            raise ExportError(f"{self.path!r} may sum up to {float(max_seen.max()):.0f}, more than 32 bits hold")

        numbers: Numbers = {"weight": weight.to(torch.int8)}
        if bias is not None:
            numbers["bias"] = bias.to(torch.int32)

        layer: Any = self.layer
        if isinstance(layer, nn.Linear):
            return IntegerOp("linear", {}, numbers, sums)

        settings: Settings = {"groups": layer.groups}
        for axis in range(weight.ndim - 2):
            for name in ("stride", "padding", "dilation"):
                settings[f"{name}_{axis}"] = getattr(layer, name)[axis]

        return IntegerOp("convolution", settings, numbers, sums)

    def _folded(self) -> tuple[Tensor, Tensor | None]:
        layer: Any = self.layer
        norm: Any = self.norm
        if norm is None:
            return layer.weight, layer.bias

        factor = (norm.running_var + norm.eps).rsqrt()
        factor = factor if norm.weight is None else factor * norm.weight
        bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
        bias = bias * factor if norm.bias is None else bias * factor + norm.bias

        return layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1)), bias


class Requantize(nn.Module):
    """Sums of any scales to one signal of few bits: added up, or side by side.

    Args:
        quantizer: of what comes out.
        axis: along which signals stand side by side; None adds them up.
        num_signals: that are added up.
    """

    def __init__(self, quantizer: Quantizer, axis: int | None = None, num_signals: int = 1) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.axis = axis
        self.num_signals = num_signals

    def forward(self, values: list[QTensor]) -> QTensor:
        if values[0].scale is None:
            y = self._joined([value.x for value in values])
            self.quantizer.observe(y)
            return QTensor(y)

        scale = self.quantizer.scale
        y = self._joined([rescale(value.x, value.known / scale) for value in values])

        return QTensor(self.quantizer.clamp(y), scale)

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        """The integer operation."""
        numbers: Numbers = {}
        for i, scale in enumerate(scales):
            numbers |= {f"{name}_{i}": n for name, n in ratio_numbers(scale / self.quantizer.scale).items()}

        qparams = self.quantizer.qparams
        settings: Settings = {"low": qparams.low, "high": qparams.high, "axis": self.axis}

        return IntegerOp("narrow", settings, numbers, self.quantizer.scale)

    def counted(self, output: QTensor) -> dict[str, float]:
        """Each value that comes in changes its scale, and is added up."""
        return rescales(output.x.numel() * self.num_signals, self.quantizer.power_of_two)

    def _joined(self, xs: list[Tensor]) -> Tensor:
        if self.axis is not None:
            return torch.cat(xs, self.axis)

        total = xs[0]
        for x in xs[1:]:
            total = total + x

        return total


class LookupTable(nn.Module):
    """A function of each value alone, as a table of all the values that its input can take.

    Args:
        function: the function.
        quantizer: of what comes out.
    """

    def __init__(self, function: nn.Module, quantizer: Quantizer) -> None:
        super().__init__()
        self.function = function
        self.quantizer = quantizer
        self.register_buffer("bounds", torch.tensor([0, 1]))

    bounds: Tensor

    def forward(self, values: list[QTensor]) -> QTensor:
        (value,) = values
        if value.scale is None:
            y = self.function(value.x)
            self.quantizer.observe(y)
            return QTensor(y)

        low = int(self.bounds[0])
        hard = self.lut(value.scale)[(value.x.detach() - low).long()]
        soft = self.function((value.x * value.scale).to(self._dtype())).double() / self.quantizer.scale

        return QTensor(self.quantizer.clamp(straight_through(hard, soft)), self.quantizer.scale)

    def lut(self, scale: Tensor) -> Tensor:
        """What comes out for each integer, the lowest first."""
        low, high = self.bounds.tolist()
        qparams = torch.arange(low, high + 1, dtype=torch.float64) * scale
        with torch.no_grad():
            y = self.function(qparams.to(self._dtype())).double()

        return self._bounded(torch.floor(y / self.quantizer.scale + 0.5))

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        """The integer operation."""
        numbers = {"entries": self.lut(scales[0]).to(torch.int16)}
        return IntegerOp("table", {"low": int(self.bounds[0])}, numbers, self.quantizer.scale)

    def _bounded(self, q: Tensor) -> Tensor:
        low, high = self.quantizer.bounds.tolist()
        return clip(q, low, high)

    def _dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.function.parameters()), torch.float32)


def rescales(number: int, power_of_two: bool) -> dict[str, float]:
    """Changes of scale as operations: a product and a shift, or a shift alone, which is no dearer than an addition."""
    return {"adds" if power_of_two else "macs": number}


def ratio_numbers(ratio: Tensor) -> Numbers:
    """A ratio of scales as integers."""
    multiplier, shift = fixed_point_ratio(ratio)
    return {"multiplier": multiplier, "shift": shift}


class PassThrough(nn.Module):
    """A layer that maps integers to integers of the same scale: ReLU, flatten, pooling.

    Args:
        layer: `ReLU`, `Flatten`, `Identity`, a pooling.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.window = 1  # values that a mean is taken over

    def forward(self, values: list[QTensor]) -> QTensor:
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

        return QTensor(y, None if value.scale is None else value.scale / self.window)

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
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

        return IntegerOp(name, settings, {}, scales[0] / self.window)


class UnitDelay(nn.Module):
    """What a later operation gave one tick ago; zeros at first.

    Args:
        shape: of one sample.
        quantizer: of that operation, once it is known.
    """

    quantizer: Quantizer

    def __init__(self, shape: tuple[int, ...], quantizer: Quantizer) -> None:
        super().__init__()
        self.shape = shape
        self.quantizer = quantizer

    def start(self, like: Tensor, batch: int, whole: bool) -> Tensor:
        """Before the first tick, `(B, *shape)`."""
        return like.new_zeros((batch, *self.shape), dtype=torch.float64 if whole else like.dtype)

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        """The integer operation."""
        return IntegerOp("previous", {f"axis_{i}": n for i, n in enumerate(self.shape)}, {}, self.quantizer.scale)


def refuse_odd(layer: nn.Module, path: str) -> None:
    """Refuses convolutions that pad in a way of their own."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
        raise ExportError(
            f"{path!r} pads with {layer.padding_mode!r} by {layer.padding!r}; only zeros by a number can be"
        )


def plain_layer(module: nn.Module, path: str) -> nn.Module | None:
    """A layer that maps integers to integers, None for another."""
    known: Any = module
    if isinstance(module, TracedFunction):
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
