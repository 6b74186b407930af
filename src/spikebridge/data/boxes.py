"""Boxes in text files, one a line: `x,y,w,h`, or a polygon of 8 numbers whose bounding box is taken."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from spikebridge.data.opening import opened
from spikebridge.errors import ConfigError, DataError

_MOST_BYTES = 2**28
_SEPARATOR = re.compile(r"[,;\s]+")


def read_boxes(path: Path, origin: float = 0.0) -> Float[np.ndarray, "N 4"]:
    """The boxes of a file, numbers separated by commas, tabs or spaces; `nan` where there is none.

    Args:
        path: the file.
        origin: what the file calls the first pixel; 1 for boxes that are counted from 1. Polygons are points of the
            plane and are taken as they are.

    Returns:
        Boxes with the upper left pixel at 0, in pixels.

    Raises:
        DataError: the file is missing, not text, or a line is not 4 or 8 numbers.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "boxes.txt"
        >>> _ = path.write_text("11,21,5,6\\n")
        >>> read_boxes(path, origin=1).tolist()
        [[10.0, 20.0, 5.0, 6.0]]
        >>> _ = path.write_text("0 0 4 1 3 6 1 2")
        >>> read_boxes(path).tolist()
        [[0.0, 0.0, 4.0, 6.0]]
    """
    with opened(path, "a text file of boxes") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise DataError(f"{path}: expected a text file of boxes below {_MOST_BYTES} bytes, but it is larger.")
    lines = content.decode("ascii", errors="replace").rstrip().splitlines()
    rows = [_numbers(line, f"{path}, line {i}") for i, line in enumerate(lines, start=1)]
    if not rows:
        raise DataError(f"{path}: expected boxes, but the file holds none.")
    return np.array([_bounding(row) if len(row) == 8 else _from(row, origin) for row in rows])


def usable_boxes(boxes: Float[np.ndarray, "N 4"], height: int, width: int) -> Float[np.ndarray, "N 4"]:
    """Boxes that can be a label; NaN in place of one that is empty, not finite, or wholly outside the image.

    Args:
        boxes: `x, y, w, h` in pixels.
        height: rows of the image.
        width: columns of the image.

    Returns:
        A copy, never a changed box.

    Example:
        >>> usable_boxes(np.array([[0.0, 0, 2, 2], [0, 0, 0, 2], [9, 0, 2, 2]]), height=4, width=8)[:, 0].tolist()
        [0.0, nan, nan]
    """
    x, y, w, h = boxes.T
    good = np.isfinite(boxes).all(axis=1) & (w > 0) & (h > 0)
    good &= (x < width) & (y < height) & (x + w > 0) & (y + h > 0)
    return np.where(good[:, None], boxes, np.nan)


def _numbers(line: str, where: str) -> list[float]:
    try:
        row = [float(word) for word in _SEPARATOR.split(line.strip()) if word]
    except ValueError:
        row = []
    if len(row) not in (4, 8):
        raise DataError(
            f"{where}: expected 4 numbers x,y,w,h or 8 numbers of a polygon, but found {line.strip()!r:.60}."
        )
    return row


def _from(row: list[float], origin: float) -> list[float]:
    return [row[0] - origin, row[1] - origin, row[2], row[3]]


def _bounding(polygon: list[float]) -> list[float]:
    x, y = polygon[::2], polygon[1::2]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def parse_box(words: str) -> Float[np.ndarray, "4"]:
    """A box from `x,y,w,h`.

    Raises:
        ConfigError: not four numbers, or a box without area.

    Example:
        >>> parse_box("10,20,5.5,6").tolist()
        [10.0, 20.0, 5.5, 6.0]
    """
    try:
        box = np.array([float(word) for word in words.split(",")])
    except ValueError:
        box = np.empty(0)
    if box.shape != (4,) or not np.isfinite(box).all() or not (box[2:] > 0).all():
        raise ConfigError(f"a first box is x,y,w,h: four numbers in pixels, w and h above 0, but got {words!r}")
    return box
