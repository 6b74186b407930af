"""People's words about events: read as a whole, or refused in one line; and what of them is seen in a scene."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from research.reasoning.everyday_questions import program_of
from research.reasoning.question_answering.people_words import people_texts
from spikebridge.cli.main import main
from spikebridge.errors import DataError
from spikebridge.networks.reasoning import recipe as reasoning
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.evaluation.evaluate import QuestionEvaluation
from spikebridge.networks.reasoning.explain.ask import Observation, QuestionAnswers, answer_question
from spikebridge.networks.reasoning.explain.page import explanation_page
from spikebridge.networks.reasoning.parsing.event_words import read_cause_question, read_event
from spikebridge.networks.reasoning.parsing.parser import read_text
from spikebridge.networks.reasoning.parsing.vocabulary import Vocabulary
from spikebridge.pretrained.models import shipped_run
from spikebridge.pretrained.perception import shipped_parser

pytestmark = pytest.mark.untyped

VOCABULARY = Vocabulary()
RED = ["red", "metal", "cube"]
BLUE = ["blue", "rubber", "sphere"]
GRAY = ["gray", "rubber", "cylinder"]


@pytest.mark.parametrize(
    ("text", "program", "unused"),
    [
        ("the red ball came in from the left", "events <red sphere> filter_in left filter_side unique", ()),
        ("the shiny cube comes from below", "events <metal cube> filter_in bottom filter_side unique", ()),
        ("the teal one came from the southeast", "events <cyan> filter_in unique", ("southeast",)),
        ("the red cube left the scene on the right", "events <red cube> filter_out right filter_side unique", ()),
        ("the silver cylinder was pushed to the left", "events <gray metal cylinder> filter_move unique", ("left",)),
        ("the red cube begins to roll slowly", "events <red cube> filter_move unique", ("slowly",)),
        ("the blue ball comes to a stop", "events <blue sphere> filter_stop unique", ()),
        ("the blue ball changes its direction", "events <blue sphere> filter_turn unique", ()),
        ("the blue ball sideswiped something", "events <blue sphere> filter_collision unique", ()),
        (
            "the red cube gets hit by the ball",
            "events <red cube> filter_collision <sphere> filter_collision unique",
            (),
        ),
        ("the red cube pushes the ball which stops", "events <sphere> filter_stop unique", ("red cube pushes sphere",)),
        ("the cube made of metal", "<metal cube>", ()),
    ],
)
def test_a_clause_becomes_one_event_and_words_without_a_place_are_named(
    text: str, program: str, unused: tuple[str, ...]
) -> None:
    read = read_event(VOCABULARY, text, "cause")
    assert read.program == program_of(program)
    assert read.unused == unused


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("the red cube does not stop", "is not understood; expected an object or what it does"),
        ("the red cube hits the ball and the ball hits the cylinder", "is not understood"),
        ("the red cube almost hits the ball", "unknown word 'almost'"),
        ("the orange cube enters", "unknown word 'orange'"),
        ("the red cube enterz", "unknown word 'enterz'; did you mean 'enter'"),
        ("the red blue ball stops", "two values of one kind"),
        ("the red balls collide", "is several"),
        ("el cubo rojo entra", "unknown words 'el', 'cubo', 'rojo', 'entra'"),
        ("the red\x00\x1b[2J cube", r"unknown word 'red\\x00\\x1b"),
        ("x" * 2000, "unknown word 'xxx"),
        ("cube " * 400, "1 to 39 words, but got 400"),
        ("", "1 to 39 words, but got 0"),
    ],
)
def test_a_doubtful_text_is_refused_in_one_short_line(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read_event(VOCABULARY, text, "cause")

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_left_is_a_side_or_an_exit_but_never_both() -> None:
    side = read_text(shipped_parser(), "Which of these is responsible for the cube coming from the left?", "question")
    leaves = read_text(shipped_parser(), "Why did the cube leave? ", "question")

    assert "filter_out" not in side.program
    assert leaves.program == program_of("events events <cube> filter_out unique filter_ancestor belong_to")
    with pytest.raises(DataError, match="'left'"):
        read_text(shipped_parser(), "How many objects came from the left?", "question")


def test_a_question_about_causes_may_be_negated_and_other_questions_are_left_to_the_network() -> None:
    question = read_cause_question(VOCABULARY, "Which of the following is not responsible for the cube's entrance?")
    assert question is not None
    assert question.program[-3:] == ("filter_ancestor", "belong_to", "negate")
    assert read_cause_question(VOCABULARY, "How many cubes are there?") is None


def test_the_hundred_texts_of_people_with_programs_by_hand_are_read(
    real_set: Callable[[str], tuple[Path, ...]],
) -> None:
    texts = people_texts("train", real_set("clevrer")[0].parent)
    wrong = []
    for one in texts:
        try:
            read = read_text(shipped_parser(), one.text, one.kind).program
        except DataError:
            read = ()
        wrong += [one.text] if read != one.program else []

    assert len(texts) == 100
    assert wrong == []


def scene_line(video: int = 7) -> dict[str, Any]:
    """The red cube enters at the left and pushes the blue ball; the gray cylinder stands there."""
    trajectory = []
    for frame in range(0, 130, 5):
        places = [[1, 50.0, max(80.0, 2.0 * frame - 20)], [2, 90.0, 140.0]]
        # in view from frame 10, as fast as the ball after contact
        places += [[0, 50.0, 2.0 * frame - 18]] if 10 <= frame <= 50 else [[0, 50.0, 82.0]] if frame > 50 else []
        trajectory.append([frame, places])

    return {"video": video, "objects": [RED, BLUE, GRAY], "collisions": [[50, 0, 1]], "trajectory": trajectory}


def asked(text: str, choices: list[str]) -> QuestionAnswers:
    plain = scene_line()
    scene = Scene.from_lists(7, plain["objects"], plain["trajectory"], plain["collisions"])
    return answer_question(Observation(scene), shipped_parser(), text, choices)


def test_an_answer_comes_with_the_events_that_were_found_and_remarks_on_those_that_were_not() -> None:
    choices = ["the red cube came from the left", "the red cube came from the right", "the silver cylinder came"]
    answered = asked("Which of these is responsible for the blue ball moving?", choices)
    plain = answered.as_dict()

    assert [answer.value for answer in answered.answers] == ["correct", "correct", "wrong"]
    assert [one["events"][0]["kind"] for one in plain["choices"][:2]] == ["in", "in"]
    assert plain["choices"][0]["remarks"] == []
    assert plain["choices"][1]["remarks"] == [
        "no entrance of the red cube is seen at that side; read as its entrance",
    ]
    assert plain["choices"][2]["remarks"] == [
        "no gray metal cylinder is seen; read as the gray cylinder",
        "the entrance of the gray cylinder is before the first frame; read as its presence",
    ]
    assert "note: no gray metal cylinder is seen" in answered.text()
    assert "blue sphere starts to move (frame" in explanation_page(
        Observation(Scene.from_lists(7, *[scene_line()[k] for k in ("objects", "trajectory", "collisions")])), answered
    )


def test_two_objects_of_one_name_are_told_apart_by_all_of_their_values() -> None:
    objects = [RED, ["red", "rubber", "cube"], BLUE]
    trajectory = [[frame, [[o, 20.0 * o, 50.0] for o in range(3)]] for frame in (0, 60, 125)]
    scene = Scene.from_lists(1, objects, trajectory, [[30, 0, 2], [60, 0, 1]])
    (choice,) = answer_question(
        Observation(scene), shipped_parser(), "Why did the ball stop?", ["the red cube hit the red cube"]
    ).grounded.choices

    assert [(event.frame, event.objects) for event in choice.events] == [(60, {0, 1})]
    assert choice.remarks == ()


def test_objects_that_are_not_there_or_fit_twice_are_named() -> None:
    answered = asked("Why did the red cube enter?", ["the purple cube stops", "the rubber object stops"])
    assert "note: no object fits 'purple cube'" in answered.text()
    assert "note: 2 objects fit 'rubber object'" in answered.text()


@pytest.mark.parametrize("choice", ["the yellow cube spins", "the red cube leaves", "a\nb\x07", "y" * 2000])
def test_a_choice_that_no_program_can_say_is_one_line(
    choice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenes.jsonl"
    path.write_text(json.dumps(scene_line()))
    code = main(["ask", str(path), "What will happen next?", "--choices", choice])
    output = capsys.readouterr()

    assert (code, output.out) == (2, "")
    assert output.err.count("\n") == 1
    assert "internal" not in output.err and "unexpected" not in output.err


def test_files_of_questions_in_words_are_read_and_scored_without_their_programs(tmp_path: Path) -> None:
    why = "Which of the following is responsible for the blue ball was pushed away?"
    choices = [
        {"choice": "the red cube hits the blue ball", "answer": "correct"},
        {"choice": "the gray cylinder yawns", "answer": "wrong"},
    ]
    rows = [
        {"video": 7, "question": why, "question_type": "explanatory", "program": ["nonsense"], "choices": choices},
        {"video": 7, "question": "How many cubes are there?", "question_type": "descriptive", "answer": 1},
    ]
    (tmp_path / "scenes").write_text(json.dumps({**scene_line(), "collisions": []}))
    (tmp_path / "questions").write_text("\n".join(map(json.dumps, rows)))
    options = QuestionEvaluation(tmp_path / "scenes", tmp_path / "questions", words=True)
    run = shipped_run("reasoning")
    assert run is not None

    results = reasoning.evaluate(run, None, options)
    words = results["words"]
    json.dumps(results)

    # a file without collisions is read by the learned unit
    assert results["collisions"] == "learned"
    assert (words["num_texts"], words["texts_read"], words["questions_read"]) == (4, 0.75, 0.5)
    assert (words["per_option"], words["per_question"]) == (1, 1)
    assert (words["strict"]["per_option"], words["strict"]["per_question"]) == (pytest.approx(2 / 3), 0.5)
    assert words["unread"] == [
        {"video": 7, "text": "the gray cylinder yawns", "reason": "unknown word 'yawns'; ask in other words"}
    ]

    (tmp_path / "questions").write_text(json.dumps({**rows[1], "question": ""}))
    with pytest.raises(DataError, match="a text is empty"):
        reasoning.evaluate(run, None, options)
