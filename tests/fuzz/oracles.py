"""Readings of accepted files: checks that the formats name, and fingerprints of what was read.

A reader that accepts a damaged file may have read something else in silence. Each check gets an accepted file and its
specimen, and gives a line that says what is wrong, or an empty one.
"""

import dataclasses
import hashlib
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

_MAX_DEPTH = 12


class Accepted(NamedTuple):
    """An accepted file.

    Args:
        before: content of the specimen.
        after: content of the damaged file.
        is_opened: whether it was damaged behind its checksum, which was made again.
        link: the kind of link that stands in its place, "" for a file.
        value: what was read.
        same: whether what was read is that of the specimen.
    """

    before: bytes
    after: bytes
    is_opened: bool
    link: str
    value: Any
    same: bool


Check: TypeAlias = Callable[[Accepted], str]


def sealed(one: Accepted) -> str:
    """A checksum covers all that is read."""
    return "" if one.is_opened or one.same else "a file with a checksum was read as something else"


def closed(one: Accepted) -> str:
    """A folder that no link leaves; one to itself is as good as none."""
    return "a link that leaves the folder was followed" if one.link not in ("", "itself") else ""


def payload(start: Callable[[bytes], int], length: int | None = None) -> Check:
    """Numbers without a checksum: a change in them, and nowhere else, is read or refused."""

    def check(one: Accepted) -> str:
        first = start(one.before)
        stop = len(one.before) if length is None else first + length
        elsewhere = one.after[:first] != one.before[:first] or one.after[stop:] != one.before[stop:]
        if one.same and len(one.after) == len(one.before) and not elsewhere and one.after != one.before:
            return f"numbers between the bytes {first} and {stop} were changed, but the same was read"
        return ""

    return check


def rows(count: Callable[[Any], int], header: int = 1) -> Check:
    """A table of which every line is read, but lines that are blank or hold an empty list."""

    def check(one: Accepted) -> str:
        # a packed file
        if one.is_opened:
            return ""

        lines = re.split(rb"\r\n|\n|\r", one.after)
        expected = sum(line.strip() not in (b"", b"[]") for line in lines) - header
        found = count(one.value)
        return "" if found == expected else f"{expected} rows in the file, but {found} were read"

    return check


def at(place: int) -> Callable[[bytes], int]:
    return lambda content: place


def after(mark: bytes) -> Callable[[bytes], int]:
    """The place behind a text."""
    return lambda content: content.index(mark) + len(mark)


def after_header(content: bytes) -> int:
    """The place of the numbers in safetensors."""
    return 8 + int(struct.unpack_from("<Q", content)[0])


# fingerprints


def fingerprint(value: Any, rounded: bool = False) -> str:
    """A short digest of what was read; `rounded` floats are the same on machines with other libraries."""
    digest = hashlib.sha256()
    for piece in _pieces(value, rounded, 0):
        digest.update(piece)

    return digest.hexdigest()[:16]


def _pieces(value: Any, rounded: bool, depth: int) -> Iterator[bytes]:
    if depth > _MAX_DEPTH:
        yield b"..."
    elif isinstance(value, np.ndarray | np.generic) or type(value).__module__.startswith("torch"):
        yield from _array_pieces(value, rounded, depth)
    elif isinstance(value, float):
        yield (f"{value:.3g}" if rounded else repr(value)).encode()
    elif isinstance(value, Path):
        # folders differ from run to run
        yield value.name.encode()
    elif isinstance(value, str | bytes | int | None):
        yield repr(value).encode()
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield f"{key!r}:".encode()
            yield from _pieces(value[key], rounded, depth + 1)
    elif isinstance(value, list | tuple):
        yield f"({len(value)}".encode()
        for one in value:
            yield from _pieces(one, rounded, depth + 1)
    elif isinstance(value, set | frozenset):
        yield from _pieces(sorted(value, key=repr), rounded, depth)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        yield from _pieces(fields, rounded, depth)
    else:
        yield type(value).__name__.encode()
        yield from _pieces(getattr(value, "__dict__", {}) if not callable(value) else {}, rounded, depth + 1)


def _array_pieces(value: Any, rounded: bool, depth: int) -> Iterator[bytes]:
    if hasattr(value, "state_dict"):
        # a module: its numbers, and what it says of itself
        yield from _pieces({**value.state_dict(), "text": repr(value)}, rounded, depth + 1)
        return

    if not hasattr(value, "shape"):
        yield repr(value).encode()
        return

    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    yield f"{array.dtype}{array.shape}".encode()
    if array.dtype.kind == "O":
        yield from _pieces(array.ravel().tolist(), rounded, depth + 1)
    elif rounded and array.dtype.kind in "fc":
        yield " ".join(f"{number:.3g}" for number in array.ravel().tolist()).encode()
    else:
        yield np.ascontiguousarray(array).tobytes()
