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

MIN_BYTES = 2**17  # smaller blocks the C library keeps by itself
MAX_IDLE = 2**28  # bytes of idle blocks, or as many as were once lent together; the oldest size is freed first
_MAX_SHARE = 1 / 16  # of the machine's memory; more is never idle
_PAGE = 4096  # bytes
_LINE = 64  # bytes of a cache line
_SIZES_PER_OCTAVE = 8  # lengths of blocks from one power of two to the next

_numbers = itertools.count()


class _Block(mmap.mmap):
    """A memory map, of which the first `shift` bytes stay unused."""

    # maps begin at a page, and caches hold only a few lines that lie equally far from one: so each block has another
    # shift, or results of one size would push each other out

    home: "_Pool"
    shift: int
    number: int
    lent: weakref.ref[memoryview] | None

    @classmethod
    def of(cls, home: "_Pool", length: int) -> "_Block":
        block = cls(-1, length + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block.home = home
        block.number = next(_numbers)
        block.shift = 5 * _LINE * block.number % _PAGE

        with suppress(OSError):  # a system without large pages
            block.madvise(mmap.MADV_HUGEPAGE)

        return block

    def lend(self) -> memoryview:
        """The memory of the block; freeing it gives the block back."""
        lent = memoryview(self)
        self.lent = weakref.ref(lent, self._take_back)
        return lent

    def _take_back(self, lent: "weakref.ref[memoryview]") -> None:
        self.lent = None
        self.home.give_back(self)


class _Pool:
    """Idle blocks by length, and the lengths of those that are lent."""

    # threads use it without a lock: each line does one thing that no other thread can see half done, and a race costs a
    # block at worst

    def __init__(self) -> None:
        self.idle: dict[int, list[_Block]] = {}  # the length that was used last comes last
        self.lent: dict[int, int] = {}
        self.max_lent = 0

    def take(self, length: int) -> _Block:
        """The block of that length that came back last, or a new one."""
        try:
            block = self.idle[length].pop()
        except (KeyError, IndexError):
            block = _Block.of(self, length)

        self.lent[block.number] = length
        return block

    def give_back(self, block: _Block) -> None:
        """Keeps a block for reuse, and frees the oldest ones where too many are idle."""
        self.max_lent = max(self.max_lent, sum(list(self.lent.values())))
        length = self.lent.pop(block.number)
        blocks = self.idle.pop(length, [])
        blocks.append(block)
        self.idle[length] = blocks
        limit = min(max(MAX_IDLE, self.max_lent), _allowed())

        while sum(length * len(blocks) for length, blocks in list(self.idle.items())) > limit:
            with suppress(StopIteration, RuntimeError, KeyError, IndexError):
                oldest = next(iter(self.idle))
                # a size of which all blocks are lent has none to free
                del self.idle[oldest][:1]
                if not self.idle[oldest]:
                    del self.idle[oldest]


_pool = _Pool()


def pool_empty(shape: Sequence[int], like: Tensor, strides: Sequence[int] | None = None) -> Tensor:
    """An uninitialized tensor as `torch.empty`, with numbers side by side in any order; it cannot be resized."""
    count = math.prod(shape)
    size = count * like.element_size()
    if size < MIN_BYTES or not like.is_cpu or sys.platform != "linux":
        empty = like.new_empty(shape)
        return empty if strides is None else empty.as_strided_(shape, strides)

    block = _pool.take(_length_for(size))
    # the tensor alone keeps alive what is lent, and it is no view of another one, so that it may be written to
    memory = torch.frombuffer(block.lend(), dtype=like.dtype, count=count, offset=block.shift)

    return memory.resize_(shape) if strides is None else memory.as_strided_(shape, strides)


def _length_for(size: int) -> int:
    """The next of a few lengths, at most an eighth more than needed, so that a block serves similar sizes."""
    step = 1 << max(0, size.bit_length() - _SIZES_PER_OCTAVE.bit_length())
    return -(-size // step) * step


@cache
def _allowed() -> int:
    return int(_MAX_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
