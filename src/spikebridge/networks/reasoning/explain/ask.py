"""From a video or scene and a question in words to an answer with its explanation: detector, parser, graph."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from spikebridge.errors import DataError, did_you_mean
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, Question, Scene
from spikebridge.networks.reasoning.explain.explain import Explanation, explain
from spikebridge.networks.reasoning.explain.grounding import GroundedQuestion, Grounding, ground
from spikebridge.networks.reasoning.graph.run import GraphAnswer, answer
from spikebridge.networks.reasoning.parsing.operators import DESCRIBE
from spikebridge.networks.reasoning.parsing.parser import Parser, read_question
from spikebridge.networks.reasoning.perception.detector import Detector
from spikebridge.networks.reasoning.perception.perceive import perceive
from spikebridge.networks.reasoning.simulation.files import VIDEO_SUFFIXES, read_video


@dataclass(frozen=True, eq=False)
class Observation:
    """The subject of a question: a scene, and the pictures from which it was perceived, if any."""

    scene: Scene
    pictures: UInt8[np.ndarray, "F H W 3"] | None = None


@dataclass(frozen=True)
class QuestionAnswers:
    """A grounded question with its answers: one for each choice, or a single one."""

    grounded: GroundedQuestion
    answers: tuple[GraphAnswer, ...]

    @property
    def question(self) -> Question:
        """The question, about the objects and events that are seen."""
        return self.grounded.question

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        question = self.question
        answers = [asdict(answer) for answer in self.answers]
        common = {"question": question.text, "kind": question.kind, **_plain(self.grounded.text)}
        if question.kind == "descriptive":
            return {**common, "answer": answers[0]}

        rows = zip(question.choices, answers, self.grounded.choices, strict=True)
        return {**common, "choices": [{"choice": choice.text, **a, **_plain(one)} for choice, a, one in rows]}

    def text(self) -> str:
        """Text, one line for each answer and each remark."""
        remarks = [f"note: {remark}" for remark in self.grounded.remarks]
        if self.question.kind == "descriptive":
            return "\n".join([_line(self.answers[0]), *remarks])

        # a choice is one line, whatever its text
        texts = [" ".join(choice.text.split()) for choice in self.question.choices]
        width = max(map(len, texts))
        lines = [f"{text:<{width}}  {_line(answer)}" for text, answer in zip(texts, self.answers, strict=True)]
        return "\n".join([*lines, *remarks])


def _plain(text: Grounding) -> dict[str, Any]:
    events = [{"kind": event.kind, "frame": event.frame, "objects": sorted(event.objects)} for event in text.events]
    return {"program": list(text.program), "events": events, "remarks": list(text.remarks)}


def _line(answer: GraphAnswer) -> str:
    value = "no answer" if answer.value is None else answer.value
    return f"{value}  ({answer.status}, confidence {answer.confidence:.2f})"


def load_observation(path: Path, detector: Detector, video: str | None = None) -> Observation:
    """Reads a video and perceives its scene, or reads a scene by the name of its video from a file of scenes."""
    if not path.is_dir() and path.suffix.lower() not in VIDEO_SUFFIXES:
        return Observation(_chosen(read_scenes(path), video, path))

    # a video file has one scene, which is named after it
    if video not in (None, path.stem):
        raise DataError(f"{path} is a video of one scene, but got --video {video}; leave it out")

    pictures, rate = read_video(path)
    return Observation(perceive(detector, pictures, path.stem, rate).scene, pictures)


def _chosen(scenes: Sequence[Scene], video: str | None, path: Path) -> Scene:
    if not scenes:
        raise DataError(f"{path}: expected scenes, but there are none.")

    names = [str(scene.video) for scene in scenes]
    if video is None:
        if len(scenes) > 1:
            raise DataError(f"{path} holds {len(scenes)} scenes; name one with --video, such as {names[0]}")
        return scenes[0]

    if video not in names:
        raise DataError(f"{path} holds no scene of video {video}; {did_you_mean(video, names[:50])}")

    return scenes[names.index(video)]


def answer_question(
    observation: Observation, parser: Parser, text: str, choices: Sequence[str] = ()
) -> QuestionAnswers:
    """Answers a question in words; the parser is in eval mode, and errors are those of `read_question`."""
    grounded = ground(observation.scene, read_question(parser, observation.scene.video, text, choices))
    # one program reads one attribute; `which object ...?` takes three
    answers = answer(observation.scene, _queries(grounded.question))
    if len(answers) == 1:
        return QuestionAnswers(grounded, answers[0])

    return QuestionAnswers(grounded, (_described([of_attribute for (of_attribute,) in answers]),))


def _queries(question: Question) -> list[Question]:
    if question.program[-1] != DESCRIBE.token:
        return [question]
    return [replace(question, program=(*question.program[:-1], f"query_{kind}")) for kind in ATTRIBUTES]


def _described(answers: Sequence[GraphAnswer]) -> GraphAnswer:
    # the answer is as certain as the least certain attribute
    worst = min(answers, key=lambda answer: (answer.status == "ok", answer.confidence))
    is_complete = all(answer.value is not None for answer in answers)
    return replace(worst, value=" ".join(str(answer.value) for answer in answers) if is_complete else None)


def explain_question(observation: Observation, question: Question) -> list[Explanation]:
    """One explanation for each whole program of a question; one for each attribute of `which object ...?`."""
    return [explain(observation.scene, program) for query in _queries(question) for program in query.programs]
