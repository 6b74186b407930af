"""Formats that event cameras write, read by optional packages that are imported when they are needed.

`.aedat4` (iniVation: events and frames) by `aedat`; `.es` (event stream) and `.raw` (Prophesee EVT2 and EVT3) by
`faery`, which is under the LGPL. The first bytes of a file are looked at here, because not every reader does.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

from spikebridge.data.opening import opened
from spikebridge.errors import ConfigError, DataError

_MAGIC = {".aedat4": b"#!AER-DAT4.0", ".es": b"Event Stream", ".raw": b"%"}
_Columns = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


class Aedat4(NamedTuple):
    """What an `.aedat4` file holds: events as columns t [us], x, y, p, and frames with their times [us]."""

    columns: _Columns
    frames: UInt8[np.ndarray, "F H W"]
    frame_times: Int64[np.ndarray, " F"]
    height: int
    width: int


def read_aedat4(path: Path) -> Aedat4:
    """Events and frames of an `.aedat4` file; a frame's time is the end of its exposure.

    Args:
        path: the file.

    Returns:
        Columns of events, and grey frames.

    Raises:
        DataError: the file is missing, damaged or of another kind, or its frames differ in size.
        ConfigError: the package `aedat` is not installed.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "plain.aedat4"
        >>> _ = path.write_bytes(b"plain words, nothing else")
        >>> read_aedat4(path)
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: ...plain.aedat4, byte 0: expected b'#!AER-DAT4.0', but found b'plain words,'.
    """
    _check_magic(path)
    aedat = _package("aedat", path)
    parts, frames, times = [], [], []
    try:
        decoder = aedat.Decoder(str(path))
        streams = list(decoder.id_to_stream().values())
        for packet in decoder:
            if "events" in packet:
                parts.append(packet["events"])
            elif "frame" in packet:
                frames.append(_grey(packet["frame"]["pixels"]))
                times.append(int(packet["frame"]["exposure_end_t"] or packet["frame"]["t"]))
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(f"{path}: expected a whole .aedat4 file, but: {error}.") from error
    sensor = next(((s["height"], s["width"]) for s in streams if s["type"] == "events"), None)
    if sensor is None:
        raise DataError(f"{path}: expected a stream of events, but it has {[s['type'] for s in streams]}.")
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise DataError(f"{path}: expected frames of one size, but got {sorted(sizes)}.")
    stacked = np.stack(frames) if frames else np.empty((0, *sensor), np.uint8)
    return Aedat4(_columns(parts), stacked, np.array(times, np.int64), *sensor)


def read_with_faery(path: Path, height: int | None, width: int | None) -> tuple[_Columns, tuple[int, int] | None]:
    """Events of an `.es` or `.raw` file.

    Args:
        path: the file.
        height: rows of the sensor, for a file that does not tell.
        width: columns of the sensor.

    Returns:
        Columns t [us], x, y, p, and rows and columns of the sensor; None for a `.raw` file, whose header often lacks
        them.

    Raises:
        DataError: the file is missing, damaged, of another kind, or of events with more than a polarity.
        ConfigError: the package `faery` is not installed.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "plain.es"
        >>> _ = path.write_bytes(b"plain words, nothing else")
        >>> read_with_faery(path, None, None)
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: ...plain.es, byte 0: expected b'Event Stream', but found b'plain words,'.
    """
    _check_magic(path)
    faery = _package("faery", path)
    # a .raw file that does not tell gets what was given; 2^16 accepts all, and the check comes with what was given
    fallback = (width or 2**16 - 1, height or 2**16 - 1)
    try:
        stream = faery.events_stream_from_file(str(path), dimensions_fallback=fallback)
        parts = list(stream)
        columns, rows = stream.dimensions()
    # the package raises plain Exception for a kind of events that it does not read
    except Exception as error:
        raise DataError(f"{path}: expected events of a kind that faery reads, but: {error}.") from error
    return _columns(parts), ((rows, columns) if path.suffix == ".es" else None)


def _check_magic(path: Path) -> None:
    magic = _MAGIC[path.suffix]
    with opened(path, f"a {path.suffix} file") as file:
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


def _columns(parts: list[Any]) -> _Columns:
    if not parts:
        nothing = np.empty(0, np.int64)
        return nothing, nothing, nothing, nothing
    events = np.concatenate(parts)
    return events["t"], events["x"], events["y"], events["on"]


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        return pixels
    # the weights of ITU-R 601, as for image files
    return (pixels[..., :3] @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
