"""MNIST: handwritten digits of 28 x 28 pixels, from the idx files or from one npz file.

The idx format: two zero bytes, a type, the number of axes, their lengths (big-endian), then the values.
Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Proceedings of the IEEE 86:2278 (1998).
"""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.catalog import find_files
from spikebridge.data.images.labelled import (
    ImageSplits,
    check_digit_arrays,
    fixed_permutation,
    make_labelled_digits,
    split_validation,
)
from spikebridge.data.io.npz import read_npz
from spikebridge.data.io.safe_open import MAX_BYTES, Readable, fits, open_unpacked, read_at_most
from spikebridge.errors import DataError

_UINT8 = 0x08
_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def load_mnist(folder: Path | None = None, num_validation: int = 1000) -> ImageSplits:
    """MNIST from the data folder: the idx files if they are there, else `digits.npz`.

    Args:
        folder: the data folder; without it, the one that `SPIKEBRIDGE_DATA` names.
        num_validation: samples of the training part that are kept back for the choice of settings.

    Returns:
        Images `(N, 28, 28)` in [0, 1] with labels 0 to 9; the training part in one fixed, shuffled order.

    Raises:
        DataError: files are missing or damaged.
        ConfigError: `num_validation` leaves nothing to train on.

    Example:
        >>> load_mnist(Path(getfixture("tmp_path")))
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: mnist is not in ...: yann.lecun.com/exdb/mnist (licence: CC BY-SA 3.0); get it...
    """
    paths = find_files("mnist", folder)
    if len(paths) == 1:
        origins = tuple(f"{paths[0]}, {key}" for key in _KEYS)
        arrays = tuple(read_npz(paths[0], _KEYS, check=lambda headers: _check(headers, origins)).values())
    else:
        arrays = tuple(read_idx(path) for path in paths)
        origins = tuple(map(str, paths))

    train = make_labelled_digits(arrays[0], arrays[1], origins[0], origins[1])
    test = make_labelled_digits(arrays[2], arrays[3], origins[2], origins[3])
    train, validation = split_validation(train.select(fixed_permutation(len(train.labels))), num_validation)

    return ImageSplits(train, validation, test)


def _check(headers: Mapping[str, Any], origins: Sequence[str]) -> None:
    for images, labels in ((0, 1), (2, 3)):
        check_digit_arrays(headers[_KEYS[images]], headers[_KEYS[labels]], origins[images], origins[labels])


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of bytes from an idx file, plain or gzipped, as its first bytes say."""
    with open_unpacked(path, "an idx file") as file:
        return _read(file, path)


def _read(file: Readable, path: Path) -> NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != bytes([0, 0, _UINT8]) or not 1 <= magic[3] <= 4:
        raise DataError(f"{path}, byte 0: expected an idx file, 00 00 08 and 1 to 4 axes, but got {magic.hex(' ')}.")

    num_axes = magic[3]
    header = file.read(4 * num_axes)
    if len(header) < 4 * num_axes:
        raise DataError(f"{path}, byte {4 + len(header)}: expected the lengths of {num_axes} axes, but the file ends.")

    shape = tuple(int(length) for length in np.frombuffer(header, ">u4"))
    size = prod(shape)
    start = 4 + 4 * num_axes
    if not fits(shape):
        raise DataError(
            f"{path}, byte 4: expected at most {MAX_BYTES} values, but it declares {shape}, that is {size}."
        )

    # one more than declared, to notice values beyond them
    values = read_at_most(file, size + 1)
    if len(values) != size:
        end = f"the file ends at byte {start + len(values)}" if len(values) < size else "there are more"
        raise DataError(f"{path}, byte {start}: expected {size} values for shape {shape}, but {end}.")

    return np.frombuffer(values, np.uint8).reshape(shape)
