"""Jobs of the native library: the layout of signals in memory, pointers to them without a copy, and the run.

To the native library a step is a row of columns, in any order: a dense signal whose axes lie in another order, such as
images with the channels last, is permuted to the order of memory, and the result back. Or a step is some rows, groups,
which may lie anywhere: windows of a signal, side by side as if they were samples.
"""

import ctypes
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from spikebridge.ops.native.library import LoopPlan, Signal, Value, library
from spikebridge.ops.native.memory_pool import pool_empty

_MIN_COLUMNS = 32  # of a group; shorter rows are copied side by side, which is faster
_LINE = 16  # numbers in a cache line; chunks are whole lines, or two threads would write to one
_WORK_OF_A_THREAD = 2**15  # elements; below it a thread costs more than it brings


class AxisOrder(NamedTuple):
    """The order in which the axes of a signal `(T, B, *N)` lie in memory, time first, and the order that undoes it."""

    axes: tuple[int, ...]
    back: tuple[int, ...]

    def permute(self, signal: Tensor) -> Tensor:
        return signal.permute(self.axes)

    def restore(self, signal: Tensor) -> Tensor:
        return as_own_tensor(signal.permute(self.back))

    def permute_step(self, step: Tensor) -> Tensor:
        return step.unsqueeze(0).permute(self.axes)[0]

    def restore_step(self, step: Tensor) -> Tensor:
        return as_own_tensor(step.unsqueeze(0).permute(self.back)[0])

    def permute_value(self, value: Tensor) -> Tensor:
        """A value that lines up from the right with the signal, with all of its axes, in the order of memory."""
        return self.permute(value.reshape(*[1] * (len(self.axes) - value.ndim), *value.shape))


def layout_of(signal: Tensor) -> AxisOrder | None:
    """The order of a dense signal in memory; None if it is its own order, or time is not first in it."""
    if signal.is_contiguous():
        return None

    rest = sorted(range(1, signal.ndim), key=lambda axis: (signal.shape[axis] > 1, -signal.stride()[axis]))
    axes = (0, *rest)
    if not signal.permute(axes).is_contiguous():
        return None

    return AxisOrder(axes, tuple(sorted(range(signal.ndim), key=axes.__getitem__)))


class Outline(NamedTuple):
    """Shape and strides of a signal: what a backward pass needs of one that it does not keep."""

    shape: torch.Size
    strides: tuple[int, ...]

    @classmethod
    def of(cls, signal: Tensor) -> "Outline":
        return cls(signal.shape, signal.stride())

    @property
    def groups(self) -> "Groups":
        return _groups_of(*self)


class Groups(NamedTuple):
    """The rows of a step: how many there are, of how many columns each."""

    number: int
    num_columns: int

    def dense(self, signal: Tensor) -> Tensor:
        """The signal if its rows are dense, else a copy."""
        first = 1 if self.number == 1 else 2
        return signal if _is_dense(signal.shape, signal.stride(), first) else signal.contiguous()

    def strides(self, signal: Tensor) -> tuple[int, int]:
        """Numbers from a step to the next, and from a group to the next, of a signal whose rows are dense."""
        step, group, *_ = signal.stride()
        return step, group if self.number > 1 else 0

    def pool_empty(self, signal: Tensor | Outline, like: Tensor) -> Tensor:
        """Memory for a result of the signal's shape; time lies inside of the groups where it does in the signal."""
        if self.number > 1:
            shape, strides = signal if isinstance(signal, Outline) else Outline.of(signal)
            if strides[1] > strides[0]:
                return pool_empty(shape, like, (self.num_columns, shape[0] * self.num_columns, *strides[2:]))

        return pool_empty(signal.shape, like)


def as_own_tensor(view: Tensor) -> Tensor:
    """The memory of a view as a tensor that is no view, which may be written to and differentiated."""
    own = view.new_empty(0)
    return own.set_(view.untyped_storage(), view.storage_offset(), view.shape, view.stride())


def groups_of(signal: Tensor) -> Groups:
    """One group where a signal is dense or a copy is faster, else one a sample, as of windows of a signal."""
    return _groups_of(signal.shape, signal.stride())


@lru_cache(maxsize=256)
def _groups_of(shape: torch.Size, strides: tuple[int, ...]) -> Groups:
    num_columns = shape[2:].numel()
    side_by_side = _is_dense(shape, strides, 1)
    if side_by_side or num_columns < _MIN_COLUMNS or not _is_dense(shape, strides, 2):
        return Groups(1, shape[1:].numel())
    return Groups(shape[1], num_columns)


@lru_cache(maxsize=256)
def _is_dense(shape: torch.Size, strides: tuple[int, ...], first: int) -> bool:
    """True if the axes from `first` on lie dense, in their order."""
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
        # every thread gets a chunk at least
        chunk = min(chunk, groups.num_columns, -(-num_columns // plan.num_threads))
        chunk = -(-chunk // _LINE) * _LINE

    plan.chunk = chunk
    return plan


def run(name: str, job: ctypes.Structure, what: str = "the native steps") -> None:
    """Runs a job, on as many threads as it says; `what` it is stands in the error where memory is lacking."""
    if getattr(library().steps, name)(ctypes.byref(job)) != 0:
        raise MemoryError(f"out of memory in {what}")


def address_of(tensor: Tensor | None) -> int | None:
    """The address of a tensor's first number; None for no tensor."""
    return None if tensor is None else tensor.data_ptr()


def as_signal(tensor: Tensor | None, groups: Groups) -> Signal:
    """A signal whose rows are dense; one that points nowhere for no tensor."""
    return Signal() if tensor is None else Signal(tensor.data_ptr(), *groups.strides(tensor))


def changes_in_time(value: Tensor, x: Tensor) -> bool:
    """True if a value has numbers of its own for each step of a signal."""
    return value.ndim == x.ndim and len(value) > 1


class Pointers:
    """The pointers of a job to values for `x` `(T, B, *N)`, in rows `groups`; keeps alive what they point to."""

    def __init__(self, x: Tensor, groups: Groups) -> None:
        self.x = x
        self.groups = groups
        self._alive: list[object] = []

    def keep(self, thing: object) -> None:
        self._alive.append(thing)

    def set_value(self, place: Value, value: Tensor | float) -> None:
        """Points to a value: one number for all, one a step, one a column, or one for each element."""
        if not isinstance(value, Tensor):
            number = ctypes.c_float(value)
            place.at = ctypes.addressof(number)
            place.step = 0
            place.group = 0
            place.column = 0
            self.keep(number)
        elif self._is_row(value):
            self._set(place, value, column=1)
        else:
            self._set_tensor(place, value.detach().float())  # C reads nothing else

    def _is_row(self, value: Tensor) -> bool:
        """True for one dense number a column: a quick look at the usual case, learned parameters of neurons."""
        if not value.numel() == self.groups.num_columns > 1:
            return False

        first = self.x.ndim - value.ndim
        return (
            first > 0 and value.shape == self.x.shape[first:] and value.dtype == torch.float32 and value.is_contiguous()
        )

    def _set_tensor(self, place: Value, value: Tensor) -> None:
        x = self.x
        if _is_one_number(value):
            self._set(place, value)
        elif not changes_in_time(value, x):
            self._set_step(place, value[0] if value.ndim == x.ndim else value)
        elif value[0].numel() == 1:
            self._set(place, value.contiguous(), step=1)
        else:
            numbers = value.expand(x.shape).contiguous()
            self._set(place, numbers, step=x[0].numel(), group=self.groups.num_columns, column=1)

    def _set_step(self, place: Value, row: Tensor) -> None:
        """Points to a value that is the same at all steps, and maybe for all groups."""
        step = self.x.shape[1:]
        differs = row.ndim == len(step) and len(row) > 1
        numbers = row.expand(step if differs or self.groups.number == 1 else (1, *step[1:])).contiguous()
        self._set(place, numbers, group=self.groups.num_columns if differs else 0, column=1)

    def set_gradient(self, place: Value, gradient: Tensor) -> None:
        """Points to a gradient `(T, B, *N)`; that of a sum is one number for all."""
        if _is_one_number(gradient):
            self._set(place, gradient)
            return

        rows = self.groups.dense(gradient)
        step, group = self.groups.strides(rows)
        self._set(place, rows, step, group, column=1)

    def set_rows(self, place: Signal, signal: Tensor, is_backward: bool = False) -> None:
        """Points to a signal, or to its last step with negative strides; one that is the same at all steps is a row."""
        if signal.stride(0) == 0:
            row = signal[0].contiguous()
            place.at = row.data_ptr()
            place.step = 0
            place.group = self.groups.num_columns
            self.keep(row)
            return

        rows = self.groups.dense(signal)
        begin = rows.data_ptr()
        step, group = self.groups.strides(rows)
        if is_backward:
            begin += (rows.shape[0] - 1) * step * rows.element_size()
            step = -step

        place.at = begin
        place.step = step
        place.group = group
        self.keep(rows)

    def _set(self, place: Value, numbers: Tensor, step: int = 0, group: int = 0, column: int = 0) -> None:
        place.at = numbers.data_ptr()
        place.step = step
        place.group = group
        place.column = column
        self.keep(numbers)


def _is_one_number(value: Tensor) -> bool:
    return value.numel() <= 1 or not any(value.stride())
