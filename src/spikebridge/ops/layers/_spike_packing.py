"""Spikes that layers keep for the backward pass, packed to bytes: a quarter of their memory in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import torch
from torch import Tensor

_Packed: TypeAlias = Tensor | tuple[Tensor, torch.dtype]
_MIN_SIZE = 4096  # numbers; a smaller tensor is not worth a look
_GLANCE = 64  # numbers that are looked at first: most tensors that are no spikes show it there
BLOCK_SIZE = 2**18  # numbers that are looked at and packed together, so that no other large memory is taken
_packing: ContextVar[bool] = ContextVar("packs_spikes", default=False)


@contextmanager
def pack_spikes() -> Iterator[None]:
    """Inside, tensors that layers keep for the backward pass are kept as bytes if they hold only 0 and 1.

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


def packs_spikes() -> bool:
    """True inside `pack_spikes`."""
    return _packing.get()


def packed_or_own(x: Tensor) -> Tensor:
    """The signal that a layer keeps which reads bytes itself: its spikes as bytes inside `pack_spikes`, or itself."""
    spikes = _as_bytes(x.detach()) if packs_spikes() else None
    return x if spikes is None else spikes


def _pack(tensor: Tensor) -> _Packed:
    spikes = _as_bytes(tensor.detach())
    return tensor if spikes is None else (spikes, tensor.dtype)


def _unpack(packed: _Packed) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed[0].to(packed[1])


def _as_bytes(tensor: Tensor) -> Tensor | None:
    """Spikes as bytes in the same layout; None for other numbers, and for few of them."""
    if not tensor.is_floating_point() or tensor.numel() < _MIN_SIZE or tensor.is_meta or not _is_dense(tensor):
        return None

    numbers = tensor.as_strided((tensor.numel(),), (1,))
    if not _are_spikes(numbers[:_GLANCE]):
        return None

    packed = torch.empty_like(tensor, dtype=torch.uint8)
    places = packed.as_strided(numbers.shape, (1,))
    for block, place in zip(numbers.split(BLOCK_SIZE), places.split(BLOCK_SIZE), strict=True):
        if not _are_spikes(block):
            return None
        place.copy_(block)

    return packed


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def _are_spikes(numbers: Tensor) -> bool:
    # a square is the number itself for 0 and 1 alone
    return torch.equal(numbers * numbers, numbers)
