"""Decoders of optional packages: found when a file is read, and kept from writing to stderr."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from spikebridge.data.events.formats.event_format import Columns
from spikebridge.data.io.safe_open import open_binary
from spikebridge.errors import DataError, import_extra


def check_magic(path: Path, magic: bytes) -> None:
    """Refuses a file that does not begin with the bytes of its format, which not every decoder checks."""
    with open_binary(path, f"a {path.suffix} file") as file:
        first = file.read(len(magic))

    if first != magic:
        raise DataError(f"{path}, byte 0: expected {magic!r}, but found {first!r}.")


def decoder_package(name: str, path: Path) -> Any:
    """The package that decodes a file."""
    return import_extra(
        name, name, f"{path}: reading {path.suffix} needs", advice=", or turn the file into .npz or .csv elsewhere."
    )


def decoded_items(decoder: Iterable[Any]) -> Iterator[Any]:
    """Yields the items of a decoder."""
    iterator = iter(decoder)
    while True:
        with without_native_messages():
            item = next(iterator, None)
        if item is None:
            return
        yield item


def columns_of(events: NDArray[Any]) -> Columns:
    """The columns of a structured array of both decoders."""
    return events["t"], events["x"], events["y"], events["on"]


@contextmanager
def without_native_messages() -> Iterator[None]:
    """Keeps a native library from writing to the stderr of the process: its exception says the same."""
    try:
        stderr = os.dup(2)
    except OSError:
        # a process without stderr
        yield
        return

    try:
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, 2)
        os.close(null_device)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
