"""Error budget, calibration and cross-fitting of the reasoning recipe, on scenes made by hand."""

from collections.abc import Sequence

import pytest

from research.reasoning.question_answering import budget
from research.reasoning.question_answering.calibration import calibration
from research.reasoning.question_answering.folds import CrossFitReader, folds
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.collision_unit import FixedCollisionUnit
from spikebridge.networks.reasoning.events.reader import CollisionReader

RED = ["red", "metal", "cube"]
BLUE = ["blue", "rubber", "sphere"]
GRAY = ["gray", "metal", "cylinder"]
EVERYWHERE = [[0, [[0, 1.0, 1.0], [1, 2.0, 2.0], [2, 3.0, 3.0]]]]


@pytest.fixture
def near() -> Scene:
    return Scene.from_lists(1, [RED, BLUE, GRAY], EVERYWHERE, [[30, 0, 1], [50, 1, 2]])


@pytest.fixture
def noisy() -> Scene:
    """Gray stands first; its meeting with blue was missed, one with red made up, that of red and blue reported late."""
    return Scene.from_lists(
        1, [GRAY, RED, BLUE], [[0, [[0, 9.0, 9.0]]]], [[35, 2, 1], [40, 0, 1]], {0: [[70, 1, 2]], 1: [[80, 0, 2]]}
    )


@pytest.mark.parametrize(
    ("repair", "rows"),
    [
        ("as it is", [[35, 2, 1], [40, 0, 1]]),
        ("missed collisions added", [[35, 1, 2], [40, 0, 1], [50, 0, 2]]),
        ("false collisions removed", [[35, 1, 2]]),
        ("true timing", [[30, 1, 2], [40, 0, 1]]),
        ("true collisions", [[30, 1, 2], [50, 2, 0]]),
        ("true entrances, exits and places", [[35, 2, 1], [40, 0, 1]]),
        ("true collisions, entrances, exits and places", [[30, 1, 2], [50, 2, 0]]),
        ("all true", [[30, 0, 1], [50, 1, 2]]),
    ],
)
def test_each_repair_takes_one_part_from_the_truth(
    noisy: Scene, near: Scene, repair: str, rows: list[list[int]]
) -> None:
    assert budget.REPAIRS[repair](noisy, near).collisions.tolist() == rows


def test_places_follow_their_objects(noisy: Scene, near: Scene) -> None:
    repaired = budget.presence_true(noisy, near)
    assert repaired.objects == noisy.objects
    assert repaired.positions[0].tolist() == [[3.0, 3.0], [1.0, 1.0], [2.0, 2.0]]


def test_roll_outs_follow_their_objects_into_the_true_scene(noisy: Scene, near: Scene) -> None:
    true = budget.all_true(noisy, near)
    assert {removed: rows.tolist() for removed, rows in true.what_if.items()} == {2: [[70, 0, 1]], 0: [[80, 2, 1]]}


def test_an_object_that_was_taken_for_another_has_no_truth(near: Scene) -> None:
    wrong = Scene.from_lists(1, [RED, ["cyan", "rubber", "sphere"], GRAY], EVERYWHERE, [], {1: [[9, 0, 2]]})
    assert budget.truth_in(wrong, near).collisions.tolist() == []
    assert not budget.truth_in(wrong, near).visible[:, 1].any()
    assert budget.all_true(wrong, near).what_if == {}


def test_a_confidence_that_is_right_as_often_as_it_says_has_no_error() -> None:
    exact = calibration([0.75] * 4 + [1.0] * 2, [True, True, True, False, True, True])
    assert exact["expected_calibration_error"] == 0
    assert [(one["from"], one["num_answers"]) for one in exact["bins"]] == [(0.7, 4), (0.9, 2)]
    assert calibration([1.0, 1.0], [False, True])["expected_calibration_error"] == 0.5
    assert calibration([], []) == {"bins": [], "expected_calibration_error": 0.0}


class Marks(CollisionReader):
    """A reader whose scenes tell which fold read them."""

    def __init__(self, fold: int) -> None:
        super().__init__(FixedCollisionUnit())
        self.fold = fold

    def __call__(self, scenes: Sequence[Scene]) -> list[Scene]:
        return [Scene(f"{scene.video} by {self.fold}", (), scene.frames, scene.positions) for scene in scenes]


def test_every_video_is_read_by_the_units_of_the_other_fold() -> None:
    fold_of = folds([3, 1, 2], 2)
    scenes = [Scene.from_lists(video, [], [], []) for video in (2, 1, 3)]
    read = CrossFitReader([Marks(0), Marks(1)], fold_of)(scenes)
    assert [scene.video for scene in read] == ["2 by 1", "1 by 0", "3 by 0"]
