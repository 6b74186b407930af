"""Opening a NIR file that may come from anywhere. No torch is needed.

A NIR file is HDF5, and HDF5 can do more than NIR needs: link to other files, and declare arrays far larger than the
file. So it is looked through before anything is read into memory.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import DataError, ExportError

MOST_BYTES = 1 << 30
_MOST_NODES = 10_000
_MOST_OBJECTS = 200_000  # groups and arrays; a node has up to twenty
_MOST_LEVELS = 60
_MOST_GROWTH = 1100  # deflate packs zeros about a thousandfold
_ALLOWANCE = 1 << 20
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01\0\0\0"


def nir_library() -> ModuleType:
    """The `nir` package.

    Raises:
        ExportError: it is not installed.
    """
    try:
        import nir
    except ImportError:
        raise ExportError("NIR files need the package nir; install it with: pip install 'spikebridge[nir]'") from None
    return nir


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turns whatever a damaged file makes the libraries say into one line."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        AssertionError,
        IndexError,
        ArithmeticError,
        OSError,
        RuntimeError,
        MemoryError,
    ) as error:
        raise DataError(f"{what} cannot be read: {type(error).__name__}: {error}") from None


def open_graph(source: Any, kinds: Sequence[str]) -> Any:
    """A `nir.NIRGraph` from a path, the bytes of a file, or itself.

    Args:
        source: the path, the bytes or the graph.
        kinds: names of the nodes that are known.

    Raises:
        DataError: the file is no NIR file, damaged, reaches out of itself, declares too much, or has an unknown node.
    """
    nir = nir_library()
    if isinstance(source, nir.NIRGraph):
        return source
    if isinstance(source, bytes):
        name = "the NIR file"
    else:
        name = f"{source}"
        source = read_bytes(Path(source), "a NIR file", MOST_BYTES)
    with refused(name):
        _check_heaps(source)
        _look_through(io.BytesIO(source), len(source), kinds)
        graph = nir.read(io.BytesIO(source), type_check=False)
    if not isinstance(graph, nir.NIRGraph):
        raise DataError(f"{name} holds one {type(graph).__name__}, but a part is a NIRGraph")
    return graph


def _check_heaps(content: bytes) -> None:
    """Refuses a global heap (where HDF5 keeps texts) whose list of objects has no end: the library reads it for ever.

    The HDF Group, "HDF5 File Format Specification", version 3.0, section III.E.
    """
    if content[: len(_SIGNATURE)] != _SIGNATURE:
        raise DataError("it cannot be read: it does not begin as an HDF5 file does")
    lengths = content[14:15] if content[8:9] in (b"\0", b"\1") else content[10:11]
    if lengths != b"\x08":
        raise DataError("its lengths are of another size than 8 bytes, in which NIR files are written")
    start = content.find(_HEAP)
    while start >= 0:
        place, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
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


def _look_through(file: Any, size: int, kinds: Sequence[str]) -> None:
    import h5py

    declared = nodes = 0
    seen: set[Any] = set()
    with h5py.File(file, "r") as h5:
        waiting = [("", h5)]
        while waiting:
            path, group = waiting.pop()
            if path.count("/") > _MOST_LEVELS:
                raise DataError(f"{path:.60}.. nests deeper than {_MOST_LEVELS} groups")
            for name in group:
                inner = f"{path}/{name}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise DataError(f"{inner} is a link to elsewhere, which no NIR file needs")
                item = group[name]
                # a group that contains itself is of endless depth
                address = h5py.h5o.get_info(item.id).addr
                if address in seen or item == h5:
                    raise DataError(f"{inner} is a second name of the same group or array, which no NIR file needs")
                seen.add(address)
                if len(seen) > _MOST_OBJECTS:
                    raise DataError(f"it has more than {_MOST_OBJECTS} groups and arrays")
                if isinstance(item, h5py.Group):
                    waiting.append((inner, item))
                    continue
                if not isinstance(item, h5py.Dataset):
                    raise DataError(f"{inner} is neither a group nor an array")
                if item.external is not None or item.is_virtual:
                    raise DataError(f"{inner} keeps its values in another file")
                declared += item.nbytes
                if declared > MOST_BYTES or declared > _MOST_GROWTH * size + _ALLOWANCE:
                    raise DataError(f"it declares {declared} bytes in a file of {size}, more than is read")
            if "type" in group and isinstance(group["type"], h5py.Dataset) and "metadata" not in path.split("/"):
                kind = group["type"][()]
                kind = kind.decode() if isinstance(kind, bytes) else f"{kind!s:.60}"
                nodes += 1
                if nodes > _MOST_NODES:
                    raise DataError(f"it has more than {_MOST_NODES} nodes")
                if kind not in kinds:
                    where = path.removeprefix("/node/nodes/") or path
                    raise DataError(
                        f"the node {where!r} is a {kind!r}, which is not known; known are {', '.join(kinds)}"
                    )
