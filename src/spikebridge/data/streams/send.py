"""Sends a recording as a live stream of text lines at its own speed, as a camera program would."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spikebridge.data.events.files import event_files, read_events
from spikebridge.data.io.images import ImageFiles
from spikebridge.data.io.number_text import parse_port
from spikebridge.data.recordings.folder import read_frames
from spikebridge.errors import ConfigError, DataError

_TIMEOUT = 60.0  # seconds to wait for a receiver
_TICK = 0.005  # seconds of events that are sent at once


class _Lines(NamedTuple):
    """Lines that are due at a time [us]."""

    time: int
    frames: bytes
    events: bytes


def send_recording(
    folder: Path,
    events_to: str,
    frames_to: str | None = None,
    speed: float = 1.0,
    output: Any = None,
    report: Callable[[str], None] = lambda line: None,
) -> int:
    """Sends events and frames of a recording folder; returns the number of lines.

    A receiver is `-` for the binary file `output`, or `tcp:PORT` for a program on this machine that waits there for a
    sender. Without `frames_to` frames are sent between the events. `report` is called with a message while the sender
    waits for a receiver.
    """
    if not 0 < speed < float("inf"):
        raise ConfigError(f"speed is a number above 0, but got {speed}")

    lines = list(_due_lines(folder))
    with ExitStack() as stack:
        events = _receiver(events_to, stack, output, report)
        frames = events if frames_to is None else _receiver(frames_to, stack, output, report)
        start = time.monotonic()
        count = 0

        for due in lines:
            time.sleep(max(0.0, start + (due.time - lines[0].time) * 1e-6 / speed - time.monotonic()))
            for file, content in ((frames, due.frames), (events, due.events)):
                if content:
                    file.write(content)
                    file.flush()
                    count += content.count(b"\n")

    return count


def _due_lines(folder: Path) -> Iterator[_Lines]:
    """Yields events and frames of a folder, some milliseconds at a time; a frame comes before the events after it."""
    paths = event_files(folder)
    if not paths:
        raise DataError(f"{folder}: expected the folder of a recording with a file of events, but there is none")

    path = paths[0]
    events = read_events(path).events
    images, frame_times = read_frames(folder, path)
    if not isinstance(images, ImageFiles):
        raise DataError(f"{folder}: expected frames.csv and frames/: lines name image files, and {path.name} has none")

    names = [str(file.resolve()) for file in images.paths]
    last = max(int(events["t"][-1]) if len(events) else 0, int(frame_times[-1]))
    # a batch ends where a frame is due
    edges = np.union1d(np.arange(0, last + 2, round(_TICK * 1e6)), frame_times)
    cuts = np.append(np.searchsorted(events["t"], edges), len(events))
    frame_of = dict(zip(frame_times.tolist(), names, strict=True))

    for start, stop, edge in zip(cuts[:-1].tolist(), cuts[1:].tolist(), edges.tolist(), strict=True):
        frame = f"frame,{edge},{frame_of[edge]}\n".encode() if edge in frame_of else b""
        rows = events[start:stop]
        columns = (rows[name].astype(int).tolist() for name in ("t", "x", "y", "p"))
        yield _Lines(edge, frame, "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in zip(*columns, strict=True)).encode())


def _receiver(word: str, stack: ExitStack, output: Any, report: Callable[[str], None]) -> Any:
    """The file of a receiver."""
    if word == "-":
        if output is None:
            raise ConfigError("there is no standard output to write lines to")
        return output

    if not word.startswith("tcp:"):
        raise ConfigError(f"a receiver is - or tcp:PORT, such as tcp:5000, but got {word!r}")

    port = parse_port(word.removeprefix("tcp:"), "tcp:PORT")
    deadline = time.monotonic() + _TIMEOUT
    is_reported = False

    while True:
        try:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            return stack.enter_context(connection.makefile("wb"))
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConfigError(f"no program answers on port {port} of this machine ({error})") from None

        if not is_reported:
            report(f"waiting for a receiver on port {port}")

        is_reported = True
        time.sleep(0.1)
