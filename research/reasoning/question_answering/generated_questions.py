"""Questions of all four kinds about a generated video, in words, with programs, choices and true answers.

An oracle answers them from the true scene (the symbolic executor); questions that it refuses are dropped.

Choices with an uncertain outcome are dropped, too. The future and the counterfactuals are simulated again from states
with small noise, taken at the last frame that equals the observation. A pair of objects whose collision does not occur
in all of these simulations is uncertain.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.random import Generator

from research.reasoning.training.templates import (
    border_event_phrase,
    cause_question,
    collision_phrase,
    counterfactual_question,
    prediction_question,
    presence_phrase,
)
from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Choice, Question, Scene
from spikebridge.networks.reasoning.simulation.questions import descriptive_question, unique_reference
from spikebridge.networks.reasoning.simulation.table import Contact
from spikebridge.networks.reasoning.simulation.templates import Phrase, Reference, choose
from spikebridge.networks.reasoning.simulation.video import NUM_FRAMES, ObjectStart, RollingVideo, is_gone, simulate

Pair = tuple[int, int]
_POSITION_NOISE = 0.25  # standard deviation [px]
_VELOCITY_NOISE = 0.015  # standard deviation [px/frame]
_NUM_PERTURBATIONS = 10
_HORIZON = 5  # collisions this close to the end of the simulation are uncertain, too [frames]


def uncertain_pairs(video: RollingVideo, removed: int | None = None) -> frozenset[Pair]:
    """Pairs whose collision is uncertain: after the video, or after the first contact of a removed object."""
    first = _last_observed(video, removed)
    world = video if removed is None else video.without(removed)
    after = max(first, NUM_OBSERVED_FRAMES - 1) if removed is None else first
    usual = _colliding_pairs(world.contacts, after)
    horizons = (NUM_FRAMES - _HORIZON, NUM_FRAMES + _HORIZON)
    generator = np.random.default_rng([video.seed, 17, 0 if removed is None else removed + 1])
    uncertain: set[Pair] = set()

    for _ in range(_NUM_PERTURBATIONS):
        starts = [_perturbed(start, i, first, world.positions, generator) for i, start in enumerate(video.starts)]
        contacts = simulate(starts, video.friction, removed, first, horizons[1])[1]
        for horizon in horizons:
            uncertain |= usual ^ _colliding_pairs([contact for contact in contacts if contact.frame < horizon], after)

    return frozenset(uncertain)


def _last_observed(video: RollingVideo, removed: int | None) -> int:
    last = NUM_OBSERVED_FRAMES - 1
    if removed is None:
        return last
    own = [contact.frame - 1 for contact in video.contacts if removed in contact[1:3]]
    return min([last, *own])


def _colliding_pairs(contacts: Sequence[Contact], after: int) -> set[Pair]:
    return {(contact.first, contact.second) for contact in contacts if contact.frame > after}


def _perturbed(
    start: ObjectStart, number: int, frame: int, positions: np.ndarray, generator: np.random.Generator
) -> ObjectStart:
    """The state of an object at a frame with noise; before its entry, its initial state with noise."""
    place = np.array(start.position)
    velocity = np.array(start.velocity)
    when = start.frame

    if frame > start.frame:
        place = positions[frame, number]
        when = frame
        velocity = place - positions[frame - 1, number]
        if np.isnan(place).any() or np.isnan(velocity).any() or is_gone(place):
            return ObjectStart(NUM_FRAMES + _HORIZON, start.position, start.velocity)

    place = place + _POSITION_NOISE * generator.standard_normal(2)
    if velocity.any():
        velocity = velocity + _VELOCITY_NOISE * generator.standard_normal(2)

    return ObjectStart(when, tuple(place.tolist()), tuple(velocity.tolist()))


# The answer of each whole program of a question about a scene, None where there is none.
_Oracle: TypeAlias = Callable[[Scene, Question], tuple[str | None, ...]]

_MAX_CHOICES = 4
_NUM_TRIES = 40


def generate_questions(
    video: RollingVideo, oracle: _Oracle, seed: int = 0, num_each: int = 2, exclude_uncertain: bool = True
) -> list[Question]:
    """Questions about a video with known answers, a number of each kind.

    There are fewer where the video has none: without future collisions there is no predictive question.
    """
    generator = np.random.default_rng([video.seed, seed, 5])
    return _QuestionGenerator(video, oracle, generator, exclude_uncertain).generate(num_each)


@dataclass(eq=False)
class _QuestionGenerator:
    video: RollingVideo
    oracle: _Oracle
    generator: Generator
    exclude_uncertain: bool

    @cached_property
    def _uncertain_pairs(self) -> dict[int | None, frozenset[Pair]]:
        return {}

    @cached_property
    def scene(self) -> Scene:
        return self.video.scene()

    def generate(self, num_each: int) -> list[Question]:
        makers = (self._descriptive, self._explanatory, self._predictive, self._counterfactual)
        questions: list[Question] = []

        for make in makers:
            distinct: dict[tuple[str, ...], Question] = {}
            for _ in range(_NUM_TRIES):
                if len(distinct) == num_each:
                    break
                question = make()
                if question is not None and None not in question.answers:
                    distinct.setdefault((question.text, *(choice.text for choice in question.choices)), question)

            questions += distinct.values()

        return questions

    def _answered(self, question: Question) -> Question | None:
        """The question with its answers; choices that the oracle refuses are left out."""
        answers = self.oracle(self.scene, question)
        if question.kind == "descriptive":
            return replace(question, answer=answers[0])

        choices = [replace(c, answer=a) for c, a in zip(question.choices, answers, strict=True) if a is not None]
        if len(choices) < 2 or len({choice.answer for choice in choices}) < 2:
            return None

        return replace(question, choices=tuple(choices[:_MAX_CHOICES]))

    def _refer(self, number: int) -> Reference:
        return unique_reference(self.scene, number, self.generator)

    def _descriptive(self) -> Question | None:
        return self._answered(descriptive_question(self.scene, self.generator))

    def _explanatory(self) -> Question | None:
        effect = self._event(("collision", "collision", "filter_out"))
        if effect is None:
            return None

        negated = bool(self.generator.random() < 0.5)
        effect_key, effect_phrase = effect
        phrase = cause_question(effect_phrase, negated, self.generator)
        events = [self._event(("collision", "filter_in")) for _ in range(8)]
        others = {key: cause for key, cause in (one for one in events if one is not None) if key != effect_key}
        causes = [*others.values(), *(presence_phrase(self._refer(o)) for o in range(len(self.scene.objects)))]

        return self._chosen("explanatory", phrase, causes)

    def _event(self, kinds: Sequence[str]) -> tuple[tuple, Phrase] | None:
        """An observed event and its phrase."""
        kind = choose(self.generator, kinds)
        if kind == "collision":
            pairs = sorted({(min(a, b), max(a, b)) for _, a, b in self.scene.collisions.tolist()})
            if not pairs:
                return None
            a, b = pairs[int(self.generator.integers(len(pairs)))]
            return (kind, a, b), collision_phrase(self._refer(a), self._refer(b), self.generator)

        visible = self.scene.visible
        inside = visible[0] if kind == "filter_in" else visible[-1]
        candidates = [o for o in range(visible.shape[1]) if not inside[o] and visible[:, o].any()]
        if not candidates:
            return None

        number = int(self.generator.choice(candidates))
        return (kind, number), border_event_phrase(kind, self._refer(number), self.generator)

    def _predictive(self) -> Question | None:
        uncertain = self._uncertain(None)
        right = _pairs(self.scene.predicted.tolist())
        pairs = set(combinations(range(len(self.scene.objects)), 2))

        return self._about_pairs(
            "predictive", prediction_question(self.generator), right - uncertain, pairs - right - uncertain, 2
        )

    def _counterfactual(self) -> Question | None:
        removed = int(self.generator.integers(len(self.scene.objects)))
        uncertain = self._uncertain(removed)
        others = [o for o in range(len(self.scene.objects)) if o != removed]
        right = _pairs(self.scene.what_if[removed].tolist())
        observed = _pairs([*self.scene.collisions.tolist(), *self.scene.predicted.tolist()])
        pairs = set(combinations(others, 2))
        # a collision that the removed object prevents is a better wrong choice than one that never happens
        likely = {pair for pair in observed if removed not in pair} - right
        wrong = likely if likely else pairs - right
        negated = bool(self.generator.random() < 0.5)
        phrase = counterfactual_question(self._refer(removed), negated, self.generator)
        wrong = (wrong | self._one_of(pairs - right)) - uncertain

        return self._about_pairs("counterfactual", phrase, right - uncertain, wrong, _MAX_CHOICES)

    def _uncertain(self, removed: int | None) -> frozenset[Pair]:
        if not self.exclude_uncertain:
            return frozenset()
        if removed not in self._uncertain_pairs:
            self._uncertain_pairs[removed] = uncertain_pairs(self.video, removed)

        return self._uncertain_pairs[removed]

    def _one_of(self, pairs: set[Pair]) -> set[Pair]:
        ordered = sorted(pairs)
        return {ordered[int(self.generator.integers(len(ordered)))]} if ordered else set()

    def _about_pairs(
        self, kind: str, phrase: Phrase, right: set[Pair], wrong: set[Pair], num_choices: int
    ) -> Question | None:
        if not right or not wrong:
            return None

        chosen = [self._some(right, num_choices // 2), self._some(wrong, num_choices // 2)]
        pairs = sorted(chosen[0] + chosen[1])
        events = []

        for a, b in pairs:
            a, b = (a, b) if self.generator.random() < 0.5 else (b, a)
            events.append(collision_phrase(self._refer(a), self._refer(b), self.generator, possible=True))

        return self._chosen(kind, phrase, events)

    def _some(self, pairs: set[Pair], number: int) -> list[Pair]:
        ordered = sorted(pairs)
        return [ordered[i] for i in self.generator.permutation(len(ordered))[:number]]

    def _chosen(self, kind: str, phrase: Phrase, options: Sequence[Phrase]) -> Question | None:
        order = self.generator.permutation(len(options))
        choices = tuple(Choice(options[i].program, options[i].text) for i in order)
        return self._answered(Question(self.video.name, kind, phrase.program, choices, phrase.text))


def _pairs(rows: Sequence[Sequence[int]]) -> set[Pair]:
    return {(min(a, b), max(a, b)) for _, a, b in rows}
