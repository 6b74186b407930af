"""Boxes of one target, `(x, y, w, h)` with the upper left corner: where their middle is, and boxes made of it."""

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike

from spikebridge.errors import DataError

Box = Float[np.ndarray, "4"]


def middle_of(box: Float[np.ndarray, "*S 4"]) -> Float[np.ndarray, "*S 2"]:
    """The middle of a box, or of several.

    Args:
        box: any unit of length.

    Example:
        >>> middle_of(np.array([10.0, 20.0, 4.0, 6.0])).tolist()
        [12.0, 23.0]
    """
    middle: Float[np.ndarray, "*S 2"] = box[..., :2] + box[..., 2:] / 2
    return middle


def told_box(box: ArrayLike) -> Box:
    """A box that a tracker is told, in numbers of its own.

    Args:
        box: `(x, y, w, h)` [px].

    Raises:
        DataError: it has no size, or no place.

    Example:
        >>> told_box([10, 20, 4, 6]).tolist()
        [10.0, 20.0, 4.0, 6.0]
    """
    told = np.array(box, dtype=np.float64)
    if told.shape != (4,) or not np.isfinite(told).all() or not (told[2:] > 0).all():
        raise DataError(f"a told box needs four numbers x, y, w, h, and a size above 0 px, but got {told.tolist()}.")
    return told


def placed(middle: Float[np.ndarray, "2"], size: Float[np.ndarray, "2"]) -> Box:
    """The box of a size around its middle.

    Args:
        middle: `(x, y)`.
        size: width and height.

    Example:
        >>> placed(np.array([12.0, 23.0]), np.array([4.0, 6.0])).tolist()
        [10.0, 20.0, 4.0, 6.0]
    """
    return np.concatenate([middle - size / 2, size])


def moved(box: Box, way: Float[np.ndarray, "2"]) -> Box:
    """The same box elsewhere.

    Args:
        box: of any size, which it keeps.
        way: along x and y.

    Example:
        >>> moved(np.array([10.0, 20.0, 4.0, 6.0]), np.array([1.0, -1.0])).tolist()
        [11.0, 19.0, 4.0, 6.0]
    """
    return np.concatenate([box[:2] + way, box[2:]])


def kept_on(frame: UInt8[np.ndarray, "H W"], box: Box) -> Box:
    """The box with its middle on a frame, as near to its own as may be.

    Args:
        frame: only its size counts.
        box: of any place [px].

    Example:
        >>> kept_on(np.zeros((40, 60), np.uint8), np.array([70.0, 10.0, 4.0, 6.0])).tolist()
        [58.0, 10.0, 4.0, 6.0]
    """
    return placed(middle_of(box).clip(0, frame.shape[::-1]), box[2:])
