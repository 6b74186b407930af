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
from spikebridge.ops.native.library import library


class _Events(ctypes.Structure):
    """`BinEvents` of bin_events.h."""

    _fields_ = [("number", ctypes.c_int64), *[(name, ctypes.c_void_p) for name in ("x", "y", "is_on")]]


def event_image(events: EventColumns, crop: tuple[int, int, int, int], counts: bool) -> Float[Tensor, "2 h w"]:
    """Events as an image with the channels ON and OFF.

    Args:
        events: of one bin.
        crop: left, top, width and height [px]; nothing where it sticks out of the sensor.
        counts: how many events there were; else 1 where there was any.

    Raises:
        ShapeError: the crop has no pixels, or columns of events differ in length.

    Example:
        >>> events = np.array([5], np.uint16), np.array([7], np.uint16), np.array([True])
        >>> event_image(events, (5, 6, 1, 2), counts=False).tolist()
        [[[0.0], [1.0]], [[0.0], [0.0]]]
    """
    if min(crop[2:]) < 1:
        raise ShapeError(f"a crop of one pixel at least was expected, but got {crop}")

    image = torch.empty(2, crop[3], crop[2], dtype=torch.float32)
    columns = dense_columns(*events)
    job = _Events(len(columns[0]), *(one.ctypes.data for one in columns))
    run: Any = library().steps
    sides = (ctypes.c_int64 * 4)(*crop)
    run.spikebridge_event_image(ctypes.byref(job), sides, ctypes.c_int64(counts), ctypes.c_void_p(image.data_ptr()))

    return image


def count_near(events: EventColumns, box: Float[np.ndarray, "4"], limits: tuple[float, ...]) -> list[int]:
    """The number of events in boxes around the middle of a box.

    Args:
        events: of one bin.
        box: left, top, width and height [px]; a side counts for one pixel at least.
        limits: sides of the boxes, in those of the box.

    Raises:
        ShapeError: columns of events differ in length.

    Example:
        >>> events = np.array([5, 9], np.uint16), np.array([5, 5], np.uint16), np.array([True, False])
        >>> count_near(events, np.array([4.0, 4.0, 3.0, 3.0]), (0.5, 1.0, 3.0))  # in the middle, and 4 pixels beside it
        [1, 1, 2]
    """
    left, top, width, height = box.tolist()
    columns = dense_columns(*events)
    job = _Events(len(columns[0]), *(one.ctypes.data for one in columns))
    counts = (ctypes.c_int64 * len(limits))()
    sides = (ctypes.c_float * 4)(0.5 - left, 0.5 - top, max(width, 1.0), max(height, 1.0))
    of_limits = (ctypes.c_float * len(limits))(*limits)
    run: Any = library().steps
    run.spikebridge_count_near(ctypes.byref(job), sides, of_limits, ctypes.c_int64(len(limits)), counts)

    return list(counts)
