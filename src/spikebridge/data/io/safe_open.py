"""The one way to open a file of unknown origin for reading: every failure is one clear `DataError`.

Only regular files are read. The kind of a file is looked at before it is opened, since opening a pipe waits for a
writer and opening a device may act on it; its size is looked at before it is read. `open_binary` gives the open file,
`read_bytes` and `read_text` its content, and `checked_file` the path for a library that opens a file by its name.
"""

import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

from spikebridge.errors import DataError, SpikebridgeError

MAX_BYTES = 2**30
_MAX_GROWTH = 200
"""Bytes that a byte of a gzip file may become; JSON and images of digits grow four- to twentyfold."""
_ALLOWANCE = 2**24  # bytes that any gzip file may become
_CHUNK_BYTES = 2**20
_READ_BYTES = 2**18
_MAX_LINE_BYTES = 4096
_GZIP_MAGIC = b"\x1f\x8b"
# a pipe that takes the place of the file between the look and the opening does not block; windows knows neither flag
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFDIR: "this is a folder",
    stat.S_IFIFO: "this is a pipe; write its content into a file first",
    stat.S_IFSOCK: "this is a socket; write its content into a file first",
    stat.S_IFCHR: "this is a device",
    stat.S_IFBLK: "this is a device",
}
Stream: TypeAlias = io.IOBase | BinaryIO


@runtime_checkable
class Readable(Protocol):
    """Anything that gives bytes: a file, or a member of an archive."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


@contextmanager
def open_binary(path: Path, expected: str, max_bytes: int | None = None) -> Iterator[BinaryIO]:
    """A file opened for reading bytes.

    Args:
        path: the file.
        expected: what should be there, for the message ("an idx file").
        max_bytes: the largest file that is opened; None for a reader that takes a part at a time.

    Returns:
        The open file, closed at the end of the `with` block.

    Raises:
        DataError: there is no such file, it is a folder, a pipe or a device, it is empty or too large, or it may not
            be read.

    Example:
        >>> with open_binary(Path("no_such_file"), "an idx file") as file:
        ...     file.read()
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: no_such_file: expected an idx file, but there is no such file.
    """
    try:
        _check_kind(path, path.stat(), expected)
        file = open(path, "rb", opener=lambda name, _: os.open(name, _FLAGS))  # noqa: SIM115 - closed below
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: expected {expected}, but there is no such file.") from None
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: expected {expected}, but it cannot be read ({why}).") from error

    with file:
        found = os.fstat(file.fileno())
        _check_kind(path, found, expected)
        if found.st_size == 0:
            raise DataError(f"{path}: expected {expected}, but the file is empty.")
        if max_bytes is not None and found.st_size > max_bytes:
            raise _too_large(path, expected, max_bytes)
        yield file


def read_bytes(path: Path, expected: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: the file.
        expected: what should be there, for the message.
        max_bytes: the largest file that is read.

    Raises:
        DataError: as for `open_binary`.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "a.bin"
        >>> _ = path.write_bytes(b"abc")
        >>> read_bytes(path, "three letters")
        b'abc'
    """
    with open_binary(path, expected, max_bytes) as file:
        # a file may grow while it is read
        content = bytes(read_at_most(file, max_bytes + 1))

    if len(content) > max_bytes:
        raise _too_large(path, expected, max_bytes)

    return content


def read_text(path: Path, expected: str, max_bytes: int = MAX_BYTES) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        expected: what should be there, for the message.
        max_bytes: the largest file that is read.

    Raises:
        DataError: as for `open_binary`, or the content is no UTF-8.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "a.txt"
        >>> _ = path.write_bytes(b"\\xef\\xbb\\xbfabc")
        >>> read_text(path, "three letters")
        'abc'
    """
    try:
        return read_bytes(path, expected, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, byte {error.start}: expected {expected} in UTF-8, but found {error.reason}."
        ) from None


def checked_file(path: Path, expected: str, max_bytes: int | None = None) -> Path:
    """The path of a file that may be opened, for a library that opens it by its name.

    Args:
        path: the file.
        expected: what should be there, for the message.
        max_bytes: the largest file that is opened.

    Raises:
        DataError: as for `open_binary`.

    Example:
        >>> checked_file(Path("no_such_file"), "a video")
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: no_such_file: expected a video, but there is no such file.
    """
    with open_binary(path, expected, max_bytes):
        return path


@contextmanager
def open_unpacked(path: Path, expected: str) -> Iterator[Readable]:
    """A file opened for reading bytes, unpacked where it begins as a gzip file does.

    Args:
        path: the file.
        expected: what should be there, for the message.

    Returns:
        The bytes, at most `_MAX_GROWTH` times as many as a packed file has (and at least 16 MiB).

    Raises:
        DataError: as for `open_binary`; in the `with` block, the packed file is damaged or grows too much.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "a.gz"
        >>> _ = path.write_bytes(gzip.compress(b"abc"))
        >>> with open_unpacked(path, "three letters") as file:
        ...     file.read()
        b'abc'
    """
    with open_binary(path, expected) as file:
        packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        if not packed:
            yield file
            return

        most = _MAX_GROWTH * os.fstat(file.fileno()).st_size + _ALLOWANCE
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield io.BufferedReader(_Limited(unpacked, most, f"{path}: expected {expected}"), _READ_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path}: expected {expected}, but the gzip file is damaged or cut short ({error})."
            ) from error


class _Limited(io.RawIOBase):
    """Bytes of a packed file, with an error where there are more than a file of its size may hold."""

    def __init__(self, file: Readable, most: int, message: str) -> None:
        self._file = file
        self._most = self._left = most
        self._message = message

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        self._left -= len(content)

        if self._left < 0:
            raise DataError(
                f"{self._message} of at most {self._most} bytes ({_MAX_GROWTH} for each byte of the gzip file), but "
                "there are more."
            )

        buffer[: len(content)] = content
        return len(content)


def _check_kind(path: Path, found: os.stat_result, expected: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        why = _KINDS.get(stat.S_IFMT(found.st_mode), "this is no regular file")
        raise DataError(f"{path}: expected {expected}, but {why}.")


def _too_large(path: Path, expected: str, max_bytes: int) -> DataError:
    return DataError(f"{path}: expected {expected} of at most {max_bytes} bytes, but it is larger.")


@contextmanager
def decoding(path: Path, expected: str) -> Iterator[None]:
    """Turns whatever a library raises on damaged bytes into one clear error.

    A decoder of another project is free to raise anything: an error of its own, an `IndexError`, a `MemoryError`, or
    the panic of a library in Rust, which is no `Exception`.

    Args:
        path: the file that is decoded inside the block.
        expected: what should be there, for the message.

    Raises:
        DataError: anything was raised but an error of this package or the wish to stop.

    Example:
        >>> with decoding(Path("a.png"), "an image"):
        ...     raise IndexError("index out of range")
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: a.png: expected an image, but it is damaged or of another kind (index...
    """
    try:
        yield
    except (SpikebridgeError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        # the text of an error may hold the address of an open file
        why = re.sub(r"<\S+ name=.*?>", path.name, str(error)) or type(error).__name__
        raise DataError(f"{path}: expected {expected}, but it is damaged or of another kind ({why}).") from error


def fits(shape: tuple[int, ...], num_bytes: int = 1) -> bool:
    """Whether an array that a header declares may be read at all.

    Args:
        shape: declared lengths of the axes.
        num_bytes: bytes a value.

    Returns:
        True where no length is negative and the whole, empty axes counted as 1, is at most 1 GiB.

    Example:
        >>> fits((60000, 28, 28)), fits((0, 2**40)), fits((-1,))
        (True, False, False)
    """
    return min(shape, default=0) >= 0 and prod(max(length, 1) for length in shape) * num_bytes <= MAX_BYTES


def read_at_most(file: Readable, num_bytes: int) -> bytearray:
    """What is left of a file, up to a number of bytes, taking no more memory than is really there.

    Args:
        file: open for reading bytes.
        num_bytes: where to stop.

    Returns:
        The bytes read; fewer than asked where the file ends.

    Example:
        >>> from io import BytesIO
        >>> read_at_most(BytesIO(b"abc"), 2**40)
        bytearray(b'abc')
    """
    content = bytearray()
    while len(content) < num_bytes:
        chunk = file.read(min(_CHUNK_BYTES, num_bytes - len(content)))
        if not chunk:
            break
        content += chunk

    return content


def line_blocks(stream: Stream) -> Iterator[bytes]:
    """Yields complete lines of a stream, all that have arrived at once; a line that is too long is cut.

    Example:
        >>> import io
        >>> list(line_blocks(io.BytesIO(b"1,2,3,1\\n5,6")))
        [b'1,2,3,1\\n', b'5,6']
    """
    left = b""
    source: Any = stream
    read = getattr(source, "read1", source.read)  # what has arrived, without waiting for more

    while block := read(_READ_BYTES):
        whole, newline, rest = (left + block).rpartition(b"\n")
        if newline:
            yield whole + newline
            left = rest
        else:
            left = rest[:_MAX_LINE_BYTES]

    if left:
        yield left
