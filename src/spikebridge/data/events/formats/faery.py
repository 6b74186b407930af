"""Event Stream (`.es`) and Prophesee's EVT2, EVT2.1 and EVT3 (`.raw`), decoded by the optional package `faery` (LGPL).

| file | a packet | sign of a cut |
|---|---|---|
| `.es` | an event of 5 bytes, or 1 byte for each 127 us without one | the size that the decoded events need |
| `.raw` EVT2, EVT2.1, EVT3 | words of 4, 8 or 2 bytes | the size; in EVT3 also an incomplete vector of events |

Sources: A. Marcireau, "Event Stream format 2"; Prophesee, "EVT 2.0", "EVT 2.1" and "EVT 3.0" formats.
"""

import re
import struct
from pathlib import Path
from typing import BinaryIO

from spikebridge.data.events.formats._decoders import (
    check_magic,
    columns_of,
    decoded_items,
    decoder_package,
    without_native_messages,
)
from spikebridge.data.events.formats.event_format import Chunks, DecodedSize, ReadOptions, Sensor
from spikebridge.data.io.safe_open import decoding

_EXPECTED = "events of a kind that faery reads"
_MAX_SENSOR = 2**16 - 1
_WORD_BYTES = {"2.0": 4, "2": 4, "2.1": 8, "21": 8, "3.0": 2, "3": 2}
_VECTOR_PARTS = (3, 4)  # of EVT3: the base of a vector and its first two words; the third one ends it
_MAX_HEADER = 2**16
_ES_HEADER = 20
_ES_EVENT = 5
_ES_DVS = 1
_MAX_TAIL = 2**16


def es_events(path: Path, options: ReadOptions) -> tuple[Chunks, Sensor]:
    """Events of an `.es` file, and its sensor."""
    return _read(path, b"Event Stream", options)


def raw_events(path: Path, options: ReadOptions) -> tuple[Chunks, None]:
    """Events of a `.raw` file, whose header often lacks the sensor."""
    chunks, _ = _read(path, b"%", options)
    return chunks, None


def _read(path: Path, magic: bytes, options: ReadOptions) -> tuple[Chunks, Sensor]:
    check_magic(path, magic)
    faery = decoder_package("faery", path)
    # for a .raw file without a size: the largest sensor accepts all events, and a given size is checked later
    fallback = (options.width or _MAX_SENSOR, options.height or _MAX_SENSOR)

    def chunks() -> Chunks:
        with decoding(path, _EXPECTED):
            for part in decoded_items(stream):
                yield columns_of(part)

    with decoding(path, _EXPECTED), without_native_messages():
        stream = faery.events_stream_from_file(str(path), dimensions_fallback=fallback)
        width, height = stream.dimensions()

    return chunks(), (height, width)


def es_cut(file: BinaryIO, size: int, decoded: DecodedSize) -> str | None:
    """The unfinished last event."""
    header = file.read(_ES_HEADER)
    if len(header) < _ES_HEADER:
        return "the header"

    remainder = size - _ES_HEADER - _ES_EVENT * decoded.num_events - decoded.num_wraps
    if header[15] != _ES_DVS or not 0 < remainder <= _MAX_TAIL:
        return None

    file.seek(size - remainder)
    # spans without an event may stand at the end
    tail = file.read(remainder).lstrip(b"\xfe\xff")

    return f"the event at byte {size - len(tail)}" if tail else None


def raw_cut(file: BinaryIO, size: int, decoded: DecodedSize) -> str | None:
    """The unfinished last word, or vector of events."""
    version, start = _read_header(file)
    word = _WORD_BYTES.get(version)
    if word is None:
        return None

    remainder = (size - start) % word
    if remainder:
        return f"the word at byte {size - remainder}"

    # EVT3 sends 32 pixels as a base and three words
    if version.startswith("3") and size > start:
        file.seek(size - word)
        (last,) = struct.unpack("<H", file.read(word))
        if last >> 12 in _VECTOR_PARTS:
            return f"a vector of events, after byte {size}"

    return None


def _read_header(file: BinaryIO) -> tuple[str, int]:
    """The version of the EVT format, "" if the lines do not say it, and the first byte after the lines."""
    header = file.read(_MAX_HEADER)
    start = 0
    version = ""

    while header[start : start + 1] == b"%" and (end := header.find(b"\n", start)) >= 0:
        line = header[start:end].decode("ascii", errors="replace").strip("% \r")
        start = end + 1
        if match := re.match(r"(?:evt |format EVT)(\d+(?:\.\d)?)", line):
            version = match[1]
        if line == "end":
            break

    return version, start
