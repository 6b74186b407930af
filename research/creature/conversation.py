"""Questions while the stream runs: a program runs again and again, and its answer is read at the end of each run.

A run takes 10 to 30 steps of the graph at 2400 Hz. An event during a run is in the answer of the next one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import Generator
from torch import Tensor

from research.creature.memory import ConceptGraph
from research.creature.model import Creature
from research.creature.scene import CreatureScene
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.executor import Executor
from spikebridge.networks.reasoning.graph.compiler import Instructions, compile_program
from spikebridge.networks.reasoning.graph.layout import MAX_COUNTED
from spikebridge.networks.reasoning.simulation.questions import descriptive_question

UNKNOWN = {
    "filter_moving": "motion",
    "filter_stationary": "motion",
    "filter_in": "entrances",
    "filter_start": "the beginning",
    "filter_end": "the end",
    "null": "motion at any time",
    "filter_ancestor": "causes",
    "unseen_events": "the future",
    "filter_counterfact": "what did not happen",
    "belong_to": "causes",
}
"""Tokens without connections in the memory of the creature, and the subject of the question."""


class ProgramRun(NamedTuple):
    """A run of the program: the tick at which its answer is read, and the number of its question."""

    tick: int
    question: int


@dataclass(eq=False)
class Conversation:
    """The program input of a creature: the newest question, again and again."""

    creature: Creature

    def __post_init__(self) -> None:
        self.asked: list[Instructions] = []
        self._steps: Iterator[tuple[float, float, bool]] | None = None
        self._tick = 0

    def ask(self, tokens: Sequence[str]) -> int:
        """Asks a question, as postfix tokens, from now on; returns its number."""
        unknown = [UNKNOWN[token] for token in tokens if token in UNKNOWN]
        if unknown:
            raise DataError(
                f"the creature remembers objects, collisions and exits, but the question is about {unknown[0]}; ask "
                "for a number, an attribute, or the first or last object to collide or to leave"
            )

        self.asked.append(compile_program(tokens, self.creature.operators))
        self._steps = self._runs(self.asked[-1])

        return len(self.asked) - 1

    def advance(self, num_ticks: int) -> tuple[Float[Tensor, "T 1 2"], list[ProgramRun]]:
        """The program input of the next ticks, and the runs that end in them."""
        program = torch.zeros(num_ticks, 1, 2)
        runs = []

        if self._steps is not None:
            for t in range(num_ticks):
                number, begins, ends = next(self._steps)
                program[t, 0] = torch.tensor([number, begins])
                if ends:
                    runs.append(ProgramRun(self._tick + t, len(self.asked) - 1))

        self._tick += num_ticks
        return program, runs

    def answer(self, run: ProgramRun, spikes: Float[Tensor, " N"]) -> str | None:
        """The answer of a run from the spikes of the graph at its last tick."""
        return _read_answer(self.creature.graph, self.asked[run.question], spikes)

    def _runs(self, program: Instructions) -> Iterator[tuple[float, float, bool]]:
        """Steps of endless runs: number of the instruction, True at the first step, True at the last."""
        table = self.creature.operators
        numbers = {name: number for number, name in enumerate(table.trains, start=1)}
        steps = [0] * program.num_steps(table)
        start = 0

        for name in program.names:
            steps[start] = numbers[name]
            start += len(table.trains[name])

        while True:
            for t, number in enumerate(steps):
                yield float(number), float(t == 0), t == len(steps) - 1


def _read_answer(graph: ConceptGraph, program: Instructions, spikes: Float[Tensor, " N"]) -> str | None:
    """The answer from the spikes of all neurons at the last step of a program; None if no value, or two, fire."""
    layout = graph.layout
    fired = spikes > 0.5
    if program.reads in layout.attributes:
        named = [value for value in layout.attributes[program.reads] if fired[layout.shared_index[value]]]
        return named[0] if len(named) == 1 else None

    first = layout.shared_index[f"{program.group}_count[1]"]
    level = int(fired[first : first + MAX_COUNTED].sum())

    return str(level) if program.reads == "count" else "yes" if level else "no"


@dataclass(frozen=True)
class AskedQuestion:
    """A question of a test, with the bins between which it is asked, and its true answers."""

    question: Question
    first: int
    last: int  # bin at which the next question is asked
    truths: tuple[tuple[int, str], ...]  # bins from which another answer is true, and the answers


def questions_of(scene: CreatureScene, seed: int = 0, length: int = 144, pause: int = 144) -> list[AskedQuestion]:
    """Questions about a scene, one every `length` bins after a pause, each with an answer at any time.

    If something happens, a question whose answer changes is preferred.
    """
    generator = np.random.default_rng([scene.seed, seed, 3])
    events = sorted([t.bin for t in scene.touches] + [left for left, _ in scene.exits])
    questions = []

    for first in range(pause, scene.num_bins - length + 1, length):
        last = first + length
        times = [first, *(when for when in events if first < when <= last - length // 6)]
        # an event too late to be answered has no question
        if any(last - length // 6 < when < last for when in events):
            continue

        questions.append(_draw_question(scene, generator, first, last, times))

    return [one for one in questions if one is not None]


def _draw_question(
    scene: CreatureScene, generator: Generator, first: int, last: int, times: Sequence[int]
) -> AskedQuestion | None:
    worlds = {when: scene.scene_until(when) for when in times}
    best = None

    # few draws have an answer that changes
    for _ in range(40):
        question = _random_question(worlds[first], generator)
        if any(token in UNKNOWN for token in question.program):
            continue

        answers = [Executor(worlds[when]).run(question.program).value for when in times]
        if None in answers:
            continue

        pairs = [
            (when, str(one))
            for k, (when, one) in enumerate(zip(times, answers, strict=True))
            if not k or one != answers[k - 1]
        ]

        best = AskedQuestion(question, first, last, tuple(pairs))
        if len(times) == 1 or len(pairs) > 1:
            return best

    return best


def _random_question(scene: Scene, generator: Generator) -> Question:
    """A question of the reasoning network's templates, or about the collisions of a named object."""
    if generator.random() < 0.6:
        return descriptive_question(scene, generator)

    color = scene.objects[int(generator.integers(len(scene.objects)))][0]
    is_count = bool(generator.random() < 0.6)
    text = f"How many collisions does the {color} object have?" if is_count else f"Does the {color} object collide?"

    program = (
        "events",
        "objects",
        color,
        "filter_color",
        "unique",
        "filter_collision",
        "count" if is_count else "exist",
    )

    question = Question(scene.video, "descriptive", program, text=text)
    return replace(question, subtype=program[-1])
