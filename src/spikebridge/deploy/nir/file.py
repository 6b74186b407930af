"""Opening a NIR file that may come from anywhere. No torch is needed.

A NIR file is HDF5, which `data/io/hdf5` looks through before anything is read into memory.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from spikebridge.data.io.hdf5 import MOST_BYTES, check_heaps, objects_of
from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import DataError, ExportError

_MOST_NODES = 10_000


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
        check_heaps(source)
        _look_through(io.BytesIO(source), len(source), kinds)
        graph = nir.read(io.BytesIO(source), type_check=False)

    if not isinstance(graph, nir.NIRGraph):
        raise DataError(f"{name} holds one {type(graph).__name__}, but a part is a NIRGraph")

    return graph


def _look_through(file: Any, size: int, kinds: Sequence[str]) -> None:
    import h5py

    nodes = 0
    with h5py.File(file, "r") as h5:
        for path, item in objects_of(h5, size, "NIR file"):
            inside, _, name = path.rpartition("/")
            if name != "type" or not isinstance(item, h5py.Dataset) or "metadata" in inside.split("/"):
                continue

            kind = item[()]
            kind = kind.decode() if isinstance(kind, bytes) else f"{kind!s:.60}"
            nodes += 1
            if nodes > _MOST_NODES:
                raise DataError(f"it has more than {_MOST_NODES} nodes")

            if kind not in kinds:
                where = inside.removeprefix("/node/nodes/") or inside
                raise DataError(f"the node {where!r} is a {kind!r}, which is not known; known are {', '.join(kinds)}")
