"""Accuracy of graph and executor by option and by question, by type and subtype; calibration of confidences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spikebridge.networks.reasoning.data.scene import KINDS, Question, Scene
from spikebridge.networks.reasoning.executor import execute
from spikebridge.networks.reasoning.graph.layout import Preset
from spikebridge.networks.reasoning.graph.run import GraphAnswer, answer

ProgramValues = Sequence[Sequence[str | None]]
"""For each question the value of each whole program."""


def score(
    scenes: Sequence[Scene], questions: Sequence[Question], preset: str | Preset = "compartment", causal: bool = False
) -> dict[str, Any]:
    """The accuracy of the graph."""
    return tally(questions, values(answer(scenes, questions, preset, causal=causal)))


def score_executor(scenes: Sequence[Scene], questions: Sequence[Question], causal: bool = False) -> dict[str, Any]:
    """The accuracy of the symbolic executor; a refusal counts as wrong."""
    return tally(questions, execute(scenes, questions, causal)[0], refusals=True)


def values(answers: Sequence[Sequence[GraphAnswer]]) -> list[list[str | None]]:
    """The bare values of answers."""
    return [[one.value for one in many] for many in answers]


def tally(questions: Sequence[Question], given: ProgramValues, refusals: bool = False) -> dict[str, Any]:
    """Shares of correct options and of questions with all options correct, by type and subtype."""
    rows: dict[str, list[tuple[str, list[bool], int]]] = {kind: [] for kind in KINDS}
    for question, values_given in zip(questions, given, strict=True):
        known = [(v, a) for v, a in zip(values_given, question.answers, strict=True) if a is not None]
        if known:
            right = [value == truth for value, truth in known]
            rows[question.kind].append((question.subtype, right, sum(value is None for value, _ in known)))

    result = {}
    for kind, found in rows.items():
        if found:
            result[kind] = _shares(found, refusals)
            subtypes = sorted({subtype for subtype, _, _ in found if subtype})
            if subtypes:
                result[kind]["subtypes"] = {
                    name: _shares([row for row in found if row[0] == name], refusals) for name in subtypes
                }

    return result


def _shares(rows: Sequence[tuple[str, list[bool], int]], refusals: bool) -> dict[str, Any]:
    options = [right for _, many, _ in rows for right in many]
    shares: dict[str, Any] = {
        "per_option": sum(options) / len(options),
        "per_question": sum(all(many) for _, many, _ in rows) / len(rows),
        "num_questions": len(rows),
        "num_options": len(options),
    }

    return shares | ({"refusals": sum(number for _, _, number in rows)} if refusals else {})


def _flat(scores: Mapping[str, Any]) -> dict[str, float]:
    """One row of a table: percentages by option and by question of each type."""
    row = {}
    for kind, shares in scores.items():
        row[f"{kind} %"] = round(100 * shares["per_option"], 2)
        if shares["per_question"] != shares["per_option"]:
            row[f"{kind} per question %"] = round(100 * shares["per_question"], 2)

    return row


def calibration(confidences: Sequence[float], right: Sequence[bool], num_bins: int = 10) -> dict[str, Any]:
    """Bins of confidence with the share of correct answers in each."""
    sure = np.asarray(confidences, dtype=float)
    hits = np.asarray(right, dtype=float)
    number = np.minimum((sure * num_bins).astype(int), num_bins - 1)
    bins = []

    for k in range(num_bins):
        inside = number == k
        if inside.any():
            bins.append(
                {
                    "from": k / num_bins,
                    "to": (k + 1) / num_bins,
                    "num_answers": int(inside.sum()),
                    "confidence": round(float(sure[inside].mean()), 4),
                    "right": round(float(hits[inside].mean()), 4),
                }
            )

    away = sum(one["num_answers"] * abs(one["confidence"] - one["right"]) for one in bins) / max(1, len(sure))
    return {"bins": bins, "expected_calibration_error": round(away, 4)}
