"""Opening a NIR file from anywhere. No torch is needed.

A NIR file is HDF5, which `data/io/hdf5` checks before anything is read into memory.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spikebridge.data.io.hdf5 import MAX_BYTES, check_heaps, objects_of
from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import DataError, ExportError, import_extra

# layers of a network, and the groups and arrays that they are kept in; a walk over more takes minutes
_MAX_NODES = 2_000
_MAX_OBJECTS = 20_000
# exceptions of h5py and nir for damaged files; they have no common class
_FAULTS = (
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
)


def nir_library() -> Any:
    """The `nir` package; raises an `ExportError` if it is not installed."""
    return import_extra("nir", "nir", "NIR files need", ExportError)


@contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Raises one line in place of the errors of libraries on damaged files."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except _FAULTS as error:
        raise DataError(f"{name} cannot be read: {type(error).__name__}: {error}") from None


def open_graph(source: Any, kinds: Sequence[str]) -> Any:
    """A `nir.NIRGraph` from a path, the bytes of a file, or itself; `kinds` are the names of known nodes.

    Raises a `DataError` if the file is no NIR file, damaged, declares too much, or has an unknown node.
    """
    nir = nir_library()
    # a graph in memory was not read from a file, so there is no file to check
    if isinstance(source, nir.NIRGraph):
        return source

    name = "the NIR file"
    if not isinstance(source, bytes):
        name = f"{source}"
        source = read_bytes(Path(source), "a NIR file", MAX_BYTES)

    with one_line_errors(name):
        check_heaps(source)
        _check_nodes(io.BytesIO(source), len(source), kinds)
        graph = nir.read(io.BytesIO(source), type_check=False)

    if not isinstance(graph, nir.NIRGraph):
        raise DataError(f"{name} holds one {type(graph).__name__}, but a part is a NIRGraph")

    return graph


def _check_nodes(file: Any, size: int, kinds: Sequence[str]) -> None:
    import h5py

    num_nodes = 0
    with h5py.File(file, "r") as h5:
        for number, (path, item) in enumerate(objects_of(h5, size, "NIR file")):
            if number == _MAX_OBJECTS:
                raise DataError(f"it has more than {_MAX_OBJECTS} groups and arrays; join layers, or split the network")

            node, _, name = path.rpartition("/")
            if name != "type" or not isinstance(item, h5py.Dataset) or "metadata" in node.split("/"):
                continue

            num_nodes += 1
            if num_nodes > _MAX_NODES:
                raise DataError(f"it has more than {_MAX_NODES} nodes; join layers, or split the network")

            # some writers store text as bytes
            kind = item[()]
            kind = kind.decode() if isinstance(kind, bytes) else f"{kind!s:.60}"
            if kind not in kinds:
                where = node.removeprefix("/node/nodes/") or node
                raise DataError(f"the node {where!r} is a {kind!r}, which is not known; known are {', '.join(kinds)}")
