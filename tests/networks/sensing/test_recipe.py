"""The sensing recipe end to end, at the size of its quick preset or below."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.deploy import QConfig, QConfigMapping, quantize
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation import benchmark as sensing_scores
from spikebridge.networks.sensing.training.datasets import training_data
from spikebridge.networks.sensing.training.objectives import random_flip_samples
from spikebridge.networks.sensing.training.phases import load_part
from spikebridge.networks.sensing.training.samples import TrackingSamples
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run

pytestmark = pytest.mark.untyped


def changed(config: sensing.Config, **changes: Any) -> sensing.Config:
    """The same settings with other values: `detector__epochs=0` for those of a group."""
    for name, value in changes.items():
        group, _, inner = name.partition("__")
        value = dataclasses.replace(getattr(config, group), **{inner: value}) if inner else value
        config = dataclasses.replace(config, **{group: value})

    return config


QUICK = sensing.PRESETS["quick"]
# the same with half the features, on smaller crops
SMALL = changed(
    QUICK,
    model__num_features=4,
    model__crop=64,
    model__reach=12,
    pathways__epochs=2,
    detector__epochs=1,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    run = Run.create(tmp_path_factory.mktemp("sensing") / "run", "sensing", SMALL)
    return run, sensing.train(SMALL, run, quiet=True)


def test_the_network_beats_hold_and_constant_velocity(trained: tuple[Run, dict[str, Any]]) -> None:
    rows = {row["tracker"]: row for row in trained[1]["trackers"]}
    # the stated floor: half of hold, and better than a velocity from exact boxes
    assert rows["learned"]["distance px"] < 0.5 * rows["hold"]["distance px"]
    assert rows["learned"]["of constant velocity"] < 0.8
    assert rows["learned"]["auc"] > rows["constant velocity"]["auc"]
    assert rows["constant velocity"]["of constant velocity"] == 1.0


def test_the_error_grows_with_the_bins_since_the_frame(trained: tuple[Run, dict[str, Any]]) -> None:
    rows = {row["tracker"]: row for row in trained[1]["distance by bin"]}
    assert all(row["1"] < row["6"] for row in rows.values())


def test_evaluating_again_gives_the_same_figures(
    trained: tuple[Run, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    run, results = trained
    with caplog.at_level("INFO", "spikebridge"):
        assert sensing.evaluate(Run.open(run.path)) == results
    assert "tracking with learned (1 of 1)" in caplog.messages


def test_a_detector_can_be_loaded_from_another_run_with_its_record(trained: tuple[Run, dict[str, Any]]) -> None:
    run, _ = trained
    (child,) = run.children().values()
    torch.manual_seed(7)
    network, trained_network = (sensing.build(SMALL)["learned"] for _ in range(2))
    child.load_weights(trained_network)
    pathways = [p.clone() for name, p in network.named_parameters() if not name.startswith("finder.")]
    record = load_part(network, "finder", run.path, child)

    assert network.detector is not None and trained_network.detector is not None
    for loaded, saved in zip(network.detector.parameters(), trained_network.detector.parameters(), strict=True):
        assert torch.equal(loaded, saved)

    after = [p for name, p in network.named_parameters() if not name.startswith("finder.")]
    assert all(torch.equal(a, b) for a, b in zip(pathways, after, strict=True))
    assert record == {"finder": {"config": child.config, "environment": child.environment()}}

    with pytest.raises(ConfigError, match=r"the detector of .* cannot be loaded"):
        load_part(network, "finder", child.path, child)

    assert set(load_part(network, "pathways", run.path, child)) == {"pathways"}
    for loaded, saved in zip(network.parameters(), trained_network.parameters(), strict=True):
        assert torch.equal(loaded, saved)

    with pytest.raises(ConfigError, match="another network"):
        other = sensing.build(changed(SMALL, model__num_features=8))["learned"]
        load_part(other, "pathways", run.path, child)


def test_with_the_pathways_of_another_run_only_the_detector_is_trained(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    run, results = trained
    config = changed(SMALL, pathways__weights_from=str(run.path))
    again = sensing.train(config, Run.create(tmp_path / "again", "sensing", config), quiet=True)
    figures = ("distance px", "shaken 1 px")
    assert [again["trackers"][0][name] for name in figures] == [results["trackers"][0][name] for name in figures]

    (child,) = Run.open(tmp_path / "again").children().values()
    (first,) = run.children().values()
    record = {"pathways": {"config": first.config, "environment": first.environment()}}

    assert child.results()["pathways"] == record["pathways"]

    # a run that loads them from there names the run that trained them
    network = sensing.build(SMALL)["learned"]
    assert load_part(network, "pathways", tmp_path / "again", child) == record

    with pytest.raises(ConfigError, match="only the detector"):
        changed(SMALL, pathways__weights_from="a", detector__weights_from="b")


def test_a_quantised_network_is_measured_as_a_tracker(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("a network is traced with placeholders, which are no tensors to a type checker")

    config = changed(SMALL, num_scenes=1, detector__epochs=0)
    network = sensing.build(config)["learned"].eval()
    regions = QConfigMapping(tuple(QConfig(path) for path in sensing.REGIONS))
    quantised: Any = quantize(network, sensing.calibration(config, 4), regions)
    expected = sensing.measure(network, config)["mean_distance_px"]

    assert sensing.measure(quantised, config)["mean_distance_px"] == pytest.approx(expected, abs=0.1)


def test_a_stopped_run_is_refused_with_its_missing_part(trained: tuple[Run, dict[str, Any]], tmp_path: Path) -> None:
    config = changed(SMALL, networks=("learned", "fixed"))
    stopped = Run.create(tmp_path / "stopped", "sensing", config)
    shutil.copytree(trained[0].path / "runs", stopped.path / "runs")

    with pytest.raises(DataError, match="no results yet"):
        sensing.report(stopped)

    with pytest.raises(ConfigError, match="no trained fixed/seed-0"):
        sensing.evaluate(stopped)


def test_the_report_is_one_file_with_every_tracker(trained: tuple[Run, dict[str, Any]]) -> None:
    page = sensing.report(trained[0]).read_text()
    assert all(name in page for name in ("learned", "hold", "constant velocity"))
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_flipped_sample_is_flipped_in_all_its_parts() -> None:
    torch.manual_seed(0)
    size = 9
    # not the middle of the crop
    place = torch.tensor([2.0, -3.0])
    picture = torch.zeros(64, 1, size, size)
    picture[:, 0, 4 - 3, 4 + 2] = 1.0
    boxes = torch.cat([place, torch.tensor([5.0, 7.0])]).repeat(64, 1)
    events = picture.repeat(1, 2, 1, 1).unsqueeze(0)
    samples = TrackingSamples(picture, picture, events, boxes, place.repeat(64, 1), place.repeat(1, 64, 1), picture)
    flipped = random_flip_samples(samples)

    # all mirrorings and both orders of axes
    assert len({tuple(row) for row in flipped.boxes.tolist()}) == 8
    for i in range(64):
        x, y, w, _ = flipped.boxes[i].tolist()
        for pictures in (flipped.frames[i, 0], flipped.before[i, 0], flipped.events[0, i, 0], flipped.after[i, 0]):
            assert pictures[4 + int(y), 4 + int(x)] == 1.0
        assert (w == 5.0) == (abs(x) == 2.0)
        assert flipped.motion[i].tolist() == flipped.truths[0, i].tolist() == [x, y]


def test_the_example_fits_every_network() -> None:
    inputs = sensing.example(QUICK)
    for network in sensing.build(changed(QUICK, networks=tuple(sensing.VARIANTS))).values():
        outputs, _ = network({name: inputs[name] for name in network.inputs}, ticks=6)
        assert outputs["head"].shape == (6, 1, 65, 65)


def test_fewer_frames_are_fewer_starts() -> None:
    (part,) = sensing_parts.recording_parts("generated", "validation", 1, frame_step=4)
    assert part.recording.num_frames == 5
    with pytest.raises(ConfigError, match="fewer than three"):
        sensing_parts.recording_parts("generated", "validation", 1, frame_step=10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": ("lerned",)}, "did you mean 'learned'"),
        ({"networks": ()}, "at least one network"),
        ({"networks": ("learned", "learned")}, "'learned' is chosen twice"),
        ({"seed": -1}, "seed should be at least 0"),
        ({"pathways__epochs": 0}, "above 0"),
        ({"model__reach": 0}, "above 0"),
        ({"detector__box_noise": -1.0}, "box_noise"),
        ({"model__crop": 97}, "a multiple of 2, but got 97"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed(QUICK, **settings)


def test_the_flat_settings_of_the_run_folder_of_version_0_1_are_read() -> None:
    run = shipped_run("sensing_research")
    assert run is not None
    assert {"crop", "finding_epochs", "recall"} <= run.config.keys()

    config = run.config_as(sensing.Config)
    assert config.model == sensing.ModelConfig(crop=96)
    assert config.detector.epochs == 18
    assert config.pathways.weights_from == "src/spikebridge/pretrained/sensing_research"
    assert config.detector.box_noise == 1.2


def test_a_run_of_a_variant_that_left_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", "sensing", SMALL)
    path = run.path / "config.json"
    written = json.loads(path.read_text())
    model = written["config"]["model"]

    written["config"]["model"] = {**model, "change_map": "linear"}
    path.write_text(json.dumps(written))
    assert Run.open(run.path).config_as(sensing.Config) == SMALL

    written["config"]["model"] = {**model, "change_map": "tanh"}
    path.write_text(json.dumps(written))
    with pytest.raises(ConfigError, match="change_map"):
        Run.open(run.path).config_as(sensing.Config)


def test_the_presets_can_be_written_down_and_read_back(tmp_path: Path) -> None:
    for name, preset in sensing.PRESETS.items():
        run = Run.create(tmp_path / name, "sensing", preset)
        assert Run.open(run.path).config_as(sensing.Config) == preset
        json.loads((run.path / "config.json").read_text())


@pytest.fixture(scope="module")
def own() -> Recording:
    """56 frames, of which 34 to 54 are the test part."""
    return render_recording(
        RotatingDisk(height=64, width=64), duration=1.4, dt=1 / 240, image_interval=1 / 240, name="own"
    )


def with_boxes(recording: Recording, folder: Path, monkeypatch: pytest.MonkeyPatch, **boxes: Any) -> str:
    """A folder that loads as the recording with other boxes."""
    other = dataclasses.replace(recording, **boxes)
    monkeypatch.setattr(sensing_parts, "load_recording", lambda *_, **__: other)
    return str(folder)


def test_the_folder_of_another_recording_is_used_like_the_real_one(
    own: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_boxes(own, tmp_path, monkeypatch)
    (train,) = sensing_parts.recording_parts(folder, "train", 4)
    (test,) = sensing_parts.recording_parts(folder, "test", 4)

    assert train.recording is test.recording and train.recording.name == "own"
    assert (train.frames, test.frames) == (range(2, 28), range(34, 55))
    with pytest.raises(ConfigError, match="recording 'reel' is neither the folder of a recording nor one of auto"):
        sensing_parts.recording_parts("reel", "train", 4)


def test_a_part_begins_at_its_first_boxes_and_one_without_boxes_is_refused_before_training(
    own: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = own.frame_boxes.copy()
    boxes[20:40] = float("nan")
    folder = with_boxes(own, tmp_path, monkeypatch, frame_boxes=boxes)

    assert sensing_parts.recording_parts(folder, "test", 4)[0].frames == range(41, 55)
    with pytest.raises(DataError, match=r"own: expected two .* but its part 'validation' has none"):
        sensing_parts.recording_parts(folder, "validation", 4)


def test_boxes_at_frames_alone_train(own: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a bin has the box of the frame at its end, if there is one
    boxes = np.full_like(own.boxes, np.nan)
    boxes[own.frame_bins[1:] - 1] = own.frame_boxes[1:]
    folder = with_boxes(own, tmp_path, monkeypatch, boxes=boxes)
    config = changed(SMALL, recording=folder, detector__epochs=0)
    truths = training_data(config).pathways.tensors["truths"]

    assert truths[:-1].isnan().all() and truths[-1].isfinite().all()

    run = Run.create(tmp_path / "run", "sensing", config)
    results = sensing.train(config, run, quiet=True)

    # the last bin alone has boxes to compare with
    assert [list(row) for row in results["distance by bin"]] == [["tracker", "6"]] * 3
    assert all(parameter.isfinite().all() for parameter in sensing.tracker(run).sensing.parameters())


def test_missing_clips_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tracking").mkdir()
    monkeypatch.setenv("SPIKEBRIDGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="there are no clips"):
        training_data(changed(SMALL, clips=True))


def test_a_bin_that_never_has_a_box_is_left_out_of_the_table(
    own: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = own.boxes.copy()
    boxes[3::6] = float("nan")
    scored = sensing_parts.recording_parts(with_boxes(own, tmp_path, monkeypatch, boxes=boxes), "test", 4)
    rows = sensing_scores.compare({}, scored)["distance by bin"]

    assert [list(row) for row in rows] == [["tracker", "1", "2", "3", "5", "6"]] * 2
