"""Pictures read between their pixels, in one native call: patches of several sizes, or through the camera's motion.

Both are what `grid_sample` gives, bilinear, to rounding; beyond the edges it repeats the nearest pixels.
"""

import ctypes
from typing import Any, NamedTuple

from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor

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
        """For the native library; it lives as long as these arrays."""
        _, height, width = self.picture.shape
        job = MovedSampling(height, width, len(self.y), len(self.x))
        job.picture, job.x, job.y = self.picture.data_ptr(), self.x.ctypes.data, self.y.ctypes.data
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
        MemoryError: no memory for the rows of a patch.
    """
    picture = picture.contiguous()
    (num_patches, columns), rows = x.shape, y.shape[1]
    patches = picture.new_empty(num_patches, len(picture), rows, columns)
    job = _Sampling(*picture.shape, num_patches, rows, columns, picture.data_ptr())
    job.x, job.y, job.patches = x.ctypes.data, y.ctypes.data, patches.data_ptr()
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
    job.seen, job.step = seen.data_ptr(), 2
    run: Any = library().steps
    if run.spikebridge_sample_moved(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in a moved picture, for a row of places")
    return seen.permute(2, 0, 1)
