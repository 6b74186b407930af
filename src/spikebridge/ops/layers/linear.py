"""Linear layers in training that leave out silent inputs, and spikes kept as bytes for the backward pass.

Between spiking layers most inputs are 0 and add nothing to the weight gradient, a third of the work of a training step.
Plain C lists the active inputs once and sums over them alone: in float32 on a CPU, where few inputs are active;
everything else goes to PyTorch. Gradients are equal to rounding. A gradient that is not finite shows only where its
input was active. Inside `pack_spikes()` spikes take a quarter of their memory, and are unpacked a part at a time.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from spikebridge.ops.checks import number_on_cpu
from spikebridge.ops.native.library import library
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.selection import is_linear_profitable, is_plain_training, select
from spikebridge.ops.sequence.autograd import is_batched, refuse_unusual_backward

_MOST_ACTIVE = 0.4  # of the inputs; with more of them the dense product is as fast
_OUTPUTS = 64  # of a block, of linear.h
_LOOKED_AT = 64  # rows that are counted to estimate the active share
PART = 2**22  # bytes that become numbers together


class _Job(ctypes.Structure):
    """`Linear` of linear.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("num_rows", "num_inputs", "num_outputs")],
        *[(name, ctypes.c_void_p) for name in ("x", "gradient", "sums", "weights")],
        ("num_threads", ctypes.c_int64),
        ("team", ctypes.c_void_p),
    ]


def linear(layer: nn.Linear, x: Float[Tensor, "*B N"]) -> Float[Tensor, "*B M"]:
    """What `layer(x)` gives, with the same gradients to rounding.

    Args:
        layer: the linear layer.
        x: signals, best where most of them are 0.

    Example:
        >>> layer, spikes = nn.Linear(100, 64), torch.zeros(400, 100)
        >>> spikes[7, 3] = 1.0
        >>> linear(layer, spikes).sum().backward()
        >>> layer.weight.grad.sum().item()  # one spike reaches each of the outputs
        64.0
    """
    packed = _packs_spikes() and is_plain_training(x, layer.weight)
    if not packed and select("linear", x, layer) == "torch":
        y: Tensor = layer(x)
        return y

    return _Linear.apply(x, layer.weight, layer.bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(_kept(x), weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows, of_rows = (signal.reshape(-1, signal.shape[-1]) for signal in (x, grad))
        if rows.dtype == torch.uint8:
            refuse_unusual_backward("a linear layer whose inputs are kept as bytes,", grad)

        of_weight = _of_weight(rows, of_rows) if wants_weight else None
        return _of_x(grad, weight) if wants_x else None, of_weight, of_rows.sum(0) if wants_bias else None


def _of_x(grad: Tensor, weight: Tensor) -> Tensor:
    if torch.is_grad_enabled() or is_batched(grad) or grad.ndim != 2:
        return grad @ weight
    # the input, often from the memory pool, may be freed by now
    return torch.mm(grad, weight, out=pool_empty((len(grad), weight.shape[1]), grad))


def _of_weight(rows: Tensor, of_rows: Tensor) -> Tensor:
    if rows.dtype == torch.uint8:
        number = max(1, PART // rows.shape[1])
        parts = zip(rows.split(number), of_rows.split(number), strict=True)
        total = torch.zeros(of_rows.shape[1], rows.shape[1], dtype=of_rows.dtype, device=of_rows.device)

        for some, of_some in parts:
            total += _of_weight(some.to(of_some.dtype), of_some)
        return total

    large = is_linear_profitable(rows.numel(), rows.shape[1], of_rows.shape[1])
    if large and not torch.is_grad_enabled() and not is_batched(of_rows) and _is_silent(rows):
        return _sums(rows, of_rows)

    return of_rows.T @ rows


def _is_silent(rows: Tensor) -> bool:
    """Whether few inputs are active, by some of the rows."""
    some = rows[:: max(1, len(rows) // _LOOKED_AT)]
    return number_on_cpu(some.count_nonzero()) <= _MOST_ACTIVE * some.numel()


def _sums(rows: Tensor, of_rows: Tensor) -> Tensor:
    """The gradient of the weights."""
    rows = rows.contiguous()
    of_rows = of_rows.contiguous()
    num_rows, num_inputs, num_outputs = *rows.shape, of_rows.shape[1]
    num_blocks = -(-num_outputs // _OUTPUTS)
    sums = rows.new_empty(num_blocks, num_inputs, _OUTPUTS)
    weights = rows.new_empty(num_outputs, num_inputs)
    team = library().team
    threads = min(torch.get_num_threads(), num_blocks) if team else 1
    job = _Job(num_rows, num_inputs, num_outputs)
    job.x, job.gradient, job.sums, job.weights = (t.data_ptr() for t in (rows, of_rows, sums, weights))
    job.num_threads = threads
    job.team = team
    steps: Any = library().steps

    if steps.spikebridge_linear_weights(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in the gradient of a linear layer")

    return weights


_Packed: TypeAlias = Tensor | tuple[Tensor, torch.dtype]
_FEWEST = 4096  # numbers; less is not worth a look
_GLANCE = 64  # numbers that are looked at first: most tensors that are no spikes show it there
BLOCK = 2**18  # numbers that are looked at and packed together, so that no other large memory is taken
_packing: ContextVar[bool] = ContextVar("packs_spikes", default=False)


@contextmanager
def pack_spikes() -> Iterator[None]:
    """Inside, whatever a layer keeps for the backward pass is kept as bytes if all of it is 0 or 1.

    A weight that follows a spiking layer keeps its input, the spikes. This costs a look at each tensor that is kept.

    Example:
        >>> weight, spikes = torch.ones(64, 1, requires_grad=True), torch.ones(64, 64)
        >>> with pack_spikes():
        ...     y = (spikes @ weight).sum()
        >>> y.backward()
        >>> weight.grad[0].item()
        64.0
    """
    token = _packing.set(True)
    try:
        with torch.autograd.graph.saved_tensors_hooks(_pack, _unpack):
            yield
    finally:
        _packing.reset(token)


def _packs_spikes() -> bool:
    """Whether this runs inside `pack_spikes`."""
    return _packing.get()


def _kept(x: Tensor) -> Tensor:
    """What a layer keeps that reads bytes itself, a part at a time: the signal, or inside `pack_spikes` its spikes.

    Args:
        x: any signal.

    Example:
        >>> with pack_spikes():
        ...     _kept(torch.ones(64, 64)).dtype, _kept(torch.full((64, 64), 0.5)).dtype
        (torch.uint8, torch.float32)
    """
    spikes = _as_bytes(x.detach()) if _packs_spikes() else None
    return x if spikes is None else spikes


def _pack(tensor: Tensor) -> _Packed:
    spikes = _as_bytes(tensor.detach())
    return tensor if spikes is None else (spikes, tensor.dtype)


def _unpack(packed: _Packed) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed[0].to(packed[1])


def _as_bytes(tensor: Tensor) -> Tensor | None:
    """Spikes as bytes that lie as they do; None for what is none, or not worth it."""
    if not tensor.is_floating_point() or tensor.numel() < _FEWEST or tensor.is_meta or not _is_dense(tensor):
        return None

    numbers = tensor.as_strided((tensor.numel(),), (1,))
    if not _are_spikes(numbers[:_GLANCE]):
        return None

    packed = torch.empty_like(tensor, dtype=torch.uint8)
    for some, place in zip(numbers.split(BLOCK), packed.as_strided(numbers.shape, (1,)).split(BLOCK), strict=True):
        if not _are_spikes(some):
            return None
        place.copy_(some)

    return packed


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def _are_spikes(numbers: Tensor) -> bool:
    # a square is the number itself for 0 and 1 alone
    return torch.equal(numbers * numbers, numbers)
