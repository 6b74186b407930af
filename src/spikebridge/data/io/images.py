"""Grey images read from files one at a time, so that a long recording takes the memory of one image."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from spikebridge.data.io.column import Column
from spikebridge.data.io.safe_open import decoding, open_binary
from spikebridge.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF")
_MAX_PIXELS = 2**25
_COLOURED = {"P", "RGB", "RGBA", "CMYK", "YCbCr"}
_EIGHT_BIT = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}


class ImageFiles(Sequence[np.ndarray]):
    """Images of one size; each is read on access.

    Args:
        paths: the files, in the order of time.

    Raises:
        DataError: there is no file, or the first one cannot be read.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "grey.png"
        >>> Image.new("L", (3, 2), 7).save(path)
        >>> images = ImageFiles([path, path])
        >>> len(images), images.height, images.width, int(images[1][0, 0])
        (2, 2, 3, 7)
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise DataError("expected at least one image file, but got none.")
        self.paths = tuple(paths)
        first = _read_colours(self.paths[0])
        self.height, self.width = first.shape[:2]
        # some cameras without colours write them
        self._has_colours = first.ndim == 3 and bool((first != first[..., :1]).any())

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def __getitem__(self, index: int | slice) -> Any:
        """One image `(H, W)` of bytes, read from its file; or a selection, still in the files.

        Raises:
            DataError: the file is damaged, or its image has another size than the first one.
        """
        if isinstance(index, slice):
            return ImageFiles(self.paths[index])

        return self._checked(read_grey(self.paths[index]), index)

    def colours(self, index: int) -> UInt8[np.ndarray, "H W *C"]:
        """One image with its colours `(H, W, 3)`, or its grey levels where the first image has no colours."""
        read = _read_colours if self._has_colours else read_grey
        return self._checked(read(self.paths[index]), index)

    def _checked(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        if image.shape[:2] != (self.height, self.width):
            expected = f"{self.width} x {self.height} pixels as in {self.paths[0].name}"
            size = f"{image.shape[1]} x {image.shape[0]}"
            raise DataError(f"{self.paths[index]}: expected {expected}, but got {size}.")

        return image


class ImagesInMemory(Sequence[np.ndarray]):
    """Images of one size in a column.

    Args:
        column: one image a row, at least one.
        rows: a selection; None for all.

    Example:
        >>> images = ImagesInMemory(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
        >>> len(images), images.height, images.width, images[1:][0].tolist()
        (2, 2, 3, [[6, 7, 8], [9, 10, 11]])
    """

    def __init__(self, column: Column, rows: range | None = None) -> None:
        self.column = column
        self.rows = range(len(column)) if rows is None else rows
        self.height, self.width = column[:1].shape[1:]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def __getitem__(self, index: int | slice) -> Any:
        """One image `(H, W)` of bytes; or a selection that shares the column."""
        if isinstance(index, slice):
            return ImagesInMemory(self.column, self.rows[index])

        # a column in a file gives slices alone
        row = self.rows[index]
        return self.column[row : row + 1][0]


def read_grey(path: Path) -> UInt8[np.ndarray, "H W"]:
    """One image as grey levels from 0 to 255: luma (ITU-R 601) of colours, the upper 8 of 16 bits."""
    with open_image(path, "an image") as image:
        _check(image, path)
        # Pillow clips 16 bits to 8 instead of scaling them
        if image.mode.startswith("I;16"):
            return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.array(image.convert("L"))


def _read_colours(path: Path) -> UInt8[np.ndarray, "H W *C"]:
    """One image as red, green and blue `(H, W, 3)`; as grey levels where the file has no colours."""
    with open_image(path, "an image") as image:
        _check(image, path)
        if image.mode in _COLOURED:
            return np.array(image.convert("RGB"))

    return read_grey(path)


@contextmanager
def open_image(path: Path, expected: str, formats: Sequence[str] = FORMATS) -> Iterator[Image.Image]:
    """An image file of one of Pillow's `formats`, open in the `with` block; some other formats start programs."""
    with open_binary(path, expected) as file, decoding(path, expected):
        with Image.open(file, formats=list(formats)) as image:
            if image.width * image.height > _MAX_PIXELS:
                size = f"{image.width} x {image.height}"
                raise DataError(f"{path}: expected at most {_MAX_PIXELS} pixels, but it has {size}.")

            # the checksums of PNG, at which Pillow does not look when it reads the pixels
            image.verify()

        file.seek(0)
        with Image.open(file, formats=list(formats)) as image:
            yield image


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder in the order of the last number in their names, so that 10 comes after 9."""
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of images, but there is none.")

    paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise DataError(f"{folder}: expected images ({', '.join(SUFFIXES)}), but there is none.")

    return sorted(paths, key=lambda path: (_number(path), path.name))


def check_consecutive(paths: Sequence[Path]) -> None:
    """Refuses file numbers with a gap, where the numbers alone give the times."""
    for before, after in pairwise(paths):
        expected = _number(before) + 1
        if _number(after) != expected:
            raise DataError(f"{after}: expected an image of number {expected} after {before.name}; is one missing?")


def _number(path: Path) -> int:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1


def _check(image: Image.Image, path: Path) -> None:
    if image.mode not in _EIGHT_BIT and not image.mode.startswith("I;16"):
        raise DataError(
            f"{path}: expected 8 or 16 bits a level, but got mode {image.mode!r}; save it as 8-bit grey first."
        )
