"""Event files: npz and csv are read and written, N-MNIST `.bin` is read, camera formats through optional packages.

| suffix | content |
|---|---|
| `.npz` | arrays `t` (int64, us), `x`, `y`, `p` (1 is ON), and `width` and `height`, else they are arguments |
| `.csv` | a header `t,x,y,p`, then one event a line; the size of the sensor is an argument |
| `.bin` | 5 bytes an event, as in N-MNIST; the size of the sensor is an argument |
| `.aedat` | AEDAT 3.1, as DVS128 Gesture |
| `.aedat4` | package `aedat` |
| `.es`, `.raw` (EVT2, EVT3) | package `faery` |

All formats are read in chunks, so a file may be larger than memory.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikebridge.data.events.aedat3 import aedat3_events
from spikebridge.data.events.camera_formats import Chunks, aedat4_events, faery_events
from spikebridge.data.events.events import EVENT, REPAIR, Events, check_events, event_errors, make_events
from spikebridge.data.events.nmnist import nmnist_chunks
from spikebridge.data.events.truncation import DecodedSize, find_cut, is_whole_line
from spikebridge.data.io.atomic import write_bytes
from spikebridge.data.io.column import Column, concatenate_chunks
from spikebridge.data.io.npz import array_names, npz_columns, read_npz
from spikebridge.data.io.row_errors import RowErrors
from spikebridge.data.io.safe_open import MAX_BYTES, line_blocks, open_binary
from spikebridge.errors import ConfigError, CutFileError, DataError, ShapeError, did_you_mean

_COLUMNS = ("t", "x", "y", "p")
_HEADER = ",".join(_COLUMNS)


class EventFile(NamedTuple):
    """Events of a file, the size of the sensor, and how many were dropped or sorted."""

    events: Events
    height: int
    width: int
    num_outside: int
    num_negative: int
    num_backward: int


class BufferedEvents(NamedTuple):
    """The same as columns, buffered in a temporary file where they are long; `on` is True for ON."""

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
    path: Path,
    height: int | None = None,
    width: int | None = None,
    repair: bool = False,
    allow_truncated: bool = False,
) -> EventFile:
    """Reads all events of a file into memory; the suffix decides the format.

    Args:
        path: the file.
        height: rows of the sensor; needed where the file does not hold it.
        width: columns of the sensor.
        repair: drop events outside the sensor or before time 0, and sort the rest by time.
        allow_truncated: only warn of a file that ends inside a packet, and take the whole events before.

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
    chunks, height, width = _open_chunks(path, height, width, allow_truncated)
    whole = [np.empty(0, EVENT)]
    size = 0

    for chunk in chunks:
        whole.append(chunk)
        size += chunk.nbytes
        if size > MAX_BYTES:
            raise DataError(f"{path}: expected events of at most {MAX_BYTES} bytes in memory, but there are more.")

    try:
        checked = check_events(np.concatenate(whole), height, width, repair)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error

    return EventFile(checked.events, height, width, checked.num_outside, checked.num_negative, checked.num_backward)


def buffer_events(
    path: Path,
    height: int | None = None,
    width: int | None = None,
    repair: bool = False,
    allow_truncated: bool = False,
) -> BufferedEvents:
    """Reads events that may be longer than memory. With `repair` they must fit into memory, to be sorted.

    Args:
        path: the file.
        height: rows of the sensor; needed where the file does not hold it.
        width: columns of the sensor.
        repair: as above.
        allow_truncated: as above.

    Raises:
        DataError: as above, or the disk is full.
        ConfigError: as above.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "two.csv"
        >>> _ = path.write_text("t,x,y,p\\n10,3,4,1\\n20,5,6,0\\n")
        >>> buffer_events(path, height=8, width=8).x.tolist()
        [3, 5]
    """
    if repair:
        found = read_events(path, height, width, repair, allow_truncated)
        chunks = iter([found.events])
        repaired = found[1:]
    else:
        chunks, height, width = _open_chunks(path, height, width, allow_truncated)
        chunks = _check_chunks(path, chunks, height, width)
        repaired = (height, width, 0, 0, 0)

    columns = concatenate_chunks(
        ({"t": chunk["t"], "x": chunk["x"], "y": chunk["y"], "on": chunk["p"]} for chunk in chunks),
        {"t": np.int64, "x": np.uint16, "y": np.uint16, "on": np.bool_},
    )
    return BufferedEvents(columns["t"], columns["x"], columns["y"], columns["on"], *repaired)


def write_events(path: Path, events: Events, height: int, width: int) -> None:
    """Write events as npz or csv, in whole or not at all.

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
    if path.suffix not in (".npz", ".csv"):
        raise ConfigError(f"events are written as .npz or .csv, but got {path.suffix!r}.")

    check_events(events, height, width)
    content = io.BytesIO()

    if path.suffix == ".npz":
        t, x, y, p = (events[name] for name in _COLUMNS)
        np.savez(content, t=t, x=x, y=y, p=p, width=np.int64(width), height=np.int64(height))
    else:
        table = np.stack([events[name].astype(np.int64) for name in _COLUMNS], axis=1)
        np.savetxt(content, table, fmt="%d", delimiter=",", header=_HEADER, comments="")

    write_bytes(path, content.getvalue())


_Sensor = tuple[int, int] | None
_Reader = Callable[[Path, int | None, int | None, bool], tuple[Chunks, _Sensor]]


def _open_chunks(
    path: Path, height: int | None, width: int | None, allow_truncated: bool
) -> tuple[Iterator[Events], int, int]:
    """The events of a file in chunks, unchecked, and rows and columns of the sensor."""
    if path.suffix not in _READERS:
        raise DataError(f"{path}: no reader for events in {path.suffix!r}; {did_you_mean(path.suffix, _READERS)}")

    chunks, sensor = _READERS[path.suffix](path, height, width, allow_truncated)
    if sensor is None:
        if height is None or width is None:
            raise ConfigError(f"{path}: a {path.suffix} file does not hold its sensor size; give height and width.")
        sensor = height, width

    for name, given, own in (("height", height, sensor[0]), ("width", width, sensor[1])):
        if given is not None and given != own:
            raise DataError(f"{path}: expected a sensor of {name} {given}, but the file says {own}.")

    return _check_end(path, _to_events(path, chunks), allow_truncated), *sensor


def _check_end(path: Path, chunks: Iterator[Events], allow_truncated: bool) -> Iterator[Events]:
    """The chunks, and then an error, or a warning where it is allowed, if the file ends inside a packet."""
    decoded = DecodedSize()
    failure = None

    try:
        for chunk in chunks:
            decoded = decoded.with_times(chunk["t"])
            yield chunk
    except DataError as error:
        failure = error

    cut = failure.inside if isinstance(failure, CutFileError) else find_cut(path, decoded)
    if failure is not None and (cut is None or path.suffix not in _CUT_ENDS_READING):
        raise failure
    if cut is None:
        return

    last = "" if decoded.last_us is None else f", the last at {decoded.last_us} us,"
    found = f"{path}: expected a whole {path.suffix} file, but it ends inside {cut}; {decoded.num_events} events{last}"
    if not allow_truncated:
        raise DataError(f"{found} are whole. Take the whole file, or accept this (--allow-truncated).") from failure

    warnings.warn(f"{found} are taken.", stacklevel=2)


def _npz(path: Path, height: int | None, width: int | None, allow_truncated: bool) -> tuple[Chunks, _Sensor]:
    chunks: Chunks = ((p["t"], p["x"], p["y"], p["p"]) for p in npz_columns(path, _COLUMNS))
    if not {"height", "width"} & {*array_names(path)}:
        return chunks, None

    sensor = []
    for name, number in read_npz(path, ("height", "width")).items():
        if number.size != 1 or number.dtype.kind not in "iu" or not 1 <= number.item() <= 2**16:
            raise DataError(f"{path}, {name}: expected one whole number from 1 to {2**16}, but got {number!r}.")
        sensor.append(int(number.item()))

    return chunks, (sensor[0], sensor[1])


def _csv_chunks(path: Path, allow_truncated: bool) -> Chunks:
    with open_binary(path, f"a csv file that begins with {_HEADER}") as file:
        first = file.readline(1000).decode("utf-8-sig", errors="replace").strip()  # spreadsheets write the mark
        if first.replace(" ", "") != _HEADER:
            raise DataError(f"{path}, byte 0: expected the line {_HEADER!r}, but found {first!r:.60}.")

        line = 2
        for block in line_blocks(file):
            where = f"{path}, from line {line} on"
            line += block.count(b"\n")
            if allow_truncated and not block.endswith(b"\n"):
                whole, newline, last = block.rpartition(b"\n")
                block = block if is_whole_line(last) else whole + newline

            if not block.strip():
                continue

            try:
                table = np.loadtxt(io.BytesIO(block), np.int64, delimiter=",", ndmin=2, comments=None, encoding="ascii")
            except (ValueError, OverflowError, UnicodeDecodeError) as error:
                why = str(error).partition(";")[0]  # the rest is advice on options of numpy
                raise DataError(f"{where}: expected 4 whole numbers {_HEADER} a line, but {why}") from error

            if table.shape[1] != len(_COLUMNS):
                raise DataError(f"{where}: expected 4 whole numbers {_HEADER} a line, but there are {table.shape[1]}.")

            t, x, y, p = table.T
            yield t, x, y, p


_READERS: dict[str, _Reader] = {
    ".npz": _npz,
    ".csv": lambda path, height, width, allow: (_csv_chunks(path, allow), None),
    ".bin": lambda path, height, width, allow: (
        ((c["t"], c["x"], c["y"], c["p"]) for c in nmnist_chunks(path, allow)),
        None,
    ),
    ".aedat": lambda path, height, width, allow: aedat3_events(path),
    ".aedat4": lambda path, height, width, allow: aedat4_events(path),
    ".es": lambda path, height, width, allow: faery_events(path, height, width),
    ".raw": lambda path, height, width, allow: faery_events(path, height, width),
}
_CUT_ENDS_READING = (
    ".aedat",
    ".aedat4",
)  # their readers fail at the end of a cut file; another failure is of another kind
EVENT_SUFFIXES = tuple(_READERS)


def _to_events(path: Path, chunks: Chunks) -> Iterator[Events]:
    first = 0
    for chunk in chunks:
        try:
            events = make_events(*chunk)
        except (DataError, ShapeError) as error:
            where = f", from event {first} on" if first else ""
            raise DataError(f"{path}{where}: {error}") from error

        first += len(events)
        yield events


def _check_chunks(path: Path, chunks: Iterator[Events], height: int, width: int) -> Iterator[Events]:
    errors = RowErrors()
    last = -(2**63)
    for chunk in chunks:
        errors = errors.with_rows(event_errors(chunk, height, width, last))
        last = int(chunk["t"][-1]) if len(chunk) else last
        yield chunk

    if errors:
        raise DataError(f"{path}: {errors}. {REPAIR}")
