"""A program of postfix tokens as a tree of typed values."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.operators import TYPES, Operator, OperatorTable

BLANK = re.compile(r"{(\d+):(\w+)}")


class Node(NamedTuple):
    """A value in a program: the operator that gives it, its arguments, its type. A word has no operator.

    Args:
        token: its last word.
        gives: its type.
        arguments: in order.
        operator: that gives it.
        group: the set that holds it, `object`, `event` or none.
        writes: the sets that working it out changes.
    """

    token: str
    gives: str
    arguments: tuple["Node", ...] = ()
    operator: Operator | None = None
    group: str = ""
    writes: frozenset[str] = frozenset()


def with_blanks(tokens: Sequence[str], table: OperatorTable) -> tuple[tuple[str, ...], list[str]]:
    """A program with numbered blanks in place of attribute values, and the values.

    Example:
        >>> with_blanks(["objects", "red", "filter_color", "cube", "filter_shape", "count"], OperatorTable())
        (('objects', '{0:color}', 'filter_color', '{1:shape}', 'filter_shape', 'count'), ['red', 'cube'])
    """
    words: list[str] = []
    blank = []
    for token in tokens:
        kind = table.words.get(token)
        if kind in table.attributes:
            blank.append(f"{{{len(words)}:{kind}}}")
            words.append(token)
        else:
            blank.append(token)
    return tuple(blank), words


def parse(tokens: Sequence[str], table: OperatorTable) -> Node:
    """A program as a tree of typed values.

    Args:
        tokens: postfix.
        table: operators and attributes.

    Raises:
        ConfigError: a token is not known, takes other types than it finds, or values are left over.

    Example:
        >>> tree = parse(["objects", "red", "filter_color", "count"], OperatorTable())
        >>> tree.gives, tree.arguments[0].token
        ('answer', 'filter_color')
    """
    stack: list[Node] = []
    for place, token in enumerate(tokens):
        operator = table.rows.get(token)
        if operator is None:
            stack.append(Node(token, _type_of(token, place, table)))
            continue
        begin = max(len(stack) - table.numbers_of_arguments[token], 0)
        arguments = tuple(stack[begin:])
        found = tuple([node.gives for node in arguments])
        gives = table.results.get((token, found))
        if gives is None:
            wanted = " or ".join(f"({', '.join(signature.takes)})" for signature in operator.signatures)
            raise ConfigError(f"{token!r} at place {place} takes {wanted}, but finds ({', '.join(found)})")
        group = TYPES[gives] or ""
        within = arguments[1:] if operator.over_all else arguments
        writes = frozenset((group, *operator.forgets)).union(*[node.writes for node in within])
        stack[begin:] = [Node(token, gives, arguments, operator, group, writes)]
    if len(stack) != 1:
        left = ", ".join(node.gives for node in stack) or "nothing"
        raise ConfigError(f"a program leaves one value, but this one leaves {left}: {' '.join(tokens)}")
    return stack[0]


def _type_of(token: str, place: int, table: OperatorTable) -> str:
    """The type of a word, or of a blank."""
    if token in table.words:
        return table.words[token]
    blank = BLANK.fullmatch(token)
    if blank is None:
        known = [*table.rows, *table.words]
        raise ConfigError(f"unknown token {token!r} at place {place}; {did_you_mean(token, known)}")
    return blank[2]
