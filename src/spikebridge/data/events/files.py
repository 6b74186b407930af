"""Event files: the table of formats, reading and writing.

| suffix | content |
|---|---|
| `.npz` | arrays `t` (int64, us), `x`, `y`, `p` (1 is ON), and `width` and `height`, else they are arguments |
| `.csv` | a header `t,x,y,p`, then one event a line; the size of the sensor is an argument |
| `.bin` | 5 bytes an event, as in N-MNIST; the size of the sensor is an argument |
| `.aedat` | AEDAT 3.1, as DVS128 Gesture |
| `.aedat4` | package `aedat` |
| `.es`, `.raw` (EVT2, EVT3) | package `faery` |

All formats are read in chunks, so a file may be larger than memory. A file that ends between two packets looks complete
in every format; its number of events and last time tell.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikebridge.data.events.events import EVENT, REPAIR, Events, check_events, event_errors, make_events
from spikebridge.data.events.formats.aedat3 import aedat3_events
from spikebridge.data.events.formats.aedat4 import aedat4_cut, aedat4_events, aedat4_frames
from spikebridge.data.events.formats.csv import csv_content, csv_cut, csv_events
from spikebridge.data.events.formats.event_format import (
    Chunks,
    DecodedSize,
    EventFormat,
    FramesReader,
    ReadOptions,
    Sensor,
)
from spikebridge.data.events.formats.faery import es_cut, es_events, raw_cut, raw_events
from spikebridge.data.events.formats.nmnist import nmnist_cut, nmnist_events
from spikebridge.data.events.formats.npz import npz_content, npz_events
from spikebridge.data.io.atomic import write_bytes
from spikebridge.data.io.column import Column, concatenate_chunks
from spikebridge.data.io.row_errors import RowErrors
from spikebridge.data.io.safe_open import MAX_BYTES, open_binary
from spikebridge.errors import ConfigError, CutFileError, DataError, ShapeError, did_you_mean

EVENT_FORMATS = {
    ".npz": EventFormat(npz_events, write=npz_content),
    ".csv": EventFormat(csv_events, csv_cut, write=csv_content),
    ".bin": EventFormat(nmnist_events, nmnist_cut),
    ".aedat": EventFormat(aedat3_events, fails_when_cut=True),
    ".aedat4": EventFormat(aedat4_events, aedat4_cut, fails_when_cut=True, read_frames=aedat4_frames),
    ".es": EventFormat(es_events, es_cut),
    ".raw": EventFormat(raw_events, raw_cut),
}


class EventFile(NamedTuple):
    """Events of a file, the size of the sensor, and the number of events that were dropped or sorted."""

    events: Events
    height: int
    width: int
    num_outside: int
    num_negative: int
    num_backward: int


class BufferedEvents(NamedTuple):
    """The same as columns, in a temporary file if they are long; `on` is True for ON."""

    t: Column
    x: Column
    y: Column
    on: Column
    height: int
    width: int
    num_outside: int
    num_negative: int
    num_backward: int


def read_events(
    path: Path, height: int | None = None, width: int | None = None, repair: bool = False, allow_truncated: bool = False
) -> EventFile:
    """Reads all events of a file into memory; the suffix decides the format.

    Args:
        path: a file of one of the formats above.
        height: rows of the sensor; needed if the file does not hold it.
        width: columns of the sensor.
        repair: drop events outside the sensor or before time 0, and sort the rest by time.
        allow_truncated: warn of a file that ends inside a packet, and take the complete events before.

    Returns:
        Events sorted by time and on the sensor.

    Raises:
        DataError: the file is missing, damaged, cut, too long or of an unknown kind, holds impossible events, or
            another sensor size than the given one.
        ConfigError: the sensor is not known, or an optional package is missing; the message names it.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "two.csv"
        >>> _ = path.write_text("t,x,y,p\\n10,3,4,1\\n20,5,6,0\\n")
        >>> read_events(path, height=8, width=8).events.tolist()
        [(10, 3, 4, True), (20, 5, 6, False)]
    """
    chunks, height, width = _open_chunks(path, ReadOptions(height, width, allow_truncated))
    parts = [np.empty(0, EVENT)]
    size = 0

    # counted while it is read: no header says the number of events
    for chunk in chunks:
        parts.append(chunk)
        size += chunk.nbytes
        if size > MAX_BYTES:
            raise DataError(f"{path}: expected events of at most {MAX_BYTES} bytes in memory, but there are more.")

    try:
        checked = check_events(np.concatenate(parts), height, width, repair)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error

    return EventFile(checked.events, height, width, checked.num_outside, checked.num_negative, checked.num_backward)


def buffer_events(
    path: Path, height: int | None = None, width: int | None = None, repair: bool = False, allow_truncated: bool = False
) -> BufferedEvents:
    """Reads events that may be longer than memory; see `read_events`. Repaired ones have to fit, to be sorted."""
    if repair:
        repaired = read_events(path, height, width, repair, allow_truncated)
        chunks = iter([repaired.events])
        properties = repaired[1:]
    else:
        chunks, height, width = _open_chunks(path, ReadOptions(height, width, allow_truncated))
        chunks = _check_chunks(path, chunks, height, width)
        properties = (height, width, 0, 0, 0)

    columns = concatenate_chunks(
        ({"t": chunk["t"], "x": chunk["x"], "y": chunk["y"], "on": chunk["p"]} for chunk in chunks),
        {"t": np.int64, "x": np.uint16, "y": np.uint16, "on": np.bool_},
    )
    return BufferedEvents(columns["t"], columns["x"], columns["y"], columns["on"], *properties)


def write_events(path: Path, events: Events, height: int, width: int) -> None:
    """Writes events as npz or csv: a complete file or none.

    Args:
        path: the file to write; its suffix is `.npz` or `.csv`.
        events: sorted by time, on the sensor.
        height: rows of the sensor.
        width: columns of the sensor.

    Raises:
        DataError: events are outside the sensor or not in order.
        ConfigError: the suffix is another one.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "one.csv"
        >>> write_events(path, make_events(t=[10], x=[3], y=[4], p=[1]), height=8, width=8)
        >>> path.read_text()
        't,x,y,p\\n10,3,4,1\\n'
    """
    writers = {suffix: one.write for suffix, one in EVENT_FORMATS.items() if one.write is not None}
    if path.suffix not in writers:
        raise ConfigError(f"events are written as {' or '.join(writers)}, but got {path.suffix!r}.")

    check_events(events, height, width)
    write_bytes(path, writers[path.suffix](events, height, width))


def event_files(folder: Path) -> list[Path]:
    """The files of events of a recording's folder."""
    return [path for suffix in EVENT_FORMATS if (path := folder / f"events{suffix}").exists()]


def frames_reader(path: Path) -> FramesReader | None:
    """The reader of the frames in an event file; None for a format without frames."""
    event_format = EVENT_FORMATS.get(path.suffix)
    return None if event_format is None else event_format.read_frames


def find_cut(path: Path, decoded: DecodedSize) -> str | None:
    """The packet inside of which a file ends after all decoded events, in words; None at a complete end."""
    cut_in = EVENT_FORMATS[path.suffix].find_cut
    if cut_in is None:
        return None

    with open_binary(path, "a file of events") as file:
        return cut_in(file, os.fstat(file.fileno()).st_size, decoded)


def _open_chunks(path: Path, options: ReadOptions) -> tuple[Iterator[Events], int, int]:
    """The events of a file in chunks, unchecked, and rows and columns of the sensor."""
    if path.suffix not in EVENT_FORMATS:
        raise DataError(f"{path}: no reader for events in {path.suffix!r}; {did_you_mean(path.suffix, EVENT_FORMATS)}")

    chunks, sensor = EVENT_FORMATS[path.suffix].read(path, options)
    height, width = _sensor_size(path, sensor, options)

    return _check_end(path, _to_events(path, chunks), options.allow_truncated), height, width


def _sensor_size(path: Path, sensor: Sensor | None, options: ReadOptions) -> Sensor:
    if sensor is None:
        if options.height is None or options.width is None:
            raise ConfigError(
                f"{path}: a {path.suffix} file does not hold its sensor size; "
                "give height and width (--sensor WxH of `live`)."
            )
        return options.height, options.width

    for name, given, stored in (("height", options.height, sensor[0]), ("width", options.width, sensor[1])):
        if given is not None and given != stored:
            raise DataError(f"{path}: expected a sensor of {name} {given}, but the file says {stored}.")

    return sensor


def _to_events(path: Path, chunks: Chunks) -> Iterator[Events]:
    first = 0
    for columns in chunks:
        try:
            events = make_events(*columns)
        except (DataError, ShapeError) as error:
            where = f", from event {first} on" if first else ""
            raise DataError(f"{path}{where}: {error}") from error

        first += len(events)
        yield events


def _check_end(path: Path, chunks: Iterator[Events], allow_truncated: bool) -> Iterator[Events]:
    """Yields the chunks, then raises if the file ends inside a packet, or warns if that is allowed."""
    decoded = DecodedSize()
    failure = None

    try:
        for chunk in chunks:
            decoded = decoded.with_times(chunk["t"])
            yield chunk
    except DataError as error:
        failure = error

    # an unfinished packet explains a failure at the end of some readers; any other failure is damage
    cut = failure.inside if isinstance(failure, CutFileError) else find_cut(path, decoded)
    if failure is not None and (cut is None or not EVENT_FORMATS[path.suffix].fails_when_cut):
        raise failure
    if cut is None:
        return

    last = "" if decoded.last_us is None else f", the last at {decoded.last_us} us,"
    report = f"{path}: expected a whole {path.suffix} file, but it ends inside {cut}; {decoded.num_events} events{last}"
    if not allow_truncated:
        raise DataError(f"{report} are whole. Take the whole file, or accept this (--allow-truncated).") from failure

    warnings.warn(f"{report} are taken.", stacklevel=2)


def _check_chunks(path: Path, chunks: Iterator[Events], height: int, width: int) -> Iterator[Events]:
    """Yields the chunks, then raises if any event was impossible."""
    errors = RowErrors()
    last = -(2**63)
    for chunk in chunks:
        errors = errors.with_rows(event_errors(chunk, height, width, last))
        last = int(chunk["t"][-1]) if len(chunk) else last
        yield chunk

    if errors:
        raise DataError(f"{path}: {errors}. {REPAIR}")
