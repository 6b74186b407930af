"""Questions about what was seen, in words and programs: how many, is there, and of which colour, material or shape."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from numpy.random import Generator

from spikebridge.data.question_texts import Phrase, Reference, moment, one, pick, relation
from spikebridge.data.scenes import ATTRIBUTES

Refer: TypeAlias = Callable[[], Reference]
"""Draws a reference: to a set, to one object, or to nothing in particular (no value named)."""

_ANY = Reference()
_ACTS = {"enter": "filter_in", "exit": "filter_out"}
_MOVES = {"moving": "filter_moving", "stationary": "filter_stationary"}


def descriptive(generator: Generator, refer_set: Refer, refer_one: Refer) -> tuple[str, Phrase]:
    """A question with its subtype (`count`, `exist` or the kind of attribute).

    Args:
        generator: picks the form and the wording.
        refer_set: draws a reference to a set, which may be that of all objects.
        refer_one: draws a reference to one object.

    Example:
        >>> import numpy as np
        >>> subtype, phrase = descriptive(np.random.default_rng(3), Reference, lambda: Reference("red"))
        >>> phrase.program[-1] == subtype or phrase.program[-1] == f"query_{subtype}"
        True
    """
    forms = (_moving_number, _acting_number, _collision_number, _set_number, _order, _partner, _moving_one)
    weights = (0.2, 0.2, 0.12, 0.03, 0.15, 0.2, 0.1)
    form = forms[int(generator.choice(len(forms), p=weights))]
    return form(generator, refer_set, refer_one)


def _now_and_then(generator: Generator, refer: Refer, chance: float = 0.5) -> Reference | None:
    return refer() if generator.random() < chance else None


def _number(generator: Generator, many: tuple[str, ...], any_: tuple[str, ...]) -> tuple[str, str]:
    """Subtype and wording of a question for a number, or for whether there is one."""
    if generator.random() < 0.5:
        return "count", pick(generator, many)
    return "exist", pick(generator, any_)


def _set_number(generator: Generator, refer_set: Refer, refer_one: Refer) -> tuple[str, Phrase]:
    who = refer_set()
    subtype, words = _number(generator, ("How many {0} are there?",), ("Are there any {0}?",))
    return subtype, Phrase(words.format(who.text(plural=True)), (*who.program(), subtype))


def _moving_number(generator: Generator, refer_set: Refer, refer_one: Refer) -> tuple[str, Phrase]:
    who, move = refer_set(), pick(generator, tuple(_MOVES))
    when = moment(generator, _now_and_then(generator, refer_one, 0.3))
    subtype, words = _number(
        generator,
        ("How many {1} {0} are there{2}?", "How many {0} are {1}{2}?"),
        ("Are there any {1} {0}{2}?", "Are any {0} {1}{2}?"),
    )
    text = words.format(who.text(plural=True), move, when.text)
    return subtype, Phrase(text, (*who.program(), *when.program, _MOVES[move], subtype))


def _acting_number(generator: Generator, refer_set: Refer, refer_one: Refer) -> tuple[str, Phrase]:
    who, act = refer_set(), pick(generator, tuple(_ACTS))
    when = relation(generator, _now_and_then(generator, refer_one))
    subtype, words = _number(
        generator,
        ("How many {0} that {1} the scene{2}?", "How many {0} {1} the scene{2}?"),
        ("Are there any {0} that {1} the scene{2}?", "Do any {0} {1} the scene{2}?"),
    )
    text = words.format(who.text(plural=True), act, when.text)
    return subtype, Phrase(text, (*when.program, *who.program(), _ACTS[act], subtype))


def _collision_number(generator: Generator, refer_set: Refer, refer_one: Refer) -> tuple[str, Phrase]:
    when = relation(generator, _now_and_then(generator, refer_one))
    subtype, words = _number(
        generator,
        ("How many collisions happen{0}?", "How many collisions are there{0}?"),
        ("Are there any collisions{0}?",),
    )
    return subtype, Phrase(words.format(when.text), (*when.program, "objects", "filter_collision", subtype))


def _attribute(generator: Generator) -> tuple[str, str]:
    kind = pick(generator, tuple(ATTRIBUTES))
    return kind, pick(generator, (f"What is the {kind} of", f"What {kind} is"))


def _ordered(generator: Generator) -> tuple[str, tuple[str, ...]]:
    order = pick(generator, ("", "first", "second", "last"))
    return (f"{order} ", (order, "filter_order")) if order else ("", ("unique",))


def _order(generator: Generator, refer_set: Refer, refer_one: Refer) -> tuple[str, Phrase]:
    kind, words = _attribute(generator)
    act = pick(generator, tuple(_ACTS))
    order, chosen = _ordered(generator)
    what = pick(generator, ("to {0} the scene", "that {0}s the scene")).format(act)
    text = f"{words} the {order}object {what}?"
    return kind, Phrase(text, ("events", "objects", _ACTS[act], *chosen, "query_object", f"query_{kind}"))


def _partner(generator: Generator, refer_set: Refer, refer_one: Refer) -> tuple[str, Phrase]:
    kind, words = _attribute(generator)
    order, chosen = _ordered(generator)
    who = one(refer_one())
    what = pick(generator, ("to collide with", "that collides with"))
    program = ("events", *who.program, "filter_collision", *chosen, *who.program, "query_collision_partner")
    return kind, Phrase(f"{words} the {order}object {what} {who.text}?", (*program, f"query_{kind}"))


def _moving_one(generator: Generator, refer_set: Refer, refer_one: Refer) -> tuple[str, Phrase]:
    kind, words = _attribute(generator)
    who, move = refer_set(), pick(generator, tuple(_MOVES))
    when = moment(generator, _now_and_then(generator, refer_one, 0.3))
    plural = partial(who.text, plural=True)
    text = pick(generator, (f"{words} the {move} one of the {plural()}", f"{words} the {move} {who.text()}"))
    program = (*who.program(), *when.program, _MOVES[move], "unique", f"query_{kind}")
    return kind, Phrase(f"{text}{when.text}?", program)
