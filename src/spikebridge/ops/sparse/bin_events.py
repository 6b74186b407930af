"""Events of a bin in native calls: as a picture, and by their number near a box.

Pictures are those of `crop_events`, numbers those of the confidence of the sensing network's tracker.
"""

import ctypes
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.ops.native.layout import EventColumns, dense_columns
from spikebridge.ops.native.library import int64_fields, library, pointer_fields


class _Events(ctypes.Structure):
    """`BinEvents` of bin_events.h."""

    _fields_ = [*int64_fields("number"), *pointer_fields("x", "y", "is_on")]


def event_image(events: EventColumns, crop: tuple[int, int, int, int], counts: bool) -> Float[Tensor, "2 h w"]:
    """The events in a crop (left, top, width, height [px]) as an image with the channels ON and OFF."""
    # the crop may stick out of the sensor; a pixel has the number of its events with `counts`, else 1 for any
    if min(crop[2:]) < 1:
        raise ShapeError(f"a crop of one pixel at least was expected, but got {crop}")

    image = torch.empty(2, crop[3], crop[2], dtype=torch.float32)
    columns = dense_columns(*events)
    job = _Events(len(columns[0]), *(column.ctypes.data for column in columns))
    sides = (ctypes.c_int64 * 4)(*crop)
    steps: Any = library().steps
    steps.spikebridge_event_image(ctypes.byref(job), sides, ctypes.c_int64(counts), ctypes.c_void_p(image.data_ptr()))

    return image


def count_near(events: EventColumns, box: Float[np.ndarray, "4"], limits: tuple[float, ...]) -> list[int]:
    """The number of events in boxes around the middle of a box (left, top, width, height [px])."""
    # sides are `limits` times those of the box, which count for one pixel at least
    left, top, width, height = box.tolist()
    columns = dense_columns(*events)
    job = _Events(len(columns[0]), *(column.ctypes.data for column in columns))
    counts = (ctypes.c_int64 * len(limits))()
    sides = (ctypes.c_float * 4)(0.5 - left, 0.5 - top, max(width, 1.0), max(height, 1.0))
    shares = (ctypes.c_float * len(limits))(*limits)
    steps: Any = library().steps
    steps.spikebridge_count_near(ctypes.byref(job), sides, shares, ctypes.c_int64(len(limits)), counts)

    return list(counts)
