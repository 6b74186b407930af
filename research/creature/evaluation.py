"""Scores of a creature on scenes: right answers, and the time from an event to its answer.

A question is right if its answer is the true one 50 ms after it was asked, and 50 ms after each event that changes the
true answer. Times are of the stream: an event counts from the start of its bin, an answer from the end of the bin whose
events it needed. The true answer is that of the symbolic executor on the true scene up to that bin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from research.creature.conversation import AskedQuestion, Conversation, ProgramRun, questions_of
from research.creature.memory import EVENT_SIZE, NUM_EVENTS, NUM_VALUES
from research.creature.model import DT, TICKS_A_BIN, Creature
from research.creature.perception import NUM_SLOTS
from research.creature.scene import BIN_RATE, BINS_A_FRAME, CreatureScene
from spikebridge.networks.reasoning.data.scene import COLORS, MATERIALS, SHAPES
from spikebridge.ops.modes import evaluating

_DEADLINE = 0.05
"""Time for an answer, from the event that decides it [s]."""
_CHUNK = 72  # bins that run at once; questions begin at multiples of it


class RunAnswer(NamedTuple):
    """The answer of a run, its tick, and the number of its question."""

    tick: int
    question: int
    value: str | None


@dataclass(eq=False)
class Watched:
    """Questions, answers and outputs of a creature on one scene."""

    scene: CreatureScene
    questions: list[AskedQuestion]
    answers: list[RunAnswer] = field(default_factory=list)
    tracks: Tensor = field(default_factory=lambda: torch.zeros(0))  # (T, 8, 4)
    follow: Tensor = field(default_factory=lambda: torch.zeros(0))  # (T, 10)
    events: Tensor = field(default_factory=lambda: torch.zeros(0))  # events of the memory, (T, 12, 10)


def watch(
    creature: Creature, scenes: Sequence[CreatureScene], questions: Sequence[Sequence[AskedQuestion]] | None = None
) -> list[Watched]:
    """Runs scenes of one length side by side, and asks each its questions."""
    asked = [list(some) for some in (questions or [questions_of(scene) for scene in scenes])]
    seen = [Watched(scene, some) for scene, some in zip(scenes, asked, strict=True)]
    frames = torch.stack([scene.frames() for scene in scenes], 1)
    events = torch.stack([scene.events() for scene in scenes], 1)
    talks = [Conversation(creature) for _ in scenes]
    pieces: dict[str, list[Tensor]] = {"tracks": [], "follow": [], "memory": []}
    state = None

    with evaluating(creature), torch.no_grad():
        for first in range(0, len(events), _CHUNK):
            bins = events[first : first + _CHUNK]
            for talk, some in zip(talks, asked, strict=True):
                for one in some:
                    if one.first == first:
                        talk.ask(one.question.program)

            said = [talk.advance(len(bins) * TICKS_A_BIN) for talk in talks]
            now = -(-first // BINS_A_FRAME), -(-(first + len(bins)) // BINS_A_FRAME)
            inputs = {"frames": frames[slice(*now)], "events": bins, "program": torch.cat([x for x, _ in said], 1)}
            known = {name: x for name, x in inputs.items() if name in creature.inputs}
            outputs, state = creature(known, state, ticks=len(bins) * TICKS_A_BIN)

            for name, piece in pieces.items():
                piece.append(outputs[name])

            for b, (talk, (_, runs)) in enumerate(zip(talks, said, strict=True)):
                for run in runs:
                    spikes = outputs["graph"][run.tick - first * TICKS_A_BIN, b]
                    seen[b].answers.append(RunAnswer(run.tick, run.question, talk.answer(run, spikes)))

    whole = {name: torch.cat(piece) for name, piece in pieces.items()}
    for b, watched in enumerate(seen):
        watched.tracks = whole["tracks"][:, b]
        watched.follow = whole["follow"][:, b]
        watched.events = whole["memory"][:, b, : NUM_EVENTS * EVENT_SIZE].unflatten(1, (NUM_EVENTS, EVENT_SIZE))

    return seen


def time_of(run: RunAnswer | ProgramRun) -> float:
    """The time of an answer: a bin later than its tick, since the events of a bin end with it [s]."""
    return run.tick * DT + 1 / BIN_RATE


class Scored(NamedTuple):
    """A question of a watched scene."""

    right: bool  # at every deadline
    ends_right: bool  # the last answer
    latencies: tuple[float | None, ...]  # from a change to the lasting right answer [s]
    followed: float | None  # share of the bins in which the named object is followed


def score_question(seen: Watched, number: int) -> Scored:
    """The score of a question."""
    asked = seen.questions[number]
    answers = [(time_of(run), run.value) for run in seen.answers if run.question == number]
    changes = [
        (when / BIN_RATE if k == 0 else (when - 1) / BIN_RATE, value) for k, (when, value) in enumerate(asked.truths)
    ]
    ends = [time for time, _ in changes[1:]] + [asked.last / BIN_RATE]
    right = True
    latencies = list[float | None]()

    for k, ((start, truth), end) in enumerate(zip(changes, ends, strict=True)):
        within = [(time, value) for time, value in answers if start < time <= min(start + _DEADLINE, end)]
        # where the next event comes before the deadline, its own answer is waited for
        if start + _DEADLINE <= end:
            right &= bool(within) and within[-1][1] == truth

        if k:
            latencies.append(_lasting(answers, start, end, truth))

    return Scored(right, bool(answers) and answers[-1][1] == changes[-1][1], tuple(latencies), _followed(seen, asked))


def _lasting(answers: list[tuple[float, str | None]], start: float, end: float, truth: str) -> float | None:
    """The time from an event to the first of the right answers that stay right."""
    latency = None
    for time, value in answers:
        if not start < time <= end + 1e-9:
            continue
        if value != truth:
            latency = None
        elif latency is None:
            latency = time - start

    return latency


def _followed(seen: Watched, asked: AskedQuestion) -> float | None:
    """The share of bins in which the object that the question names is followed, without the first 50 ms."""
    named = [token for token in asked.question.program if token in COLORS]
    if len(set(named)) != 1 or "unique" not in asked.question.program:
        return None
    if not len(seen.follow):
        return None

    late = seen.follow[asked.first + round(_DEADLINE * BIN_RATE) : asked.last, COLORS.index(named[0])]
    return float(late.mean())


def _collision_scores(seen: Sequence[Watched]) -> dict[str, Any]:
    """Found contacts, false ones, and the delay of the spike."""
    found = 0
    missed = 0
    false = 0
    delays = list[float]()

    for one in seen:
        number = one.events[..., :2].sum((1, 2))
        rows = one.events[-1]
        first = [int((number > j + 0.5).nonzero()[0, 0]) for j in range(int(number[-1]))]

        said = [
            (when, tuple(rows[j, 2:].nonzero().flatten().tolist()))
            for j, when in enumerate(first)
            if j < NUM_EVENTS and rows[j, 0] > 0.5
        ]
        for touch in one.scene.touches:
            pair = tuple(sorted(COLORS.index(one.scene.objects[o][0]) for o in (touch.first, touch.second)))
            match = next((k for k, (when, who) in enumerate(said) if who == pair and -5 <= when - touch.bin < 72), None)
            if match is None:
                missed += 1
            else:
                found += 1
                delays.append((said.pop(match)[0] + 1 - (touch.bin - 1)) / BIN_RATE)

        false += len(said)

    return {
        "found": found,
        "missed": missed,
        "false": false,
        "median_delay_ms": round(1e3 * float(np.median(delays)), 1) if delays else None,
    }


def _track_error(seen: Sequence[Watched]) -> float:
    """The mean distance of the tracks from the centres of objects in view, from the third frame on [px]."""
    errors = []
    for one in seen:
        left = {o: when for when, o in one.scene.exits}
        for o, (color, _, _) in enumerate(one.scene.objects):
            bins = slice(2 * BINS_A_FRAME, min(left.get(o, one.scene.num_bins), one.scene.num_bins) - 1)
            places = one.tracks[bins, COLORS.index(color)]
            true = torch.from_numpy(one.scene.positions[1:, o][bins]).float()
            errors.append((places[:, :2] - true).norm(dim=1))

    return float(torch.cat(errors).mean()) if errors else float("nan")


def evaluate_creature(seen: Sequence[Watched]) -> dict[str, Any]:
    """All scores of watched scenes."""
    scores = [score_question(one, number) for one in seen for number in range(len(one.questions))]
    latencies = [late for score in scores for late in score.latencies]
    known = np.array([1e3 * late for late in latencies if late is not None])
    followed = [score.followed for score in scores if score.followed is not None]

    return {
        "questions": len(scores),
        "right": sum(score.right for score in scores),
        "right_at_the_end": sum(score.ends_right for score in scores),
        "changes": len(latencies),
        "in_time": int((known <= 1e3 * _DEADLINE + 1e-6).sum()),
        "never": len(latencies) - len(known),
        "latency_ms": known.round(1).tolist(),
        "followed": round(float(np.mean(followed)), 3) if followed else None,
        "collisions": _collision_scores(seen),
        "track_error_px": round(_track_error(seen), 3),
        "slots": NUM_SLOTS,
    }


def true_memory(scene: CreatureScene, when: int) -> Float[Tensor, " M"]:
    """The memory of a creature without any error, up to a bin."""
    events = torch.zeros(NUM_EVENTS, EVENT_SIZE)
    objects = torch.zeros(NUM_SLOTS, 1 + NUM_VALUES)
    slots = [COLORS.index(color) for color, _, _ in scene.objects]
    happened = [(touch.bin, 0, touch[1:3]) for touch in scene.touches] + [(t, 1, (o,)) for t, o in scene.exits]

    for j, (_, kind, who) in enumerate(sorted(one for one in happened if one[0] <= when)):
        events[j, kind] = 1
        events[j, [2 + slots[o] for o in who]] = 1

    for slot, (_, material, shape) in zip(slots, scene.objects, strict=True):
        kinds = (slot, len(COLORS) + MATERIALS.index(material), len(COLORS) + len(MATERIALS) + SHAPES.index(shape))
        objects[slot, [0, *(1 + value for value in kinds)]] = 1

    return torch.cat([events.flatten(), objects.flatten()])
