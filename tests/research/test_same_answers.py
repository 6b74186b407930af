"""Answers of two machines: what may differ, and by how much."""

from research.project.same_answers import COMMANDS, compare_machines

EVALUATION = COMMANDS["modulation"]
TRAINING = COMMANDS["digits, quick"]


def test_a_value_may_differ_by_the_standard_deviation_beside_it() -> None:
    first = {"rows": [{"network": "a", "accuracy %": 80.0, "sd": 0.5, "per question %": 70.0, "sd per question": 4.0}]}
    near = {"rows": [{"network": "a", "accuracy %": 80.4, "sd": 0.6, "per question %": 73.0, "sd per question": 4.0}]}
    far = {"rows": [{"network": "a", "accuracy %": 80.6, "sd": 0.5, "per question %": 75.0, "sd per question": 4.0}]}

    assert compare_machines(EVALUATION, first, near)["beyond"] == {}
    assert compare_machines(EVALUATION, first, far)["beyond"] == {
        "rows[a].accuracy %": [80.0, 80.6],
        "rows[a].per question %": [70.0, 75.0],
    }


def test_a_value_without_a_deviation_may_differ_by_a_share_that_is_larger_for_a_training() -> None:
    # 2 % of 50, and 0.02 of a value below 1
    first = {"accuracy": 50.0, "lost_share": 0.0}
    second = {"accuracy": 51.0, "lost_share": 0.02}
    assert compare_machines(EVALUATION, first, second)["beyond"].keys() == {"accuracy", "lost_share"}

    row = compare_machines(TRAINING, first, second)
    assert row["beyond"] == {}
    assert row["num_equal"] == 0


def test_another_word_and_a_missing_value_are_beyond_any_tolerance() -> None:
    row = compare_machines(TRAINING, {"best": "a", "first": 1}, {"best": "b"})
    assert row["beyond"] == {"best": ["a", "b"], "first": [1, None]}
