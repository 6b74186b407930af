"""Pictures read between their pixels, in one native call: patches of several sizes, or through the camera's motion.

Both are what `grid_sample` gives, bilinear, to rounding; beyond the edges it repeats the nearest pixels.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.ops.native.library import library


class _Sampling(ctypes.Structure):
    """`Sampling` of resampling.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("channels", "height", "width", "num_patches", "rows", "columns")],
        *[(name, ctypes.c_void_p) for name in ("picture", "x", "y", "patches")],
    ]


class MovedSampling(ctypes.Structure):
    """`MovedSampling` of resampling.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("height", "width", "rows", "columns")],
        *[(name, ctypes.c_void_p) for name in ("picture", "x", "y")],
        ("motion", ctypes.c_float * 6),
        ("seen", ctypes.c_void_p),
        ("step", ctypes.c_int64),
    ]


class MovedPicture(NamedTuple):
    """A picture that is read at places which an affine motion takes elsewhere.

    Args:
        picture: grey levels, and 1 where they are known; float32 on a CPU, channels last, of two rows and columns at
            least.
        motion: from the places to those in the picture, `motion @ (x, y, 1)`.
        x: columns, from -1 at one edge of the picture to 1 at the other.
        y: rows, likewise.
    """

    picture: Float[Tensor, "2 H W"]
    motion: Float32[ndarray, "2 3"]
    x: Float32[ndarray, " S"]
    y: Float32[ndarray, " R"]

    def job(self) -> MovedSampling:
        """For the native library; it lives as long as these arrays.

        Raises:
            ShapeError: the picture has a single row or column, or lies in memory in another order.
        """
        _, height, width = self.picture.shape
        if min(height, width) < 2 or self.picture.stride() != (1, 2 * width, 2):
            raise ShapeError(
                f"a picture of two rows and columns at least, channels last, was expected, but got {height} x {width} "
                f"with strides {self.picture.stride()}"
            )

        job = MovedSampling(height, width, len(self.y), len(self.x))
        job.picture = self.picture.data_ptr()
        job.x = self.x.ctypes.data
        job.y = self.y.ctypes.data
        job.motion[:] = self.motion.ravel().tolist()

        return job


def sample_patches(
    picture: Float[Tensor, "C H W"], x: Float32[ndarray, "K S"], y: Float32[ndarray, "K R"]
) -> Float[Tensor, "K C R S"]:
    """Patches of a picture.

    Args:
        picture: float32 on a CPU.
        x: the columns that each patch reads; 0 is the middle of the first pixel.
        y: the rows, likewise.

    Raises:
        ShapeError: the rows are those of another number of patches.
        MemoryError: no memory for the rows of a patch.
    """
    if len(x) != len(y):
        raise ShapeError(f"columns and rows of as many patches were expected, but got {len(x)} and {len(y)}")

    picture, x, y = picture.contiguous(), *(np.ascontiguousarray(one, np.float32) for one in (x, y))
    (num_patches, columns), rows = x.shape, y.shape[1]
    patches = picture.new_empty(num_patches, len(picture), rows, columns)
    job = _Sampling(*picture.shape, num_patches, rows, columns, picture.data_ptr())
    job.x = x.ctypes.data
    job.y = y.ctypes.data
    job.patches = patches.data_ptr()
    run: Any = library().steps

    if run.spikebridge_sample_patches(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in patches of a picture, for their rows")

    return patches


def sample_moved(moved: MovedPicture) -> Float[Tensor, "2 R S"]:
    """A moved picture at its places. Beyond the edges, nothing is known.

    Args:
        moved: the picture and the places.

    Raises:
        MemoryError: no memory for a row of places.
    """
    seen = moved.picture.new_empty(len(moved.y), len(moved.x), 2)
    job = moved.job()
    job.seen = seen.data_ptr()
    job.step = 2
    run: Any = library().steps

    if run.spikebridge_sample_moved(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in a moved picture, for a row of places")

    return seen.permute(2, 0, 1)


def check_part(crop: tuple[int, int, int, int], shape: tuple[int, ...]) -> None:
    """Refuses a part of a frame that sticks out of it: it would be read beyond its memory.

    Args:
        crop: left, top, width and height [px].
        shape: rows and columns of the frame.

    Raises:
        ShapeError: it does, or has no pixels.

    Example:
        >>> check_part((3, 0, 2, 1), (4, 4))
        Traceback (most recent call last):
        ...
        spikebridge.errors.ShapeError: a part inside of a frame of 4 x 4 was expected, but got (3, 0, 2, 1)
    """
    left, top, width, height = crop
    if not (0 <= left < left + width <= shape[1] and 0 <= top < top + height <= shape[0]):
        raise ShapeError(f"a part inside of a frame of {shape[0]} x {shape[1]} was expected, but got {crop}")
