"""Scores the questions of a file about the scenes of a file, with every preset of the graph and the executor."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import KINDS, Question, Scene
from spikebridge.networks.reasoning.data.what_if_texts import what_if_questions
from spikebridge.networks.reasoning.evaluation.scores import score, score_executor
from spikebridge.networks.reasoning.graph.layout import PRESETS
from spikebridge.networks.reasoning.training.trained_units import fixed_reader, learned_reader
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuestionEvaluation:
    """Files to evaluate, source of the collisions, and presets."""

    scenes: Path | None = None
    """A file or folder of scenes: JSON lines, CLEVRER annotations or pickles, plain or gzipped."""
    questions: Path | None = None
    """A file of questions about the scenes with known answers, or of what-if questions in English."""
    collisions: Literal["baked", "learned", "rule"] = "baked"
    """baked: those of the scene file; learned: detected by the trained unit; rule: detected by the fixed rule."""
    causal: bool = True
    """Keep events that do not depend on the removed object in counterfactuals."""
    presets: tuple[str, ...] = tuple(PRESETS)
    """Presets of the reasoning graph to evaluate."""
    seed: int = 0
    """Seed of the answer options of what-if questions."""

    def __post_init__(self) -> None:
        """Refuses unknown presets."""
        for name in self.presets:
            if name not in PRESETS:
                raise ConfigError(f"no preset {name!r} of the graph; {did_you_mean(name, PRESETS)}")


def evaluate_files(run: Run, options: QuestionEvaluation) -> dict[str, Any]:
    """The figures of `spikebridge eval reasoning`."""
    if options.scenes is None or options.questions is None:
        missing = "--scenes" if options.scenes is None else "--questions"
        raise ConfigError(f"scenes and questions belong together; {missing} is missing")

    start = time.perf_counter()
    _log.info("reading scenes and questions")
    scenes = read_scenes(options.scenes)
    questions, about = _read_questions(options.questions, scenes, options.seed)
    asked = {question.video for question in questions}
    scenes = [scene for scene in scenes if scene.video in asked]
    read = time.perf_counter()
    presets: dict[str, Any] = {name: {} for name in options.presets}
    executor: dict[str, Any] = {}

    for kind in KINDS:
        some = [question for question in questions if question.kind == kind]
        _log.info("answering %d %s questions", len(some), kind)
        with_collisions = read_collisions(run, scenes, options.collisions, kind) if some else []

        for name, scores in presets.items():
            scores |= score(with_collisions, some, name, options.causal)
        executor |= score_executor(with_collisions, some, options.causal)

    answered = time.perf_counter()
    return {
        "collisions": options.collisions,
        "num_scenes": len(scenes),
        **about,
        "seconds": {"reading": round(read - start, 2), "answering": round(answered - read, 2)},
        "presets": presets,
        "executor": executor,
    }


def _read_questions(path: Path, scenes: Sequence[Scene], seed: int) -> tuple[list[Question], dict[str, Any]]:
    """The questions of a file; what-if texts get choices by rule."""
    found = read_questions(path)
    scene_of = {scene.video: scene for scene in scenes}

    for number, question in enumerate(found.questions, start=1):
        if question.video not in scene_of:
            known = [str(video) for video in list(scene_of)[:5]]
            raise DataError(
                f"{path}: question {number} is about video {question.video}, but there is no scene of it among "
                f"{len(scene_of)} ({', '.join(known)}, ...)"
            )

    made = what_if_questions(found.what_if_texts, scene_of, seed)
    questions = [*found.questions, *made]
    if not any(answer is not None for question in questions for answer in question.answers):
        raise DataError(f"{path}: expected questions with known answers to compare with, but there are none")

    texts = len(found.what_if_texts)
    return questions, {"num_texts_without_choices": texts - len(made)} if texts else {}


def read_collisions(run: Run, scenes: Sequence[Scene], collisions: str, kind: str) -> list[Scene]:
    """The scenes with collisions from the given source."""
    if collisions == "learned":
        return learned_reader(run, kind=kind)(scenes)

    return fixed_reader(run)(scenes) if collisions == "rule" else list(scenes)
