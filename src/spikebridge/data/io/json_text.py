"""JSON of unknown origin: bytes, depth and number of values are checked before it is parsed."""

import json
from pathlib import Path
from typing import Any

from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import DataError

MAX_BYTES = 2**24
"""Of a file that is read as a whole: settings, results, a manifest."""
_MAX_DEPTH = 100
MAX_VALUES = 2**24
"""A value takes about 80 bytes of memory."""
_BLOCK_BYTES = 2**22


def read_json(path: Path, expected: str, max_bytes: int = MAX_BYTES) -> Any:
    """The value of a JSON file.

    Args:
        path: the file.
        expected: what should be there, for the message ("the settings of a run").
        max_bytes: the largest file that is read.

    Raises:
        DataError: the file is missing, no regular file, empty, too large or no JSON, or past a limit.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "a.json"
        >>> _ = path.write_text('{"size": [3, 4]}')
        >>> read_json(path, "a size")
        {'size': [3, 4]}
    """
    return parse_json(read_bytes(path, expected, max_bytes), str(path))


def parse_json(content: bytes | str, place: str) -> Any:
    """The value of a JSON text.

    Args:
        content: in UTF-8, with or without a byte order mark.
        place: where the text comes from, for the message.

    Returns:
        Of dict, list, str, int, float, bool and None.

    Raises:
        DataError: the text is no JSON, nests deeper than 100 values, or has more than 16,777,216.

    Example:
        >>> parse_json('{"a": [1, 2.5, null]}', "settings")
        {'a': [1, 2.5, None]}
        >>> parse_json("[" * 100_000, "settings")
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: settings: JSON that nests deeper than 100 levels is not read.
    """
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
    if len(content) <= _MAX_DEPTH:
        return

    opened = content.count(b"[") + content.count(b"{")
    if opened + content.count(b",") + content.count(b":") > MAX_VALUES:
        raise DataError(f"{place}: JSON of more than {MAX_VALUES} values is not read.")
    if opened > _MAX_DEPTH and _depth(content) > _MAX_DEPTH:
        raise DataError(f"{place}: JSON that nests deeper than {_MAX_DEPTH} levels is not read.")


def _depth(content: bytes) -> int:
    """The largest number of brackets that are open at once, without those in strings."""
    import numpy as np  # here, since it takes longer to load than `--help` to answer

    # an escaped quote ends no string; escaped backslashes go first, since the quote after one does end it
    content = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    deepest = depth = in_string = 0

    for start in range(0, len(content), _BLOCK_BYTES):
        block = np.frombuffer(content, np.uint8, min(_BLOCK_BYTES, len(content) - start), start)
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
