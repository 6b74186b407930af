"""Event files: npz and csv are read and written, N-MNIST `.bin` is read, camera formats through optional packages.

| suffix | content |
|---|---|
| `.npz` | arrays `t` (int64, us), `x`, `y`, `p` (1 is ON), and the numbers `width` and `height` |
| `.csv` | a header `t,x,y,p`, then one event a line; the size of the sensor is an argument |
| `.bin` | 5 bytes an event, as in N-MNIST; the size of the sensor is an argument |
| `.aedat4` | package `aedat` |
| `.es`, `.raw` (EVT2, EVT3) | package `faery` |

All formats are read in chunks, so a file may be larger than memory.
"""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikebridge.data.events.camera_formats import Pieces, aedat4_events, faery_events
from spikebridge.data.events.events import EVENT, REPAIR, Events, check_events, event_faults, make_events
from spikebridge.data.events.nmnist import nmnist_pieces
from spikebridge.data.io.column import Column, gather
from spikebridge.data.io.npz import npz_columns, read_npz
from spikebridge.data.io.row_errors import RowErrors
from spikebridge.data.io.safe_open import MOST_BYTES, blocks, opened
from spikebridge.errors import ConfigError, DataError, ShapeError, did_you_mean

_COLUMNS = ("t", "x", "y", "p")
_HEADER = ",".join(_COLUMNS)


class EventFile(NamedTuple):
    """Events of a file, the sensor they come from, and how many had to be repaired."""

    events: Events
    height: int
    width: int
    num_outside: int
    num_negative: int
    num_backward: int


class BufferedEvents(NamedTuple):
    """The same as columns, which lie in a temporary file where they are long: times, pixels, and whether ON."""

    t: Column
    x: Column
    y: Column
    on: Column
    height: int
    width: int
    num_outside: int
    num_negative: int
    num_backward: int


def read_events(path: Path, height: int | None = None, width: int | None = None, repair: bool = False) -> EventFile:
    """The events of a file, of whatever kind its suffix names, all of them in memory.

    Args:
        path: the file.
        height: rows of the sensor; needed where the file does not tell.
        width: columns of the sensor.
        repair: drop events outside the sensor or before time 0, and sort the rest by time.

    Returns:
        Events sorted by time and on the sensor.

    Raises:
        DataError: the file is missing, damaged, too long or of an unknown kind, holds events that cannot be, or tells
            another sensor than was given.
        ConfigError: the sensor is not known, or an optional package is missing; the message names it.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "two.csv"
        >>> _ = path.write_text("t,x,y,p\\n10,3,4,1\\n20,5,6,0\\n")
        >>> read_events(path, height=8, width=8).events.tolist()
        [(10, 3, 4, True), (20, 5, 6, False)]
    """
    pieces, height, width = _opened(path, height, width)
    whole, size = [np.empty(0, EVENT)], 0
    for piece in pieces:
        whole.append(piece)
        size += piece.nbytes
        if size > MOST_BYTES:
            raise DataError(f"{path}: expected events of at most {MOST_BYTES} bytes in memory, but there are more.")
    try:
        checked = check_events(np.concatenate(whole), height, width, repair)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return EventFile(checked.events, height, width, checked.num_outside, checked.num_negative, checked.num_backward)


def buffer_events(
    path: Path, height: int | None = None, width: int | None = None, repair: bool = False
) -> BufferedEvents:
    """The same for events that may be longer than memory; those to repair have to fit, to be sorted.

    Args:
        path: the file.
        height: rows of the sensor; needed where the file does not tell.
        width: columns of the sensor.
        repair: as above.

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
        found = read_events(path, height, width, repair)
        pieces, repaired = iter([found.events]), found[1:]
    else:
        pieces, height, width = _opened(path, height, width)
        pieces, repaired = _checked(path, pieces, height, width), (height, width, 0, 0, 0)
    columns = gather(
        ({"t": piece["t"], "x": piece["x"], "y": piece["y"], "on": piece["p"]} for piece in pieces),
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
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content.getvalue())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


_Sensor = tuple[int, int] | None
_Reader = Callable[[Path, int | None, int | None], tuple[Pieces, _Sensor]]


def _opened(path: Path, height: int | None, width: int | None) -> tuple[Iterator[Events], int, int]:
    """The events as they stand in the file, some at a time, and rows and columns of the sensor."""
    if path.suffix not in _READERS:
        raise DataError(f"{path}: no reader for events in {path.suffix!r}; {did_you_mean(path.suffix, _READERS)}")
    pieces, told = _READERS[path.suffix](path, height, width)
    if told is None:
        if height is None or width is None:
            raise ConfigError(f"{path}: a {path.suffix} file does not tell its sensor; give height and width.")
        told = height, width
    for name, given, own in (("height", height, told[0]), ("width", width, told[1])):
        if given is not None and given != own:
            raise DataError(f"{path}: expected a sensor of {name} {given}, but the file says {own}.")
    return _made(path, pieces), *told


def _npz(path: Path, height: int | None, width: int | None) -> tuple[Pieces, _Sensor]:
    sensor = []
    for name, number in read_npz(path, ("height", "width")).items():
        if number.size != 1 or number.dtype.kind not in "iu" or not 1 <= number.item() <= 2**16:
            raise DataError(f"{path}, {name}: expected one whole number from 1 to {2**16}, but got {number!r}.")
        sensor.append(int(number.item()))
    return ((p["t"], p["x"], p["y"], p["p"]) for p in npz_columns(path, _COLUMNS)), (sensor[0], sensor[1])


def _csv(path: Path, height: int | None, width: int | None) -> tuple[Pieces, _Sensor]:
    return _csv_pieces(path), None


def _csv_pieces(path: Path) -> Pieces:
    with opened(path, f"a csv file that begins with {_HEADER}") as file:
        first = file.readline(1000).decode("ascii", errors="replace").strip()
        if first.replace(" ", "") != _HEADER:
            raise DataError(f"{path}, byte 0: expected the line {_HEADER!r}, but found {first!r:.60}.")
        line = 2
        for block in blocks(file):
            where = f"{path}, from line {line} on"
            line += block.count(b"\n")
            if not block.strip():
                continue
            try:
                table = np.loadtxt(io.BytesIO(block), np.int64, delimiter=",", ndmin=2, comments=None, encoding="ascii")
            except (ValueError, OverflowError, UnicodeDecodeError) as error:
                why = str(error).partition(";")[0]  # numpy goes on with advice on its own options
                raise DataError(f"{where}: expected 4 whole numbers {_HEADER} a line, but {why}") from error
            if table.shape[1] != len(_COLUMNS):
                raise DataError(f"{where}: expected 4 whole numbers {_HEADER} a line, but there are {table.shape[1]}.")
            t, x, y, p = table.T
            yield t, x, y, p


def _bin(path: Path, height: int | None, width: int | None) -> tuple[Pieces, _Sensor]:
    return ((piece["t"], piece["x"], piece["y"], piece["p"]) for piece in nmnist_pieces(path)), None


def _aedat4(path: Path, height: int | None, width: int | None) -> tuple[Pieces, _Sensor]:
    return aedat4_events(path)


_READERS: dict[str, _Reader] = {
    ".npz": _npz,
    ".csv": _csv,
    ".bin": _bin,
    ".aedat4": _aedat4,
    ".es": faery_events,
    ".raw": faery_events,
}
EVENT_SUFFIXES = tuple(_READERS)


def _made(path: Path, pieces: Pieces) -> Iterator[Events]:
    first = 0
    for piece in pieces:
        try:
            events = make_events(*piece)
        except (DataError, ShapeError) as error:
            where = f", from event {first} on" if first else ""
            raise DataError(f"{path}{where}: {error}") from error
        first += len(events)
        yield events


def _checked(path: Path, pieces: Iterator[Events], height: int, width: int) -> Iterator[Events]:
    faults, last = RowErrors(), -(2**63)
    for piece in pieces:
        faults = faults.after(event_faults(piece, height, width, last))
        last = int(piece["t"][-1]) if len(piece) else last
        yield piece
    if faults:
        raise DataError(f"{path}: {faults}. {REPAIR}")
