"""Everyday wordings of questions about rolling objects, each with its program, to train the question parser.

The templates of `templates.py` have the wording of CLEVRER. The ones here say the same as people do: `Is there a red
ball?`, `Which thing hit the blue cube?`, `What if we took away the sphere?`. A pattern is a text with fields:

| field | meaning |
|---|---|
| `{A}`, `{B}` | one object: `the red cube`; `<A>` in the program |
| `{set}`, `{sets}` | a set, singular and plural: `red cube`, `red cubes`; `[S]` in the program |
| `{predicate}` | one attribute of the set: `made of metal`; `[P]` in the program for a set with this attribute alone |
| `{hit}`, `{act}`, `{move}`, `{when}`, ... | a random wording: of a collision, a passage, motion, a time |
"""

import re
from collections.abc import Sequence

from numpy.random import Generator

from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.networks.reasoning.simulation import wordings
from spikebridge.networks.reasoning.simulation.templates import Phrase, Reference, SampledText, choose, sample_reference

_FIELD = re.compile(r"{(\w+)}")


def sample_paraphrase(generator: Generator) -> SampledText:
    """A random question, or a random choice of one, in everyday words.

    Args:
        generator: of all random choices.

    Example:
        >>> import numpy as np
        >>> sample_paraphrase(np.random.default_rng(5)).kind in ("question", "cause", "event")
        True
    """
    forms = {
        _about_set: 0.13,
        _about_motion: 0.13,
        _about_border: 0.09,
        _about_collisions: 0.14,
        _about_one: 0.22,
        _about_cause: 0.09,
        _about_future: 0.02,
        _about_removal: 0.07,
        _cause: 0.07,
        _possible_event: 0.04,
    }

    chosen = list(forms)[int(generator.choice(len(forms), p=list(forms.values())))]
    kind, phrase = chosen(generator)
    text = " ".join(phrase.text.split())
    if generator.random() < 0.06:
        text = re.sub(r"\b(the|a|an) ", "", text)

    return SampledText(kind, text, phrase.program)


class _Draw:
    """One text: its random references, motion, time and order.

    Args:
        generator: of all random choices.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.one = sample_reference(generator)
        self.other = sample_reference(generator)
        self.set = sample_reference(generator, 0)
        self.motion = choose(generator, tuple(wordings.MOVES))
        self.border = choose(generator, tuple(wordings.ACTS))
        time, self.time = self._time()
        order, self.events = self._order()
        self.rank = choose(generator, ("", "", "first", "second", "last"))
        split = self._predicate()

        self.words: dict[str, tuple[str, ...]] = {
            **wordings.WORDINGS,
            **wordings.LOCAL,
            **wordings.ACTS[self.border],
            **wordings.MOVES[self.motion],
            "A": (self.noun(self.one),),
            "a": (self.noun(self.one, article=False),),
            "B": (self.noun(self.other),),
            "set": (self.noun(self.set, article=False),),
            "sets": (self.noun(self.set, article=False, plural=True),),
            "a_set": (f"a {self.noun(self.set, article=False)}",),
            "when": (f" {time}" if time else "",),
            "order": (f" {order}" if order else "",),
            "rank": (f"{self.rank} " if self.rank else "",),
            "rank_only": (f"{self.rank} one " if self.rank and generator.random() < 0.3 else f"{self.rank} ",),
            "ranked": (f" {self.rank}" if self.rank else "",),
            **split,
        }

    def fill(self, pattern: str) -> str:
        """A pattern with a random wording in each field; a time or an order may stand in front."""
        for field in ("when", "order"):
            front = self.words[field][0].strip()
            if front and pattern.endswith(f"{{{field}}}") and self.generator.random() < 0.2:
                return f"{self.fill(front)}, {self.fill(pattern.removesuffix(f'{{{field}}}'))}"

        while (found := _FIELD.search(pattern)) is not None:
            words = choose(self.generator, self.words[found[1]])
            pattern = pattern[: found.start()] + words + pattern[found.end() :]

        return pattern

    def program(self, pattern: str) -> tuple[str, ...]:
        """The tokens of a program with `<A>` for one object, `[S]` for a set, and fields of time, order and motion."""
        chosen = f"{self.rank} filter_order" if self.rank else "unique"
        fields = {"time": self.time, "events": self.events, "motion": self.motion, "border": self.border}
        filled = pattern.format(**fields, chosen=chosen)
        sets = {"<A>": (self.one, "unique"), "<B>": (self.other, "unique"), "[A]": (self.one, "")}
        sets |= {"[S]": (self.set, ""), "[P]": (self.said, "")}
        tokens: list[str] = []

        for token in filled.replace("[]", "objects").split():
            if token in sets:
                reference, end = sets[token]
                tokens += [*reference.program(), *end.split()]
            else:
                tokens.append(token)

        return tuple(tokens)

    def phrase(self, program: str, pattern: str) -> Phrase:
        """A filled pattern with its program."""
        return Phrase(self.fill(pattern), self.program(program))

    def noun(self, reference: Reference, article: bool = True, plural: bool = False) -> str:
        """The words for an object or a set: `the red ball`, `metal things`."""
        nouns = {
            "sphere": ("sphere", "ball", "ball"),
            "cube": ("cube", "cube", "block"),
            "cylinder": ("cylinder", "cylinder", "tube"),
            None: ("object", "thing", "thing", "item", "one"),
        }

        noun = choose(self.generator, nouns[reference.shape]) + ("s" if plural else "")
        material = reference.material
        if material == "metal" and self.generator.random() < 0.2:
            material = "metallic"

        words = " ".join(word for word in (reference.color, material, noun) if word)
        if reference.material and self.generator.random() < 0.1:
            made = " ".join(word for word in (reference.color, noun) if word)
            words = f"{made} made of {reference.material}"

        return f"the {words}" if article else words

    def _time(self) -> tuple[str, str]:
        """A time and its program; without words, any time."""
        which = self.generator.random()
        if which < 0.4:
            return "", "null"
        if which < 0.55:
            return choose(self.generator, wordings.START), "events filter_start query_frame"
        if which < 0.75:
            return choose(self.generator, wordings.END), "events filter_end query_frame"

        text, border = self._passing()
        when = choose(self.generator, ("when", "as", "at the moment when", "while", "the moment"))

        return f"{when} {text}", f"events {border} unique query_frame"

    def _order(self) -> tuple[str, str]:
        """Before or after an entrance or exit, and its program; without words, all events."""
        if self.generator.random() < 0.6:
            return "", "events"

        text, border = self._passing()
        order = choose(self.generator, ("before", "after"))

        return f"{order} {text}", f"events events {border} unique filter_{order}"

    def _passing(self) -> tuple[str, str]:
        border = choose(self.generator, tuple(wordings.ACTS))
        who = sample_reference(self.generator)
        table = wordings.ACTS[border]
        words = choose(self.generator, table[choose(self.generator, ("acts", "acts", "acted"))])
        words = words.replace("{in}", choose(self.generator, table["in"]))

        return f"{self.noun(who)} {words}", " ".join((*who.program(), "unique", border))

    def _predicate(self) -> dict[str, tuple[str, ...]]:
        """The set as a noun and what is said of it: `cubes` and `red`, `things` and `made of metal`."""
        kinds = [kind for kind, value in zip(ATTRIBUTES, self.set, strict=True) if value is not None]
        if not kinds:
            self.set = sample_reference(self.generator)
            kinds = [kind for kind, value in zip(ATTRIBUTES, self.set, strict=True) if value is not None]

        kind = choose(self.generator, kinds)
        value = getattr(self.set, kind)
        rest = self.set._replace(**{kind: None})
        self.said = Reference(**{kind: value})
        said: tuple[str, ...] = (value,)

        if kind == "material":
            said = (value, f"made of {value}", f"made out of {value}")

        if kind == "shape":
            article_noun = self.noun(Reference(shape=value), article=False)
            said = (f"a {article_noun}",)

        return {
            "predicate": said,
            "of_set": (self.noun(rest, article=False),),
            "of_sets": (self.noun(rest, article=False, plural=True),),
        }


def _of(generator: Generator, table: Sequence[tuple[str, str]]) -> tuple[str, Phrase]:
    program, pattern = table[int(generator.integers(len(table)))]
    draw = _Draw(generator)
    return "question", draw.phrase(program, pattern)


def _about_set(generator: Generator) -> tuple[str, Phrase]:
    return _of(generator, wordings.SET)


def _about_motion(generator: Generator) -> tuple[str, Phrase]:
    return _of(generator, wordings.MOVING)


def _about_border(generator: Generator) -> tuple[str, Phrase]:
    return _of(generator, wordings.ACTING)


def _about_collisions(generator: Generator) -> tuple[str, Phrase]:
    return _of(generator, wordings.MEETING)


def _about_one(generator: Generator) -> tuple[str, Phrase]:
    """An attribute of one object, or the whole object."""
    form = wordings.ONE[int(generator.integers(len(wordings.ONE)))]
    draw = _Draw(generator)
    if form.asks and (not form.nouns or generator.random() < 0.4):
        return "question", draw.phrase(f"{form.program} describe", choose(generator, form.asks))

    one = draw.fill(choose(generator, form.nouns))
    kind = choose(generator, (*ATTRIBUTES, *ATTRIBUTES, "object"))
    of_one = {"material": wordings.MATERIAL_ASKS, "shape": wordings.SHAPE_ASKS}.get(kind, ())
    asks = wordings.OBJECT_ASKS if kind == "object" else (*wordings.ATTRIBUTE_ASKS, *of_one)
    pattern = choose(generator, asks)

    if " or " in pattern and any(reference.material for reference in (draw.one, draw.set)):
        pattern = "what is {one} made of"

    asked = "describe" if kind == "object" else f"query_{kind}"
    return "question", Phrase(pattern.format(kind=kind, one=one), draw.program(f"{form.program} {asked}"))


def _event(draw: _Draw, style: str) -> Phrase:
    """A collision, entrance or exit as a noun, a clause, with a plain verb, or with `to`."""
    meets = draw.generator.random() < 0.6
    styles = {
        "noun": (wordings.MEETINGS, wordings.PASSINGS),
        "clause": (wordings.MEETINGS_CLAUSE, wordings.PASSINGS_CLAUSE),
        "plain": (wordings.MEETINGS_PLAIN, wordings.PASSINGS_PLAIN),
        "to": (("{A} to {hit} {B}", "{A} and {B} to {meet}"), ("{A} to {act}",)),
    }

    pattern = choose(draw.generator, styles[style][0 if meets else 1])
    second = "filter_collision <B> filter_collision" if meets else draw.border

    return draw.phrase(f"events <A> {second} unique", pattern)


def _about_cause(generator: Generator) -> tuple[str, Phrase]:
    draw = _Draw(generator)
    style = choose(generator, ("noun", "noun", "plain", "plain", "clause", "to", "not"))
    event = _event(draw, "noun" if style == "not" else style)

    asks = {
        "noun": wordings.WHY_NOUN,
        "clause": wordings.WHY_CLAUSE,
        "plain": wordings.WHY_PLAIN,
        "to": wordings.WHY_TO,
        "not": wordings.NOT_WHY,
    }[style]

    text = draw.fill(choose(generator, asks).replace("{event}", "@")).replace("@", event.text)
    ends = ("filter_ancestor", "belong_to", *(("negate",) if style == "not" else ()))

    return "question", Phrase(text, ("events", *event.program, *ends))


def _about_future(generator: Generator) -> tuple[str, Phrase]:
    return "question", _Draw(generator).phrase("unseen_events belong_to", choose(generator, wordings.NEXT))


def _about_removal(generator: Generator) -> tuple[str, Phrase]:
    draw = _Draw(generator)
    supposed = draw.fill(choose(generator, wordings.SUPPOSE))
    negated = generator.random() < 0.4
    program = "all_events <A> filter_counterfact belong_to" + (" negate" if negated else "")

    if not negated and generator.random() < 0.3 and supposed.startswith(("if", "without", "when")):
        text = draw.fill(choose(generator, wordings.WHAT_IF).replace("{supposed}", "@")).replace("@", supposed)
        return "question", Phrase(text, draw.program(program))

    then = draw.fill(choose(generator, wordings.NOT_THEN if negated else wordings.THEN))
    orders = (f"{supposed}, {then}", f"{then} {supposed}", f"{supposed}, then {then}")
    if supposed.startswith(("suppose", "imagine", "had", "assuming")):
        orders = (f"{supposed}, {then}", f"{supposed}. {then}", f"{supposed}: {then}")

    return "question", Phrase(choose(generator, orders), draw.program(program))


def _cause(generator: Generator) -> tuple[str, Phrase]:
    draw = _Draw(generator)
    if generator.random() < 0.25:
        return "cause", draw.phrase("<A>", choose(generator, wordings.PRESENCE))

    event = _event(draw, choose(generator, ("noun", "clause")))
    start = choose(generator, ("", "", "", "that ", "because "))

    return "cause", Phrase(start + event.text, event.program)


def _possible_event(generator: Generator) -> tuple[str, Phrase]:
    program = "all_events <A> filter_collision <B> filter_collision unique"
    return "event", _Draw(generator).phrase(program, choose(generator, wordings.POSSIBLE))
