"""The reasoning recipe end to end, at the size of its quick preset, and the evaluation of files."""

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.reasoning import recipe as reasoning
from spikebridge.networks.reasoning.data.scene import KINDS, Choice, Question, Scene
from spikebridge.networks.reasoning.evaluation.evaluate import QuestionEvaluation
from spikebridge.networks.reasoning.events.collision_inputs import candidate_pairs
from spikebridge.networks.reasoning.executor import execute
from spikebridge.networks.reasoning.scores import tally
from spikebridge.networks.reasoning.training.labels import (
    NEVER,
    UNKNOWN,
    SceneSet,
    cause_questions,
    collision_labels,
    presence_labels,
    real_split,
)
from spikebridge.networks.reasoning.training.units import collision_time_loss, threshold_kind
from spikebridge.training import Run
from spikebridge.training.run.config_io import from_plain, to_plain

pytestmark = pytest.mark.untyped

QUICK = reasoning.PRESETS["quick"]
RED = ["red", "metal", "cube"]
BLUE = ["blue", "rubber", "sphere"]
GRAY = ["gray", "metal", "cylinder"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    run = Run.create(tmp_path_factory.mktemp("reasoning") / "run", "reasoning", QUICK)
    return run, reasoning.train(QUICK, run, quiet=True)


def test_learned_collisions_answer_most_questions_and_near_truth_all(trained: tuple[Run, dict[str, Any]]) -> None:
    rows = {row["from"]: row for row in trained[1]["collisions"]}
    # the stated floor: without any collision all options are wrong, which is right about half of the time
    assert rows["baked"]["per option %"] < 70
    assert rows["learned"]["per option %"] > 75
    assert rows["fixed"]["per option %"] > 75
    assert rows["near truth"]["per option %"] == 100


def test_evaluating_again_gives_the_same_figures(
    trained: tuple[Run, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    run, results = trained
    with caplog.at_level("INFO", "spikebridge"):
        assert reasoning.evaluate(Run.open(run.path)) == results
    assert "answering with the learned collisions" in caplog.messages


def test_the_report_is_one_file_with_every_source(trained: tuple[Run, dict[str, Any]]) -> None:
    page = reasoning.report(trained[0]).read_text()
    assert all(name in page for name in ("baked", "fixed", "learned", "near truth", "threshold"))
    shares = {row["from"]: f"{row['per option %']:.2f} %" for row in trained[1]["collisions"]}
    sentence = "From learned collisions the graph judges {} of the options rightly, from baked-in ones {}."
    assert sentence.format(shares["learned"], shares["baked"]) in page
    assert "spikebridge train reasoning --scenes generated" in page, "the command of this run"
    assert "http://" not in page.replace("http://www.w3.org", "")


def track(x: float, step: float = 0.0, until: float = 1e3) -> list[list[float]]:
    return [[min(x + step * t, until), 50.0] for t in range(26)]


def scene_line(video: int = 7, **more: Any) -> dict[str, Any]:
    """The red cube rolls into the blue sphere, and stops; the gray cylinder stands aside."""
    places = [track(0.0, 5.0, until=60.0), track(70.0), track(140.0)]
    trajectory = [[5 * t, [[o, *place[t]] for o, place in enumerate(places)]] for t in range(26)]
    return {"video": video, "objects": [RED, BLUE, GRAY], "collisions": [[60, 0, 1]], "trajectory": trajectory, **more}


WHY = {
    "video": 7,
    "question_type": "explanatory",
    "program": "events events objects red filter_color unique filter_collision objects blue filter_color unique "
    "filter_collision unique filter_ancestor belong_to",
    "choices": [{"choice": "gray", "program": "objects gray filter_color unique", "answer": "wrong"}],
}
COUNT = {"video": 7, "question_type": "descriptive", "question_subtype": "count",
         "program": "objects metal filter_material count", "answer": 2}  # fmt: skip
WRONG = {**COUNT, "question_subtype": "query_color", "program": "objects unique query_color", "answer": "red"}
PAIR = "all_events objects blue filter_color unique filter_collision objects gray filter_color unique filter_collision"
WITHOUT = {
    "video": 7,
    "question_type": "counterfactual",
    "program": "all_events objects red filter_color unique filter_counterfact belong_to",
    "choices": [{"choice": "both", "program": f"{PAIR} unique", "answer": "correct"}],
}


def files(folder: Path, scenes: list[Any], questions: list[Any], packed: bool = False) -> QuestionEvaluation:
    paths = []
    for name, values in (("scenes", scenes), ("questions", questions)):
        content = "".join(json.dumps(value) + "\n" for value in values).encode()
        paths.append(folder / name)
        paths[-1].write_bytes(gzip.compress(content) if packed else content)

    return QuestionEvaluation(*paths)


@pytest.mark.parametrize("collisions", ["baked", "learned", "rule"])
def test_files_are_answered_by_every_preset_and_the_executor(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path, collisions: Any
) -> None:
    options = files(tmp_path, [scene_line(), scene_line(8)], [WHY, COUNT, WRONG], packed=True)
    options = dataclasses.replace(options, collisions=collisions)
    results = reasoning.evaluate(trained[0], None, options)
    json.dumps(results)

    assert set(results["presets"]) == {"scaled", "compartment"}
    for graph in results["presets"].values():
        assert graph["explanatory"] == {"per_option": 1, "per_question": 1, "num_questions": 1, "num_options": 1}
        assert graph["descriptive"]["num_questions"] == 2
        assert graph["descriptive"]["subtypes"]["count"]["per_option"] == 1

    plain = results["executor"]
    assert (plain["descriptive"]["per_option"], plain["descriptive"]["refusals"]) == (0.5, 1)
    assert results["num_scenes"] == 1  # the others are not asked about


def test_what_if_questions_are_answered_with_and_without_the_causal_link(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    # observed: blue meets gray at 30, before red could do anything; the roll-out without red forgot it
    scene = scene_line(collisions=[[30, 1, 2], [60, 0, 1]], counterfactual={"0": []})
    options = files(tmp_path, [scene], [WITHOUT])
    causal = reasoning.evaluate(trained[0], None, options)

    assert causal["presets"]["compartment"]["counterfactual"]["per_option"] == 1
    assert causal["executor"]["counterfactual"]["per_option"] == 1

    rolled = reasoning.evaluate(trained[0], None, dataclasses.replace(options, causal=False))
    assert rolled["presets"]["compartment"]["counterfactual"]["per_option"] == 0


@pytest.mark.parametrize(
    ("scenes", "questions", "message"),
    [
        ([scene_line()], [{**COUNT, "video": 9}], "question 1 is about video 9, but there is no scene of it among 1"),
        ([scene_line()], [{**COUNT, "answer": None}], "known answers"),
        ([scene_line()], [{**COUNT, "program": "objects cuont"}], "did you mean 'count'"),
        ([scene_line(objects=[RED, RED, BLUE])], [COUNT], "both a red metal cube"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path, scenes: Any, questions: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        reasoning.evaluate(trained[0], None, files(tmp_path, scenes, questions))


def test_scenes_and_questions_belong_together(trained: tuple[Run, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--questions is missing"):
        reasoning.evaluate(trained[0], None, QuestionEvaluation(scenes=tmp_path))
    with pytest.raises(ConfigError, match="did you mean 'scaled'"):
        QuestionEvaluation(presets=("scale",))


def test_shares_are_counted_by_option_question_and_subtype() -> None:
    two = Question(1, "explanatory", ("belong_to",), (Choice(("a",), answer="correct"), Choice(("b",), answer="wrong")))
    open_ = dataclasses.replace(two, choices=(*two.choices, Choice(("c",))))
    count = Question(1, "descriptive", ("count",), subtype="count", answer="2")
    shares = tally([two, open_, count], [["correct", "correct"], ["correct", "wrong", "wrong"], [None]], refusals=True)

    assert shares["explanatory"] == {
        "per_option": 0.75, "per_question": 0.5, "num_questions": 2, "num_options": 4, "refusals": 0
    }  # fmt: skip
    assert shares["descriptive"]["subtypes"]["count"]["refusals"] == 1
    assert "predictive" not in shares


def true_and_perceived() -> SceneSet:
    """The same video; the perceived scene has its objects in another order, and takes the gray one for a red one."""
    samples = [[0, [[0, 1.0, 2.0]]], *[[5 * t, [[0, 1.0, 2.0], [1, 9.0, 2.0], [2, 5.0, 9.0]]] for t in range(1, 26)]]
    near = Scene.from_lists(7, [RED, BLUE, GRAY], samples, [[80, 1, 0], [33, 0, 1], [50, 1, 2]])
    places = [[5 * t, [[0, 9.0, 2.0], [1, 5.0, 9.0], [2, 1.0, 2.0]]] for t in range(26)]
    return SceneSet([Scene.from_lists(7, [BLUE, ["red", "metal", "cylinder"], RED], places, [])], [near])


def test_labels_match_objects_by_their_values_and_take_the_first_collision() -> None:
    scenes = true_and_perceived()
    pairs = candidate_pairs(scenes.perceived)

    assert pairs.objects.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert collision_labels(pairs, scenes).tolist() == [UNKNOWN, 33.0, UNKNOWN]

    apart = SceneSet(
        scenes.perceived, [dataclasses.replace(scenes.reference[0], collisions=scenes.reference[0].collisions[:0])]
    )
    assert collision_labels(pairs, apart).tolist() == [UNKNOWN, NEVER, UNKNOWN]


def test_presence_labels_say_where_an_object_truly_is_and_of_one_in_view_whether_it_moves() -> None:
    there, moves = presence_labels(true_and_perceived()).unbind(-1)
    assert there[:3, 0].tolist() == [0.0, 1.0, 1.0]
    assert there[:, 1].isnan().all()
    assert there[:, 2].tolist() == [1.0] * 26
    assert moves[0, 0].isnan()
    assert moves[1:, 0].tolist() == [0.0] * 25
    assert moves[:, 1].isnan().all()


def test_a_frame_between_samples_is_shared_by_both() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0, 3.0]])
    logs = scores.log_softmax(1)[0]

    assert collision_time_loss(scores, torch.tensor([6.0])).item() == pytest.approx(
        float(-0.8 * logs[1] - 0.2 * logs[2])
    )
    assert collision_time_loss(scores, torch.tensor([99.0])).item() == pytest.approx(float(-logs[2]))


def test_explanatory_questions_have_a_threshold_of_their_own() -> None:
    assert [threshold_kind(kind) for kind in KINDS] == ["descriptive", "explanatory", "descriptive", "descriptive"]


def test_made_questions_are_answered_as_the_executor_does() -> None:
    chain = Scene.from_lists(
        7,
        [RED, BLUE, GRAY],
        [[0, [[1, 9.0, 9.0], [2, 20.0, 9.0]]], [5, [[0, 1.0, 9.0], [1, 9.0, 9.0], [2, 20.0, 9.0]]]],
        [[20, 0, 1], [40, 1, 2]],
    )

    questions = cause_questions([chain], max_choices=9)
    assert [len(question.choices) for question in questions] == [5, 5]  # three objects, an entrance, the other meeting

    values, refusals = execute([chain], questions)
    assert [list(question.answers) for question in questions] == values
    # before red meets blue only red has come; before blue meets gray red has come and met blue
    assert values == [
        ["correct", "wrong", "wrong", "correct", "wrong"],
        ["correct", "correct", "wrong", "correct", "correct"],
    ]

    assert all(reason is None for row in refusals for reason in row)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "above 0"),
        ({"num_features": 12}, "multiple of 8"),
        ({"jitter": -1.0}, "jitter"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(QUICK, **settings)


def test_the_presets_can_be_written_down_and_read_back(tmp_path: Path) -> None:
    for name, preset in reasoning.PRESETS.items():
        run = Run.create(tmp_path / name, "reasoning", preset)
        assert Run.open(run.path).config_as(reasoning.Config) == preset


def test_a_run_of_the_last_release_opens_with_its_parts(tmp_path: Path) -> None:
    plain = {**to_plain(QUICK), "parts": ["detector", "parser"], "size": "quick"}
    assert from_plain(reasoning.Config, plain) == QUICK

    run = Run.create(tmp_path / "run", "reasoning", QUICK)
    for act in (reasoning.evaluate, reasoning.report):
        with pytest.raises(ConfigError, match="no trained collision unit; train one with spikebridge train reasoning"):
            act(run)


def test_the_example_fits_the_unit() -> None:
    x = reasoning.example(QUICK)["collisions"]
    y, _ = reasoning.build(QUICK)["collisions"](x)
    assert y.shape == (1, x.shape[1], 2)


def test_no_video_with_a_real_question_is_trained_on_and_none_with_a_silver_one_is_chosen_on(tmp_path: Path) -> None:
    (tmp_path / "clevrer").mkdir()
    videos = range(10)
    content = {
        "scenes_propnet": [scene_line(video) for video in videos],
        "scenes_near_truth": [scene_line(video) for video in reversed(videos)],
        "questions_explanatory_real": [{**WHY, "video": 3}, {**WHY, "video": 8}],
        "questions_explanatory_train_texts": [],
        "questions_descriptive_explanatory_silver": [{**COUNT, "video": video} for video in range(0, 10, 2)],
        "questions_counterfactual_texts": [],
    }

    for name, rows in content.items():
        with gzip.open(tmp_path / "clevrer" / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    split = real_split(num_validation=4, seed=0, data=tmp_path)
    named = [[scene.video for scene in part.perceived] for part in split]

    assert named == [[scene.video for scene in part.reference] for part in split]
    assert named[2] == [3, 8]

    train, validation, _ = named
    assert validation and all(video % 2 for video in validation)
    assert len(train) == 4 and not {*train, 3, 8} & {*validation}
