"""Scenes and questions for the benchmarks of the reasoning network: real ones, drawn ones, and crowded ones."""

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scene
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, COLORS, MATERIALS, SHAPES, Question, Scene


class Asked(NamedTuple):
    """Scenes, and questions about them."""

    about: str
    scenes: list[Scene]
    questions: list[Question]


class Crowded(NamedTuple):
    """A scene with more objects than CLEVRER has names for, and the attributes that tell them apart."""

    scene: Scene
    attributes: Mapping[str, tuple[str, ...]]


def asked_of_data(folder: Path, scenes: str = "scenes_propnet.jsonl.gz", every: int = 1) -> Asked:
    """The real explanatory questions, or every n-th, and the scenes that they ask about."""
    questions = read_questions(folder / "clevrer" / "questions_explanatory_real.jsonl.gz").questions[::every]
    return Asked(f"real questions, {scenes}", scenes_about(folder, questions, scenes), questions)


def scenes_about(folder: Path, questions: list[Question], scenes: str) -> list[Scene]:
    """The scenes of some questions; other lines are not even parsed."""
    asked = {question.video for question in questions}
    numbered = re.compile(r'{"video":(\d+)')
    with gzip.open(folder / "clevrer" / scenes, "rt") as lines:
        wanted = [line for line in lines if (found := numbered.match(line)) and int(found[1]) in asked]

    return [read_scene(json.loads(line), scenes) for line in wanted]


def drawn_questions(num_videos: int, programs_a_video: int, seed: int) -> Asked:
    """Scenes of the size of CLEVRER's with random tracks and collisions, and causal questions about their objects."""
    rng = np.random.default_rng(seed)
    triples = [(c, m, s) for c in COLORS for m in MATERIALS for s in SHAPES]
    scenes = []
    questions = []

    for video in range(num_videos):
        number = int(rng.integers(3, 7))
        objects = [triples[i] for i in rng.choice(len(triples), number, replace=False)]
        begins = rng.integers(0, 10, number)
        path = np.cumsum(rng.normal(0, 2, (26, number, 2)), 0)
        trajectory = [[5 * s, [[o, *path[s, o]] for o in range(number) if s >= begins[o]]] for s in range(26)]
        pairs = [rng.choice(number, 2, replace=False) for _ in range(int(rng.integers(2, 6)))]
        scenes.append(Scene.from_lists(video, objects, trajectory, [[int(rng.integers(0, 25)) * 5, *p] for p in pairs]))

        for _ in range(programs_a_video):
            a, b, c = (_named(objects[int(rng.integers(number))]) for _ in range(3))
            question = ["events", "events", *a, "filter_collision", *b, "filter_collision", "unique"]
            tokens = [*c, *question, "filter_ancestor", "belong_to"]
            questions.append(Question(video, "descriptive", tuple(tokens)))

    return Asked(f"drawn scenes, seed {seed}", scenes, questions)


def crowded_scene(num_objects: int, num_events: int, seed: int) -> Crowded:
    """As many objects and events as asked for, two of them the start and the end; no object enters or leaves."""
    rng = np.random.default_rng(seed)
    colors = (*COLORS, *(f"shade{i}" for i in range(max(0, num_objects - len(COLORS)))))
    objects = [[color, MATERIALS[0], SHAPES[0]] for color in colors[:num_objects]]
    objects[0][0], objects[1][0] = "blue", "red"

    if num_objects > 2:
        objects[2][0] = "gray"

    trajectory = [[5 * s, [[o, float(o), float(s)] for o in range(num_objects)]] for s in range(26)]
    pairs = [rng.choice(num_objects, 2, replace=False) for _ in range(num_events - 3)]
    collisions = [[10, 0, 1], *([int(rng.integers(3, 25)) * 5, *map(int, pair)] for pair in pairs)]
    attributes = {**ATTRIBUTES, "color": colors}

    return Crowded(Scene.from_lists(0, objects, trajectory, collisions, attributes=attributes), attributes)


def _named(triple: tuple[str, str, str]) -> list[str]:
    words = zip(triple, ATTRIBUTES, strict=True)
    return ["objects", *(token for value, kind in words for token in (value, f"filter_{kind}")), "unique"]
