"""Spikes kept as bytes between the forward and the backward pass: a quarter of their memory, and the same gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor

Packed: TypeAlias = Tensor | tuple[Tensor, torch.dtype]
FEWEST = 4096  # numbers; less is not worth a look
GLANCE = 64  # numbers that are looked at first: most tensors that are no spikes show it there


@contextmanager
def spikes_as_bytes() -> Iterator[None]:
    """Inside, whatever a layer keeps for the backward pass is kept as bytes if all of it is 0 or 1.

    A weight that follows a spiking layer keeps its input, the spikes. This costs a look at each tensor that is kept,
    and it pays in deep networks: the most memory of a shallow one is taken while a layer runs, not kept between layers.

    Example:
        >>> weight, spikes = torch.ones(64, 1, requires_grad=True), torch.ones(64, 64)
        >>> with spikes_as_bytes():
        ...     y = (spikes @ weight).sum()
        >>> y.backward()
        >>> weight.grad[0].item()
        64.0
    """
    with torch.autograd.graph.saved_tensors_hooks(_pack, _unpack):
        yield


def _pack(tensor: Tensor) -> Packed:
    if not tensor.is_floating_point() or tensor.numel() < FEWEST or not tensor.is_contiguous() or tensor.is_meta:
        return tensor
    numbers = tensor.detach().view(-1)
    if not _are_spikes(numbers[:GLANCE]) or not _are_spikes(numbers):
        return tensor
    return tensor.to(torch.uint8), tensor.dtype


def _unpack(packed: Packed) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed[0].to(packed[1])


def _are_spikes(numbers: Tensor) -> bool:
    # a square is the number itself for 0 and 1 alone
    return torch.equal(numbers * numbers, numbers)
