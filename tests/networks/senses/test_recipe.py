"""The senses recipe from the command line: quick training, other people's files, falls."""

import ctypes
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikebridge.analysis.replay.network import record_network
from spikebridge.cli.main import main
from spikebridge.deploy.c.export import write_c
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.senses import recipe as senses
from spikebridge.networks.senses.config import Config
from spikebridge.networks.senses.data.sets import generated_trials
from spikebridge.networks.senses.data.trials import SensorRecording, Trials
from spikebridge.networks.senses.falls.model import GATES, FallStages, falls_network
from spikebridge.networks.senses.falls.run import score_falls, trained_stages
from spikebridge.networks.senses.falls.train import listen
from spikebridge.networks.senses.shapes import sampled, shape_of
from spikebridge.networks.senses.training.fold import FoldTraining
from spikebridge.networks.senses.training.train import SensesLearning, held, random_looks
from spikebridge.recipes.quantize import QuantizeOptions, quantized_networks
from spikebridge.training import Run
from tests.deploy.compiled_c import COMPILER, STRICT, needs_compiler, same

pytestmark = pytest.mark.untyped
ROOT = Path(__file__).resolve().parents[3]

QUICK = replace(
    senses.PRESETS["quick"],
    networks=("hybrid", "early"),
    training=SensesLearning(epochs=2, eye_epochs=1, lr=0.02, teachers=1),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, dict[str, Any]]]:
    run = Run.create(tmp_path_factory.mktemp("senses") / "run", "senses", QUICK)
    yield run, senses.train(QUICK, run, quiet=True)


def saved(path: Path, trials: Trials) -> Path:
    """The trials as a file of the general form."""
    arrays: dict[str, Any] = {}
    for name, one in trials.sensors.items():
        arrays |= {name: one.samples, f"{name}_starts": one.starts, f"{name}_s": one.times}
    names = {"label_names": np.array(trials.label_names), "person_names": np.array(trials.person_names)}
    if trials.spans is not None:
        names |= {"fall_start_s": trials.spans[:, 0], "fall_end_s": trials.spans[:, 1]}
    np.savez(path, label=trials.label, person=trials.person, **names, **arrays)
    return path


def test_a_run_scores_every_network_on_people_left_out(trained: tuple[Run, dict[str, Any]]) -> None:
    run, results = trained

    assert results["scored on"] == "people left out of the training"
    assert [row["person"] for row in results["people"]] == ["person 1", "person 2"]
    for row in results["networks"].values():
        assert {"accuracy", "energy_uj", "looks"} <= row.keys()
        assert row["energy_uj"] > 0
    again = senses.evaluate(run)["networks"]
    assert {name: row["accuracy"] for name, row in again.items()} == {
        name: row["accuracy"] for name, row in results["networks"].items()
    }


def test_eval_of_a_file_gives_the_figures_of_every_network(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = saved(tmp_path / "other.npz", generated_trials(num_people=1, num_each=2, seed=5))
    assert main(["eval", str(trained[0].path), "--data", str(file), "--gates", "every", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)

    assert results["networks"].keys() == {"hybrid", "early"}
    assert [row["gate"] for row in results["gates"]] == ["every"]
    assert results["gates"][0]["looks"] > results["networks"]["hybrid"]["looks"] - 1


def test_live_answers_from_named_sources(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = saved(tmp_path / "other.npz", generated_trials(num_people=1, num_each=1, seed=5))
    words = ["live", str(trained[0].path), "--speed", "1000"]
    assert main([*words, "--signal", f"wrist={file}", "--frames", f"eye={file}"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last.keys() == {"the answer was", "share", "confidence", "missing", "all answers"}
    assert len(last["all answers"]) == 4

    assert main([*words, "--signal", f"wrist={file}", "--frames", str(file)]) == 2
    assert "expected NAME=SOURCE once for each sensor" in capsys.readouterr().err


def test_the_weights_of_the_senses_are_fitted(trained: tuple[Run, dict[str, Any]]) -> None:
    network: Any = senses.trained(trained[0])["hybrid"]
    assert network.parts["gate"].least_score != 0

    data, _ = sampled(generated_trials(), shape_of(QUICK))
    networks = []
    for weigh in (False, True):
        config = replace(QUICK.training, epochs=1, weigh=weigh)
        networks.append(FoldTraining(shape_of(QUICK), data, {}, config, 0).train("hybrid"))

    for part in ("wrist_readout", "eye_readout"):
        alone, weighed = (one.parts[part].get_submodule("linear").get_parameter("weight") for one in networks)
        factor = weighed / alone
        assert factor.min() > 0
        torch.testing.assert_close(factor, factor[:1, :1].expand_as(factor))


def test_an_eye_that_never_saw_anything_is_named() -> None:
    data, _ = sampled(generated_trials(num_people=1, num_each=1), shape_of(QUICK))
    blind = replace(data, signals={**data.signals, "eye": torch.zeros_like(data.signals["eye"])})
    with pytest.raises(DataError, match="eye shows nothing in all 4 trials of the training"):
        FoldTraining(shape_of(QUICK), blind, {}, QUICK.training, 0).train("hybrid")


def test_networks_without_a_training_or_an_integer_form_are_named(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    trials = generated_trials(num_people=2, num_each=1)
    wrists = replace(trials, sensors={"left": trials.sensors["wrist"], "right": trials.sensors["wrist"]})
    config = replace(QUICK, dataset="auto", data=saved(tmp_path / "two.npz", wrists))
    with pytest.raises(ConfigError, match=r"'early' takes one sensor of values .* choose --networks hybrid ann"):
        senses.train(config, Run.create(tmp_path / "run", "senses", config), quiet=True)

    with pytest.raises(ConfigError, match="no layers with an integer form in early; choose --network hybrid"):
        next(quantized_networks(senses, trained[0], QuantizeOptions(num_calibration=4)))


def test_a_hybrid_is_integers_but_for_its_decision_to_look(trained: tuple[Run, dict[str, Any]]) -> None:
    options = QuantizeOptions(network="hybrid", num_calibration=4)
    ((path, network),) = quantized_networks(senses, trained[0], options)

    assert path == "hybrid"
    assert set(network.trained.parts) - set(network.model.record.parts) == {"gate", "eye_seen"}
    outputs, _ = network.quantized(network.samples)
    whole, _ = network.trained(network.samples)
    torch.testing.assert_close(outputs["answer"], whole["answer"], atol=0.3, rtol=0.3)

    bits = network.model.run(network.integer_inputs(), network.ticks)["answer"]
    values = bits * network.model.record.parts["answer"].scale
    torch.testing.assert_close(torch.from_numpy(values).float(), outputs["answer"], atol=1e-5, rtol=1e-5)

    figures = network.figures(senses, QUICK, None)
    assert 0 < figures["state bytes after"] < figures["state bytes"]


TAKING = """
#include <string.h>
#include <stdint.h>
int8_t shown[64], before[64];
int num_pictures;
int take_picture(int8_t *picture) {
    int is_new = memcmp(shown, before, 64) != 0;
    memcpy(picture, shown, 64);
    memcpy(before, shown, 64);
    num_pictures++;
    return is_new;
}
"""


@needs_compiler
def test_the_host_of_the_page_decides_and_answers_as_the_network(
    trained: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    ((_, network),) = quantized_networks(senses, trained[0], QuantizeOptions(network="hybrid", num_calibration=4))
    write_c(network.model, network.integer_inputs(), network.ticks, tmp_path / "hybrid")
    page = (ROOT / "docs/how-to/quantise.md").read_text(encoding="utf-8")
    host = page.partition("<!-- host of looks -->")[2].partition("```c")[2].partition("```")[0]
    for name, text in (("host", host), ("taking", TAKING)):
        (tmp_path / "hybrid" / f"{name}.c").write_text(text, encoding="utf-8")
    files = ["hybrid.c", "host.c", "taking.c", "-lm", "-o", "host.so"]
    subprocess.run([str(COMPILER), *STRICT, "-shared", "-fPIC", *files], cwd=tmp_path / "hybrid", check=True)
    library = ctypes.CDLL(str(tmp_path / "hybrid" / "host.so"))

    # a wrist that moves, and dies halfway
    wrist = (network.samples["wrist"][:, :1] * 1024).round().repeat(2, 1, 1)
    wrist[len(wrist) // 2 :] = wrist[len(wrist) // 2]
    eye = network.samples["eye"][:, :1].repeat(2, 1, 1, 1, 1)
    outputs, _ = network.quantized({"wrist": wrist / 1024, "eye": eye})
    pictures = network.model.quantize({"eye": eye.numpy()})["eye"].astype(np.int8)
    library.tick.restype = ctypes.POINTER(ctypes.c_int8)
    answers = []
    library.begin()

    for tick, x in enumerate(wrist[:, 0].numpy().astype(np.int16)):
        picture = pictures[tick // 5, 0].tobytes()
        ctypes.memmove(ctypes.addressof((ctypes.c_int8 * 64).in_dll(library, "shown")), picture, 64)
        answers.append(library.tick(ctypes.c_void_p(x.ctypes.data))[:4])

    bits = np.array(answers[4::5]) * network.model.record.parts["answer"].scale
    looks = outputs["gate.look"][:-1, 0].sum()
    assert ctypes.c_int.in_dll(library, "num_pictures").value == looks > 8
    torch.testing.assert_close(torch.from_numpy(bits).float(), outputs["answer"][:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [Config(), QUICK])
def test_own_data_takes_its_parts_from_shapes_and_rates(tmp_path: Path, config: Config) -> None:
    trials = generated_trials(num_people=2, num_each=1)
    wrist = trials.sensors["wrist"]
    arm = {"arm": replace(wrist, samples=wrist.samples[:, :3]), "eye": trials.sensors["eye"]}
    config = replace(config, data=saved(tmp_path / "own.npz", replace(trials, sensors=arm)))

    for data in (config.data, tmp_path):
        shape = shape_of(replace(config, data=data))
        assert [(one.name, one.part, one.period) for one in shape.senses] == [("arm", "snn", 1), ("eye", "ann", 5)]
        assert shape.dt == 0.02
    assert senses.example(config)["arm"].shape == (60, 2, 3)


def test_every_network_runs_on_its_example(trained: tuple[Run, dict[str, Any]]) -> None:
    for network in senses.trained(trained[0]).values():
        inputs = senses.network_example(QUICK, network, trained[0])
        outputs, _ = network.eval()(inputs)
        assert outputs["answer"].shape == (12, 2, 4)
        assert (outputs["gate.look"].sum(0) >= 2).all()
        assert "output of gate.look" in {lane.name for lane in record_network(network, inputs).lanes}


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (("arm=snn@50",), "no sensor 'arm'"),
        (("wrist=snn@50", "eye=ann@7"), "does not fit steps of 20 ms"),
        (("wrist=snn@50", "wrist=ann@10"), "each sensor once in --senses, but got wrist, wrist"),
        (("wrist=snn@50", "eye=snn@10"), "a picture is"),
    ],
)
def test_senses_that_do_not_fit_the_data_are_one_line(tmp_path: Path, texts: tuple[str, ...], line: str) -> None:
    file = saved(tmp_path / "own.npz", generated_trials(num_people=2, num_each=1))
    with pytest.raises(ConfigError, match=line):
        shape_of(Config(data=file, senses=texts))


def test_a_clock_that_drifts_is_a_warning_and_not_an_end(tmp_path: Path) -> None:
    trials = generated_trials(num_people=2, num_each=1)
    eye = trials.sensors["eye"]
    late = SensorRecording(eye.samples, eye.starts, eye.times + 1.0, eye.units)
    file = saved(tmp_path / "own.npz", replace(trials, sensors={**trials.sensors, "eye": late}))
    config = replace(QUICK, dataset="auto", data=file, networks=("hybrid",), num_folds=2)
    run = Run.create(tmp_path / "run", "senses", config)

    with pytest.warns(UserWarning, match="eye begins or ends up to .* from wrist"):
        results = senses.train(config, run, quiet=True)
    assert 0 <= results["networks"]["hybrid"]["accuracy"] <= 1


def test_held_features_are_those_of_the_last_look() -> None:
    looks = torch.tensor([False, True, False, True]).reshape(4, 1)
    features = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
    assert held(features, looks).flatten().tolist() == [0, 2, 2, 4]


def test_random_looks_of_a_trial_are_evenly_spaced() -> None:
    looks = random_looks(torch.ones(40, 200, dtype=torch.bool), torch.Generator().manual_seed(0))
    counts = set(looks.sum(0).tolist())
    assert counts <= {4, 8, 20, 40}
    assert len(counts) == 4


def falls(num_each: int = 6) -> Trials:
    """A wrist at rest, and falls with an impact of 5 g at 3.2 s."""
    generator = np.random.default_rng(0)
    samples = generator.normal(0, 0.05, (2 * num_each, 300, 6)).astype(np.float32)
    samples[:, :, 2] += 1
    samples[num_each:, 160:164, 2] += 4
    spans = np.full((2 * num_each, 2), np.nan)
    spans[num_each:] = (2.0, 5.0)
    count = 2 * num_each
    recording = SensorRecording(
        samples.reshape(-1, 6), 300 * np.arange(count + 1), np.tile(np.arange(300) / 50, count), np.ones(1, np.float32)
    )

    return Trials(
        {"wrist": recording},
        np.repeat([0, 1], num_each),
        np.tile(np.arange(2), num_each),
        ("daily", "fall"),
        ("1", "2"),
        {},
        spans,
        "weda_fall",
    )


@pytest.fixture(scope="module")
def falls_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A fall detector that was trained on the own file of a user, which is `falls.npz` beside it."""
    folder = tmp_path_factory.mktemp("falls")
    file = saved(folder / "falls.npz", falls())
    config = Config(dataset="falls", data=file, networks=("hybrid",), folds=(), training=SensesLearning(epochs=15))
    run = Run.create(folder / "run", "senses", config)
    senses.train(config, run, quiet=True)
    return run


def test_gates_find_clear_falls_and_sleep_at_rest(falls_run: Run) -> None:
    stages = trained_stages(falls_run.first_child("hybrid"))
    rows = {gate: score_falls(falls_network(gate, stages), listen(falls())) for gate in GATES}

    assert [row["sensitivity"] for row in rows.values()] == [1.0] * 4
    assert {row["false_recordings"] for row in rows.values()} == {0}
    assert rows["always"]["awake"] == 1
    assert rows["cascade"]["awake"] == rows["threshold"]["awake"] == 0
    assert rows["cascade"]["energy_uj_an_hour"] < rows["always"]["energy_uj_an_hour"] / 100
    # the block of the impact ends at 3.4 s, the fall at 5 s
    assert rows["cascade"]["seconds_after_fall"] == pytest.approx(3.4 + 1.4 - 5)


def test_a_fall_is_an_alarm_in_a_file_and_in_a_stream(falls_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    file = falls_run.path.with_name("falls.npz")
    assert main(["eval", str(falls_run.path), "--data", str(file), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [results[key] for key in ("sensitivity", "false_alarms_an_hour", "awake")] == [1.0, 0.0, 0.0]
    assert results["activities"] == [{"activity": "daily", "hours": 0.01, "false_alarms_an_hour": 0.0}]

    assert main(["live", str(falls_run.path), "--signal", f"wrist={file}", "--speed", "1000"]) == 0
    *lines, _, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert last["all answers"] == ["no fall"] * 6 + ["fall"] * 6
    # no alarm is lost where a step takes several bins
    alarms = [line for line in lines if line["alarm"]]
    assert {(line["seconds"], line["awake"]) for line in alarms} == {(4.78, "big")}
    assert last["alarms"] == [4.78]


def test_a_fall_detector_in_integers_finds_the_same_falls(
    falls_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ((_, network),) = quantized_networks(senses, falls_run, QuantizeOptions(num_calibration=8))
    config = falls_run.config_as(Config)
    figures = network.figures(senses, config, config.data)
    assert figures["sensitivity after"] >= 0.8
    assert figures["false_alarms_an_hour after"] == 0.0
    assert figures["energy nJ after"] < figures["energy nJ"] / 4

    # the first sample is a fall, whose impact wakes all stages
    inputs = network.integer_inputs()
    outputs = network.model.run(inputs, network.ticks)
    assert all(outputs[name][:, 0].sum() == 1 for name in ("pieces.awake", "small.awake", "big.awake"))
    bits, _ = network.quantized(network.samples)
    np.testing.assert_array_equal(network.model.dequantize(outputs)["big"], bits["big"].numpy())

    assert main(["export", str(falls_run.path), "--target", "c", "--out", str(tmp_path / "watch")]) == 0
    assert "tables:" in capsys.readouterr().out
    written = write_c(network.model, inputs, network.ticks, tmp_path / "falls")
    if COMPILER is not None:
        assert same(written) > 0


def test_acceleration_in_another_unit_is_refused(
    falls_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = falls(2)
    wrist = trials.sensors["wrist"]
    metres = replace(trials, sensors={"wrist": replace(wrist, samples=wrist.samples * 9.81)})
    file = saved(tmp_path / "metres.npz", metres)

    for words in (["eval", "--data", str(file)], ["live", "--signal", f"wrist={file}"]):
        assert main([words[0], str(falls_run.path), *words[1:]]) == 2
        assert "median size of 9.8" in capsys.readouterr().err


def test_an_alarm_after_the_end_of_a_fall_is_late() -> None:
    trials = falls()
    assert trials.spans is not None
    data = listen(trials)
    stages = FallStages()
    with torch.no_grad():
        stages.big[-1].weight.zero_()
        stages.big[-1].bias.fill_(1.0)
    early = replace(trials, spans=np.where(np.isnan(trials.spans), np.nan, [[0.0, 1.0]]))

    # the threshold is passed at the impact
    found = score_falls(falls_network("threshold", stages), data)
    missed = score_falls(falls_network("threshold", stages), listen(early))
    assert (found["sensitivity"], missed["sensitivity"]) == (1.0, 0.0)


def test_a_person_who_is_not_there_is_named(tmp_path: Path) -> None:
    config = replace(QUICK, people=("anna",))
    with pytest.raises(ConfigError, match="no person 'anna' to leave out"):
        senses.train(config, Run.create(tmp_path / "run", "senses", config), quiet=True)
