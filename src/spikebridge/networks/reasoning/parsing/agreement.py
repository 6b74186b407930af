"""Whether a program agrees with its text: each operator has a word that asks for it, each word of weight an operator.

The parser is a network and writes a program for any text. A text outside of what it was trained for can get a fluent
program that means something else. This check is a rule and knows nothing of the network.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from spikebridge.networks.reasoning.parsing.vocabulary import TEXT_KINDS, TokenizedText


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MOVE = _words("move moves moved moving motion roll rolls rolling slide sliding")
_STILL = _words("still stationary rest resting lying")
_ENTER = _words(
    "enter enters entered entering entrance entry come comes came coming appear appears appeared "
    "appearing appearance arrive arrives arrived arriving arrival show"
)
_LEAVE = _words(
    "exit exits exited exiting leave leaves left leaving go goes going went out disappear disappears "
    "disappeared disappearance departure"
)
_COLLIDE = _words(
    "collide collides collided colliding collision collisions hit hits hitting bump bumps bumped bumping "
    "crash crashes crashed crashing touch touches touched touching run runs ran running knock knocks "
    "knocked meet meets met meeting contact contacts impact impacts"
)
_CAUSE = _words(
    "cause causes caused responsible why reason blame led lead leads made makes contribute contributes "
    "contributed because behind nothing do about has"
)
_REMOVE = _words(
    "if without suppose imagine had assuming absence removed removing removes remove gone missing away absent"
)
_NUMBER = _words("many number count often")
_WHICH = _words("what which who")
_NOT = _words("not nothing no")
_START = _words("start starts begin begins beginning initially")
_END = _words("end ends over finally")
_FUTURE = _words("will would might could")
_HYPOTHETICAL = _words("unseen_events filter_counterfact")
_AFTER = _words("after")
_ATTRIBUTE_WORDS = _words("color material shape form many")

_NEEDS = {
    "count": _NUMBER,
    "describe": _WHICH,
    "query_color": _words("color"),
    "query_material": _words("material made or"),
    "query_shape": _words("shape form"),
    "filter_moving": _MOVE,
    "filter_stationary": _STILL | _MOVE,
    "filter_in": _ENTER,
    "filter_out": _LEAVE,
    "filter_collision": _COLLIDE,
    "filter_start": _START,
    "filter_end": _END,
    "filter_before": _words("before"),
    "filter_after": _AFTER | {"following"},
    "filter_ancestor": _CAUSE,
    "filter_counterfact": _REMOVE,
    "negate": _NOT,
    "unseen_events": _words("next happen happens expect comes later then afterwards future"),
    **{order: frozenset([order]) for order in ("first", "second", "last")},
}
"""Operators, and the words of which a text has at least one."""


class _Rule(NamedTuple):
    """Words, and the operators of which a program then has at least one."""

    words: frozenset[str]
    operators: frozenset[str]


_RULES = (
    _Rule(_NUMBER, _words("count")),
    _Rule(_words("color"), _words("query_color")),
    _Rule(_words("material"), _words("query_material")),
    _Rule(_words("shape form"), _words("query_shape")),
    _Rule(_MOVE | _words("stationary rest resting lying"), _words("filter_moving filter_stationary")),
    _Rule(_ENTER - {"come", "comes", "came", "show"}, _words("filter_in")),
    _Rule(
        _words("exit exits exited exiting leave leaves left leaving departure"),
        _words("filter_out"),
    ),
    _Rule(_words("disappear disappears"), _words("filter_out filter_counterfact")),
    _Rule(_COLLIDE, _words("filter_collision unseen_events")),
    _Rule(_words("before"), _words("filter_before")),
    _Rule(_AFTER, _words("filter_after unseen_events filter_counterfact")),
    _Rule(_START, _words("filter_start")),
    _Rule(_words("ends end over finally"), _words("filter_end unseen_events")),
    _Rule(_words("next future later afterwards"), _words("unseen_events")),
    _Rule(_words("if without suppose imagine"), _words("filter_counterfact")),
    _Rule(
        _words("cause causes caused responsible why reason blame led leads contributed contributes"),
        _words("filter_ancestor"),
    ),
    _Rule(_words("not nothing"), _words("negate filter_stationary filter_counterfact")),
    *(_Rule(frozenset([order]), frozenset([order])) for order in ("first", "second", "last")),
)


def disagreement(text: TokenizedText, program: Sequence[str]) -> str:
    """What keeps a program from being that of a text; empty where they agree.

    Args:
        text: the words, with slots for values.
        program: its tokens, with the slots of the text in place of values.

    Example:
        >>> from spikebridge.networks.reasoning.parsing.vocabulary import Vocabulary
        >>> text = Vocabulary().tokenize("How many red cubes hit the ball?", "question")
        >>> program = ("objects", "red", "filter_color", "cube", "filter_shape", "count")
        >>> disagreement(text, Vocabulary().with_slots(program, text))
        "'hit'"
    """
    words = set(text.tokens)
    written = set(program)
    for operator, needed in _NEEDS.items():
        if operator in written and not words & needed:
            return f"{operator} without a word for it"

    for rule in _RULES:
        found = words & rule.words
        if found and not written & rule.operators:
            return repr(min(found))

    if "filter_stationary" in written and any(a == "still" and b in _MOVE for a, b in pairwise(text.tokens)):
        return "filter_stationary for what is still moving"
    if text.tokens[0] == TEXT_KINDS["question"] and words & _FUTURE and not written & _HYPOTHETICAL:
        return repr(min(words & _FUTURE))

    either = "or" in words and "query_material" in written
    if "or" in words and not either:
        return "'or'"
    if "exist" in written and (text.tokens[1] in _WHICH or words & _NUMBER):
        return "exist for a question that asks what, which or how many"
    if "describe" in written and words & _ATTRIBUTE_WORDS:
        return "describe for a question about one attribute"

    unused = [slot for slot in text.slots if slot not in written and not (either and slot.startswith("<material"))]
    if unused:
        return repr(text.slots[unused[0]])

    return _grouping(text, program)


def _grouping(text: TokenizedText, program: Sequence[str]) -> str:
    """Whether values that stand together in the text select one object in the program."""
    groups: list[set[str]] = []
    for token in program:
        if token == "objects":
            groups.append(set())
        elif token in text.slots and groups:
            groups[-1].add(token)

    runs: list[set[str]] = []
    joins = False

    for token in text.tokens:
        if token in text.slots:
            if not joins:
                runs.append(set())
            runs[-1].add(token)
            joins = True
        elif token not in ("made", "of", "out", "object", "objects", "one"):
            joins = False

    num_selected = sum(map(bool, groups)) - ("query_collision_partner" in program)
    if num_selected > len(runs):
        return "more objects than the text names"

    for run in runs:
        if not any(run <= group for group in groups) and "or" not in text.tokens:
            return " ".join(repr(text.slots[slot]) for slot in sorted(run)) + " apart"

    if "exist" not in program and "count" not in program:  # `is the red cube metal?` joins what stands apart
        for group in groups:
            if group and not any(group <= run for run in runs) and "or" not in text.tokens:
                return " ".join(repr(text.slots[slot]) for slot in sorted(group)) + " together"

    return ""
