"""Columns of numbers that may be larger than memory: short ones are arrays, long ones lie in a temporary file.

A long event file is read in chunks, which `concatenate_chunks` joins. The temporary file has no name and is removed
with its column; the environment variable `TMPDIR` chooses its folder.
"""

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, NoReturn, TypeAlias

import numpy as np
from jaxtyping import Int64
from numpy.typing import DTypeLike, NDArray

from spikebridge.errors import DataError

MAX_MEMORY_BYTES = 2**24  # bytes of columns that belong together
CHUNK_ROWS = 2**18  # rows that are read at once


class FileColumn:
    """A column in a temporary file; rows are read on access. A copy of a column is the column itself.

    Args:
        dtype: of a number.
        row: shape of a row; of single numbers without it.

    Raises:
        DataError: there is no folder for temporary files.

    Example:
        >>> column = FileColumn(np.int64)
        >>> column.append(np.arange(5))
        >>> column.append(np.arange(3))
        >>> len(column), column[3:7].tolist(), column[7:9].tolist()
        (8, [3, 4, 0, 1], [2])
    """

    def __init__(self, dtype: DTypeLike, row: tuple[int, ...] = ()) -> None:
        self._empty = np.empty((0, *row), dtype)
        self._row_bytes = np.empty(row, dtype).nbytes
        self._length = 0
        self._lock = Lock()  # guards the position of the file

        with _with_file_name():
            # no `with`: the file lives as long as the column
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        """Number of rows."""
        return self._length

    def append(self, rows: NDArray[Any]) -> None:
        """Adds rows at the end.

        Raises:
            DataError: the disk is full.
        """
        remaining = memoryview(np.asarray(rows, self._empty.dtype).tobytes())
        with self._lock, _with_file_name():
            self._file.seek(self._length * self._row_bytes)
            # an unbuffered file may write a part only
            while remaining:
                remaining = remaining[self._file.write(remaining) :]

        self._length += len(rows)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Consecutive rows as an array."""
        start, stop, step = rows.indices(self._length)
        if step != 1:
            raise IndexError(f"a column in a file gives consecutive rows, but got a step of {step}.")

        size = max(0, stop - start) * self._row_bytes
        content = bytearray()
        while len(content) < size:
            content += self._read(size - len(content), start * self._row_bytes + len(content))

        return np.frombuffer(content, self._empty.dtype).reshape(-1, *self._empty.shape[1:])

    def __copy__(self) -> "FileColumn":
        """The column itself."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "FileColumn":
        """The column itself."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuses to be pickled.

        Raises:
            DataError: always.
        """
        raise DataError("events or frames in a temporary file cannot be pickled for another process; read them there.")

    def _read(self, size: int, place: int) -> bytes:
        """Bytes of the file, as many as one read returns."""
        # `pread` does not move the position of the file, so threads and processes may read at once
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, place)

        # Windows has no `pread`, and no processes that share a file
        with self._lock:
            self._file.seek(place)
            content: bytes = self._file.read(size)

        return content


@contextmanager
def _with_file_name() -> Iterator[None]:
    """Turns an error of a temporary file into a `DataError` that names its folder."""
    try:
        yield
    except OSError as error:
        # where no folder can be written to, `tempfile` has none to name
        where = f" in {tempfile.tempdir}" if tempfile.tempdir else ""
        raise DataError(
            f"a temporary file{where} could not be written ({error.strerror}); set TMPDIR to a folder with enough "
            "space."
        ) from error


Column: TypeAlias = NDArray[Any] | FileColumn


def concatenate_chunks(
    chunks: Iterable[Mapping[str, NDArray[Any]]], kinds: Mapping[str, DTypeLike]
) -> dict[str, Column]:
    """Joins chunks of columns: arrays, or files if all together exceed `MAX_MEMORY_BYTES` bytes."""
    in_memory: dict[str, list[NDArray[Any]]] = {name: [] for name in kinds}
    files: dict[str, FileColumn] = {}
    size = 0

    for chunk in chunks:
        for name, kind in kinds.items():
            in_memory[name].append(np.ascontiguousarray(chunk[name], kind))
            size += in_memory[name][-1].nbytes

        if size <= MAX_MEMORY_BYTES:
            continue

        # from here on each chunk goes to the files
        if not files:
            files = {name: FileColumn(kinds[name], columns[0].shape[1:]) for name, columns in in_memory.items()}

        for name, columns in in_memory.items():
            while columns:
                files[name].append(columns.pop(0))

    if files:
        return dict(files)

    return {name: np.concatenate(columns or [np.empty(0, kinds[name])]) for name, columns in in_memory.items()}


def iter_chunks(*columns: Column) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yields columns of one length in chunks of `CHUNK_ROWS` rows."""
    for start in range(0, len(columns[0]), CHUNK_ROWS):
        yield tuple(column[start : start + CHUNK_ROWS] for column in columns)


def column_searchsorted(column: Column, values: Int64[np.ndarray, " V"]) -> Int64[np.ndarray, " V"]:
    """`numpy.searchsorted(column, values)` for rising values, and a column that may lie in a file."""
    places = np.zeros(len(values), np.int64)
    for (chunk,) in iter_chunks(column):
        # most values lie beyond a chunk and need no search
        inside, after = np.searchsorted(values, chunk[[0, -1]], side="right")
        places[inside:after] += np.searchsorted(chunk, values[inside:after])
        places[after:] += len(chunk)

    return places
