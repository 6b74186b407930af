"""Scene files of CLEVRER (K. Yi et al., ICLR 2020) and of programs that perceive its videos.

| layout | a scene's keys |
|---|---|
| ours, JSON lines | `video`, `objects`, `collisions`, `trajectory`, `counterfactual`: `{removed: rows}`, `truth` |
| original annotation, JSON | `scene_index`, `object_property`, `motion_trajectory`, `collision` |
| old simulated scenes, JSON | `objects`, `predictions` with `what_if`, `trajectory`, `collisions` |

Each may be compressed with gzip, be in a list, or in a folder with one file for each scene. The last two are read by
their published schema and were tested only on small files of our own. Nothing is clipped, dropped or guessed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikebridge.data.io.json_stream import json_objects
from spikebridge.errors import DataError, did_you_mean
from spikebridge.networks.reasoning.data.scene import Scene

MAX_OBJECTS = 128
_MAX_COLLISIONS = 4096
# Original annotations give places in units of the simulated table; contact at 0.4 units is then 16, as elsewhere.
_PIXELS_PER_UNIT = 40.0
_OFFSET = 75.0

_EXPECTED = "scenes"
_SUFFIXES = (".json", ".jsonl", ".gz")
_PICKLES = (".p", ".pkl", ".pickle")
_OURS = ("video", "objects", "collisions", "trajectory", "counterfactual", "truth")
_ORIGINAL = ("scene_index", "video_filename", "object_property", "motion_trajectory", "collision")
_SIMULATED = ("objects", "predictions", "video", "scene_index", "video_index")


def read_scenes(path: Path) -> list[Scene]:
    """The scenes of a file, or of all files of a folder.

    Args:
        path: a file of one of the layouts above, or a folder of such files.

    Raises:
        DataError: with the place: a file that is missing, damaged or of another layout; an unknown value, an object
            that is not listed, two equal objects, a coordinate that is not finite or has diverged, too many objects or
            collisions, a video that is listed twice.
    """
    scenes: dict[int | str, Scene] = {}
    for place, plain, default in _documents(path):
        scene = read_scene(plain, place, default)
        if scene.video in scenes:
            raise DataError(f"{place}: video {scene.video} is listed twice")
        scenes[scene.video] = scene

    return list(scenes.values())


def read_scene(plain: Mapping[str, Any], place: str, video: int | str | None = None) -> Scene:
    """One scene from plain values of one of the three layouts; `video` is its number if the values do not name it."""
    try:
        if "motion_trajectory" in plain or "object_property" in plain:
            return _original(plain, place, video)
        if "predictions" in plain:
            return _simulated(plain, place, video)
        return _ours(plain, place, video)
    except DataError as error:
        raise error if str(error).startswith(place) else DataError(f"{place}: {error}") from error
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError) as error:
        raise DataError(f"{place}: this scene does not follow its layout ({error!r:.120})") from error


def _documents(path: Path) -> Iterator[tuple[str, Mapping[str, Any], int | None]]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in (*_SUFFIXES, *_PICKLES))
        if not files:
            raise DataError(f"{path}: expected a folder of scenes, but it has no {', '.join(_SUFFIXES)} file")
    else:
        files = [path]

    for file in files:
        if file.suffix in _PICKLES:
            raise DataError(
                f"{file}: pickled scenes are not read; research/reasoning/pickled_scenes.py writes them as JSON lines"
            )

        # files of a folder may have the number of the video only in their name
        number = re.search(r"(\d+)\D*$", file.name.partition(".")[0])
        default = int(number[1]) if number else None
        yield from ((place, plain, default) for place, plain in json_objects(file, _EXPECTED))


def _ours(plain: Mapping[str, Any], place: str, video: int | str | None) -> Scene:
    _require(plain, ("objects", "collisions", "trajectory"), _OURS, place)
    what_if = plain.get("counterfactual") or {}
    if not isinstance(what_if, Mapping):
        raise DataError(f"{place}: counterfactual is {{removed object: collisions}}, but got {what_if!r:.60}")

    name = _name_of(plain, ("video",), video, place)
    scene = _scene(name, plain["objects"], plain["trajectory"], plain["collisions"], what_if, place)
    truth = plain.get("truth")
    if truth is None:
        return scene

    _require(truth, ("objects", "collisions"), ("objects", "collisions", "in", "out"), f"{place}, truth")
    return replace(scene, truth=_scene(name, truth["objects"], [], truth["collisions"], {}, f"{place}, truth"))


def _original(plain: Mapping[str, Any], place: str, video: int | str | None) -> Scene:
    _require(plain, ("object_property", "motion_trajectory", "collision"), _ORIGINAL, place)
    index = _indices([entry["object_id"] for entry in plain["object_property"]], place)
    objects = [[entry["color"], entry["material"], entry["shape"]] for entry in plain["object_property"]]

    trajectory = []
    for sample in plain["motion_trajectory"]:
        rows = []
        for entry in sample["objects"]:
            if entry.get("inside_camera_view", True):
                x, y = (_OFFSET + _PIXELS_PER_UNIT * coordinate for coordinate in entry["location"][:2])
                rows.append([_index_of(entry["object_id"], index, place), x, y])
        trajectory.append([sample["frame_id"], rows])

    collisions = [
        [entry["frame_id"], *(_index_of(object_id, index, place) for object_id in entry["object_ids"])]
        for entry in plain["collision"]
    ]
    return _scene(_name_of(plain, ("scene_index",), video, place), objects, trajectory, collisions, {}, place)


def _simulated(plain: Mapping[str, Any], place: str, video: int | str | None) -> Scene:
    _require(plain, ("objects", "predictions"), _SIMULATED, place)
    index = _indices([entry.get("id", i) for i, entry in enumerate(plain["objects"])], place)
    triples = [[entry["color"], entry["material"], entry["shape"]] for entry in plain["objects"]]

    def number(entry: Any) -> int:
        """An object by its three values, or by its id."""
        if not isinstance(entry, Mapping):
            return _index_of(entry, index, place)

        triple = [entry.get(kind) for kind in ("color", "material", "shape")]
        return triples.index(triple) if triple in triples else _index_of(entry.get("id", triple), index, place)

    def collisions(run: Mapping[str, Any]) -> list[list[Any]]:
        return [[entry["frame"], *map(number, entry["objects"])] for entry in run["collisions"]]

    # -1 marks the run in which no object is removed
    observed = [run for run in plain["predictions"] if run.get("what_if", -1) == -1]
    others = [run for run in plain["predictions"] if run.get("what_if", -1) != -1]
    if not observed:
        raise DataError(f"{place}: predictions need the one that was observed, what_if = -1, but have none")

    trajectory = [
        [sample["frame_index"], [[number(entry), entry["x"], entry["y"]] for entry in sample["objects"]]]
        for sample in observed[-1]["trajectory"]
    ]
    what_if = {_index_of(run["what_if"], index, place): collisions(run) for run in others}
    name = _name_of(plain, ("video", "scene_index", "video_index"), video, place)

    return _scene(name, triples, trajectory, collisions(observed[-1]), what_if, place)


def _scene(
    video: int | str,
    objects: Any,
    trajectory: Any,
    collisions: Any,
    what_if: Mapping[Any, Sequence[Any]],
    place: str,
) -> Scene:
    for name, rows in (("objects", objects), ("trajectory", trajectory), ("collisions", collisions)):
        if not isinstance(rows, list):
            raise DataError(f"{place}: {name} is a list, but got {rows!r:.60}")

    if len(objects) > MAX_OBJECTS:
        raise DataError(f"{place}: {len(objects)} objects, but at most {MAX_OBJECTS} are read")

    for name, rows in (("collisions", collisions), *((f"collisions without {k}", v) for k, v in what_if.items())):
        if len(rows) > _MAX_COLLISIONS:
            raise DataError(f"{place}: {len(rows)} {name}, but at most {_MAX_COLLISIONS} are read")

    return Scene.from_lists(video, objects, trajectory, collisions, dict(what_if))


def _require(plain: Mapping[str, Any], required: Sequence[str], keys: Sequence[str], place: str) -> None:
    if not isinstance(plain, Mapping):
        raise DataError(f"{place}: a scene is an object with names, but got {plain!r:.60}")

    for name in required:
        if name not in plain:
            unknown = [key for key in plain if key not in keys]
            hint = did_you_mean(name, unknown) if unknown else f"Known: {', '.join(keys)}."
            raise DataError(f"{place}: a scene needs {name!r}, but has {', '.join(map(str, plain))}; {hint}")


def _name_of(plain: Mapping[str, Any], keys: Sequence[str], default: int | str | None, place: str) -> int | str:
    return video_name(next((plain[key] for key in keys if key in plain), default), place)


def video_name(value: Any, place: str) -> int | str:
    """A video's number or name: `"10000"` is 10000."""
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise DataError(f"{place}: expected the number or name of a video, but got {value!r}")

    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _indices(ids: Sequence[Any], place: str) -> dict[Any, int]:
    index = {object_id: i for i, object_id in enumerate(ids)}
    if len(index) != len(ids):
        raise DataError(f"{place}: two objects have one id among {list(ids)}")
    return index


def _index_of(object_id: Any, index: Mapping[Any, int], place: str) -> int:
    if object_id not in index:
        raise DataError(f"{place}: object {object_id!r} is not listed; listed are {', '.join(map(str, index))}")
    return index[object_id]
