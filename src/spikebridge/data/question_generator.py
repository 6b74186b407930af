"""Questions of all four kinds about a generated video, in words, with programs, choices and true answers.

Answers come from a judge that sees the true scene (the plain executor). What it refuses to answer is not asked, and
choices that hang by a thread (`rolling_doubts`) are not offered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.random import Generator

from spikebridge.data.descriptive_texts import descriptive
from spikebridge.data.question_texts import (
    Phrase,
    Reference,
    cause_of,
    happening,
    meeting,
    pick,
    presence,
    what_next,
    what_without,
)
from spikebridge.data.rolling_doubts import Pair, doubtful_pairs
from spikebridge.data.rolling_objects import RollingVideo
from spikebridge.data.scene_questions import Choice, Question
from spikebridge.data.scenes import Scene

Judge: TypeAlias = Callable[[Scene, Question], tuple[str | None, ...]]
"""The answer of each whole program of a question about a scene, None where there is none."""

MOST_CHOICES = 4
_TRIES = 40


def ask_about(
    video: RollingVideo, judge: Judge, seed: int = 0, num_each: int = 2, doubts: bool = True
) -> list[Question]:
    """Questions about a video.

    Args:
        video: what they are about.
        judge: answers them.
        seed: of the draws.
        num_each: of each kind, as far as there is something to ask: a video after which nothing happens has no
            predictive question.
        doubts: leave out choices that hang by a thread.

    Returns:
        Questions with all answers known.
    """
    return _Asker(video, judge, np.random.default_rng([video.seed, seed, 5]), doubts).ask(num_each)


def refer_to(scene: Scene, number: int, generator: Generator) -> Reference:
    """A reference that only one object of a scene answers to.

    Args:
        scene: with objects.
        number: of the object.
        generator: draws which values are named.
    """
    objects = scene.objects
    for size in (1, 1, 2, 2, 3):
        named = set(generator.permutation(3)[:size].tolist())
        values = [value if k in named else None for k, value in enumerate(objects[number])]
        fits = [o for o in objects if all(v is None or v == w for v, w in zip(values, o, strict=True))]
        if len(fits) == 1:
            return Reference(*values)
    return Reference(*objects[number])


def descriptive_question(scene: Scene, generator: Generator) -> Question:
    """A question about what was seen, not yet answered; its references are to objects of the scene.

    Args:
        scene: with objects.
        generator: draws it.

    Example:
        >>> scene = Scene.from_lists(1, [["red", "metal", "cube"]], [], [])
        >>> descriptive_question(scene, np.random.default_rng(0)).kind
        'descriptive'
    """

    def refer_set() -> Reference:
        named = generator.random(3) < (0.35, 0.3, 0.35)
        values = scene.objects[int(generator.integers(len(scene.objects)))]
        return Reference(*(value if is_named else None for value, is_named in zip(values, named, strict=True)))

    def refer_one() -> Reference:
        return refer_to(scene, int(generator.integers(len(scene.objects))), generator)

    subtype, phrase = descriptive(generator, refer_set, refer_one)
    return Question(scene.video, "descriptive", phrase.program, text=phrase.text, subtype=subtype)


@dataclass(eq=False)
class _Asker:
    video: RollingVideo
    judge: Judge
    generator: Generator
    doubts: bool

    @cached_property
    def _doubts(self) -> dict[int | None, frozenset[Pair]]:
        return {}

    @cached_property
    def scene(self) -> Scene:
        return self.video.scene()

    def ask(self, num_each: int) -> list[Question]:
        makers = (self._descriptive, self._explanatory, self._predictive, self._counterfactual)
        questions: list[Question] = []
        for make in makers:
            found: dict[tuple[str, ...], Question] = {}
            for _ in range(_TRIES):
                if len(found) == num_each:
                    break
                question = make()
                if question is not None and None not in question.answers:
                    found.setdefault((question.text, *(choice.text for choice in question.choices)), question)
            questions += found.values()
        return questions

    def _judged(self, question: Question) -> Question | None:
        """The question with its answers; choices that the judge refuses are left out."""
        answers = self.judge(self.scene, question)
        if question.kind == "descriptive":
            return replace(question, answer=answers[0])
        choices = [replace(c, answer=a) for c, a in zip(question.choices, answers, strict=True) if a is not None]
        if len(choices) < 2 or len({choice.answer for choice in choices}) < 2:
            return None
        return replace(question, choices=tuple(choices[:MOST_CHOICES]))

    def _refer(self, number: int) -> Reference:
        return refer_to(self.scene, number, self.generator)

    def _descriptive(self) -> Question | None:
        return self._judged(descriptive_question(self.scene, self.generator))

    def _explanatory(self) -> Question | None:
        effect = self._event(("meeting", "meeting", "filter_out"))
        if effect is None:
            return None
        negated = bool(self.generator.random() < 0.5)
        what, happened = effect
        phrase = cause_of(happened, negated, self.generator)
        events = [self._event(("meeting", "filter_in")) for _ in range(8)]
        offered = {key: cause for key, cause in (one for one in events if one is not None) if key != what}
        causes = [*offered.values(), *(presence(self._refer(o)) for o in range(len(self.scene.objects)))]
        return self._chosen("explanatory", phrase, causes)

    def _event(self, kinds: Sequence[str]) -> tuple[tuple, Phrase] | None:
        """Something that was seen, and what to call it."""
        kind = pick(self.generator, kinds)
        if kind == "meeting":
            pairs = sorted({(min(a, b), max(a, b)) for _, a, b in self.scene.collisions.tolist()})
            if not pairs:
                return None
            a, b = pairs[int(self.generator.integers(len(pairs)))]
            return (kind, a, b), meeting(self._refer(a), self._refer(b), self.generator)
        seen = self.scene.visible
        inside = seen[0] if kind == "filter_in" else seen[-1]
        moved = [o for o in range(seen.shape[1]) if not inside[o] and seen[:, o].any()]
        if not moved:
            return None
        who = int(self.generator.choice(moved))
        return (kind, who), happening(kind, self._refer(who), self.generator)

    def _predictive(self) -> Question | None:
        doubtful = self._doubtful(None)
        right = _pairs(self.scene.predicted.tolist())
        pairs = set(combinations(range(len(self.scene.objects)), 2))
        return self._about_pairs("predictive", what_next(self.generator), right - doubtful, pairs - right - doubtful, 2)

    def _counterfactual(self) -> Question | None:
        removed = int(self.generator.integers(len(self.scene.objects)))
        doubtful = self._doubtful(removed)
        others = [o for o in range(len(self.scene.objects)) if o != removed]
        right = _pairs(self.scene.what_if[removed].tolist())
        seen = _pairs([*self.scene.collisions.tolist(), *self.scene.predicted.tolist()])
        pairs = set(combinations(others, 2))
        likely = {pair for pair in seen if removed not in pair} - right
        wrong = likely if likely else pairs - right
        negated = bool(self.generator.random() < 0.5)
        phrase = what_without(self._refer(removed), negated, self.generator)
        wrong = (wrong | self._one_of(pairs - right)) - doubtful
        return self._about_pairs("counterfactual", phrase, right - doubtful, wrong, MOST_CHOICES)

    def _doubtful(self, removed: int | None) -> frozenset[Pair]:
        if not self.doubts:
            return frozenset()
        if removed not in self._doubts:
            self._doubts[removed] = doubtful_pairs(self.video, removed)
        return self._doubts[removed]

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
            events.append(meeting(self._refer(a), self._refer(b), self.generator, possible=True))
        return self._chosen(kind, phrase, events)

    def _some(self, pairs: set[Pair], number: int) -> list[Pair]:
        ordered = sorted(pairs)
        return [ordered[i] for i in self.generator.permutation(len(ordered))[:number]]

    def _chosen(self, kind: str, phrase: Phrase, offered: Sequence[Phrase]) -> Question | None:
        order = self.generator.permutation(len(offered))
        choices = tuple(Choice(offered[i].program, offered[i].text) for i in order)
        return self._judged(Question(self.video.name, kind, phrase.program, choices, phrase.text))


def _pairs(rows: Sequence[Sequence[int]]) -> set[Pair]:
    return {(min(a, b), max(a, b)) for _, a, b in rows}
