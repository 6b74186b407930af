"""Finds the end of an event file that was cut: a copy or a recording that stopped inside of a packet.

| file | a packet | what tells a whole end |
|---|---|---|
| `.aedat4` | frames or events, with a header of stream and size | the headers, and the place of the table at the end |
| `.raw` EVT2, EVT2.1, EVT3 | words of 4, 8 or 2 bytes | the size; in EVT3 also that a vector of events is complete |
| `.es` | an event of 5 bytes, or 1 byte for each 127 us without one | the size that the decoded events need |
| `.bin` | an event of 5 bytes | the size |
| `.csv` | a line | four numbers, the last of one digit |
| `.aedat` | events, with a header of their size | its reader, which comes to the end |

An npz file that was cut has no table of its members and is never read. A file that ends between two packets looks
whole in every format; the number of events and the last time are what its reader can compare.

Sources: iniVation, AEDAT 4 file format; Prophesee, EVT 2.0, 2.1 and 3.0 formats; A. Marcireau, Event Stream format 2.
"""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Int64

from spikebridge.data.io.safe_open import open_binary
from spikebridge.errors import DataError

_EVT_BYTES = {"2.0": 4, "2": 4, "2.1": 8, "21": 8, "3.0": 2, "3": 2}
_VECTOR_PARTS = (3, 4)  # of EVT3: the base of a vector and its first two words; the third one ends it
_MAX_HEADER = 2**16
_ES_HEADER = 20
_ES_EVENT = 5
_ES_WRAP_US = 127
_ES_DVS = 1
_BIN_EVENT = 5
_AEDAT4_HEADER = 14  # after b"#!AER-DAT4.0\r\n"
_MAX_PACKET = 2**26
_MAX_TAIL = 2**16
_LINE = re.compile(rb"\s*\d+\s*,\s*\d+\s*,\s*\d+\s*,\s*[01]\s*")


class DecodedSize(NamedTuple):
    """What was read of an event file so far.

    Args:
        num_events: events.
        last_us: time of the last one [us]; None before the first.
        num_wraps: whole spans of 127 us between events, of which each takes a byte in an `.es` file.
    """

    num_events: int = 0
    last_us: int | None = None
    num_wraps: int = 0

    def with_times(self, t: Int64[np.ndarray, " N"]) -> "DecodedSize":
        """The same with the times of the next events [us] added.

        Example:
            >>> DecodedSize().with_times(np.array([126, 400]))
            DecodedSize(num_events=2, last_us=400, num_wraps=2)
        """
        if not len(t):
            return self

        wraps = np.diff(t, prepend=self.last_us or 0) // _ES_WRAP_US
        return DecodedSize(self.num_events + len(t), int(t[-1]), self.num_wraps + int(wraps.sum()))


def find_cut(path: Path, decoded: DecodedSize) -> str | None:
    """What an event file ends inside of.

    Args:
        path: the file, of a kind that can be read.
        decoded: all that its reader found.

    Returns:
        Words for a message, or None where the end is whole.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "cut.bin"
        >>> _ = path.write_bytes(bytes(13))
        >>> find_cut(path, DecodedSize(2, 0))
        'the event at byte 10'
    """
    with open_binary(path, "a file of events") as file:
        size = os.fstat(file.fileno()).st_size
        if path.suffix == ".raw":
            return _cut_in_raw(file, size)
        if path.suffix == ".aedat4":
            return _cut_in_aedat4(file, size)
        if path.suffix == ".es":
            return _cut_in_es(file, size, decoded)
        if path.suffix == ".csv":
            return _cut_in_csv(file, size)
        if path.suffix == ".bin" and size % _BIN_EVENT:
            return f"the event at byte {size - size % _BIN_EVENT}"

        return None


def _cut_in_raw(file: BinaryIO, size: int) -> str | None:
    head = file.read(_MAX_HEADER)
    start = 0
    version = ""

    while head[start : start + 1] == b"%" and (end := head.find(b"\n", start)) >= 0:
        line = head[start:end].decode("ascii", errors="replace").strip("% \r")
        start = end + 1
        if found := re.match(r"(?:evt |format EVT)(\d+(?:\.\d)?)", line):
            version = found[1]
        if line == "end":
            break

    word = _EVT_BYTES.get(version)
    if word is None:
        return None
    if left := (size - start) % word:
        return f"the word at byte {size - left}"

    if word == 2 and size > start:
        file.seek(size - word)
        (last,) = struct.unpack("<H", file.read(word))
        if last >> 12 in _VECTOR_PARTS:
            return f"a vector of events, after byte {size}"

    return None


def _cut_in_aedat4(file: BinaryIO, size: int) -> str | None:
    header = _read_header(file)
    if header.packets > size:
        return f"the header at byte {_AEDAT4_HEADER}"
    if header.table > size:
        return f"the packets before the table at byte {header.table}"

    end = header.end_of_packets(size)
    for packet, next_packet in _packets(file, header.packets, end):
        if next_packet > end:
            return f"the packet at byte {packet}"

    return None


class _Aedat4Header(NamedTuple):
    """The header of an AEDAT 4 file, and the places of its packets and of its table; -1 without a table."""

    text: bytes
    packets: int
    table: int

    def end_of_packets(self, size: int) -> int:
        """Where the packets of a file of `size` bytes end: at its table, or at its end."""
        return self.table if self.packets <= self.table <= size else size


def _read_header(file: BinaryIO) -> _Aedat4Header:
    file.seek(_AEDAT4_HEADER)
    (length,) = struct.unpack("<I", file.read(4).ljust(4, b"\0"))
    text = file.read(min(length, _MAX_HEADER))
    return _Aedat4Header(text, _AEDAT4_HEADER + 4 + length, _table_place(text))


def _packets(file: BinaryIO, place: int, end: int) -> Iterator[tuple[int, int]]:
    """Where each packet of an AEDAT 4 file begins, and where it ends; after the end of the file where it is cut."""
    while place < end:
        file.seek(place)
        head = file.read(8)
        begin, place = place, place + 8 + (struct.unpack_from("<I", head, 4)[0] if len(head) == 8 else 0)
        yield begin, place


def check_packet_sizes(path: Path) -> None:
    """Refuses an `.aedat4` file whose sizes no camera writes: its decoder takes all the memory that they declare.

    Args:
        path: the file, which begins as an `.aedat4` file does.

    Raises:
        DataError: its header is longer than the file or no text, or a packet has more than 64 MiB, or no bytes.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "huge.aedat4"
        >>> _ = path.write_bytes(b"#!AER-DAT4.0\\r\\n" + bytes(11) + b"\\xff")
        >>> check_packet_sizes(path)
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: ...huge.aedat4: expected a whole .aedat4 file, but the packet at byte 18 ...
    """
    with open_binary(path, "a whole .aedat4 file") as file:
        size = os.fstat(file.fileno()).st_size
        header = _read_header(file)
        if header.packets > size:
            raise DataError(
                f"{path}: expected a whole .aedat4 file, but the header at byte {_AEDAT4_HEADER} has "
                f"{header.packets - _AEDAT4_HEADER - 4} bytes, and the file {size}."
            )

        try:
            # the decoder ends the process at a description of the streams that is no text
            header.text[header.text.find(b"<") : header.text.rfind(b">") + 1].decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: expected a whole .aedat4 file, but its list of streams is no text ({error.reason})."
            ) from None

        for packet, next_packet in _packets(file, header.packets, header.end_of_packets(size)):
            if not 0 < next_packet - packet - 8 <= _MAX_PACKET:
                raise DataError(
                    f"{path}: expected a whole .aedat4 file, but the packet at byte {packet} has "
                    f"{next_packet - packet - 8} bytes; 1 to {_MAX_PACKET} are read."
                )


def _table_place(header: bytes) -> int:
    """Where the table at the end of an AEDAT 4 file begins; -1 where the header does not say, as of a stopped recorder.

    The header is a FlatBuffer: a table whose second field is the place, 8 bytes.
    """
    try:
        (root,) = struct.unpack_from("<I", header, 0)
        fields = root - struct.unpack_from("<i", header, root)[0]
        if fields < 0 or struct.unpack_from("<H", header, fields)[0] < 8:
            return -1
        (offset,) = struct.unpack_from("<H", header, fields + 6)
        return int(struct.unpack_from("<q", header, root + offset)[0]) if offset else -1
    except struct.error:
        return -1


def _cut_in_es(file: BinaryIO, size: int, decoded: DecodedSize) -> str | None:
    header = file.read(_ES_HEADER)
    if len(header) < _ES_HEADER:
        return "the header"

    left = size - _ES_HEADER - _ES_EVENT * decoded.num_events - decoded.num_wraps
    if header[15] != _ES_DVS or not 0 < left <= _MAX_TAIL:
        return None

    file.seek(size - left)
    # spans without an event may stand at the end
    tail = file.read(left).lstrip(b"\xfe\xff")

    return f"the event at byte {size - len(tail)}" if tail else None


def _cut_in_csv(file: BinaryIO, size: int) -> str | None:
    file.seek(max(0, size - _MAX_TAIL))
    last = file.read().rpartition(b"\n")[2]
    return f"the line at byte {size - len(last)}" if last.strip() and not is_whole_line(last) else None


def is_whole_line(line: bytes) -> bool:
    """Whether the last line of a csv file of events is complete without an end of line; a header is.

    Example:
        >>> is_whole_line(b"10,3,4,1"), is_whole_line(b"10,3")
        (True, False)
    """
    return bool(_LINE.fullmatch(line)) or line.startswith(b"t")
