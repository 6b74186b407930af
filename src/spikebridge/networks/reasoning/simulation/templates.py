"""Text templates of questions about rolling objects, each with its program, and random texts to train a parser.

A template has slots for references to one object (`the red cube`), to a set (`metal spheres`), to an event (`the
sphere's exit`) and to a time (`when the video ends`). A filled template gives a text and its program, in the vocabulary
and the usual phrases of CLEVRER (K. Yi et al., ICLR 2020) and some of our own. `sample_text` samples texts without a
scene, for the training of the question parser.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from numpy.random import Generator

from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, COLORS, MATERIALS, SHAPES


class Phrase(NamedTuple):
    """A text and its program."""

    text: str
    program: tuple[str, ...]


class Reference(NamedTuple):
    """The values that refer to an object or a set; None for a kind that is not named."""

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
        """The tokens that select the referred set of objects.

        Example:
            >>> Reference("red").program()
            ('objects', 'red', 'filter_color')
        """
        filters = [(v, f"filter_{kind}") for kind, v in zip(ATTRIBUTES, self, strict=True) if v is not None]
        return ("objects", *(token for pair in filters for token in pair))


def _object_phrase(reference: Reference) -> Phrase:
    """A reference to one object: `the red cube`."""
    return Phrase(f"the {reference.text()}", (*reference.program(), "unique"))


def sample_reference(generator: Generator, least: int = 1) -> Reference:
    """A random reference with at least this number of values."""
    while True:
        named = generator.random(3) < (0.55, 0.4, 0.55)
        if named.sum() >= least:
            values = [v[generator.integers(len(v))] for v in (COLORS, MATERIALS, SHAPES)]
            return Reference(*(value if is_named else None for value, is_named in zip(values, named, strict=True)))


def choose(generator: Generator, options: Sequence[str]) -> str:
    """A random one of some wordings."""
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
    who = _object_phrase(reference)
    return Phrase(choose(generator, _NOUNS[token]).format(who.text), ("events", *who.program, token, "unique"))


def collision_phrase(first: Reference, second: Reference, generator: Generator, possible: bool = False) -> Phrase:
    """A collision as a noun, or as a possible event.

    Args:
        first: one object.
        second: the other.
        generator: chooses the wording.
        possible: select among possible events, not among observed ones.
    """
    a = _object_phrase(first)
    b = _object_phrase(second)
    text = choose(generator, _MEETS if possible else _MEETINGS).format(a.text, b.text)
    source = "all_events" if possible else "events"

    return Phrase(text, (source, *a.program, "filter_collision", *b.program, "filter_collision", "unique"))


def presence_phrase(reference: Reference) -> Phrase:
    """The presence of an object."""
    who = _object_phrase(reference)
    return Phrase(f"the presence of {who.text}", who.program)


def cause_question(event: Phrase, negated: bool, generator: Generator) -> Phrase:
    """An explanatory question: which of the choices is (not) a cause of an event?"""
    text = choose(generator, _NO_CAUSES if negated else _CAUSES).format(event.text)
    return Phrase(text, ("events", *event.program, "filter_ancestor", "belong_to", *_negated(negated)))


def prediction_question(generator: Generator) -> Phrase:
    """A predictive question: which of the choices happens after the video?"""
    return Phrase(choose(generator, _NEXT), ("unseen_events", "belong_to"))


def counterfactual_question(removed: Reference, negated: bool, generator: Generator) -> Phrase:
    """A counterfactual question: which of the choices would (not) happen without an object?"""
    who = _object_phrase(removed)
    supposed = choose(generator, _SUPPOSED).format(who.text)
    verb = choose(generator, ("will", "would")) + (" not" if negated else "")
    ask = choose(generator, _ASKS)

    if generator.random() < 0.5:
        text = f"{supposed[0].upper()}{supposed[1:]}, {ask[0].lower()}{ask[1:]} {verb} happen?"
    else:
        text = f"{ask} {verb} happen {supposed}?"

    return Phrase(text, ("all_events", *who.program, "filter_counterfact", "belong_to", *_negated(negated)))


def _negated(negated: bool) -> tuple[str, ...]:
    return ("negate",) if negated else ()


def _time_phrase(generator: Generator, reference: Reference | None) -> Phrase:
    """A time: at the beginning, at the end, or as an object enters or exits; without words, any time.

    Args:
        generator: chooses the form and the wording.
        reference: the object that enters or exits; None for the other forms.
    """
    if reference is not None:
        verb = choose(generator, tuple(_FILTERS))
        who = _object_phrase(reference)
        program = ("events", *who.program, _FILTERS[verb], "unique", "query_frame")
        return Phrase(f" when {who.text} {verb} the scene", program)

    which = int(generator.integers(3))
    if which == 0:
        return Phrase("", ("null",))

    begins = which == 1
    words = (" when the video begins", " at the beginning of the video")
    if not begins:
        words = (" when the video ends", " at the end of the video")

    return Phrase(choose(generator, words), ("events", "filter_start" if begins else "filter_end", "query_frame"))


def _order_phrase(generator: Generator, reference: Reference | None) -> Phrase:
    """Before or after an entrance or exit; without a reference, all events. Its program gives a set of events."""
    if reference is None:
        return Phrase("", ("events",))

    order = choose(generator, ("before", "after"))
    verb = choose(generator, tuple(_FILTERS))
    who = _object_phrase(reference)
    program = ("events", "events", *who.program, _FILTERS[verb], "unique", f"filter_{order}")

    return Phrase(f" {order} {who.text} {verb} the scene", program)


_Refer: TypeAlias = Callable[[], Reference]
"""Samples a reference to a set or to one object."""

_ACTS = {"enter": "filter_in", "exit": "filter_out"}
_MOVES = {"moving": "filter_moving", "stationary": "filter_stationary"}


def descriptive(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    """A question with its subtype (`count`, `exist` or the kind of attribute).

    Args:
        generator: chooses the form and the wording.
        refer_set: samples a reference to a set, which may be that of all objects.
        refer_one: samples a reference to one object.

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


def _maybe(generator: Generator, refer: _Refer, chance: float = 0.5) -> Reference | None:
    return refer() if generator.random() < chance else None


def _number(generator: Generator, many: tuple[str, ...], any_: tuple[str, ...]) -> tuple[str, str]:
    """Subtype and wording of a question for a number, or for existence."""
    if generator.random() < 0.5:
        return "count", choose(generator, many)
    return "exist", choose(generator, any_)


def _set_number(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    who = refer_set()
    subtype, words = _number(generator, ("How many {0} are there?",), ("Are there any {0}?",))
    return subtype, Phrase(words.format(who.text(plural=True)), (*who.program(), subtype))


def _moving_number(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    who = refer_set()
    move = choose(generator, tuple(_MOVES))
    when = _time_phrase(generator, _maybe(generator, refer_one, 0.3))

    subtype, words = _number(
        generator,
        ("How many {1} {0} are there{2}?", "How many {0} are {1}{2}?"),
        ("Are there any {1} {0}{2}?", "Are any {0} {1}{2}?"),
    )

    text = words.format(who.text(plural=True), move, when.text)
    return subtype, Phrase(text, (*who.program(), *when.program, _MOVES[move], subtype))


def _acting_number(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    who = refer_set()
    act = choose(generator, tuple(_ACTS))
    when = _order_phrase(generator, _maybe(generator, refer_one))

    subtype, words = _number(
        generator,
        ("How many {0} that {1} the scene{2}?", "How many {0} {1} the scene{2}?"),
        ("Are there any {0} that {1} the scene{2}?", "Do any {0} {1} the scene{2}?"),
    )

    text = words.format(who.text(plural=True), act, when.text)
    return subtype, Phrase(text, (*when.program, *who.program(), _ACTS[act], subtype))


def _collision_number(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    when = _order_phrase(generator, _maybe(generator, refer_one))
    subtype, words = _number(
        generator,
        ("How many collisions happen{0}?", "How many collisions are there{0}?"),
        ("Are there any collisions{0}?",),
    )

    return subtype, Phrase(words.format(when.text), (*when.program, "objects", "filter_collision", subtype))


def _attribute(generator: Generator) -> tuple[str, str]:
    kind = choose(generator, tuple(ATTRIBUTES))
    return kind, choose(generator, (f"What is the {kind} of", f"What {kind} is"))


def _ordered(generator: Generator) -> tuple[str, tuple[str, ...]]:
    order = choose(generator, ("", "first", "second", "last"))
    return (f"{order} ", (order, "filter_order")) if order else ("", ("unique",))


def _order(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    kind, words = _attribute(generator)
    act = choose(generator, tuple(_ACTS))
    order, chosen = _ordered(generator)
    what = choose(generator, ("to {0} the scene", "that {0}s the scene")).format(act)
    text = f"{words} the {order}object {what}?"

    return kind, Phrase(text, ("events", "objects", _ACTS[act], *chosen, "query_object", f"query_{kind}"))


def _partner(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    kind, words = _attribute(generator)
    order, chosen = _ordered(generator)
    who = _object_phrase(refer_one())
    what = choose(generator, ("to collide with", "that collides with"))
    program = ("events", *who.program, "filter_collision", *chosen, *who.program, "query_collision_partner")

    return kind, Phrase(f"{words} the {order}object {what} {who.text}?", (*program, f"query_{kind}"))


def _moving_one(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    kind, words = _attribute(generator)
    who = refer_set()
    move = choose(generator, tuple(_MOVES))
    when = _time_phrase(generator, _maybe(generator, refer_one, 0.3))
    plural = partial(who.text, plural=True)
    text = choose(generator, (f"{words} the {move} one of the {plural()}", f"{words} the {move} {who.text()}"))
    program = (*who.program(), *when.program, _MOVES[move], "unique", f"query_{kind}")

    return kind, Phrase(f"{text}{when.text}?", program)


class SampledText(NamedTuple):
    """A text, its kind (`question`, `cause`, `event`) and its program."""

    kind: str
    text: str
    program: tuple[str, ...]


def sample_text(generator: Generator) -> SampledText:
    """A random question, or a random choice of one.

    Args:
        generator: of all random choices.

    Example:
        >>> import numpy as np
        >>> sampled = sample_text(np.random.default_rng(1))
        >>> sampled.kind in ("question", "cause", "event"), len(sampled.program) > 1
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
        return descriptive(generator, lambda: sample_reference(generator, 0), lambda: sample_reference(generator))[1]

    if form == "cause of":
        return cause_question(
            _event(generator, ("collision", "collision", "filter_out", "filter_in")), negated, generator
        )

    if form == "without":
        return counterfactual_question(sample_reference(generator), negated, generator)
    if form == "next":
        return prediction_question(generator)
    if form == "event":
        return collision_phrase(sample_reference(generator), sample_reference(generator), generator, possible=True)
    if generator.random() < 0.3:
        return presence_phrase(sample_reference(generator))

    return _event(generator, ("collision", "filter_in", "filter_out"))


def _event(generator: Generator, kinds: tuple[str, ...]) -> Phrase:
    kind = choose(generator, kinds)
    if kind == "collision":
        return collision_phrase(sample_reference(generator), sample_reference(generator), generator)
    return border_event_phrase(kind, sample_reference(generator), generator)
