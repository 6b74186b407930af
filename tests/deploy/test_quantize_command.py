"""`spikebridge quantize`: a run becomes integer models, or one line says why not."""

import json
from pathlib import Path

import pytest
import torch

from spikebridge.cli.main import main
from spikebridge.deploy import IntegerModel
from spikebridge.errors import ConfigError
from spikebridge.networks.digits import recipe as digits
from spikebridge.recipes.quantize import QuantizeOptions, quantized_networks
from spikebridge.training import Run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = digits.Config(networks=("learned",), num_seeds=1, hidden=4, num_train=32)
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = Run.create(folder, "digits", config)
    torch.manual_seed(0)
    run.child("learned/seed-0").save_weights(digits.build(config)["learned"])

    return folder


def test_a_run_becomes_integer_models(
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("a network is followed by placeholders, which are no tensors to a type checker")

    monkeypatch.setattr(digits, "measure", lambda network, config, data: {"accuracy": 0.5})
    out = tmp_path / "model"

    assert main(["quantize", str(run_folder), "--out", str(out), "--calibrate", "8", "--json"]) == 0

    (row,) = json.loads(capsys.readouterr().out)["networks"]
    assert row["network"] == "learned/seed-0" and row["accuracy after"] == 0.5
    assert row["bytes after"] < row["bytes"] / 2 and row["state bytes after"] == row["state bytes"] / 2
    assert row["energy nJ after"] < row["energy nJ"] / 4

    # each is counted for itself: changes of scale come to what there was
    assert row["operations after"] > row["operations"] and row["synaptic operations after"] != 0

    model = IntegerModel.open(out / "learned-seed-0")
    assert set(model.record.inputs) == {"frames", "events"} and model.record.left_out == ()
    assert json.loads((out / "quantization.json").read_text())["region"]["membranes"] == 16


def test_the_network_that_is_named_is_quantised_of_a_recipe_that_loads_its_own_weights(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("a network is followed by placeholders, which are no tensors to a type checker")

    run = Run.open(run_folder)
    networks = {name: digits.build(run.config_as(digits.Config))["learned"] for name in ("first", "second")}
    monkeypatch.setattr(digits, "trained", lambda run: networks, raising=False)
    ((name, quantized),) = quantized_networks(digits, run, QuantizeOptions(network="second", num_calibration=8))
    assert (name, quantized.trained) == ("second", networks["second"])

    with pytest.raises(ConfigError, match="has no trained network 'third'"):
        next(quantized_networks(digits, run, QuantizeOptions(network="third", num_calibration=8)))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--membranes", "40"], "membranes of 16 to 28 bits, but got 40"),
        (["--regions", "wehre"], "did you mean 'where'"),
        (["--network", "lerned"], "has no network 'lerned'"),
        (["--calibrate", "0"], "1 sample at least"),
        (["--bundle", "nowhere"], "nowhere is not a bundle"),
    ],
    ids=["width", "region", "network", "calibration", "bundle"],
)
def test_what_cannot_be_meant_is_one_line(
    options: list[str], line: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantize", str(run_folder), "--out", str(tmp_path / "model"), *options]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert line in said[-1] and "Traceback" not in "".join(said)
    assert list(tmp_path.iterdir()) == []
