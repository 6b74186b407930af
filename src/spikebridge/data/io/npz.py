"""Arrays from an npz file of unknown origin: no pickle, sizes in the headers are checked before memory is taken."""

import io
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from spikebridge.data.io.column import CHUNK_ROWS
from spikebridge.data.io.safe_open import MAX_BYTES, Readable, decoding, fits, open_binary, read_at_most
from spikebridge.errors import DataError, did_you_mean


def read_npz(
    path: Path,
    keys: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
    *,
    text: bool = False,
    check: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, NDArray]:
    """Arrays of numbers or truth values of an npz file, by name; with `text`, arrays of text as well.

    `keys` names the arrays to read; None reads all, if together they declare at most `max_bytes` bytes. `check` is
    called with their headers, which have `shape` and `dtype`, before any memory is taken.
    """
    kinds = _NUMBERS + "U" * text
    with _archive(path) as archive:
        if keys is None:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
            declared = sum(member.file_size for member in archive.infolist())
            if declared > max_bytes:
                raise DataError(f"{path}: expected arrays of at most {max_bytes} bytes, but they have {declared}.")

        if check is not None:
            check({key: _header_of(archive, key, path, kinds) for key in keys})

        return {key: _member(archive, key, path, kinds) for key in keys}


def array_names(path: Path) -> list[str]:
    """Names of the arrays of an npz file, without reading them."""
    with _archive(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def npz_columns(path: Path, keys: Iterable[str]) -> Iterator[dict[str, NDArray]]:
    """Yields vectors of one length, `CHUNK_ROWS` rows at a time: they may be longer than memory."""
    with _archive(path) as archive, ExitStack() as stack:
        members = {key: stack.enter_context(_opened_member(archive, key, path)) for key in keys}
        headers = {key: _header(member, f"{path}, {key}") for key, member in members.items()}
        shapes = {key: header.shape for key, header in headers.items()}
        shape, *others = set(shapes.values())
        if others or len(shape) != 1 or shape[0] < 0:
            raise DataError(f"{path}: expected columns of one length, but got {shapes}.")

        for start in range(0, shape[0], CHUNK_ROWS):
            rows = min(CHUNK_ROWS, shape[0] - start)
            yield {key: _values(members[key], header, rows, f"{path}, {key}", start) for key, header in headers.items()}

        # a member of more values than its header declares is damaged
        for key, member in members.items():
            _check_end(member, headers[key], f"{path}, {key}")


_END = struct.Struct("<4sHHHHIIH")  # the record at the end of a zip file without a comment
_MANY = 0xFFFF
_FAR = 0xFFFFFFFF
_NUMBERS = "biuf"
_MAX_TEXT_BYTES = 2**26  # four bytes a character
_LAST_CHARACTER = 0x10FFFF


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with open_binary(path, "an npz file") as file, decoding(path, "an npz file"), zipfile.ZipFile(file) as archive:
        if not _is_whole(file, len(archive.infolist())):
            raise DataError(f"{path}: expected the arrays of its table of contents, but some are missing.")

        yield archive


def _is_whole(file: BinaryIO, num_members: int) -> bool:
    """True if the last record of a zip file fits its members and place, or says that it stands elsewhere."""
    position = file.seek(-_END.size, io.SEEK_END)
    mark, _, _, _, number, size, offset, _ = _END.unpack(file.read(_END.size))
    # a comment behind the record, or numbers in another one
    if mark != b"PK\x05\x06" or number == _MANY or _FAR in (size, offset):
        return True

    return bool(number == num_members and offset + size == position)


def _opened_member(archive: zipfile.ZipFile, key: str, path: Path) -> zipfile.ZipExtFile:
    name = f"{key}.npy"
    if name not in archive.NameToInfo:
        known = [member.removesuffix(".npy") for member in archive.namelist()]
        raise DataError(f"{path}: expected an array {key!r}, but there is none; {did_you_mean(key, known)}")

    return cast(zipfile.ZipExtFile, archive.open(name))


def _header_of(archive: zipfile.ZipFile, key: str, path: Path, kinds: str) -> _Header:
    with _opened_member(archive, key, path) as member:
        return _header(member, f"{path}, {key}", kinds)


def _member(archive: zipfile.ZipFile, key: str, path: Path, kinds: str = _NUMBERS) -> NDArray:
    where = f"{path}, {key}"
    with _opened_member(archive, key, path) as member:
        header = _header(member, where, kinds)
        is_text = header.dtype.kind == "U"
        limit = _MAX_TEXT_BYTES if is_text else MAX_BYTES
        if not fits(header.shape, header.dtype.itemsize) or prod(header.shape) * header.dtype.itemsize > limit:
            declared = f"{header.dtype} {header.shape}"
            kind = "texts" if is_text else "numbers"
            raise DataError(f"{where}: expected {kind} in at most {limit} bytes, but it declares {declared}.")

        values = _values(member, header, prod(header.shape), where)
        _check_end(member, header, where)
        if is_text and (values.view(values.dtype.byteorder + "u4") > _LAST_CHARACTER).any():
            raise DataError(f"{where}: expected texts, but it has numbers that are no characters.")

    return values.reshape(header.shape, order="F" if header.fortran else "C")


def _values(member: Readable, header: _Header, number: int, where: str, start: int = 0) -> NDArray:
    """The next numbers of an array, after `start` that have been read."""
    values = read_at_most(member, number * header.dtype.itemsize)
    if len(values) != number * header.dtype.itemsize:
        num_bytes = start * header.dtype.itemsize + len(values)
        raise DataError(f"{where}: expected {_size(header)}, but {num_bytes} are there.")

    return np.frombuffer(values, header.dtype)


def _check_end(member: Readable, header: _Header, where: str) -> None:
    if member.read(1):
        raise DataError(f"{where}: expected {_size(header)}, but there are more.")


def _size(header: _Header) -> str:
    return f"{prod(header.shape) * header.dtype.itemsize} bytes for {header.dtype} {header.shape}"


def _header(member: Readable, where: str, kinds: str = _NUMBERS) -> _Header:
    try:
        version = npy.read_magic(member)
        # later versions allow headers of gigabytes, and arrays of numbers never need them
        if version != (1, 0):
            raise ValueError(f"version {version}, not (1, 0)")

        header = _Header(*npy.read_array_header_1_0(member))
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise DataError(f"{where}, byte 0: expected the header of an array of numbers, but found: {error}.") from error

    if header.dtype.kind not in kinds or header.dtype.itemsize == 0:
        expected = "numbers or text" if "U" in kinds else "numbers"
        raise DataError(f"{where}: expected {expected}, but the header declares {header.dtype} {header.shape}.")

    return header
