"""Counting products of signals with weights where they happen: matrix products and convolutions, in any module.

What is counted is what runs, below `torch.vmap` and below `nn` modules, so functional calls and modulated weights are
seen too. A product whose signal holds nothing but small whole numbers over the whole run is fed by spikes: it costs one
addition for each spike and each weight that the spike meets. Any other costs a multiply-accumulate for each pair of
numbers. A product of complex numbers is four of real ones. A Fourier transform counts as radix two does it: six
multiply-accumulates for two complex values that meet, `3 n log2 n` in all, and half of it for real values.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spikebridge.analysis.visits import Visits
from spikebridge.hybrid import HybridUnit, Kernel

# several spikes may share a step: events in one bin, signed spikes; an image of larger whole numbers is no spike train
MOST_SPIKES = 8

aten: Any = torch.ops.aten
# matrix products, and the argument at which their two matrices begin
_MATRIX = {
    aten.mm: 0,
    aten.bmm: 0,
    aten.mv: 0,
    aten.dot: 0,
    aten.addmm: 1,
    aten.baddbmm: 1,
    aten.addbmm: 1,
    aten.addmv: 1,
}
_TRANSFORMS = {aten._fft_r2c, aten._fft_c2r, aten._fft_c2c}
_ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention,
}


@dataclass
class Product:
    """One product of a network over a run: its multiply-accumulates, and its additions if it is fed by spikes."""

    macs: int = 0
    synops: int = 0
    spikes_only: bool = True


class Products(TorchDispatchMode):
    """Counts all products while it is entered.

    Args:
        network: its parameters and buffers are weights, never spikes.
        visits: tells which module runs.
    """

    def __init__(self, network: nn.Module, visits: Visits) -> None:
        super().__init__()
        self.visits = visits
        self.counts: dict[tuple[str, int], Product] = {}
        self._weights = _storages([*network.parameters(), *network.buffers()])

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # without gradients operators made of others come in one piece
        with self:
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        result = func(*args, **(kwargs or {}))
        kind = func.overloadpacket
        # a kernel is counted by its step, whether or not it ran as a product
        in_a_kernel = self.visits.stack and isinstance(self.visits.stack[-1].module, HybridUnit | Kernel)
        if self.visits.stack and not in_a_kernel and not self.visits.shows_shapes:
            if kind in _MATRIX:
                self._add(*self._matrix(*args[_MATRIX[kind] :][:2]))
            elif kind is aten.convolution:
                self._add(*_convolution(args, result))
            elif kind in _TRANSFORMS:
                self._add(_transform(args, result), None)
            elif kind is aten.mul and all(isinstance(x, Tensor) and x.is_complex() and x.ndim for x in args[:2]):
                self._add(4 * result.numel(), None)
            elif kind in _ATTENTION:
                query, key, value = args[:3]
                self._add(query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1]), None)
        return result

    def _matrix(self, a: Tensor, b: Tensor) -> tuple[int, int | None]:
        """Products of (m, k) with (k, n): every value of the first meets n values, every one of the second m."""
        num_rows = a.shape[-2] if a.ndim > 1 else 1
        num_columns = b.shape[-1] if b.ndim > 1 else 1
        signal, fan_out = (b, num_rows) if _storages([a]) & self._weights else (a, num_columns)
        spikes = count_spikes(signal)
        real = 4 if signal.is_complex() else 1
        return signal.numel() * fan_out * real, None if spikes is None else spikes * fan_out

    def _add(self, macs: int, synops: int | None) -> None:
        visit = self.visits.stack[-1]
        count = self.counts.setdefault((visit.path, visit.num_products), Product())
        visit.num_products += 1
        count.macs += macs
        count.synops += synops or 0
        count.spikes_only = count.spikes_only and synops is not None


def count_spikes(x: Tensor) -> int | None:
    """The spikes in a signal, or None where it is no spike train: it holds other than small whole numbers.

    Example:
        >>> count_spikes(torch.tensor([0.0, 1.0, -2.0])), count_spikes(torch.tensor([0.5]))
        (3, None)
    """
    if not x.numel():
        return 0
    if x.is_complex():
        return None
    sizes = x.abs()
    if float(sizes.max()) > MOST_SPIKES or not bool((x == x.round()).all()):
        return None
    return int(sizes.sum(dtype=torch.float64))


def _convolution(args: tuple[Any, ...], result: Tensor) -> tuple[int, int | None]:
    x, weight, _, stride, padding, dilation, transposed, output_padding, groups = args
    values = x if transposed else result
    macs = values.numel() * math.prod(weight.shape[1:])
    if count_spikes(x) is None:
        return macs, None
    spikes = x.abs().sum(1, keepdim=True, dtype=torch.float64)
    ones = spikes.new_ones((1, 1, *weight.shape[2:]))
    # how many output positions each spike reaches, borders and strides included
    if transposed:
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[x.ndim - 3]
        reached = convolve(spikes, ones, None, stride, padding, output_padding, 1, dilation)
        fan_out = weight.shape[1]
    else:
        reached = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3](spikes, ones, None, stride, padding, dilation)
        fan_out = weight.shape[0] // groups
    return macs, round(float(reached.sum())) * fan_out


def _transform(args: tuple[Any, ...], result: Tensor) -> int:
    x, dims = args[:2]
    whole = x if x.numel() >= result.numel() else result  # of real values one side is only half there
    points = math.prod(whole.shape[d] for d in dims)
    return round((3.0 if x.is_complex() and result.is_complex() else 1.5) * whole.numel() * math.log2(max(points, 1)))


def _storages(tensors: Iterable[Tensor]) -> set[int]:
    """Where tensors lie in memory; a transposed weight lies where the weight does."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors} - {0}
