"""Agreement of a program with its text: each operator has a word that asks for it, each important word an operator.

The parser is a network and writes a program for any text. A text outside of its training set can get a fluent program
that means something else. This check is a rule and does not use the network. Its words are in `agreement.json`, where
`@name` stands for a group of words.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from spikebridge.data.io.json_text import read_json
from spikebridge.networks.reasoning.parsing.vocabulary import TEXT_KINDS, TokenizedText

_DATA = read_json(Path(__file__).with_suffix(".json"), "words of operators")
_HYPOTHETICAL = {"unseen_events", "filter_counterfact"}


class _Rule(NamedTuple):
    """Words, and the operators of which a program then has at least one."""

    words: frozenset[str]
    operators: frozenset[str]


def _words(text: str, groups: Mapping[str, str]) -> frozenset[str]:
    parts = [_words(groups[word[1:]], groups) if word[0] == "@" else {word} for word in text.split()]
    return frozenset().union(*parts)


_GROUPS: dict[str, frozenset[str]] = {name: _words(text, _DATA["groups"]) for name, text in _DATA["groups"].items()}
# Operators, and the words of which a text has at least one.
_NEEDS = {operator: _words(text, _DATA["groups"]) for operator, text in _DATA["needs"].items()}
_RULES = [_Rule(_words(words, _DATA["groups"]), frozenset(operators.split())) for words, operators in _DATA["rules"]]


def disagreement(text: TokenizedText, program: Sequence[str]) -> str:
    """The reason why a program with slots does not belong to its text: a word in quotes, or a clause; else empty."""
    words = set(text.tokens)
    operators = set(program)
    for operator, needed in _NEEDS.items():
        if operator in operators and not words & needed:
            return f"{operator} without a word for it"

    for rule in _RULES:
        if words & rule.words and not operators & rule.operators:
            return repr(min(words & rule.words))

    return _wrong_sentence(text, operators) or _unused_value(text, operators) or _wrong_grouping(text, program)


def _wrong_sentence(text: TokenizedText, operators: set[str]) -> str:
    words = set(text.tokens)
    still_moves = any(first == "still" and second in _GROUPS["move"] for first, second in pairwise(text.tokens))
    if still_moves and "filter_stationary" in operators:
        return "filter_stationary for what is still moving"

    if any(first in ("the", "to", "from", "on") and second == "left" for first, second in pairwise(text.tokens)):
        return "'left'"

    future = words & _GROUPS["future"]
    # a question with a word of the future that became an observation
    if text.tokens[0] == TEXT_KINDS["question"] and future and not operators & _HYPOTHETICAL:
        return repr(min(future))
    if "or" in words and "query_material" not in operators:
        return "'or'"
    if "exist" in operators and (text.tokens[1] in _GROUPS["what"] or words & _GROUPS["number"]):
        return "exist for a question that asks what, which or how many"
    if "describe" in operators and words & _GROUPS["attribute"]:
        return "describe for a question about one attribute"

    return ""


def _unused_value(text: TokenizedText, operators: set[str]) -> str:
    """A value of the text that the program does not name; `metal or rubber` is answered by a query."""
    is_choice = "or" in text.tokens and "query_material" in operators
    for slot, value in text.slots.items():
        if slot not in operators and not (is_choice and slot.startswith("<material")):
            return repr(value)

    return ""


def _wrong_grouping(text: TokenizedText, program: Sequence[str]) -> str:
    selections = [selection for selection in _selections(text, program) if selection]
    noun_phrases = _noun_phrases(text)
    # `what does the cube collide with?` selects the cube twice and names it once
    if len(selections) - ("query_collision_partner" in program) > len(noun_phrases):
        return "more objects than the text names"
    if "or" in text.tokens:
        return ""

    for phrase in noun_phrases:
        if not any(phrase <= selection for selection in selections):
            return f"{_quoted(phrase, text)} apart"

    # `is the red cube metal?` joins values that stand apart
    if "exist" not in program and "count" not in program:
        for selection in selections:
            if not any(selection <= phrase for phrase in noun_phrases):
                return f"{_quoted(selection, text)} together"

    return ""


def _selections(text: TokenizedText, program: Sequence[str]) -> list[set[str]]:
    selections: list[set[str]] = []
    for token in program:
        if token == "objects":
            selections.append(set())
        elif token in text.slots and selections:
            selections[-1].add(token)

    return selections


def _noun_phrases(text: TokenizedText) -> list[set[str]]:
    phrases: list[set[str]] = []
    continues = False
    for token in text.tokens:
        if token in text.slots:
            if not continues:
                phrases.append(set())
            phrases[-1].add(token)
            continues = True
        elif token not in ("made", "of", "out", "object", "objects", "one"):
            continues = False

    return phrases


def _quoted(slots: set[str], text: TokenizedText) -> str:
    return " ".join(repr(text.slots[slot]) for slot in sorted(slots))
