"""The signals recipe end to end, at the size of its quick preset, on generated gestures."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikebridge.analysis.summary import num_parameters
from spikebridge.cli.main import main
from spikebridge.data.signals.series import make_series
from spikebridge.deploy.quantization.config import QConfig
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import generated_gestures, load_series, with_classes
from spikebridge.networks.signals.model.network import VARIANTS
from spikebridge.networks.signals.report import compare
from spikebridge.networks.signals.tasks import classify
from spikebridge.networks.signals.tasks.classify import evaluate_file
from spikebridge.networks.signals.training.train import (
    answers,
    train_windows,
    training_batches,
)
from spikebridge.recipes.quantize import QuantizeOptions, quantize_run
from spikebridge.training import Run

pytestmark = pytest.mark.untyped

QUICK = signals.PRESETS["quick"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    run = Run.create(tmp_path_factory.mktemp("signals") / "run", "signals", QUICK)
    return run, signals.train(QUICK, run, quiet=True)


@pytest.fixture(scope="module")
def gestures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gestures of other people, in the general form."""
    series = generated_gestures(num_people=3, num_each=4, seed=5)
    path = tmp_path_factory.mktemp("data") / "gestures.npz"
    names = np.array(series.label_names)

    np.savez(
        path,
        samples=np.asarray(series.samples),
        starts=[*series.starts, series.stops[-1]],
        rate_hz=50,
        label=names[series.label],
        group=np.array(series.group_names)[series.group],
    )
    return path


def test_every_network_learns_far_above_chance_on_people_not_seen(trained: tuple[Run, dict[str, Any]]) -> None:
    accuracy = {row["network"]: row["accuracy %"] for row in trained[1]["networks"]}
    assert set(accuracy) == set(VARIANTS)
    # chance is 33 %, and the SNN alone needs more epochs than quick has
    assert min(accuracy.values()) > 45
    assert min(accuracy["learned"], accuracy["ann"]) > 60


def test_the_people_that_are_scored_are_those_left_out(trained: tuple[Run, dict[str, Any]]) -> None:
    assert [row["person"] for row in trained[1]["people"]] == ["person 1", "person 4"]


def test_the_twins_have_equal_numbers_of_parameters() -> None:
    for preset in signals.PRESETS.values():
        if preset.dataset != "own":
            sizes = [num_parameters(network) for network in signals.build(preset).values()]
            assert max(sizes) <= 1.05 * min(sizes)
            assert max(sizes) <= 50_000


def test_evaluating_again_gives_the_same_accuracies(trained: tuple[Run, dict[str, Any]]) -> None:
    run, results = trained
    again = signals.evaluate(Run.open(run.path))
    assert again["people"] == results["people"]


def test_the_report_is_one_file_with_every_network(trained: tuple[Run, dict[str, Any]]) -> None:
    page = signals.report(trained[0]).read_text()
    assert all(name in page for name in VARIANTS)
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_file_is_scored_with_accuracy_and_people(
    trained: tuple[Run, dict[str, Any]], gestures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(trained[0].path), "--data", str(gestures), "--json"]) == 0

    results = json.loads(capsys.readouterr().out)
    assert set(results["per_group"]) == {"person 1", "person 2", "person 3"}
    assert results["accuracy"] == pytest.approx(np.mean(list(results["per_group"].values())))
    assert results["accuracy"] > 0.6


def test_eight_bits_cost_at_most_a_window_or_two(trained: tuple[Run, dict[str, Any]]) -> None:
    options = QuantizeOptions(network="learned", num_calibration=48)
    (row,) = quantize_run(signals, trained[0], None, QConfig(), options)["networks"]
    assert abs(row["accuracy after"] - row["accuracy"]) <= 2.1 / 48
    assert row["bytes after"] < 0.5 * row["bytes"]


def test_everybody_is_trained_on_where_there_are_no_folds(tmp_path: Path) -> None:
    training = dataclasses.replace(QUICK.training, copies=1, epochs=1)
    config = dataclasses.replace(QUICK, networks=("ann",), folds=(), training=training)
    run = Run.create(tmp_path / "run", "signals", config)
    results = signals.train(config, run, quiet=True)

    assert len(results["people"]) == 6
    assert list(run.children()) == ["ann/seed-0"]
    assert signals.evaluate(run)["people"] == results["people"]


def test_answers_after_the_end_of_a_recording_change_nothing() -> None:
    network = signals.build(QUICK)["learned"].eval()
    batch = signals.example(QUICK)
    batch["weight"] = torch.ones(4, 4)
    batch["weight"][2:, 0] = 0
    longer = answers(network, batch)
    batch["frames"][2:, 0] += 5

    assert torch.equal(longer[-1, 0], answers(network, batch)[-1, 0])
    assert torch.equal(longer[-1, 0], longer[1, 0])


def test_modality_dropout_changes_the_training_of_a_hybrid_alone() -> None:
    series = generated_gestures(num_people=1, num_each=2)
    sensor = Sensor(QUICK.sensor, series.rate_hz, series.num_channels)

    def weights(name: str, share: float) -> torch.Tensor:
        training = dataclasses.replace(QUICK.training, copies=1, epochs=1, modality_dropout=share)
        torch.manual_seed(0)
        network = signals.build(QUICK)[name]
        train_windows(network, training_batches(sensor, sensor.windows(series), training, 0), training, 0)

        return torch.cat([x.flatten() for x in network.state_dict().values()])

    assert torch.equal(weights("ann", 0.0), weights("ann", 0.3))
    assert not torch.equal(weights("learned", 0.0), weights("learned", 0.3))


def test_a_training_ends_with_the_mean_weights_of_its_last_steps() -> None:
    series = generated_gestures(num_people=1, num_each=2)
    sensor = Sensor(QUICK.sensor, series.rate_hz, series.num_channels)

    def weights(num_steps: int, share: float) -> torch.Tensor:
        # a batch holds three windows of twelve: four steps
        training = dataclasses.replace(QUICK.training, copies=2, epochs=1, batch_size=3, averaging=share)
        data = training_batches(sensor, sensor.windows(series), training, 0)

        assert len(data.tensors["label"]) == 3 * num_steps

        torch.manual_seed(0)
        network = signals.build(QUICK)["ann"]
        train_windows(network, data, training, 0)

        return torch.cat([x.detach().flatten() for x in network.parameters()])

    last, one, two = (weights(4, share) for share in (0.0, 0.01, 0.5))
    assert torch.equal(last, one)
    assert not torch.equal(last, two)


def test_labels_of_a_file_are_found_by_name_or_taken_as_places() -> None:
    series = make_series([np.zeros(3)] * 2, 50, label=["wave", "rest"])
    assert with_classes(series, ["wave", "rest"]).label.tolist() == [0, 1]
    with pytest.raises(DataError, match="the label 'wave', not a class"):
        with_classes(series, ["waves", "rest"])


def test_a_comparison_is_made_in_pairs_of_people() -> None:
    def row(anna: float, ben: float) -> dict[str, Any]:
        costs = dict.fromkeys(("macs", "synops", "front_end_macs", "energy_uj", "updates"), 0.0)
        people = {"anna": anna, "ben": ben}

        return {
            "per_group": people,
            "parameters": 1,
            "accuracy_by_answer": [0.01 * number for number in range(1, 36)],
            **{f"{k}_per_second": v for k, v in costs.items()},
        }

    results = compare({"learned": [row(0.6, 0.9)], "ann": [row(0.5, 0.8)], "snn": [row(0.7, 0.7)]})
    against = {found["network"]: found for found in results["learned against"]}

    # both people gain 10 points, although they differ by 30
    assert against["ann"] == {"network": "ann", "points": 10.0, "sd": 0.0, "it is": "ahead"}
    assert against["snn"]["it is"] == "level"

    # 35 answers are seven columns, with the last one
    answers = {name: value for name, value in results["accuracy by answer"][0].items() if name != "network"}
    assert answers == {str(number): float(number) for number in range(5, 36, 5)}


@pytest.mark.parametrize(("folds", "people"), [((), "no estimate for others"), ((0,), "left out of the training")])
def test_results_say_whether_the_people_were_in_the_training(folds: tuple[int, ...], people: str) -> None:
    assert people in classify._scored_on(dataclasses.replace(QUICK, folds=folds))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": ("lerned",)}, "did you mean 'learned'"),
        ({"training": {"epochs": 0}}, "above 0"),
        ({"sensor": {"seconds": 0.0}}, "above 0"),
        ({"num_seeds": 0}, "num_seeds"),
        ({"training": {"modality_dropout": 0.6}}, "from 0 to 0.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        groups = {
            name: dataclasses.replace(getattr(QUICK, name), **v) if isinstance(v, dict) else v
            for name, v in settings.items()
        }
        dataclasses.replace(QUICK, **groups)


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="out of range"):
        signals.NetworkConfig(hidden=0)


def test_a_fold_that_is_not_there_and_a_set_without_file_are_refused(tmp_path: Path) -> None:
    config = dataclasses.replace(QUICK, folds=(9,))
    with pytest.raises(ConfigError, match="folds from 0 to 2"):
        signals.train(config, Run.create(tmp_path / "a", "signals", config), quiet=True)

    with pytest.raises(ConfigError, match="a file: --data my"):
        signals.build(dataclasses.replace(QUICK, dataset="own"))


def test_series_of_another_rate_are_refused(
    gestures: Path, trained: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    arrays = dict(np.load(gestures))
    np.savez(tmp_path / "other.npz", **{**arrays, "rate_hz": 100})
    with pytest.raises((DataError, ConfigError), match="50 Hz"):
        evaluate_file(trained[0], QUICK, load_series("own", tmp_path / "other.npz"))


def test_the_presets_can_be_written_down_and_read_back(tmp_path: Path) -> None:
    for name, preset in signals.PRESETS.items():
        run = Run.create(tmp_path / name, "signals", preset)
        assert Run.open(run.path).config_as(signals.Config) == preset


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"samples": lambda x: np.clip(3 * x, -1, 1)}, "are clipped"),
        ({"samples": lambda x: x * [1, 0, 1]}, "channel 1 never changes"),
        ({"label": lambda label: np.full_like(label, "wave")}, "a classifier needs two classes"),
        ({"label": lambda label: np.where(np.arange(len(label)), "wave", "fist")}, "have one series only"),
        ({"group": lambda group: np.full_like(group, "anna")}, "one group only, so the series are split at random"),
    ],
)
def test_doubtful_series_of_ones_own_are_trained_on_with_a_warning(
    changes: dict[str, Any], warned: str, gestures: Path, tmp_path: Path
) -> None:
    arrays = dict(np.load(gestures))
    np.savez(tmp_path / "own.npz", **{**arrays, **{name: change(arrays[name]) for name, change in changes.items()}})
    training = dataclasses.replace(QUICK.training, copies=1, epochs=1)
    config = dataclasses.replace(
        QUICK, dataset="own", data=tmp_path / "own.npz", networks=("ann",), folds=(0,), num_folds=2, training=training
    )

    with pytest.warns(UserWarning) as caught:
        signals.train(config, Run.create(tmp_path / "run", "signals", config), quiet=True)

    assert any(warned in str(one.message) for one in caught)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": lambda x: x[:, :2]}, "channels come in threes .* but there are 2"),
        ({"samples": lambda x: np.where(np.arange(len(x))[:, None] == 7, np.nan, x)}, "3 of .* values are NaN"),
        ({"label": lambda label: np.where(np.arange(len(label)) == 1, "", label)}, "have an empty one"),
        ({"rate_hz": lambda rate: 0.05}, "below one sample at 0.05 Hz"),
    ],
)
def test_series_of_ones_own_that_cannot_be_trained_on_are_refused(
    changes: dict[str, Any], message: str, gestures: Path, tmp_path: Path
) -> None:
    arrays = dict(np.load(gestures))
    np.savez(tmp_path / "own.npz", **{**arrays, **{name: change(arrays[name]) for name, change in changes.items()}})
    config = dataclasses.replace(QUICK, dataset="own", data=tmp_path / "own.npz", networks=("ann",))

    with pytest.raises((ConfigError, DataError), match=message):
        signals.train(config, Run.create(tmp_path / "run", "signals", config), quiet=True)
