"""The prediction unit: its inputs, its roll-out, the collisions to come, their scores, and the commands."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikebridge.cli.main import main
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.evaluation.evaluate import QuestionEvaluation
from spikebridge.networks.reasoning.events.collision_inputs import GRID
from spikebridge.networks.reasoning.events.prediction_inputs import DETECTED, NUM_PAST, THERE, on_table, past_of
from spikebridge.networks.reasoning.events.prediction_unit import NUM_SCORES, PredictionUnit
from spikebridge.networks.reasoning.events.predictor import Prediction, predict_collisions
from spikebridge.networks.reasoning.explain.forecast import asks_for_future
from spikebridge.networks.reasoning.scores import prediction_scores
from spikebridge.pretrained.perception import shipped_predictor

pytestmark = pytest.mark.untyped

OBJECTS = [["red", "metal", "cube"], ["blue", "rubber", "sphere"], ["gray", "metal", "cylinder"]]


def trajectory(*tracks: Any, frames: Any = GRID) -> list[Any]:
    """Samples of tracks: places by frame, or None where an object is not seen."""
    rows = [[[o, *place] for o, track in enumerate(tracks) if (place := track(f)) is not None] for f in frames]
    return [[int(frame), row] for frame, row in zip(frames, rows, strict=True)]


def scene_of(*tracks: Any, collisions: Any = (), frames: Any = GRID, video: int = 1) -> Scene:
    return Scene.from_lists(video, OBJECTS[: len(tracks)], trajectory(*tracks, frames=frames), list(collisions))


def rolls(y: float, speed: float, x: float = 50.0) -> Any:
    """On the middle line of the picture, where a pixel across is a pixel on the table."""
    return lambda frame: (x, y + speed * frame)


def lies(y: float, x: float = 50.0) -> Any:
    return rolls(y, 0.0, x)


def test_the_table_is_the_picture_in_contact_distances_without_its_perspective() -> None:
    assert on_table(np.array([50.0, 75.0])).tolist() == [0.0, 0.0]
    assert on_table(np.array([50.0, 88.0])).tolist() == [0.0, 1.0]
    # the same distance in the picture is a longer one on the table at the back, which is far
    back, front = (np.diff(on_table(np.array([[x, 75.0], [x, 88.0]]))[:, 1])[0] for x in (10.0, 90.0))
    assert back > 1 > front > 0


def test_gaps_are_interpolated_and_a_lost_object_rolls_on_ever_slower() -> None:
    seen = rolls(20.0, 0.2)
    gap = lambda frame: None if frame in (40, 45) else seen(frame)  # noqa: E731
    lost = lambda frame: seen(frame) if frame <= 85 else None  # noqa: E731
    past = past_of([scene_of(gap, lost)], [95]).samples[:, 0]

    whole = on_table(np.array([seen(frame) for frame in range(0, 96, 5)]))
    np.testing.assert_allclose(past[:, 0, :2], whole, atol=1e-5)
    assert past[:, 0, DETECTED].tolist() == [float(frame not in (40, 45)) for frame in range(0, 96, 5)]
    # 1 px a sample until frame 85, then 0.9 and 0.81
    assert past[-3:, 1, 1].mul(13).add(75).tolist() == pytest.approx([37.0, 37.9, 38.71], abs=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.integers(10, 120), st.integers(0, 10_000))
def test_nothing_after_the_last_frame_is_read(last: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    walk = np.cumsum(generator.normal(0, 2, (26, 2, 2)), 0) + 60
    tracks = [lambda frame, o=o: tuple(walk[frame // 5, o]) for o in range(2)]
    whole = scene_of(*tracks)
    part = scene_of(*tracks, frames=GRID[last >= GRID])
    unit = PredictionUnit(16).eval()

    assert torch.equal(past_of([whole], [last]).samples, past_of([part], [last]).samples)
    for a, b in zip(
        predict_collisions(unit, [whole], last + 1), predict_collisions(unit, [part], last + 1), strict=True
    ):
        assert np.array_equal(a.collisions, b.collisions)


def scores_of(unit: PredictionUnit, samples: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return unit.stages(samples)[0].nonlinearity[0, 0]


def test_scores_are_those_of_pairs_whatever_the_order_and_the_other_scenes_of_the_batch() -> None:
    torch.manual_seed(0)
    unit = PredictionUnit(16).eval()
    three = scene_of(rolls(20, 0.3), lies(60), rolls(110, -0.2))
    two = scene_of(rolls(20, 0.3), lies(60))
    past = past_of([three, two], [95, 95]).samples
    scores = scores_of(unit, past)
    turned = scores_of(unit, past[:, :1, [2, 1, 0]])

    # pairs 01, 02, 12 of the objects in the other order are 12, 02, 01
    torch.testing.assert_close(turned[0], scores[0, [2, 1, 0]])
    torch.testing.assert_close(scores[1, :1], scores_of(unit, past_of([two], [95]).samples)[0])
    assert (scores[1, 1:, :-1] < -1000).all(), "a pair that is not there never collides"
    assert past[-1, 1, :, THERE].tolist() == [1.0, 1.0, 0.0]


def test_an_untrained_roll_out_is_a_straight_line_with_friction() -> None:
    unit = PredictionUnit(16).eval()
    h = past_of([scene_of(rolls(20, 0.26), lies(100))], [95]).samples.movedim(0, -1)
    with torch.no_grad():
        _, places = unit.nonlinearity.roll_out(h)
    steps = torch.cat([h[0, :1, :2, -1], places[:, 0]])[:, 1].diff()

    # 1.3 px a sample are 0.1 contact distances
    ratio = math.exp(-math.exp(-2.3))
    assert len(steps) == NUM_SCORES - 1
    assert float(steps[0]) == pytest.approx(0.1 * ratio * (1 + ratio) / 2, abs=1e-5)
    torch.testing.assert_close(steps[1:] / steps[:-1], torch.full((NUM_SCORES - 2,), ratio))
    torch.testing.assert_close(places[:, 1], places[:1, 1].expand(NUM_SCORES - 1, -1))


def test_a_stream_in_parts_gives_the_same_as_the_whole() -> None:
    unit = PredictionUnit(16).eval()
    samples = past_of([scene_of(rolls(20, 0.3), lies(60))], [95]).samples
    whole, _ = unit(samples)
    first, state = unit(samples[:7])
    rest, _ = unit(samples[7:], state)

    assert len(first) == 0
    assert len(samples) == NUM_PAST
    torch.testing.assert_close(rest, whole)


def test_the_shipped_unit_sees_a_straight_run_into_another_object_and_nothing_at_rest() -> None:
    # 0.8 px a frame: at 81 in frame 95, and contact 13 px before 106, some 18 frames later with friction
    run = scene_of(rolls(5, 0.8), lies(106), lies(20, x=90))
    rest = scene_of(lies(20), lies(60), lies(120))
    aside = scene_of(rolls(5, 0.8, x=20), lies(106, x=80))
    hit, none, passed = predict_collisions(shipped_predictor(), [run, rest, aside], 96)

    assert hit.collisions[:, 1:].tolist() == [[0, 1]]
    assert abs(hit.collisions[0, 0] - 113) <= 5
    assert hit.scores[0] > 0.7
    assert hit.none < 0.3
    assert (len(none.collisions), len(passed.collisions)) == (0, 0)
    assert none.none > 0.9


@pytest.mark.parametrize(
    "scene",
    [
        scene_of(),
        scene_of(lies(60)),
        scene_of(lies(60), lies(80), frames=[0]),
        scene_of(lies(60), lies(80), frames=range(0, 60, 5)),
        scene_of(lambda frame: None, lies(60)),
    ],
    ids=["nothing", "one object", "one frame", "an end before", "never seen"],
)
def test_scenes_from_which_nothing_can_be_predicted_have_no_prediction(scene: Scene) -> None:
    (prediction,) = predict_collisions(shipped_predictor(), [scene], 96)
    assert prediction.collisions.shape == (0, 3)


def test_scores_worked_by_hand() -> None:
    truth = Scene.from_lists(1, OBJECTS[::-1], [], [[60, 0, 1], [100, 0, 2], [120, 1, 2]])
    scene = Scene.from_lists(1, OBJECTS, [], [])
    # gray and red (objects 2 and 0) at 100, blue and red (1 and 0) at 120; gray and blue is before frame 96
    rows = np.array([[107, 0, 2], [118, 1, 0], [110, 1, 2]])
    prediction = Prediction(rows, np.ones(3), 0.0)
    with_truth = Scene(1, scene.objects, scene.frames, scene.positions, truth=truth)

    scores = prediction_scores([with_truth], [prediction], 96)
    # two of three are right, one of them within 5 frames, and both of two are found
    assert scores == {"f1_pairs": 0.8, "f1_5_frames": 0.4, "precision": 0.66667, "recall": 1.0}
    # without a truth beside, the collisions of the scene are the true ones
    assert prediction_scores([scene.with_collisions(rows)], [prediction], 96)["f1_5_frames"] == 1.0
    with pytest.raises(DataError, match="expected scenes with true collisions"):
        prediction_scores([scene], [prediction], 96)


@pytest.fixture
def scene_file(tmp_path: Path) -> Path:
    line = {
        "video": 7,
        "objects": OBJECTS[:2],
        "collisions": [],
        "trajectory": trajectory(rolls(5, 0.8), lies(106)),
        "strays": [],
        "truth": {"objects": OBJECTS[1::-1], "collisions": [[113, 0, 1]], "in": [], "out": []},
    }
    path = tmp_path / "scenes.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(line).encode()))

    return path


def test_the_command_scores_a_file_whatever_the_questions(scene_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scenes", str(scene_file), "--questions", "questions.jsonl", "--predict-from", "96", "--json"]
    assert main(["eval", "reasoning", *words]) == 0
    prediction = json.loads(capsys.readouterr().out)["prediction"]
    assert prediction == {"f1_pairs": 1.0, "f1_5_frames": 1.0, "precision": 1.0, "recall": 1.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--predict-from", "96"], "--scenes is missing"),
        (["--scenes", "FILE", "--predict-from", "3"], "predict_from should be at least 10"),
        (["--scenes", "FILE", "--predict-from", "400"], "no scene has a sample"),
    ],
)
def test_the_command_refuses_what_it_cannot_score(
    scene_file: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "reasoning", *(str(scene_file) if word == "FILE" else word for word in words)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert "Traceback" not in error


def test_a_truth_that_is_no_scene_is_refused(scene_file: Path) -> None:
    plain = json.loads(gzip.decompress(scene_file.read_bytes()))
    for truth, message in (([], "a scene is an object"), ({"objects": []}, "needs 'collisions'")):
        scene_file.write_bytes(gzip.compress(json.dumps({**plain, "truth": truth}).encode()))
        with pytest.raises(DataError, match=message):
            read_scenes(scene_file)


def test_the_first_frame_to_predict_is_a_number() -> None:
    assert QuestionEvaluation(predict_from=96).predict_from == 96
    with pytest.raises(ConfigError, match="at least 10"):
        QuestionEvaluation(predict_from=-1)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What will happen next?", True),
        ("what happens next", True),
        ("What is going to happen after the video ends?", True),
        ("What's going to happen then?", True),
        ("What will the red cube hit next?", False),
        ("What color is the cube?", False),
        ("", False),
    ],
)
def test_questions_about_the_future_are_known_by_their_words(question: str, expected: bool) -> None:
    assert asks_for_future(question) is expected


def test_asking_what_will_happen_names_the_collisions_with_a_confidence_each(
    scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = json.loads(gzip.decompress(scene_file.read_bytes()))
    # until frame 95 only
    scene_file.write_bytes(gzip.compress(json.dumps({**plain, "trajectory": plain["trajectory"][:20]}).encode()))
    assert main(["ask", str(scene_file), "What will happen next?"]) == 0
    assert capsys.readouterr().out.startswith("red cube and blue sphere collide, frame 1")

    assert main(["ask", str(scene_file), "What will happen next?", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["frames"], data["collisions"][0]["objects"]) == ([96, 127], ["red cube", "blue sphere"])
    assert 0.5 < data["collisions"][0]["confidence"] <= 1

    page = str(tmp_path / "page.html")
    assert main(["ask", str(scene_file), "What will happen next?", "--explain", page]) == 2
    assert "--explain shows the steps of a program" in capsys.readouterr().err

    scene_file.write_bytes(gzip.compress(json.dumps({**plain, "trajectory": plain["trajectory"][:1]}).encode()))
    assert main(["ask", str(scene_file), "What will happen next?"]) == 2
    assert (
        "motion is read from objects in at least two samples, but it has 2 objects in 1 samples"
        in capsys.readouterr().err
    )
