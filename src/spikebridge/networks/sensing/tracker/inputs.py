"""Inputs of a tracker's step: checks, and events as the network sees them."""

from math import floor, isfinite

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.events.binned import BinEvents, Crop, crop_events
from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import DataError
from spikebridge.ops.selection import select
from spikebridge.ops.sparse.bin_events import event_image

_MAX_BINS = 240  # processed in one step: a camera may pause for any time


def check_inputs(inputs: Inputs, last: NDArray[np.uint8] | None) -> None:
    """Refuses inputs with a wrong time or frame.

    Args:
        inputs: of one step.
        last: the last frame; None before the first one.

    Raises:
        DataError: a time or a frame is wrong.

    Example:
        >>> from spikebridge.data.events.binned import BinEvents
        >>> nothing = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
        >>> check_inputs(Inputs(events=nothing, elapsed=0.0), None)
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: elapsed: expected the seconds since the last step, above 0, but got 0.0.
    """
    check_times(inputs)
    if "frame" in inputs:
        frame = grey_frame(inputs["frame"])
        if last is not None and frame.shape != last.shape:
            raise DataError(f"frame: expected rows and columns {last.shape} as before, but got {frame.shape}.")


def check_times(inputs: Inputs) -> None:
    """Refuses wrong times.

    Args:
        inputs: of one step.

    Raises:
        DataError: a time is not a number above 0, or a frame has no time.
    """
    elapsed = inputs["elapsed"]
    age = inputs.get("frame_age", None if "frame" in inputs else 0.0)
    if not (isfinite(elapsed) and elapsed > 0):
        raise DataError(f"elapsed: expected the seconds since the last step, above 0, but got {elapsed}.")
    if age is None or not (isfinite(age) and age >= 0):
        raise DataError(f"frame_age: expected the seconds from the frame to the end of the step, but got {age}.")


def grey_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame, checked.

    Args:
        frame: grey levels from 0 to 255.

    Raises:
        DataError: it has colours, another type, or no pixels.

    Example:
        >>> grey_frame(np.array([[1, 2], [3, 4]], np.uint8)).shape
        (2, 2)
    """
    if not isinstance(frame, np.ndarray) or frame.ndim != 2 or not frame.size or frame.dtype != np.uint8:
        came = f"{frame.dtype} of shape {tuple(frame.shape)}" if hasattr(frame, "dtype") else type(frame).__name__
        raise DataError(f"frame: expected an array (H, W) of grey levels from 0 to 255, uint8, but got {came}.")

    return frame


def num_bins(seconds: float, dt: float) -> int:
    """The number of bins in a step: at least one, at most 240.

    Args:
        seconds: length of the step [s].
        dt: length of a bin [s].

    Example:
        >>> num_bins(0.0249, 0.005), num_bins(0.025, 0.005), num_bins(3600.0, 0.005)
        (4, 5, 240)
    """
    return min(_MAX_BINS, max(1, floor(seconds / dt + 1e-6)))


def events_seen(events: BinEvents, crop: Crop, counts: bool) -> Float[Tensor, "1 2 h w"]:
    """Events of one step as the network sees them.

    Args:
        events: of the step.
        crop: left, top, width and height [px].
        counts: how many events there were; else 1 where there was any.

    Example:
        >>> events = BinEvents(np.array([5], np.uint16), np.array([7], np.uint16), np.array([True]))
        >>> events_seen(events, crop=(5, 6, 1, 2), counts=False).tolist()
        [[[[0.0], [1.0]], [[0.0], [0.0]]]]
    """
    is_native = select("bin events", events.x) == "native"
    image = event_image(events, crop, counts) if is_native else crop_events(events, crop, counts)

    return image[None]
