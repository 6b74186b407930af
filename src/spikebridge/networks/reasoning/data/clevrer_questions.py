"""Question files of CLEVRER: ours with one question per line, and the original layout.

| layout | keys |
|---|---|
| ours, JSON lines | `video`, `question`, `question_type`, `program`, and `answer` or `choices` |
| original, JSON | `scene_index` and `questions`, each as above with a `question_id` and without `video` |

A choice has `choice`, `program` and `answer` (correct or wrong). Tokens of the original files are renamed. The original
layout was tested only on small files of our own, written by the published schema.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikebridge.data.io.json_stream import json_objects
from spikebridge.errors import DataError, did_you_mean
from spikebridge.networks.reasoning.data.clevrer_scenes import video_name
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, KINDS, Choice, Question

# The vocabulary of CLEVRER's programs.
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
# Tokens of the original question files, and our names.
_ORIGINAL_NAMES: dict[str, tuple[str, ...]] = {
    "get_frame": ("query_frame",),
    "get_object": ("query_object",),
    "get_col_partner": ("query_collision_partner",),
    "get_counterfact": ("filter_counterfact",),
    "start": ("events", "filter_start"),
    "end": ("events", "filter_end"),
}

_MAX_CHOICES = 64
_JUDGMENTS = {"correct": "correct", "wrong": "wrong", "true": "correct", "false": "wrong"}
_KEYS = ("video", "question", "question_type", "question_subtype", "program", "answer", "choices", "question_id")


def read_questions(path: Path, extra: Sequence[str] = ()) -> list[Question]:
    """The questions of a file.

    Args:
        path: a file of one of the layouts above, plain or compressed with gzip.
        extra: additional tokens that programs may use, of operators or values of your own.

    Raises:
        DataError: with the place: a file that is missing or damaged, a question without a program, an unknown token,
            type or answer, an answer of another kind than the question, or a question or choice that is listed twice.
    """
    questions = []
    place_of: dict[Any, str] = {}

    for place, plain in _documents(path):
        question = read_question(plain, place, extra)
        choices = tuple((choice.program, choice.text) for choice in question.choices)
        key = (question.video, question.kind, question.text, question.program, choices)
        questions.append(question)

        if key in place_of:
            raise DataError(f"{place}: the same question as {place_of[key]}; leave one out")
        place_of[key] = place

    return questions


def read_question_texts(path: Path) -> list[Question]:
    """The questions of a file by their words alone, with empty programs; raises `DataError` as `read_questions`."""
    questions = []
    for place, plain in _documents(path):
        # programs of other sources may not fit the words, so none is read
        choices = [{**choice, "program": "null"} for choice in _list(plain, "choices", place)]
        question = read_question({**plain, "program": "null", "choices": choices}, place)
        if not all((question.text, *(choice.text for choice in question.choices))):
            raise DataError(f"{place}: expected a question in words, with words for each choice, but a text is empty")

        bare = tuple(replace(choice, program=()) for choice in question.choices)
        questions.append(replace(question, program=(), choices=bare))

    return questions


def _documents(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and plain values of every question of a file."""
    for place, plain in json_objects(path, "questions"):
        if "questions" not in plain:
            yield place, plain
            continue

        video = plain.get("scene_index", plain.get("video"))
        for i, question in enumerate(_list(plain, "questions", place), start=1):
            if not isinstance(question, Mapping):
                raise DataError(f"{place}, question {i}: a question is an object with names, but got {question!r:.60}")
            yield f"{place}, question {i}", {"video": video, **question}


def read_question(plain: Mapping[str, Any], place: str, extra: Sequence[str] = ()) -> Question:
    """One question from plain values with the keys of the first layout; raises `DataError` as `read_questions`."""
    if "program" not in plain:
        hint = did_you_mean("program", [key for key in plain if key not in _KEYS])
        raise DataError(f"{place}: a question needs a program, but has {', '.join(map(str, plain))}; {hint}")

    program = read_program(plain["program"], place, extra)
    choices = _choices(plain, place, extra)
    kind = plain.get("question_type", plain.get("type"))
    if kind is None:
        kind = _kind_of(program, choices)
    if kind not in KINDS:
        raise DataError(f"{place}: unknown question type {kind!r}; {did_you_mean(str(kind), KINDS)}")

    if (kind == "descriptive") == bool(choices):
        raise DataError(
            f"{place}: a {kind} question has {'no choices' if choices else 'choices'}, but {len(choices)} came"
        )

    if choices and plain.get("answer") is not None:
        raise DataError(f"{place}: a question with choices has an answer for each, not one of its own")

    return Question(
        video=video_name(plain.get("video", plain.get("scene_index")), place),
        kind=kind,
        program=program,
        choices=choices,
        text=str(plain.get("question", "")),
        subtype=str(plain.get("question_subtype") or ""),
        answer=None if choices else _answer(plain.get("answer"), program[-1], place),
    )


def read_program(tokens: Any, place: str, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """A checked program from a list of tokens, or one text with spaces between them."""
    words = tokens.split() if isinstance(tokens, str) else tokens
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words) or not words:
        raise DataError(f"{place}: expected a program as a list of tokens, but got {tokens!r:.80}")

    program = tuple(name for word in words for name in _ORIGINAL_NAMES.get(word, (word,)))
    allowed = (*_TOKENS, *extra)
    for name in program:
        # a token that is only misspelt would otherwise fail in the compiler, without the place in the file
        if name not in allowed:
            raise DataError(f"{place}: unknown token {name!r}; {did_you_mean(name, allowed)}")

    return program


def _choices(plain: Mapping[str, Any], place: str, extra: Sequence[str]) -> tuple[Choice, ...]:
    listed = _list(plain, "choices", place)
    choices = [_choice(choice, f"{place}, choice {i}", extra) for i, choice in enumerate(listed, start=1)]
    if len(choices) > _MAX_CHOICES:
        raise DataError(f"{place}: {len(choices)} choices, but at most {_MAX_CHOICES} are read")

    keys = [(choice.program, choice.text) for choice in choices]
    for i, key in enumerate(keys):
        first = keys.index(key)
        if first < i:
            raise DataError(f"{place}: choices {first + 1} and {i + 1} are the same")

    return tuple(choices)


def _choice(plain: Any, place: str, extra: Sequence[str]) -> Choice:
    if not isinstance(plain, Mapping) or "program" not in plain:
        raise DataError(f"{place}: a choice is an object with a program, but got {plain!r:.60}")

    answer = plain.get("answer")
    if answer is not None:
        word = str(answer).lower()
        if word not in _JUDGMENTS:
            raise DataError(f"{place}: unknown answer {answer!r}; {did_you_mean(word, ('correct', 'wrong'))}")
        answer = _JUDGMENTS[word]

    return Choice(read_program(plain["program"], place, extra), str(plain.get("choice", "")), answer)


def _kind_of(program: Sequence[str], choices: Sequence[Choice]) -> str:
    """The kind of a question that does not name it, from the tokens of its program."""
    if not choices:
        return "descriptive"
    if "filter_counterfact" in program:
        return "counterfactual"

    return "predictive" if "unseen_events" in program else "explanatory"


def _answer(answer: Any, last: str, place: str) -> str | None:
    """The answer as a word, of the kind that the last token of the program gives; any word for a token of your own."""
    if answer is None:
        return None
    if not isinstance(answer, int | str):
        raise DataError(f"{place}: expected an answer as a number or word, but got {answer!r:.60}")

    # True and False are numbers of JSON too
    word = {True: "yes", False: "no"}[answer] if isinstance(answer, bool) else str(answer).strip().lower()
    if last == "count" and not (word.isascii() and word.isdecimal() and len(word) < 4):
        raise DataError(f"{place}: expected a number of objects or events, but the answer is {answer!r:.60}")

    values: tuple[str, ...] | None = None
    if last in ("exist", "belong_to", "negate"):
        values = ("yes", "no")
    elif last.startswith("query_"):
        values = ATTRIBUTES.get(last.removeprefix("query_"))

    # an operator of the user's own may answer with any word
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
