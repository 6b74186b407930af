"""Arrays from an npz file that may come from anywhere: no pickle, sizes checked by header before memory is taken."""

import struct
import zipfile
import zlib
from collections.abc import Iterable
from math import prod
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from spikebridge.data.opening import MOST_BYTES, Readable, fits, opened, read_at_most
from spikebridge.errors import DataError, did_you_mean

# what zipfile raises on bytes that are no archive, or one of a kind that it does not know
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    struct.error,
)


def read_npz(path: Path, keys: Iterable[str]) -> dict[str, NDArray]:
    """The named arrays of an npz file.

    Args:
        path: the file.
        keys: names of the arrays; others are not read.

    Returns:
        Arrays of numbers or truth values by name.

    Raises:
        DataError: the file is missing, damaged or cut short, lacks an array, or an array is of objects or too large.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "pair.npz"
        >>> np.savez(path, a=np.array([1, 2]), b=np.array([3]))
        >>> read_npz(path, ["a"])["a"].tolist()
        [1, 2]
    """
    with opened(path, "an npz file") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return {key: _member(archive, key, path) for key in keys}
        except DataError:
            raise
        except _DAMAGE as error:
            raise DataError(f"{path}: expected an npz file, but it is damaged or of another kind ({error}).") from error


def _member(archive: zipfile.ZipFile, key: str, path: Path) -> NDArray:
    name = f"{key}.npy"
    names = archive.namelist()
    if name not in names:
        known = [member.removesuffix(".npy") for member in names]
        raise DataError(f"{path}: expected an array {key!r}, but there is none; {did_you_mean(key, known)}")
    with archive.open(name) as member:
        shape, fortran, dtype = _header(member, f"{path}, {key}")
        size = prod(shape) * dtype.itemsize
        if dtype.kind not in "biuf" or not fits(shape, dtype.itemsize):
            raise DataError(
                f"{path}, {key}: expected numbers in at most {MOST_BYTES} bytes, "
                f"but the header declares {dtype} {shape}."
            )
        values = read_at_most(member, size + 1)
    if len(values) != size:
        came = f"{len(values)} are there" if len(values) < size else "there are more"
        raise DataError(f"{path}, {key}: expected {size} bytes for {dtype} {shape}, but {came}.")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if fortran else "C")


def _header(member: Readable, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = npy.read_magic(member)
        # later versions allow headers of gigabytes, and arrays of numbers never need them
        if version != (1, 0):
            raise ValueError(f"version {version}, not (1, 0)")
        return npy.read_array_header_1_0(member)
    except (ValueError, SyntaxError, TokenError) as error:
        raise DataError(f"{where}, byte 0: expected the header of an array of numbers, but found: {error}.") from error
