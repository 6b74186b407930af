"""Readers of camera formats through optional packages, imported when a file of that format is read.

`.aedat4` (iniVation: events and frames) by `aedat`; `.es` (event stream) and `.raw` (Prophesee EVT2 and EVT3) by
`faery` (LGPL). The magic bytes are checked here, since not every reader checks them.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from spikebridge.data.events.truncation import DecodedSize, check_packet_sizes, find_cut
from spikebridge.data.io.column import concatenate_chunks
from spikebridge.data.io.images import ImagesInMemory
from spikebridge.data.io.safe_open import decoding, open_binary
from spikebridge.errors import ConfigError, DataError

_MAGIC = {".aedat4": b"#!AER-DAT4.0", ".es": b"Event Stream", ".raw": b"%"}
# columns t [us], x, y, p of some events
Chunks: TypeAlias = Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]]


def aedat4_events(path: Path) -> tuple[Chunks, tuple[int, int]]:
    """Events of an `.aedat4` file.

    Args:
        path: the file.

    Returns:
        Chunks of columns t [us], x, y, p, read lazily; rows and columns of the sensor.

    Raises:
        DataError: the file is missing, damaged or of another kind.
        ConfigError: the package `aedat` is not installed.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "plain.aedat4"
        >>> _ = path.write_bytes(b"plain words, nothing else")
        >>> aedat4_events(path)
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: ...plain.aedat4, byte 0: expected b'#!AER-DAT4.0', but found b'plain words,'.
    """
    with decoding(path, "a whole .aedat4 file"):
        decoder = _aedat4_decoder(path)
        streams = list(decoder.id_to_stream().values())

    sensor = next(((s["height"], s["width"]) for s in streams if s["type"] == "events"), None)
    if sensor is None:
        raise DataError(f"{path}: expected a stream of events, but it has {[s['type'] for s in streams]}.")

    def chunks() -> Chunks:
        with decoding(path, "a whole .aedat4 file"):
            for packet in _items(decoder):
                if "events" in packet:
                    yield _columns(packet["events"])

    return chunks(), sensor


def aedat4_frames(path: Path, allow_truncated: bool = False) -> tuple[ImagesInMemory, Int64[np.ndarray, " F"]]:
    """Frames of an `.aedat4` file as grey levels, and the end of the exposure of each [us].

    Args:
        path: the file.
        allow_truncated: take the frames before the end of a file that ends inside a packet.

    Raises:
        DataError: the file is missing, damaged or of another kind, has no frames, or they differ in size.
        ConfigError: the package `aedat` is not installed.
    """
    times: list[int] = []
    sizes: set[tuple[int, ...]] = set()

    def frames() -> Iterator[dict[str, NDArray[np.uint8]]]:
        with decoding(path, "a whole .aedat4 file"):
            for packet in _items(_aedat4_decoder(path)):
                if "frame" not in packet:
                    continue
                image = _grey(packet["frame"]["pixels"])
                sizes.add(image.shape)
                if len(sizes) > 1:
                    raise DataError(f"{path}: expected frames of one size, but got {sorted(sizes)}.")
                times.append(int(packet["frame"]["exposure_end_t"] or packet["frame"]["t"]))
                yield {"frames": image[None]}

    def whole_frames() -> Iterator[dict[str, NDArray[np.uint8]]]:
        try:
            yield from frames()
        except DataError:
            if not allow_truncated or len(sizes) > 1 or find_cut(path, DecodedSize()) is None:
                raise

    held = concatenate_chunks(whole_frames(), {"frames": np.uint8})["frames"]
    if not times:
        raise DataError(f"{path}: expected frames beside the events, or in files of their own, but there are none.")

    return ImagesInMemory(held), np.array(times, np.int64)


def faery_events(path: Path, height: int | None, width: int | None) -> tuple[Chunks, tuple[int, int] | None]:
    """Events of an `.es` or `.raw` file.

    Args:
        path: the file.
        height: rows of the sensor, for a file that does not hold them.
        width: columns of the sensor.

    Returns:
        Chunks as above, and rows and columns of the sensor; None for a `.raw` file, whose header often lacks them.

    Raises:
        DataError: the file is missing, damaged, of another kind, or of events with more than a polarity.
        ConfigError: the package `faery` is not installed.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "plain.es"
        >>> _ = path.write_bytes(b"plain words, nothing else")
        >>> faery_events(path, None, None)
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: ...plain.es, byte 0: expected b'Event Stream', but found b'plain words,'.
    """
    _check_magic(path)
    faery = _package("faery", path)
    # for a .raw file without a size: 2^16 accepts all, and the given size is checked later
    fallback = (width or 2**16 - 1, height or 2**16 - 1)

    def chunks() -> Chunks:
        with decoding(path, "events of a kind that faery reads"):
            for part in _items(stream):
                yield _columns(part)

    with decoding(path, "events of a kind that faery reads"), _without_native_messages():
        stream = faery.events_stream_from_file(str(path), dimensions_fallback=fallback)
        columns, rows = stream.dimensions()

    return chunks(), ((rows, columns) if path.suffix == ".es" else None)


def _items(stream: Iterable[Any]) -> Iterator[Any]:
    """The items of a reader, whose panic prints no traceback of its own."""
    iterator = iter(stream)
    while True:
        with _without_native_messages():
            item = next(iterator, None)
        if item is None:
            return
        yield item


@contextmanager
def _without_native_messages() -> Iterator[None]:
    """Keeps a native library from writing to the stderr of the process: the exception says the same."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return

    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _aedat4_decoder(path: Path) -> Any:
    _check_magic(path)
    check_packet_sizes(path)
    with _without_native_messages():
        return _package("aedat", path).Decoder(str(path))


def _check_magic(path: Path) -> None:
    magic = _MAGIC[path.suffix]
    with open_binary(path, f"a {path.suffix} file") as file:
        found = file.read(len(magic))

    if found != magic:
        raise DataError(f"{path}, byte 0: expected {magic!r}, but found {found!r}.")


def _package(name: str, path: Path) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(
            f"{path}: reading {path.suffix} needs the package {name}: pip install 'spikebridge[{name}]', "
            "or turn the file into .npz or .csv elsewhere."
        ) from None


def _columns(events: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    return events["t"], events["x"], events["y"], events["on"]


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        return pixels
    # the weights of ITU-R 601, as for image files
    return (pixels[..., :3] @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
