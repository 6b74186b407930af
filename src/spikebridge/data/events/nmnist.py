"""N-MNIST: MNIST seen by an event camera of 34 x 34 pixels that makes three saccades, one `.bin` file a digit.

Each event is 5 bytes: x, y, then one bit of polarity (1 = ON) and 23 bits of microseconds, big-endian.

Source: G. Orchard, A. Jayawant, G. Cohen, N. Thakor, Frontiers in Neuroscience 9:437 (2015).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spikebridge.data.events.events import CheckedEvents, Events, check_events, make_events
from spikebridge.data.io.atomic import write_bytes
from spikebridge.data.io.column import CHUNK_ROWS
from spikebridge.data.io.safe_open import open_binary
from spikebridge.errors import DataError

SENSOR = 34
_RECORD = 5
_LAST_TIME = 2**23 - 1
_MAX_BYTES = 2**27


def read_nmnist(path: Path, repair: bool = False, height: int = SENSOR, width: int = SENSOR) -> CheckedEvents:
    """The events of one `.bin` file.

    Args:
        path: the file.
        repair: drop events outside the sensor and sort the rest by time.
        height: rows of the sensor, where another camera wrote the format.
        width: columns of the sensor.

    Returns:
        Events, and how many had to be repaired.

    Raises:
        DataError: the file is missing, cut inside an event, too large, or holds impossible events.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "one.bin"
        >>> _ = path.write_bytes(bytes([3, 4, 0x80, 0x01, 0x00]))  # x = 3, y = 4, ON, 256 us
        >>> read_nmnist(path).events.tolist()
        [(256, 3, 4, True)]
    """
    events = np.concatenate([make_events([], [], [], []), *nmnist_chunks(path)])
    try:
        return check_events(events, height, width, repair)
    except DataError as error:
        raise DataError(f"{path} (an event is {_RECORD} bytes): {error}") from error


def nmnist_chunks(path: Path, allow_truncated: bool = False) -> Iterator[Events]:
    """Yields the events of a file in chunks, unchecked.

    Args:
        path: the file.
        allow_truncated: leave out an event of which the file holds a part only.

    Raises:
        DataError: the file is missing, cut inside an event, or too large.
    """
    with open_binary(path, "an N-MNIST .bin file") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_BYTES:
            raise DataError(f"{path}: expected an N-MNIST .bin file below {_MAX_BYTES} bytes, but it has {size}.")

        if size % _RECORD and not allow_truncated:
            cut = size - size % _RECORD
            raise DataError(
                f"{path}, byte {cut}: expected an event of {_RECORD} bytes, but only {size - cut} are left."
            )

        while chunk := file.read(_RECORD * CHUNK_ROWS):
            chunk = chunk[: len(chunk) // _RECORD * _RECORD]
            x, y, high, middle, low = np.frombuffer(chunk, np.uint8).reshape(-1, _RECORD).T.astype(np.int64)
            yield make_events((high & 0x7F) << 16 | middle << 8 | low, x, y, high >> 7)


def write_nmnist(path: Path, events: Events) -> None:
    """Write events as an N-MNIST `.bin` file, in whole or not at all.

    Args:
        path: the file to write.
        events: sorted by time, on the sensor, before 8.388608 s.

    Raises:
        DataError: there are no events, or the format cannot hold them.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "one.bin"
        >>> write_nmnist(path, make_events(t=[256], x=[3], y=[4], p=[1]))
        >>> path.read_bytes().hex(" ")
        '03 04 80 01 00'
    """
    if len(events) == 0:
        raise DataError("an N-MNIST file needs at least one event, but got none: an empty file would read as damaged.")

    check_events(events, SENSOR, SENSOR)
    late = events["t"] > _LAST_TIME
    if late.any():
        index = int(late.argmax())
        raise DataError(
            f"N-MNIST holds times up to {_LAST_TIME} us, but {int(late.sum())} events are later, "
            f"first {events['t'][index]} us at index {index}."
        )

    records = np.empty((len(events), _RECORD), np.uint8)
    records[:, 0], records[:, 1] = events["x"], events["y"]
    records[:, 2] = events["p"].astype(np.int64) << 7 | events["t"] >> 16
    records[:, 3] = events["t"] >> 8 & 0xFF
    records[:, 4] = events["t"] & 0xFF
    write_bytes(path, records.tobytes())
