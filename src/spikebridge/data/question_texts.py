"""Questions about rolling objects in words, each with its program: the four kinds, several wordings of each.

A wording is a pattern with holes: references to one object (`the red cube`), to a set (`metal spheres`), to an event
(`the sphere's exit`), to a moment (`when the video ends`). Filled patterns give a text and the program that it means,
in the vocabulary and the usual phrases of CLEVRER (K. Yi et al., ICLR 2020), and in some of our own.
"""

from collections.abc import Sequence
from typing import NamedTuple

from numpy.random import Generator

from spikebridge.data.scenes import ATTRIBUTES, COLORS, MATERIALS, SHAPES


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


def draw_reference(generator: Generator, least: int = 1) -> Reference:
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


def happening(token: str, reference: Reference, generator: Generator) -> Phrase:
    """An entrance (`filter_in`) or exit (`filter_out`) as a noun."""
    who = one(reference)
    return Phrase(pick(generator, _NOUNS[token]).format(who.text), ("events", *who.program, token, "unique"))


def meeting(first: Reference, second: Reference, generator: Generator, possible: bool = False) -> Phrase:
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


def presence(reference: Reference) -> Phrase:
    """That an object is there."""
    who = one(reference)
    return Phrase(f"the presence of {who.text}", who.program)


def cause_of(event: Phrase, negated: bool, generator: Generator) -> Phrase:
    """Which of the choices is (not) a cause of an event?"""
    text = pick(generator, _NO_CAUSES if negated else _CAUSES).format(event.text)
    return Phrase(text, ("events", *event.program, "filter_ancestor", "belong_to", *_negated(negated)))


def what_next(generator: Generator) -> Phrase:
    """Which of the choices comes after the video?"""
    return Phrase(pick(generator, _NEXT), ("unseen_events", "belong_to"))


def what_without(removed: Reference, negated: bool, generator: Generator) -> Phrase:
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
