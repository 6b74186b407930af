"""AEDAT 3.1: the event files of DVS128 Gesture and of other recordings of iniVation's cAER.

After a header of text lines come packets: 28 bytes (kind, source, bytes of an event, place of the time in an event,
overflows of the clock, capacity, number of events, number of valid ones), then the events. An event of polarity has 8
bytes: a valid bit, the polarity, 15 bits of y, 15 bits of x, and 31 bits of microseconds. Other kinds are skipped.

Source: iniVation, "AEDAT 3.1 file format".
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from spikebridge.data.events.formats.event_format import Chunks, Columns, ReadOptions, Sensor
from spikebridge.data.io.safe_open import open_binary
from spikebridge.errors import CutFileError, DataError

_MAGIC = b"#!AER-DAT3."
_END_OF_HEADER = b"#!END-HEADER"
_HEADER = struct.Struct("<hhiiiiii")
_POLARITY = 1
_EVENT_BYTES = 8
_MAX_PACKET = 2**26
_MAX_HEADER = 2**16
_SENSORS = {b"DVS128": (128, 128), b"DAVIS128": (128, 128), b"DAVIS240": (180, 240), b"DAVIS346": (260, 346)}


class _Packet(NamedTuple):
    place: int  # first byte in the file
    kind: int
    event_bytes: int
    overflows: int  # of the clock, 2^31 us each
    num_events: int
    num_bytes: int


def aedat3_events(path: Path, options: ReadOptions) -> tuple[Chunks, Sensor | None]:
    """Events of an AEDAT 3.1 file, and the sensor if the header names it."""
    with open_binary(path, "an AEDAT 3.1 file") as file:
        header = _read_header(path, file)

    sensor = next((size for name, size in _SENSORS.items() if name in header), None)
    return _chunks(path), sensor


def _read_header(path: Path, file: BinaryIO) -> bytes:
    """Reads the lines before the first packet."""
    first = file.read(len(_MAGIC))
    if first != _MAGIC:
        raise DataError(f"{path}, byte 0: expected {_MAGIC!r}, but found {first!r}.")

    header = first
    while len(header) < _MAX_HEADER:
        line = file.readline(_MAX_HEADER)
        header += line
        if line.startswith(_END_OF_HEADER):
            return header
        if not line:
            break

    raise DataError(f"{path}: expected the line {_END_OF_HEADER.decode()} within {_MAX_HEADER} bytes, but found none.")


def _packets(path: Path, file: BinaryIO) -> Iterator[_Packet]:
    """Yields the packets after the header; the caller may read the content of each before it takes the next."""
    size = os.fstat(file.fileno()).st_size
    while (place := file.tell()) < size:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            raise CutFileError(path, f"the packet at byte {place}")

        kind, _, event_bytes, _, overflows, capacity, number, _ = _HEADER.unpack(head)
        num_bytes = capacity * event_bytes
        if not (event_bytes > 0 and 0 <= number <= capacity and num_bytes <= _MAX_PACKET and 0 <= overflows < 2**31):
            declared = f"{number} of {capacity} events of {event_bytes} bytes after {overflows} overflows"
            raise DataError(f"{path}, byte {place}: expected at most {_MAX_PACKET} bytes, but it declares {declared}.")

        if kind == _POLARITY and event_bytes != _EVENT_BYTES:
            raise DataError(f"{path}, byte {place}: expected events of {_EVENT_BYTES} bytes, but got {event_bytes}.")

        end = place + _HEADER.size + num_bytes
        if end > size:
            raise CutFileError(path, f"the packet at byte {place}")

        yield _Packet(place, kind, event_bytes, overflows, number, num_bytes)
        file.seek(end)


def _chunks(path: Path) -> Chunks:
    with open_binary(path, "an AEDAT 3.1 file") as file:
        _read_header(path, file)
        for packet in _packets(path, file):
            if packet.kind == _POLARITY and packet.num_events:
                yield _decoded(path, packet, file.read(packet.num_events * _EVENT_BYTES))


def _decoded(path: Path, packet: _Packet, content: bytes) -> Columns:
    words = np.frombuffer(content, "<u4").reshape(-1, 2)
    data = words[:, 0]
    time = words[:, 1]
    if (time >= 2**31).any():
        raise DataError(f"{path}: expected times of 31 bits in the packet at byte {packet.place}, but some are longer.")

    # the camera's own filters mark noise as invalid
    valid = (data & 1) == 1
    data = data[valid]
    t = time[valid].astype(np.int64) + (packet.overflows << 31)

    return t, data >> 17, data >> 2 & 0x7FFF, (data >> 1 & 1) == 1
