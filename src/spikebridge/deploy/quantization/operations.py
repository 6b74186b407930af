"""Operations on whole signals in fake integers: reductions along an axis, and comparisons with a number."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.quantization.layers import IntegerOp, QTensor, Settings
from spikebridge.deploy.quantization.quantizer import round_ste
from spikebridge.deploy.quantization.tracer import TracedFunction
from spikebridge.deploy.stages.arithmetic import COMPARISONS
from spikebridge.errors import ExportError

_METHODS = {"amax": "largest", "amin": "smallest", "argmax": "place", "sum": "sum", "mean": "mean", "norm": "norm"}


class QuantReduction(nn.Module):
    """A reduction along one axis; a mean of integers stays their sum, and its divisor becomes part of the scale."""

    def __init__(self, function: TracedFunction, kind: str, axis: int, keep: bool) -> None:
        super().__init__()
        self.function = function
        self.kind = kind
        self.axis = axis
        self.keep = keep
        self.size = 1

    def forward(self, values: list[QTensor]) -> QTensor:
        (value,) = values
        x = value.x
        self.axis %= x.ndim
        if self.axis == 0:
            raise ExportError(f"{self.kind!r} of the axis of the batch has no integer form; reduce another axis")

        self.size = x.shape[self.axis]
        if value.scale is None:
            return QTensor(self.function(x).to(x.dtype))

        return QTensor(self._reduced(x), self._scale(value.scale))

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        kind = "sum" if self.kind == "mean" else self.kind
        settings: Settings = {"reduction": kind, "axis": self.axis, "keep": self.keep}
        return IntegerOp("reduce", settings, {}, self._scale(scales[0]))

    def counted(self, output: QTensor) -> dict[str, float]:
        number = output.x.numel() * self.size
        return {"macs" if self.kind == "norm" else "adds": number}

    def _reduced(self, x: Tensor) -> Tensor:
        if self.kind == "mean":
            return x.sum(self.axis, keepdim=self.keep)

        y: Tensor = self.function(x)
        return round_ste(y) if self.kind == "norm" else y.to(x.dtype)

    def _scale(self, scale: Tensor) -> Tensor:
        if self.kind == "place":
            return torch.ones_like(scale)
        return scale / self.size if self.kind == "mean" else scale


class QuantComparison(nn.Module):
    """Flags of a signal that is compared with a number."""

    def __init__(self, function: TracedFunction, name: str, number: float) -> None:
        super().__init__()
        self.function = function
        self.name = name
        self.number = number

    def forward(self, values: list[QTensor]) -> QTensor:
        (value,) = values
        if value.scale is None:
            return QTensor(self.function(value.x).to(value.x.dtype))

        flags = getattr(operator, self.name)(value.x, self._bound(value.scale))
        return QTensor(flags.to(value.x.dtype), torch.ones((), dtype=torch.float64))

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> IntegerOp:
        one = torch.ones((), dtype=torch.float64)
        return IntegerOp("compare", {"by": self.name}, {"bound": self._bound(scales[0]).long()}, one)

    def counted(self, output: QTensor) -> dict[str, float]:
        return {"compares": output.x.numel()}

    def _bound(self, scale: Tensor) -> Tensor:
        """The number in integers, rounded to the side on which it compares as the real one does."""
        bound = self.number / scale.detach()
        if self.name == "eq":
            return torch.floor(bound + 0.5)
        return torch.floor(bound) if self.name == "gt" else torch.ceil(bound)


def operation_of(function: nn.Module) -> QuantReduction | QuantComparison | None:
    """The integer form of a function of a whole signal; None for another module."""
    if not isinstance(function, TracedFunction):
        return None

    name = function.function if isinstance(function.function, str) else function.function.__name__
    if name in COMPARISONS and len(function.args) == 2 and function.args[0] is None:
        return QuantComparison(function, name, float(function.args[1]))
    if name in _METHODS and (axis := _axis(name, function.args, function.named)) is not None:
        keep = bool(function.named.get("keepdim", len(function.args) > 2 and function.args[2]))
        return QuantReduction(function, _METHODS[name], axis, keep)

    return None


def _axis(name: str, args: tuple[Any, ...], named: Mapping[str, Any]) -> int | None:
    """The axis of a reduction; None without exactly one axis, and for another norm than the Euclidean one."""
    if name == "norm":
        is_euclidean = named.get("p", 2) in (2, "fro") and len(args) == 1
        axis = named.get("dim") if is_euclidean else None
    else:
        axis = args[1] if len(args) > 1 else named.get("dim")

    if isinstance(axis, tuple | list) and len(axis) == 1:
        axis = axis[0]
    return axis if isinstance(axis, int) else None
