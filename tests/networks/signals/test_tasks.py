"""The task detect of the signals recipe, on generated hearts."""

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
from spikebridge.networks.signals.config import Config
from spikebridge.networks.signals.data.beats import generated_heart
from spikebridge.networks.signals.model.beats import beat_network
from spikebridge.networks.signals.tasks import detect
from spikebridge.networks.signals.training import beats
from spikebridge.networks.signals.training.beats import train_beats
from spikebridge.networks.signals.training.train import LearningConfig
from spikebridge.training.run.run import Run, follow_rows

pytestmark = pytest.mark.untyped

DETECT = Config(dataset="generated", task="detect", networks=("learned",), training=LearningConfig(detector_steps=8))


@pytest.fixture(scope="module", autouse=True)
def two_levels_of_noise_and_small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detect, "_SNRS", (None, 0.0))
        patch.setattr(beats, "_BATCH_SIZE", 2)
        yield


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    run = Run.create(tmp_path_factory.mktemp("detect") / "run", "signals", DETECT)
    return run, signals.train(DETECT, run, quiet=True)


def write_heart(path: Path, **changes: Any) -> Path:
    heart = generated_heart(12.0, seed=3)
    arrays = {"samples": heart[0], "rate_hz": 360, "beat_at": heart.marks, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def evaluated(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["eval", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_detectors_are_compared_with_pan_and_tompkins_with_and_without_noise(
    detector: tuple[Run, dict[str, Any]],
) -> None:
    run, results = detector
    rows = results["detectors"]

    assert {row["detector"] for row in rows} == {"learned", "learned, fixed threshold", "Pan-Tompkins"}
    assert {row["noise"] for row in rows} == {"none", "0 dB"}
    assert results["beats"] >= 30  # a third of 90 s, one beat a second or more
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


def test_a_detector_is_trained_further_at_a_lower_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "_RETRAINING_STEPS", 1)
    monkeypatch.setattr(beats, "_PIECE_LENGTH", 360)
    network = signals.build(DETECT)["learned"]
    before = network.parts["mix"].weight.detach().clone()
    signals.retrain(network, DETECT, 2)
    change = float((network.parts["mix"].weight.detach() - before).abs().max())

    # two steps of Adam at a tenth of 0.005 and less
    assert 0 < change <= 2 * 0.1 * 0.0052


def test_a_stopped_training_of_a_detector_resumes_to_the_same_weights(tmp_path: Path) -> None:
    heart = generated_heart(8.0)
    ecg = torch.from_numpy(heart[0])

    def trained(run: Run) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = beat_network(num_neurons=2)
        train_beats(network, ecg, heart.marks, 54, run=run)
        return network.state_dict()

    def stop(row: dict[str, Any]) -> None:
        if row.get("step") == 53:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"), follow_rows(stop):
        trained(Run.create(tmp_path / "cut", "signals", DETECT))

    resumed = trained(Run.create(tmp_path / "cut", "signals", DETECT, resume=True))
    whole = trained(Run.create(tmp_path / "whole", "signals", DETECT))

    assert all(resumed[name].equal(whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "ecg_100", "task": "classify"}, "give --task detect"),
        ({"dataset": "watch", "task": "detect"}, "give --task classify"),
        ({"training": {"detector_steps": 0}}, "above 0"),
    ],
)
def test_settings_of_a_task_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        values = {
            name: dataclasses.replace(getattr(Config(), name), **value) if isinstance(value, dict) else value
            for name, value in settings.items()
        }
        dataclasses.replace(Config(), **values)


def test_networks_of_another_task_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'detect' has the networks learned, but got ann"):
        signals.build(dataclasses.replace(DETECT, networks=("ann",)))


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
    with pytest.raises(DataError, match=message):
        signals.train(config, Run.create(tmp_path / "run", "signals", config), quiet=True)


def test_a_heart_is_the_same_from_the_same_seed() -> None:
    one = generated_heart(5.0, seed=1)
    other = generated_heart(5.0, seed=2)

    assert np.array_equal(one[0], generated_heart(5.0, seed=1)[0])
    assert not np.array_equal(one[0], other[0])
    assert make_series([one[0]], 360).num_channels == 2
