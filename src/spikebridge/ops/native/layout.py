"""How signals lie in memory, and how a job of the native library points to them: nothing is copied.

To the native steps a step is a row of columns, in any order: a dense signal whose axes lie in another order, as images
with the channels last, is seen in the order of memory, and what comes out lies as it did. Or it is some rows, groups,
which may lie anywhere: windows of a signal, side by side as if they were samples.
"""

import ctypes
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, UInt16
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.ops.native.library import LoopPlan, Signal, library
from spikebridge.ops.native.library import Value as CValue
from spikebridge.ops.native.memory_pool import pool_empty

_FEWEST_COLUMNS = 32  # of a group; shorter rows are copied side by side, which is faster
LINE = 16  # numbers in a cache line
_WORK_OF_A_THREAD = 2**15  # elements; below it a thread costs more than it brings


EventColumns = tuple[UInt16[np.ndarray, " N"], UInt16[np.ndarray, " N"], Bool[np.ndarray, " N"]]
"""Columns and rows of events, and whether pixels became brighter."""


class Outline(NamedTuple):
    """What a backward pass needs of a signal that it does not keep.

    Args:
        shape: of the signal.
        strides: of the signal.
    """

    shape: torch.Size
    strides: tuple[int, ...]

    @classmethod
    def of(cls, signal: Tensor) -> "Outline":
        """That of a signal."""
        return cls(signal.shape, signal.stride())

    @property
    def groups(self) -> "Groups":
        """As `groups_of` the signal."""
        return _groups_of(*self)


class AxisOrder(NamedTuple):
    """An order of axes.

    Args:
        axes: the axes of a signal as they lie in memory, time first.
        back: the order that undoes it.
    """

    axes: tuple[int, ...]
    back: tuple[int, ...]

    def seen(self, signal: Tensor) -> Tensor:
        """A signal `(T, B, *N)` in the order of memory."""
        return signal.permute(self.axes)

    def given(self, signal: Tensor) -> Tensor:
        """A signal from the order of memory back in its own."""
        return standing_alone(signal.permute(self.back))

    def seen_step(self, step: Tensor) -> Tensor:
        """A step `(B, *N)` in the order of memory."""
        return step.unsqueeze(0).permute(self.axes)[0]

    def given_step(self, step: Tensor) -> Tensor:
        """A step back in its own order."""
        return standing_alone(step.unsqueeze(0).permute(self.back)[0])

    def seen_value(self, value: Tensor) -> Tensor:
        """A value that lines up from the right with a signal, with all axes of it, in the order of memory."""
        return self.seen(value.reshape(*[1] * (len(self.axes) - value.ndim), *value.shape))


def layout_of(signal: Tensor) -> AxisOrder | None:
    """The order in which a dense signal lies, if it is not its own and time is first in it.

    Example:
        >>> image = torch.zeros(5, 3, 8, 8).to(memory_format=torch.channels_last)
        >>> layout_of(image.unflatten(0, (5, 1))).axes
        (0, 1, 3, 4, 2)
    """
    if signal.is_contiguous():
        return None

    rest = sorted(range(1, signal.ndim), key=lambda axis: (signal.shape[axis] > 1, -signal.stride()[axis]))
    axes = (0, *rest)
    if not signal.permute(axes).is_contiguous():
        return None

    return AxisOrder(axes, tuple(sorted(range(signal.ndim), key=axes.__getitem__)))


class Groups(NamedTuple):
    """How many rows a step has, of how many columns each."""

    number: int
    num_columns: int

    def dense(self, signal: Tensor) -> Tensor:
        """A signal whose rows are dense: itself, or a copy."""
        first = 1 if self.number == 1 else 2
        return signal if _is_dense(signal.shape, signal.stride(), first) else signal.contiguous()

    def strides(self, signal: Tensor) -> tuple[int, int]:
        """Numbers from a step to the next, and from a group to the next, of a signal whose rows are dense."""
        step, group, *_ = signal.stride()
        return step, group if self.number > 1 else 0

    def pool_empty(self, signal: Tensor | Outline, like: Tensor) -> Tensor:
        """Memory for steps like those of a signal, with time inside of the groups where it is so in the signal."""
        if self.number > 1:
            shape, strides = signal if isinstance(signal, Outline) else Outline.of(signal)
            if strides[1] > strides[0]:
                return pool_empty(shape, like, (self.num_columns, shape[0] * self.num_columns, *strides[2:]))

        return pool_empty(signal.shape, like)


def standing_alone(view: Tensor) -> Tensor:
    """The memory of a view as a tensor of its own, which may be written to and differentiated."""
    own = view.new_empty(0)
    return own.set_(view.untyped_storage(), view.storage_offset(), view.shape, view.stride())


def groups_of(signal: Tensor) -> Groups:
    """One group where a signal is dense or a copy is faster, else one a sample.

    Example:
        >>> windows = torch.zeros(40, 2, 50).unflatten(0, (4, 10)).movedim(1, 0)
        >>> groups_of(windows)
        Groups(number=4, num_columns=100)
    """
    return _groups_of(signal.shape, signal.stride())


@lru_cache(maxsize=256)
def _groups_of(shape: torch.Size, strides: tuple[int, ...]) -> Groups:
    num_columns = shape[2:].numel()
    side_by_side = _is_dense(shape, strides, 1)
    if side_by_side or num_columns < _FEWEST_COLUMNS or not _is_dense(shape, strides, 2):
        return Groups(1, shape[1:].numel())
    return Groups(shape[1], num_columns)


@lru_cache(maxsize=256)
def _is_dense(shape: torch.Size, strides: tuple[int, ...], first: int) -> bool:
    """Whether the axes from the given one on lie dense, in their order."""
    expected = 1
    for size, stride in zip(reversed(shape[first:]), reversed(strides[first:]), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size

    return True


@lru_cache(maxsize=256)
def plan_of(num_steps: int, groups: Groups, chunk: int, threads: int, whole: bool = False) -> LoopPlan:
    """The plan for a signal, without a neuron: at most `chunk` columns at once (`whole`: exactly). It is constant."""
    plan = LoopPlan(num_steps=num_steps, num_groups=groups.number, num_columns=groups.num_columns)
    team = library().team
    num_columns = groups.number * groups.num_columns
    plan.num_threads = min(threads, 1 + num_steps * num_columns // _WORK_OF_A_THREAD) if team else 1
    plan.team = team

    if not whole:
        chunk = -(-min(chunk, groups.num_columns, -(-num_columns // plan.num_threads)) // LINE) * LINE

    plan.chunk = chunk
    return plan


def dense_columns(x: np.ndarray, y: np.ndarray, is_on: np.ndarray) -> EventColumns:
    """Events without gaps between their numbers.

    Args:
        x: columns.
        y: rows.
        is_on: whether pixels became brighter.

    Raises:
        ShapeError: they differ in length.
    """
    if not x.shape == y.shape == is_on.shape:
        raise ShapeError(f"columns of events of one length were expected, but got {x.shape}, {y.shape}, {is_on.shape}")

    return np.ascontiguousarray(x, np.uint16), np.ascontiguousarray(y, np.uint16), np.ascontiguousarray(is_on, np.bool_)


def at(tensor: Tensor | None) -> int | None:
    """Where the numbers of a tensor stand."""
    return None if tensor is None else tensor.data_ptr()


def signal_at(tensor: Tensor | None, groups: Groups) -> Signal:
    """Where a signal stands whose rows are dense; nowhere if there is none."""
    return Signal() if tensor is None else Signal(tensor.data_ptr(), *groups.strides(tensor))


def point(place: CValue, value: Tensor | float, x: Tensor, groups: Groups, held: list[object]) -> None:
    """Lets a value point to its numbers: one for all, one a step, one a column, or one for each element.

    Args:
        place: the pointer to set.
        value: a number, or a tensor that lines up from the right with the signal.
        x: the signal.
        groups: the rows of its steps.
        held: keeps alive what is pointed to.
    """
    if not isinstance(value, Tensor):
        single = ctypes.c_float(value)
        place.at = ctypes.addressof(single)
        place.step = 0
        place.group = 0
        place.column = 0
        held.append(single)

        return

    if value.numel() == groups.num_columns > 1 and _is_a_row(value, x):
        place.step = 0
        place.group = 0
        place.column = 1
        place.at = value.data_ptr()
        held.append(value)

        return

    value = value.detach().float()  # C reads nothing else
    if _point_to_number(place, value, held):
        return

    varies = changes_in_time(value, x)
    if varies and value[0].numel() == 1:
        numbers = value.contiguous()
        place.step = 1
    elif varies:
        numbers = value.expand(x.shape).contiguous()
        place.step = x[0].numel()
        place.group = groups.num_columns
        place.column = 1
    else:
        row = value[0] if value.ndim == x.ndim else value
        for_groups = row.ndim == x.ndim - 1 and len(row) > 1  # else those of one group are those of all
        numbers = row.expand(x.shape[1:] if for_groups or groups.number == 1 else (1, *x.shape[2:])).contiguous()
        place.step = 0
        place.group = groups.num_columns if for_groups else 0
        place.column = 1

    place.at = numbers.data_ptr()
    held.append(numbers)


def _is_a_row(value: Tensor, x: Tensor) -> bool:
    """Whether a tensor has the last axes of a signal, without time, and C can read it as it lies."""
    first = x.ndim - value.ndim
    return first > 0 and value.shape == x.shape[first:] and value.dtype == torch.float32 and value.is_contiguous()


def _point_to_number(place: CValue, value: Tensor, held: list[object]) -> bool:
    """The same for what is one number, if it is."""
    if value.numel() > 1 and any(value.stride()):
        return False

    place.at = value.data_ptr()
    place.step = 0
    place.group = 0
    place.column = 0
    held.append(value)

    return True


def point_to_signal(place: CValue, signal: Tensor, groups: Groups, held: list[object]) -> None:
    """Lets a value of the plan point to a signal where it lies."""
    if _point_to_number(place, signal, held):
        return

    rows = groups.dense(signal)
    place.at = rows.data_ptr()
    place.column = 1
    place.step, place.group = groups.strides(rows)
    held.append(rows)


def changes_in_time(value: Tensor, x: Tensor) -> bool:
    """Whether a tensor has a number of its own for each step."""
    return value.ndim == x.ndim and len(value) > 1
