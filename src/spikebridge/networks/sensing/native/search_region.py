"""The inputs of a detector around a predicted box, in one native call: frames, events and background at several sizes.

The fused detector has the same in operations of PyTorch; results are those of them to rounding.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8, UInt16
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.bin_events import dense_columns
from spikebridge.networks.sensing.native.job import Job, floats
from spikebridge.networks.sensing.native.resampling import MovedPicture, MovedSampling, check_part
from spikebridge.ops.native.library import int64_fields, pointer_fields

# as in search_region.h
_NUM_MEANS = 5


class _Job(Job):
    """`SearchRegion` of search_region.h."""

    _fields_ = [
        ("background", MovedSampling),
        *int64_fields("width"),
        *pointer_fields("frame", "before"),
        *int64_fields("left", "top", "num_events"),
        *pointer_fields("event_x", "event_y", "is_on"),
        *int64_fields("num_patches", "side"),
        *pointer_fields("x", "y"),
        *floats("log_offset", "variance_floor"),
        *pointer_fields("light", "means"),
    ]


class RegionInputs(NamedTuple):
    """The new frame and the one before, columns of the events between them, and the background in a part of the frame.

    `corner` is `(left, top)` of that part, which lies inside of the frame [px].
    """

    frame: UInt8[np.ndarray, "H W"]
    before: UInt8[np.ndarray, "H W"]
    x: UInt16[np.ndarray, " N"]
    y: UInt16[np.ndarray, " N"]
    on: Bool[np.ndarray, " N"]
    background: MovedPicture
    corner: tuple[int, int]


def search_region(
    inputs: RegionInputs,
    columns: Float32[np.ndarray, "K S"],
    rows: Float32[np.ndarray, "K S"],
    log_offset: float,
    variance_floor: float,
) -> tuple[Float[Tensor, "K 2 S S"], Float[Tensor, "K 5 N N"]]:
    """Patches of both frames, and means over cells of 2 x 2 pixels, bilinear; beyond the edges, the nearest pixels.

    `columns` and `rows` are those that each patch reads of the part; 0 is the centre of its first pixel. Of the frames
    the logarithm is given, with mean 0 and variance 1 in each patch. The means, channels last, are ON events, OFF
    events, the logarithm of the brightness relative to the background where that is known, its size, and what is known.
    """
    frame, before, x, y, on, background, (left, top) = inputs
    num_patches, side = columns.shape
    if before.shape != frame.shape or rows.shape != columns.shape or side % 2:
        raise ShapeError(
            f"frames of one size and patches of an even side were expected, but got frames {frame.shape} and "
            f"{before.shape}, {columns.shape} columns and {rows.shape} rows"
        )

    check_part((left, top, len(background.x), len(background.y)), frame.shape)
    event_x, event_y, is_on = dense_columns(x, y, on)
    light = background.picture.new_empty(num_patches, 2, side, side)
    means = background.picture.new_empty(num_patches, side // 2, side // 2, _NUM_MEANS)

    job = _Job(background.job(), frame.shape[1], left=left, top=top, num_events=len(event_x))
    job.num_patches = num_patches
    job.side = side
    job.log_offset = log_offset
    job.variance_floor = variance_floor
    job.point(frame=np.ascontiguousarray(frame, np.uint8), before=np.ascontiguousarray(before, np.uint8))
    job.point(event_x=event_x, event_y=event_y, is_on=is_on)
    job.point(x=np.ascontiguousarray(columns, np.float32), y=np.ascontiguousarray(rows, np.float32))
    job.point(light=light, means=means)
    job.run("spikebridge_search_region")

    return light, means.permute(0, 3, 1, 2)
