"""Question files of CLEVRER: ours, one question a line, and the original ones, the questions of a video together.

| layout | keys |
|---|---|
| ours, JSON lines | `video`, `question`, `question_type`, `program`, and `answer` or `choices` |
| original, JSON | `scene_index` and `questions`, each as above with a `question_id` and without `video` |
| what-if texts, JSON lines | `video`, `question`, `removed`, `collisions`; `what_if_questions` makes their choices |

A choice has `choice`, `program` and `answer` (correct or wrong). Tokens of the original files are renamed. The original
layout was checked on small files of our own alone, written by the published schema.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spikebridge.data.clevrer_programs import read_program
from spikebridge.data.clevrer_scenes import video_name
from spikebridge.data.clevrer_what_if import WhatIfText, read_what_if_text
from spikebridge.data.json_documents import json_objects
from spikebridge.data.scene_questions import KINDS, Choice, Question
from spikebridge.errors import DataError, did_you_mean

EXPECTED = "questions"
MOST_CHOICES = 64
_JUDGED = {"correct": "correct", "wrong": "wrong", "true": "correct", "false": "wrong"}
_KNOWN = ("video", "question", "question_type", "question_subtype", "program", "answer", "choices", "question_id")


class QuestionFile(NamedTuple):
    """What a question file holds."""

    questions: list[Question]
    what_if_texts: list[WhatIfText]


def read_questions(path: Path, more: Sequence[str] = ()) -> QuestionFile:
    """The questions of a file.

    Args:
        path: of one of the layouts above; packed with gzip or not.
        more: further tokens that programs may use, of operators or values of your own.

    Raises:
        DataError: with the place: a file that is missing or damaged, a question without a program, an unknown token,
            type or answer.
    """
    found = QuestionFile([], [])
    for place, plain in json_objects(path, EXPECTED):
        if "questions" in plain:
            video = plain.get("scene_index", plain.get("video"))
            many = _list(plain, "questions", place)
            for i, one in enumerate(many, start=1):
                where = f"{place}, question {i}"
                if not isinstance(one, Mapping):
                    raise DataError(f"{where}: a question is an object with names, but got {one!r:.60}")
                found.questions.append(read_question({"video": video, **one}, where, more))
        elif "removed" in plain and "program" not in plain:
            found.what_if_texts.append(read_what_if_text(plain, place))
        else:
            found.questions.append(read_question(plain, place, more))
    return found


def read_question(plain: Mapping[str, Any], place: str, more: Sequence[str] = ()) -> Question:
    """One question from plain values.

    Args:
        plain: with the keys of the first layout.
        place: where it stands, for messages.
        more: further tokens that programs may use.

    Raises:
        DataError: as in `read_questions`.

    Example:
        >>> plain = {"video": 7, "question": "How many?", "program": ["objects", "count"], "answer": 2}
        >>> question = read_question(plain, "line 1")
        >>> question.kind, question.answer
        ('descriptive', '2')
    """
    if "program" not in plain:
        near = did_you_mean("program", [key for key in plain if key not in _KNOWN])
        raise DataError(f"{place}: a question needs a program, but has {', '.join(map(str, plain))}; {near}")
    program = read_program(plain["program"], place, more)
    choices = tuple(
        _choice(one, f"{place}, choice {i}", more) for i, one in enumerate(_list(plain, "choices", place), start=1)
    )
    if len(choices) > MOST_CHOICES:
        raise DataError(f"{place}: {len(choices)} choices, but at most {MOST_CHOICES} are read")
    kind = plain.get("question_type", plain.get("type"))
    kind = _kind(program, choices) if kind is None else kind
    if kind not in KINDS:
        raise DataError(f"{place}: unknown question type {kind!r}; {did_you_mean(str(kind), KINDS)}")
    if (kind == "descriptive") == bool(choices):
        raise DataError(
            f"{place}: a {kind} question has {'no choices' if choices else 'choices'}, but {len(choices)} came"
        )
    return Question(
        video=video_name(plain.get("video", plain.get("scene_index")), place),
        kind=kind,
        program=program,
        choices=choices,
        text=str(plain.get("question", "")),
        subtype=str(plain.get("question_subtype") or ""),
        answer=None if choices else _said(plain.get("answer"), place),
    )


def _choice(plain: Any, place: str, more: Sequence[str]) -> Choice:
    if not isinstance(plain, Mapping) or "program" not in plain:
        raise DataError(f"{place}: a choice is an object with a program, but got {plain!r:.60}")
    answer = plain.get("answer")
    if answer is not None:
        said = str(answer).lower()
        if said not in _JUDGED:
            raise DataError(f"{place}: unknown answer {answer!r}; {did_you_mean(said, ('correct', 'wrong'))}")
        answer = _JUDGED[said]
    return Choice(read_program(plain["program"], place, more), str(plain.get("choice", "")), answer)


def _kind(program: Sequence[str], choices: Sequence[Choice]) -> str:
    """The type of a question that does not name it, by what its program asks."""
    if not choices:
        return "descriptive"
    if "filter_counterfact" in program:
        return "counterfactual"
    return "predictive" if "unseen_events" in program else "explanatory"


def _said(answer: Any, place: str) -> str | None:
    if answer is None:
        return None
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    if isinstance(answer, int | str):
        return str(answer).strip().lower()
    raise DataError(f"{place}: expected an answer as a number or word, but got {answer!r:.60}")


def _list(plain: Mapping[str, Any], name: str, place: str) -> list[Any]:
    value = plain.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise DataError(f"{place}: {name} is a list, but got {value!r:.60}")
    return value
