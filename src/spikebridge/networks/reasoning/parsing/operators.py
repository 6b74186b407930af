"""The operators of programs as a table: argument and result types, and the spike train sent into the graph.

The rows are in `operators.json`: types such as `events, object -> events`, the neurons that are stimulated at each
step, and for each type the set that holds a value. A new operator is a new row: `answer(...,
table=OperatorTable((*OPERATORS, mine)))`. `parse` reads a program of postfix tokens as a tree of typed values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from spikebridge.data.io.json_text import read_json
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES

_Steps = tuple[tuple[str, ...], ...]  # the stimulated neurons of each step; `()` is a silent step

_DATA = read_json(Path(__file__).with_suffix(".json"), "operators of programs")


class Signature(NamedTuple):
    """Types of the arguments in order, and of the result."""

    takes: tuple[str, ...]
    gives: str


@dataclass(frozen=True)
class Operator:
    """One row of the table."""

    token: str
    signatures: tuple[Signature, ...]  # argument and result types; several for an overloaded operator
    steps: _Steps = ()  # spike train, with the final silent step; empty for an operator without spikes
    forgets: tuple[str, ...] = ()  # sets that it clears in addition to its result, `object` or `event`
    admits: bool = False  # true if it adds to a set that must be empty before
    over_all: bool = False  # true if its first argument can only be the full set of events
    of_motion: bool = False  # true if it asks for what single objects do, which only programs with it see


def _operator(token: str, row: Mapping[str, Any]) -> Operator:
    return Operator(
        token,
        tuple(_signature(text) for text in row["types"]),
        _train(row.get("steps", ())),
        tuple(row.get("forgets", ())),
        row.get("admits", False),
        row.get("over_all", False),
        row.get("of_motion", False),
    )


def _signature(text: str) -> Signature:
    takes, _, gives = text.partition("-> ")
    return Signature(tuple(word.strip() for word in takes.split(",") if word.strip()), gives)


def _train(steps: Sequence[str]) -> _Steps:
    return tuple(tuple(neurons.split()) for neurons in steps)


# The operators of CLEVRER; filters and queries of attributes such as `filter_color` are added by `OperatorTable`.
OPERATORS = tuple(_operator(token, row) for token, row in _DATA["operators"].items())

# All attributes of an object, the last token of `which object ...?`: one query of the graph for each attribute.
DESCRIBE = Operator("describe", (Signature(("object",), "answer"),))

# Words of order, and sides of the picture; each is one instruction together with `filter_order` or `filter_side`.
ORDERS = {word: _train(steps) for word, steps in _DATA["orders"].items()}
SIDES = {word: _train(steps) for word, steps in _DATA["sides"].items()}


@dataclass(frozen=True, eq=False)
class OperatorTable:
    """Operators, with filters and queries for each kind of attribute."""

    operators: tuple[Operator, ...] = OPERATORS
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=ATTRIBUTES.copy)

    @cached_property
    def rows(self) -> dict[str, Operator]:
        """Every operator by its token."""
        rows = {operator.token: operator for operator in self.operators}
        for kind in self.attributes:
            rows[f"filter_{kind}"] = Operator(f"filter_{kind}", (Signature(("objects", kind), "objects"),))
            request: _Steps = ((f"kind_{kind}",),)
            rows[f"query_{kind}"] = Operator(f"query_{kind}", (Signature(("object",), "answer"),), request)

        return rows

    @cached_property
    def results(self) -> dict[tuple[str, tuple[str, ...]], str]:
        """The result type of an operator, by its token and argument types."""
        return {(token, s.takes): s.gives for token, row in self.rows.items() for s in row.signatures}

    @cached_property
    def numbers_of_arguments(self) -> dict[str, int]:
        """Number of arguments of each operator, by its token."""
        return {token: len(row.signatures[0].takes) for token, row in self.rows.items()}

    @cached_property
    def words(self) -> dict[str, str]:
        """The type of every word that is an argument."""
        values = {value: kind for kind, values in self.attributes.items() for value in values}
        return {**values, **dict.fromkeys(ORDERS, "order"), **dict.fromkeys(SIDES, "side")}

    @cached_property
    def blank_train(self) -> _Steps:
        """The spike train of a filter whose word is still a blank; its length is that of any word."""
        return ((), ())

    @cached_property
    def trains(self) -> dict[str, _Steps]:
        """The spike train of every instruction."""
        trains = {token: row.steps for token, row in self.rows.items() if row.steps}
        filters = {f"filter_{v}": ((v, "dismiss_objects"), ()) for values in self.attributes.values() for v in values}
        # the compiler moves a choice to memory, and clears sets that are no longer needed
        compiler = {name: _train(steps) for name, steps in _DATA["compiler"].items()}
        return {**trains, **filters, **ORDERS, **SIDES, **compiler}


BLANK = re.compile(r"{(\d+):(\w+)}")  # a blank in place of a word: number and kind, `{0:color}`


class ProgramNode(NamedTuple):
    """A value in a program: its operator, type and arguments. A word has no operator."""

    token: str
    gives: str
    arguments: tuple["ProgramNode", ...] = ()
    operator: Operator | None = None
    group: str = ""  # the set that holds the value, `object`, `event` or none
    writes: frozenset[str] = frozenset()  # the sets that the evaluation changes


def with_blanks(tokens: Sequence[str], table: OperatorTable) -> tuple[tuple[str, ...], list[str]]:
    """A program with numbered blanks in place of attribute values (`{0:color}`), and the values."""
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


def parse(tokens: Sequence[str], table: OperatorTable) -> ProgramNode:
    """A program as a tree of typed values; raises `ConfigError` for a program that is not well typed."""
    stack: list[ProgramNode] = []
    for place, token in enumerate(tokens):
        operator = table.rows.get(token)
        if operator is None:
            stack.append(ProgramNode(token, _type_of(token, place, table)))
            continue

        begin = max(len(stack) - table.numbers_of_arguments[token], 0)
        arguments = tuple(stack[begin:])
        types = tuple([node.gives for node in arguments])
        gives = table.results.get((token, types))

        if gives is None:
            expected = " or ".join(f"({', '.join(signature.takes)})" for signature in operator.signatures)
            raise ConfigError(f"{token!r} at place {place} takes {expected}, but finds ({', '.join(types)})")

        group = _DATA["groups"][gives] or ""
        # the full set of events costs no evaluation
        evaluated = arguments[1:] if operator.over_all else arguments
        writes = frozenset((group, *operator.forgets)).union(*[node.writes for node in evaluated])
        stack[begin:] = [ProgramNode(token, gives, arguments, operator, group, writes)]

    if len(stack) != 1:
        rest = ", ".join(node.gives for node in stack) or "nothing"
        raise ConfigError(f"a program leaves one value, but this one leaves {rest}: {' '.join(tokens)}")

    return stack[0]


def _type_of(token: str, place: int, table: OperatorTable) -> str:
    if token in table.words:
        return table.words[token]

    blank = BLANK.fullmatch(token)
    if blank is None:
        tokens = [*table.rows, *table.words]
        raise ConfigError(f"unknown token {token!r} at place {place}; {did_you_mean(token, tokens)}")

    return blank[2]
