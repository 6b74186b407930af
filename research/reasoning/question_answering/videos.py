"""The whole chain on generated videos, from pixels and words to answers, scored against the truth."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from research.reasoning.question_answering.generated_questions import generate_questions
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, KINDS, Question, Scene
from spikebridge.networks.reasoning.executor import Executor
from spikebridge.networks.reasoning.graph.run import answer
from spikebridge.networks.reasoning.parsing.parser import Parser, read_question
from spikebridge.networks.reasoning.perception.detector import Detector
from spikebridge.networks.reasoning.perception.perceive import perceive
from spikebridge.networks.reasoning.simulation.render import render_frames
from spikebridge.networks.reasoning.simulation.video import INSIDE, Ranges, RollingVideo, generate_video


@dataclass
class Tally:
    """Results by kind of question: for each question a list of options, True if right.

    The executor runs on the same scenes, and its refusals are wrong. `guess` is the chance to be right by guessing.
    """

    graph: dict[str, list[list[bool]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    executor: dict[str, list[list[bool]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    guess: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    misread: int = 0  # questions whose program was not the true one
    refused: int = 0  # videos that were refused
    num_videos: int = 0

    def results(self) -> dict[str, Any]:
        """Shares by kind of question, with the 95 % interval of Wilson."""
        kinds = {kind: self._of(kind) for kind in KINDS if self.graph[kind]}
        return {"num_videos": self.num_videos, "refused": self.refused, "misread": self.misread, **kinds}

    def plain(self) -> dict[str, Any]:
        """Plain values, for JSON; `add` reads them."""
        return asdict(self)

    def add(self, plain: dict[str, Any]) -> None:
        """Adds the plain values of another tally."""
        for name in ("graph", "executor", "guess"):
            for kind, values in plain[name].items():
                getattr(self, name)[kind] += values

        self.misread += plain["misread"]
        self.refused += plain["refused"]
        self.num_videos += plain["num_videos"]

    def _of(self, kind: str) -> dict[str, Any]:
        whole = [all(options) for options in self.graph[kind]]
        return {
            "num_questions": len(whole),
            "per_question": float(np.mean(whole)),
            "interval": wilson(sum(whole), len(whole)),
            "per_option": float(np.mean([right for options in self.graph[kind] for right in options])),
            "executor_per_question": float(np.mean([all(options) for options in self.executor[kind]])),
            "guess_per_question": float(np.mean(self.guess[kind])),
        }


def wilson(right: int, number: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, J. Am. Stat. Assoc. 22:209, 1927)."""
    z = 1.96
    share = right / number
    middle = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * np.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))

    return float(middle - half), float(middle + half)


def executor_answers(scene: Scene, question: Question) -> tuple[str | None, ...]:
    """The executor's answer to each whole program; None where it refuses."""
    executor = Executor(scene)
    return tuple(executor.run(program).value for program in question.programs)


def score_videos(
    split: str,
    numbers: Iterable[int],
    detector: Detector,
    parser: Parser,
    ranges: Ranges = INSIDE,
    exclude_uncertain: bool = True,
    tally: Tally | None = None,
) -> Tally:
    """Generates videos and questions in words, and scores the answers; all answers about a refused video are wrong."""
    tally = tally if tally is not None else Tally()
    for number in numbers:
        video = generate_video(split, number, ranges)
        _score_video(
            video,
            generate_questions(video, executor_answers, exclude_uncertain=exclude_uncertain),
            detector,
            parser,
            tally,
        )

    return tally


def _score_video(
    video: RollingVideo, questions: Sequence[Question], detector: Detector, parser: Parser, tally: Tally
) -> None:
    tally.num_videos += 1
    parsed = [_read(parser, question) for question in questions]
    tally.misread += sum(one is None or one.programs != q.programs for one, q in zip(parsed, questions, strict=True))

    try:
        scene = perceive(detector, render_frames(video), video.name).scene
    except DataError:
        tally.refused += 1
        parsed = [None] * len(parsed)

    for question, one in zip(questions, parsed, strict=True):
        true = question.answers
        by_graph: tuple[str | None, ...] = (None,) * len(true)
        by_executor = by_graph
        if one is not None:
            by_graph = tuple(result.value for result in answer(scene, [one])[0])
            by_executor = executor_answers(scene, one)

        tally.graph[question.kind].append([a == b for a, b in zip(by_graph, true, strict=True)])
        tally.executor[question.kind].append([a == b for a, b in zip(by_executor, true, strict=True)])
        tally.guess[question.kind].append(_chance(question))


def _read(parser: Parser, question: Question) -> Question | None:
    try:
        return read_question(parser, question.video, question.text, [choice.text for choice in question.choices])
    except DataError:
        return None


def _chance(question: Question) -> float:
    """Chance to guess a whole question: each choice with 1/2, a number out of 0 to 4, others among their values."""
    if question.choices:
        return 0.5 ** len(question.choices)
    sizes = {"exist": 2, "count": 5, **{kind: len(values) for kind, values in ATTRIBUTES.items()}}
    return 1 / sizes[question.subtype]
