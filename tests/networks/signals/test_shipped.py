"""The shipped weights of spoken digits and of the watch, on a few series of the real sets."""

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikebridge.analysis.summary import num_parameters
from spikebridge.cli.main import main
from spikebridge.data.signals.files import read_series
from spikebridge.networks.signals import recipe as signals
from spikebridge.pretrained.models import load_pretrained

pytestmark = pytest.mark.untyped


def some_series(path: Path, step: int) -> dict[str, NDArray[Any]]:
    """Every `step`-th series of a file of a set, with all of its keys."""
    arrays = dict(np.load(path))
    starts = arrays["starts"]
    samples = arrays["samples"]
    chosen = np.arange(0, len(starts) - 1, step)
    pieces = [samples[starts[i] : starts[i + 1]] for i in chosen]
    number = len(starts) - 1
    kept = {name: array[chosen] if array.shape == (number,) else array for name, array in arrays.items()}
    ends = np.cumsum([0, *(len(piece) for piece in pieces)])

    return {**kept, "samples": np.concatenate(pieces), "starts": ends}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, real_set: Callable[[str], tuple[Path, ...]]) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sets")
    for name, step in (("spoken_digits", 41), ("watch", 9), ("myo", 300)):
        (path,) = real_set(name)
        np.savez(folder / f"{name}.npz", **some_series(path, step))

    arrays = dict(np.load(folder / "watch.npz"))
    names = arrays["exercise_names"]
    general = {name: arrays[name] for name in ("samples", "starts", "rate_hz", "units_per_one")}
    np.savez(folder / "general.npz", **general, label=names[arrays["exercise"]], group=arrays["person"])

    return {path.stem: path for path in folder.glob("*.npz")}


def evaluated(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    assert main(["eval", "signals", "--data", str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", ["spoken_digits", "watch"])
def test_a_shared_set_is_recognised_and_its_weights_are_taken(
    name: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluated(capsys, files[name])
    assert results["dataset"] == name
    # these people were trained on, and the result says so
    assert results["accuracy"] > 0.85
    assert set(results["trained on"]) == set(results["per_group"])
    assert len(results["per_group"]) >= 5
    assert min(results["per_group"].values()) > 0.6


def test_the_general_form_of_the_same_series_gives_the_same_accuracies(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    known, general = (evaluated(capsys, files[name]) for name in ("watch", "general"))
    assert known["accuracy"] == general["accuracy"]
    assert known["per_group"] == general["per_group"]


def test_a_set_without_shipped_weights_is_refused_with_the_reason(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "signals", "--data", str(files["myo"])]) == 2

    message = capsys.readouterr().err
    assert "GPL" in message
    assert "train" in message
    assert len(message.strip().splitlines()) == 1


def test_beats_of_a_file_are_scored_by_the_shipped_detector(
    tmp_path: Path, real_set: Callable[[str], tuple[Path, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = real_set("ecg_100")
    arrays = dict(np.load(path))
    start = len(arrays["samples"]) * 2 // 3
    stop = len(arrays["samples"]) * 2 // 3 + 60 * 360
    beats = arrays["beat_at"][(arrays["beat_at"] >= start) & (arrays["beat_at"] < stop)] - start
    millivolt = (arrays["samples"][start:stop] - float(arrays["zero"])) / float(arrays["units_per_millivolt"])
    np.savez(tmp_path / "minute.npz", samples=millivolt, rate_hz=360, beat_at=beats)
    results = evaluated(capsys, tmp_path / "minute.npz")  # of the third that was not trained on

    assert results["beats"] == len(beats)
    assert results["errors"] <= 1
    assert results["accuracy"] > 0.98


def test_spoken_words_with_silence_between_them_end_in_their_own_answers(
    tmp_path: Path, real_set: Callable[[str], tuple[Path, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = real_set("spoken_digits")
    series = read_series(path)
    chosen = [int(np.flatnonzero(series.label == label)[0]) for label in (7, 2)]
    silence = np.zeros(round(0.8 * series.rate_hz), np.float32)
    sound = np.concatenate([piece for place in chosen for piece in (series[place][:, 0], silence)])
    with wave.open(str(tmp_path / "words.wav"), "wb") as file:
        file.setparams((1, 2, round(series.rate_hz), 0, "NONE", ""))
        file.writeframes((32767 * sound).astype("<i2").tobytes())

    assert main(["live", "signals", "--signal", str(tmp_path / "words.wav"), "--speed", "1000"]) == 0

    *_, summary, last = capsys.readouterr().out.splitlines()
    assert json.loads(summary)["summary"]["num_bins"] > 80
    assert json.loads(last)["the answer was"] == "2"
    assert json.loads(last)["all answers"] == ["7", "2"]


@pytest.mark.parametrize(("name", "dataset"), [("signals", "spoken_digits"), ("signals_watch", "watch")])
def test_the_shipped_networks_are_the_learned_hybrids_with_at_most_50_000_weights(name: str, dataset: str) -> None:
    network = load_pretrained(name)
    assert num_parameters(network) <= 50_000
    assert {"ann", "snn"} <= set(network.parts)
    assert signals._SHIPPED[dataset] == name
