"""Events in people's words: a grammar of clauses such as `the silver ball came in from the left`.

A clause is an object and what it does. Its words become symbols: `N` an object, `G` any object, `S` a side of the
picture, and one symbol for all forms of a verb. Patterns of symbols give the program; the tables are in
`event_words.json`. A text that is not one clause as a whole is refused. Words of manner and of direction have no place
in a program; they are reported as unused.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from spikebridge.data.io.json_text import read_json
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.parsing.vocabulary import Vocabulary

_DATA = read_json(Path(__file__).with_suffix(".json"), "words of events")
_SYMBOLS = {word: symbol for symbol, words in _DATA["words"].items() for word in words.split()}
_SIDES = {word: sides for sides, words in _DATA["sides"].items() for word in words.split()}
_VERTICAL = {"up": "top", "down": "bottom"}  # sides after `from`
_DROPPED = frozenset(_DATA["dropped"].split())
_NOUNS = frozenset(("object", "one"))
_PLURALS = frozenset(("objects", "cubes", "spheres", "cylinders"))
_PLACES = frozenset(_DATA["places"].split())
_UNUSED = ("N", "S", "how", "path")  # symbols without a place in a program


class TextProgram(NamedTuple):
    """The program of a text, and its words that have no place in the program."""

    program: tuple[str, ...]
    unused: tuple[str, ...] = ()


class _Symbol(NamedTuple):
    """Words that form a unit: the symbol, the words, and the tokens of an object or the side of the picture."""

    name: str
    words: str
    tokens: tuple[str, ...] = ()


def read_event(vocabulary: Vocabulary, text: str, kind: str) -> TextProgram:
    """The program of a choice of a kind; raises `DataError` for a text that is not understood as a whole."""
    symbols = _symbols_of(vocabulary, text)
    read = _clause(symbols)
    if kind == "cause":
        present = _compiled(_DATA["presence"]).fullmatch(_code(symbols))
        read = read if present is None else TextProgram(next(one.tokens for one in symbols if one.name == "N"))
    elif read is not None:
        is_pair = read.program.count("filter_collision") == 2
        read = TextProgram(("all_events", *read.program[1:]), read.unused) if is_pair else None

    if read is None:
        expected = _DATA["expected"][kind]
        raise DataError(f"{text!r:.100} is not understood; expected {expected}")

    return read


def read_cause_question(vocabulary: Vocabulary, text: str) -> TextProgram | None:
    """The program of a question about the causes of an event, None for another one; errors as `read_event`."""
    code = _code(list(_symbols(vocabulary, vocabulary.normalize(text))))
    prefixes = (_compiled(pattern).match(code) for pattern in _DATA["questions"])
    prefix = next((match for match in prefixes if match is not None), None)
    if prefix is None:
        return None

    symbols = _symbols_of(vocabulary, text)[prefix[0].count(" ") :]
    read = _clause(symbols[:-1] if symbols and symbols[-1].name == "happen" else symbols)
    if read is None:
        raise DataError(f"{text!r:.100} is not understood; expected a question about {_DATA['expected']['question']}")

    negation = ("negate",) if prefix.groupdict().get("not") else ()
    return TextProgram(("events", *read.program, "filter_ancestor", "belong_to", *negation), read.unused)


def _clause(symbols: Sequence[_Symbol]) -> TextProgram | None:
    symbols = [one for k, one in enumerate(symbols) if not _is_filler(symbols, k)]
    read = _single_clause(symbols)
    if read is not None:
        return read

    code = _code(symbols)
    for pattern, subject in _DATA["links"]:
        for link in _compiled(pattern).finditer(code):
            first = symbols[: code[: link.start()].count(" ")]
            rest = symbols[code[: link.end()].count(" ") :]
            objects = [one for one in first if one.name == "N"]
            cause = _single_clause(first)
            # the subject of the second clause is an object of the first
            effect = _single_clause([objects[subject], *rest]) if objects else None
            if cause is not None and effect is not None and rest[0].name != "N":
                return TextProgram(effect.program, (" ".join(one.words for one in first), *effect.unused))

    return None


def _is_filler(symbols: Sequence[_Symbol], k: int) -> bool:
    """True for a symbol that changes nothing, such as the `'s` in `the cube's entering`."""
    name = symbols[k].name
    if k == 0:
        return name in ("that", "because")

    # a part of a longer sentence may have been cut out: `the cube and is stopped`
    next_name = symbols[k + 1].name if k + 1 < len(symbols) else "N"
    is_rest = name == "and" and (k + 1 == len(symbols) or (k == 1 and next_name != "N"))
    return is_rest or (name in ("pos", "to") and symbols[k - 1].name == "N")


def _single_clause(symbols: Sequence[_Symbol]) -> TextProgram | None:
    code = _code(symbols)
    objects = [k for k, one in enumerate(symbols) if one.name == "N"]
    for program, pattern, *loose in _DATA["clauses"]:
        match = _compiled(pattern).fullmatch(code)
        if match is None:
            continue

        used = set(objects[: 1 + ("{1}" in program)])
        side = ""
        if match.groupdict().get("side"):
            place = code[: match.start("side")].count(" ")
            # `from the side` and `from the southeast` are no side of the picture
            side = "".join(f" {token} filter_side" for token in symbols[place].tokens)
            used |= {place} if side or symbols[place].words == "side" else set()

        tokens = program.format(*(" ".join(symbols[k].tokens) for k in objects), side=side).split()
        without_place = {*_UNUSED, *" ".join(loose).split()}
        unused = (one.words for k, one in enumerate(symbols) if one.name in without_place and k not in used)
        return TextProgram(tuple(tokens), tuple(unused))

    return None


def _code(symbols: Sequence[_Symbol]) -> str:
    return "".join(f"{one.name} " for one in symbols)


@lru_cache
def _compiled(pattern: str) -> re.Pattern[str]:
    words = re.sub(r"\b[A-Z]{2,}\b", lambda name: _DATA["parts"][name[0]], pattern)
    # names of groups stay as they are
    symbols = re.sub(r"\?P<\w+>|\w+", lambda word: word[0] if word[0][0] == "?" else f"(?:{word[0]}_)", words)

    return re.compile(rf"(?<!\S)(?:{symbols})".replace(" ", "").replace("_", " "))


def _symbols_of(vocabulary: Vocabulary, text: str) -> list[_Symbol]:
    """The symbols of a text; raises `DataError` for unknown words."""
    symbols = list(_symbols(vocabulary, vocabulary.words_of(text)))
    # a word of other questions is known, and has no place in an event
    unknown = [one.words for one in symbols if one.name == "?" and one.words not in vocabulary.inputs]
    if unknown:
        raise vocabulary.unknown_words(unknown, _SYMBOLS)

    for one in symbols:
        if one.name == "!":
            raise DataError(f"expected one object, but {one.words!r:.80} is several, or has two values of one kind")

    return symbols


def _symbols(vocabulary: Vocabulary, words: Sequence[str]) -> Iterator[_Symbol]:
    before = ""
    place = 0
    while place < len(words):
        word = _VERTICAL.get(words[place], words[place]) if before == "from" else words[place]
        length = 1
        is_verb = word == "left" and before in ("N", "be", "which", "that")
        if _adds_nothing(word, before):
            place += 1
            continue

        is_made = word in _NOUNS and words[place + 1 : place + 3] in (["made", "of"], ["made", "out"])
        if vocabulary.value_of(word) is not None or is_made:
            symbol, length = _object(vocabulary, words[place:])
        elif word in _SIDES and not is_verb:
            length = _run(words, place, _SIDES.__contains__)
            sides = {side for one in words[place : place + length] for side in _SIDES[one].split()}
            symbol = _Symbol("S", " ".join(words[place : place + length]), tuple(sides) if len(sides) == 1 else ())
        else:
            symbol = _Symbol("leave" if is_verb else _SYMBOLS.get(word, "?"), word)

        yield symbol
        before = symbol.name
        place += length


def _adds_nothing(word: str, before: str) -> bool:
    """True for an article, and the second word of `right side`, `video frame` and `the two balls`."""
    pairs = {"S": _PLACES, "two": _PLURALS, "scene": _DATA["words"]["scene"].split()}
    return word in _DROPPED or word in pairs.get(before, ())


def _run(words: Sequence[str], place: int, is_inside: Callable[[str], bool]) -> int:
    return next((k for k, word in enumerate(words[place:]) if not is_inside(word)), len(words) - place)


def _object(vocabulary: Vocabulary, words: Sequence[str]) -> tuple[_Symbol, int]:
    """The object that words begin with, such as `red ball made of metal`, and their number; `!` for no single one."""
    length = next((k for k, word in enumerate(words) if not _describes(vocabulary, words, k)), len(words))
    values = {value: None for word in words[:length] if (value := vocabulary.value_of(word)) is not None}
    kinds = {vocabulary.kinds[value]: value for value in values}
    text = " ".join(words[:length])
    if len(kinds) < len(values) or any(word in _PLURALS for word in words[:length]):
        return _Symbol("!", text), length

    filters = [f"{kinds[kind]} filter_{kind}" for kind in vocabulary.attributes if kind in kinds]
    return _Symbol("N", text, ("objects", *" ".join(filters).split(), "unique")), length


def _describes(vocabulary: Vocabulary, words: Sequence[str], place: int) -> bool:
    word = words[place]
    is_made = word == "made" and words[place + 1 : place + 2] in (["of"], ["out"])
    is_of_made = word in ("of", "out") and "made" in words[max(place - 2, 0) : place]
    return vocabulary.value_of(word) is not None or word in _NOUNS or is_made or is_of_made
