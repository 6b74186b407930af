"""N-MNIST: MNIST seen by an event camera of 34 x 34 pixels that makes three saccades, one `.bin` file a digit.

Each event is 5 bytes: x, y, then one bit of polarity (1 = ON) and 23 bits of microseconds, big-endian.

Source: G. Orchard, A. Jayawant, G. Cohen, N. Thakor, Frontiers in Neuroscience 9:437 (2015).
"""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spikebridge.data.events.formats.event_format import Chunks, DecodedSize, ReadOptions
from spikebridge.data.io.column import CHUNK_ROWS
from spikebridge.data.io.safe_open import open_binary
from spikebridge.errors import DataError

_RECORD_BYTES = 5
_MAX_BYTES = 2**27


def nmnist_events(path: Path, options: ReadOptions) -> tuple[Chunks, None]:
    """Events of a `.bin` file, which does not hold the size of the sensor."""
    return _chunks(path, options.allow_truncated), None


def nmnist_cut(file: BinaryIO, size: int, decoded: DecodedSize) -> str | None:
    """The unfinished last event."""
    remainder = size % _RECORD_BYTES
    return f"the event at byte {size - remainder}" if remainder else None


def _chunks(path: Path, allow_truncated: bool) -> Chunks:
    with open_binary(path, "an N-MNIST .bin file") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_BYTES:
            raise DataError(f"{path}: expected an N-MNIST .bin file below {_MAX_BYTES} bytes, but it has {size}.")

        remainder = size % _RECORD_BYTES
        if remainder and not allow_truncated:
            where = f"{path}, byte {size - remainder}"
            raise DataError(f"{where}: expected an event of {_RECORD_BYTES} bytes, but only {remainder} are left.")

        while chunk := file.read(_RECORD_BYTES * CHUNK_ROWS):
            records = np.frombuffer(chunk[: len(chunk) // _RECORD_BYTES * _RECORD_BYTES], np.uint8)
            x, y, high, middle, low = records.reshape(-1, _RECORD_BYTES).T.astype(np.int64)
            yield (high & 0x7F) << 16 | middle << 8 | low, x, y, high >> 7
