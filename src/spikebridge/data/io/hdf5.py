"""HDF5 files of unknown origin: their structure is checked before anything is read into memory.

HDF5 can do more than a file of numbers needs: link to other files, nest without an end, and declare arrays far larger
than the file. h5py (BSD) reads it; it is an optional package.
"""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spikebridge.data.io.safe_open import decoding, open_binary
from spikebridge.errors import DataError, import_extra

MAX_BYTES = 1 << 30
_MAX_OBJECTS = 10_000  # groups and arrays; h5py takes seconds for as many
_MAX_LEVELS = 60
_MAX_GROWTH = 1100  # deflate packs zeros about a thousandfold
_ALLOWANCE = 1 << 20
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01\0\0\0"


@contextmanager
def open_hdf5(path: Path, expected: str) -> Iterator[Any]:
    """A file as an `h5py.File` whose structure has been checked."""
    h5py = import_extra("h5py", "hdf5", "HDF5 files need")
    with open_binary(path, expected) as file, decoding(path, expected):
        size = os.fstat(file.fileno()).st_size
        try:
            # before h5py sees the file: a heap without an end would keep it busy for ever
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                check_heaps(content)
            h5 = h5py.File(file, "r")
            for _ in objects_of(h5, size):
                pass
        except DataError as error:
            raise DataError(f"{path}: expected {expected}, but {error}.") from None

        with h5:
            yield h5


def check_heaps(content: Any) -> None:
    """Refuses bytes that are no HDF5, and a global heap whose list of objects has no end: h5py would never return.

    HDF5 keeps texts and lists of any length in such heaps. The HDF Group, "HDF5 File Format Specification", version
    3.0, section III.E.
    """
    if content[: len(_SIGNATURE)] != _SIGNATURE:
        raise DataError("it cannot be read: it does not begin as an HDF5 file does")

    # the superblock of versions 0 and 1 has the size of lengths at byte 14, later ones at byte 10
    lengths = content[14:15] if content[8:9] in (b"\0", b"\1") else content[10:11]
    if lengths != b"\x08":
        raise DataError("its lengths are of another size than 8 bytes, in which most programs write HDF5")

    start = content.find(_HEAP)
    while start >= 0:
        place = start + 16
        end = start + int.from_bytes(content[start + 8 : start + 16], "little")
        if end > len(content):
            raise DataError(f"its heap of texts at byte {start} is longer than the file")

        while place + 16 <= end:
            size = int.from_bytes(content[place + 8 : place + 16], "little")
            # the size of object 0, the free space at the end, includes its head
            length = size if content[place : place + 2] == b"\0\0" else 16 + -(-size // 8) * 8
            if not 16 <= length <= end - place:
                raise DataError(f"its heap of texts at byte {start} is damaged at byte {place}")
            place += length

        start = content.find(_HEAP, start + 8)


def objects_of(h5: Any, size: int, kind: str = "HDF5 file of numbers") -> Iterator[tuple[str, Any]]:
    """Yields every group and array below the root with its path, each after the checks of links, depth and size."""
    import h5py

    declared = 0
    addresses: set[Any] = set()
    groups = [("", h5)]

    while groups:
        path, group = groups.pop()
        if path.count("/") > _MAX_LEVELS:
            raise DataError(f"{path:.60}.. nests deeper than {_MAX_LEVELS} groups")
        # before the walk, which takes long
        if len(addresses) + len(group) > _MAX_OBJECTS:
            raise DataError(f"it has more than {_MAX_OBJECTS} groups and arrays")

        for name in group:
            inner = f"{path}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise DataError(f"{inner} is a link to elsewhere, which no {kind} needs")

            item = group[name]
            # a group that contains itself is of endless depth
            address = h5py.h5o.get_info(item.id).addr
            if address in addresses or item == h5:
                raise DataError(f"{inner} is a second name of the same group or array, which no {kind} needs")

            addresses.add(address)
            if isinstance(item, h5py.Group):
                yield inner, item
                groups.append((inner, item))
                continue

            if not isinstance(item, h5py.Dataset):
                raise DataError(f"{inner} is neither a group nor an array")
            if item.external is not None or item.is_virtual:
                raise DataError(f"{inner} keeps its values in another file")

            declared += item.nbytes
            if declared > MAX_BYTES or declared > _MAX_GROWTH * size + _ALLOWANCE:
                raise DataError(f"it declares {declared} bytes in a file of {size}, more than is read")

            yield inner, item
