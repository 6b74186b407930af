"""The weights that come with the package read real scenes as their record says."""

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from spikebridge.networks.reasoning import recipe as reasoning
from spikebridge.networks.reasoning.data.clevrer_questions import read_question
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scene
from spikebridge.networks.reasoning.evaluation.evaluate import read_collisions
from spikebridge.networks.reasoning.scores import score
from spikebridge.networks.reasoning.training.trained_units import best_seed, learned_reader, seeds_of, unit_settings
from spikebridge.pretrained import shipped_run

pytestmark = pytest.mark.untyped


def test_the_shipped_run_is_one_of_three_seeds_with_its_record() -> None:
    run = shipped_run("reasoning")
    assert run is not None
    assert run.config_as(reasoning.Config) == reasoning.PRESETS["three"]
    assert seeds_of(run) == [0, 1, 2]

    rows = {row["from"]: row for row in run.results()["collisions"]}
    # the targets of the issue; 98.93 and 97.89 were measured
    assert rows["learned"]["per option %"] >= 98.8
    assert rows["learned"]["per question %"] >= 97

    chosen = unit_settings(run, best_seed(run))["thresholds"]
    for kind, found in (("explanatory", "explanatory"), ("descriptive", "descriptive"), ("predictive", "descriptive")):
        assert float(learned_reader(run, kind=kind).unit.discretizer.v_threshold) == chosen[found]

    # who counts is wrong by every made-up collision, who asks for causes mostly by missed ones
    assert chosen["descriptive"] > chosen["explanatory"]


def lines(path: Path, most: int) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in itertools.islice(file, most)]


def test_learned_collisions_answer_more_listed_than_baked_in_ones(real_set: Any) -> None:
    paths = {path.name: path for path in real_set("clevrer")}
    scenes = [read_scene(plain, "line") for plain in lines(paths["scenes_propnet.jsonl.gz"], 300)]
    listed = [read_question(plain, "line") for plain in lines(paths["questions_explanatory_real.jsonl.gz"], 442)]
    there = {scene.video for scene in scenes}
    questions = [question for question in listed if question.video in there]
    about = [scene for scene in scenes if scene.video in {question.video for question in questions}]

    assert len(questions) > 20

    run = shipped_run("reasoning")
    assert run is not None

    shares = {
        kind: score(read_collisions(run, about, kind, "explanatory"), questions)["explanatory"]["per_option"]
        for kind in ("baked", "learned")
    }

    assert shares["learned"] > 0.96
    assert shares["learned"] > shares["baked"]
