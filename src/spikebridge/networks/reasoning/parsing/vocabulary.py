"""The vocabulary of the question parser: words as tokens, with slots in place of attribute values.

`the red cube` becomes `the <color 1> <shape 1>`. The program that is parsed from it names these slots, which are filled
in at the end. A new colour is therefore one more word in a table and needs no training.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import NamedTuple

from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES

TEXT_KINDS = {"question": "<question>", "cause": "<cause>", "event": "<event>"}
"""Kinds of text: a question, a choice of an explanatory one, a choice of a predictive or counterfactual one."""
_NUM_SLOTS = 4
"""Slots for each kind of attribute."""
MAX_TEXT_LENGTH = 40
_PAD = "<pad>"
_BEGIN = "<begin>"
_END = "<end>"
_INPUT_WORDS = (
    "'s a about absence absent after afterwards and any anymore anything appear appearance appeared appearing "
    "appears are arrival arrive arrived arrives arriving as assuming at away because been before beginning begins "
    "behind being between blame bump bumped bumping bumps by came can cannot cause caused causes collide collided "
    "collides colliding collision collisions color come comes coming contact contacts contain contribute "
    "contributed contributes could count crash crashed crashes crashing delete departure did disappear "
    "disappearance disappeared disappears do does each end ends enter entered entering enters entrance entry "
    "event exist existed existence existing exit exited exiting exits expect finally first following for form "
    "from future get gets go goes going gone got had happen happened happens has have here hit hits hitting how i "
    "if imagine impact impacts in include initially into is it kind knock knocked knocks last later lead leads "
    "leave leaves leaving led left longer lying made makes many material meet meeting met might missing moment "
    "motion move moved moves moving name next no not nothing number object objects occur occurred of often on "
    "once one or other others out over picture place predict presence present ran reason remain remove removed "
    "removes removing responsible rest resting rid roll rolling rolls run running runs scene second see shape "
    "show slide sliding some someone something stand standing stands start starts stationary stay stays still "
    "suppose take taken that the then there these this times to took total touch touched touches touching two up "
    "video visible was we went were what when which while who why will with without would you"
)
_OUTPUT_TOKENS = (
    "describe null objects events all_events unseen_events unique count exist negate belong_to filter_in filter_out "
    "filter_collision filter_moving filter_stationary filter_start filter_end filter_before filter_after "
    "filter_order filter_ancestor filter_counterfact query_frame query_object query_collision_partner first "
    "second last"
)
_SPELLINGS = {
    **{"colour": "color", "colours": "color", "grey": "gray", "an": "a", "colors": "color", "shapes": "shape"},
    **{"wo": "will", "ca": "can", "whats": "what", "materials": "material"},
    **dict.fromkeys(("thing", "item"), "object"),
    **dict.fromkeys(("things", "items", "ones"), "objects"),
    **{"ball": "sphere", "balls": "spheres", "block": "cube", "blocks": "cubes", "tube": "cylinder"},
    **{"tubes": "cylinders", "metallic": "metal", "clip": "video", "strike": "hit", "strikes": "hits"},
    **{"box": "cube", "boxes": "cubes", "smash": "crash", "smashes": "crashes", "smashed": "crashed"},
    **{"departs": "leaves", "departed": "left", "emerges": "appears", "emerged": "appeared", "amount": "number"},
    **{"vanish": "disappear", "vanishes": "disappears", "vanished": "disappeared", "deleted": "removed"},
    **{"erase": "remove", "erased": "removed", "eliminate": "remove", "eliminated": "removed"},
    **{"struck": "hit", "striking": "hitting", "static": "stationary", "motionless": "stationary"},
}
"""Other words for one of the vocabulary, spellings among them."""
_SIMILAR = 0.8
"""The least likeness of a misspelt word and a known one, 0 to 1."""
_FILLERS = frozenset(
    ["please", "exactly", "so", "really", "actually", "just", "ever", "altogether", "overall", "tell", "me", "us"]
)
"""Words without a meaning for a program; they are left out."""


class TokenizedText(NamedTuple):
    """A text as tokens, the values of its slots, and its unknown words."""

    tokens: tuple[str, ...]
    slots: dict[str, str]
    unknown: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words that the parser reads, and tokens that it writes.

    Args:
        attributes: kinds of attribute and their values; a new value needs no training.

    Example:
        >>> text = Vocabulary().tokenize("Are there any red cubes?", "question")
        >>> text.tokens
        ('<question>', 'are', 'there', 'any', '<color 1>', '<shape 1>')
        >>> text.slots
        {'<color 1>': 'red', '<shape 1>': 'cube'}
        >>> Vocabulary().tokenize("Are there any shiny cubes?", "question").unknown
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
        return tuple(f"<{kind} {k + 1}>" for kind in self.attributes for k in range(_NUM_SLOTS))

    @cached_property
    def inputs(self) -> dict[str, int]:
        """Numbers of input tokens."""
        return {token: k for k, token in enumerate([_PAD, *TEXT_KINDS.values(), *self.slots, *_INPUT_WORDS.split()])}

    @cached_property
    def outputs(self) -> dict[str, int]:
        """Numbers of output tokens: program tokens and slots."""
        of_kinds = [f"{act}_{kind}" for kind in self.attributes for act in ("filter", "query")]
        return {
            token: k for k, token in enumerate([_PAD, _BEGIN, _END, *self.slots, *of_kinds, *_OUTPUT_TOKENS.split()])
        }

    def tokenize(self, text: str, kind: str) -> TokenizedText:
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

        words = self.normalize(text)
        if not 0 < len(words) < MAX_TEXT_LENGTH:
            raise DataError(f"expected a text of 1 to {MAX_TEXT_LENGTH - 1} words, but got {len(words)}: {text!r:.80}")

        tokens: list[str] = [TEXT_KINDS[kind]]
        slots: dict[str, str] = {}
        unknown: list[str] = []

        for word in words:
            value = word if word in self.kinds else word.removesuffix("s")
            if value in self.kinds:
                tokens.append(_slot(value, self.kinds[value], slots, text))
            elif word in self.inputs:
                tokens.append(word)
            else:
                unknown.append(word)

        return TokenizedText(tuple(tokens), {slot: value for value, slot in slots.items()}, tuple(unknown))

    def normalize(self, text: str) -> list[str]:
        """The words of a text in small letters, with synonyms and spellings replaced.

        Example:
            >>> Vocabulary().normalize("Didn't the grey ball's shadow move?")
            ['did', 'not', 'the', 'gray', 'sphere', "'s", 'shadow', 'move']
        """
        plain = re.sub(r"n't\b", " not", text.lower().replace("\u2019", "'"))
        words = [word for word in re.findall(r"'s\b|[^\s?.,!;:\"']+", plain) if word not in _FILLERS]

        return [_SPELLINGS.get(word, word) for word in words]

    def check_known(self, text: TokenizedText) -> None:
        """Refuses a text with unknown words.

        Raises:
            DataError: a word is not known.
        """
        if text.unknown:
            close = get_close_matches(text.unknown[0], [*_INPUT_WORDS.split(), *self.kinds], 1, _SIMILAR)
            hint = f"did you mean {close[0]!r}?" if close else "ask in other words"
            raise DataError(f"unknown word{'s' * (len(text.unknown) > 1)} {', '.join(map(repr, text.unknown))}; {hint}")

    def with_slots(self, program: Sequence[str], text: TokenizedText) -> tuple[str, ...]:
        """A program with slots for the values that a text names: the training target of the parser.

        Raises:
            DataError: the program has a value that is not in the text.

        Example:
            >>> vocabulary = Vocabulary()
            >>> text = vocabulary.tokenize("How many red ones?", "question")
            >>> vocabulary.with_slots(("objects", "red", "filter_color", "count"), text)
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
        if number > _NUM_SLOTS:
            raise DataError(
                f"a text names at most {_NUM_SLOTS} different values of a {kind}, but this one more: {text!r:.80}"
            )

        slots[value] = f"<{kind} {number}>"

    return slots[value]
