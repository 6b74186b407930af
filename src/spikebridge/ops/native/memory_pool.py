"""Memory for large results that is used again: rooms, lent to tensors and taken back when those are gone.

Large memory that is taken anew comes from the system page by page, each of them cleared, and that may take longer than
what a layer does with it. Training asks for the same sizes again and again: what it gave back waits for the next time.
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
MOST_IDLE = 2**28  # bytes of rooms that wait, or as many as were once lent together; the oldest size goes first
SHARE = 1 / 16  # of the machine's memory; more never waits
PAGE, LINE = 4096, 64  # bytes, the system's and the caches'
STEPS = 8  # lengths of rooms from one power of two to the next

_numbers = itertools.count()


class Room(mmap.mmap):
    """Memory from the system, of which the first `shift` bytes stay unused.

    Rooms begin at a page, and caches hold only a few lines that lie equally far from one: so each has another shift.
    """

    home: "_Rooms"
    shift: int
    number: int
    lent: weakref.ref[memoryview] | None

    @classmethod
    def of(cls, home: "_Rooms", length: int) -> "Room":
        """A new one."""
        room = cls(-1, length + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        room.home, room.number = home, next(_numbers)
        room.shift = 5 * LINE * room.number % PAGE
        with suppress(OSError):  # a system without large pages
            room.madvise(mmap.MADV_HUGEPAGE)
        return room

    def lend(self) -> memoryview:
        """Its memory; who lets go of it gives the room back."""
        lent = memoryview(self)
        self.lent = weakref.ref(lent, self._come_back)
        return lent

    def _come_back(self, lent: "weakref.ref[memoryview]") -> None:
        self.lent = None
        self.home.give_back(self)


class _Rooms:
    """Rooms that wait, by length, and how much is lent.

    Threads meet here without a lock: each line does one thing that no other thread can see half done, and what two of
    them do at once costs a room at worst.
    """

    def __init__(self) -> None:
        self.idle: dict[int, list[Room]] = {}  # the length that was used last comes last
        self.lent: dict[int, int] = {}
        self.most_lent = 0

    def take(self, length: int) -> Room:
        """The room of that length that came back last, or a new one."""
        try:
            room = self.idle[length].pop()
        except (KeyError, IndexError):
            room = Room.of(self, length)
        self.lent[room.number] = length
        return room

    def give_back(self, room: Room) -> None:
        """Lets a room wait, and others go for it if they are too many."""
        self.most_lent = max(self.most_lent, sum(list(self.lent.values())))
        length = self.lent.pop(room.number)
        rooms = self.idle.pop(length, [])
        rooms.append(room)
        self.idle[length] = rooms
        most = min(max(MOST_IDLE, self.most_lent), _allowed())
        while sum(length * len(rooms) for length, rooms in list(self.idle.items())) > most:
            with suppress(StopIteration, RuntimeError, KeyError, IndexError):
                oldest = next(iter(self.idle))
                self.idle[oldest].pop(0)
                if not self.idle[oldest]:
                    del self.idle[oldest]


_rooms = _Rooms()


def room_for(shape: Sequence[int], like: Tensor, strides: Sequence[int] | None = None) -> Tensor:
    """A tensor of any numbers, as `torch.empty`, in the dtype and on the device of another one.

    Its storage cannot be resized.

    Args:
        shape: of the tensor.
        like: the other one.
        strides: of its numbers, which lie side by side in any order; None for a contiguous tensor.

    Example:
        >>> room_for((2, 3), torch.zeros(1)).shape
        torch.Size([2, 3])
    """
    count = math.prod(shape)
    size = count * like.element_size()
    if size < LEAST or not like.is_cpu or sys.platform != "linux":
        empty = like.new_empty(shape)
        return empty if strides is None else empty.as_strided_(shape, strides)
    room = _rooms.take(_length_for(size))
    # the tensor keeps alive what is lent, and nobody else; it is no view of another one: who gets it may write into it
    memory = torch.frombuffer(room.lend(), dtype=like.dtype, count=count, offset=room.shift)
    return memory.resize_(shape) if strides is None else memory.as_strided_(shape, strides)


def _length_for(size: int) -> int:
    """The next of a few lengths, at most an eighth more than needed, so that rooms serve sizes that are alike."""
    step = 1 << max(0, size.bit_length() - STEPS.bit_length())
    return -(-size // step) * step


@cache
def _allowed() -> int:
    return int(SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
