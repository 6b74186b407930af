"""Events of a bin in native calls: as a picture, and by their number near a box.

Pictures are those of `crop_events`, numbers those of the confidence of the sensing network's tracker.
"""

import ctypes
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt16
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.job import Job
from spikebridge.ops.native.library import int64_fields, library, pointer_fields
from spikebridge.ops.selection import Operation, Path, always, has_native, is_reference

EventColumns = tuple[UInt16[np.ndarray, " N"], UInt16[np.ndarray, " N"], Bool[np.ndarray, " N"]]
"""Columns and rows of events, and whether pixels became brighter."""


def _is_native(x: np.ndarray) -> bool:
    return x.dtype == np.uint16 and not is_reference() and has_native("spikebridge_event_image")


BIN_EVENTS = Operation(
    "events of a bin: as a picture, and their number near a box",
    (
        Path("native", "columns of the type uint16, outside `reference()`", _is_native),
        Path("reference", "always: operations on all events", always),
    ),
    lambda _: (np.zeros(1, np.uint16),),
)


class _Events(Job):
    """`BinEvents` of bin_events.h."""

    _fields_ = [*int64_fields("number"), *pointer_fields("x", "y", "is_on")]


def dense_columns(x: np.ndarray, y: np.ndarray, is_on: np.ndarray) -> EventColumns:
    """Columns of events without gaps between their numbers; a `ShapeError` where they differ in length."""
    if not x.shape == y.shape == is_on.shape:
        raise ShapeError(f"columns of events of one length were expected, but got {x.shape}, {y.shape}, {is_on.shape}")

    return np.ascontiguousarray(x, np.uint16), np.ascontiguousarray(y, np.uint16), np.ascontiguousarray(is_on, np.bool_)


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
