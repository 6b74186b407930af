"""The 442 real questions of CLEVRER at hand, answered from noisy and from nearly true scenes."""

import gzip
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from research.reasoning.graphs.published_graph import FORMS
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scene
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.executor import Executor
from spikebridge.networks.reasoning.graph.run import run_questions

pytestmark = pytest.mark.untyped

PUBLISHED = {"noisy": (94.23, 89.14), "near truth": (99.94, 99.77)}
"""Percent of options and of questions, by the published rules on our scene files."""


def scenes_of(file: Path, videos: set[int | str]) -> list[Scene]:
    """The scenes of some videos; the others are not even read as JSON."""
    numbered = re.compile(r'{"video":(\d+)')
    with gzip.open(file, "rt") as lines:
        wanted = [line for line in lines if (found := numbered.match(line)) and int(found[1]) in videos]

    return [read_scene(json.loads(line), file.name) for line in wanted]


@pytest.mark.parametrize("which", PUBLISHED)
def test_the_442_real_questions_are_answered_as_often_as_by_the_published_network(
    real_set: Callable[[str], tuple[Path, ...]], which: str
) -> None:
    files = {file.name: file for file in real_set("clevrer")}
    questions = read_questions(files["questions_explanatory_real.jsonl.gz"])
    name = {"noisy": "scenes_propnet.jsonl.gz", "near truth": "scenes_near_truth.jsonl.gz"}[which]
    videos = {question.video for question in questions}
    scenes = scenes_of(files[name], videos)
    executors = {scene.video: Executor(scene) for scene in scenes}

    assert len(questions) == 442
    for form, options in FORMS.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="preset 'scaled' is exact")
            answers = run_questions(scenes, questions, options)

        right = [
            [a.value == truth for a, truth in zip(values, question.answers, strict=True)]
            for question, values in zip(questions, answers, strict=True)
        ]

        judged = [one for row in right for one in row]
        scores = (100 * sum(judged) / len(judged), 100 * sum(map(all, right)) / len(right))

        assert len(judged) == 1768
        assert scores == pytest.approx(PUBLISHED[which], abs=0.2), form
        if form == "scaled":
            continue

        for question, values in zip(questions, answers, strict=True):
            for program, result in zip(question.programs, values, strict=True):
                expected = executors[question.video].run(program)
                assert expected.value is None or result.value == expected.value
