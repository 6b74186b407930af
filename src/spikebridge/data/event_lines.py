"""A live stream of text lines, from a pipe or a socket.

```
t,x,y,p            an event: microseconds, pixel, 1 for ON; in the order of time
frame,t,PATH       a frame: microseconds, and an image file on this machine
```

A line that is neither is counted, and the stream goes on.
"""

import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.arriving import Arriving
from spikebridge.data.events import Events, make_events
from spikebridge.data.image_files import ImageFiles
from spikebridge.errors import ConfigError, DataError, ShapeError

BLOCK = 2**18  # bytes that are read at most at once
MOST_OF_A_LINE = 4096
_FRAME = b"frame,"
Stream: TypeAlias = io.IOBase | BinaryIO


def follow_lines(stream: Stream, arriving: Arriving) -> threading.Thread:
    """Starts a thread that reads lines into `arriving` until the stream ends.

    Args:
        stream: with `read1`, or a raw one with `read`.
        arriving: is ended with the stream.
    """

    def read() -> None:
        try:
            for block in blocks(stream):
                take_block(block, arriving)
        except OSError as error:
            arriving.bad(1, f"the stream broke off ({error})")
        finally:
            arriving.end()

    thread = threading.Thread(target=read, name="event lines", daemon=True)
    thread.start()
    return thread


def listen(port: int) -> io.BufferedReader:
    """Waits for one sender on a port of this machine, and gives what it sends.

    Args:
        port: 1 to 65535; other machines cannot reach it.

    Raises:
        ConfigError: the port cannot be had.
    """
    try:
        server = socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise ConfigError(f"port {port} of this machine cannot be had ({error}); choose another one") from error
    with server:
        connection, _ = server.accept()
    with connection:  # the file keeps it open
        return connection.makefile("rb")


def blocks(stream: Stream) -> Iterator[bytes]:
    """Whole lines of a stream, as many at once as have arrived; a line without an end is cut.

    Example:
        >>> list(blocks(io.BytesIO(b"1,2,3,1\\n5,6")))
        [b'1,2,3,1\\n', b'5,6']
    """
    left = b""
    source: Any = stream
    read = getattr(source, "read1", source.read)  # what has arrived, without waiting for more
    while block := read(BLOCK):
        whole, newline, rest = (left + block).rpartition(b"\n")
        if newline:
            yield whole + newline
            left = rest
        else:
            left = rest[:MOST_OF_A_LINE]
    if left:
        yield left


def take_block(block: bytes, arriving: Arriving) -> None:
    """Puts the lines of a block into a stream, those without a frame among them at once.

    Args:
        block: whole lines.
        arriving: where they go.
    """
    events: list[bytes] = []
    for line in block.splitlines():
        if line.startswith(_FRAME):
            _take_events(events, arriving)
            events = []
            _take_frame(line, arriving)
        elif line.strip():
            events.append(line)
    _take_events(events, arriving)


def _take_events(lines: list[bytes], arriving: Arriving) -> None:
    if not lines:
        return
    try:
        arriving.add(_events(lines))
    except (ValueError, OverflowError, UnicodeDecodeError, DataError, ShapeError):
        good = [events for line in lines if len(events := _one(line, arriving))]
        if good:
            arriving.add(np.concatenate(good))


def _events(lines: list[bytes]) -> Events:
    table = np.loadtxt(io.BytesIO(b"\n".join(lines)), np.int64, delimiter=",", ndmin=2, comments=None, encoding="ascii")
    if table.shape[1] != 4 or (table[:, 0] < 0).any():
        raise ValueError("expected t,x,y,p")
    return make_events(*table.T)


def _one(line: bytes, arriving: Arriving) -> Events:
    try:
        return _events([line])
    except (ValueError, OverflowError, UnicodeDecodeError, DataError, ShapeError):
        words = line[:60].decode("ascii", errors="replace")
        arriving.bad(1, f"the line {words!r}, which is neither t,x,y,p nor frame,t,PATH")
        return make_events([], [], [], [])


def _take_frame(line: bytes, arriving: Arriving) -> None:
    _, time, path = line.split(b",", 2) if line.count(b",") >= 2 else (b"", b"", b"")
    try:
        arriving.add_frame(int(time), read_frame(Path(path.decode().strip())))
    except (ValueError, OSError) as error:
        arriving.bad(1, f"the frame {path.decode(errors='replace')!r} ({error})")


def read_frame(path: Path) -> NDArray[np.uint8]:
    """An image file as grey levels.

    Raises:
        DataError: there is none, or it is damaged.
    """
    frame: NDArray[np.uint8] = ImageFiles([path])[0]
    return frame
