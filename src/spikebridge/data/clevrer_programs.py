"""The vocabulary of CLEVRER's programs: postfix tokens, and the names that the original files have for some of them."""

from collections.abc import Sequence
from typing import Any

from spikebridge.data.scenes import ATTRIBUTES
from spikebridge.errors import DataError, did_you_mean

SETS = ("objects", "events", "all_events", "unseen_events")
FILTERS = (
    *(f"filter_{kind}" for kind in ATTRIBUTES),
    *("filter_in", "filter_out", "filter_collision", "filter_start", "filter_end"),
    *("filter_moving", "filter_stationary", "filter_before", "filter_after", "filter_order", "filter_ancestor"),
    "filter_counterfact",
)
QUERIES = (
    *(f"query_{kind}" for kind in ATTRIBUTES),
    *("query_object", "query_frame", "query_collision_partner"),
)
ORDERS = ("first", "second", "last")
OTHERS = ("unique", "count", "exist", "belong_to", "negate", "null")
VALUES = tuple(value for values in ATTRIBUTES.values() for value in values)
TOKENS = (*SETS, *FILTERS, *QUERIES, *ORDERS, *OTHERS, *VALUES)

ORIGINAL_NAMES: dict[str, tuple[str, ...]] = {
    "get_frame": ("query_frame",),
    "get_object": ("query_object",),
    "get_col_partner": ("query_collision_partner",),
    "get_counterfact": ("filter_counterfact",),
    "start": ("events", "filter_start"),
    "end": ("events", "filter_end"),
}
"""Tokens of the original question files, and what they are called here."""


def read_program(tokens: Any, place: str, more: Sequence[str] = ()) -> tuple[str, ...]:
    """A program as tokens of `TOKENS`.

    Args:
        tokens: a list, or one text with blanks between them; original names are replaced.
        place: where it stands, for the message.
        more: further tokens that are allowed, of operators or values of your own.

    Raises:
        DataError: no list of texts, an empty one, or an unknown token.

    Example:
        >>> read_program(["start", "get_frame"], "line 1")
        ('events', 'filter_start', 'query_frame')
        >>> read_program("objects filter_colour", "line 1")
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: line 1: unknown token 'filter_colour'; did you mean 'filter_color'? ...
    """
    words = tokens.split() if isinstance(tokens, str) else tokens
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words) or not words:
        raise DataError(f"{place}: expected a program as a list of tokens, but got {tokens!r:.80}")
    program = tuple(name for word in words for name in ORIGINAL_NAMES.get(word, (word,)))
    known = {*TOKENS, *more}
    for name in program:
        if name not in known:
            raise DataError(f"{place}: unknown token {name!r}; {did_you_mean(name, (*TOKENS, *more))}")
    return program
