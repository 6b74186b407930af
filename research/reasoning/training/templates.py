"""Templates of questions about events and of their choices, each with its program, and random texts to train a parser.

They are in the vocabulary and the usual phrases of CLEVRER (K. Yi et al., ICLR 2020) and some of our own; descriptive
questions are those of the package. The wordings are in `templates.json`. `sample_text` samples texts without a scene.
"""

from pathlib import Path
from typing import NamedTuple

from numpy.random import Generator

from spikebridge.data.io.json_text import read_json
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.networks.reasoning.simulation.templates import Phrase, Reference, choose, descriptive

_WORDINGS = read_json(Path(__file__).with_suffix(".json"), "templates of questions")


class SampledText(NamedTuple):
    """A text, its kind (`question`, `cause`, `event`) and its program."""

    kind: str
    text: str
    program: tuple[str, ...]


def sample_reference(generator: Generator, min_values: int = 1) -> Reference:
    """A random reference with at least this number of values."""
    while True:
        is_named = generator.random(3) < (0.55, 0.4, 0.55)
        if is_named.sum() >= min_values:
            values = [choices[generator.integers(len(choices))] for choices in ATTRIBUTES.values()]
            return Reference(*(value if named else None for value, named in zip(values, is_named, strict=True)))


def border_event_phrase(token: str, reference: Reference, generator: Generator) -> Phrase:
    """An entrance (`filter_in`) or exit (`filter_out`) as a noun."""
    text, program = reference.object()
    return Phrase(choose(generator, _WORDINGS["borders"][token]).format(text), ("events", *program, token, "unique"))


def collision_phrase(first: Reference, second: Reference, generator: Generator, possible: bool = False) -> Phrase:
    """A collision as a noun, or as a possible event."""
    a = first.object()
    b = second.object()
    text = choose(generator, _WORDINGS["possible events" if possible else "collisions"]).format(a.text, b.text)
    source = "all_events" if possible else "events"

    return Phrase(text, (source, *a.program, "filter_collision", *b.program, "filter_collision", "unique"))


def presence_phrase(reference: Reference) -> Phrase:
    """The presence of an object."""
    text, program = reference.object()
    return Phrase(f"the presence of {text}", program)


def cause_question(event: Phrase, negated: bool, generator: Generator) -> Phrase:
    """An explanatory question: which of the choices is (not) a cause of an event?"""
    text = choose(generator, _WORDINGS["causes"]["wrong" if negated else "correct"]).format(event.text)
    return Phrase(text, ("events", *event.program, "filter_ancestor", "belong_to", *_negation(negated)))


def prediction_question(generator: Generator) -> Phrase:
    """A predictive question: which of the choices happens after the video?"""
    return Phrase(choose(generator, _WORDINGS["future"]), ("unseen_events", "belong_to"))


def counterfactual_question(removed: Reference, negated: bool, generator: Generator) -> Phrase:
    """A counterfactual question: which of the choices would (not) happen without an object?"""
    name, selection = removed.object()
    removal = choose(generator, _WORDINGS["removals"]).format(name)
    verb = choose(generator, ("will", "would")) + (" not" if negated else "")
    subject = choose(generator, _WORDINGS["subjects"])

    if generator.random() < 0.5:
        text = f"{removal[0].upper()}{removal[1:]}, {subject[0].lower()}{subject[1:]} {verb} happen?"
    else:
        text = f"{subject} {verb} happen {removal}?"

    return Phrase(text, ("all_events", *selection, "filter_counterfact", "belong_to", *_negation(negated)))


def _negation(negated: bool) -> tuple[str, ...]:
    return ("negate",) if negated else ()


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
