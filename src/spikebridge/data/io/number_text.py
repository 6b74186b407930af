"""Numbers written in text. Python's own `int` and `float` also take `1_3` (as 13) and digits of other scripts."""

import re

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_REAL = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_MAX_DIGITS = 1000


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
