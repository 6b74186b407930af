"""Spikes kept as bytes between the forward and the backward pass: a quarter of their memory, and the same gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import torch
from torch import Tensor

Packed: TypeAlias = Tensor | tuple[Tensor, torch.dtype]
FEWEST = 4096  # numbers; less is not worth a look
GLANCE = 64  # numbers that are looked at first: most tensors that are no spikes show it there
BLOCK = 2**18  # numbers that are looked at and packed together, so that no other large memory is taken
_keeps_bytes: ContextVar[bool] = ContextVar("keeps_bytes", default=False)


@contextmanager
def spikes_as_bytes() -> Iterator[None]:
    """Inside, whatever a layer keeps for the backward pass is kept as bytes if all of it is 0 or 1.

    A weight that follows a spiking layer keeps its input, the spikes. This costs a look at each tensor that is kept.

    Example:
        >>> weight, spikes = torch.ones(64, 1, requires_grad=True), torch.ones(64, 64)
        >>> with spikes_as_bytes():
        ...     y = (spikes @ weight).sum()
        >>> y.backward()
        >>> weight.grad[0].item()
        64.0
    """
    token = _keeps_bytes.set(True)
    try:
        with torch.autograd.graph.saved_tensors_hooks(_pack, _unpack):
            yield
    finally:
        _keeps_bytes.reset(token)


def keeps_bytes() -> bool:
    """Whether this runs inside `spikes_as_bytes`."""
    return _keeps_bytes.get()


def kept(x: Tensor) -> Tensor:
    """What a layer keeps that reads bytes itself, a part at a time: the signal, or inside `spikes_as_bytes` its spikes.

    Args:
        x: any signal.

    Example:
        >>> with spikes_as_bytes():
        ...     kept(torch.ones(64, 64)).dtype, kept(torch.full((64, 64), 0.5)).dtype
        (torch.uint8, torch.float32)
    """
    spikes = _as_bytes(x.detach()) if keeps_bytes() else None
    return x if spikes is None else spikes


def _pack(tensor: Tensor) -> Packed:
    spikes = _as_bytes(tensor.detach())
    return tensor if spikes is None else (spikes, tensor.dtype)


def _unpack(packed: Packed) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed[0].to(packed[1])


def _as_bytes(tensor: Tensor) -> Tensor | None:
    """Spikes as bytes that lie as they do; None for what is none, or not worth it."""
    if not tensor.is_floating_point() or tensor.numel() < FEWEST or tensor.is_meta or not _is_dense(tensor):
        return None
    numbers = tensor.as_strided((tensor.numel(),), (1,))
    if not _are_spikes(numbers[:GLANCE]):
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
