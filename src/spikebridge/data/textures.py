"""Grey textures without a file, and reading any texture between its pixels."""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


def clouds(
    height: int, width: int, generator: np.random.Generator, largest: int = 32, smallest: int = 4
) -> Float[np.ndarray, "H W"]:
    """Smooth noise of several sizes, as in a photograph out of which nothing can be recognised.

    Args:
        height: rows.
        width: columns.
        generator: draws it.
        largest: size of the largest patches [px].
        smallest: size of the smallest patches [px].

    Returns:
        Intensities from 0.1 to 0.9.

    Example:
        >>> texture = clouds(40, 60, np.random.default_rng(0))
        >>> texture.shape, round(float(texture.min()), 2), round(float(texture.max()), 2)
        ((40, 60), 0.1, 0.9)
    """
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    total = np.zeros((height, width))
    size = largest
    while size >= smallest:
        knots = generator.normal(size=(height // size + 3, width // size + 3))
        # larger patches are stronger, as in natural images
        total += size * read_between(knots, columns / size + 0.5, rows / size + 0.5)
        size //= 2
    total -= total.min()
    return 0.1 + 0.8 * total / max(total.max(), 1e-12)


def read_between(
    texture: Float[np.ndarray, "h w"], x: Float[np.ndarray, "*S"], y: Float[np.ndarray, "*S"]
) -> Float[np.ndarray, "*S"]:
    """A texture at real places, bilinear between the middles of its pixels; outside it goes on as at its edge.

    Args:
        texture: intensities.
        x: places along the columns; 0.5 is the middle of the first pixel.
        y: places along the rows.

    Returns:
        Intensities there.

    Example:
        >>> texture = np.array([[0.0, 1.0]])
        >>> read_between(texture, np.array([0.5, 1.0, 1.5, 9.0]), np.full(4, 0.5)).tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    x = (x - 0.5).clip(0, texture.shape[1] - 1)
    y = (y - 0.5).clip(0, texture.shape[0] - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, texture.shape[1] - 1), np.minimum(top + 1, texture.shape[0] - 1)
    upper = _mix(texture[top, left], texture[top, right], x - left)
    lower = _mix(texture[bottom, left], texture[bottom, right], x - left)
    return _mix(upper, lower, y - top)


def window(canvas: Float[np.ndarray, "h w"], x: float, y: float, height: int, width: int) -> Float[np.ndarray, "H W"]:
    """A rectangle of a larger canvas, moved by parts of a pixel; like `read_between`, and much faster.

    Args:
        canvas: intensities.
        x: left edge of the rectangle, which lies inside the canvas with a pixel to spare.
        y: upper edge.
        height: rows.
        width: columns.

    Example:
        >>> window(np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]), x=0.25, y=0.0, height=1, width=2).tolist()
        [[0.25, 1.25]]
    """
    left, top = int(np.floor(x)), int(np.floor(y))
    part = canvas[top : top + height + 1, left : left + width + 1]
    beside = _mix(part[:, :-1], part[:, 1:], x - left)
    return _mix(beside[:-1], beside[1:], y - top)


def _mix(a: NDArray[np.float64], b: NDArray[np.float64], share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return a + share * (b - a)
