"""Gauss-Newton steps of the affine motion between two pictures, in one native call.

`camera_motion` of the sensing network gives their formula; results are those of it to rounding.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from spikebridge.ops.native.library import library


class _Job(ctypes.Structure):
    """`Alignment` of alignment.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("height", "width", "number")],
        *[(name, ctypes.c_void_p) for name in ("picture", "places", "shows", "counts", "slopes")],
        *[(name, ctypes.c_float) for name in ("beyond_x", "beyond_y")],
        ("num_steps", ctypes.c_int64),
        ("motion", ctypes.c_void_p),
        ("misfit", ctypes.c_double),
    ]


class SeenPlaces(NamedTuple):
    """Some places of a picture.

    Args:
        places: `x, y, 1`, from -1 at one edge of the frame to 1 at the other.
        shows: their values.
        counts: their weight, 1 or 0.
        slopes: derivative of the values by each number of a motion.
    """

    places: Float32[np.ndarray, "3 N"]
    shows: Float32[np.ndarray, " N"]
    counts: Float32[np.ndarray, " N"]
    slopes: Float32[np.ndarray, "6 N"]


def align(
    seen: SeenPlaces,
    picture: Float32[np.ndarray, "H W"],
    beyond: tuple[float, float],
    motion: Float32[np.ndarray, "2 3"],
    num_steps: int,
) -> tuple[Float32[np.ndarray, "2 3"], float]:
    """The motion after some steps, and the mean difference before them, at most 1 a place.

    Args:
        seen: places of one picture.
        picture: the other one.
        beyond: width and height of the whole frame, in those of the picture.
        motion: from positions in the one to positions in the other.
        num_steps: how many.

    Raises:
        MemoryError: no memory for the differences.
    """
    after = np.array(motion, np.float32)
    height, width = picture.shape
    given = [np.ascontiguousarray(one, np.float32) for one in (picture, *seen)]
    job = _Job(height, width, len(seen.shows), *(one.ctypes.data for one in given), *beyond, num_steps)
    job.motion = after.ctypes.data
    run: Any = library().steps

    if run.spikebridge_align(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in an alignment, for the differences")

    return after, job.misfit
