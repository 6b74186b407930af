"""Pointers of a native job to the values and signals that it reads, where they lie."""

import ctypes

import torch
from torch import Tensor

from spikebridge.ops.native.layout import Groups
from spikebridge.ops.native.library import Signal
from spikebridge.ops.native.library import Value as CValue


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

    def set_value(self, place: CValue, value: Tensor | float) -> None:
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

    def _set_tensor(self, place: CValue, value: Tensor) -> None:
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

    def _set_step(self, place: CValue, row: Tensor) -> None:
        """Points to a value that is the same at all steps, and maybe for all groups."""
        step = self.x.shape[1:]
        differs = row.ndim == len(step) and len(row) > 1
        numbers = row.expand(step if differs or self.groups.number == 1 else (1, *step[1:])).contiguous()
        self._set(place, numbers, group=self.groups.num_columns if differs else 0, column=1)

    def set_gradient(self, place: CValue, gradient: Tensor) -> None:
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

    def _set(self, place: CValue, numbers: Tensor, step: int = 0, group: int = 0, column: int = 0) -> None:
        place.at = numbers.data_ptr()
        place.step = step
        place.group = group
        place.column = column
        self.keep(numbers)


def _is_one_number(value: Tensor) -> bool:
    return value.numel() <= 1 or not any(value.stride())
