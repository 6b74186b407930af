"""JSON of unknown origin: bytes, depth and number of values are checked before it is parsed."""

import json
from pathlib import Path
from typing import Any

from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import DataError

MAX_BYTES = 2**24  # of a file that is read as a whole: settings, results, a manifest
_MAX_DEPTH = 100
MAX_VALUES = 2**24  # a value takes about 80 bytes of memory
_BLOCK_BYTES = 2**19  # a block takes fifty times its size


def read_json(path: Path, expected: str, max_bytes: int = MAX_BYTES) -> Any:
    """The value of a JSON file."""
    return parse_json(read_bytes(path, expected, max_bytes), str(path))


def parse_json(content: bytes | str, place: str) -> Any:
    """The value of a JSON text in UTF-8, with or without a byte order mark; `place` is for messages."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        _check_limits(content.encode() if isinstance(content, str) else content, place)
        return json.loads(text)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: this is no JSON ({error}).") from error


def _check_limits(content: bytes, place: str) -> None:
    """Refuses JSON that would take too much memory, or too many levels of calls."""
    # a text this short cannot nest too deep or hold too many values
    if len(content) <= _MAX_DEPTH:
        return

    opened = content.count(b"[") + content.count(b"{")
    if opened + content.count(b",") + content.count(b":") > MAX_VALUES:
        raise DataError(f"{place}: JSON of more than {MAX_VALUES} values is not read.")
    if opened > _MAX_DEPTH and _depth(content) > _MAX_DEPTH:
        raise DataError(f"{place}: JSON that nests deeper than {_MAX_DEPTH} levels is not read.")


def _depth(content: bytes) -> int:
    """The largest number of open brackets outside strings."""
    # here, since numpy takes longer to load than `--help` to answer
    import numpy as np

    # an escaped quote ends no string; escaped backslashes go first, since the quote after one does end it
    content = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    deepest = depth = in_string = 0

    for start in range(0, len(content), _BLOCK_BYTES):
        block = np.frombuffer(content, np.uint8, min(_BLOCK_BYTES, len(content) - start), start)
        # the codes of the four brackets and a few other signs differ in bits of 0x26 alone
        places = np.flatnonzero((block == ord('"')) | ((block | 0x26) == 0x7F))
        symbols = block[places]
        quotes = np.cumsum(symbols == ord('"')) + in_string
        steps = np.isin(symbols, (ord("["), ord("{"))).astype(np.int64) - np.isin(symbols, (ord("]"), ord("}")))
        levels = depth + np.cumsum(np.where(quotes % 2, 0, steps))

        if len(levels):
            deepest = max(deepest, int(levels.max()))
            depth = int(levels[-1])
            in_string = int(quotes[-1] % 2)

    return deepest
