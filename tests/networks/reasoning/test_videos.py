"""The whole chain: pixels and words in, answers and pages out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from research.reasoning.question_answering.videos import Tally, score_videos, wilson
from spikebridge.cli.main import main
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.explain.ask import Observation, answer_question, load_observation
from spikebridge.networks.reasoning.explain.page import explanation_page
from spikebridge.networks.reasoning.simulation.files import write_video
from spikebridge.networks.reasoning.simulation.render import render_frames
from spikebridge.networks.reasoning.simulation.video import generate_video
from spikebridge.pretrained.perception import shipped_detector, shipped_parser

pytestmark = pytest.mark.untyped

WHY = "What is responsible for the collision between the green object and the cyan object?"
CHOICES = ["the presence of the blue cube", "the presence of the brown sphere"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "rolling.npz"
    write_video(path, render_frames(generate_video("validation", 0)))
    return path


@pytest.fixture(scope="module")
def observation(video: Path) -> Observation:
    return load_observation(video, shipped_detector())


def test_pixels_and_words_are_answered_far_above_guessing() -> None:
    tally = score_videos("validation", range(40, 44), shipped_detector(), shipped_parser())
    results = tally.results()
    kept = Tally()
    kept.add(json.loads(json.dumps(tally.plain())))

    assert kept.results() == results
    assert results["misread"] == results["refused"] == 0
    for kind in ("descriptive", "explanatory", "counterfactual"):
        # the stated floor: 80 % of whole questions, where guessing has 5 to 40 %
        assert results[kind]["per_question"] >= 0.8 > 0.45 > results[kind]["guess_per_question"]
        assert results[kind]["per_option"] >= results[kind]["per_question"]


def test_the_interval_of_a_share_holds_the_share() -> None:
    low, high = wilson(19, 20)
    assert 0.7 < low < 0.95 < high < 1
    assert wilson(20, 20)[1] == pytest.approx(1)


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(words)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_ask_answers_at_the_command_line(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "why.html"
    words = ["ask", str(video), WHY, "--choices", *CHOICES, "--explain", str(page), "--json"]
    code, out, _ = run(words, capsys)
    result: dict[str, Any] = json.loads(out)

    assert code == 0
    assert [one["value"] for one in result["choices"]] == ["correct", "wrong"]
    assert result["kind"] == "explanatory"

    text = page.read_text()
    assert text.count("data:image/png;base64,") >= 4
    assert "the presence of the brown sphere" in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_ask_about_a_scene_chooses_the_scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scenes.jsonl"
    objects = [["red", "metal", "cube"], ["blue", "rubber", "sphere"]]
    scene = {"objects": objects, "collisions": [[5, 0, 1]], "trajectory": [[0, [[0, 9, 9], [1, 5, 5]]], [5, []]]}
    path.write_text("\n".join(json.dumps({"video": number, **scene}) for number in (7, 8)))
    code, out, _ = run(["ask", str(path), "How many collisions happen?", "--video", "8"], capsys)

    assert (code, out.split()[0]) == (0, "1")

    code, _, err = run(["ask", str(path), "How many collisions happen?"], capsys)
    assert code == 2
    assert "holds 2 scenes; name one with --video, such as 7" in err

    path.with_suffix(".json").write_text("[]")
    code, _, err = run(["ask", str(path.with_suffix(".json")), "How many collisions happen?"], capsys)

    assert code == 2
    assert "expected scenes, but there are none" in err
    with pytest.raises(DataError, match="is a video of one scene, but got --video 7; leave it out"):
        load_observation(tmp_path / "film.npz", shipped_detector(), "7")

    picture = explanation_page(
        load_observation(path, shipped_detector(), "7"),
        answer_question(load_observation(path, shipped_detector(), "7"), shipped_parser(), "Are there any cubes?"),
    )

    assert "data:image/png;base64," in picture


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Is there any heavy box?"], "unknown word 'heavy'"),
        (["Which event will happen next?"], "needs choices to judge"),
        (["How many cubes are there?", "--choices", "the red cube's exit"], "has no choices"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    video: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(["ask", str(video), *words], capsys)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_another_kind_of_video_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "0.png")
    code, _, err = run(["ask", str(tmp_path), "How many cubes are there?"], capsys)
    assert code == 2
    assert "144 x 96 pixels, but this video has 30 x 20" in err


def test_a_question_with_one_answer_has_a_page_of_its_own(observation: Observation) -> None:
    answered = answer_question(
        observation, shipped_parser(), "What color is the first object to collide with the green object?"
    )
    assert answered.answers[0].value == "blue"

    page = explanation_page(observation, answered)
    assert "object_memory" in page or "object[" in page
    assert "frame 0: the video begins" in page
