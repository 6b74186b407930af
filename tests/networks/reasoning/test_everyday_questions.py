"""Questions in everyday words: read right or refused, never answered wrongly."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.reasoning.everyday_questions import outcome, written_questions
from research.reasoning.training.paraphrases import sample_paraphrase
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.explain.ask import Observation, answer_question
from spikebridge.networks.reasoning.explain.page import explanation_page
from spikebridge.networks.reasoning.parsing._grammar import Grammar
from spikebridge.networks.reasoning.parsing._nearest import nearest_question
from spikebridge.networks.reasoning.parsing.agreement import disagreement
from spikebridge.networks.reasoning.parsing.parser import read_text
from spikebridge.networks.reasoning.parsing.vocabulary import Vocabulary
from spikebridge.pretrained.perception import shipped_parser

pytestmark = pytest.mark.untyped

VOCABULARY = Vocabulary()
GRAMMAR = Grammar(VOCABULARY)
SCENE = Scene.from_lists(
    1,
    objects=[["red", "metal", "cube"], ["blue", "rubber", "sphere"], ["green", "metal", "cylinder"]],
    trajectory=[[0, [[0, 9.0, 9.0], [1, 5.0, 5.0], [2, 30.0, 30.0]]]],
    collisions=[[5, 0, 1]],
)


@pytest.mark.parametrize("half", [0, 1])
def test_95_of_100_questions_by_hand_are_read_and_none_is_answered_wrongly(half: int) -> None:
    counted = Counter(outcome(shipped_parser(), one) for one in written_questions(half))
    num_questions = counted["right"] + counted["refused"] + counted["wrong"]

    assert num_questions >= 90
    assert counted["right"] >= 0.95 * num_questions
    assert counted["wrong"] == counted["answered"] == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_every_everyday_text_is_known_well_typed_and_agrees_with_its_program(seed: int) -> None:
    drawn = sample_paraphrase(np.random.default_rng(seed))
    text = VOCABULARY.tokenize(drawn.text, drawn.kind)

    assert text.unknown == ()

    written = VOCABULARY.with_slots(drawn.program, text)
    assert disagreement(text, written) == ""

    stack = GRAMMAR.start(drawn.kind)
    for token in written:
        assert token in GRAMMAR.allowed(stack, drawn.kind)
        stack = GRAMMAR.push(stack, token)

    assert "<end>" in GRAMMAR.allowed(stack, drawn.kind)


@pytest.mark.parametrize(
    ("text", "program", "reason"),
    [
        ("How many red cubes are moving?", "objects red filter_color cube filter_shape count", "'moving'"),
        ("How many red cubes?", "objects red filter_color count", "'cube'"),
        (
            "Does the red cube hit the blue sphere?",
            "events objects red filter_color sphere filter_shape unique filter_collision "
            "objects blue filter_color cube filter_shape unique filter_collision exist",
            "'red' 'cube' apart",
        ),
        ("Is there a cube?", "objects cube filter_shape count", "count without a word for it"),
        ("What did not cause the collision?", "events events unique filter_ancestor belong_to", "'collision'"),
    ],
)
def test_a_program_that_says_something_else_is_found(text: str, program: str, reason: str) -> None:
    tokens = VOCABULARY.tokenize(text, "question")
    assert disagreement(tokens, VOCABULARY.with_slots(program.split(), tokens)) == reason


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Which thing hit the blue ball?", "red metal cube"),
        ("What is the green thing?", "green metal cylinder"),
        ("Is there a red ball?", "no"),
        ("How many metal things are there?", "2"),
        ("Did the ball bump into the cube?", "yes"),
    ],
)
def test_the_first_questions_of_a_newcomer_are_answered(text: str, answer: str) -> None:
    answered = answer_question(Observation(SCENE), shipped_parser(), text)
    assert str(answered.answers[0].value) == answer
    assert text in explanation_page(Observation(SCENE), answered)


def test_the_nearest_known_question_is_about_the_same_objects() -> None:
    nearest = nearest_question(VOCABULARY, "How fast are the red cubes moving?")
    assert nearest == "How many red cubes are moving?"


@pytest.mark.parametrize("text", ["Where is the red cube?", "How fast is the ball?", "Is the cube next to the ball?"])
def test_a_question_that_no_program_can_say_is_refused_with_the_nearest_known_one(text: str) -> None:
    with pytest.raises(DataError, match=r"the nearest known wording: '.*(cube|sphere).*'"):
        read_text(shipped_parser(), text, "question")
