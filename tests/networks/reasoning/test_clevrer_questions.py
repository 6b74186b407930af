"""Question files of three layouts, choices made by rule, and everything that is wrong with some of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from research.reasoning.question_answering.what_if_texts import read_what_if_text, what_if_questions
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.clevrer_questions import read_program, read_question, read_questions
from spikebridge.networks.reasoning.data.scene import Scene, object_tokens

RED, BLUE, GRAY, CYAN = [
    ["red", "metal", "cube"],
    ["blue", "rubber", "sphere"],
    ["gray", "metal", "cube"],
    ["cyan", "rubber", "cylinder"],
]
COUNT = {"video": 7, "question": "How many?", "question_type": "descriptive", "question_subtype": "count",
         "program": ["objects", "count"], "answer": "2"}  # fmt: skip
WHY = {
    "video": 7,
    "question_type": "explanatory",
    "program": ["events", "events", "objects", "red", "filter_color", "unique", "filter_collision", "belong_to"],
    "choices": [
        {"choice_id": 0, "choice": "the cube", "program": ["objects", "cube", "filter_shape"], "answer": "wrong"}
    ],
}


def lines(path: Path, *questions: Any) -> Path:
    path.write_text("".join(json.dumps(question) + "\n" for question in questions))
    return path


def test_questions_of_our_layout_are_read(tmp_path: Path) -> None:
    count, why = read_questions(lines(tmp_path / "q.jsonl", COUNT, WHY))
    assert (count.kind, count.subtype, count.answers, count.text) == ("descriptive", "count", ("2",), "How many?")
    assert why.programs == (("objects", "cube", "filter_shape", *WHY["program"]),)
    assert (why.choices[0].text, why.answers) == ("the cube", ("wrong",))


def test_the_original_layout_is_read_by_its_published_schema(tmp_path: Path) -> None:
    inner = [
        {"question_id": 0, "question": "What is it?", "question_type": "descriptive", "question_subtype": "query_color",
         "program": ["start", "get_frame", "objects", "get_object", "unique", "query_color"], "answer": "red"},
        {"question_id": 1, "question": "Without?", "question_type": "counterfactual",
         "program": ["all_events", "objects", "red", "filter_color", "unique", "get_counterfact", "belong_to"],
         "choices": [{"choice_id": 0, "choice": "?", "program": ["all_events"], "answer": "correct"}]},
    ]  # fmt: skip

    path = tmp_path / "validation.json"
    path.write_text(
        json.dumps([{"scene_index": 10000, "video_filename": "video_10000.mp4", "questions": inner}], indent=1)
    )
    first, second = read_questions(path)

    assert first.video == second.video == 10000
    assert first.program[:3] == ("events", "filter_start", "query_frame")
    assert first.program[4] == "query_object"
    assert second.program[-2:] == ("filter_counterfact", "belong_to")
    assert second.answers == ("correct",)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "explanatory"),
        ({"program": ["unseen_events", "belong_to"]}, "predictive"),
        ({"program": ["all_events", "objects", "unique", "filter_counterfact", "belong_to"]}, "counterfactual"),
        ({"choices": [], "program": ["objects", "count"]}, "descriptive"),
    ],
)
def test_a_missing_type_follows_from_the_program(changes: dict[str, Any], kind: str) -> None:
    plain = {name: value for name, value in {**WHY, **changes}.items() if name != "question_type"}
    assert read_question(plain, "here").kind == kind


def test_answers_may_be_numbers_truths_or_missing() -> None:
    assert read_question({**COUNT, "answer": 3}, "here").answer == "3"

    exist = {**COUNT, "program": [*COUNT["program"][:-1], "exist"]}
    assert read_question({**exist, "answer": True}, "here").answer == "yes"
    assert read_question({name: COUNT[name] for name in ("video", "program")}, "here").answer is None

    choice = {**WHY["choices"][0], "answer": True}
    assert read_question({**WHY, "choices": [choice]}, "here").answers == ("correct",)


BAD = [
    (COUNT, "line 2: the same question as .*bad.jsonl, line 1; leave one out"),
    ({**COUNT, "answer": "red"}, "expected a number of objects or events, but the answer is 'red'"),
    ({**COUNT, "answer": True}, "expected a number of objects or events, but the answer is True"),
    ({**COUNT, "answer": -1}, "expected a number of objects or events, but the answer is -1"),
    ({**COUNT, "program": ["objects", "exist"], "answer": 5}, "expected an answer to .exist., but got 5"),
    ({**COUNT, "program": ["objects", "unique", "query_color"], "answer": 5}, "expected an answer to 'query_color'"),
    ({**COUNT, "program": ["objects", "unique", "query_shape"], "answer": "cub"}, "did you mean 'cube'"),
    ({**WHY, "choices": [WHY["choices"][0]] * 2}, "choices 1 and 2 are the same"),
    ({**WHY, "answer": 5}, "a question with choices has an answer for each"),
    ({**COUNT, "program": ["objects", "cuont"]}, "unknown token 'cuont'; did you mean 'count'"),
    ({**COUNT, "program": []}, "expected a program"),
    ({**COUNT, "program": [1]}, "expected a program"),
    ({**COUNT, "question_type": "descriptiv"}, "unknown question type 'descriptiv'; did you mean 'descriptive'"),
    ({**COUNT, "video": None}, "number or name of a video"),
    ({**COUNT, "answer": [1]}, "an answer as a number or word"),
    ({"video": 7, "programme": ["objects"]}, "needs a program, but has video, programme; did you mean 'programme'"),
    ({**WHY, "choices": None}, "explanatory question has choices, but 0 came"),
    ({**COUNT, "choices": WHY["choices"]}, "descriptive question has no choices, but 1 came"),
    ({**WHY, "choices": {"a": 1}}, "choices is a list"),
    ({**WHY, "choices": [{"choice": "the cube"}]}, "choice 1: a choice is an object with a program"),
    ({**WHY, "choices": [{"program": ["objects"], "answer": "corect"}]}, "answer 'corect'; did you mean 'correct'"),
    ({**WHY, "choices": WHY["choices"] * 65}, "65 choices, but at most 64"),
    ({"scene_index": 1, "questions": [3]}, "question 1: a question is an object"),
    ({"scene_index": 1, "questions": 3}, "questions is a list"),
]  # fmt: skip


@pytest.mark.parametrize(("plain", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, plain: Any, message: str) -> None:
    path = lines(tmp_path / "bad.jsonl", COUNT, plain)
    with pytest.raises(DataError, match=message) as caught:
        read_questions(path)
    assert str(caught.value).startswith(f"{path}, line 2")


def test_tokens_of_ones_own_can_be_allowed() -> None:
    with pytest.raises(DataError, match="unknown token 'filter_heavy'"):
        read_program(["objects", "filter_heavy"], "here")
    assert read_program("objects filter_heavy", "here", extra=("filter_heavy",)) == ("objects", "filter_heavy")


def test_original_tokens_are_renamed_and_one_object_is_selected_by_its_three_values() -> None:
    assert read_program("start get_frame", "here") == ("events", "filter_start", "query_frame")
    assert " ".join(object_tokens(("red", "metal", "cube"))) == (
        "objects red filter_color metal filter_material cube filter_shape unique"
    )


def what_if_scene() -> Scene:
    return Scene.from_lists(
        7,
        [RED, BLUE, GRAY, CYAN],
        [[0, []]],
        collisions=[[30, 0, 1], [40, 2, 1], [140, 3, 2]],
        what_if={"0": [[50, 1, 3], [60, 1, 3]]},
    )


def text_without_red(*collisions: list[Any]) -> Any:
    return read_what_if_text({"video": 7, "question": "Without?", "removed": "redmetalcube",
                              "collisions": list(collisions)}, "here")  # fmt: skip


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (
            {"video": 7, "removed": "redmetalcub", "collisions": []},
            "in one word, but got 'redmetalcub'; did you mean 'red",
        ),
        ({"video": 7, "removed": "redmetalcube", "collisions": [[1, "redmetalcube"]]}, "collisions are"),
        (
            {"video": 7, "removed": "redmetalcube", "collisions": [["1", "redmetalcube", "redmetalcube"]]},
            "a frame as a",
        ),
    ],
)
def test_a_what_if_text_that_cannot_be_is_refused(plain: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_what_if_text(plain, "here")


def test_choices_are_the_observed_and_rolled_out_pairs_without_the_removed_object() -> None:
    text = text_without_red([50, "cyanrubbercylinder", "bluerubbersphere"])
    (question,) = what_if_questions([text], {7: what_if_scene()})

    # observed without the red cube: gray and blue; rolled out: blue and cyan; what comes after the video does not count
    assert [choice.text for choice in question.choices] == [
        "the blue rubber sphere collides with the gray metal cube",
        "the blue rubber sphere collides with the cyan rubber cylinder",
    ]

    assert question.answers == ("wrong", "correct")
    assert question.kind == "counterfactual"
    assert question.choices[0].program[-4:] == ("filter_shape", "unique", "filter_collision", "unique")
    assert question.program == (
        "all_events", "objects", "red", "filter_color", "metal", "filter_material", "cube", "filter_shape", "unique",
        "filter_counterfact", "belong_to",
    )  # fmt: skip


def test_a_text_without_candidates_or_about_an_unseen_object_makes_no_question() -> None:
    nobody = Scene.from_lists(7, [RED, BLUE], [[0, []]], [])
    assert what_if_questions([text_without_red()], {7: nobody}) == []
    assert what_if_questions([text_without_red()], {7: Scene.from_lists(7, [BLUE], [[0, []]], [])}) == []

    with pytest.raises(DataError, match="text 1 is about video 7, which is not among the scenes"):
        what_if_questions([text_without_red()], {})


def test_at_most_four_choices_are_sampled_and_a_part_of_a_file_gets_the_same_ones() -> None:
    objects = [RED, BLUE, GRAY, CYAN, ["green", "metal", "sphere"]]
    everyone = [[10 * a + b, a, b] for a in range(1, 5) for b in range(a + 1, 5)]
    scenes = {7: Scene.from_lists(7, objects, [[0, []]], everyone)}
    texts = [text_without_red(), text_without_red([1, "graymetalcube", "bluerubbersphere"])]
    both = what_if_questions(texts, scenes, seed=1)

    assert [len(question.choices) for question in both] == [4, 4]
    assert what_if_questions(texts[1:], scenes, seed=1)[0] == both[1]

    draws = {what_if_questions(texts[:1], scenes, seed)[0].choices for seed in range(8)}
    assert len(draws) > 1
