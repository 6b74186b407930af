"""JSON objects from a file, one a line or in one document, plain or gzipped, streamed with limits of size."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spikebridge.data.io.safe_open import open_binary
from spikebridge.errors import DataError

MAX_BYTES = 2**31
"""Of a whole file, unpacked."""
MAX_LINE_BYTES = 2**25
MAX_DOCUMENT_BYTES = 2**29


def json_objects(path: Path, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file, each with its place.

    Args:
        path: JSON lines, or one JSON document: an object or a list of objects. Plain, or packed with gzip.
        expected: what should be there, for messages ("a file of scenes").

    Returns:
        Pairs such as `("scenes.jsonl, line 3", {...})`, one after the other.

    Raises:
        DataError: the file is missing, empty, damaged, no JSON, or past a limit.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "some.jsonl"
        >>> _ = path.write_text('{"a": 1}\\n\\n{"a": 2}\\n')
        >>> [(place.split(", ")[1], one) for place, one in json_objects(path, "numbers")]
        [('line 1', {'a': 1}), ('line 3', {'a': 2})]
    """
    with open_binary(path, expected) as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        try:
            yield from _objects(file, str(path), expected)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: expected {expected}, but the packed file is damaged ({error}).") from error


def _objects(file: Any, path: str, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    num_read, some = 0, False
    for number, line in enumerate(_lines(file, path), start=1):
        num_read += len(line)
        if num_read > MAX_BYTES:
            raise DataError(f"{path}: expected {expected} of at most {MAX_BYTES} bytes, but it is larger.")
        if not line.strip():
            continue
        if not some and not _is_whole(line):
            yield from _document(line, file, path, expected)
            return
        some = True
        yield from _each(_parse(line, f"{path}, line {number}"), f"{path}, line {number}", expected)
    if not some:
        raise DataError(f"{path}: expected {expected}, but the file is empty.")


def _lines(file: Any, path: str) -> Iterator[bytes]:
    number = 1
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES and number > 1:
            raise DataError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes.")
        yield line
        number += 1


def _is_whole(line: bytes) -> bool:
    """Whether a first line is JSON of its own, or where a document over several lines begins."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _document(first: bytes, file: Any, path: str, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    content = first + file.read(MAX_DOCUMENT_BYTES + 1 - len(first))
    if len(content) > MAX_DOCUMENT_BYTES:
        raise DataError(
            f"{path}: one JSON document of more than {MAX_DOCUMENT_BYTES} bytes; write one object a line instead."
        )
    yield from _each(_parse(content, path), path, expected)


def _parse(text: bytes, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: this is no JSON ({error}).") from error


def _each(value: Any, place: str, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    many = isinstance(value, list)
    for number, one in enumerate(value if many else [value], start=1):
        here = f"{place}, entry {number}" if many else place
        if not isinstance(one, dict):
            raise DataError(f"{here}: expected {expected}, each a JSON object, but got {one!r:.60}")
        yield here, one
