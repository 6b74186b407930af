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
    """One row of the table."""

    token: str
    signatures: tuple[Signature, ...]
    """Argument and result types; several for an overloaded operator."""
    steps: _Steps = ()
    """Spike train, with the final silent step; empty for an operator without spikes."""
    forgets: tuple[str, ...] = ()
    """Sets that it clears in addition to its result, `object` or `event`."""
    admits: bool = False
    """True if it adds to a set that must be empty before."""
    over_all: bool = False
    """True if its first argument can only be the full set of events."""


_SILENT: _Steps = ((), ())
_NUMBER_OR_EXISTENCE = (Signature(("objects",), "answer"), Signature(("events",), "answer"))


def _event_filter(token: str, request: str) -> Operator:
    """A filter of events by kind and by objects that take part."""
    kinds = ("events", "possible events")
    signatures = tuple(Signature((kind, members), kind) for kind in kinds for members in ("objects", "object"))
    steps = ((request,), ("dismiss_events", "dismiss_objects"), ())
    return Operator(token, signatures, steps, forgets=("object",))


def _motion_filter(token: str, request: str) -> Operator:
    """A filter of objects by their motion at events."""
    steps = ((request,), ("dismiss_objects", "dismiss_events"), ())
    return Operator(token, (Signature(("objects", "frame"), "objects"),), steps, forgets=("event",))


def _marker(token: str, marker: str) -> Operator:
    """A selection of the first or last moment of a video."""
    return Operator(token, (Signature(("events",), "event"),), ((marker, "dismiss_events"), ()))


def _relation(token: str, request: str) -> Operator:
    """The events in relation to one event."""
    steps = ((request, "dismiss_events"), ("admit_events",), ())
    return Operator(token, (Signature(("events", "event"), "events"),), steps, over_all=True)


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
    _event_filter("filter_in", "ask_entering"),
    _event_filter("filter_out", "ask_leaving"),
    _event_filter("filter_collision", "ask_colliding"),
    _motion_filter("filter_moving", "ask_moving"),
    _motion_filter("filter_stationary", "ask_still"),
    _marker("filter_start", "start"),
    _marker("filter_end", "end"),
    _relation("filter_ancestor", "ask_causes"),
    _relation("filter_before", "ask_before"),
    _relation("filter_after", "ask_after"),
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
    Operator("count", _NUMBER_OR_EXISTENCE, _SILENT),
    Operator("exist", _NUMBER_OR_EXISTENCE, _SILENT),
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

    Example:
        >>> OperatorTable().trains["filter_blue"]
        (('blue', 'dismiss_objects'), ())
    """

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
"""A blank in place of a word: number and kind, `{0:color}`."""


class ProgramNode(NamedTuple):
    """A value in a program: its operator, type and arguments. A word has no operator."""

    token: str
    gives: str
    arguments: tuple["ProgramNode", ...] = ()
    operator: Operator | None = None
    group: str = ""
    """The set that holds the value, `object`, `event` or none."""
    writes: frozenset[str] = frozenset()
    """The sets that the evaluation changes."""


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
    """A program as a tree of typed values.

    Raises `ConfigError` for an unknown token, wrong types of arguments, or values that are left over.
    """
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
            wanted = " or ".join(f"({', '.join(signature.takes)})" for signature in operator.signatures)
            raise ConfigError(f"{token!r} at place {place} takes {wanted}, but finds ({', '.join(types)})")

        group = _TYPES[gives] or ""
        # the full set of events costs no evaluation
        evaluated = arguments[1:] if operator.over_all else arguments
        writes = frozenset((group, *operator.forgets)).union(*[node.writes for node in evaluated])
        stack[begin:] = [ProgramNode(token, gives, arguments, operator, group, writes)]

    if len(stack) != 1:
        rest = ", ".join(node.gives for node in stack) or "nothing"
        raise ConfigError(f"a program leaves one value, but this one leaves {rest}: {' '.join(tokens)}")

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
