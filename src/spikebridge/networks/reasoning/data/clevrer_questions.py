"""Question files of CLEVRER: ours with one question per line, the original layout, and what-if texts.

| layout | keys |
|---|---|
| ours, JSON lines | `video`, `question`, `question_type`, `program`, and `answer` or `choices` |
| original, JSON | `scene_index` and `questions`, each as above with a `question_id` and without `video` |
| what-if texts, JSON lines | `video`, `question`, `removed`, `collisions`; `what_if_questions` makes their choices |

A choice has `choice`, `program` and `answer` (correct or wrong). Tokens of the original files are renamed. The original
layout was tested only on small files of our own, written by the published schema.

What-if texts have real words, the removed object, and collisions from a simulation ("silver": about 97 % right), but no
choices. `what_if_questions` makes choices by a rule: the pairs without the removed object that collide in the observed
scene or in its roll-out without that object, at most four, drawn by seed. A choice is correct where the pair is among
the text's collisions.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spikebridge.data.io.json_stream import json_objects
from spikebridge.errors import DataError, did_you_mean
from spikebridge.networks.reasoning.data.clevrer_scenes import video_name
from spikebridge.networks.reasoning.data.scene import (
    ATTRIBUTES,
    COLORS,
    KINDS,
    MATERIALS,
    SHAPES,
    Choice,
    Question,
    Scene,
)

_TOKENS = (
    *("objects", "events", "all_events", "unseen_events"),
    *(f"filter_{kind}" for kind in ATTRIBUTES),
    *("filter_in", "filter_out", "filter_collision", "filter_start", "filter_end"),
    *("filter_moving", "filter_stationary", "filter_before", "filter_after", "filter_order", "filter_ancestor"),
    "filter_counterfact",
    *(f"query_{kind}" for kind in ATTRIBUTES),
    *("query_object", "query_frame", "query_collision_partner"),
    *("first", "second", "last"),
    *("unique", "count", "exist", "belong_to", "negate", "null"),
    *(value for values in ATTRIBUTES.values() for value in values),
)
"""The vocabulary of CLEVRER's programs."""
_ORIGINAL_NAMES: dict[str, tuple[str, ...]] = {
    "get_frame": ("query_frame",),
    "get_object": ("query_object",),
    "get_col_partner": ("query_collision_partner",),
    "get_counterfact": ("filter_counterfact",),
    "start": ("events", "filter_start"),
    "end": ("events", "filter_end"),
}
"""Tokens of the original question files, and our names."""


def read_program(tokens: Any, place: str, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """A checked program as a tuple of tokens.

    Args:
        tokens: a list, or one text with spaces between them; original names are replaced.
        place: file and line, for messages.
        extra: additional tokens that programs may use, of operators or values of your own.

    Raises:
        DataError: no list of texts, an empty one, or an unknown token.

    Example:
        >>> read_program(["start", "get_frame"], "line 1")
        ('events', 'filter_start', 'query_frame')
        >>> read_program("objects filter_colour", "line 1")
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: line 1: unknown token 'filter_colour'; did you mean 'filter_color'? ...
    """
    words = tokens.split() if isinstance(tokens, str) else tokens
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words) or not words:
        raise DataError(f"{place}: expected a program as a list of tokens, but got {tokens!r:.80}")

    program = tuple(name for word in words for name in _ORIGINAL_NAMES.get(word, (word,)))
    known = {*_TOKENS, *extra}
    for name in program:
        if name not in known:
            raise DataError(f"{place}: unknown token {name!r}; {did_you_mean(name, (*_TOKENS, *extra))}")

    return program


_Triple = tuple[str, str, str]


_NAME = re.compile(f"({'|'.join(COLORS)}) ?({'|'.join(MATERIALS)}) ?({'|'.join(SHAPES)})")


@dataclass(frozen=True)
class WhatIfText:
    """A what-if question in words, with simulated collisions.

    Args:
        video: of the scene.
        text: its words.
        removed: the object that is removed.
        collisions: frame and the two objects.
    """

    video: int | str
    text: str
    removed: _Triple
    collisions: tuple[tuple[int, _Triple, _Triple], ...]


def read_what_if_text(plain: Mapping[str, Any], place: str) -> WhatIfText:
    """A text from plain values.

    Args:
        plain: `video`, `question`, `removed`, `collisions` with objects by name (`yellowmetalcube`).
        place: file and line, for messages.

    Raises:
        DataError: an object that no triple of known values names, or a collision that is not `[frame, name, name]`.

    Example:
        >>> plain = {"video": 7, "removed": "redmetalcube", "collisions": [[9, "graymetalcube", "bluerubbersphere"]]}
        >>> text = read_what_if_text(plain, "line 1")
        >>> text.removed, text.collisions[0][2]
        (('red', 'metal', 'cube'), ('blue', 'rubber', 'sphere'))
    """
    rows = plain.get("collisions", [])
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise DataError(f"{place}: collisions are [[frame, object, object], ...], but got {rows!r:.80}")

    collisions = []
    for frame, first, second in rows:
        if isinstance(frame, bool) or not isinstance(frame, int):
            raise DataError(f"{place}: expected a frame as a whole number, but got {frame!r}")
        collisions.append((frame, _triple_named(first, place), _triple_named(second, place)))

    video = video_name(plain.get("video", plain.get("scene_index")), place)
    return WhatIfText(video, str(plain.get("question", "")), _triple_named(plain["removed"], place), tuple(collisions))


def _triple_named(name: Any, place: str) -> _Triple:
    """Colour, material and shape of a name such as `yellowmetalcube`.

    Example:
        >>> _triple_named("yellowmetalcube", "line 1")
        ('yellow', 'metal', 'cube')
    """
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        names = [f"{c}{m}{s}" for c in COLORS for m in MATERIALS for s in SHAPES]
        hint = did_you_mean(str(name), names).partition(" Known")[0]
        raise DataError(f"{place}: expected colour, material and shape in one word, but got {name!r}; {hint}")

    return found[1], found[2], found[3]


def what_if_questions(texts: Sequence[WhatIfText], scenes: Mapping[int | str, Scene], seed: int = 0) -> list[Question]:
    """Questions with choices and programs from texts and scenes, by the rule above.

    Args:
        texts: what-if texts.
        scenes: by video.
        seed: of the choices. Each text has its own generator, so that a part of a file gets the same choices.

    Returns:
        One question for each text, in order. Texts without a candidate pair, and those whose removed object is not in
        the scene, are left out.

    Raises:
        DataError: a text is about a video that is not among the scenes.
    """
    made = []
    for number, text in enumerate(texts):
        if text.video not in scenes:
            raise DataError(f"what-if text {number + 1} is about video {text.video}, which is not among the scenes")
        scene = scenes[text.video]
        if text.removed in scene.objects:
            pairs = _drawn(_candidates(scene, scene.objects.index(text.removed)), text, seed)
            if pairs:
                made.append(_question(text, scene, pairs))

    return made


def _candidates(scene: Scene, removed: int) -> list[tuple[int, int]]:
    """Pairs without the removed object that collide in the observed scene or in its roll-out."""
    rows = [*scene.collisions.tolist(), *scene.what_if.get(removed, np.zeros((0, 3))).tolist()]
    pairs = {(min(a, b), max(a, b)) for _, a, b in rows if removed not in (a, b)}
    return sorted((int(a), int(b)) for a, b in pairs)


def _drawn(pairs: list[tuple[int, int]], text: WhatIfText, seed: int) -> list[tuple[int, int]]:
    if len(pairs) <= _MAX_WHAT_IF_CHOICES:
        return pairs
    words = f"{text.video} {' '.join(text.removed)} {text.text}".encode()
    order = np.random.default_rng([seed, *words]).permutation(len(pairs))[:_MAX_WHAT_IF_CHOICES]
    return [pairs[i] for i in sorted(order)]


def _question(text: WhatIfText, scene: Scene, pairs: Iterable[tuple[int, int]]) -> Question:
    happens = {frozenset((first, second)) for _, first, second in text.collisions}
    choices = tuple(
        Choice(
            program=("all_events", *_meets(scene.objects[pair[0]]), *_meets(scene.objects[pair[1]]), "unique"),
            text=f"the {' '.join(scene.objects[pair[0]])} collides with the {' '.join(scene.objects[pair[1]])}",
            answer="correct" if frozenset(scene.objects[o] for o in pair) in happens else "wrong",
        )
        for pair in pairs
    )

    program = ("all_events", *object_tokens(text.removed), "filter_counterfact", "belong_to")
    return Question(text.video, "counterfactual", program, choices, text.text)


def _meets(triple: _Triple) -> tuple[str, ...]:
    return (*object_tokens(triple), "filter_collision")


def object_tokens(triple: _Triple) -> tuple[str, ...]:
    """The tokens that select one object by its three values.

    Example:
        >>> object_tokens(("red", "metal", "cube"))
        ('objects', 'red', 'filter_color', 'metal', 'filter_material', 'cube', 'filter_shape', 'unique')
    """
    values = [token for value, kind in zip(triple, ATTRIBUTES, strict=True) for token in (value, f"filter_{kind}")]
    return ("objects", *values, "unique")


_EXPECTED = "questions"
_MAX_CHOICES = 64
_MAX_WHAT_IF_CHOICES = 4
_YES_NO = ("yes", "no")
_ANSWERED_YES_NO = ("exist", "belong_to", "negate")
_JUDGED = {"correct": "correct", "wrong": "wrong", "true": "correct", "false": "wrong"}
_KNOWN = ("video", "question", "question_type", "question_subtype", "program", "answer", "choices", "question_id")


class QuestionFile(NamedTuple):
    """The contents of a question file."""

    questions: list[Question]
    what_if_texts: list[WhatIfText]


def read_questions(path: Path, extra: Sequence[str] = ()) -> QuestionFile:
    """The questions of a file.

    Args:
        path: of one of the layouts above, plain or compressed with gzip.
        extra: additional tokens that programs may use, of operators or values of your own.

    Raises:
        DataError: with the place: a file that is missing or damaged, a question without a program, an unknown token,
            type or answer, an answer of another kind than the question, or a question or choice that is listed twice.
    """
    found = QuestionFile([], [])
    places = dict[Any, str]()

    def add(kind: list[Any], asked: Question | WhatIfText, place: str) -> None:
        key = asked if isinstance(asked, WhatIfText) else _identity(asked)
        if key in places:
            raise DataError(f"{place}: the same question as {places[key]}; leave one out")
        places[key] = place
        kind.append(asked)

    for place, plain in json_objects(path, _EXPECTED):
        if "questions" in plain:
            video = plain.get("scene_index", plain.get("video"))
            many = _list(plain, "questions", place)
            for i, one in enumerate(many, start=1):
                where = f"{place}, question {i}"
                if not isinstance(one, Mapping):
                    raise DataError(f"{where}: a question is an object with names, but got {one!r:.60}")
                add(found.questions, read_question({"video": video, **one}, where, extra), where)
        elif "removed" in plain and "program" not in plain:
            add(found.what_if_texts, read_what_if_text(plain, place), place)
        else:
            add(found.questions, read_question(plain, place, extra), place)

    return found


def read_question(plain: Mapping[str, Any], place: str, extra: Sequence[str] = ()) -> Question:
    """One question from plain values.

    Args:
        plain: with the keys of the first layout.
        place: file and line, for messages.
        extra: further tokens that programs may use.

    Raises:
        DataError: as in `read_questions`.

    Example:
        >>> plain = {"video": 7, "question": "How many?", "program": ["objects", "count"], "answer": 2}
        >>> question = read_question(plain, "line 1")
        >>> question.kind, question.answer
        ('descriptive', '2')
    """
    if "program" not in plain:
        hint = did_you_mean("program", [key for key in plain if key not in _KNOWN])
        raise DataError(f"{place}: a question needs a program, but has {', '.join(map(str, plain))}; {hint}")

    program = read_program(plain["program"], place, extra)
    choices = tuple(
        _choice(one, f"{place}, choice {i}", extra) for i, one in enumerate(_list(plain, "choices", place), start=1)
    )
    if len(choices) > _MAX_CHOICES:
        raise DataError(f"{place}: {len(choices)} choices, but at most {_MAX_CHOICES} are read")

    kind = plain.get("question_type", plain.get("type"))
    kind = _kind(program, choices) if kind is None else kind
    if kind not in KINDS:
        raise DataError(f"{place}: unknown question type {kind!r}; {did_you_mean(str(kind), KINDS)}")

    if (kind == "descriptive") == bool(choices):
        raise DataError(
            f"{place}: a {kind} question has {'no choices' if choices else 'choices'}, but {len(choices)} came"
        )

    if choices and plain.get("answer") is not None:
        raise DataError(f"{place}: a question with choices has an answer for each, not one of its own")

    listed = [(choice.program, choice.text) for choice in choices]
    for i, one in enumerate(listed, start=1):
        if one in listed[: i - 1]:
            raise DataError(f"{place}: choices {listed.index(one) + 1} and {i} are the same")

    return Question(
        video=video_name(plain.get("video", plain.get("scene_index")), place),
        kind=kind,
        program=program,
        choices=choices,
        text=str(plain.get("question", "")),
        subtype=str(plain.get("question_subtype") or ""),
        answer=None if choices else _parsed_answer(plain.get("answer"), program[-1], place),
    )


def _choice(plain: Any, place: str, extra: Sequence[str]) -> Choice:
    if not isinstance(plain, Mapping) or "program" not in plain:
        raise DataError(f"{place}: a choice is an object with a program, but got {plain!r:.60}")

    answer = plain.get("answer")
    if answer is not None:
        word = str(answer).lower()
        if word not in _JUDGED:
            raise DataError(f"{place}: unknown answer {answer!r}; {did_you_mean(word, ('correct', 'wrong'))}")
        answer = _JUDGED[word]

    return Choice(read_program(plain["program"], place, extra), str(plain.get("choice", "")), answer)


def _kind(program: Sequence[str], choices: Sequence[Choice]) -> str:
    """The kind of a question that does not name it, from the tokens of its program."""
    if not choices:
        return "descriptive"
    if "filter_counterfact" in program:
        return "counterfactual"

    return "predictive" if "unseen_events" in program else "explanatory"


def _identity(question: Question) -> tuple[Any, ...]:
    """What two questions of one file may not share."""
    choices = tuple((choice.program, choice.text) for choice in question.choices)
    return question.video, question.kind, question.text, question.program, choices


def _parsed_answer(answer: Any, last: str, place: str) -> str | None:
    """The answer as a word, of the kind that the last token of the program gives; any word for a token of your own."""
    if answer is None:
        return None
    if not isinstance(answer, int | str):
        raise DataError(f"{place}: expected an answer as a number or word, but got {answer!r:.60}")

    word = {True: "yes", False: "no"}[answer] if isinstance(answer, bool) else str(answer).strip().lower()
    kind = last.removeprefix("query_")
    if last == "count" and not (word.isascii() and word.isdecimal() and len(word) < 4):
        raise DataError(f"{place}: expected a number of objects or events, but the answer is {answer!r:.60}")

    values = _YES_NO if last in _ANSWERED_YES_NO else ATTRIBUTES.get(kind) if kind != last else None
    if values is not None and word not in values:
        raise DataError(
            f"{place}: expected an answer to {last!r}, but got {answer!r:.60}; {did_you_mean(word, values)}"
        )

    return word


def _list(plain: Mapping[str, Any], name: str, place: str) -> list[Any]:
    value = plain.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise DataError(f"{place}: {name} is a list, but got {value!r:.60}")

    return value
