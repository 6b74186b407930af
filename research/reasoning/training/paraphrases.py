"""Everyday wordings of questions about rolling objects, each with its program, to train the question parser.

The templates of `templates.py` have the wording of CLEVRER. The ones here say the same as people do: `Is there a red
ball?`, `Which thing hit the blue cube?`, `What if we took away the sphere?`. The wordings are in `paraphrases.json`. A
pattern is a text with fields:

| field | meaning |
|---|---|
| `{A}`, `{B}` | one object: `the red cube`; `<A>` in the program |
| `{set}`, `{sets}` | a set, singular and plural: `red cube`, `red cubes`; `[S]` in the program |
| `{predicate}` | one attribute of the set: `made of metal`; `[P]` in the program for a set with this attribute alone |
| `{hit}`, `{act}`, `{move}`, `{when}`, ... | a random wording: of a collision, an entrance or exit, motion, a time |
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from numpy.random import Generator

from research.reasoning.training.templates import SampledText, sample_reference
from spikebridge.data.io.json_text import read_json
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.networks.reasoning.simulation.templates import Phrase, Reference, choose

_DATA = read_json(Path(__file__).with_suffix(".json"), "wordings of questions")
_FIELD = re.compile(r"{(\w+)}")
_Words = dict[str, Sequence[str]]


def sample_paraphrase(generator: Generator) -> SampledText:
    """A random question, or a random choice of one, in everyday words."""
    form = _FORMS[int(generator.choice(len(_FORMS), p=[form.probability for form in _FORMS]))]
    phrase = form.sample(generator)
    text = " ".join(phrase.text.split())
    # some people leave out articles
    if generator.random() < 0.06:
        text = re.sub(r"\b(the|a|an) ", "", text)

    return SampledText(form.kind, text, phrase.program)


class _Draw:
    """The random references, motion, time and order of one text."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.first = sample_reference(generator)
        self.second = sample_reference(generator)
        self.set = sample_reference(generator, 0)
        self.motion = choose(generator, tuple(_DATA["motions"]))
        self.border = choose(generator, tuple(_DATA["borders"]))
        time, self.time_program = self._time()
        order, self.events_program = self._order()
        self.rank = choose(generator, ("", "", "first", "second", "last"))
        predicate_words = self._predicate_words()

        self.words: _Words = {
            **_DATA["wordings"],
            **_DATA["borders"][self.border],
            **_DATA["motions"][self.motion],
            "A": [f"the {self.noun(self.first)}"],
            "a": [self.noun(self.first)],
            "B": [f"the {self.noun(self.second)}"],
            "set": [self.noun(self.set)],
            "sets": [self.noun(self.set, plural=True)],
            "a_set": [f"a {self.noun(self.set)}"],
            "when": [f" {time}" if time else ""],
            "order": [f" {order}" if order else ""],
            "rank": [f"{self.rank} " if self.rank else ""],
            "rank_only": [f"{self.rank} one " if self.rank and generator.random() < 0.3 else f"{self.rank} "],
            "ranked": [f" {self.rank}" if self.rank else ""],
            **predicate_words,
        }

    def fill(self, pattern: str) -> str:
        """A pattern with a random wording in each field; a time or an order may stand in front."""
        for field in ("{when}", "{order}"):
            front = self.words[field[1:-1]][0].strip()
            if front and pattern.endswith(field) and self.generator.random() < 0.2:
                return f"{self.fill(front)}, {self.fill(pattern.removesuffix(field))}"

        # wordings may have fields of their own
        match = _FIELD.search(pattern)
        while match is not None:
            words = choose(self.generator, self.words[match[1]])
            pattern = pattern[: match.start()] + words + pattern[match.end() :]
            match = _FIELD.search(pattern)

        return pattern

    def program(self, pattern: str) -> tuple[str, ...]:
        """The tokens of a program with `<A>` for one object, `[S]` for a set, and fields of time, order and motion."""
        text = pattern.format(
            time=self.time_program,
            events=self.events_program,
            motion=self.motion,
            border=self.border,
            chosen=f"{self.rank} filter_order" if self.rank else "unique",
        )
        selections = {
            "<A>": (*self.first.program(), "unique"),
            "<B>": (*self.second.program(), "unique"),
            "[A]": self.first.program(),
            "[S]": self.set.program(),
            "[P]": self.predicate.program(),
            "[]": ("objects",),
        }
        return tuple(token for word in text.split() for token in selections.get(word, (word,)))

    def phrase(self, program: str, pattern: str) -> Phrase:
        """A filled pattern with its program."""
        return Phrase(self.fill(pattern), self.program(program))

    def noun(self, reference: Reference, plural: bool = False) -> str:
        """The words for an object or a set, without an article: `red ball`, `metal things`."""
        noun = choose(self.generator, _DATA["nouns"][reference.shape or "object"]) + ("s" if plural else "")
        material = reference.material
        if material == "metal" and self.generator.random() < 0.2:
            material = "metallic"

        words = (reference.color, material, noun)
        if reference.material and self.generator.random() < 0.1:
            words = (reference.color, noun, f"made of {reference.material}")

        return " ".join(word for word in words if word)

    def _time(self) -> tuple[str, str]:
        """A time and its program; without words, any time."""
        share = self.generator.random()
        if share < 0.4:
            return "", "null"
        if share < 0.55:
            return choose(self.generator, _DATA["times"]["start"]), "events filter_start query_frame"
        if share < 0.75:
            return choose(self.generator, _DATA["times"]["end"]), "events filter_end query_frame"

        text, program = self._border_clause()
        when = choose(self.generator, _DATA["times"]["when"])

        return f"{when} {text}", f"events {program} unique query_frame"

    def _order(self) -> tuple[str, str]:
        """Before or after an entrance or exit, and its program; without words, all events."""
        if self.generator.random() < 0.6:
            return "", "events"

        text, program = self._border_clause()
        order = choose(self.generator, ("before", "after"))

        return f"{order} {text}", f"events events {program} unique filter_{order}"

    def _border_clause(self) -> tuple[str, str]:
        border = choose(self.generator, tuple(_DATA["borders"]))
        reference = sample_reference(self.generator)
        wordings = _DATA["borders"][border]
        verb = choose(self.generator, wordings[choose(self.generator, ("acts", "acts", "acted"))])
        verb = verb.replace("{in}", choose(self.generator, wordings["in"]))

        return f"the {self.noun(reference)} {verb}", " ".join((*reference.program(), "unique", border))

    def _predicate_words(self) -> _Words:
        """Wordings of the set as a noun and a predicate: `cubes` and `red`, `things` and `made of metal`."""
        # a set of all objects has no attribute to ask for
        if not any(self.set):
            self.set = sample_reference(self.generator)

        kind = choose(self.generator, [kind for kind, value in zip(ATTRIBUTES, self.set, strict=True) if value])
        value = getattr(self.set, kind)
        self.predicate = Reference(**{kind: value})
        predicates = [value]
        if kind == "material":
            predicates = [value, f"made of {value}", f"made out of {value}"]
        if kind == "shape":
            predicates = [f"a {self.noun(self.predicate)}"]

        rest = self.set._replace(**{kind: None})
        return {"predicate": predicates, "of_set": [self.noun(rest)], "of_sets": [self.noun(rest, plural=True)]}


def _table_question(name: str, generator: Generator) -> Phrase:
    """A question of a table of programs and patterns."""
    table = _DATA["questions"][name]
    program, pattern = table[int(generator.integers(len(table)))]
    return _Draw(generator).phrase(program, pattern)


def _object_question(generator: Generator) -> Phrase:
    """A question for an attribute of one object, or for the whole object."""
    objects = _DATA["objects"]
    form = objects[int(generator.integers(len(objects)))]
    draw = _Draw(generator)
    if form["questions"] and (not form["nouns"] or generator.random() < 0.4):
        return draw.phrase(f"{form['program']} describe", choose(generator, form["questions"]))

    noun = draw.fill(choose(generator, form["nouns"]))
    kind = choose(generator, (*ATTRIBUTES, *ATTRIBUTES, "object"))
    patterns = _DATA["attributes"]
    if kind == "object":
        pattern = choose(generator, patterns["object"])
    else:
        pattern = choose(generator, [*patterns["any"], *patterns.get(kind, [])])

    # a material in the noun would answer the question
    if " or " in pattern and (draw.first.material or draw.set.material):
        pattern = "what is {one} made of"

    query = "describe" if kind == "object" else f"query_{kind}"
    return Phrase(pattern.format(kind=kind, one=noun), draw.program(f"{form['program']} {query}"))


def _event(draw: _Draw, style: str) -> Phrase:
    """A collision, entrance or exit as a noun, a clause, with a plain verb, or with `to`."""
    is_collision = draw.generator.random() < 0.6
    pattern = choose(draw.generator, _DATA["events"][style]["collision" if is_collision else "border"])
    filters = "filter_collision <B> filter_collision" if is_collision else draw.border

    return draw.phrase(f"events <A> {filters} unique", pattern)


def _cause_question(generator: Generator) -> Phrase:
    draw = _Draw(generator)
    style = choose(generator, ("noun", "noun", "plain", "plain", "clause", "to", "not"))
    event = _event(draw, "noun" if style == "not" else style)
    text = _fill_around(draw, choose(generator, _DATA["causes"][style]), "{event}", event.text)
    negation = ("negate",) if style == "not" else ()

    return Phrase(text, ("events", *event.program, "filter_ancestor", "belong_to", *negation))


def _fill_around(draw: _Draw, pattern: str, field: str, words: str) -> str:
    """A filled pattern with words in one field that are not filled again."""
    return draw.fill(pattern.replace(field, "@")).replace("@", words)


def _future_question(generator: Generator) -> Phrase:
    return _Draw(generator).phrase("unseen_events belong_to", choose(generator, _DATA["future"]))


def _removal_question(generator: Generator) -> Phrase:
    draw = _Draw(generator)
    patterns = _DATA["removal"]
    supposed = draw.fill(choose(generator, patterns["supposed"]))
    negated = generator.random() < 0.4
    program = "all_events <A> filter_counterfact belong_to" + (" negate" if negated else "")

    if not negated and generator.random() < 0.3 and supposed.startswith(("if", "without", "when")):
        text = _fill_around(draw, choose(generator, patterns["what if"]), "{supposed}", supposed)
        return Phrase(text, draw.program(program))

    then = draw.fill(choose(generator, patterns["not then" if negated else "then"]))
    orders = (f"{supposed}, {then}", f"{then} {supposed}", f"{supposed}, then {then}")
    if supposed.startswith(("suppose", "imagine", "had", "assuming")):
        orders = (f"{supposed}, {then}", f"{supposed}. {then}", f"{supposed}: {then}")

    return Phrase(choose(generator, orders), draw.program(program))


def _cause(generator: Generator) -> Phrase:
    """A choice of an explanatory question."""
    draw = _Draw(generator)
    if generator.random() < 0.25:
        return draw.phrase("<A>", choose(generator, _DATA["presence"]))

    event = _event(draw, choose(generator, ("noun", "clause")))
    start = choose(generator, ("", "", "", "that ", "because "))

    return Phrase(start + event.text, event.program)


def _possible_event(generator: Generator) -> Phrase:
    """A choice of a predictive or counterfactual question."""
    program = "all_events <A> filter_collision <B> filter_collision unique"
    return _Draw(generator).phrase(program, choose(generator, _DATA["possible events"]))


class _Form(NamedTuple):
    """A form of texts: its probability, the kind of text, and a function that samples it."""

    probability: float
    kind: str
    sample: Callable[[Generator], Phrase]


_FORMS = (
    _Form(0.13, "question", partial(_table_question, "set")),
    _Form(0.13, "question", partial(_table_question, "motion")),
    _Form(0.09, "question", partial(_table_question, "border")),
    _Form(0.14, "question", partial(_table_question, "collisions")),
    _Form(0.22, "question", _object_question),
    _Form(0.09, "question", _cause_question),
    _Form(0.02, "question", _future_question),
    _Form(0.07, "question", _removal_question),
    _Form(0.07, "cause", _cause),
    _Form(0.04, "event", _possible_event),
)
