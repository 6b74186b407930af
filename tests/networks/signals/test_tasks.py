"""The tasks detect and forecast of the signals recipe, on generated hearts and waves."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikebridge.cli.main import main
from spikebridge.data.signals.series import make_series
from spikebridge.deploy.quantization.config import QConfig, qconfigs_for
from spikebridge.deploy.quantization.network import quantize
from spikebridge.errors import ConfigError, DataError, ExportError
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.config import Config, ForecastConfig
from spikebridge.networks.signals.data.beats import generated_heart
from spikebridge.networks.signals.model.beats import beat_network
from spikebridge.networks.signals.tasks import detect
from spikebridge.networks.signals.training.beats import BeatConfig, train_beats
from spikebridge.recipes.quantize import QuantizeOptions, quantize_run
from spikebridge.training.run.run import Run, follow_rows

BEATS = BeatConfig(neurons=4, steps=8, batch_size=4, piece_seconds=2.0, lr=0.02, seconds=30.0)
DETECT = Config(dataset="generated", task="detect", networks=("learned",), beats=BEATS)


@pytest.fixture(scope="module", autouse=True)
def two_levels_of_noise() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detect, "_SNRS", (None, 0.0))
        yield


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    run = Run.create(tmp_path_factory.mktemp("detect") / "run", "signals", DETECT)
    return run, signals.train(DETECT, run, quiet=True)


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("forecast")
    t = np.arange(400)
    waves = np.concatenate([3 + np.sin(0.3 * t) + 0.5 * np.sin(0.11 * t), 3 + np.cos(0.25 * t)])
    np.savez(folder / "waves.npz", samples=waves, starts=[0, 400, 800], rate_hz=10)
    sizes = ForecastConfig(taps=8, features=60, spiking=6)
    config = Config(
        dataset="own", data=folder / "waves.npz", task="forecast", networks=("ann", "fixed"), forecast=sizes
    )
    run = Run.create(folder / "run", "signals", config)

    return run, signals.train(config, run, quiet=True)


def write_heart(path: Path, **changes: Any) -> Path:
    heart = generated_heart(12.0, seed=3)
    arrays = {"samples": heart[0], "rate_hz": 360, "beat_at": heart.marks, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def evaluated(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["eval", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_detectors_are_scored_with_and_without_noise_beside_pan_and_tompkins(
    detector: tuple[Run, dict[str, Any]],
) -> None:
    run, results = detector
    rows = results["detectors"]

    assert {row["detector"] for row in rows} == {"learned", "learned, fixed threshold", "Pan-Tompkins"}
    assert {row["noise"] for row in rows} == {"none", "0 dB"}
    assert results["beats"] >= 9  # a third of 30 s
    assert next(row for row in rows if row["detector"] == "Pan-Tompkins")["sensitivity %"] > 80
    assert signals.evaluate(Run.open(run.path)) == results
    assert "Pan-Tompkins" in signals.report(run).read_text()


def test_a_file_of_marked_beats_is_scored(
    detector: tuple[Run, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluated(capsys, str(detector[0].path), "--data", str(write_heart(tmp_path / "heart.npz")))
    assert results["dataset"] == "generated"

    right = results["beats"] - results["missed"]
    assert results["beats"] > 10
    assert results["accuracy"] == pytest.approx(right / (results["beats"] + results["false"]))
    assert results["per_group"] == {"all": results["accuracy"]}


def test_a_detector_in_integers_keeps_its_ann_in_floats() -> None:
    network = signals.build(DETECT)["learned"].eval()
    ecg = {"ecg": signals.calibration(DETECT, 2)["ecg"][: 3 * 360]}
    with pytest.raises(ExportError, match="has no integer form"):
        quantize(network, ecg, qconfigs_for([], QConfig()))

    whole = quantize(network, ecg, qconfigs_for(list(signals.regions(DETECT)), QConfig()))
    outputs, _ = whole(ecg)

    assert outputs["snn"].shape == (1080, 2, 1)

    measured = signals.measure(network, DETECT)
    assert set(measured) == {"sensitivity", "precision"}


def test_a_stopped_training_of_a_detector_resumes_to_the_same_weights(tmp_path: Path) -> None:
    heart = generated_heart(8.0)
    ecg = torch.from_numpy(heart[0])
    config = BeatConfig(steps=54, batch_size=1, piece_seconds=1.0)

    def trained(run: Run) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = beat_network(num_neurons=2)
        train_beats(network, ecg, heart.marks, config, run=run)
        return network.state_dict()

    def stop(row: dict[str, Any]) -> None:
        if row.get("step") == 53:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"), follow_rows(stop):
        trained(Run.create(tmp_path / "cut", "signals", DETECT))

    resumed = trained(Run.create(tmp_path / "cut", "signals", DETECT, resume=True))
    whole = trained(Run.create(tmp_path / "whole", "signals", DETECT))

    assert all(resumed[name].equal(whole[name]) for name in whole)


def test_a_wave_is_forecast_on_the_predictions_of_the_network(
    forecaster: tuple[Run, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, results = forecaster
    assert {row["network"]: row["series"] for row in results["networks"]} == {"ann": 2, "fixed": 2}
    assert results["networks"][0]["NRMSE"] < 0.1
    assert signals.evaluate(Run.open(run.path)) == results

    found = evaluated(capsys, str(run.path), "--data", str(run.path.parent / "waves.npz"))
    # the network that is fitted to the first wave, which is one of the two
    assert found["per_group"]["0"] == pytest.approx(results["series"][0]["ann"], abs=0.01)
    assert "sMAPE" in signals.report(run).read_text()


def test_forecasters_have_no_use_in_integers(forecaster: tuple[Run, dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="stays in floating point"):
        quantize_run(signals, forecaster[0], None, QConfig(), QuantizeOptions())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "ecg_100", "task": "classify"}, "give --task detect"),
        ({"dataset": "watch", "task": "forecast"}, "give --task classify"),
        ({"beats": {"steps": 0}}, "above 0"),
        ({"beats": {"seconds": 5.0}}, "30 s or more"),
        ({"forecast": {"spiking": 900}}, "out of range"),
    ],
)
def test_settings_of_a_task_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        values = {
            name: dataclasses.replace(getattr(Config(), name), **value) if isinstance(value, dict) else value
            for name, value in settings.items()
        }
        dataclasses.replace(Config(), **values)


def test_networks_of_another_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'forecast' has the networks fixed, ann, snn, but got learned"):
        signals.build(dataclasses.replace(DETECT, task="forecast"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beat_at": None}, "no marked beats"),
        ({"rate_hz": 250}, "reads 360 Hz, but the series have 250; nothing is resampled"),
        ({"starts": [0, 2000, 4320]}, "one recording, but there are 2"),
        ({"beat_at": [5000 - 800]}, "need a marked beat each"),
    ],
)
def test_recordings_that_a_detector_cannot_be_trained_on_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = dataclasses.replace(DETECT, dataset="own", data=write_heart(tmp_path / "heart.npz", **changes))
    config = dataclasses.replace(config, beats=dataclasses.replace(BEATS, seconds=None))
    with pytest.raises(DataError, match=message):
        signals.train(config, Run.create(tmp_path / "run", "signals", config), quiet=True)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((200, 2)), "reads one channel, but the series have 2"),
        (np.arange(50.0), "100 samples or more"),
        (np.concatenate([np.ones(100), np.arange(100.0)]), "does not change in its first half"),
    ],
)
def test_series_that_cannot_be_forecast_are_refused(samples: np.ndarray, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", samples=samples, rate_hz=10)
    config = Config(dataset="own", data=tmp_path / "x.npz", task="forecast", networks=("ann",))
    with pytest.raises(DataError, match=message):
        signals.train(config, Run.create(tmp_path / "run", "signals", config), quiet=True)


def test_a_heart_is_the_same_from_the_same_seed() -> None:
    one = generated_heart(5.0, seed=1)
    other = generated_heart(5.0, seed=2)

    assert np.array_equal(one[0], generated_heart(5.0, seed=1)[0])
    assert not np.array_equal(one[0], other[0])
    assert make_series([one[0]], 360).num_channels == 2
