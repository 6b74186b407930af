"""Texts with programs, drawn at random and about no scene: what a question parser learns from."""

from typing import NamedTuple

from numpy.random import Generator

from spikebridge.data.descriptive_texts import descriptive
from spikebridge.data.question_texts import (
    Phrase,
    cause_of,
    draw_reference,
    happening,
    meeting,
    pick,
    presence,
    what_next,
    what_without,
)


class DrawnText(NamedTuple):
    """A text, what it is (`question`, `cause`, `event`) and the program that it means."""

    kind: str
    text: str
    program: tuple[str, ...]


def draw_text(generator: Generator) -> DrawnText:
    """A question, or a choice of one.

    Args:
        generator: draws everything.

    Example:
        >>> import numpy as np
        >>> drawn = draw_text(np.random.default_rng(1))
        >>> drawn.kind in ("question", "cause", "event"), len(drawn.program) > 1
        (True, True)
    """
    forms = {"descriptive": 0.40, "cause of": 0.15, "without": 0.15, "next": 0.01, "cause": 0.17, "event": 0.12}
    form = str(generator.choice(list(forms), p=list(forms.values())))
    kind = form if form in ("cause", "event") else "question"
    phrase = _phrase(form, generator)
    return DrawnText(kind, phrase.text, phrase.program)


def _phrase(form: str, generator: Generator) -> Phrase:
    negated = bool(generator.random() < 0.5)
    if form == "descriptive":
        return descriptive(generator, lambda: draw_reference(generator, 0), lambda: draw_reference(generator))[1]
    if form == "cause of":
        return cause_of(_event(generator, ("meeting", "meeting", "filter_out", "filter_in")), negated, generator)
    if form == "without":
        return what_without(draw_reference(generator), negated, generator)
    if form == "next":
        return what_next(generator)
    if form == "event":
        return meeting(draw_reference(generator), draw_reference(generator), generator, possible=True)
    if generator.random() < 0.3:
        return presence(draw_reference(generator))
    return _event(generator, ("meeting", "filter_in", "filter_out"))


def _event(generator: Generator, kinds: tuple[str, ...]) -> Phrase:
    kind = pick(generator, kinds)
    if kind == "meeting":
        return meeting(draw_reference(generator), draw_reference(generator), generator)
    return happening(kind, draw_reference(generator), generator)
