"""Inputs of a tracker's step: checks, and events as the network gets them."""

from math import floor, isfinite

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from spikebridge.data.events.binned import BinEvents, Crop, crop_events
from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import DataError
from spikebridge.networks.sensing.detection.patches import ColourFrame
from spikebridge.networks.sensing.native.bin_events import BIN_EVENTS, event_image
from spikebridge.ops.selection import select

# processed in one step: a camera may pause for any time
_MAX_BINS = 240


def check_inputs(inputs: Inputs, last: NDArray[np.uint8] | None) -> None:
    """Refuses inputs with a wrong time, or with a frame unlike the last one; that is None before the first one."""
    check_times(inputs)
    if "frame" in inputs:
        size = _frame_size(inputs["frame"])
        if last is not None and size != last.shape:
            raise DataError(f"frame: expected rows and columns {last.shape} as before, but got {size}.")


def check_times(inputs: Inputs) -> None:
    """Refuses a time that is not a number above 0, and a frame without a time."""
    elapsed = inputs["elapsed"]
    age = inputs.get("frame_age", None if "frame" in inputs else 0.0)
    if not (isfinite(elapsed) and elapsed > 0):
        raise DataError(f"elapsed: expected the seconds since the last step, above 0, but got {elapsed}.")
    if age is None or not (isfinite(age) and age >= 0):
        raise DataError(f"frame_age: expected the seconds from the frame to the end of the step, but got {age}.")


def grey_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame in grey levels: luma (ITU-R 601) of colours; refuses what is no frame."""
    _frame_size(frame)
    return frame if frame.ndim == 2 else np.asarray(Image.fromarray(frame).convert("L"))


def _frame_size(frame: NDArray[np.uint8]) -> tuple[int, ...]:
    """Rows and columns of a frame, grey or in colours; refuses another type or shape, or no pixels."""
    is_frame = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.size
    if is_frame and frame.ndim > 1 and frame.shape[2:] in ((), (3,)):
        return frame.shape[:2]

    kind = f"{frame.dtype} of shape {tuple(frame.shape)}" if hasattr(frame, "dtype") else type(frame).__name__
    raise DataError(f"frame: expected grey levels (H, W) or colours (H, W, 3) from 0 to 255, uint8, but got {kind}.")


def read_picture(frame: NDArray[np.uint8]) -> ColourFrame:
    """A copy of a frame: the caller may fill the same array again."""
    colours = frame.copy() if frame.ndim == 3 else None
    return ColourFrame(frame.copy() if colours is None else grey_frame(colours), colours)


def num_bins(seconds: float, dt: float) -> int:
    """The number of bins of `dt` seconds in a step: at least one, at most 240."""
    # the small number makes up for rounding of the quotient
    return min(_MAX_BINS, max(1, floor(seconds / dt + 1e-6)))


def event_grid(events: BinEvents, crop: Crop) -> Float[Tensor, "1 2 h w"]:
    """Events of one step in a crop, ON and OFF: 1 where there was any."""
    is_native = select(BIN_EVENTS, events.x) == "native"
    image = event_image(events, crop, False) if is_native else crop_events(events, crop)

    return image[None]
