"""Templates of questions about rolling objects, each with its program, and random texts to train a parser.

A template has slots for references to one object (`the red cube`), to a set (`metal spheres`), to an event (`the
sphere's exit`) and to a time (`when the video ends`). A filled template gives a text and its program, in the vocabulary
and the usual phrases of CLEVRER (K. Yi et al., ICLR 2020) and some of our own. The wordings are in `templates.json`.
`sample_text` samples texts without a scene, for the training of the question parser.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from numpy.random import Generator

from spikebridge.data.io.json_text import read_json
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES

_TEMPLATES = read_json(Path(__file__).with_suffix(".json"), "templates of questions")
_VERBS = {"enters": "filter_in", "exits": "filter_out"}
_INFINITIVES = {"enter": "filter_in", "exit": "filter_out"}
_MOTIONS = {"moving": "filter_moving", "stationary": "filter_stationary"}


class Phrase(NamedTuple):
    """A text and its program."""

    text: str
    program: tuple[str, ...]


class SampledText(NamedTuple):
    """A text, its kind (`question`, `cause`, `event`) and its program."""

    kind: str
    text: str
    program: tuple[str, ...]


class Reference(NamedTuple):
    """The values that refer to an object or a set; None for a kind that is not named."""

    color: str | None = None
    material: str | None = None
    shape: str | None = None

    def text(self, plural: bool = False) -> str:
        """The words, without an article."""
        noun = (self.shape or "object") + ("s" if plural else "")
        return " ".join(word for word in (self.color, self.material, noun) if word)

    def program(self) -> tuple[str, ...]:
        """The tokens that select the set of objects."""
        filters = [(value, f"filter_{kind}") for kind, value in zip(ATTRIBUTES, self, strict=True) if value is not None]
        return ("objects", *(token for pair in filters for token in pair))

    def object(self) -> Phrase:
        """The reference as one object: `the red cube`."""
        return Phrase(f"the {self.text()}", (*self.program(), "unique"))


def sample_reference(generator: Generator, min_values: int = 1) -> Reference:
    """A random reference with at least this number of values."""
    while True:
        is_named = generator.random(3) < (0.55, 0.4, 0.55)
        if is_named.sum() >= min_values:
            values = [choices[generator.integers(len(choices))] for choices in ATTRIBUTES.values()]
            return Reference(*(value if named else None for value, named in zip(values, is_named, strict=True)))


def choose(generator: Generator, options: Sequence[str]) -> str:
    """A random option."""
    return options[int(generator.integers(len(options)))]


def border_event_phrase(token: str, reference: Reference, generator: Generator) -> Phrase:
    """An entrance (`filter_in`) or exit (`filter_out`) as a noun."""
    text, program = reference.object()
    return Phrase(choose(generator, _TEMPLATES["borders"][token]).format(text), ("events", *program, token, "unique"))


def collision_phrase(first: Reference, second: Reference, generator: Generator, possible: bool = False) -> Phrase:
    """A collision as a noun, or as a possible event."""
    a = first.object()
    b = second.object()
    text = choose(generator, _TEMPLATES["possible events" if possible else "collisions"]).format(a.text, b.text)
    source = "all_events" if possible else "events"

    return Phrase(text, (source, *a.program, "filter_collision", *b.program, "filter_collision", "unique"))


def presence_phrase(reference: Reference) -> Phrase:
    """The presence of an object."""
    text, program = reference.object()
    return Phrase(f"the presence of {text}", program)


def cause_question(event: Phrase, negated: bool, generator: Generator) -> Phrase:
    """An explanatory question: which of the choices is (not) a cause of an event?"""
    text = choose(generator, _TEMPLATES["causes"]["wrong" if negated else "correct"]).format(event.text)
    return Phrase(text, ("events", *event.program, "filter_ancestor", "belong_to", *_negation(negated)))


def prediction_question(generator: Generator) -> Phrase:
    """A predictive question: which of the choices happens after the video?"""
    return Phrase(choose(generator, _TEMPLATES["future"]), ("unseen_events", "belong_to"))


def counterfactual_question(removed: Reference, negated: bool, generator: Generator) -> Phrase:
    """A counterfactual question: which of the choices would (not) happen without an object?"""
    name, selection = removed.object()
    removal = choose(generator, _TEMPLATES["removals"]).format(name)
    verb = choose(generator, ("will", "would")) + (" not" if negated else "")
    subject = choose(generator, _TEMPLATES["subjects"])

    if generator.random() < 0.5:
        text = f"{removal[0].upper()}{removal[1:]}, {subject[0].lower()}{subject[1:]} {verb} happen?"
    else:
        text = f"{subject} {verb} happen {removal}?"

    return Phrase(text, ("all_events", *selection, "filter_counterfact", "belong_to", *_negation(negated)))


def _negation(negated: bool) -> tuple[str, ...]:
    return ("negate",) if negated else ()


_Refer: TypeAlias = Callable[[], Reference]
"""Samples a reference to a set or to one object."""


def descriptive(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    """A question with its subtype: `count`, `exist` or the kind of attribute."""
    forms = (_moving_number, _border_number, _collision_number, _set_number, _order, _partner, _moving_object)
    weights = (0.2, 0.2, 0.12, 0.03, 0.15, 0.2, 0.1)
    form = forms[int(generator.choice(len(forms), p=weights))]

    return form(generator, refer_set, refer_one)


def _set_number(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    members = refer_set()
    subtype, template = _number_template("set", generator)
    return subtype, Phrase(template.format(members.text(plural=True)), (*members.program(), subtype))


def _moving_number(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    members = refer_set()
    motion = choose(generator, tuple(_MOTIONS))
    time = _time_phrase(generator, _maybe(generator, refer_one, 0.3))
    subtype, template = _number_template("moving", generator)
    text = template.format(members.text(plural=True), motion, time.text)

    return subtype, Phrase(text, (*members.program(), *time.program, _MOTIONS[motion], subtype))


def _border_number(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    members = refer_set()
    verb = choose(generator, tuple(_INFINITIVES))
    order = _order_phrase(generator, _maybe(generator, refer_one, 0.5))
    subtype, template = _number_template("border", generator)
    text = template.format(members.text(plural=True), verb, order.text)

    return subtype, Phrase(text, (*order.program, *members.program(), _INFINITIVES[verb], subtype))


def _collision_number(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    order = _order_phrase(generator, _maybe(generator, refer_one, 0.5))
    subtype, template = _number_template("collisions", generator)
    return subtype, Phrase(template.format(order.text), (*order.program, "objects", "filter_collision", subtype))


def _order(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    kind, question = _attribute_question(generator)
    verb = choose(generator, tuple(_INFINITIVES))
    rank, chosen = _rank(generator)
    clause = choose(generator, _TEMPLATES["ordered"]["border"]).format(verb)
    program = ("events", "objects", _INFINITIVES[verb], *chosen, "query_object", f"query_{kind}")

    return kind, Phrase(f"{question} the {rank}object {clause}?", program)


def _partner(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    kind, question = _attribute_question(generator)
    rank, chosen = _rank(generator)
    name, selection = refer_one().object()
    clause = choose(generator, _TEMPLATES["ordered"]["partner"])
    program = ("events", *selection, "filter_collision", *chosen, *selection, "query_collision_partner")

    return kind, Phrase(f"{question} the {rank}object {clause} {name}?", (*program, f"query_{kind}"))


def _moving_object(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    kind, question = _attribute_question(generator)
    members = refer_set()
    motion = choose(generator, tuple(_MOTIONS))
    time = _time_phrase(generator, _maybe(generator, refer_one, 0.3))
    template = choose(generator, _TEMPLATES["ordered"]["moving"])
    name = template.format(motion, members.text(plural=True), members.text())
    program = (*members.program(), *time.program, _MOTIONS[motion], "unique", f"query_{kind}")

    return kind, Phrase(f"{question} {name}{time.text}?", program)


def _maybe(generator: Generator, refer: _Refer, probability: float) -> Reference | None:
    return refer() if generator.random() < probability else None


def _number_template(name: str, generator: Generator) -> tuple[str, str]:
    """Subtype and template of a question for a number, or for existence."""
    subtype = "count" if generator.random() < 0.5 else "exist"
    return subtype, choose(generator, _TEMPLATES["numbers"][name][subtype])


def _attribute_question(generator: Generator) -> tuple[str, str]:
    kind = choose(generator, tuple(ATTRIBUTES))
    return kind, choose(generator, _TEMPLATES["attributes"]).format(kind)


def _rank(generator: Generator) -> tuple[str, tuple[str, ...]]:
    """A word of order, or none, and the tokens that choose an event."""
    rank = choose(generator, ("", "first", "second", "last"))
    return (f"{rank} ", (rank, "filter_order")) if rank else ("", ("unique",))


def _time_phrase(generator: Generator, reference: Reference | None) -> Phrase:
    """A time: as an object enters or exits; without a reference at the beginning, at the end, or at any time."""
    if reference is not None:
        verb = choose(generator, tuple(_VERBS))
        name, selection = reference.object()
        return Phrase(f" when {name} {verb} the scene", ("events", *selection, _VERBS[verb], "unique", "query_frame"))

    form = int(generator.integers(3))
    if form == 0:
        return Phrase("", ("null",))

    token = "filter_start" if form == 1 else "filter_end"
    return Phrase(choose(generator, _TEMPLATES["times"][token]), ("events", token, "query_frame"))


def _order_phrase(generator: Generator, reference: Reference | None) -> Phrase:
    """Before or after an entrance or exit; without a reference, all events. Its program gives a set of events."""
    if reference is None:
        return Phrase("", ("events",))

    order = choose(generator, ("before", "after"))
    verb = choose(generator, tuple(_VERBS))
    name, selection = reference.object()
    program = ("events", "events", *selection, _VERBS[verb], "unique", f"filter_{order}")

    return Phrase(f" {order} {name} {verb} the scene", program)


def sample_text(generator: Generator) -> SampledText:
    """A random question, or a random choice of one."""
    forms = {"descriptive": 0.40, "cause of": 0.15, "without": 0.15, "next": 0.01, "cause": 0.17, "event": 0.12}
    form = str(generator.choice(list(forms), p=list(forms.values())))
    kind = form if form in ("cause", "event") else "question"
    phrase = _sample_phrase(form, generator)

    return SampledText(kind, phrase.text, phrase.program)


def _sample_phrase(form: str, generator: Generator) -> Phrase:
    negated = bool(generator.random() < 0.5)
    if form == "descriptive":
        return descriptive(generator, lambda: sample_reference(generator, 0), lambda: sample_reference(generator))[1]
    if form == "cause of":
        event = _sample_event(generator, ("collision", "collision", "filter_out", "filter_in"))
        return cause_question(event, negated, generator)
    if form == "without":
        return counterfactual_question(sample_reference(generator), negated, generator)
    if form == "next":
        return prediction_question(generator)
    if form == "event":
        return collision_phrase(sample_reference(generator), sample_reference(generator), generator, possible=True)
    if generator.random() < 0.3:
        return presence_phrase(sample_reference(generator))

    return _sample_event(generator, ("collision", "filter_in", "filter_out"))


def _sample_event(generator: Generator, kinds: tuple[str, ...]) -> Phrase:
    kind = choose(generator, kinds)
    if kind == "collision":
        return collision_phrase(sample_reference(generator), sample_reference(generator), generator)
    return border_event_phrase(kind, sample_reference(generator), generator)
