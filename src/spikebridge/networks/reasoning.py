"""The hybrid reasoning network: questions about scenes, answered by a spiking graph (R. Zhao et al., 2022)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from spikebridge.data.scene_questions import Question
from spikebridge.data.scenes import Scene
from spikebridge.errors import ConfigError

Status = Literal["ok", "empty", "ambiguous", "missing", "conflict"]
"""How an answer came about: every `unique` found one; none; several; no second event; two values fired."""

ReadsCollisions = Callable[[Sequence[Scene]], Sequence[Scene]]
"""What reads collisions from trajectories: the same scenes with collisions of its own (`Scene.with_collisions`)."""


@dataclass(frozen=True)
class Answer:
    """What the graph says.

    Args:
        value: a number, `yes`, `no`, a value, `correct` or `wrong`; None where it abstains or nothing fired.
        status: how it came about.
        confidence: product of the perception scores that the answer rests on, 0 to 1.
        margin: smallest distance of a membrane from its threshold on the way, as a share of the preset's.
    """

    value: str | None
    status: Status
    confidence: float
    margin: float


def answer(
    scenes: Scene | Sequence[Scene],
    questions: Sequence[Question],
    preset: str = "compartment",
    collisions: ReadsCollisions | None = None,
    causal: bool = False,
    abstain: bool = False,
) -> list[tuple[Answer, ...]]:
    """Answers questions about scenes, all in one pass (two where an object is removed).

    Args:
        scenes: the scenes that the questions name by `video`; a single scene serves all questions.
        questions: of any kind.
        preset: `paper`, `scaled` or `compartment`.
        collisions: reads collisions anew from the trajectories; None takes those of the scenes.
        causal: what-if events from the observed ones where the removed object has no part in them.
        abstain: no value unless the status is `ok`.

    Returns:
        For each question one answer a whole program (`Question.programs`): one for a descriptive question, else one a
        choice.
    """
    raise ConfigError("the spiking graph is not built yet")
