"""The published form of the graph, in research: its clips, its read-out, and a compiler that rewrites tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_reasoning import Programs, random_scene
from reasoning_as_published import AsPublished

from research.reasoning.graphs.published_graph import (
    PublishedLayout,
    PublishedTable,
    compile_as_published,
    published,
)
from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.explain.explain import Explanation
from spikebridge.networks.reasoning.graph.run import run_questions
from spikebridge.networks.reasoning.graph.worlds import World

TABLE = PublishedTable()
RED = "objects red filter_color unique"
BLUE = "objects blue filter_color unique"


def meeting_scene(collisions: list[list[int]]) -> Scene:
    """Three objects that are there all the time, and lie still."""
    return Scene.from_lists(
        1,
        objects=[["blue", "metal", "cube"], ["red", "rubber", "sphere"], ["green", "metal", "cylinder"]],
        trajectory=[[frame, [[o, 10.0 * o, 5.0] for o in range(3)]] for frame in (0, 50, 100, 125)],
        collisions=collisions,
    )


def value_of(scene: Scene, program: str) -> str | None:
    question = Question(scene.video, "descriptive", tuple(program.split()))
    return run_questions([scene], [question], published())[0][0].value


@pytest.mark.untyped
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_the_graph_follows_an_oracle_of_sets_with_clips(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, video) for video in range(8)]
    questions = [
        Question(scene.video, "descriptive", tuple(Programs(rng, scene, is_published=True).whole()))
        for scene in scenes
        for _ in range(25)
    ]
    oracles = [AsPublished(scene) for scene in scenes]

    for question, (given_answer,) in zip(questions, run_questions(scenes, questions, published()), strict=True):
        assert given_answer.value == oracles[question.video].run(list(question.program)), question.program


def test_events_beyond_the_twentieth_are_forgotten() -> None:
    scene = meeting_scene([[5 * k, 0, 1] for k in range(25)])
    assert value_of(scene, "events objects filter_collision count") == "19"  # the first of 20 is the start


def test_colliding_objects_move_and_a_second_of_one_event_is_that_one() -> None:
    assert value_of(meeting_scene([[50, 0, 1], [100, 0, 2]]), "objects null filter_moving count") == "3"

    second = f"events objects filter_collision second filter_order {BLUE} query_collision_partner query_color"
    assert value_of(meeting_scene([[50, 0, 1]]), second) == "red"


def test_the_colour_of_whom_the_blue_one_meets_first_takes_21_steps() -> None:
    first = f"events {BLUE} filter_collision first filter_order"
    tokens = f"{first} {BLUE} query_collision_partner query_color".split()
    scene = meeting_scene([[100, 0, 2], [50, 0, 1]])
    explanation = Explanation(scene, World(0), compile_as_published(tokens, TABLE), published(), tokens)

    assert explanation.answer.value == "red"
    assert len(explanation.steps) == 21
    assert [explanation.steps[t].events for t in (1, 8, 11)] == [(0, 1, 2, 3), (1, 2), (1,)]


def test_a_graph_has_42_shared_neurons_and_6_for_each_object_and_event() -> None:
    assert PublishedLayout().num_neurons(num_objects=5, num_events=11) == 42 + 6 * 5 + 6 * 11


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("objects red filter_color null filter_moving count", "events/objects/filter_red/silence/filter_moving/count"),
        (
            f"objects events {RED} filter_in unique query_frame filter_moving count",
            "events/objects/filter_red/filter_in/objects/filter_moving/count",
        ),
        (f"{RED} events events filter_end filter_before belong_to",
         "objects/filter_red/events, storing both/filter_end/filter_before/belong_to"),
        (f"all_events {RED} filter_collision {BLUE} filter_collision unique unseen_events belong_to",
         "events/objects/filter_red/filter_collision/objects/filter_blue/filter_collision/unseen_events"),
    ],
)  # fmt: skip
def test_the_published_compiler_shuffles_tokens(program: str, names: str) -> None:
    assert "/".join(compile_as_published(program.split(), TABLE).names) == names


def test_the_removed_object_is_found_by_a_program_of_its_own() -> None:
    choice = f"all_events {RED} filter_collision {BLUE} filter_collision unique"
    tokens = f"{choice} all_events objects cyan filter_color unique filter_counterfact belong_to negate".split()
    program = compile_as_published(tokens, TABLE)

    assert program.removal is not None
    assert program.removal.names == ("silence", "objects", "filter_cyan")
    assert (program.negated, program.world) == (True, "counterfactual")


def test_a_program_that_is_not_well_typed_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match="unknown token 'filter_colour' at place 2"):
        compile_as_published(["objects", "red", "filter_colour", "count"], TABLE)
