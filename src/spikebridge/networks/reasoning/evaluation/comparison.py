"""Compares collision sources: those of the scene file, the rule, the learned units, and near truth."""

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from spikebridge.data.catalog import find_files
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.evaluation.scores import score, score_executor
from spikebridge.networks.reasoning.training.labels import Split, cause_questions
from spikebridge.networks.reasoning.training.trained_units import (
    best_seed,
    fixed_reader,
    learned_reader,
    seeds_of,
    unit_settings,
)
from spikebridge.networks.reasoning.training.units import detection_scores
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)


def compare(run: Run, split: Split, real: bool, data: Path | None = None) -> dict[str, Any]:
    """The results of a run on explanatory questions about test videos."""
    questions = _questions(split, real, data)
    noisy, near = split.test
    _log.info("answering with the collisions of the scenes and of the rule")
    fixed = fixed_reader(run)
    rows = [
        _row("baked", [noisy], questions),
        _row("fixed", [fixed(noisy)], questions, detection_scores(fixed.unit, split.test)),
    ]

    _log.info("answering with the learned collisions")
    readers = {seed: learned_reader(run, seed) for seed in seeds_of(run)}
    detected = {seed: detection_scores(reader.unit, split.test) for seed, reader in readers.items()}
    mean = {name: fmean(one[name] for one in detected.values()) for name in next(iter(detected.values()))}
    rows.append(_row("learned", [reader(noisy) for reader in readers.values()], questions, mean))
    _log.info("answering near the truth")
    rows.append(_row("near truth", [near], questions))

    return {
        "questions": f"{len(questions)} {'real' if real else 'generated'} explanatory questions",
        "best_seed": best_seed(run),
        "collisions": rows,
        "units": [
            {"seed": seed, **{f"threshold, {kind}": at for kind, at in chosen["thresholds"].items()},
             **{name: value for name, value in chosen.items() if not isinstance(value, dict)}}
            for seed, chosen in ((seed, unit_settings(run, seed)) for seed in readers)
        ],
    }  # fmt: skip


def _questions(split: Split, real: bool, data: Path | None) -> list[Question]:
    if not real:
        return cause_questions(split.test.reference, seed=1)
    path = next(path for path in find_files("clevrer", data) if path.name == "questions_explanatory_real.jsonl.gz")
    return read_questions(path).questions


def _row(
    name: str, readings: Sequence[Sequence[Scene]], questions: Sequence[Question], found: dict[str, float] | None = None
) -> dict[str, Any]:
    """Mean and standard deviation over readings (seeds) in per cent, of the graph and of the executor."""
    graph = [score(scenes, questions)["explanatory"] for scenes in readings]
    plain = [score_executor(scenes, questions)["explanatory"] for scenes in readings]
    per_option = [100 * one["per_option"] for one in graph]
    per_question = [100 * one["per_question"] for one in graph]

    return {
        "from": name,
        "per option %": round(fmean(per_option), 2),
        "sd": round(stdev(per_option), 2) if len(per_option) > 1 else None,
        "per question %": round(fmean(per_question), 2),
        "sd per question": round(stdev(per_question), 2) if len(per_question) > 1 else None,
        "executor %": round(100 * fmean(one["per_option"] for one in plain), 2),
        "executor per question %": round(100 * fmean(one["per_question"] for one in plain), 2),
        "recall %": None if found is None else round(100 * found["recall"], 2),
        "precision %": None if found is None else round(100 * found["precision"], 2),
        "timing frames": None if found is None else round(found["timing_frames"], 2),
    }
