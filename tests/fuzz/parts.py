"""Ways to open a part of a file, damage it and close the file again, with its checksum or length made to fit."""

import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import TypeAlias

from fuzz import mutators
from fuzz.oracles import after_header

Part: TypeAlias = Callable[[bytes, random.Random], tuple[bytes, Callable[[bytes], bytes]]]


def gzip_part(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    return gzip.decompress(content), lambda inner: gzip.compress(inner, 1, mtime=0)


def zip_member(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """A member of an archive, which gets the checksum of its new content."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    chosen = chance.choice(list(members))

    def close(inner: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, member in members.items():
                # the time of day is no part of a file that can be made again
                archive.writestr(zipfile.ZipInfo(name), inner if name == chosen else member, zipfile.ZIP_DEFLATED)

        return out.getvalue()

    return members[chosen], close


def npy_header(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The text of the header of an array in an archive."""
    member, close = zip_member(content, chance)
    length = int.from_bytes(member[8:10], "little")

    return member[10 : 10 + length], lambda inner: close(
        member[:8] + len(inner).to_bytes(8, "little")[:2] + inner + member[10 + length :]
    )


def safetensors_header(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The JSON text before the numbers, which may get another length."""
    start = after_header(content)
    rest = content[start:]
    changed = chance.choice((mutators.json_value, mutators.odd_number, mutators.separators_changed))
    return content[8:start], lambda inner: struct.pack("<Q", len(text := changed(inner, chance))) + text + rest


def safetensors_numbers(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The numbers after the header, which keep their length."""
    start = after_header(content)
    length = len(content) - start
    return content[start:], lambda inner: content[:start] + inner[:length].ljust(length, b"\0")


def png_header(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Width, height and kind of the pixels, with the checksum of their chunk."""

    def close(inner: bytes) -> bytes:
        head = b"IHDR" + inner[:13].ljust(13, b"\0")
        return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]

    return content[16:29], close


def wav_header(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    return content[:44], lambda inner: inner + content[44:]
