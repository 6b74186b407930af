"""The digits recipe end to end, at the size of its quick preset."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from spikebridge.errors import ConfigError
from spikebridge.networks.digits import recipe as digits
from spikebridge.networks.digits.report import compare
from spikebridge.training import Run

pytestmark = pytest.mark.untyped

QUICK = digits.PRESETS["quick"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    run = Run.create(tmp_path_factory.mktemp("digits") / "run", "digits", QUICK)
    return run, digits.train(QUICK, run, quiet=True)


def test_every_network_learns_far_above_chance(trained: tuple[Run, dict[str, Any]]) -> None:
    _, results = trained
    accuracy = {row["network"]: row["accuracy %"] for row in results["networks"]}

    assert set(accuracy) == set(digits.VARIANTS)
    # chance is 10 %; a network whose gradient did not flow stays there
    assert min(accuracy.values()) > 40
    assert accuracy["learned"] > 60


def test_the_table_has_operations_energy_and_time(trained: tuple[Run, dict[str, Any]]) -> None:
    rows = {row["network"]: row for row in trained[1]["networks"]}
    assert rows["ann"]["ksynop"] == 0
    assert rows["ann"]["kupdate"] == 0
    assert rows["snn"]["ksynop"] > 0
    assert all(row["energy nJ"] > 0 and row["ms a tick"] > 0 for row in rows.values())

    # 512 + hidden neurons, 12 steps: every neuron is updated in every step
    hidden = digits.build(QUICK)["snn"].parts["where"].fc.out_features
    assert rows["snn"]["kupdate"] == pytest.approx(12 * (512 + hidden) / 1e3, abs=0.01)


def test_evaluating_again_gives_the_same_accuracies(
    trained: tuple[Run, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    run, results = trained
    with caplog.at_level("INFO", "spikebridge"):
        again = digits.evaluate(Run.open(run.path))

    assert "evaluating learned/seed-0 (2 of 4)" in caplog.messages
    assert [row["accuracy %"] for row in again["networks"]] == [row["accuracy %"] for row in results["networks"]]


def test_the_report_is_one_file_with_every_network(trained: tuple[Run, dict[str, Any]]) -> None:
    run, _ = trained
    page = digits.report(run).read_text()
    assert all(name in page for name in digits.VARIANTS)
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_run_that_lost_a_network_trains_only_that_one_to_the_same_numbers(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    run, results = trained
    shutil.copytree(run.path, tmp_path / "run")
    lost = tmp_path / "run" / "runs" / "snn" / "seed-0"
    shutil.rmtree(lost)
    kept = (tmp_path / "run" / "runs" / "ann" / "seed-0" / "results.json").stat().st_mtime_ns
    again = digits.train(QUICK, Run.create(tmp_path / "run", "digits", QUICK, resume=True), quiet=True)
    without_time = [{k: v for k, v in row.items() if k != "ms a tick"} for row in again["networks"]]

    assert without_time == [{k: v for k, v in row.items() if k != "ms a tick"} for row in results["networks"]]
    assert (tmp_path / "run" / "runs" / "ann" / "seed-0" / "results.json").stat().st_mtime_ns == kept


def test_recordings_do_not_depend_on_the_seed() -> None:
    small = dataclasses.replace(QUICK, num_train=8)
    first, _ = digits.recordings(small)
    second, _ = digits.recordings(dataclasses.replace(small, seed=5))
    assert torch.equal(first.events, second.events)


def test_a_frame_step_leaves_fewer_frames_and_the_same_number_of_answers() -> None:
    config = dataclasses.replace(QUICK, camera=digits.Camera(frame_step=4))
    inputs = digits.example(config)

    assert len(inputs["frames"]) == 1

    outputs, _ = digits.build(config)["learned"](inputs, ticks=12)
    assert len(outputs["answer"]) == 4


def test_a_run_of_the_last_release_opens_without_the_network_that_left(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    old = dataclasses.replace(QUICK, networks=("learned", "fixed"))
    run = Run.create(tmp_path / "run", "digits", old)
    for name in old.networks:
        shutil.copytree(trained[0].path / "runs" / "learned", run.path / "runs" / name)

    run.save_results(compare({name: [run.first_child(name).results()] for name in old.networks}))
    again = digits.evaluate(Run.open(run.path))

    assert [row["network"] for row in again["networks"]] == ["learned"]
    # figures that were measured stay in the report
    assert "fixed" in digits.report(run).read_text()

    with pytest.raises(ConfigError, match=r"'fixed' of digits left the recipe; research/digits/variants.py"):
        digits.train(old, run, quiet=True)
    with pytest.raises(ConfigError, match="'modulation' of digits left"):
        digits.build(dataclasses.replace(QUICK, networks=("modulation",)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": ("lerned",)}, "did you mean 'learned'"),
        ({"networks": ()}, "at least one network"),
        ({"networks": ("ann", "snn", "ann")}, "'ann' is chosen twice"),
        ({"num_train": 0}, "num_train should be at least 1"),
        ({"seed": -1}, "seed should be at least 0"),
        ({"lr": float("inf")}, "lr should be a number above 0"),
        ({"camera": {"num_steps": 10}}, "should divide"),
        ({"camera": {"num_steps": 0}}, "num_steps should be at least 1"),
        ({"epochs": 0}, "above 0"),
        ({"camera": {"noise": -1.0}}, "noise"),
        ({"camera": {"event_loss": 2.0}}, "loss"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        if "camera" in settings:
            settings = {"camera": digits.Camera(**settings["camera"])}
        dataclasses.replace(QUICK, **settings)


def test_the_verdict_needs_two_standard_errors() -> None:
    def seeds(*values: float) -> list[dict[str, Any]]:
        costs = dict.fromkeys(("macs", "synops", "updates", "energy_nj", "tick_ms"), 0.0)
        return [{"accuracy": v, "accuracy_by_window": [v], "parameters": 1, **costs} for v in values]

    scores = {"learned": seeds(0.95, 0.96, 0.97), "ann": seeds(0.90, 0.91, 0.92), "snn": seeds(0.97, 0.95, 0.97)}
    rows = {row["network"]: row for row in compare(scores)["learned against"]}

    assert rows["ann"] == {"network": "ann", "points": 5.0, "sd": 0.0, "learned is": "ahead"}
    assert rows["snn"]["learned is"] == "level"


def test_the_presets_can_be_written_down_and_read_back(tmp_path: Path) -> None:
    for name, preset in digits.PRESETS.items():
        run = Run.create(tmp_path / name, "digits", preset)
        assert Run.open(run.path).config_as(digits.Config) == preset
        json.loads((run.path / "config.json").read_text())
