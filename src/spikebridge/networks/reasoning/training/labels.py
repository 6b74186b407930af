"""Perceived scenes beside the same scenes near truth, and the labels that the one takes from the other."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.data.catalog import find
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.clevrer_questions import named, read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Choice, Question, Scene
from spikebridge.networks.reasoning.events.collision_inputs import NUM_SAMPLES, Pairs
from spikebridge.networks.reasoning.events.events import tracks_of
from spikebridge.networks.reasoning.graph.run import answer
from spikebridge.networks.reasoning.simulation.video import generate_video

NEVER, UNKNOWN = -1.0, -2.0
"""Labels of a pair that does not collide, and of one with an object that the true scene does not have."""


class SceneSet(NamedTuple):
    """Videos twice: as perceived and near truth, in the same order."""

    noisy: list[Scene]
    near: list[Scene]

    def take(self, videos: set[int | str]) -> "SceneSet":
        """Those of some videos."""
        which = [i for i, scene in enumerate(self.noisy) if scene.video in videos]
        return SceneSet([self.noisy[i] for i in which], [self.near[i] for i in which])


class Split(NamedTuple):
    """Videos to train on, to choose settings on, and to report on."""

    train: SceneSet
    validation: SceneSet
    test: SceneSet


def real_split(num_validation: int, seed: int, data: Path | None = None) -> Split:
    """The 4000 real videos: those with a real question are for the report alone.

    Args:
        num_validation: videos to choose settings on; of these, the ones with a silver question are left out.
        seed: of the draw of these.
        data: the folder with data sets; that of the environment without it.
    """
    paths = {path.name: path for path in find("clevrer", data)}
    near = {scene.video: scene for scene in read_scenes(paths["scenes_near_truth.jsonl.gz"])}
    noisy = [s for s in read_scenes(paths["scenes_propnet.jsonl.gz"]) if s.video in near]
    both = SceneSet(noisy, [near[scene.video] for scene in noisy])
    asked = _asked_about(paths["questions_explanatory_real.jsonl.gz"])
    silver = _asked_about(paths["questions_descriptive_explanatory_silver.jsonl.gz"])
    free = [scene.video for scene in noisy if scene.video not in asked]
    order = [free[i] for i in np.random.default_rng(seed).permutation(len(free))]
    chosen_on = set(order[:num_validation]) - silver
    return Split(both.take(set(order[num_validation:])), both.take(chosen_on), both.take(asked))


def _asked_about(path: Path) -> set[int | str]:
    return {question.video for question in read_questions(path).questions}


@lru_cache(maxsize=2)  # drawing takes longer than training on a few
def generated_split(num_videos: int) -> Split:
    """Generated videos: their scenes, and the same as a poor detector would have seen them.

    Args:
        num_videos: to train on; a quarter as many to choose on, and to report on.
    """
    few = max(1, num_videos // 4)
    return Split(_generated("train", num_videos), _generated("validation", few), _generated("test", few))


def _generated(split: str, num_videos: int) -> SceneSet:
    near = [generate_video(split, number).scene() for number in range(num_videos)]
    return SceneSet([degraded(scene, number) for number, scene in enumerate(near)], near)


def degraded(scene: Scene, seed: int) -> Scene:
    """A scene as a poor detector sees it: places off by half a pixel, one sample in thirty lost, no collision known.

    Args:
        scene: the true one.
        seed: of what is lost.
    """
    generator = np.random.default_rng([7, seed])
    positions = scene.positions + generator.normal(0, 0.5, scene.positions.shape)
    lost = generator.random(positions.shape[:2]) < 1 / 30
    positions[lost] = np.nan
    return Scene(scene.video, scene.objects, scene.frames, positions, predicted=scene.predicted, what_if=scene.what_if)


def collision_labels(pairs: Pairs, scenes: SceneSet) -> Float[Tensor, "P"]:
    """When each pair truly collides: the first frame, `NEVER` or `UNKNOWN`. Objects are matched by their three values.

    Args:
        pairs: candidates from the perceived scenes.
        scenes: the same scenes.
    """
    known = []
    for noisy, near in zip(*scenes, strict=True):
        true = {o: i for i, o in enumerate(near.objects)}
        when: dict[frozenset[int], float] = {}
        for frame, a, b in near.collisions.tolist():
            pair = frozenset((a, b))
            when[pair] = min(float(frame), when.get(pair, np.inf))
        known.append(([true.get(o) for o in noisy.objects], when))
    labels = []
    for scene, (a, b) in zip(pairs.scene.tolist(), pairs.objects.tolist(), strict=True):
        places, when = known[scene]
        first, second = places[a], places[b]
        missing = first is None or second is None
        labels.append(UNKNOWN if missing else when.get(frozenset((first, second)), NEVER))
    return torch.tensor(labels)


def presence_labels(scenes: SceneSet) -> Float[Tensor, "T O 2"]:
    """Whether an object is truly in view, and whether it moves: 1 or 0, NaN where the true scene does not say.

    It says nothing of objects that it does not have, nor of the motion of those that are not in view.

    Args:
        scenes: on the grid.
    """
    columns = []
    for noisy, near in zip(*scenes, strict=True):
        there, moving = near.visible, tracks_of([near]).moving[0]
        both = np.stack([there, np.where(there, moving, np.nan)], -1).astype(np.float32)
        for triple in noisy.objects:
            if triple in near.objects and len(near.frames) == NUM_SAMPLES:
                columns.append(both[:, near.objects.index(triple)])
            else:
                columns.append(np.full((NUM_SAMPLES, 2), np.nan, dtype=np.float32))
    return torch.from_numpy(np.stack(columns, 1)) if columns else torch.zeros(NUM_SAMPLES, 0, 2)


def cause_questions(near: Sequence[Scene], seed: int = 0, most_choices: int = 4) -> list[Question]:
    """Explanatory questions about the collisions of true scenes, answered by the graph on those scenes.

    They serve to choose settings where no real question may be looked at. Every object, entrance and other collision
    can be a choice; at most `most_choices` are drawn.

    Args:
        near: true scenes.
        seed: of the draws.
        most_choices: of a question.
    """
    generator = np.random.default_rng([13, seed])
    questions = []
    for scene in near:
        for row in scene.collisions.tolist():
            named_all = _choices(scene, row)
            drawn = sorted(generator.permutation(len(named_all))[:most_choices])
            program = ("events", *_meeting(scene, row), "filter_ancestor", "belong_to")
            choices = tuple(Choice(named_all[i]) for i in drawn)
            questions.append(Question(scene.video, "explanatory", program, choices))
    answers = answer(near, questions)
    return [
        Question(
            one.video,
            one.kind,
            one.program,
            tuple(Choice(c.program, answer=a.value) for c, a in zip(one.choices, said, strict=True)),
        )
        for one, said in zip(questions, answers, strict=True)
    ]


def _choices(scene: Scene, asked: Sequence[int]) -> list[tuple[str, ...]]:
    seen = scene.visible
    enters = [o for o in range(scene.num_objects) if (seen[1:, o] & ~seen[:-1, o]).any()]
    presences = [named(triple) for triple in scene.objects]
    entrances = [("events", *named(scene.objects[o]), "filter_in", "unique") for o in enters]
    meetings = [_meeting(scene, row) for row in scene.collisions.tolist() if row != list(asked)]
    return [*presences, *entrances, *meetings]


def _meeting(scene: Scene, row: Sequence[int]) -> tuple[str, ...]:
    """The tokens that find a collision."""
    first, second = (scene.objects[o] for o in row[1:])
    return ("events", *named(first), "filter_collision", *named(second), "filter_collision", "unique")


def by_video(scenes: Sequence[Scene]) -> Mapping[int | str, Scene]:
    """Scenes by the video that questions name."""
    return {scene.video: scene for scene in scenes}


def has_real_data(data: Path | None = None) -> bool:
    """Whether the real scenes and questions are in the data folder."""
    try:
        find("clevrer", data)
    except DataError:
        return False
    return True
