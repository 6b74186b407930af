"""Features of patches of a frame by cells: orientation of gradients, and grey, in one native call.

`patch_features` of the correlation filter gives their formula; results are those of it to rounding.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.ops.layers.resampling import check_part
from spikebridge.ops.native.library import library

CELL = 4
NUM_FEATURES = 10
"""Side of a cell [px], and the features of each, of orientation.h."""


class _Job(ctypes.Structure):
    """`Orientation` of orientation.h."""

    _fields_ = [
        ("frame", ctypes.c_void_p),
        *[(name, ctypes.c_int64) for name in ("frame_width", "left", "top", "width", "height", "num_patches", "side")],
        *[(name, ctypes.c_void_p) for name in ("levels", "x", "y", "weights", "window")],
        *[(name, ctypes.c_float) for name in ("faint", "flat")],
        ("features", ctypes.c_void_p),
    ]


class Scaling(NamedTuple):
    """How grey levels and features are scaled.

    Args:
        levels: the value of each grey level.
        weights: of each feature.
        window: of each cell.
        faint: added to the strength of each gradient.
        flat: added to the root mean square of the features, by which they are divided.
    """

    levels: Float[Tensor, "256"]
    weights: Float[Tensor, " C"]
    window: Float[Tensor, "N N"]
    faint: float
    flat: float


def sampled_features(
    frame: UInt8[np.ndarray, "H W"],
    crop: tuple[int, int, int, int],
    x: Float32[np.ndarray, "K S"],
    y: Float32[np.ndarray, "K S"],
    scaling: Scaling,
) -> Float[Tensor, "K C N N"]:
    """Features of patches that are read from a part of a frame, bilinear; beyond its edges, the nearest pixels.

    Args:
        frame: grey levels.
        crop: left, top, width and height of the part, which lies inside of the frame [px].
        x: of each patch, the columns of the part that it reads; 0 is the middle of the first pixel.
        y: the rows, likewise.
        scaling: of grey levels and features.

    Raises:
        ShapeError: the part sticks out of the frame, or a side is not one of whole cells.
        MemoryError: no memory for the patches.
    """
    num_patches, side = x.shape
    num_cells, rest = divmod(side, CELL)
    if rest or y.shape != x.shape or scaling.window.shape != (num_cells, num_cells):
        raise ShapeError(
            f"patches of whole cells of {CELL} pixels, as many as of the window {tuple(scaling.window.shape)}, were "
            f"expected, but got {x.shape} columns and {y.shape} rows"
        )

    check_part(crop, frame.shape)
    frame, x, y = np.ascontiguousarray(frame, np.uint8), *(np.ascontiguousarray(one, np.float32) for one in (x, y))
    features = torch.empty(num_patches, NUM_FEATURES, num_cells, num_cells, dtype=torch.float32)
    job = _Job(frame.ctypes.data, frame.shape[1], *crop, num_patches, side)
    job.levels, job.weights, job.window = (one.data_ptr() for one in scaling[:3])
    job.x = x.ctypes.data
    job.y = y.ctypes.data
    job.faint = scaling.faint
    job.flat = scaling.flat
    job.features = features.data_ptr()
    run: Any = library().steps

    if run.spikebridge_orientation(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in features of orientation, for the patches")

    return features
