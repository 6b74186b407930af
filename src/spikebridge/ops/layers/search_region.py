"""What a detector sees around a predicted box, in one native call: frames, events and background at several sizes.

The fused detector of the sensing network has the same in operations of PyTorch; results are those of them to rounding.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8, UInt16
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.ops.layers.resampling import MovedPicture, MovedSampling, check_part
from spikebridge.ops.native.layout import dense_columns
from spikebridge.ops.native.library import library

_NUM_MEANS = 5  # of search_region.h


class _Job(ctypes.Structure):
    """`SearchRegion` of search_region.h."""

    _fields_ = [
        ("background", MovedSampling),
        ("width", ctypes.c_int64),
        *[(name, ctypes.c_void_p) for name in ("now", "before")],
        *[(name, ctypes.c_int64) for name in ("left", "top", "num_events")],
        *[(name, ctypes.c_void_p) for name in ("event_x", "event_y", "is_on")],
        *[(name, ctypes.c_int64) for name in ("num_patches", "side")],
        *[(name, ctypes.c_void_p) for name in ("x", "y")],
        *[(name, ctypes.c_float) for name in ("dark", "faint")],
        *[(name, ctypes.c_void_p) for name in ("light", "means")],
    ]


class RegionInputs(NamedTuple):
    """Around what a detector looks.

    Args:
        now: the new frame, grey levels.
        before: the frame before.
        x: columns of the events between the two.
        y: rows of them.
        on: whether a pixel became brighter.
        behind: the background in a part of the new frame.
        corner: of that part, `(left, top)` [px]; it lies inside of the frame.
    """

    now: UInt8[np.ndarray, "H W"]
    before: UInt8[np.ndarray, "H W"]
    x: UInt16[np.ndarray, " N"]
    y: UInt16[np.ndarray, " N"]
    on: Bool[np.ndarray, " N"]
    behind: MovedPicture
    corner: tuple[int, int]


def search_region(
    inputs: RegionInputs,
    columns: Float32[np.ndarray, "K S"],
    rows: Float32[np.ndarray, "K S"],
    dark: float,
    faint: float,
) -> tuple[Float[Tensor, "K 2 S S"], Float[Tensor, "K 5 N N"]]:
    """Patches of both frames, and means over cells of 2 x 2 pixels, bilinear; beyond the edges, the nearest pixels.

    Args:
        inputs: what is there.
        columns: that each patch reads of the part, an even number; 0 is the middle of its first pixel.
        rows: likewise.
        dark: added to grey levels before the logarithm.
        faint: added to the variance of a patch.

    Returns:
        The logarithm of the brightness of both frames, with mean 0 and variance 1 in each patch; and means, channels
        last: pixels with ON and with OFF events, the logarithm of the brightness relative to the background where it is
        known, its size, and what is known.

    Raises:
        ShapeError: the frames differ in size, the part sticks out of them, columns of events differ in length, or
            the sides of the patches differ or are odd.
        MemoryError: no memory for the part of the frame.
    """
    now, before, x, y, on, behind, (left, top) = inputs
    num_patches, side = columns.shape
    if before.shape != now.shape or rows.shape != columns.shape or side % 2:
        raise ShapeError(
            f"frames of one size and patches of an even side were expected, but got frames {now.shape} and "
            f"{before.shape}, {columns.shape} columns and {rows.shape} rows"
        )

    check_part((left, top, len(behind.x), len(behind.y)), now.shape)
    frames = [np.ascontiguousarray(frame, np.uint8) for frame in (now, before)]
    columns, rows = (np.ascontiguousarray(one, np.float32) for one in (columns, rows))
    events = dense_columns(x, y, on)
    light = behind.picture.new_empty(num_patches, 2, side, side)
    means = behind.picture.new_empty(num_patches, side // 2, side // 2, _NUM_MEANS)
    job = _Job(behind.job(), now.shape[1], *(frame.ctypes.data for frame in frames), left, top, len(events[0]))
    job.event_x, job.event_y, job.is_on = (one.ctypes.data for one in events)
    job.num_patches = num_patches
    job.side = side
    job.x = columns.ctypes.data
    job.y = rows.ctypes.data
    job.dark = dark
    job.faint = faint
    job.light = light.data_ptr()
    job.means = means.data_ptr()
    run: Any = library().steps

    if run.spikebridge_search_region(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in what is seen around a box, for a part of the frame")

    return light, means.permute(0, 3, 1, 2)
