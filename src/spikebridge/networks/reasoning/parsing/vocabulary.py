"""The vocabulary of the question parser: words as tokens, with slots in place of attribute values.

`the red cube` becomes `the <color 1> <shape 1>`. The program that is parsed from it names these slots, which are filled
in at the end. A new colour is therefore one more word in a table and needs no training. The words are in
`vocabulary.json`: their order gives the numbers of the tokens that trained weights rely on.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from spikebridge.data.io.json_text import read_json
from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES

# Kinds of text: a question, a choice of an explanatory one, a choice of a predictive or counterfactual one.
TEXT_KINDS = {"question": "<question>", "cause": "<cause>", "event": "<event>"}
MAX_TEXT_LENGTH = 40
_NUM_SLOTS = 4  # of each kind of attribute
_MAX_LISTED = 6  # unknown words in a message
_MIN_SIMILARITY = 0.8  # of a misspelt word and the word that is proposed, 0 to 1

_WORDS = read_json(Path(__file__).with_suffix(".json"), "words of the question parser")
_SYNONYMS = {synonym: word for word, synonyms in _WORDS["synonyms"].items() for synonym in synonyms}
_VALUES_OF: dict[str, str] = _WORDS["values"]


class TokenizedText(NamedTuple):
    """A text as tokens, the values of its slots, and its unknown words."""

    tokens: tuple[str, ...]
    slots: dict[str, str]
    unknown: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words that the parser reads, and tokens that it writes; a new attribute value needs no training."""

    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=ATTRIBUTES.copy)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of every value."""
        return {value: kind for kind, values in self.attributes.items() for value in values}

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """All slots."""
        return tuple(f"<{kind} {k + 1}>" for kind in self.attributes for k in range(_NUM_SLOTS))

    @cached_property
    def inputs(self) -> dict[str, int]:
        """Numbers of input tokens."""
        tokens = ("<pad>", *TEXT_KINDS.values(), *self.slots, *_WORDS["inputs"])
        return {token: k for k, token in enumerate(tokens)}

    @cached_property
    def outputs(self) -> dict[str, int]:
        """Numbers of output tokens: program tokens and slots."""
        attribute_tokens = [f"{verb}_{kind}" for kind in self.attributes for verb in ("filter", "query")]
        tokens = ("<pad>", "<begin>", "<end>", *self.slots, *attribute_tokens, *_WORDS["outputs"])
        return {token: k for k, token in enumerate(tokens)}

    def tokenize(self, text: str, kind: str) -> TokenizedText:
        """A text as tokens; `kind` is one of `TEXT_KINDS`. Raises `DataError` for an empty or too long text."""
        if kind not in TEXT_KINDS:
            raise ConfigError(f"no kind of text {kind!r}; {did_you_mean(kind, TEXT_KINDS)}")

        words = self.words_of(text)
        tokens: list[str] = [TEXT_KINDS[kind]]
        slot_of_value: dict[str, str] = {}
        unknown: list[str] = []

        for word in words:
            # an attribute value becomes a slot, so that the network never depends on it
            value = self.value_of(word)
            if value is not None:
                tokens.append(_slot(value, self.kinds[value], slot_of_value, text))
            elif word in self.inputs:
                tokens.append(word)
            else:
                unknown.append(word)

        return TokenizedText(tuple(tokens), {slot: value for value, slot in slot_of_value.items()}, tuple(unknown))

    def words_of(self, text: str) -> list[str]:
        """The words of `normalize`; raises `DataError` for an empty or too long text."""
        words = self.normalize(text)
        if not 0 < len(words) < MAX_TEXT_LENGTH:
            raise DataError(f"expected a text of 1 to {MAX_TEXT_LENGTH - 1} words, but got {len(words)}: {text!r:.80}")

        return words

    def value_of(self, word: str) -> str | None:
        """The attribute value that a word names, in singular or plural; None for any other word."""
        return next((value for value in (word, word.removesuffix("s")) if value in self.kinds), None)

    def normalize(self, text: str) -> list[str]:
        """The words of a text in small letters, without fillers, and with synonyms and spellings replaced."""
        # `isn't` becomes `is not`; a curly apostrophe is one, too
        plain = re.sub(r"n't\b", " not", text.lower().replace("\u2019", "'"))
        for phrase, word in _WORDS["phrases"].items():
            plain = plain.replace(phrase, word)

        words = re.findall(r"'s\b|[^\s?.,!;:\"']+", plain)

        known = [_SYNONYMS.get(word, word) for word in words if word not in _WORDS["fillers"]]
        # `silver` is `gray metal`, unless it is a value by itself
        return [part for word in known for part in _VALUES_OF.get(word, word).split()]

    def check_known(self, text: TokenizedText) -> None:
        """Raises `DataError` for a text with unknown words."""
        if text.unknown:
            raise self.unknown_words(text.unknown, _WORDS["inputs"])

    def unknown_words(self, unknown: Sequence[str], known: Iterable[str]) -> DataError:
        """The error of unknown words, with the most similar word that is known."""
        close = get_close_matches(unknown[0], [*known, *self.kinds], 1, _MIN_SIMILARITY)
        hint = f"did you mean {close[0]!r}?" if close else "ask in other words"
        words = ", ".join(f"{word!r:.40}" for word in unknown[:_MAX_LISTED])
        return DataError(f"unknown word{'s' * (len(unknown) > 1)} {words}; {hint}")

    def with_slots(self, program: Sequence[str], text: TokenizedText) -> tuple[str, ...]:
        """A program with slots for the values of its text: the training target of the parser."""
        slot_of_value = {value: slot for slot, value in text.slots.items()}
        missing = [token for token in program if token in self.kinds and token not in slot_of_value]
        if missing:
            raise DataError(f"the program has {missing[0]!r}, which the text does not name")

        return tuple(slot_of_value.get(token, token) for token in program)


def _slot(value: str, kind: str, slot_of_value: dict[str, str], text: str) -> str:
    if value not in slot_of_value:
        number = 1 + sum(slot.startswith(f"<{kind} ") for slot in slot_of_value.values())
        if number > _NUM_SLOTS:
            raise DataError(
                f"a text names at most {_NUM_SLOTS} different values of a {kind}, but this one more: {text!r:.80}"
            )

        slot_of_value[value] = f"<{kind} {number}>"

    return slot_of_value[value]
