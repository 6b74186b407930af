"""Layers in fake integers: products with weights, changes of scale, tables, and layers that keep the scale.

A layer runs on floats while it observes, then on integers with straight-through gradients. Its record is an operation
of the integer model.
"""

from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikebridge.deploy.quantization.config import QConfig
from spikebridge.deploy.quantization.quantizer import (
    Numbers,
    Quantizer,
    ratio_numbers,
    rescale,
    round_ste,
    scales_of,
)
from spikebridge.deploy.quantization.tracer import TracedFunction
from spikebridge.errors import ExportError
from spikebridge.hybrid.unit.discretizer import straight_through
from spikebridge.ops.layers.pooling import pair_of
from spikebridge.ops.saturation import clip

Settings: TypeAlias = dict[str, int | float | bool | str | None]
_MAX_SUM = 2**31 - 1


class Slice(nn.Module):
    """The entries of one axis from `start` to before `stop`."""

    def __init__(self, axis: int, start: int, stop: int | None) -> None:
        super().__init__()
        self.axis = axis
        self.start = start
        self.stop = stop

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(self.axis, 0)[self.start : self.stop].movedim(0, self.axis)


_PASSED_ON = {
    nn.ReLU: "relu",
    nn.Flatten: "flatten",
    nn.Unflatten: "shape",
    Slice: "slice",
    nn.MaxPool2d: "largest",
    nn.AvgPool2d: "sums",
    nn.AdaptiveAvgPool2d: "sum",
}


class QTensor(NamedTuple):
    """A signal inside a program: rows `(R, *N)`, and the scale of its integers; None for real values."""

    x: Tensor
    scale: Tensor | None = None

    @property
    def integer_scale(self) -> Tensor:
        """The scale of integers; raises for real values."""
        if self.scale is None:
            raise ValueError("a real value has no scale")
        return self.scale


class IntegerOp(NamedTuple):
    """An operation of the integer model: its name, settings and integers, and the scale of its output."""

    operation: str
    settings: Settings
    numbers: Numbers
    scale: Tensor


def weighted(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The output of a linear layer or a convolution with other weights."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)

    convolve: Any = F.conv2d if isinstance(layer, nn.Conv2d) else F.conv1d
    return convolve(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


class QuantLinear(nn.Module):
    """A linear layer or a convolution, with the batch normalisation after it; its output is the sum of 32 bits."""

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

        weight, bias, scale = self.integers(value.scale)
        return QTensor(weighted(self.layer, value.x, weight, bias), scale)

    def counted(self, output: QTensor) -> dict[str, float]:
        # products are counted where they happen; a bias is one more addition
        return {"adds": 0 if self._folded()[1] is None else output.x.numel()}

    def integers(self, scale: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Weights and bias in integers, and the scale of a sum for each channel."""
        weight, bias = self._folded()
        channel_scales = scales_of(weight.detach().double().flatten(1).abs().amax(1), self.qconfig)
        sums = channel_scales * scale
        integers = round_ste(weight.double() / channel_scales.reshape(-1, *[1] * (weight.ndim - 1)))
        if bias is not None:
            # half of the range is left for the products
            bias = clip(round_ste(bias.double() / sums), -_MAX_SUM / 2, _MAX_SUM / 2)

        return integers, bias, sums.reshape(-1, *[1] * (weight.ndim - 2))

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        weight, bias, sums = self.integers(scales[0])
        # 32 bits are enough on every target
        largest = weight.abs().flatten(1).sum(1) * max(abs(bound) for bound in bounds[0])
        largest = largest if bias is None else largest + bias.abs()
        if float(largest.max()) > _MAX_SUM:
            raise ExportError(f"{self.path!r} may sum up to {float(largest.max()):.0f}, more than 32 bits hold")

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

        # in eval mode a normalisation is a factor and an offset for each channel
        factor = (norm.running_var + norm.eps).rsqrt()
        factor = factor if norm.weight is None else factor * norm.weight
        bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
        bias = bias * factor if norm.bias is None else bias * factor + norm.bias

        return layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1)), bias


class Requantize(nn.Module):
    """Signals of any scales as one of few bits: added up, or concatenated along an axis."""

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
        y = self._joined([rescale(value.x, value.integer_scale / scale) for value in values])

        return QTensor(self.quantizer.clamp(y), scale)

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        numbers: Numbers = {}
        for i, scale in enumerate(scales):
            numbers |= ratio_numbers(scale / self.quantizer.scale, suffix=f"_{i}")

        # "narrow" is the name in files
        qparams = self.quantizer.qparams
        settings: Settings = {"low": qparams.low, "high": qparams.high, "axis": self.axis}

        return IntegerOp("narrow", settings, numbers, self.quantizer.scale)

    def counted(self, output: QTensor) -> dict[str, float]:
        return rescale_operations(output.x.numel() * self.num_signals, self.quantizer.power_of_two)

    def _joined(self, xs: list[Tensor]) -> Tensor:
        return added(xs) if self.axis is None else torch.cat(xs, self.axis)


class QuantProduct(nn.Module):
    """The product of two signals, value by value, such as of a gate and what it lets through."""

    def forward(self, values: list[QTensor]) -> QTensor:
        p, q = values
        return QTensor(p.x * q.x, None if p.scale is None else p.scale * q.integer_scale)

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        return IntegerOp("product", {}, {}, scales[0] * scales[1])

    def counted(self, output: QTensor) -> dict[str, float]:
        return {"macs": output.x.numel()}


class LookupTable(nn.Module):
    """A function of each value alone, as a table over all integers of its input."""

    bounds: Tensor

    def __init__(self, function: nn.Module, quantizer: Quantizer) -> None:
        super().__init__()
        self.function = function
        self.quantizer = quantizer
        self.register_buffer("bounds", torch.tensor([0, 1]))

    def forward(self, values: list[QTensor]) -> QTensor:
        (value,) = values
        if value.scale is None:
            y = self.function(value.x)
            self.quantizer.observe(y)
            return QTensor(y)

        # the table gives the value, the function its gradient
        hard = self.lut(value.scale)[(value.x.detach() - int(self.bounds[0])).long()]
        soft = self.function((value.x * value.scale).to(self._dtype())).double() / self.quantizer.scale

        return QTensor(self.quantizer.clamp(straight_through(hard, soft)), self.quantizer.scale)

    def lut(self, scale: Tensor) -> Tensor:
        low, high = self.bounds.tolist()
        inputs = torch.arange(low, high + 1, dtype=torch.float64) * scale
        with torch.no_grad():
            y = self.function(inputs.to(self._dtype())).double()

        return clip(torch.floor(y / self.quantizer.scale + 0.5), *self.quantizer.bounds.tolist())

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        numbers = {"entries": self.lut(scales[0]).to(torch.int16)}
        return IntegerOp("table", {"low": int(self.bounds[0])}, numbers, self.quantizer.scale)

    def _dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.function.parameters()), torch.float32)


class PassThrough(nn.Module):
    """A layer that maps integers to integers of the same scale: ReLU, pooling, another shape, a slice."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.window = 1  # values of a mean, which stays a sum in integers
        self.before: torch.Size = torch.Size()
        self.after: torch.Size = torch.Size()

    def forward(self, values: list[QTensor]) -> QTensor:
        (value,) = values
        layer: Any = self.layer
        self.before = value.x.shape
        if isinstance(layer, nn.AvgPool2d):
            rows, columns = pair_of(layer.kernel_size)
            self.window = rows * columns
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            self.window = value.x.shape[-1] * value.x.shape[-2]

        if value.scale is None:
            y = layer(value.x)
            self.after = y.shape
            return QTensor(y)

        # a mean of integers stays their sum, and its divisor becomes part of the scale
        if isinstance(layer, nn.AvgPool2d):
            y = F.avg_pool2d(value.x, layer.kernel_size, layer.stride, layer.padding, divisor_override=1)
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            y = value.x.sum((-2, -1), keepdim=True)
        else:
            y = layer(value.x)

        return QTensor(y, value.scale / self.window)

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        layer: Any = self.layer
        settings: Settings = {}
        if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
            for name in ("kernel_size", "stride", "padding"):
                settings |= {f"{name}_{axis}": n for axis, n in enumerate(pair_of(getattr(layer, name)))}

        if isinstance(layer, nn.Flatten):
            settings = {"start": layer.start_dim, "end": layer.end_dim}
        elif isinstance(layer, nn.Unflatten):
            settings = {f"axis_{axis}": n for axis, n in enumerate(self.after[1:])}
        elif isinstance(layer, Slice):
            axis = layer.axis % len(self.before)
            start, stop, _ = slice(layer.start, layer.stop).indices(self.before[axis])
            settings = {"axis": axis, "start": start, "stop": stop}

        name = next((name for kind, name in _PASSED_ON.items() if isinstance(layer, kind)), "same")

        return IntegerOp(name, settings, {}, scales[0] / self.window)


class UnitDelay(nn.Module):
    """The output of a later operation one tick ago, zeros at first: feedback."""

    quantizer: Quantizer

    def __init__(self, shape: tuple[int, ...], quantizer: Quantizer) -> None:
        super().__init__()
        self.shape = shape
        self.quantizer = quantizer

    def start(self, like: Tensor, batch: int, is_integer: bool) -> Tensor:
        return like.new_zeros((batch, *self.shape), dtype=torch.float64 if is_integer else like.dtype)

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        return IntegerOp("previous", {f"axis_{i}": n for i, n in enumerate(self.shape)}, {}, self.quantizer.scale)


def added(xs: list[Tensor]) -> Tensor:
    """The sum of tensors, in order."""
    total = xs[0]
    for x in xs[1:]:
        total = total + x

    return total


def rescale_operations(number: int, power_of_two: bool) -> dict[str, float]:
    """Changes of scale as operations: a product and a shift, or a shift alone, which costs no more than an addition."""
    return {"adds" if power_of_two else "macs": number}


def refuse_padding_mode(layer: nn.Module, path: str) -> None:
    """Raises an `ExportError` for a convolution that does not pad with zeros by a number."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
        raise ExportError(
            f"{path!r} pads with {layer.padding_mode!r} by {layer.padding!r}; only zeros by a number have an integer "
            "form"
        )


def plain_layer(module: nn.Module, path: str) -> nn.Module | None:
    """A layer that maps integers to integers; None for another."""
    if isinstance(module, TracedFunction):
        return _plain_function(module)
    if isinstance(module, nn.ReLU):
        return nn.ReLU()
    if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d):
        return nn.Identity()

    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        _check_pool(module, path)
        return module

    return module if isinstance(module, nn.Flatten | nn.Unflatten) else None


def _plain_function(module: TracedFunction) -> nn.Module | None:
    name = module.function if isinstance(module.function, str) else module.function.__name__
    if name == "relu":
        return nn.ReLU()
    if name == "float":
        return nn.Identity()
    if name == "flatten":
        return nn.Flatten(*_arguments(module, start_dim=0, end_dim=-1))
    if name == "unflatten":
        return nn.Unflatten(*_arguments(module, dim=None, sizes=None))

    return _slice_of(module.args[1]) if name == "getitem" else None


def _arguments(module: TracedFunction, **defaults: Any) -> list[Any]:
    given = dict(zip(defaults, module.args[1:], strict=False))
    return list({**defaults, **given, **module.named}.values())


def _slice_of(index: Any) -> Slice | None:
    """An index with one slice, of another axis than that of the batch; None for another index."""
    entries = list(index) if isinstance(index, tuple) else [index]
    if entries.count(...) == 1:
        # the axes behind it count from the last one
        entries = entries[entries.index(...) + 1 :] if entries[0] is ... else []
        axes = range(-len(entries), 0)
    else:
        axes = range(len(entries))

    chosen = [(axis, one) for axis, one in zip(axes, entries, strict=True) if one != slice(None)]
    if len(chosen) != 1:
        return None

    axis, one = chosen[0]
    is_slice = isinstance(one, slice) and one.step in (None, 1) and axis != 0
    return Slice(axis, one.start or 0, one.stop) if is_slice else None


def _check_pool(pool: Any, path: str) -> None:
    if isinstance(pool, nn.MaxPool2d) and (pool.ceil_mode or pool.return_indices or pool.dilation not in (1, (1, 1))):
        raise ExportError(f"{path!r} pools with ceil_mode, indices or dilation, which has no integer form")

    if isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size not in (1, (1, 1)):
        raise ExportError(f"{path!r} pools to {pool.output_size}; only pooling to one value has an integer form")

    if isinstance(pool, nn.AvgPool2d):
        skips_padding = pool.padding not in (0, (0, 0)) and not pool.count_include_pad
        if pool.ceil_mode or pool.divisor_override or skips_padding:
            raise ExportError(f"{path!r} takes means over uneven numbers of values, which has no integer form")
