"""Perceived scenes with reference scenes of the same videos, and training labels from the reference scenes."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.data.catalog import find_files
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Choice, Question, Scene, object_tokens
from spikebridge.networks.reasoning.events.collision_inputs import NUM_SAMPLES, CandidatePairs
from spikebridge.networks.reasoning.events.events import tracks_of
from spikebridge.networks.reasoning.graph.run import answer
from spikebridge.networks.reasoning.simulation.video import generate_video

NEVER = -1.0
UNKNOWN = -2.0
"""Labels of a pair that does not collide, and of one with an object that the reference scene does not have."""


class SceneSet(NamedTuple):
    """Scenes of videos as perceived, and near-truth reference scenes, in the same order."""

    perceived: list[Scene]
    reference: list[Scene]

    def take(self, videos: set[int | str]) -> "SceneSet":
        """The scenes of some videos."""
        which = [i for i, scene in enumerate(self.perceived) if scene.video in videos]
        return SceneSet([self.perceived[i] for i in which], [self.reference[i] for i in which])


class Split(NamedTuple):
    """Training, validation and test videos."""

    train: SceneSet
    validation: SceneSet
    test: SceneSet


def real_split(num_validation: int, seed: int, data: Path | None = None) -> Split:
    """The 4000 real videos; those with a real question are the test set."""
    paths = {path.name: path for path in find_files("clevrer", data)}
    reference = {scene.video: scene for scene in read_scenes(paths["scenes_near_truth.jsonl.gz"])}
    perceived = [s for s in read_scenes(paths["scenes_propnet.jsonl.gz"]) if s.video in reference]
    both = SceneSet(perceived, [reference[scene.video] for scene in perceived])
    asked = _asked_about(paths["questions_explanatory_real.jsonl.gz"])
    silver = _asked_about(paths["questions_descriptive_explanatory_silver.jsonl.gz"])
    free = [scene.video for scene in perceived if scene.video not in asked]
    order = [free[i] for i in np.random.default_rng(seed).permutation(len(free))]
    chosen_on = set(order[:num_validation]) - silver

    return Split(both.take(set(order[num_validation:])), both.take(chosen_on), both.take(asked))


def _asked_about(path: Path) -> set[int | str]:
    return {question.video for question in read_questions(path).questions}


@lru_cache(maxsize=2)  # generation takes longer than training on a few
def generated_split(num_videos: int) -> Split:
    """Generated videos: their true scenes, and the same scenes degraded as by a poor detector."""
    few = max(1, num_videos // 4)
    return Split(_generated("train", num_videos), _generated("validation", few), _generated("test", few))


def _generated(split: str, num_videos: int) -> SceneSet:
    reference = [generate_video(split, number).scene() for number in range(num_videos)]
    return SceneSet([_degraded(scene, number) for number, scene in enumerate(reference)], reference)


def _degraded(scene: Scene, seed: int) -> Scene:
    """A scene as from a poor detector: position noise of 0.5 px, one sample in 30 lost, no collisions."""
    generator = np.random.default_rng([7, seed])
    positions = scene.positions + generator.normal(0, 0.5, scene.positions.shape)
    lost = generator.random(positions.shape[:2]) < 1 / 30
    positions[lost] = np.nan

    return Scene(scene.video, scene.objects, scene.frames, positions, predicted=scene.predicted, what_if=scene.what_if)


def collision_labels(pairs: CandidatePairs, scenes: SceneSet) -> Float[Tensor, "P"]:
    """The first frame at which each pair collides, `NEVER` or `UNKNOWN`. Objects are matched by their three values."""
    known = []
    for perceived, reference in zip(*scenes, strict=True):
        true = {o: i for i, o in enumerate(reference.objects)}
        when: dict[frozenset[int], float] = {}
        for frame, a, b in reference.collisions.tolist():
            pair = frozenset((a, b))
            when[pair] = min(float(frame), when.get(pair, np.inf))

        known.append(([true.get(o) for o in perceived.objects], when))

    labels = []
    for scene, (a, b) in zip(pairs.scene.tolist(), pairs.objects.tolist(), strict=True):
        places, when = known[scene]
        first = places[a]
        second = places[b]
        missing = first is None or second is None
        labels.append(UNKNOWN if missing else when.get(frozenset((first, second)), NEVER))

    return torch.tensor(labels)


def presence_labels(scenes: SceneSet) -> Float[Tensor, "T O 2"]:
    """Whether each object is in view, and whether it moves: 1 or 0, NaN where the reference does not say.

    The reference says nothing of objects that it does not have, and nothing of the motion of objects out of view.
    """
    columns = []
    for perceived, reference in zip(*scenes, strict=True):
        there = reference.visible
        moving = tracks_of([reference]).moving[0]
        both = np.stack([there, np.where(there, moving, np.nan)], -1).astype(np.float32)

        for triple in perceived.objects:
            if triple in reference.objects and len(reference.frames) == NUM_SAMPLES:
                columns.append(both[:, reference.objects.index(triple)])
            else:
                columns.append(np.full((NUM_SAMPLES, 2), np.nan, dtype=np.float32))

    return torch.from_numpy(np.stack(columns, 1)) if columns else torch.zeros(NUM_SAMPLES, 0, 2)


def cause_questions(scenes: Sequence[Scene], seed: int = 0, max_choices: int = 4) -> list[Question]:
    """Explanatory questions about the collisions of reference scenes, answered by the graph on those scenes.

    Settings are chosen on them, so that no test question is used. Every object, entrance and other collision can be a
    choice; at most `max_choices` are drawn at random.
    """
    generator = np.random.default_rng([13, seed])
    questions = []

    for scene in scenes:
        for row in scene.collisions.tolist():
            options = _choices(scene, row)
            drawn = sorted(generator.permutation(len(options))[:max_choices])
            program = ("events", *_collision_tokens(scene, row), "filter_ancestor", "belong_to")
            choices = tuple(Choice(options[i]) for i in drawn)
            questions.append(Question(scene.video, "explanatory", program, choices))

    answers = answer(scenes, questions)
    return [
        Question(
            one.video,
            one.kind,
            one.program,
            tuple(Choice(c.program, answer=a.value) for c, a in zip(one.choices, judged, strict=True)),
        )
        for one, judged in zip(questions, answers, strict=True)
    ]


def _choices(scene: Scene, asked: Sequence[int]) -> list[tuple[str, ...]]:
    seen = scene.visible
    enters = [o for o in range(scene.num_objects) if (seen[1:, o] & ~seen[:-1, o]).any()]
    presences = [object_tokens(triple) for triple in scene.objects]
    entrances = [("events", *object_tokens(scene.objects[o]), "filter_in", "unique") for o in enters]
    meetings = [_collision_tokens(scene, row) for row in scene.collisions.tolist() if row != list(asked)]

    return [*presences, *entrances, *meetings]


def _collision_tokens(scene: Scene, row: Sequence[int]) -> tuple[str, ...]:
    """The tokens that select a collision."""
    first, second = (scene.objects[o] for o in row[1:])
    return ("events", *object_tokens(first), "filter_collision", *object_tokens(second), "filter_collision", "unique")


def has_real_data(data: Path | None = None) -> bool:
    """Whether the data folder has the real scenes and questions."""
    try:
        find_files("clevrer", data)
    except DataError:
        return False

    return True
