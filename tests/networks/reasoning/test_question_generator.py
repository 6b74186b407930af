"""Generated questions: words, programs and answers that agree."""

import numpy as np
import pytest

from research.reasoning.question_answering.generated_questions import generate_questions
from research.reasoning.question_answering.videos import executor_answers
from research.reasoning.training.templates import cause_question, collision_phrase, counterfactual_question
from spikebridge.networks.reasoning.data.scene import KINDS, Question
from spikebridge.networks.reasoning.graph.run import answer
from spikebridge.networks.reasoning.simulation.templates import Reference
from spikebridge.networks.reasoning.simulation.video import generate_video

pytestmark = pytest.mark.untyped


@pytest.fixture(scope="module")
def numbered_questions() -> list[tuple[int, Question]]:
    numbers = range(20, 28)
    return [(n, q) for n in numbers for q in generate_questions(generate_video("train", n), executor_answers)]


def test_all_four_kinds_are_asked(numbered_questions: list[tuple[int, Question]]) -> None:
    assert {question.kind for _, question in numbered_questions} == set(KINDS)
    assert all(None not in question.answers for _, question in numbered_questions)


def test_choices_differ_and_are_judged(numbered_questions: list[tuple[int, Question]]) -> None:
    answers = set()
    for _, question in numbered_questions:
        if question.choices:
            assert 2 <= len(question.choices) <= 4
            assert len({choice.text for choice in question.choices}) == len(question.choices)
            answers |= {(question.kind, choice.answer) for choice in question.choices}

    assert answers == {(kind, answer) for kind in KINDS[1:] for answer in ("correct", "wrong")}


def test_the_graph_answers_every_question_about_the_true_scene(numbered_questions: list[tuple[int, Question]]) -> None:
    for number in {number for number, _ in numbered_questions}:
        questions = [question for other, question in numbered_questions if other == number]
        results = answer(generate_video("train", number).scene(), questions)
        assert [tuple(one.value for one in answers) for answers in results] == [q.answers for q in questions]


def test_one_seed_asks_the_same_questions() -> None:
    video = generate_video("train", 20)
    assert generate_questions(video, executor_answers) == generate_questions(video, executor_answers)
    assert generate_questions(video, executor_answers) != generate_questions(video, executor_answers, seed=1)


def test_wordings_mean_their_programs() -> None:
    generator = np.random.default_rng(0)
    event = collision_phrase(Reference("red"), Reference(shape="cube"), generator)
    phrase = cause_question(event, True, generator)
    red = "objects red filter_color unique"
    cube = "objects cube filter_shape unique"

    assert " ".join(phrase.program) == (
        f"events events {red} filter_collision {cube} filter_collision unique filter_ancestor belong_to negate"
    )
    assert " not " in phrase.text
    assert "the red object" in phrase.text

    removed = counterfactual_question(Reference(material="metal"), False, generator)
    assert " ".join(removed.program) == "all_events objects metal filter_material unique filter_counterfact belong_to"
