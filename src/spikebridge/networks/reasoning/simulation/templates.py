"""Templates of descriptive questions about rolling objects, each with its program.

A template has slots for references to one object (`the red cube`), to a set (`metal spheres`), to an event and to a
time (`when the video ends`). A filled template gives a text and its program, in the vocabulary and the usual phrases of
CLEVRER (K. Yi et al., ICLR 2020) and some of our own. The wordings are in `templates.json`.
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


def choose(generator: Generator, options: Sequence[str]) -> str:
    """A random option."""
    return options[int(generator.integers(len(options)))]


_Refer: TypeAlias = Callable[[], Reference]  # samples a reference to a set or to one object


def descriptive(generator: Generator, refer_set: _Refer, refer_one: _Refer) -> tuple[str, Phrase]:
    """A question with its subtype: `count`, `exist` or the kind of attribute."""
    forms = _TEMPLATES["descriptive"]
    form = forms[int(generator.choice(len(forms), p=[form["weight"] for form in forms]))]
    fields = _Fields(generator, refer_set, refer_one)
    for name in form["draws"]:
        fields.draw(name)

    texts = form["texts"][fields.subtype] if "number" in form["draws"] else form["texts"]
    text = choose(generator, texts).format(**fields.words)
    program = form["program"].format(**fields.tokens)

    return fields.subtype, Phrase(text, tuple(program.split()))


class _Fields:
    """Random values of the fields of a template: words of its text, and tokens of its program."""

    def __init__(self, generator: Generator, refer_set: _Refer, refer_one: _Refer) -> None:
        self.generator = generator
        self.refer_set = refer_set
        self.refer_one = refer_one
        self.subtype = ""
        self.words: dict[str, str] = {}
        self.tokens: dict[str, str] = {}

    def draw(self, name: str) -> None:
        """Draws a field by the method of its name."""
        self.words[name], self.tokens[name] = getattr(self, f"_{name}")()

    def _set(self) -> tuple[str, str]:
        members = self.refer_set()
        self.words["sets"] = members.text(plural=True)
        return members.text(), " ".join(members.program())

    def _object(self) -> tuple[str, str]:
        text, program = self.refer_one().object()
        return text, " ".join(program)

    def _motion(self) -> tuple[str, str]:
        return self._item(_MOTIONS)

    def _verb(self) -> tuple[str, str]:
        return self._item(_INFINITIVES)

    def _number(self) -> tuple[str, str]:
        self.subtype = "count" if self.generator.random() < 0.5 else "exist"
        return "", self.subtype

    def _question(self) -> tuple[str, str]:
        self.subtype = choose(self.generator, tuple(ATTRIBUTES))
        question = choose(self.generator, _TEMPLATES["attribute questions"])
        return question.format(kind=self.subtype), f"query_{self.subtype}"

    def _rank(self) -> tuple[str, str]:
        rank = choose(self.generator, ("", "first", "second", "last"))
        return (f"{rank} ", f"{rank} filter_order") if rank else ("", "unique")

    def _time(self) -> tuple[str, str]:
        """As an object enters or exits, at the beginning, at the end, or at any time."""
        if self.generator.random() < 0.3:
            clause, tokens = self._border_clause(self.refer_one())
            return f" when {clause}", f"events {tokens} unique query_frame"

        # of the other times, any time is as frequent as the begin and the end
        form = int(self.generator.integers(3))
        if form == 0:
            return "", "null"

        token = "filter_start" if form == 1 else "filter_end"
        return choose(self.generator, _TEMPLATES["times"][token]), f"events {token} query_frame"

    def _order(self) -> tuple[str, str]:
        """Before or after an entrance or exit, or all events."""
        if self.generator.random() >= 0.5:
            return "", "events"

        reference = self.refer_one()
        order = choose(self.generator, ("before", "after"))
        clause, tokens = self._border_clause(reference)
        return f" {order} {clause}", f"events events {tokens} unique filter_{order}"

    def _border_clause(self, reference: Reference) -> tuple[str, str]:
        verb, token = self._item(_VERBS)
        text, program = reference.object()
        return f"{text} {verb} the scene", " ".join((*program, token))

    def _item(self, table: dict[str, str]) -> tuple[str, str]:
        word = choose(self.generator, tuple(table))
        return word, table[word]
