"""A memory pool for large results: blocks, lent to tensors and taken back when those are freed.

Fresh memory comes from the system page by page, each page cleared, which may take longer than the work of a layer.
Training needs the same sizes at every step, so freed blocks are kept for reuse.
"""

import itertools
import math
import mmap
import os
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import torch
from torch import Tensor

LEAST = 2**17  # bytes; what is smaller is had without the system
MOST_IDLE = 2**28  # bytes of blocks that wait, or as many as were once lent together; the oldest size goes first
_SHARE = 1 / 16  # of the machine's memory; more never waits
PAGE = 4096  # bytes, the system's and the caches'
LINE = 64
STEPS = 8  # lengths of blocks from one power of two to the next

_numbers = itertools.count()


class _Block(mmap.mmap):
    """A memory map, of which the first `shift` bytes stay unused.

    Blocks begin at a page, and caches hold only a few lines that lie equally far from one: so each has another shift.
    """

    home: "_Pool"
    shift: int
    number: int
    lent: weakref.ref[memoryview] | None

    @classmethod
    def of(cls, home: "_Pool", length: int) -> "_Block":
        """A new one."""
        block = cls(-1, length + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block.home = home
        block.number = next(_numbers)
        block.shift = 5 * LINE * block.number % PAGE

        with suppress(OSError):  # a system without large pages
            block.madvise(mmap.MADV_HUGEPAGE)

        return block

    def lend(self) -> memoryview:
        """Its memory; freeing it gives the block back."""
        lent = memoryview(self)
        self.lent = weakref.ref(lent, self._come_back)
        return lent

    def _come_back(self, lent: "weakref.ref[memoryview]") -> None:
        self.lent = None
        self.home.give_back(self)


class _Pool:
    """Blocks that wait, by length, and how much is lent.

    Threads meet here without a lock: each line does one thing that no other thread can see half done, and what two of
    them do at once costs a block at worst.
    """

    def __init__(self) -> None:
        self.idle: dict[int, list[_Block]] = {}  # the length that was used last comes last
        self.lent: dict[int, int] = {}
        self.most_lent = 0

    def take(self, length: int) -> _Block:
        """The block of that length that came back last, or a new one."""
        try:
            block = self.idle[length].pop()
        except (KeyError, IndexError):
            block = _Block.of(self, length)

        self.lent[block.number] = length
        return block

    def give_back(self, block: _Block) -> None:
        """Keeps a block for reuse, and unmaps the oldest where too many are idle."""
        self.most_lent = max(self.most_lent, sum(list(self.lent.values())))
        length = self.lent.pop(block.number)
        blocks = self.idle.pop(length, [])
        blocks.append(block)
        self.idle[length] = blocks
        most = min(max(MOST_IDLE, self.most_lent), _allowed())

        while sum(length * len(blocks) for length, blocks in list(self.idle.items())) > most:
            with suppress(StopIteration, RuntimeError, KeyError, IndexError):
                oldest = next(iter(self.idle))
                self.idle[oldest].pop(0)
                if not self.idle[oldest]:
                    del self.idle[oldest]


_pool = _Pool()


def pool_empty(shape: Sequence[int], like: Tensor, strides: Sequence[int] | None = None) -> Tensor:
    """An uninitialized tensor, as `torch.empty`, in the dtype and on the device of another one, from the pool.

    Its storage cannot be resized.

    Args:
        shape: of the tensor.
        like: the other one.
        strides: of its numbers, which lie side by side in any order; None for a contiguous tensor.

    Example:
        >>> pool_empty((2, 3), torch.zeros(1)).shape
        torch.Size([2, 3])
    """
    count = math.prod(shape)
    size = count * like.element_size()
    if size < LEAST or not like.is_cpu or sys.platform != "linux":
        empty = like.new_empty(shape)
        return empty if strides is None else empty.as_strided_(shape, strides)

    block = _pool.take(_length_for(size))
    # the tensor alone keeps alive what is lent, and it is no view of another one, so that it may be written to
    memory = torch.frombuffer(block.lend(), dtype=like.dtype, count=count, offset=block.shift)

    return memory.resize_(shape) if strides is None else memory.as_strided_(shape, strides)


def _length_for(size: int) -> int:
    """The next of a few lengths, at most an eighth more than needed, so that blocks serve sizes that are alike."""
    step = 1 << max(0, size.bit_length() - STEPS.bit_length())
    return -(-size // step) * step


@cache
def _allowed() -> int:
    return int(_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
