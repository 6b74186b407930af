"""Questions about rolling objects in words, each with its program: the four kinds, several wordings of each.

A wording is a pattern with holes: references to one object (`the red cube`), to a set (`metal spheres`), to an event
(`the sphere's exit`), to a moment (`when the video ends`). Filled patterns give a text and the program that it means,
in the vocabulary and the usual phrases of CLEVRER (K. Yi et al., ICLR 2020), and in some of our own.

Questions about what was seen, in words and programs: how many, is there, and of which colour, material or shape.

Texts with programs, drawn at random and about no scene: what a question parser learns from.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from numpy.random import Generator

from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, COLORS, MATERIALS, SHAPES


class Phrase(NamedTuple):
    """Words and the program that they mean."""

    text: str
    program: tuple[str, ...]


class Reference(NamedTuple):
    """Values by which an object or a set is referred to; None where a kind is not named."""

    color: str | None = None
    material: str | None = None
    shape: str | None = None

    def text(self, plural: bool = False) -> str:
        """The words, without an article.

        Example:
            >>> Reference("red", None, "cube").text(), Reference(material="metal").text(plural=True)
            ('red cube', 'metal objects')
        """
        noun = (self.shape or "object") + ("s" if plural else "")
        return " ".join(word for word in (self.color, self.material, noun) if word)

    def program(self) -> tuple[str, ...]:
        """The set of objects that it may mean.

        Example:
            >>> Reference("red").program()
            ('objects', 'red', 'filter_color')
        """
        filters = [(v, f"filter_{kind}") for kind, v in zip(ATTRIBUTES, self, strict=True) if v is not None]
        return ("objects", *(token for pair in filters for token in pair))


def one(reference: Reference) -> Phrase:
    """One object: `the red cube`."""
    return Phrase(f"the {reference.text()}", (*reference.program(), "unique"))


def _sample_reference(generator: Generator, least: int = 1) -> Reference:
    """A reference by at least so many values, drawn."""
    while True:
        named = generator.random(3) < (0.55, 0.4, 0.55)
        if named.sum() >= least:
            values = [v[generator.integers(len(v))] for v in (COLORS, MATERIALS, SHAPES)]
            return Reference(*(value if is_named else None for value, is_named in zip(values, named, strict=True)))


def pick(generator: Generator, options: Sequence[str]) -> str:
    """One of some wordings."""
    return options[int(generator.integers(len(options)))]


_FILTERS = {"enters": "filter_in", "exits": "filter_out"}
_NOUNS = {
    "filter_in": ("{0}'s entrance", "{0}'s entering the scene", "the entrance of {0}"),
    "filter_out": ("{0}'s exit", "{0}'s exiting the scene", "the exit of {0}", "{0}'s leaving the scene"),
}
_MEETINGS = ("the collision between {0} and {1}", "{0}'s colliding with {1}", "the collision of {0} with {1}")
_MEETS = ("{0} collides with {1}", "{0} and {1} collide", "{0} hits {1}", *_MEETINGS)
_CAUSES = (
    "Which of the following is responsible for {0}?",
    "Which of these is responsible for {0}?",
    "What is responsible for {0}?",
    "Which of the following is a cause of {0}?",
)
_NO_CAUSES = (
    "Which of the following is not responsible for {0}?",
    "Which of these is not responsible for {0}?",
    "What is not responsible for {0}?",
    "Which of the following is not a cause of {0}?",
)
_NEXT = (
    "What will happen next?",
    "Which event will happen next?",
    "Which of the following will happen next?",
    "What happens next?",
    "Which of these will happen next?",
)
_ASKS = ("What", "Which event", "Which of the following", "Which of these")
_SUPPOSED = ("if {0} is removed", "without {0}", "if {0} is taken away", "if {0} is not there")


def border_event_phrase(token: str, reference: Reference, generator: Generator) -> Phrase:
    """An entrance (`filter_in`) or exit (`filter_out`) as a noun."""
    who = one(reference)
    return Phrase(pick(generator, _NOUNS[token]).format(who.text), ("events", *who.program, token, "unique"))


def collision_phrase(first: Reference, second: Reference, generator: Generator, possible: bool = False) -> Phrase:
    """A collision as a noun, or as something that may happen.

    Args:
        first: one object.
        second: the other.
        generator: picks the wording.
        possible: among all that may happen, not what was seen.
    """
    a, b = one(first), one(second)
    text = pick(generator, _MEETS if possible else _MEETINGS).format(a.text, b.text)
    source = "all_events" if possible else "events"
    return Phrase(text, (source, *a.program, "filter_collision", *b.program, "filter_collision", "unique"))


def presence_phrase(reference: Reference) -> Phrase:
    """That an object is there."""
    who = one(reference)
    return Phrase(f"the presence of {who.text}", who.program)


def cause_question(event: Phrase, negated: bool, generator: Generator) -> Phrase:
    """Which of the choices is (not) a cause of an event?"""
    text = pick(generator, _NO_CAUSES if negated else _CAUSES).format(event.text)
    return Phrase(text, ("events", *event.program, "filter_ancestor", "belong_to", *_negated(negated)))


def prediction_question(generator: Generator) -> Phrase:
    """Which of the choices comes after the video?"""
    return Phrase(pick(generator, _NEXT), ("unseen_events", "belong_to"))


def counterfactual_question(removed: Reference, negated: bool, generator: Generator) -> Phrase:
    """Which of the choices would (not) happen without an object?"""
    who = one(removed)
    supposed = pick(generator, _SUPPOSED).format(who.text)
    verb = pick(generator, ("will", "would")) + (" not" if negated else "")
    ask = pick(generator, _ASKS)
    if generator.random() < 0.5:
        text = f"{supposed[0].upper()}{supposed[1:]}, {ask[0].lower()}{ask[1:]} {verb} happen?"
    else:
        text = f"{ask} {verb} happen {supposed}?"
    return Phrase(text, ("all_events", *who.program, "filter_counterfact", "belong_to", *_negated(negated)))


def _negated(negated: bool) -> tuple[str, ...]:
    return ("negate",) if negated else ()


def moment(generator: Generator, reference: Reference | None) -> Phrase:
    """When: at the beginning, at the end, or as an object enters or exits; without a word, ever.

    Args:
        generator: picks which, and the wording.
        reference: the object whose entrance or exit it may be; None for the others.
    """
    if reference is not None:
        verb = pick(generator, tuple(_FILTERS))
        who = one(reference)
        program = ("events", *who.program, _FILTERS[verb], "unique", "query_frame")
        return Phrase(f" when {who.text} {verb} the scene", program)
    which = int(generator.integers(3))
    if which == 0:
        return Phrase("", ("null",))
    begins = which == 1
    words = (" when the video begins", " at the beginning of the video")
    if not begins:
        words = (" when the video ends", " at the end of the video")
    return Phrase(pick(generator, words), ("events", "filter_start" if begins else "filter_end", "query_frame"))


def relation(generator: Generator, reference: Reference | None) -> Phrase:
    """Before or after an entrance or exit; without a reference, ever. Gives the set of events."""
    if reference is None:
        return Phrase("", ("events",))
    order = pick(generator, ("before", "after"))
    verb = pick(generator, tuple(_FILTERS))
    who = one(reference)
    program = ("events", "events", *who.program, _FILTERS[verb], "unique", f"filter_{order}")
    return Phrase(f" {order} {who.text} {verb} the scene", program)


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


class SampledText(NamedTuple):
    """A text, what it is (`question`, `cause`, `event`) and the program that it means."""

    kind: str
    text: str
    program: tuple[str, ...]


def sample_text(generator: Generator) -> SampledText:
    """A question, or a choice of one.

    Args:
        generator: draws everything.

    Example:
        >>> import numpy as np
        >>> drawn = sample_text(np.random.default_rng(1))
        >>> drawn.kind in ("question", "cause", "event"), len(drawn.program) > 1
        (True, True)
    """
    forms = {"descriptive": 0.40, "cause of": 0.15, "without": 0.15, "next": 0.01, "cause": 0.17, "event": 0.12}
    form = str(generator.choice(list(forms), p=list(forms.values())))
    kind = form if form in ("cause", "event") else "question"
    phrase = _phrase(form, generator)
    return SampledText(kind, phrase.text, phrase.program)


def _phrase(form: str, generator: Generator) -> Phrase:
    negated = bool(generator.random() < 0.5)
    if form == "descriptive":
        return descriptive(generator, lambda: _sample_reference(generator, 0), lambda: _sample_reference(generator))[1]
    if form == "cause of":
        return cause_question(_event(generator, ("meeting", "meeting", "filter_out", "filter_in")), negated, generator)
    if form == "without":
        return counterfactual_question(_sample_reference(generator), negated, generator)
    if form == "next":
        return prediction_question(generator)
    if form == "event":
        return collision_phrase(_sample_reference(generator), _sample_reference(generator), generator, possible=True)
    if generator.random() < 0.3:
        return presence_phrase(_sample_reference(generator))
    return _event(generator, ("meeting", "filter_in", "filter_out"))


def _event(generator: Generator, kinds: tuple[str, ...]) -> Phrase:
    kind = pick(generator, kinds)
    if kind == "meeting":
        return collision_phrase(_sample_reference(generator), _sample_reference(generator), generator)
    return border_event_phrase(kind, _sample_reference(generator), generator)
