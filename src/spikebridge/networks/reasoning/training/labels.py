"""Perceived scenes with reference scenes of the same videos, and training labels from the reference scenes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.data.catalog import find_files
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Choice, Question, Scene, object_tokens
from spikebridge.networks.reasoning.events.collision_inputs import NUM_SAMPLES, CandidatePairs
from spikebridge.networks.reasoning.events.events import tracks_of
from spikebridge.networks.reasoning.graph.run import answer
from spikebridge.networks.reasoning.simulation.video import generate_video

NEVER = -1.0  # label of a pair that does not collide
UNKNOWN = -2.0  # label of a pair with an object that the reference scene does not have
_NUM_TRAINING_VIDEOS = 5500  # the other training videos stay unseen


class SceneSet(NamedTuple):
    """Scenes of videos as perceived, and near-truth reference scenes, in the same order."""

    perceived: list[Scene]
    reference: list[Scene]

    def take(self, videos: set[int | str]) -> "SceneSet":
        """The scenes of some videos."""
        numbers = [i for i, scene in enumerate(self.perceived) if scene.video in videos]
        return SceneSet([self.perceived[i] for i in numbers], [self.reference[i] for i in numbers])


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
    scenes = SceneSet(perceived, [reference[scene.video] for scene in perceived])

    test = _videos_of(paths["questions_explanatory_real.jsonl.gz"])
    # settings must not be chosen on videos that a test or a silver question is about
    silver = _videos_of(paths["questions_descriptive_explanatory_silver.jsonl.gz"])
    others = [scene.video for scene in perceived if scene.video not in test]
    shuffled = [others[i] for i in np.random.default_rng(seed).permutation(len(others))]
    validation = set(shuffled[:num_validation]) - silver

    return Split(scenes.take(set(shuffled[num_validation:])), scenes.take(validation), scenes.take(test))


def _videos_of(path: Path) -> set[int | str]:
    return {question.video for question in read_questions(path)}


def scenes_with_truth(videos: SceneSet) -> SceneSet:
    """Scenes of CLEVRER's training videos and of some validation videos, all with their true collisions."""
    training, validation = find_files("clevrer_perceived")
    names = {scene.video for scene in videos.perceived}
    perceived = read_scenes(training)[:_NUM_TRAINING_VIDEOS]
    perceived += [scene for scene in read_scenes(validation) if scene.video in names]

    return SceneSet(perceived, [scene.truth for scene in perceived if scene.truth is not None])


@lru_cache(maxsize=2)  # generation takes longer than training on a few videos
def generated_split(num_videos: int) -> Split:
    """Generated videos, a quarter as many for validation and for test: true scenes, and the same scenes degraded."""
    num_others = max(1, num_videos // 4)
    return Split(_generated("train", num_videos), _generated("validation", num_others), _generated("test", num_others))


def _generated(split: str, num_videos: int) -> SceneSet:
    reference = [generate_video(split, number).scene() for number in range(num_videos)]
    return SceneSet([_degraded(scene, number) for number, scene in enumerate(reference)], reference)


def _degraded(scene: Scene, seed: int) -> Scene:
    generator = np.random.default_rng([7, seed])
    positions = scene.positions + generator.normal(0, 0.5, scene.positions.shape)
    positions[generator.random(positions.shape[:2]) < 1 / 30] = np.nan

    return Scene(scene.video, scene.objects, scene.frames, positions, predicted=scene.predicted, what_if=scene.what_if)


def collision_labels(pairs: CandidatePairs, scenes: SceneSet) -> Float[Tensor, "P"]:
    """The first frame at which each pair collides, `NEVER` or `UNKNOWN`. Objects are matched by their three values."""
    references = []
    for perceived, reference in zip(*scenes, strict=True):
        number_of = {triple: i for i, triple in enumerate(reference.objects)}
        first_frame: dict[frozenset[int], float] = {}
        for frame, a, b in reference.collisions.tolist():
            pair = frozenset((a, b))
            first_frame[pair] = min(float(frame), first_frame.get(pair, np.inf))

        references.append(([number_of.get(triple) for triple in perceived.objects], first_frame))

    labels = []
    for scene, (a, b) in zip(pairs.scene.tolist(), pairs.objects.tolist(), strict=True):
        numbers, first_frame = references[scene]
        first = numbers[a]
        second = numbers[b]
        is_unknown = first is None or second is None
        labels.append(UNKNOWN if is_unknown else first_frame.get(frozenset((first, second)), NEVER))

    return torch.tensor(labels)


def presence_labels(scenes: SceneSet) -> Float[Tensor, "T O 2"]:
    """1 where an object is in view, and where it moves, else 0; NaN where the reference does not say."""
    columns = []
    for perceived, reference in zip(*scenes, strict=True):
        in_view = reference.visible
        moving = tracks_of([reference]).moving[0]
        both = np.stack([in_view, np.where(in_view, moving, np.nan)], -1).astype(np.float32)

        # an object that the reference does not have may be real or not
        for triple in perceived.objects:
            if triple in reference.objects and len(reference.frames) == NUM_SAMPLES:
                columns.append(both[:, reference.objects.index(triple)])
            else:
                columns.append(np.full((NUM_SAMPLES, 2), np.nan, dtype=np.float32))

    return torch.from_numpy(np.stack(columns, 1)) if columns else torch.zeros(NUM_SAMPLES, 0, 2)


def cause_questions(scenes: Sequence[Scene], seed: int = 0, max_choices: int = 4) -> list[Question]:
    """Explanatory questions about the collisions of reference scenes, answered by the graph on those scenes."""
    # settings are chosen on these questions, so that no test question is used
    generator = np.random.default_rng([13, seed])
    questions = []
    for scene in scenes:
        for collision in scene.collisions.tolist():
            options = _options(scene, collision)
            choices = sorted(generator.permutation(len(options))[:max_choices])
            program = ("events", *_collision_tokens(scene, collision), "filter_ancestor", "belong_to")
            questions.append(Question(scene.video, "explanatory", program, tuple(Choice(options[i]) for i in choices)))

    answered = []
    for question, answers in zip(questions, answer(scenes, questions), strict=True):
        pairs = zip(question.choices, answers, strict=True)
        answered.append(replace(question, choices=tuple(replace(choice, answer=a.value) for choice, a in pairs)))

    return answered


def _options(scene: Scene, collision: Sequence[int]) -> list[tuple[str, ...]]:
    visible = scene.visible
    entering = [o for o in range(scene.num_objects) if (visible[1:, o] & ~visible[:-1, o]).any()]
    presences = [object_tokens(triple) for triple in scene.objects]
    entrances = [("events", *object_tokens(scene.objects[o]), "filter_in", "unique") for o in entering]
    others = [_collision_tokens(scene, row) for row in scene.collisions.tolist() if row != list(collision)]

    return [*presences, *entrances, *others]


def _collision_tokens(scene: Scene, collision: Sequence[int]) -> tuple[str, ...]:
    first, second = (object_tokens(scene.objects[o]) for o in collision[1:])
    return ("events", *first, "filter_collision", *second, "filter_collision", "unique")
