"""The words of a question as numbers: values of attributes stand for themselves only by their place.

`the red cube` becomes `the <color 1> <shape 1>`, and the program that is read from it names these slots, which are
filled in again at the end. So a new colour is one more word in a table, and nothing has to be learned for it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES

TEXT_KINDS = {"question": "<question>", "cause": "<cause>", "event": "<event>"}
"""What a text is: a question, a choice of an explanatory one, a choice of a predictive or counterfactual one."""
NUM_SLOTS = 4
"""Different values of one kind in one text."""
LONGEST_TEXT = 40
_PAD, _BEGIN, _END = "<pad>", "<begin>", "<end>"
_READS = (
    "a after and any are at away before beginning begins between cause collide collides colliding collision "
    "collisions color do end ends enter entering enters entrance event exit exiting exits first following for "
    "happen happens hits how if in is last leaving many material moving next not object objects of one "
    "presence removed responsible 's scene second shape stationary taken that the there these to video what "
    "when which will with without would"
)
_WRITES = (
    "null objects events all_events unseen_events unique count exist negate belong_to filter_in filter_out "
    "filter_collision filter_moving filter_stationary filter_start filter_end filter_before filter_after "
    "filter_order filter_ancestor filter_counterfact query_frame query_object query_collision_partner first "
    "second last"
)
_SPELLINGS = {"colour": "color", "grey": "gray", "an": "a"}


class Text(NamedTuple):
    """A text as tokens, and what its slots stand for."""

    tokens: tuple[str, ...]
    slots: dict[str, str]
    unknown: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What the parser can read and write.

    Args:
        attributes: kinds of attribute and their values; a value more needs no training.

    Example:
        >>> text = Vocabulary().read("Are there any red cubes?", "question")
        >>> text.tokens
        ('<question>', 'are', 'there', 'any', '<color 1>', '<shape 1>')
        >>> text.slots
        {'<color 1>': 'red', '<shape 1>': 'cube'}
        >>> Vocabulary().read("Are there any shiny cubes?", "question").unknown
        ('shiny',)
    """

    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=ATTRIBUTES.copy)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of every value."""
        return {value: kind for kind, values in self.attributes.items() for value in values}

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """All slots."""
        return tuple(f"<{kind} {k + 1}>" for kind in self.attributes for k in range(NUM_SLOTS))

    @cached_property
    def inputs(self) -> dict[str, int]:
        """Numbers of what is read."""
        return {token: k for k, token in enumerate([_PAD, *TEXT_KINDS.values(), *self.slots, *_READS.split()])}

    @cached_property
    def outputs(self) -> dict[str, int]:
        """Numbers of what is written: tokens of programs, slots for their values."""
        of_kinds = [f"{act}_{kind}" for kind in self.attributes for act in ("filter", "query")]
        return {token: k for k, token in enumerate([_PAD, _BEGIN, _END, *self.slots, *of_kinds, *_WRITES.split()])}

    def read(self, text: str, kind: str) -> Text:
        """A text as tokens.

        Args:
            text: the words.
            kind: one of `TEXT_KINDS`.

        Raises:
            ConfigError: the kind is not known.
            DataError: the text is empty, too long, or names more values of one kind than there are slots.
        """
        if kind not in TEXT_KINDS:
            raise ConfigError(f"no kind of text {kind!r}; {did_you_mean(kind, TEXT_KINDS)}")
        words = re.findall(r"'s\b|[^\s?.,!;:\"']+", text.lower())
        if not 0 < len(words) < LONGEST_TEXT:
            raise DataError(f"expected a text of 1 to {LONGEST_TEXT - 1} words, but got {len(words)}: {text!r:.80}")
        tokens: list[str] = [TEXT_KINDS[kind]]
        slots: dict[str, str] = {}
        unknown: list[str] = []
        for word in (_SPELLINGS.get(word, word) for word in words):
            value = word if word in self.kinds else word.removesuffix("s")
            if value in self.kinds:
                tokens.append(_slot(value, self.kinds[value], slots, text))
            elif word in self.inputs:
                tokens.append(word)
            else:
                unknown.append(word)
        return Text(tuple(tokens), {slot: value for value, slot in slots.items()}, tuple(unknown))

    def check(self, text: Text) -> None:
        """Refuses a text with unknown words.

        Raises:
            DataError: a word is not known; none is guessed away.
        """
        if text.unknown:
            near = did_you_mean(text.unknown[0], [*_READS.split(), *self.kinds]).partition(" Known")[0]
            if near.startswith("Known"):
                near = "ask with words such as color, enter, collide, responsible, next, removed"
            raise DataError(f"unknown word{'s' * (len(text.unknown) > 1)} {', '.join(map(repr, text.unknown))}; {near}")

    def write(self, program: Sequence[str], text: Text) -> tuple[str, ...]:
        """A program with slots for the values that a text names: what the parser learns to write.

        Raises:
            DataError: the program has a value that is not in the text.

        Example:
            >>> words = Vocabulary()
            >>> words.write(("objects", "red", "filter_color", "count"), words.read("How many red ones?", "question"))
            ('objects', '<color 1>', 'filter_color', 'count')
        """
        places = {value: slot for slot, value in text.slots.items()}
        missing = [token for token in program if token in self.kinds and token not in places]
        if missing:
            raise DataError(f"the program has {missing[0]!r}, which the text does not name")
        return tuple(places.get(token, token) for token in program)


def _slot(value: str, kind: str, slots: dict[str, str], text: str) -> str:
    if value not in slots:
        number = 1 + sum(slot.startswith(f"<{kind} ") for slot in slots.values())
        if number > NUM_SLOTS:
            raise DataError(
                f"a text names at most {NUM_SLOTS} different values of a {kind}, but this one more: {text!r:.80}"
            )
        slots[value] = f"<{kind} {number}>"
    return slots[value]
