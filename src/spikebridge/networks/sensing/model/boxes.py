"""Boxes of one target, `(x, y, w, h)` with the upper left corner, and crops of frames around them, in whole pixels."""

from collections.abc import Callable, Sequence
from math import ceil, floor
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spikebridge.data.events.binned import Crop
from spikebridge.errors import ConfigError, DataError

Box = Float[np.ndarray, "4"]
# A function that reads the frame of a number
Reader: TypeAlias = Callable[[int], NDArray[np.uint8]]


def box_center(box: Float[np.ndarray, "*S 4"]) -> Float[np.ndarray, "*S 2"]:
    """The centre `(x, y)` of a box, or of several."""
    center: Float[np.ndarray, "*S 2"] = box[..., :2] + box[..., 2:] / 2
    return center


def check_box(box: ArrayLike) -> Box:
    """A copy of a box `(x, y, w, h)` [px]; refuses one without a size or a place."""
    checked = np.array(box, dtype=np.float64)
    if checked.shape != (4,) or not np.isfinite(checked).all() or not (checked[2:] > 0).all():
        raise DataError(f"a box needs four numbers x, y, w, h, and a size above 0 px, but got {checked.tolist()}.")

    return checked


def box_from_center(center: Float[np.ndarray, "2"], size: Float[np.ndarray, "2"]) -> Box:
    """The box of a width and height around its centre `(x, y)`."""
    return np.concatenate([center - size / 2, size])


def translate_box(box: Box, displacement: Float[np.ndarray, "2"]) -> Box:
    """The box moved along x and y; it keeps its size."""
    return np.concatenate([box[:2] + displacement, box[2:]])


def clamp_box(frame: UInt8[np.ndarray, "H W"], box: Box) -> Box:
    """The box moved by as little as brings its centre onto a frame [px]."""
    return box_from_center(box_center(box).clip(0, frame.shape[::-1]), box[2:])


def check_crop(size: int, stride: int) -> None:
    """Refuses a crop that whole cells do not fill: its centre would not be that of its cells [px]."""
    if size < 16 or size % stride:
        raise ConfigError(f"a crop needs a side of 16 px or more, a multiple of {stride}, but got {size}")


def crop_around(box: Float[np.ndarray, "4"], size: int) -> tuple[Crop, Float[np.ndarray, "4"]]:
    """A square of whole pixels around the centre of a box; and the box relative to the square's centre [px]."""
    center = box_center(box)
    left, top = np.round(center - size / 2).astype(int).tolist()

    return (left, top, size, size), np.concatenate([center - size / 2 - [left, top], box[2:]])


def crop_covering(center: Sequence[float], half: Sequence[float], shape: tuple[int, ...], min_size: int = 0) -> Crop:
    """The pixels of a frame that a rectangle touches, `min_size` rows and columns at least.

    The rectangle has the centre `(x, y)` and half a width and height of `half` [px]; the frame has `shape` rows and
    columns. Where the rectangle is outside, the pixels at the edge are taken.
    """
    height, width = shape
    left, right = _covered_range(center[0], half[0], width, min_size)
    top, bottom = _covered_range(center[1], half[1], height, min_size)

    return left, top, right - left, bottom - top


def _covered_range(center: float, half: float, size: int, min_size: int) -> tuple[int, int]:
    start = min(max(floor(center - half), 0), size - min_size)
    stop = max(min(ceil(center + half), size), start + min_size)
    return start, stop


def crop_frame(frame: NDArray[np.uint8], crop: Crop) -> Float[Tensor, "1 H W"]:
    """A crop of a frame; where it sticks out the nearest pixels are repeated."""
    return torch.from_numpy(crop_bytes(frame, crop).astype(np.float32))[None]


def crop_bytes(frame: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    """The same as bytes."""
    left, top, width, height = crop
    # a view, without a copy, where nothing is repeated
    if 0 <= left <= frame.shape[1] - width and 0 <= top <= frame.shape[0] - height:
        return frame[top : top + height, left : left + width]

    rows = np.arange(top, top + height).clip(0, frame.shape[0] - 1)
    columns = np.arange(left, left + width).clip(0, frame.shape[1] - 1)

    return frame[np.ix_(rows, columns)]
