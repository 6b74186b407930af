"""Counts the numbers that a call reads from tensors: on a GPU each read waits for the device."""

from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class _Reads(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        # `item`, `bool` and comparisons in Python all end here
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def reads_of(call: Callable[[], object]) -> int:
    """The number of reads of a call."""
    with _Reads() as reads:
        call()

    return reads.count
