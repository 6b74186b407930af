"""Numbers written in text. Python's own `int` and `float` also take `1_3` (as 13) and digits of other scripts."""

import re

from spikebridge.errors import ConfigError

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_REAL = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_MAX_DIGITS = 1000
_MAX_PORT = 65535


def parse_integer(word: str) -> int:
    """The integer of a word of digits; outer spaces are ignored."""
    if len(word) > _MAX_DIGITS or not _INTEGER.fullmatch(word.strip()):
        raise ValueError(f"expected an integer, but found {word!r:.60}")

    return int(word)


def parse_port(word: str | int, form: str = "a port", min_port: int = 1) -> int:
    """The number of an internet port; `form` is the form of the option, with PORT in place of the number."""
    try:
        port = parse_integer(word) if isinstance(word, str) else word
    except ValueError:
        port = -1

    is_digits = isinstance(word, int) or word.isdecimal()
    if isinstance(port, bool) or not is_digits or not min_port <= port <= _MAX_PORT:
        example = f", such as {form.replace('PORT', '5000')}" if "PORT" in form else ""
        raise ConfigError(f"{form} takes a number from 1 to {_MAX_PORT}{example}, but got {word!r:.60}")

    return port


def parse_real(word: str) -> float:
    """The number of a decimal word, with or without an exponent, or of `nan` and `inf`; outer spaces are ignored."""
    if len(word) > _MAX_DIGITS or not _REAL.fullmatch(word.strip()):
        raise ValueError(f"expected a number, but found {word!r:.60}")

    return float(word)
