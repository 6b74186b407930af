"""Boxes of one target, `(x, y, w, h)` with the upper left corner: where their middle is, and boxes made of it.

Crops of frames around a target, in whole pixels.
"""

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


def box_center(box: Float[np.ndarray, "*S 4"]) -> Float[np.ndarray, "*S 2"]:
    """The middle of a box, or of several.

    Args:
        box: any unit of length.

    Example:
        >>> box_center(np.array([10.0, 20.0, 4.0, 6.0])).tolist()
        [12.0, 23.0]
    """
    middle: Float[np.ndarray, "*S 2"] = box[..., :2] + box[..., 2:] / 2
    return middle


def check_box(box: ArrayLike) -> Box:
    """A box that a tracker is given, in numbers of its own.

    Args:
        box: `(x, y, w, h)` [px].

    Raises:
        DataError: it has no size, or no place.

    Example:
        >>> check_box([10, 20, 4, 6]).tolist()
        [10.0, 20.0, 4.0, 6.0]
    """
    given = np.array(box, dtype=np.float64)
    if given.shape != (4,) or not np.isfinite(given).all() or not (given[2:] > 0).all():
        raise DataError(f"a box needs four numbers x, y, w, h, and a size above 0 px, but got {given.tolist()}.")

    return given


def box_from_center(middle: Float[np.ndarray, "2"], size: Float[np.ndarray, "2"]) -> Box:
    """The box of a size around its middle.

    Args:
        middle: `(x, y)`.
        size: width and height.

    Example:
        >>> box_from_center(np.array([12.0, 23.0]), np.array([4.0, 6.0])).tolist()
        [10.0, 20.0, 4.0, 6.0]
    """
    return np.concatenate([middle - size / 2, size])


def translate_box(box: Box, way: Float[np.ndarray, "2"]) -> Box:
    """The same box elsewhere.

    Args:
        box: of any size, which it keeps.
        way: along x and y.

    Example:
        >>> translate_box(np.array([10.0, 20.0, 4.0, 6.0]), np.array([1.0, -1.0])).tolist()
        [11.0, 19.0, 4.0, 6.0]
    """
    return np.concatenate([box[:2] + way, box[2:]])


def clamp_box(frame: UInt8[np.ndarray, "H W"], box: Box) -> Box:
    """The box with its middle on a frame, as near to its own as may be.

    Args:
        frame: only its size counts.
        box: of any place [px].

    Example:
        >>> clamp_box(np.zeros((40, 60), np.uint8), np.array([70.0, 10.0, 4.0, 6.0])).tolist()
        [58.0, 10.0, 4.0, 6.0]
    """
    return box_from_center(box_center(box).clip(0, frame.shape[::-1]), box[2:])


Reader: TypeAlias = Callable[[int], NDArray[np.uint8]]


def check_crop(size: int, stride: int) -> None:
    """Refuses crops that the cells of a network do not fill: then the middle of a crop is not that of its cells.

    Args:
        size: side of the square [px].
        stride: side of a cell [px].

    Raises:
        ConfigError: it is small, or has a part of a cell.

    Example:
        >>> check_crop(96, stride=8)
    """
    if size < 16 or size % stride:
        raise ConfigError(f"a crop needs a side of 16 px or more, a multiple of {stride}, but got {size}")


def crop_around(box: Float[np.ndarray, "4"], size: int) -> tuple[Crop, Float[np.ndarray, "4"]]:
    """A square of whole pixels around the middle of a box, and the box as seen from the square's middle.

    Args:
        box: `(x, y, w, h)` [px].
        size: side of the square [px].

    Returns:
        Left, top, width and height of the square; and the box's middle beside the square's, and its size.

    Example:
        >>> crop, seen = crop_around(np.array([10.0, 20.0, 4.5, 6.0]), size=16)  # middle (12.25, 23)
        >>> crop, seen.tolist()
        ((4, 15, 16, 16), [0.25, 0.0, 4.5, 6.0])
    """
    middle = box_center(box)
    left, top = np.round(middle - size / 2).astype(int).tolist()

    return (left, top, size, size), np.concatenate([middle - size / 2 - [left, top], box[2:]])


def crop_covering(middle: Sequence[float], half: Sequence[float], shape: tuple[int, ...], least: int = 0) -> Crop:
    """The pixels of a frame that a rectangle touches.

    Args:
        middle: of the rectangle, `(x, y)` [px].
        half: of its width and height [px].
        shape: rows and columns of the frame.
        least: so many rows and columns at least, those at an edge where the rectangle is outside.

    Example:
        >>> crop_covering((5.0, 1.0), (2.5, 3.0), shape=(10, 20))
        (2, 0, 6, 4)
    """
    height, width = shape
    (left, right), (top, bottom) = (
        (start := min(max(floor(at - reach), 0), size - least), max(min(ceil(at + reach), size), start + least))
        for at, reach, size in zip(middle, half, (width, height), strict=True)
    )

    return left, top, right - left, bottom - top


def crop_frame(frame: NDArray[np.uint8], crop: Crop) -> Float[Tensor, "1 H W"]:
    """A crop of a frame; where it sticks out the nearest pixels are repeated.

    Args:
        frame: grey levels.
        crop: left, top, width and height [px].

    Example:
        >>> crop_frame(np.array([[1, 2], [3, 4]], np.uint8), (-1, 1, 3, 2)).tolist()
        [[[3.0, 3.0, 4.0], [3.0, 3.0, 4.0]]]
    """
    return torch.from_numpy(crop_bytes(frame, crop).astype(np.float32))[None]


def crop_bytes(frame: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    """The same as bytes, without a copy where nothing is repeated.

    Args:
        frame: grey levels.
        crop: left, top, width and height [px].
    """
    left, top, width, height = crop
    if 0 <= left <= frame.shape[1] - width and 0 <= top <= frame.shape[0] - height:
        return frame[top : top + height, left : left + width]

    rows = np.arange(top, top + height).clip(0, frame.shape[0] - 1)
    columns = np.arange(left, left + width).clip(0, frame.shape[1] - 1)

    return frame[np.ix_(rows, columns)]
