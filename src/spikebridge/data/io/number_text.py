"""Numbers written in text. Python's own `int` and `float` also take `1_3` (as 13) and digits of other scripts."""

import re

from spikebridge.errors import ConfigError

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_REAL = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_MAX_DIGITS = 1000
_LAST_PORT = 65535


def parse_integer(word: str) -> int:
    """The whole number that a word says.

    Args:
        word: digits with or without a sign; spaces around them are left out.

    Raises:
        ValueError: it is no such word.

    Example:
        >>> parse_integer(" -12 ")
        -12
        >>> parse_integer("1_3")
        Traceback (most recent call last):
        ...
        ValueError: expected a whole number, but found '1_3'
    """
    if len(word) > _MAX_DIGITS or not _INTEGER.fullmatch(word.strip()):
        raise ValueError(f"expected a whole number, but found {word!r:.60}")

    return int(word)


def parse_port(word: str | int, form: str = "a port", least: int = 1) -> int:
    """The number of a port of the internet protocol.

    Args:
        word: the number, or its digits alone.
        form: what the user typed, for the message, with PORT in the place of the number.
        least: 0 where the system may choose one.

    Raises:
        ConfigError: it is no such number.

    Example:
        >>> parse_port("5000")
        5000
        >>> parse_port("x", "tcp:PORT")
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: tcp:PORT takes a number from 1 to 65535, such as tcp:5000, but got 'x'
    """
    try:
        port = parse_integer(word) if isinstance(word, str) else word
    except ValueError:
        port = -1

    if isinstance(port, bool) or not least <= port <= _LAST_PORT or (isinstance(word, str) and not word.isdecimal()):
        example = f", such as {form.replace('PORT', '5000')}" if "PORT" in form else ""
        raise ConfigError(f"{form} takes a number from 1 to {_LAST_PORT}{example}, but got {word!r:.60}")

    return port


def parse_real(word: str) -> float:
    """The number that a word says.

    Args:
        word: decimal, with or without an exponent, or `nan`, `inf`; spaces around it are left out.

    Raises:
        ValueError: it is no such word.

    Example:
        >>> parse_real("1.5e-3"), parse_real("-inf")
        (0.0015, -inf)
        >>> parse_real("1_3")
        Traceback (most recent call last):
        ...
        ValueError: expected a number, but found '1_3'
    """
    if len(word) > _MAX_DIGITS or not _REAL.fullmatch(word.strip()):
        raise ValueError(f"expected a number, but found {word!r:.60}")

    return float(word)
