"""The known question that is nearest to a text that the parser refuses, with the objects that the text names."""

from collections.abc import Sequence
from difflib import SequenceMatcher

from spikebridge.networks.reasoning.parsing.vocabulary import Vocabulary

_QUESTIONS = {
    "question": (
        "How many {things} are there?",
        "Is there a {thing}?",
        "What color is the {thing}?",
        "What is the {thing} made of?",
        "What shape is the {thing}?",
        "How many {things} are moving?",
        "Is the {thing} moving?",
        "Is the {thing} moving when the video ends?",
        "How many {things} are stationary when the video ends?",
        "What color is the moving {thing}?",
        "How many {things} enter the scene?",
        "Does the {thing} enter the scene?",
        "Does the {thing} leave the scene?",
        "How many {things} enter the scene after the {other} leaves?",
        "Which {thing} enters the scene first?",
        "Which {thing} leaves the scene last?",
        "What color is the first {thing} to enter the scene?",
        "How many collisions are there?",
        "How many collisions happen before the {thing} leaves the scene?",
        "How many objects hit the {thing}?",
        "Does the {thing} hit the {other}?",
        "Which object hits the {thing}?",
        "What does the {thing} hit first?",
        "What color is the object that hits the {thing}?",
        "What caused the collision between the {thing} and the {other}?",
        "Why did the {thing} leave the scene?",
        "Which of these did not cause the collision between the {thing} and the {other}?",
        "What will happen next?",
        "What would happen if the {thing} was removed?",
        "What would not happen without the {thing}?",
    ),
    "cause": (
        "the presence of the {thing}",
        "the collision between the {thing} and the {other}",
        "the {thing} entering the scene",
        "the {thing} leaving the scene",
    ),
    "event": ("the {thing} hits the {other}", "the {thing} and the {other} collide"),
}


def nearest_question(vocabulary: Vocabulary, text: str, kind: str) -> str:
    """The known question with the most similar words.

    Args:
        vocabulary: the words.
        text: that was refused.
        kind: of the text, one of `TEXT_KINDS`.

    Example:
        >>> nearest_question(Vocabulary(), "How fast are the red cubes moving?", "question")
        'How many red cubes are moving?'
    """
    named = _named(vocabulary, text)
    nouns = [*named, *["object"][len(named) :], "blue cube"]
    words = {"thing": nouns[0], "things": f"{nouns[0]}s", "other": nouns[1]}
    asked = _plain(text)
    known = [pattern.format(**words) for pattern in _QUESTIONS[kind] if len(named) > 1 or "{other}" not in pattern]

    return max(known, key=lambda one: SequenceMatcher(None, asked, _plain(one), autojunk=False).ratio())


def _plain(text: str) -> list[str]:
    return text.lower().replace("?", " ").replace(",", " ").replace("'s", " is").split()


def _named(vocabulary: Vocabulary, text: str) -> list[str]:
    """The objects that a text names, as words in the order color, material, shape."""
    groups: list[dict[str, str]] = []
    joins = False

    for word in vocabulary.normalize(text):
        value = word if word in vocabulary.kinds else word.removesuffix("s")
        kind = vocabulary.kinds.get(value)
        if kind is None:
            joins = False
            continue

        if not joins or kind in groups[-1]:
            groups.append({})

        groups[-1][kind] = value
        joins = True

    return [_noun(vocabulary, group) for group in groups]


def _noun(vocabulary: Vocabulary, group: dict[str, str]) -> str:
    kinds: Sequence[str] = tuple(vocabulary.attributes)
    return " ".join([*(group[kind] for kind in kinds if kind in group), *(["object"] if "shape" not in group else [])])
