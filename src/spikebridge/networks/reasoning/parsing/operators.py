"""The operators of programs as a table: argument and result types, and the spike train sent into the graph.

A new operator is a new row: `answer(..., table=OperatorTable((*OPERATORS, mine)))`. `parse` reads a program of postfix
tokens as a tree of typed values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES

_Steps = tuple[tuple[str, ...], ...]
"""The stimulated neurons of each step; `()` is a silent step."""

_TYPES = {
    "objects": "object",
    "object": "object",
    "events": "event",
    "event": "event",
    "frame": "event",
    "possible events": "event",
    "possible event": "event",
    "happening events": None,
    "answer": None,
    "order": None,
}
"""Types of values in a program, and the group of neurons that holds a value: of objects, of events, or none."""


class Signature(NamedTuple):
    """Types of the arguments in order, and of the result."""

    takes: tuple[str, ...]
    gives: str


@dataclass(frozen=True)
class Operator:
    """One row of the table.

    Args:
        token: its token in a program.
        signatures: argument and result types; several for an overloaded operator.
        steps: its spike train, including the final silent step; empty for no spikes.
        forgets: sets that it clears beside its result, `object` or `event`.
        admits: whether it adds to a set that must be empty before.
        over_all: whether its first argument can only be the full set of events.

    Example:
        >>> OPERATORS[7].token, OPERATORS[7].steps
        ('filter_collision', (('ask_colliding',), ('dismiss_events', 'dismiss_objects'), ()))
    """

    token: str
    signatures: tuple[Signature, ...]
    steps: _Steps = ()
    forgets: tuple[str, ...] = ()
    admits: bool = False
    over_all: bool = False


_SETS = (Signature(("objects",), "answer"), Signature(("events",), "answer"))
_SILENT: _Steps = ((), ())


def _touch_steps(ask: str) -> _Steps:
    return ((ask,), ("dismiss_events", "dismiss_objects"), ())


def _touch_signatures() -> tuple[Signature, ...]:
    kinds = ("events", "possible events")
    return tuple(Signature((kind, who), kind) for kind in kinds for who in ("objects", "object"))


def _relation_steps(ask: str) -> _Steps:
    return ((ask, "dismiss_events"), ("admit_events",), ())


def _motion_steps(ask: str) -> _Steps:
    return ((ask,), ("dismiss_objects", "dismiss_events"), ())


_RELATES = (Signature(("events", "event"), "events"),)
_MOVES = (Signature(("objects", "frame"), "objects"),)

OPERATORS: tuple[Operator, ...] = (
    Operator("objects", (Signature((), "objects"),), (("all_objects",), ())),
    Operator("events", (Signature((), "events"),), (("all_events",), ())),
    Operator("all_events", (Signature((), "possible events"),), (("all_events",), ())),
    Operator("null", (Signature((), "frame"),), (("ask_whole",), ()), admits=True),
    Operator(
        "unique",
        (
            Signature(("objects",), "object"),
            Signature(("events",), "event"),
            Signature(("possible events",), "possible event"),
        ),
    ),
    Operator("filter_in", _touch_signatures(), _touch_steps("ask_entering"), forgets=("object",)),
    Operator("filter_out", _touch_signatures(), _touch_steps("ask_leaving"), forgets=("object",)),
    Operator("filter_collision", _touch_signatures(), _touch_steps("ask_colliding"), forgets=("object",)),
    Operator("filter_moving", _MOVES, _motion_steps("ask_moving"), forgets=("event",)),
    Operator("filter_stationary", _MOVES, _motion_steps("ask_still"), forgets=("event",)),
    Operator("filter_start", (Signature(("events",), "event"),), (("start", "dismiss_events"), ())),
    Operator("filter_end", (Signature(("events",), "event"),), (("end", "dismiss_events"), ())),
    Operator("filter_ancestor", _RELATES, _relation_steps("ask_causes"), over_all=True),
    Operator("filter_before", _RELATES, _relation_steps("ask_before"), over_all=True),
    Operator("filter_after", _RELATES, _relation_steps("ask_after"), over_all=True),
    Operator("filter_order", (Signature(("events", "order"), "event"),)),
    Operator("query_frame", (Signature(("event",), "frame"),)),
    Operator(
        "query_object", (Signature(("event",), "object"),), (("ask_involved",), ("admit_objects",), ()), admits=True
    ),
    Operator(
        "query_collision_partner",
        (Signature(("event", "object"), "object"),),
        (("ask_involved", "veto", "dismiss_objects"), ("admit_objects",), ()),
    ),
    Operator("count", _SETS, _SILENT),
    Operator("exist", _SETS, _SILENT),
    Operator(
        "belong_to",
        (
            Signature(("object", "events"), "answer"),
            Signature(("event", "events"), "answer"),
            Signature(("possible event", "happening events"), "answer"),
        ),
        (("ask_involved",), ("compare",), ()),
    ),
    Operator("unseen_events", (Signature((), "happening events"),), _SILENT),
    Operator("filter_counterfact", (Signature(("possible events", "object"), "happening events"),), _SILENT),
    Operator("negate", (Signature(("answer",), "answer"),), _SILENT),
)
"""The operators of CLEVRER; filters and queries of attributes such as `filter_color` are added by `OperatorTable`."""

DESCRIBE = Operator("describe", (Signature(("object",), "answer"),))
"""All attributes of an object, the last token of `which object ...?`: one query of the graph for each attribute."""

ORDERS: dict[str, _Steps] = {
    "first": (("ask_first",), ("dismiss_events",), ()),
    "second": (("ask_first_two",), ("dismiss_events",), (), ("ask_last",), ("dismiss_events",), ()),
    "last": (("ask_last",), ("dismiss_events",), ()),
}
"""Words of order; each is one instruction together with `filter_order`."""

_COMPILER_STEPS: dict[str, _Steps] = {
    "events, storing objects": (("all_events", "store_objects"), ()),
    "events, storing events": (("all_events", "store_events"), ()),
    "store objects": (("store_objects",), ()),
    "store events": (("store_events",), ()),
    "forget objects": (("dismiss_objects",), ()),
    "forget events": (("dismiss_events",), ()),
}
"""Instructions that the compiler adds: move a choice to memory, clear a set that is no longer needed."""


@dataclass(frozen=True, eq=False)
class OperatorTable:
    """Operators, with filters and queries for each kind of attribute.

    Args:
        operators: the rows.
        attributes: kinds of attribute and their values.

    Example:
        >>> table = OperatorTable()
        >>> table.trains["filter_blue"], len(table.trains["second"])
        ((('blue', 'dismiss_objects'), ()), 6)
    """

    operators: tuple[Operator, ...] = OPERATORS
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=ATTRIBUTES.copy)

    @cached_property
    def rows(self) -> dict[str, Operator]:
        """Every operator by its token."""
        rows = {operator.token: operator for operator in self.operators}
        for kind in self.attributes:
            rows[f"filter_{kind}"] = Operator(f"filter_{kind}", (Signature(("objects", kind), "objects"),))
            asks: _Steps = ((f"kind_{kind}",),)
            rows[f"query_{kind}"] = Operator(f"query_{kind}", (Signature(("object",), "answer"),), asks)

        return rows

    @cached_property
    def results(self) -> dict[tuple[str, tuple[str, ...]], str]:
        """The result type of an operator, by its token and argument types."""
        return {(token, sign.takes): sign.gives for token, row in self.rows.items() for sign in row.signatures}

    @cached_property
    def numbers_of_arguments(self) -> dict[str, int]:
        """Number of arguments of each operator, by its token."""
        return {token: len(row.signatures[0].takes) for token, row in self.rows.items()}

    @cached_property
    def words(self) -> dict[str, str]:
        """The type of every word that is an argument."""
        values = {value: kind for kind, values in self.attributes.items() for value in values}
        return {**values, **dict.fromkeys(ORDERS, "order")}

    @cached_property
    def blank_train(self) -> _Steps:
        """The spike train of a filter whose word is still a blank; its length is that of any word."""
        return ((), ())

    @cached_property
    def trains(self) -> dict[str, _Steps]:
        """The spike train of every instruction."""
        trains = {token: row.steps for token, row in self.rows.items() if row.steps}
        filters = {f"filter_{v}": ((v, "dismiss_objects"), ()) for values in self.attributes.values() for v in values}
        return {**trains, **filters, **ORDERS, **_COMPILER_STEPS}


BLANK = re.compile(r"{(\d+):(\w+)}")


class ProgramNode(NamedTuple):
    """A value in a program: its operator, arguments and type. A word has no operator.

    Args:
        token: of the operator, or the word.
        gives: its type.
        arguments: in order.
        operator: whose result it is.
        group: the set that holds it, `object`, `event` or none.
        writes: the sets that its evaluation changes.
    """

    token: str
    gives: str
    arguments: tuple["ProgramNode", ...] = ()
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


def parse(tokens: Sequence[str], table: OperatorTable) -> ProgramNode:
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
    stack: list[ProgramNode] = []
    for place, token in enumerate(tokens):
        operator = table.rows.get(token)
        if operator is None:
            stack.append(ProgramNode(token, _type_of(token, place, table)))
            continue

        begin = max(len(stack) - table.numbers_of_arguments[token], 0)
        arguments = tuple(stack[begin:])
        found = tuple([node.gives for node in arguments])
        gives = table.results.get((token, found))

        if gives is None:
            wanted = " or ".join(f"({', '.join(signature.takes)})" for signature in operator.signatures)
            raise ConfigError(f"{token!r} at place {place} takes {wanted}, but finds ({', '.join(found)})")

        group = _TYPES[gives] or ""
        within = arguments[1:] if operator.over_all else arguments
        writes = frozenset((group, *operator.forgets)).union(*[node.writes for node in within])
        stack[begin:] = [ProgramNode(token, gives, arguments, operator, group, writes)]

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
