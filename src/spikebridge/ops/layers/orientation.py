"""Features of patches of a picture by cells: orientation of gradients, and grey, in one native call.

`patch_features` of the correlation filter gives their formula; results are those of it to rounding.
"""

import ctypes
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.ops.native.library import library

CELL, NUM_FEATURES = 4, 10
"""Side of a cell [px], and the features of each, of orientation.h."""


class _Job(ctypes.Structure):
    """`Orientation` of orientation.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("height", "width", "num_patches", "side")],
        *[(name, ctypes.c_void_p) for name in ("picture", "x", "y", "weights", "window")],
        *[(name, ctypes.c_float) for name in ("faint", "flat")],
        ("features", ctypes.c_void_p),
    ]


class Scaling(NamedTuple):
    """How features are scaled.

    Args:
        weights: of each feature.
        window: of each cell.
        faint: added to the strength of each gradient.
        flat: added to the root mean square of the features, by which they are divided.
    """

    weights: Float[Tensor, " C"]
    window: Float[Tensor, "N N"]
    faint: float
    flat: float


def sampled_features(
    picture: Float[Tensor, "H W"], x: Float[Tensor, "K S"], y: Float[Tensor, "K S"], scaling: Scaling
) -> Float[Tensor, "K C N N"]:
    """Features of patches that are read from a picture, bilinear; beyond its edges, the nearest pixels.

    Args:
        picture: logarithm of the brightness, float32 on a CPU, contiguous.
        x: of each patch, the columns that it reads; 0 is the middle of the first pixel.
        y: the rows, likewise.
        scaling: of the features.

    Raises:
        MemoryError: no memory for a patch.
    """
    num_patches, side = x.shape
    features = torch.empty(num_patches, NUM_FEATURES, side // CELL, side // CELL, dtype=torch.float32)
    job = _Job(*picture.shape, num_patches, side)
    given = [one.contiguous() for one in (picture, x, y, scaling.weights, scaling.window)]
    job.picture, job.x, job.y, job.weights, job.window = (one.data_ptr() for one in given)
    job.faint, job.flat, job.features = scaling.faint, scaling.flat, features.data_ptr()
    run: Any = library().steps
    if run.spikebridge_orientation(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in features of orientation, for a patch")
    return features
