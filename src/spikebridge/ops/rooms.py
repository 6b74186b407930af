"""Memory for large results that is used again: rooms, lent to tensors and taken back when those are gone.

Large memory that is taken anew comes from the system page by page, each of them cleared, and that may take longer than
what a layer does with it. Training asks for the same sizes again and again: a few rooms wait for the next time.
"""

import itertools
import math
import mmap
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

LEAST = 2**20  # bytes; what is smaller is had without the system
MOST_IDLE = 2**28  # bytes of rooms that wait; the oldest go first
SLACK = 1.25  # a room larger than this times what is asked for waits for another
PAGE, LINE = 4096, 64  # bytes, the system's and the caches'

_numbers = itertools.count()


class Room(mmap.mmap):
    """Memory from the system, of which the first `shift` bytes stay unused.

    Rooms begin at a page, and caches hold only a few lines that lie equally far from one: so each has another shift.
    """

    shift: int

    @property
    def capacity(self) -> int:
        """Bytes that it can lend."""
        return len(self) - PAGE


_idle: list[Room] = []


def room_for(shape: Sequence[int], like: Tensor) -> Tensor:
    """A contiguous tensor of any numbers, as `torch.empty`, in the dtype and on the device of another one.

    Its storage cannot be resized.

    Example:
        >>> room_for((2, 3), torch.zeros(1)).shape
        torch.Size([2, 3])
    """
    count = math.prod(shape)
    size = count * like.element_size()
    if size < LEAST or like.device.type != "cpu" or sys.platform != "linux":
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    room = _take(size)
    lent = memoryview(room)  # the tensor keeps it alive, and nobody else
    weakref.finalize(lent, _give_back, room).atexit = False
    storage = torch.frombuffer(lent, dtype=like.dtype, count=count, offset=room.shift).untyped_storage()
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    # no view of another tensor: who gets it may write into it and be differentiated
    return torch.empty(0, dtype=like.dtype).set_(storage, 0, shape, strides)


def _take(size: int) -> Room:
    """The smallest room that fits, or a new one."""
    for room in sorted(_idle, key=len):
        if size <= room.capacity <= SLACK * size:
            with suppress(ValueError):  # another thread was faster
                _idle.remove(room)
                return room
    room = Room(-1, size + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    room.shift = 5 * LINE * next(_numbers) % PAGE
    with suppress(OSError):  # a system without large pages
        room.madvise(mmap.MADV_HUGEPAGE)
    return room


def _give_back(room: Room) -> None:
    _idle.append(room)
    while sum(map(len, _idle)) > MOST_IDLE:
        with suppress(IndexError):
            del _idle[0]
