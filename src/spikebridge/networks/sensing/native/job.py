"""Jobs of the native library: the sizes, numbers and addresses that a C function gets as one structure."""

import ctypes
from typing import Any

import numpy as np
from torch import Tensor

from spikebridge.ops.native.layout import run

Fields = list[tuple[str, Any]]


def floats(*names: str) -> Fields:
    """Fields of the C type `float`."""
    return [(name, ctypes.c_float) for name in names]


def doubles(*names: str) -> Fields:
    """Fields of the C type `double`."""
    return [(name, ctypes.c_double) for name in names]


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
        run(function, self, f"{function} of the native library")
