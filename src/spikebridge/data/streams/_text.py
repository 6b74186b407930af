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
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeAlias

import numpy as np

from spikebridge.data.events.events import Events, make_events
from spikebridge.data.io.images import read_grey
from spikebridge.data.io.number_text import parse_integer, parse_port
from spikebridge.data.io.safe_open import Stream, line_blocks
from spikebridge.data.streams.binner import EventBinner, FrameFeed
from spikebridge.errors import ConfigError, DataError, ShapeError

_FRAME = b"frame,"
_Feed: TypeAlias = EventBinner | FrameFeed


def start_line_reader(stream: Stream, feed: _Feed) -> threading.Thread:
    """Starts a thread that reads lines into a stream until they end."""
    return _in_background(lambda: _read(stream, feed))


def start_socket_reader(
    port: int, feed: _Feed, reconnect: bool = False, report: Callable[[str], None] = lambda line: None
) -> threading.Thread:
    """Starts a thread that waits for one sender on a port of this machine and reads its lines into a stream.

    With `reconnect` it waits for the next sender after each; `report` is called with the start and length of each gap.
    """
    parse_port(port)
    try:
        server = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(f"port {port} of this machine is not available ({error}); choose another one") from error

    def listen() -> None:
        ended: float | None = None
        with server:
            while ended is None or reconnect:
                connection, _ = server.accept()
                if ended is not None:
                    gap = monotonic() - ended
                    feed.resume(gap)
                    report(f"a sender on port {port} is back after {gap:.1f} s")

                with connection, connection.makefile("rb") as lines:
                    _read_lines(lines, feed)

                ended = monotonic()
                if reconnect:
                    report(f"the sender on port {port} is gone; waiting for it (--no-reconnect ends with it)")

        feed.end()

    return _in_background(listen)


def _in_background(read: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=read, name="event lines", daemon=True)
    thread.start()
    return thread


def _read(stream: Stream, feed: _Feed) -> None:
    try:
        _read_lines(stream, feed)
    finally:
        feed.end()


def _read_lines(stream: Stream, feed: _Feed) -> None:
    try:
        for block in line_blocks(stream):
            feed_lines(block, feed)
    except OSError as error:
        feed.count_bad(1, f"the stream broke off ({error})")


def feed_lines(block: bytes, feed: _Feed) -> None:
    """Parses a block of complete lines and adds its events and frames to a stream."""
    events: list[bytes] = []
    for line in block.splitlines():
        if line.startswith(_FRAME):
            _add_events(events, feed)
            events = []
            _add_frame(line, feed)
        elif line.strip():
            events.append(line)

    _add_events(events, feed)


def _add_events(lines: list[bytes], feed: _Feed) -> None:
    if not lines:
        return

    try:
        feed.add(_parse_events(lines))
    except (ValueError, OverflowError, UnicodeDecodeError, DataError, ShapeError):
        # one of the lines is bad: each is parsed by itself
        events = np.concatenate([_parse_line(line, feed) for line in lines])
        if len(events):
            feed.add(events)


def _parse_events(lines: list[bytes]) -> Events:
    table = np.loadtxt(io.BytesIO(b"\n".join(lines)), np.int64, delimiter=",", ndmin=2, comments=None, encoding="ascii")
    if table.shape[1] != 4 or (table[:, 0] < 0).any():
        raise ValueError("expected t,x,y,p")
    return make_events(*table.T)


def _parse_line(line: bytes, feed: _Feed) -> Events:
    try:
        return _parse_events([line])
    except (ValueError, OverflowError, UnicodeDecodeError, DataError, ShapeError):
        words = line[:60].decode("ascii", errors="replace")
        feed.count_bad(1, f"the line {words!r}, which is neither t,x,y,p nor frame,t,PATH")
        return make_events([], [], [], [])


def _add_frame(line: bytes, feed: _Feed) -> None:
    _, time, path = line.split(b",", 2) if line.count(b",") >= 2 else (b"", b"", b"")
    try:
        feed.add_frame(parse_integer(time.decode()), partial(read_grey, Path(path.decode().strip())))
    except (ValueError, OSError) as error:
        feed.count_bad(1, f"the frame {path.decode(errors='replace')!r} ({error})")
