"""The one way to open a file of unknown origin for reading: every failure is one clear `DataError`.

Only regular files are read. The kind of a file is checked before it is opened, since opening a pipe waits for a
writer and opening a device may act on it; its size is checked before it is read. `open_binary` gives the open file,
`read_bytes` and `read_text` its content, and `checked_file` the path for a library that opens a file by its name.

`expected` names the expected content, for messages: "an idx file".
"""

import gzip
import io
import os
import re
import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

from spikebridge.errors import DataError, SpikebridgeError

MAX_BYTES = 2**30
_MAX_GROWTH = 200  # bytes of content per byte of a gzip file; JSON and images of digits grow four- to twentyfold
_ALLOWANCE = 2**24  # bytes that any gzip file may become
_CHUNK_BYTES = 2**20
_READ_BYTES = 2**18
_MAX_LINE_BYTES = 4096
_GZIP_MAGIC = b"\x1f\x8b"
# a pipe that replaces the file between check and opening does not block; Windows knows neither flag
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
    """A source of bytes: a file, or a member of an archive."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


@contextmanager
def open_binary(path: Path, expected: str, max_bytes: int | None = None) -> Iterator[BinaryIO]:
    """A file open for reading bytes, of at most `max_bytes` bytes; None is for a reader that takes a part at a time."""
    try:
        _check_kind(path, path.stat(), expected)
        file = open(path, "rb", opener=lambda name, _: os.open(name, _FLAGS))  # noqa: SIM115 - closed below
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: expected {expected}, but there is no such file.") from None
    except (OSError, ValueError) as error:
        # a name with a zero byte is a ValueError
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: expected {expected}, but it cannot be read ({why}).") from error

    with file:
        # once more: the file may have been replaced since the first check
        status = os.fstat(file.fileno())
        _check_kind(path, status, expected)
        if status.st_size == 0:
            raise DataError(f"{path}: expected {expected}, but the file is empty.")
        if max_bytes is not None and status.st_size > max_bytes:
            raise _too_large(path, expected, max_bytes)
        yield file


def read_bytes(path: Path, expected: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file."""
    with open_binary(path, expected, max_bytes) as file:
        # a file may grow while it is read
        content = bytes(read_at_most(file, max_bytes + 1))

    if len(content) > max_bytes:
        raise _too_large(path, expected, max_bytes)

    return content


def read_text(path: Path, expected: str, max_bytes: int = MAX_BYTES) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark."""
    try:
        return read_bytes(path, expected, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, byte {error.start}: expected {expected} in UTF-8, but got {error.reason}.") from None


def read_lines(path: Path, expected: str, max_bytes: int = MAX_BYTES) -> list[str]:
    """The lines of a table in a text file, at least one; a warning if the last number may be cut."""
    text = read_text(path, expected, max_bytes)
    # a file that was cut between two digits looks whole
    if text[-1:].isdigit() and "\n" in text:
        warnings.warn(
            f"{path}: the last line has no end of line; was the file cut? Its last number may be too short",
            stacklevel=3,
        )

    # `splitlines` would also end a line at characters such as a vertical tab
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def checked_file(path: Path, expected: str) -> Path:
    """The path of a file that may be opened, for a library that opens it by its name."""
    with open_binary(path, expected):
        return path


@contextmanager
def open_unpacked(path: Path, expected: str) -> Iterator[Readable]:
    """A file open for reading bytes, unpacked if it begins as a gzip file does.

    A packed file may grow `_MAX_GROWTH` times, and to 16 MiB in any case; beyond that the reader gets a `DataError`.
    """
    with open_binary(path, expected) as file:
        packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        if not packed:
            yield file
            return

        max_bytes = _MAX_GROWTH * os.fstat(file.fileno()).st_size + _ALLOWANCE
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield io.BufferedReader(_Limited(unpacked, max_bytes, f"{path}: expected {expected}"), _READ_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: expected {expected}, but the gzip file is damaged or cut ({error}).") from error


class _Limited(io.RawIOBase):
    """Bytes of a packed file, with an error past the largest size."""

    def __init__(self, file: Readable, max_bytes: int, message: str) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._remaining = max_bytes
        self._message = message

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        self._remaining -= len(content)
        if self._remaining < 0:
            limit = f"{self._max_bytes} bytes, {_MAX_GROWTH} for each byte of the gzip file"
            raise DataError(f"{self._message} of at most {limit}, but there are more.")

        buffer[: len(content)] = content
        return len(content)


def _check_kind(path: Path, status: os.stat_result, expected: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        why = _KINDS.get(stat.S_IFMT(status.st_mode), "this is no regular file")
        raise DataError(f"{path}: expected {expected}, but {why}.")


def _too_large(path: Path, expected: str, max_bytes: int) -> DataError:
    return DataError(f"{path}: expected {expected} of at most {max_bytes} bytes, but it is larger.")


@contextmanager
def decoding(path: Path, expected: str) -> Iterator[None]:
    """Turns whatever a library raises on damaged bytes into one `DataError`.

    A decoder of another project may raise anything: an error of its own, an `IndexError`, a `MemoryError`, or the panic
    of a library in Rust, which is no `Exception`. Errors of this package and the wish to stop pass unchanged.
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
    """True if an array of a declared shape has no negative length and at most 1 GiB, with empty axes counted as 1."""
    return min(shape, default=0) >= 0 and prod(max(length, 1) for length in shape) * num_bytes <= MAX_BYTES


def read_at_most(file: Readable, num_bytes: int) -> bytearray:
    """The rest of a file up to a number of bytes, in no more memory than its real content needs."""
    content = bytearray()
    while len(content) < num_bytes:
        chunk = file.read(min(_CHUNK_BYTES, num_bytes - len(content)))
        if not chunk:
            break
        content += chunk

    return content


def line_blocks(stream: Stream) -> Iterator[bytes]:
    """Yields the complete lines of a stream, all that have arrived in one block; a line that is too long is cut."""
    unfinished = b""
    source: Any = stream
    # `read1` does not wait for more than has arrived
    read = getattr(source, "read1", source.read)

    while block := read(_READ_BYTES):
        lines, newline, rest = (unfinished + block).rpartition(b"\n")
        if newline:
            yield lines + newline
            unfinished = rest
        else:
            unfinished = rest[:_MAX_LINE_BYTES]

    if unfinished:
        yield unfinished
