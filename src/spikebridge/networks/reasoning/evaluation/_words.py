"""Scores questions that are read from their words: the texts that are read, and the options that are judged rightly.

An option whose text is not read has no answer. It counts as judged wrong, as an event that is not seen; under `strict`
it counts as a failure, whatever its label.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import Choice, Question, Scene
from spikebridge.networks.reasoning.explain.grounding import GroundedQuestion, ground
from spikebridge.networks.reasoning.graph.run import answer
from spikebridge.networks.reasoning.parsing.operators import DESCRIBE
from spikebridge.networks.reasoning.parsing.parser import Parser, kind_of, read_text
from spikebridge.networks.reasoning.scores import values

_MAX_LISTED = 20  # unread texts in the results


class _Reading(NamedTuple):
    """The part of a question that is read, None without its own text; the options that are, and the refusals."""

    question: Question | None
    is_read: list[bool]
    refusals: dict[str, str]


def score_words(parser: Parser, scenes: Sequence[Scene], questions: Sequence[Question]) -> dict[str, Any]:
    """Shares of texts and of questions that are read, and of options and questions that are answered rightly."""
    readings = [_read(parser, question) for question in questions]
    scene_of = {scene.video: scene for scene in scenes}
    grounded = [ground(scene_of[one.question.video], one.question) for one in readings if one.question is not None]
    answers = iter(values(answer(scenes, [one.question for one in grounded])))

    strict = []
    with_default = []
    for question, one in zip(questions, readings, strict=True):
        given = iter(next(answers) if one.question is not None else ())
        row = [next(given) if is_read else None for is_read in one.is_read]
        strict.append(_right(question, row))
        with_default.append(_right(question, ["wrong" if value is None else value for value in row]))

    pairs = zip(questions, readings, strict=True)
    texts = {(question.video, text): one.refusals.get(text) for question, one in pairs for text in _texts(question)}
    unread = [{"video": v, "text": text, "reason": reason} for (v, text), reason in texts.items() if reason is not None]

    return {
        "texts_read": 1 - len(unread) / len(texts),
        "questions_read": _mean([not one.refusals for one in readings]),
        **_shares(with_default),
        "strict": _shares(strict),
        "always_wrong": _shares([_right(question, ["wrong"] * len(question.answers)) for question in questions]),
        "events_seen": _share_of_events_seen(grounded),
        "num_texts": len(texts),
        "num_questions": len(questions),
        "num_options": sum(map(len, strict)),
        "unread": unread[:_MAX_LISTED],
    }


def _read(parser: Parser, question: Question) -> _Reading:
    refusals: dict[str, str] = {}
    try:
        asked = read_text(parser, question.text, "question")
        if kind_of(asked.program) != question.kind or asked.program[-1] == DESCRIBE.token:
            raise DataError(f"expected words of a question that is {question.kind} and has one answer")
        whole = replace(question, program=asked.program, unused=asked.unused)
    except DataError as error:
        refusals[question.text] = str(error)
        whole = None

    kind = "cause" if question.kind == "explanatory" else "event"
    choices: list[Choice | None] = []
    for choice in question.choices:
        try:
            read = read_text(parser, choice.text, kind)
            choices.append(replace(choice, program=read.program, unused=read.unused))
        except DataError as error:
            refusals[choice.text] = str(error)
            choices.append(None)

    read_choices = tuple(choice for choice in choices if choice is not None)
    is_read = [whole is not None and choice is not None for choice in choices] or [whole is not None]
    answerable = replace(whole, choices=read_choices) if whole is not None and any(is_read) else None
    return _Reading(answerable, is_read, refusals)


def _texts(question: Question) -> list[str]:
    return [question.text, *(choice.text for choice in question.choices)]


def _right(question: Question, row: Sequence[str | None]) -> list[bool]:
    return [value == truth for value, truth in zip(row, question.answers, strict=True) if truth is not None]


def _shares(rows: Sequence[Sequence[bool]]) -> dict[str, float]:
    known = [row for row in rows if row]
    return {
        "per_option": _mean([is_right for row in known for is_right in row]),
        "per_question": _mean([all(row) for row in known]),
    }


def _share_of_events_seen(grounded: Sequence[GroundedQuestion]) -> float:
    texts = [one for question in grounded for one in (question.text, *question.choices)]
    return _mean([one.is_located for one in texts if one.is_located is not None])


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
