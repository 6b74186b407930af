"""Files of events: npz and csv are read and written, N-MNIST `.bin` is read, camera formats through optional packages.

| suffix | content |
|---|---|
| `.npz` | arrays `t` (int64, us), `x`, `y`, `p` (1 is ON), and the numbers `width` and `height` |
| `.csv` | a first line `t,x,y,p`, then one event a line; the sensor has to be told |
| `.bin` | 5 bytes an event, as in N-MNIST; the sensor has to be told |
| `.aedat4` | package `aedat` |
| `.es`, `.raw` (EVT2, EVT3) | package `faery` |
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.camera_formats import read_aedat4, read_with_faery
from spikebridge.data.events import EVENT, Events, check_events, make_events
from spikebridge.data.nmnist import read_nmnist
from spikebridge.data.npz import read_npz
from spikebridge.data.opening import MOST_BYTES, opened
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


def read_events(path: Path, height: int | None = None, width: int | None = None, repair: bool = False) -> EventFile:
    """The events of a file, of whatever kind its suffix names.

    Args:
        path: the file.
        height: rows of the sensor; needed where the file does not tell.
        width: columns of the sensor.
        repair: drop events outside the sensor or before time 0, and sort the rest by time.

    Returns:
        Events sorted by time and on the sensor.

    Raises:
        DataError: the file is missing, damaged or of an unknown kind, holds events that cannot be, or tells another
            sensor than was given.
        ConfigError: the sensor is not known, or an optional package is missing; the message names it.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "two.csv"
        >>> _ = path.write_text("t,x,y,p\\n10,3,4,1\\n20,5,6,0\\n")
        >>> read_events(path, height=8, width=8).events.tolist()
        [(10, 3, 4, True), (20, 5, 6, False)]
    """
    if path.suffix not in _READERS:
        raise DataError(f"{path}: no reader for events in {path.suffix!r}; {did_you_mean(path.suffix, _READERS)}")
    events, told = _READERS[path.suffix](path, height, width, repair)
    if told is None:
        if height is None or width is None:
            raise ConfigError(f"{path}: a {path.suffix} file does not tell its sensor; give height and width.")
        told = height, width
    for name, given, own in (("height", height, told[0]), ("width", width, told[1])):
        if given is not None and given != own:
            raise DataError(f"{path}: expected a sensor of {name} {given}, but the file says {own}.")
    try:
        return _checked(events, *told, repair)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


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


_Told = tuple[int, int] | None
_Reader = Callable[[Path, int | None, int | None, bool], tuple[Events | EventFile, _Told]]


def _npz(path: Path, height: int | None, width: int | None, repair: bool) -> tuple[Events, _Told]:
    arrays = read_npz(path, (*_COLUMNS, "width", "height"))
    sensor = []
    for name in ("height", "width"):
        number = arrays[name]
        if number.size != 1 or number.dtype.kind not in "iu" or not 1 <= number.item() <= 2**16:
            raise DataError(f"{path}, {name}: expected one whole number from 1 to {2**16}, but got {number!r}.")
        sensor.append(int(number.item()))
    return _made(path, *(arrays[name] for name in _COLUMNS)), (sensor[0], sensor[1])


def _csv(path: Path, height: int | None, width: int | None, repair: bool) -> tuple[Events, _Told]:
    with opened(path, f"a csv file that begins with {_HEADER}") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_BYTES:
            raise DataError(f"{path}: expected a csv file below {MOST_BYTES} bytes, but it has {size}; use npz.")
        first = file.readline(1000).decode("ascii", errors="replace").strip()
        if first.replace(" ", "") != _HEADER:
            raise DataError(f"{path}, byte 0: expected the line {_HEADER!r}, but found {first!r:.60}.")
        rest = file.read()
    if not rest.strip():
        return np.empty(0, EVENT), None
    try:
        table = np.loadtxt(io.BytesIO(rest), np.int64, delimiter=",", ndmin=2, comments=None, encoding="ascii")
    except (ValueError, OverflowError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected 4 whole numbers {_HEADER} a line after the first, but {error}") from error
    if table.shape[1] != len(_COLUMNS):
        raise DataError(f"{path}: expected 4 whole numbers {_HEADER} a line, but there are {table.shape[1]}.")
    return _made(path, *table.T), None


def _bin(path: Path, height: int | None, width: int | None, repair: bool) -> tuple[EventFile, _Told]:
    if height is None or width is None:
        raise ConfigError(f"{path}: a .bin file does not tell its sensor; give height and width.")
    checked = read_nmnist(path, repair, height, width)
    found = EventFile(checked.events, height, width, checked.num_outside, checked.num_negative, checked.num_backward)
    return found, (height, width)


def _aedat4(path: Path, height: int | None, width: int | None, repair: bool) -> tuple[Events, _Told]:
    found = read_aedat4(path)
    return _made(path, *found.columns), (found.height, found.width)


def _faery(path: Path, height: int | None, width: int | None, repair: bool) -> tuple[Events, _Told]:
    columns, told = read_with_faery(path, height, width)
    return _made(path, *columns), told


_READERS: dict[str, _Reader] = {
    ".npz": _npz,
    ".csv": _csv,
    ".bin": _bin,
    ".aedat4": _aedat4,
    ".es": _faery,
    ".raw": _faery,
}
EVENT_SUFFIXES = tuple(_READERS)


def _made(path: Path, t: NDArray, x: NDArray, y: NDArray, p: NDArray) -> Events:
    try:
        return make_events(t, x, y, p)
    except (DataError, ShapeError) as error:
        raise DataError(f"{path}: {error}") from error


def _checked(events: Events | EventFile, height: int, width: int, repair: bool) -> EventFile:
    if isinstance(events, EventFile):
        return events
    checked = check_events(events, height, width, repair)
    return EventFile(checked.events, height, width, checked.num_outside, checked.num_negative, checked.num_backward)
