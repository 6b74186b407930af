"""Compares collision sources: those of the scene file, the rule, the learned units, and near truth."""

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from spikebridge.data.catalog import find_files
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.scores import score, score_executor
from spikebridge.networks.reasoning.training import trained_units
from spikebridge.networks.reasoning.training.labels import Split, cause_questions
from spikebridge.networks.reasoning.training.units import detection_scores
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)


def compare(run: Run, split: Split, real: bool, data: Path | None = None) -> dict[str, Any]:
    """One row of `collisions` for each source and one of `units` for each seed, on test videos."""
    seeds = trained_units.seeds_of(run)
    questions = _questions(split, real, data)
    noisy, near = split.test
    _log.info("answering with the collisions of the scenes and of the rule")
    fixed = trained_units.fixed_reader(run)
    rows = [
        _row("baked", [noisy], questions),
        _row("fixed", [fixed(noisy)], questions, detection_scores(fixed.unit, split.test)),
    ]

    _log.info("answering with the learned collisions")
    readers = {seed: trained_units.learned_reader(run, seed) for seed in seeds}
    detections = [detection_scores(reader.unit, split.test) for reader in readers.values()]
    # the answers are averaged over the seeds, so the detections are, too
    mean = {name: fmean(row[name] for row in detections) for name in detections[0]}
    rows.append(_row("learned", [reader(noisy) for reader in readers.values()], questions, mean))
    _log.info("answering near the truth")
    rows.append(_row("near truth", [near], questions))

    return {
        "questions": f"{len(questions)} {'real' if real else 'generated'} explanatory questions",
        "best_seed": trained_units.best_seed(run),
        "collisions": rows,
        "units": [_unit_row(seed, trained_units.unit_settings(run, seed)) for seed in readers],
    }


def _questions(split: Split, real: bool, data: Path | None) -> list[Question]:
    # seed 0 made the questions on which the thresholds were chosen
    if not real:
        return cause_questions(split.test.reference, seed=1)

    path = next(path for path in find_files("clevrer", data) if path.name == "questions_explanatory_real.jsonl.gz")
    return read_questions(path)


def _unit_row(seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    thresholds = {f"threshold, {kind}": threshold for kind, threshold in settings["thresholds"].items()}
    return {"seed": seed, **thresholds, **{name: v for name, v in settings.items() if not isinstance(v, dict)}}


def _row(
    name: str,
    readings: Sequence[Sequence[Scene]],
    questions: Sequence[Question],
    detection: dict[str, float] | None = None,
) -> dict[str, Any]:
    graph = [score(scenes, questions)["explanatory"] for scenes in readings]
    executor = [score_executor(scenes, questions)["explanatory"] for scenes in readings]
    row: dict[str, Any] = {"from": name}

    for key, deviation, share in (
        ("per option", "sd", "per_option"),
        ("per question", "sd per question", "per_question"),
    ):
        shares = [100 * one[share] for one in graph]
        row[f"{key} %"] = round(fmean(shares), 2)
        row[deviation] = round(stdev(shares), 2) if len(shares) > 1 else None

    row["executor %"] = round(100 * fmean(one["per_option"] for one in executor), 2)
    row["executor per question %"] = round(100 * fmean(one["per_question"] for one in executor), 2)
    for key, measure, scale in (
        ("recall %", "recall", 100),
        ("precision %", "precision", 100),
        ("timing frames", "timing_frames", 1),
    ):
        row[key] = None if detection is None else round(scale * detection[measure], 2)

    return row
