"""A live stream of text lines, from a pipe or a socket.

```
t,x,y,p            an event: microseconds, pixel, 1 for ON; in the order of time
frame,t,PATH       a frame: microseconds, and an image file on this machine
```

A line of neither form is counted and skipped.
"""

import io
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from spikebridge.data.events.events import Events, make_events
from spikebridge.data.io.images import read_grey
from spikebridge.data.io.safe_open import Stream, blocks
from spikebridge.data.streams.binner import EventBinner, FrameFeed
from spikebridge.errors import ConfigError, DataError, ShapeError

_FRAME = b"frame,"
Feed: TypeAlias = EventBinner | FrameFeed


def follow_lines(stream: Stream, feed: Feed) -> threading.Thread:
    """Starts a thread that reads lines into a stream until they end.

    Args:
        stream: with `read1`, or a raw one with `read`.
        feed: is ended with the lines.
    """
    return _in_background(lambda: _read(stream, feed))


def follow_port(port: int, feed: Feed) -> threading.Thread:
    """Starts a thread that waits for one sender on a port of this machine and reads its lines.

    Args:
        port: 1 to 65535; other machines cannot reach it.
        feed: is ended when the sender closes.

    Raises:
        ConfigError: the port cannot be had.
    """
    if not 1 <= port <= 65535:
        raise ConfigError(f"a port is a number from 1 to 65535, but got {port}")
    try:
        server = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(f"port {port} of this machine cannot be had ({error}); choose another one") from error

    def listen() -> None:
        with server:
            connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            _read(lines, feed)

    return _in_background(listen)


def _in_background(read: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=read, name="event lines", daemon=True)
    thread.start()
    return thread


def _read(stream: Stream, feed: Feed) -> None:
    try:
        for block in blocks(stream):
            take_block(block, feed)
    except OSError as error:
        feed.bad(1, f"the stream broke off ({error})")
    finally:
        feed.end()


def take_block(block: bytes, feed: Feed) -> None:
    """Puts the lines of a block into a stream, those without a frame among them at once.

    Args:
        block: whole lines.
        feed: where they go.
    """
    events: list[bytes] = []
    for line in block.splitlines():
        if line.startswith(_FRAME):
            _take_events(events, feed)
            events = []
            _take_frame(line, feed)
        elif line.strip():
            events.append(line)
    _take_events(events, feed)


def _take_events(lines: list[bytes], feed: Feed) -> None:
    if not lines:
        return
    try:
        feed.add(_events(lines))
    except (ValueError, OverflowError, UnicodeDecodeError, DataError, ShapeError):
        good = [events for line in lines if len(events := _one(line, feed))]
        if good:
            feed.add(np.concatenate(good))


def _events(lines: list[bytes]) -> Events:
    table = np.loadtxt(io.BytesIO(b"\n".join(lines)), np.int64, delimiter=",", ndmin=2, comments=None, encoding="ascii")
    if table.shape[1] != 4 or (table[:, 0] < 0).any():
        raise ValueError("expected t,x,y,p")
    return make_events(*table.T)


def _one(line: bytes, feed: Feed) -> Events:
    try:
        return _events([line])
    except (ValueError, OverflowError, UnicodeDecodeError, DataError, ShapeError):
        words = line[:60].decode("ascii", errors="replace")
        feed.bad(1, f"the line {words!r}, which is neither t,x,y,p nor frame,t,PATH")
        return make_events([], [], [], [])


def _take_frame(line: bytes, feed: Feed) -> None:
    _, time, path = line.split(b",", 2) if line.count(b",") >= 2 else (b"", b"", b"")
    try:
        feed.add_frame(int(time), read_grey(Path(path.decode().strip())))
    except (ValueError, OSError) as error:
        feed.bad(1, f"the frame {path.decode(errors='replace')!r} ({error})")
