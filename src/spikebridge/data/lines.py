"""Whole lines of a stream, as many at once as one reading gives."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

Stream: TypeAlias = io.IOBase | BinaryIO
_AT_ONCE = 2**18  # bytes
_MOST_OF_A_LINE = 4096


def blocks(stream: Stream) -> Iterator[bytes]:
    """Whole lines of a stream, as many at once as have arrived; a line without an end is cut.

    Example:
        >>> import io
        >>> list(blocks(io.BytesIO(b"1,2,3,1\\n5,6")))
        [b'1,2,3,1\\n', b'5,6']
    """
    left = b""
    source: Any = stream
    read = getattr(source, "read1", source.read)  # what has arrived, without waiting for more
    while block := read(_AT_ONCE):
        whole, newline, rest = (left + block).rpartition(b"\n")
        if newline:
            yield whole + newline
            left = rest
        else:
            left = rest[:_MOST_OF_A_LINE]
    if left:
        yield left
