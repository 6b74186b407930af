"""Questions while the stream runs: a program starts again and again, and its answer is read at the end of each run.

A run takes as many steps of the graph as its program, 10 to 30, at 2400 Hz: an event that comes during a run is in the
answer of the next one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import Generator
from torch import Tensor

from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.executor import Executor
from spikebridge.networks.reasoning.graph.compiler import Instructions, compile_program
from spikebridge.networks.reasoning.graph.layout import MAX_COUNTED
from spikebridge.networks.reasoning.simulation.questions import descriptive_question
from spikebridge.systems.creature.memory import ConceptGraph
from spikebridge.systems.creature.model import Creature
from spikebridge.systems.creature.scene import CreatureScene

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
"""Tokens that the creature's memory has no connections for, and what they ask for."""


class ProgramRun(NamedTuple):
    """A run: the tick at which its answer is read, and which question it is of."""

    tick: int
    question: int


@dataclass(eq=False)
class Conversation:
    """The program input of a creature: the newest question, run after run.

    Args:
        creature: that is asked.

    Example:
        >>> from spikebridge.systems.creature.model import CreatureOptions
        >>> talk = Conversation(Creature(CreatureOptions(num_objects=4, num_readout=8)))
        >>> talk.ask(("objects", "red", "filter_color", "count"))
        0
        >>> program, runs = talk.advance(20)
        >>> program.shape, runs  # objects, the filter, count: six steps, and a silent one
        (torch.Size([20, 1, 2]), [ProgramRun(tick=6, question=0), ProgramRun(tick=13, question=0)])
    """

    creature: Creature

    def __post_init__(self) -> None:
        self.asked: list[Instructions] = []
        self._steps: Iterator[tuple[float, float, bool]] | None = None
        self._tick = 0

    def ask(self, tokens: Sequence[str]) -> int:
        """Asks a question from now on, instead of the one before; gives its number.

        Args:
            tokens: its program.

        Raises:
            ConfigError: the program is not well typed.
            DataError: it asks for what the creature does not remember.
        """
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
                program[t, 0, 0], program[t, 0, 1] = number, begins
                if ends:
                    runs.append(ProgramRun(self._tick + t, len(self.asked) - 1))

        self._tick += num_ticks
        return program, runs

    def answer(self, run: ProgramRun, spikes: Float[Tensor, " N"]) -> str | None:
        """The answer of a run from the spikes of the graph at its last tick."""
        return _read_answer(self.creature.graph, self.asked[run.question], spikes)

    def _runs(self, program: Instructions) -> Iterator[tuple[float, float, bool]]:
        """Step after step of endless runs: number of the instruction, whether the run begins, whether it ends."""
        table = self.creature.operators
        numbers = {name: number for number, name in enumerate(table.trains, start=1)}
        steps = [0] * program.num_steps(table)
        at = 0

        for name in program.names:
            steps[at] = numbers[name]
            at += len(table.trains[name])

        while True:
            for t, number in enumerate(steps):
                yield float(number), float(t == 0), t == len(steps) - 1


def _read_answer(graph: ConceptGraph, program: Instructions, spikes: Float[Tensor, " N"]) -> str | None:
    """The answer of a program from the spikes of all neurons at its last step; None where no value, or two, fire.

    Args:
        graph: that ran.
        program: that it ran.
        spikes: 0 and 1.
    """
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
    """A question of a test: from when to when it stands, and its true answers.

    Args:
        question: in words, with its program.
        first: bin at which it is asked.
        last: bin at which the next one is asked.
        truths: bins from which another answer is true, and the answers.
    """

    question: Question
    first: int
    last: int
    truths: tuple[tuple[int, str], ...]


def questions_of(scene: CreatureScene, seed: int = 0, length: int = 144, pause: int = 144) -> list[AskedQuestion]:
    """Questions about a scene, one after the other, each with an answer at any time.

    Where something happens, a question whose answer it changes is preferred.

    Args:
        scene: with its truth.
        seed: of the questions.
        length: bins for which each stands.
        pause: bins before the first one, so that objects are known.
    """
    generator = np.random.default_rng([scene.seed, seed, 3])
    happened = sorted([t.bin for t in scene.touches] + [left for left, _ in scene.exits])
    found = []

    for first in range(pause, scene.num_bins - length + 1, length):
        last = first + length
        times = [first, *(when for when in happened if first < when <= last - length // 6)]
        # what happens too late to be answered moves to the next question
        if any(last - length // 6 < when < last for when in happened):
            continue

        found.append(_drawn(scene, generator, first, last, times))

    return [one for one in found if one is not None]


def _drawn(
    scene: CreatureScene, generator: Generator, first: int, last: int, times: Sequence[int]
) -> AskedQuestion | None:
    worlds = {when: scene.scene_until(when) for when in times}
    best = None

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
    """One of the reasoning network's templates, or the number of collisions of a named object."""
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
