"""Opens files of unknown origin: the size is checked first, and every failure is one clear `DataError`."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

from spikebridge.errors import DataError

MAX_BYTES = 2**30
_CHUNK_BYTES = 2**20
_READ_BYTES = 2**18
_MAX_LINE_BYTES = 4096
Stream: TypeAlias = io.IOBase | BinaryIO


@runtime_checkable
class Readable(Protocol):
    """Anything that gives bytes: a file, or a member of an archive."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


@contextmanager
def open_binary(path: Path, expected: str) -> Iterator[BinaryIO]:
    """A file opened for reading bytes.

    Args:
        path: the file.
        expected: what should be there, for the message ("an idx file").

    Returns:
        The open file, closed at the end of the `with` block.

    Raises:
        DataError: there is no such file, it is a folder, it is empty, or it may not be read.

    Example:
        >>> with open_binary(Path("no_such_file"), "an idx file") as file:
        ...     file.read()
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: no_such_file: expected an idx file, but there is no such file.
    """
    if path.is_dir():
        raise DataError(f"{path}: expected {expected}, but this is a folder.")
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path}: expected {expected}, but there is no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: expected {expected}, but it cannot be read ({error.strerror}).") from error
    with file:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: expected {expected}, but the file is empty.")
        yield file


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
