"""Scores the questions of a file about the scenes of a file, with every preset of the graph and the executor."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import spikebridge
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.reasoning.data.clevrer_questions import read_question_texts, read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import KINDS, Question, Scene
from spikebridge.networks.reasoning.evaluation._words import score_words
from spikebridge.networks.reasoning.events.predictor import last_frames, load_predictor, predict_collisions
from spikebridge.networks.reasoning.graph.layout import PRESETS, preset_of
from spikebridge.networks.reasoning.parsing.parser import load_parser
from spikebridge.networks.reasoning.scores import prediction_scores, score, score_executor
from spikebridge.networks.reasoning.training.trained_units import fixed_reader, learned_reader
from spikebridge.training.run.run import Run
from spikebridge.training.settings import check_minimum

_SHIPPED = Path(spikebridge.__file__).parent / "pretrained"
_MIN_FRAME = 10  # to predict from: the speed needs two samples

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuestionEvaluation:
    """Files to evaluate, source of the collisions, and presets."""

    scenes: Path | None = None
    """A file or folder of scenes: JSON lines or CLEVRER annotations, plain or gzipped."""
    questions: Path | None = None
    """A file of questions about the scenes with known answers."""
    collisions: Literal["baked", "learned", "rule"] = "baked"
    """baked: those of the scene file; learned: detected by the trained unit; rule: detected by the fixed rule."""
    words: bool = False
    """Read the questions from their words alone, not from their programs."""
    causal: bool = True
    """Keep events that do not depend on the removed object in counterfactuals."""
    presets: tuple[str, ...] = tuple(PRESETS)
    """Presets of the reasoning graph to evaluate."""
    predict_from: int | None = None
    """Predict collisions in the 32 frames from this one on, from the tracks before it; without words no question is answered."""

    def __post_init__(self) -> None:
        check_minimum(self, predict_from=_MIN_FRAME)
        for name in self.presets:
            preset_of(name)


def evaluate_files(run: Run, options: QuestionEvaluation) -> dict[str, Any]:
    """`tally` under `presets.<name>` and `executor`; or `prediction` with `predict_from`, `words` with `words`."""
    results: dict[str, Any] = {}
    if options.scenes is not None and options.predict_from is not None:
        results["prediction"] = _evaluate_prediction(read_scenes(options.scenes), options.predict_from)
        if not options.words:
            return results

    if options.scenes is None or options.questions is None:
        missing = "--scenes" if options.scenes is None else "--questions"
        raise ConfigError(f"scenes and questions belong together; {missing} is missing")

    if options.words:
        return results | _evaluate_words(run, options.scenes, options.questions, options.collisions)

    start = time.perf_counter()
    _log.info("reading scenes and questions")
    scenes = read_scenes(options.scenes)
    questions = _checked(read_questions(options.questions), scenes, options.questions)
    # worlds of videos without a question would only take time
    videos = {question.video for question in questions}
    scenes = [scene for scene in scenes if scene.video in videos]
    middle = time.perf_counter()

    presets: dict[str, Any] = {name: {} for name in options.presets}
    executor: dict[str, Any] = {}
    for kind in KINDS:
        # learned collisions depend on the kind: each has a threshold of its own
        of_kind = [question for question in questions if question.kind == kind]
        _log.info("answering %d %s questions", len(of_kind), kind)
        read = read_collisions(run, scenes, options.collisions, kind) if of_kind else []
        for name, scores in presets.items():
            scores |= score(read, of_kind, name, options.causal)
        executor |= score_executor(read, of_kind, options.causal)

    end = time.perf_counter()
    return {
        "collisions": options.collisions,
        "num_scenes": len(scenes),
        "seconds": {"reading": round(middle - start, 2), "answering": round(end - middle, 2)},
        "presets": presets,
        "executor": executor,
    }


def _evaluate_words(run: Run, scenes_path: Path, questions_path: Path, collisions: str) -> dict[str, Any]:
    scenes = read_scenes(scenes_path)
    questions = _checked(read_question_texts(questions_path), scenes, questions_path)
    videos = {question.video for question in questions}
    scenes = [scene for scene in scenes if scene.video in videos]
    # perceived scenes may come without collisions
    if collisions == "baked" and not any(len(scene.collisions) for scene in scenes):
        collisions = "learned"

    read = read_collisions(run, scenes, collisions, "explanatory")
    words = score_words(load_parser(Run.open(_SHIPPED / "reasoning_parser")), read, questions)
    return {"collisions": collisions, "num_scenes": len(scenes), "words": words}


def _evaluate_prediction(scenes: Sequence[Scene], first: int) -> dict[str, float]:
    if max(last_frames(scenes, first)) < 0:
        raise DataError(f"no scene has a sample shortly before frame {first} to predict from; choose an earlier frame")

    unit = load_predictor(Run.open(_SHIPPED / "reasoning_predictor"))
    return prediction_scores(scenes, predict_collisions(unit, scenes, first), first)


def _checked(questions: list[Question], scenes: Sequence[Scene], path: Path) -> list[Question]:
    """The questions of a file, each about one of the scenes, and some with a known answer."""
    videos = {scene.video: None for scene in scenes}
    for number, question in enumerate(questions, start=1):
        if question.video not in videos:
            raise DataError(
                f"{path}: question {number} is about video {question.video}, but there is no scene of it among "
                f"{len(videos)} ({', '.join(map(str, list(videos)[:5]))}, ...)"
            )

    if not any(answer is not None for question in questions for answer in question.answers):
        raise DataError(f"{path}: expected questions with known answers to compare with, but there are none")

    return questions


def read_collisions(run: Run, scenes: Sequence[Scene], collisions: str, kind: str) -> list[Scene]:
    """The scenes with collisions from a source: `baked`, `learned` (by kind of the questions) or `rule`."""
    if collisions == "learned":
        return learned_reader(run, kind=kind)(scenes)

    return fixed_reader(run)(scenes) if collisions == "rule" else list(scenes)
