"""Scenes and questions for the benchmarks of the reasoning network: real, random and crowded ones."""

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


class QuestionSet(NamedTuple):
    """Scenes, and questions about them, with a name."""

    name: str
    scenes: list[Scene]
    questions: list[Question]


class Crowded(NamedTuple):
    """A scene with more objects than CLEVRER has names for, and the attributes that distinguish them."""

    scene: Scene
    attributes: Mapping[str, tuple[str, ...]]


def real_questions(folder: Path, scenes: str = "scenes_propnet.jsonl.gz", every: int = 1) -> QuestionSet:
    """The real explanatory questions, or every n-th, and their scenes."""
    questions = read_questions(folder / "clevrer" / "questions_explanatory_real.jsonl.gz")[::every]
    return QuestionSet(f"real questions, {scenes}", _scenes_of(folder, questions, scenes), questions)


def _scenes_of(folder: Path, questions: list[Question], scenes: str) -> list[Scene]:
    """The scenes of some questions; other lines are not parsed."""
    videos = {question.video for question in questions}
    video_number = re.compile(r'{"video":(\d+)')
    selected = []
    with gzip.open(folder / "clevrer" / scenes, "rt") as lines:
        for line in lines:
            match = video_number.match(line)
            if match is not None and int(match[1]) in videos:
                selected.append(read_scene(json.loads(line), scenes))

    return selected


def random_questions(num_videos: int, programs_a_video: int, seed: int) -> QuestionSet:
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
        collisions = _distinct([[int(rng.integers(0, 25)) * 5, *map(int, pair)] for pair in pairs], rng)
        scenes.append(Scene.from_lists(video, objects, trajectory, collisions))

        for _ in range(programs_a_video):
            a, b, c = (_named(objects[int(rng.integers(number))]) for _ in range(3))
            question = ["events", "events", *a, "filter_collision", *b, "filter_collision", "unique"]
            tokens = [*c, *question, "filter_ancestor", "belong_to"]
            questions.append(Question(video, "descriptive", tuple(tokens)))

    return QuestionSet(f"drawn scenes, seed {seed}", scenes, questions)


def crowded_scene(num_objects: int, num_events: int, seed: int) -> Crowded:
    """A scene with so many objects and events, start and end among them; no object enters or leaves."""
    rng = np.random.default_rng(seed)
    colors = (*COLORS, *(f"shade{i}" for i in range(max(0, num_objects - len(COLORS)))))
    objects = [[color, MATERIALS[0], SHAPES[0]] for color in colors[:num_objects]]
    # the timed program asks for the one blue object, which first meets a red one
    objects[0][0] = "blue"
    objects[1][0] = "red"
    if num_objects > 2:
        objects[2][0] = "gray"

    trajectory = [[5 * s, [[o, float(o), float(s)] for o in range(num_objects)]] for s in range(26)]
    pairs = [rng.choice(num_objects, 2, replace=False) for _ in range(num_events - 3)]
    collisions = [[10, 0, 1], *_distinct([[int(rng.integers(3, 25)) * 5, *map(int, pair)] for pair in pairs], rng)]
    attributes = {**ATTRIBUTES, "color": colors}

    return Crowded(Scene.from_lists(0, objects, trajectory, collisions, attributes=attributes), attributes)


def _distinct(rows: list[list[int]], rng: np.random.Generator) -> list[list[int]]:
    """The collisions, with another frame for one that is listed already."""
    keys: set[tuple[int, ...]] = set()
    for row in rows:
        pair = sorted(row[1:])
        while (row[0], *pair) in keys:
            row[0] = int(rng.integers(3, 25)) * 5
        keys.add((row[0], *pair))

    return rows


def _named(triple: tuple[str, str, str]) -> list[str]:
    words = zip(triple, ATTRIBUTES, strict=True)
    return ["objects", *(token for value, kind in words for token in (value, f"filter_{kind}")), "unique"]
