"""From a video or scene and a question in words to an answer with its reasons: detector, parser and graph together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from spikebridge.errors import DataError, did_you_mean
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.explain.explain import Explanation, explain
from spikebridge.networks.reasoning.graph.run import GraphAnswer, answer
from spikebridge.networks.reasoning.parsing.parser import Parser, read_question
from spikebridge.networks.reasoning.perception.detector import Detector
from spikebridge.networks.reasoning.perception.perceive import perceive
from spikebridge.networks.reasoning.simulation.files import VIDEO_SUFFIXES, read_video


@dataclass(frozen=True, eq=False)
class Observation:
    """What a question is about: a scene, and the pictures it was perceived from, if there are any."""

    scene: Scene
    pictures: UInt8[np.ndarray, "F H W 3"] | None = None


@dataclass(frozen=True)
class QuestionAnswers:
    """A question with its answers, one a choice, or a single one."""

    question: Question
    answers: tuple[GraphAnswer, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for machines."""
        said = [
            {"value": a.value, "status": a.status, "confidence": a.confidence, "margin": a.margin} for a in self.answers
        ]
        common = {"question": self.question.text, "kind": self.question.kind, "program": list(self.question.program)}
        if self.question.kind == "descriptive":
            return {**common, "answer": said[0]}
        choices = [{"choice": c.text, **one} for c, one in zip(self.question.choices, said, strict=True)]
        return {**common, "choices": choices}

    def text(self) -> str:
        """Words, for people."""
        if self.question.kind == "descriptive":
            return _line(self.answers[0])
        width = max(len(choice.text) for choice in self.question.choices)
        pairs = zip(self.question.choices, self.answers, strict=True)
        return "\n".join(f"{choice.text:<{width}}  {_line(one)}" for choice, one in pairs)


def _line(answer: GraphAnswer) -> str:
    value = "no answer" if answer.value is None else answer.value
    return f"{value}  ({answer.status}, confidence {answer.confidence:.2f})"


def load_observation(path: Path, detector: Detector, video: str | None = None) -> Observation:
    """What is in a file: a video, or scenes of which one is chosen.

    Args:
        path: a video (`.npz`, `.webp`, `.gif`, `.mp4`, a folder of pictures), or a file of scenes.
        detector: finds the objects of a video, in eval mode.
        video: which scene of a file with several.

    Raises:
        DataError: nothing is there, or a video that the detector does not know.
    """
    if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES:
        shown = read_video(path)
        found = perceive(detector, shown.pictures, path.stem, shown.rate)
        return Observation(found.scene, shown.pictures)
    return Observation(_chosen(read_scenes(path), video, path))


def _chosen(scenes: Sequence[Scene], video: str | None, path: Path) -> Scene:
    names = [str(scene.video) for scene in scenes]
    if video is None:
        if len(scenes) > 1:
            raise DataError(f"{path} holds {len(scenes)} scenes; say which one, such as {names[0]} (--video)")
        return scenes[0]
    if video not in names:
        raise DataError(f"{path} holds no scene of video {video}; {did_you_mean(video, names[:50])}")
    return scenes[names.index(video)]


def answer_question(seen: Observation, parser: Parser, text: str, choices: Sequence[str] = ()) -> QuestionAnswers:
    """Answers a question in words.

    Args:
        seen: what it is about.
        parser: reads the words, in eval mode.
        text: the question.
        choices: of an explanatory, predictive or counterfactual one.

    Raises:
        DataError: unknown words, or choices where there should be none, or none where there should be some.
    """
    question = read_question(parser, seen.scene.video, text, choices)
    return QuestionAnswers(question, answer(seen.scene, [question])[0])


def explain_question(seen: Observation, question: Question) -> list[Explanation]:
    """Of each whole program of a question what fired, and why."""
    return [explain(seen.scene, program) for program in question.programs]
