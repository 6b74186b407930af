"""Jobs of the native library: the sizes, numbers and addresses that a C function gets as one structure."""

import ctypes
from typing import Any

import numpy as np
from torch import Tensor

from spikebridge.ops.native.library import library

Fields = list[tuple[str, Any]]


def integers(*names: str) -> Fields:
    """Fields of the C type `int64_t`."""
    return [(name, ctypes.c_int64) for name in names]


def floats(*names: str) -> Fields:
    """Fields of the C type `float`."""
    return [(name, ctypes.c_float) for name in names]


def doubles(*names: str) -> Fields:
    """Fields of the C type `double`."""
    return [(name, ctypes.c_double) for name in names]


def pointers(*names: str) -> Fields:
    """Fields with the address of an array."""
    return [(name, ctypes.c_void_p) for name in names]


class Job(ctypes.Structure):
    """The arguments of a C function; a subclass lists the fields of the C structure in their order."""

    def point(self, **arrays: np.ndarray | Tensor) -> None:
        """Sets addresses of contiguous arrays."""
        for name, array in arrays.items():
            setattr(self, name, array.data_ptr() if isinstance(array, Tensor) else array.ctypes.data)

        # an array has to live as long as its address is used
        self.arrays = {**getattr(self, "arrays", {}), **arrays}

    def run(self, function: str) -> None:
        """Calls a function of the native library."""
        if getattr(library().steps, function)(ctypes.byref(self)) != 0:
            raise MemoryError(f"out of memory in {function} of the native library")
