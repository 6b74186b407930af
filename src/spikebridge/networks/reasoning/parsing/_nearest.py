"""The known question that is nearest to a text that the parser refuses, with the objects that the text names."""

from difflib import SequenceMatcher
from pathlib import Path

from spikebridge.data.io.json_text import read_json
from spikebridge.networks.reasoning.parsing.vocabulary import Vocabulary

_PATTERNS = read_json(Path(__file__).with_suffix(".json"), "known questions")


def nearest_question(vocabulary: Vocabulary, text: str) -> str:
    """The known question with the most similar words, about the objects that the text names."""
    objects = _objects_in(vocabulary, text)
    thing, other = [*objects, *["object"][len(objects) :], "blue cube"][:2]
    # a question about two objects would need a second one that the text does not name
    patterns = [pattern for pattern in _PATTERNS if len(objects) > 1 or "{other}" not in pattern]
    questions = [pattern.format(thing=thing, things=f"{thing}s", other=other) for pattern in patterns]
    words = _words(text)

    return max(questions, key=lambda question: SequenceMatcher(None, words, _words(question), autojunk=False).ratio())


def _words(text: str) -> list[str]:
    return text.lower().replace("?", " ").replace(",", " ").replace("'s", " is").split()


def _objects_in(vocabulary: Vocabulary, text: str) -> list[str]:
    groups: list[dict[str, str]] = []
    continues = False

    for word in vocabulary.normalize(text):
        value = vocabulary.value_of(word)
        if value is None:
            continues = False
            continue

        # a second colour in a row begins another object
        kind = vocabulary.kinds[value]
        if not continues or kind in groups[-1]:
            groups.append({})

        groups[-1][kind] = value
        continues = True

    return [_noun(vocabulary, group) for group in groups]


def _noun(vocabulary: Vocabulary, group: dict[str, str]) -> str:
    values = [group[kind] for kind in vocabulary.attributes if kind in group]
    return " ".join(values if "shape" in group else [*values, "object"])
