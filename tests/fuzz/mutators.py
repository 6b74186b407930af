"""Ways to damage a file: each takes its bytes and a generator of chances, and gives the bytes of another file."""

import csv
import functools
import gzip
import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Mutator: TypeAlias = Callable[[bytes, random.Random], bytes]

_ODD_NUMBERS = (
    *("0", "-1", "1e999", "-1e999", "nan", "inf", "-inf", "1e-320", "0x10", "1_3", "+5", "5.", ".5", "1e", "٣", "½"),
    *("4294967296", "2147483647", "-2147483648", "9223372036854775807", "9223372036854775808", "9" * 30, "9" * 5000),
    *("", " ", "-", "1.0", "1,0", "true", "null"),
)
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "inf", "nan", "null", "\x00", "\x1b[31m", "..", "/dev/zero", "a" * 10_000, "é", "\ud800"),
    *([], {}, [[]], [None], [0] * 1000, {"": {}}, [{}, {}], {"a": 1}),
)
_LENGTHS = (0, 1, 2, 127, 128, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def _cut(content: bytes, chance: random.Random, longest: int = 64) -> tuple[int, int]:
    """Two places, the second after the first."""
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + chance.randrange(1, longest))


def truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def cut_the_end(content: bytes, chance: random.Random) -> bytes:
    return content[: max(0, len(content) - chance.randrange(1, 40))]


def flip_bits(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    # one wrong bit gets furthest into a reader
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, chance: random.Random) -> bytes:
    start, stop = _cut(content, chance)
    return content[:start] + chance.randbytes(stop - start) + content[stop:]


def zero_run(content: bytes, chance: random.Random) -> bytes:
    start, stop = _cut(content, chance, 512)
    return content[:start] + bytes([chance.choice((0, 0, 255))]) * (stop - start) + content[stop:]


def zero_rest(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content) + 1)
    return content[:start] + bytes(len(content) - start)


def remove(content: bytes, chance: random.Random) -> bytes:
    start, stop = _cut(content, chance)
    return content[:start] + content[stop:]


def insert(content: bytes, chance: random.Random) -> bytes:
    start, stop = _cut(content, chance)
    return content[:start] + chance.randbytes(stop - start) + content[start:]


def splice(content: bytes, chance: random.Random) -> bytes:
    """A piece of the file in another place."""
    start, stop = _cut(content, chance, 256)
    there, end = _cut(content, chance, 256)
    return content[:there] + content[start:stop] + content[end:]


def repeat(content: bytes, chance: random.Random) -> bytes:
    start, stop = _cut(content, chance, 256)
    return content[:start] + content[start:stop] * chance.choice((2, 3, 100, 1000)) + content[stop:]


def append(content: bytes, chance: random.Random) -> bytes:
    return content + chance.choice((content, b"\0", b"\n", chance.randbytes(20), content[:20]))


def length_field(content: bytes, chance: random.Random) -> bytes:
    """A number of 1 to 8 bytes that is far too large, or off by one."""
    size = chance.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    order = chance.choice("<>")
    width, code = size
    if len(content) < width:
        return content

    start = chance.randrange(len(content) - width + 1)
    (old,) = struct.unpack_from(order + code, content, start)
    new = chance.choice((*_LENGTHS, old + 1, old - 1, 2 * old, old // 2)) % 2 ** (8 * width)

    return content[:start] + struct.pack(order + code, new) + content[start + width :]


def header_bytes(content: bytes, chance: random.Random) -> bytes:
    """Like the others, but among the first bytes, where formats keep what they are."""
    mutate = chance.choice((flip_bits, overwrite, zero_run, length_field, remove, insert))
    # most headers end before byte 48
    head = min(len(content), 48)
    return mutate(content[:head], chance) + content[head:]


BINARY: tuple[Mutator, ...] = (
    *(truncate, cut_the_end, flip_bits, overwrite, zero_run, zero_rest, remove, insert, splice, repeat, append),
    *(length_field, header_bytes),
)


def odd_number(content: bytes, chance: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if not found:
        return content
    one = chance.choice(found)
    return content[: one.start()] + chance.choice(_ODD_NUMBERS).encode() + content[one.end() :]


def lines_changed(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    index = chance.randrange(len(lines))
    other = chance.randrange(len(lines))
    how = chance.randrange(6)

    if how == 0:
        del lines[index]
    elif how == 1:
        lines[index], lines[other] = lines[other], lines[index]
    elif how == 2:
        lines.insert(index, lines[other])
    elif how == 3:
        lines[index] = lines[index] * chance.choice((2, 1000))
    elif how == 4:
        lines.insert(index, b"")
    else:
        # the title alone, once or twice
        lines = lines[:1] * chance.choice((1, 2))

    return chance.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r", b"")).join(lines)


def separators_changed(content: bytes, chance: random.Random) -> bytes:
    places = [i for i, byte in enumerate(content) if byte in b",:;\"'[]{}()\n\t "]
    if not places:
        return content

    place = chance.choice(places)
    odd = (b"", b",", b",,", b":", b'"', b"[", b"]", b"{", b"}", b"\0", b"\n", b"[" * 3000, b"\xef\xbb\xbf")
    new = chance.choice(odd)

    return content[:place] + new + content[place + chance.randrange(2) :]


def other_encoding(content: bytes, chance: random.Random) -> bytes:
    text = content.decode("utf-8", errors="replace")
    return chance.choice(
        (
            b"\xef\xbb\xbf" + content,
            b"\xef\xbb\xbf",
            text.encode("utf-16"),
            text.encode("utf-32"),
            content.replace(b"1", b"\xff"),
            content.upper(),
        )
    )


def zero_byte(content: bytes, chance: random.Random) -> bytes:
    """A zero byte inside a name or a text."""
    places = [one.start() for one in re.finditer(rb"(?<=\w)\w", content)]
    place = chance.choice(places) if places else 0
    return content[:place] + b"\0" + content[place:]


def huge_count(content: bytes, chance: random.Random) -> bytes:
    """A whole number that is some powers of ten larger: not odd, but much."""
    found = list(re.finditer(rb"(?<![\w.])\d{1,6}(?![\w.])", content))
    if not found:
        return content
    one = chance.choice(found)
    return content[: one.end()] + b"0" * chance.randrange(1, 13) + content[one.end() :]


TEXT: tuple[Mutator, ...] = (odd_number, lines_changed, separators_changed, other_encoding, zero_byte, huge_count)


# content that grows when it is unpacked

_GROWTH_BYTES = 2**24


@functools.lru_cache
def _packed_zeros(byte: bytes) -> bytes:
    return gzip.compress(byte * _GROWTH_BYTES, 9, mtime=0)


def gzip_growth(content: bytes, chance: random.Random) -> bytes:
    """A gzip file with more members, of 16 MiB each, after its content."""
    packed = content if content[:2] == b"\x1f\x8b" else gzip.compress(content, 1, mtime=0)
    return packed + _packed_zeros(chance.choice((b"\0", b" ", b"\n", b"[", b"1"))) * chance.choice((1, 4, 16))


def zip_growth(content: bytes, chance: random.Random) -> bytes:
    """An archive of arrays one of which is zeros, many of them; one that is damaged already stays as it is."""
    place = chance.random()
    num_bytes = chance.choice((2**20, 2**24, 2**24, 2**28))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()

        return _grown(content, names[int(place * len(names))], num_bytes)
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, IndexError, EOFError, RuntimeError, OSError):
        return content


@functools.lru_cache(maxsize=32)
def _grown(content: bytes, name: str, num_bytes: int) -> bytes:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for member in archive.namelist():
            kept = archive.read(member)
            grown = _zeros_like(kept, num_bytes) if member == name else kept
            target.writestr(zipfile.ZipInfo(member), grown, zipfile.ZIP_DEFLATED)

    return out.getvalue()


def _zeros_like(member: bytes, num_bytes: int) -> bytes:
    try:
        array = np.load(io.BytesIO(member))
    except (ValueError, EOFError, OSError):
        return member + bytes(num_bytes)

    inner = array.shape[1:]
    rows = num_bytes // max(1, array.itemsize * int(np.prod(inner, dtype=np.int64)))
    out = io.BytesIO()
    np.save(out, np.zeros((rows, *inner), array.dtype))

    return out.getvalue()


def csv_cell(content: bytes, chance: random.Random) -> bytes:
    try:
        rows = list(csv.reader(content.decode("utf-8", errors="replace").splitlines()))
    except csv.Error:
        return content

    if not rows:
        return content

    row = chance.choice(rows)
    how = chance.randrange(4)
    if how == 0 and row:
        row[chance.randrange(len(row))] = chance.choice((*_ODD_NUMBERS, *(str(one) for one in _ODD_VALUES)))
    elif how == 1 and row:
        del row[chance.randrange(len(row))]
    elif how == 2:
        row.insert(0, chance.choice(_ODD_NUMBERS))
    else:
        chance.shuffle(rows)

    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)

    return out.getvalue().encode("utf-8", errors="replace")


def json_value(content: bytes, chance: random.Random) -> bytes:
    """Another value, no value, a second value or another name somewhere in a JSON text, or in a line of JSON lines."""
    lines = content.split(b"\n")
    filled = [i for i, line in enumerate(lines) if line.strip()]

    try:
        value = json.loads(content)
        line = None
    except (ValueError, RecursionError):
        try:
            line = chance.choice(filled)
            value = json.loads(lines[line])
        except (ValueError, IndexError, RecursionError):
            return content

    changed = _changed(value, chance)
    text = json.dumps(changed).encode()
    if line is None:
        return text

    return b"\n".join([*lines[:line], text, *lines[line + 1 :]])


def _changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, str) and chance.random() < 0.3:
        place = chance.randrange(len(value) + 1)
        return value[:place] + chance.choice(("\0", "\ud800", "\n", "/", "x" * 300)) + value[place:]
    if type(value) is int and chance.random() < 0.3:
        return value * 10 ** chance.randrange(1, 13)

    # also a whole branch, not its leaves alone
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return chance.choice(_ODD_VALUES)

    key: Any = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
    copy = value.copy()
    how = chance.randrange(8)
    if how == 0:
        del copy[key]
    elif how == 1 and isinstance(copy, dict):
        copy[chance.choice((key + "s", key + "\0", "", "__class__", "a" * 300))] = copy.pop(key)
    elif how == 1:
        copy.insert(0, copy[key])
    elif how == 2:
        other: Any = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        copy[key] = copy[other]
    else:
        copy[key] = _changed(copy[key], chance)

    return copy


# kinds of links that stand in the place of a file, the first with its content
LINKS = ("a copy elsewhere", "nothing", "itself", "a device", "a folder")
# those that make the checksums of what they write
RESEALED: tuple[Mutator, ...] = (gzip_growth, zip_growth)
JSON: tuple[Mutator, ...] = (json_value, json_value, json_value, json_value)
CSV: tuple[Mutator, ...] = (csv_cell, csv_cell, csv_cell)
