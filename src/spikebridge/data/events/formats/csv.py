"""Events in a csv file: a header `t,x,y,p`, then one event a line. The file does not hold the size of the sensor."""

import io
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spikebridge.data.events.events import Events
from spikebridge.data.events.formats.event_format import Chunks, DecodedSize, ReadOptions
from spikebridge.data.io.safe_open import line_blocks, open_binary
from spikebridge.errors import DataError

_HEADER = "t,x,y,p"
_NUM_COLUMNS = 4
_MAX_HEADER_BYTES = 1000
_MAX_LINE_BYTES = 2**16
_LINE = re.compile(rb"\s*\d+\s*,\s*\d+\s*,\s*\d+\s*,\s*[01]\s*")


def csv_events(path: Path, options: ReadOptions) -> tuple[Chunks, None]:
    """Events of a csv file."""
    return _chunks(path, options.allow_truncated), None


def _chunks(path: Path, allow_truncated: bool) -> Chunks:
    with open_binary(path, f"a csv file that begins with {_HEADER}") as file:
        # spreadsheets write a byte order mark
        first = file.readline(_MAX_HEADER_BYTES).decode("utf-8-sig", errors="replace").strip()
        if first.replace(" ", "") != _HEADER:
            raise DataError(f"{path}, byte 0: expected the line {_HEADER!r}, but found {first!r:.60}.")

        line = 2
        for block in line_blocks(file):
            where = f"{path}, from line {line} on: expected 4 integers {_HEADER} a line"
            line += block.count(b"\n")
            if allow_truncated and not block.endswith(b"\n"):
                complete, newline, last = block.rpartition(b"\n")
                block = block if _is_complete(last) else complete + newline

            if not block.strip():
                continue

            try:
                table = np.loadtxt(io.BytesIO(block), np.int64, delimiter=",", ndmin=2, comments=None, encoding="ascii")
            except (ValueError, OverflowError, UnicodeDecodeError) as error:
                # the rest of the text is advice on options of numpy
                raise DataError(f"{where}, but {str(error).partition(';')[0]}") from error

            if table.shape[1] != _NUM_COLUMNS:
                raise DataError(f"{where}, but there are {table.shape[1]}.")

            t, x, y, p = table.T
            yield t, x, y, p


def csv_cut(file: BinaryIO, size: int, decoded: DecodedSize) -> str | None:
    """The unfinished last line."""
    file.seek(max(0, size - _MAX_LINE_BYTES))
    last = file.read().rpartition(b"\n")[2]
    return f"the line at byte {size - len(last)}" if last.strip() and not _is_complete(last) else None


def _is_complete(line: bytes) -> bool:
    """True if a last line without an end of line is complete: it has four numbers, or is a header."""
    return bool(_LINE.fullmatch(line)) or line.startswith(b"t")


def csv_content(events: Events, height: int, width: int) -> bytes:
    """A csv file of events."""
    content = io.BytesIO()
    table = np.stack([events[name].astype(np.int64) for name in _HEADER.split(",")], axis=1)
    np.savetxt(content, table, fmt="%d", delimiter=",", header=_HEADER, comments="")

    return content.getvalue()
