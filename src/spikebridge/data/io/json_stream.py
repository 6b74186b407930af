"""JSON objects from a file, one a line or in one document, plain or gzipped, streamed with limits of size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spikebridge.data.io.json_text import parse_json
from spikebridge.data.io.safe_open import Readable, open_unpacked, read_at_most
from spikebridge.errors import DataError

MAX_BYTES = 2**31  # of an unpacked file
MAX_LINE_BYTES = 2**25
MAX_DOCUMENT_BYTES = 2**29
_MAX_LINES = 2**22
MAX_OBJECTS = 2**20


def json_objects(path: Path, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the objects of a file, plain or gzipped: JSON lines, or one document that is an object or a list of them.

    Each object comes with its place, such as `("scenes.jsonl, line 3", {...})`.
    """
    with open_unpacked(path, expected) as file:
        yield from _objects(file, str(path), expected)


def _objects(file: Readable, path: str, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    num_read = 0
    num_objects = 0
    num_values = 0

    for number, line in enumerate(_lines(file, path), start=1):
        num_read += len(line)
        if num_read > MAX_BYTES:
            raise DataError(f"{path}: expected {expected} of at most {MAX_BYTES} bytes, but it is larger.")
        if not line.strip():
            continue

        place = f"{path}, line {number}"
        try:
            value = parse_json(line, place)
        except DataError:
            if num_values:
                raise
            # the first line alone is no JSON: a document over several lines
            place = path
            value = parse_json(_whole(line, file, path), path)

        num_values += 1
        for where, one in _each(value, place, expected):
            num_objects += 1
            if num_objects > MAX_OBJECTS:
                raise DataError(f"{where}: a file of more than {MAX_OBJECTS} objects is not read; split it.")
            yield where, one

    if not num_values:
        raise DataError(f"{path}: expected {expected}, but the file is empty.")


def _lines(file: Readable, path: str) -> Iterator[bytes]:
    read: Any = file
    for number in range(1, _MAX_LINES + 1):
        line = read.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        if len(line) > MAX_LINE_BYTES and number > 1:
            raise DataError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes.")
        yield line

    raise DataError(f"{path}: a file of more than {_MAX_LINES} lines is not read; split it.")


def _whole(first: bytes, file: Readable, path: str) -> bytes:
    """The first line of a file and the rest of it."""
    content = first + read_at_most(file, MAX_DOCUMENT_BYTES + 1 - len(first))
    if len(content) > MAX_DOCUMENT_BYTES:
        raise DataError(f"{path}: one JSON document of more than {MAX_DOCUMENT_BYTES} bytes; write an object a line.")

    return content


def _each(value: Any, place: str, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    is_list = isinstance(value, list)
    for number, entry in enumerate(value if is_list else [value], start=1):
        where = f"{place}, entry {number}" if is_list else place
        if not isinstance(entry, dict):
            raise DataError(f"{where}: expected {expected}, each a JSON object, but got {entry!r:.60}")
        yield where, entry
