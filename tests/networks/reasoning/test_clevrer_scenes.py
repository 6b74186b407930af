"""Scene files of three layouts, and everything that is wrong with some of them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.clevrer_scenes import MAX_OBJECTS, read_scene, read_scenes

OURS: dict[str, Any] = {
    "video": 10000,
    "objects": [["red", "metal", "cube"], ["blue", "rubber", "sphere"], ["red", "rubber", "cube"]],
    "collisions": [[85, 1, 0], [30, 2, 0], [145, 0, 1]],
    "trajectory": [[0, [[0, 10.0, 20.0]]], [5, [[1, 30.0, 40.0], [0, 11.0, 20.0]]]],
    "counterfactual": {"0": [[160, 2, 1]], "2": []},
}
ORIGINAL: dict[str, Any] = {
    "scene_index": 3,
    "video_filename": "video_00003.mp4",
    "object_property": [
        {"object_id": 4, "color": "red", "material": "metal", "shape": "cube"},
        {"object_id": 7, "color": "blue", "material": "rubber", "shape": "sphere"},
    ],
    "motion_trajectory": [
        {
            "frame_id": 0,
            "objects": [
                {"object_id": 7, "location": [1.0, -0.5, 0.2], "inside_camera_view": True},
                {"object_id": 4, "location": [9.0, 0.0, 0.2], "inside_camera_view": False},
            ],
        }
    ],
    "collision": [{"frame_id": 61, "object_ids": [7, 4], "location": [0, 0, 0]}],
}
RED = {"color": "red", "material": "metal", "shape": "cube"}  # fmt: skip
BLUE = {"color": "blue", "material": "rubber", "shape": "sphere"}
SIMULATED: dict[str, Any] = {
    "objects": [{"id": 0, **RED}, {"id": 1, **BLUE}],
    "predictions": [
        {
            "what_if": -1,
            "trajectory": [{"frame_index": 5, "objects": [{"id": 1, **BLUE, "x": 3.0, "y": 4.0}]}],
            "collisions": [{"frame": 30, "objects": [{**RED, "x": 1, "y": 2}, BLUE]}],
        },
        {"what_if": 1, "trajectory": [], "collisions": []},
    ],
}


def with_(**changes: Any) -> dict[str, Any]:
    return {**OURS, **changes}


def lines(path: Path, *scenes: Any) -> Path:
    path.write_text("".join(json.dumps(scene) + "\n" for scene in scenes))
    return path


def test_a_scene_of_our_layout_is_read(tmp_path: Path) -> None:
    (scene,) = read_scenes(lines(tmp_path / "scenes.jsonl", OURS))
    assert scene.video == 10000
    assert scene.objects[1] == ("blue", "rubber", "sphere")
    assert scene.collisions.tolist() == [[85, 1, 0], [30, 2, 0]]
    assert scene.predicted.tolist() == [[145, 0, 1]]
    assert {k: v.tolist() for k, v in scene.what_if.items()} == {0: [[160, 2, 1]], 2: []}
    assert scene.positions[1, 1].tolist() == [30.0, 40.0]
    assert not scene.visible[0, 1]


def test_a_near_truth_scene_has_no_roll_outs(tmp_path: Path) -> None:
    plain = {name: value for name, value in OURS.items() if name != "counterfactual"}
    assert read_scenes(lines(tmp_path / "scenes.jsonl", plain))[0].what_if == {}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("packed", [False, True])
def test_lines_lists_and_documents_packed_or_not_are_the_same(tmp_path: Path, packed: bool, indent: int | None) -> None:
    second = with_(video="10001")
    content = json.dumps([OURS, second], indent=indent).encode()
    path = tmp_path / "scenes"
    path.write_bytes(gzip.compress(content) if packed else content)

    assert [scene.video for scene in read_scenes(path)] == [10000, 10001]


def test_original_annotations_are_read_by_their_published_schema(tmp_path: Path) -> None:
    (tmp_path / "annotation_00003.json").write_text(json.dumps(ORIGINAL, indent=2))
    (scene,) = read_scenes(tmp_path)

    assert scene.video == 3
    assert scene.objects == (("red", "metal", "cube"), ("blue", "rubber", "sphere"))
    assert scene.collisions.tolist() == [[61, 1, 0]]
    assert scene.positions[0, 1].tolist() == [75 + 40, 75 - 20]
    assert not scene.visible[0, 0]  # outside of the camera's view


def test_a_simulated_scene_takes_its_number_from_the_name_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "sim_00012.json").write_text(json.dumps(SIMULATED))
    (scene,) = read_scenes(tmp_path / "sim_00012.json")
    assert (scene.video, scene.collisions.tolist(), scene.positions[0, 1].tolist()) == (12, [[30, 0, 1]], [3.0, 4.0])
    assert list(scene.what_if) == [1]


BAD = [
    (with_(objects=[["redd", "metal", "cube"]]), "unknown color 'redd'; did you mean 'red'"),
    (with_(objects=[["red", "metal", "cube"], ["red", "metal", "cube"]]), "objects 0 and 1 are both a red metal cube"),
    (with_(trajectory=[[0, [[5, 1.0, 2.0]]]]), "frame 0: object 5 is not listed; there are 3 objects"),
    (with_(collisions=[[3, 0, 9]]), "frame 3: object 9 is not listed"),
    (with_(collisions=[[3, 1, 1]]), "object 1 collides with itself"),
    (with_(trajectory=[[0, [[0, float("nan"), 2.0]]]]), "not finite or has diverged"),
    (with_(trajectory=[[0, [[0, 1e37, 2.0]]]]), "not finite or has diverged"),
    (with_(trajectory=[[0, [[0, float("inf"), 2.0]]]]), "not finite or has diverged"),
    (with_(trajectory=[[0.5, []]]), "expected a frame as an integer"),
    (with_(trajectory=[[0, []], [0, []]]), "frame 0 is listed twice"),
    (with_(trajectory={"0": []}), "trajectory is a list"),
    (with_(trajectory=[[0, [["a"]]]]), "does not follow its layout"),
    (with_(trajectory=[[0, [["1_0", 1.0, 2.0]]]]), "object '1_0' is not listed"),
    (with_(trajectory=[[0, [[True, 1.0, 2.0]]]]), "object True is not listed"),
    (with_(trajectory=[[0, [[0, True, 2.0]]]]), "coordinates are numbers"),
    (with_(collisions=[[3, 0, 1], [3, 1, 0]]), "frame 3: objects 1 and 0 are listed twice"),
    (with_(counterfactual=[1]), "removed object: collisions"),
    (with_(counterfactual={"7": []}), "what_if: object '7' is not listed"),
    ({**OURS, "video": None}, "number or name of a video"),
    ({"video": 1, "object": [], "collisions": [], "trajectory": []}, "needs 'objects'.*did you mean 'object'"),
    (with_(objects=[["red", "metal", "cube"]] * (MAX_OBJECTS + 1)), "129 objects, but at most 128"),
    (with_(collisions=[[frame, 0, 1] for frame in range(4097)]), "4097 collisions, but at most 4096"),
    ({**ORIGINAL, "collision": [{"frame_id": 1, "object_ids": [7, 5]}]}, "object 5 is not listed; listed are 4, 7"),
    ({**ORIGINAL, "object_property": [ORIGINAL["object_property"][0]] * 2}, "two objects have one id"),
    ({**SIMULATED, "video": 1, "predictions": []}, "what_if = -1"),
    (7, "each a JSON object"),
]  # fmt: skip


@pytest.mark.parametrize(("plain", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, plain: Any, message: str) -> None:
    path = lines(tmp_path / "bad.jsonl", OURS, plain)
    with pytest.raises(DataError, match=message) as caught:
        read_scenes(path)
    assert f"{path}, line 2" in str(caught.value)


def test_a_video_stands_there_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: video 10000 is listed twice"):
        read_scenes(lines(tmp_path / "twice.jsonl", OURS, with_(video="10000")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b'{"video": 1,\n', "no JSON"),
        (b"hello", "no JSON"),
        (b"[" * 100_000, "JSON that nests deeper"),
        (gzip.compress(json.dumps(OURS).encode())[:-20], "damaged"),
        (b"\x1f\x8b\x08rubbish", "damaged"),
        (json.dumps(OURS).encode() + b"\n{", "line 2: this is no JSON"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_scenes(tmp_path / "bad.jsonl")


def test_a_long_line_and_a_packed_bomb_are_not_taken_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikebridge.data.io.json_stream.MAX_LINE_BYTES", 2000)
    monkeypatch.setattr("spikebridge.data.io.json_stream.MAX_BYTES", 5000)
    line = json.dumps(OURS).encode()
    (tmp_path / "long").write_bytes(line + b"\n" + line[:-1] + b" " * 3000 + b"}")

    with pytest.raises(DataError, match="line 2: longer than 2000 bytes"):
        read_scenes(tmp_path / "long")

    (tmp_path / "bomb").write_bytes(
        gzip.compress(b"".join(json.dumps(with_(video=i)).encode() + b"\n" for i in range(50)))
    )
    with pytest.raises(DataError, match="at most 5000 bytes"):
        read_scenes(tmp_path / "bomb")

    monkeypatch.setattr("spikebridge.data.io.json_stream.MAX_DOCUMENT_BYTES", 100)
    (tmp_path / "document").write_text(json.dumps([OURS], indent=1))
    with pytest.raises(DataError, match="more than 100 bytes"):
        read_scenes(tmp_path / "document")


def test_missing_files_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_scenes(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="expected a folder of scenes"):
        read_scenes(tmp_path)


def test_the_real_scenes_are_read_whole(real_set: Any) -> None:
    paths = {path.name: path for path in real_set("clevrer")}
    noisy = paths["scenes_propnet.jsonl.gz"]
    with gzip.open(noisy, "rt") as file:
        first = [json.loads(next(file)) for _ in range(50)]

    scenes = [read_scene(plain, "line") for plain in first]
    assert [scene.video for scene in scenes] == [plain["video"] for plain in first]
    assert scenes[0].predicted.tolist() == [[145, 3, 2]]
