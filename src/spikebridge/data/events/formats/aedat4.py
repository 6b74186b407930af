"""AEDAT 4 of iniVation: events and frames, decoded by the optional package `aedat`.

A file is a header, packets of frames or events, each with a header of stream and size, and a table at the end.

Source: iniVation, "AEDAT 4 file format".
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.events.formats._decoders import (
    check_magic,
    columns_of,
    decoded_items,
    decoder_package,
    without_native_messages,
)
from spikebridge.data.events.formats.event_format import Chunks, DecodedSize, Frames, ReadOptions, Sensor
from spikebridge.data.io.column import concatenate_chunks
from spikebridge.data.io.images import ImagesInMemory
from spikebridge.data.io.safe_open import decoding, open_binary
from spikebridge.errors import DataError

_EXPECTED = "a whole .aedat4 file"
_MAGIC = b"#!AER-DAT4.0"
_HEADER = 14  # after the magic bytes and an end of line
_PACKET_HEAD = 8  # bytes of stream and size
_MAX_HEADER = 2**16
_MAX_PACKET = 2**26
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as for image files


def aedat4_events(path: Path, options: ReadOptions) -> tuple[Chunks, Sensor]:
    """Events of an `.aedat4` file, and its sensor."""
    with decoding(path, _EXPECTED):
        decoder = _open_decoder(path)
        streams = list(decoder.id_to_stream().values())

    sensor = next(((s["height"], s["width"]) for s in streams if s["type"] == "events"), None)
    if sensor is None:
        raise DataError(f"{path}: expected a stream of events, but it has {[s['type'] for s in streams]}.")

    def chunks() -> Chunks:
        with decoding(path, _EXPECTED):
            for packet in decoded_items(decoder):
                if "events" in packet:
                    yield columns_of(packet["events"])

    return chunks(), sensor


def aedat4_frames(path: Path, allow_truncated: bool = False) -> Frames:
    """Frames of an `.aedat4` file as grey levels, and the end of the exposure of each [us].

    `allow_truncated` takes the frames before the end of a file that ends inside a packet.
    """
    times: list[int] = []
    sizes: set[tuple[int, ...]] = set()

    def frames() -> Iterator[dict[str, NDArray[np.uint8]]]:
        with decoding(path, _EXPECTED):
            for packet in decoded_items(_open_decoder(path)):
                if "frame" not in packet:
                    continue
                image = _grey(packet["frame"]["pixels"])
                sizes.add(image.shape)
                if len(sizes) > 1:
                    raise DataError(f"{path}: expected frames of one size, but got {sorted(sizes)}.")
                times.append(int(packet["frame"]["exposure_end_t"] or packet["frame"]["t"]))
                yield {"frames": image[None]}

    def complete_frames() -> Iterator[dict[str, NDArray[np.uint8]]]:
        # the decoder fails at a cut, after it has given the complete frames
        try:
            yield from frames()
        except DataError:
            if not allow_truncated or len(sizes) > 1 or not _is_cut(path):
                raise

    column = concatenate_chunks(complete_frames(), {"frames": np.uint8})["frames"]
    if not times:
        raise DataError(f"{path}: expected frames beside the events, or in files of their own, but there are none.")

    return ImagesInMemory(column), np.array(times, np.int64)


def _open_decoder(path: Path) -> Any:
    check_magic(path, _MAGIC)
    _check_packet_sizes(path)
    with without_native_messages():
        return decoder_package("aedat", path).Decoder(str(path))


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        return pixels
    return (pixels[..., :3] @ _LUMA).round().astype(np.uint8)


def aedat4_cut(file: BinaryIO, size: int, decoded: DecodedSize) -> str | None:
    """The header or packet inside of which a file ends; the headers and the place of the table tell."""
    header = _read_header(file)
    if header.packets > size:
        return f"the header at byte {_HEADER}"
    if header.table > size:
        return f"the packets before the table at byte {header.table}"

    end = header.end_of_packets(size)
    for packet, next_packet in _packets(file, header.packets, end):
        if next_packet > end:
            return f"the packet at byte {packet}"

    return None


def _is_cut(path: Path) -> bool:
    with open_binary(path, _EXPECTED) as file:
        return aedat4_cut(file, os.fstat(file.fileno()).st_size, DecodedSize()) is not None


def _check_packet_sizes(path: Path) -> None:
    """Refuses sizes that no camera writes: the decoder takes all the memory that they declare."""
    with open_binary(path, _EXPECTED) as file:
        size = os.fstat(file.fileno()).st_size
        header = _read_header(file)
        if header.packets > size:
            length = header.packets - _HEADER - 4
            raise DataError(f"{path}: expected {_EXPECTED}, but its header has {length} bytes, and the file {size}.")

        try:
            # the decoder ends the process at a description of the streams that is no text
            header.text[header.text.find(b"<") : header.text.rfind(b">") + 1].decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: expected {_EXPECTED}, but its streams are no text ({error.reason}).") from None

        for packet, next_packet in _packets(file, header.packets, header.end_of_packets(size)):
            num_bytes = next_packet - packet - _PACKET_HEAD
            if not 0 < num_bytes <= _MAX_PACKET:
                limits = f"{num_bytes} bytes, not 1 to {_MAX_PACKET}"
                raise DataError(f"{path}: expected {_EXPECTED}, but the packet at byte {packet} has {limits}.")


class _Header(NamedTuple):
    text: bytes
    packets: int  # first byte of the packets
    table: int  # first byte of the table at the end; -1 without one

    def end_of_packets(self, size: int) -> int:
        """The first byte of the table, or the end of a file of `size` bytes."""
        return self.table if self.packets <= self.table <= size else size


def _read_header(file: BinaryIO) -> _Header:
    file.seek(_HEADER)
    (length,) = struct.unpack("<I", file.read(4).ljust(4, b"\0"))
    text = file.read(min(length, _MAX_HEADER))
    return _Header(text, _HEADER + 4 + length, _place_of_table(text))


def _place_of_table(header: bytes) -> int:
    """The first byte of the table; -1 if the header does not say it, as of a recorder that was stopped.

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


def _packets(file: BinaryIO, place: int, end: int) -> Iterator[tuple[int, int]]:
    """Yields the first byte of each packet and of the next one, which lies beyond the end of a cut file."""
    while place < end:
        file.seek(place)
        head = file.read(_PACKET_HEAD)
        num_bytes = struct.unpack_from("<I", head, 4)[0] if len(head) == _PACKET_HEAD else 0
        next_place = place + _PACKET_HEAD + num_bytes
        yield place, next_place
        place = next_place
