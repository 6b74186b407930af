"""Accuracy of graph and executor by option and by question, by type and subtype, and of predicted collisions."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import KINDS, Question, Scene
from spikebridge.networks.reasoning.events.predictor import HORIZON, Prediction
from spikebridge.networks.reasoning.executor import execute
from spikebridge.networks.reasoning.graph.layout import Preset
from spikebridge.networks.reasoning.graph.run import GraphAnswer, answer

_MAX_FRAMES = 5  # between a predicted and a true collision

ProgramValues: TypeAlias = Sequence[Sequence[str | None]]  # for each question the value of each whole program


def score(
    scenes: Sequence[Scene], questions: Sequence[Question], preset: str | Preset = "compartment", causal: bool = False
) -> dict[str, Any]:
    """The accuracy of the graph, as `tally`; the arguments are those of `answer`."""
    return tally(questions, values(answer(scenes, questions, preset, causal=causal)))


def score_executor(scenes: Sequence[Scene], questions: Sequence[Question], causal: bool = False) -> dict[str, Any]:
    """The accuracy of the symbolic executor, as `tally`; a refusal counts as wrong."""
    return tally(questions, execute(scenes, questions, causal)[0], refusals=True)


def values(answers: Sequence[Sequence[GraphAnswer]]) -> list[list[str | None]]:
    """The bare values of answers."""
    return [[one.value for one in row] for row in answers]


def tally(questions: Sequence[Question], program_values: ProgramValues, refusals: bool = False) -> dict[str, Any]:
    """Shares of correct options (`per_option`) and of questions with all options correct, by type and subtype."""
    rows: dict[str, list[_Row]] = {kind: [] for kind in KINDS}
    for question, row in zip(questions, program_values, strict=True):
        # what-if texts and questions of the user may be without a known answer
        options = [(value, truth) for value, truth in zip(row, question.answers, strict=True) if truth is not None]
        if options:
            rows[question.kind].append((question.subtype, options))

    result = {}
    for kind, of_kind in rows.items():
        if of_kind:
            result[kind] = _shares(of_kind, refusals)
            subtypes = sorted({subtype for subtype, _ in of_kind if subtype})
            if subtypes:
                shares = {name: _shares([row for row in of_kind if row[0] == name], refusals) for name in subtypes}
                result[kind]["subtypes"] = shares

    return result


_Row: TypeAlias = tuple[str, list[tuple[str | None, str]]]  # subtype, and value and truth of each option


def _shares(rows: Sequence[_Row], refusals: bool) -> dict[str, Any]:
    correct = [[value == truth for value, truth in options] for _, options in rows]
    num_options = sum(map(len, correct))
    shares: dict[str, Any] = {
        "per_option": sum(map(sum, correct)) / num_options,
        "per_question": sum(map(all, correct)) / len(rows),
        "num_questions": len(rows),
        "num_options": num_options,
    }
    if refusals:
        shares["refusals"] = sum(value is None for _, options in rows for value, _ in options)

    return shares


def prediction_scores(scenes: Sequence[Scene], predictions: Sequence[Prediction], first: int) -> dict[str, float]:
    """Scores of pairs against the `truth` of scenes, else their own collisions; `DataError` where there are none."""
    if not any(len(_reference(scene).collisions) for scene in scenes):
        raise DataError("expected scenes with true collisions to compare with, but none of them has any")

    num_predicted = 0
    num_true = 0
    hits = 0
    timely = 0
    for scene, prediction in zip(scenes, predictions, strict=True):
        reference = _reference(scene)
        true = _frames_of_pairs(reference, reference.collisions.tolist())
        true = {pair: frame for pair, frame in true.items() if first <= frame < first + HORIZON}
        predicted = _frames_of_pairs(scene, prediction.collisions.tolist())
        num_predicted += len(predicted)
        num_true += len(true)
        errors = [abs(frame - true[pair]) for pair, frame in predicted.items() if pair in true]
        hits += len(errors)
        timely += sum(error <= _MAX_FRAMES for error in errors)

    return {
        "f1_pairs": _ratio(2 * hits, num_predicted + num_true),
        "f1_5_frames": _ratio(2 * timely, num_predicted + num_true),
        "precision": _ratio(hits, num_predicted),
        "recall": _ratio(hits, num_true),
    }


def _reference(scene: Scene) -> Scene:
    return scene if scene.truth is None else scene.truth


def _frames_of_pairs(scene: Scene, rows: Sequence[list[int]]) -> dict[frozenset[tuple[str, str, str]], int]:
    return {frozenset((scene.objects[a], scene.objects[b])): frame for frame, a, b in sorted(rows, reverse=True)}


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 5) if whole else 0.0
