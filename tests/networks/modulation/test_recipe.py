"""The modulation recipe end to end: above chance, resumed to the same numbers, gates of training images alone."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikebridge import pretrained
from spikebridge.data import load_mnist
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.config import METHODS
from spikebridge.networks.modulation.evaluation.inference import InferredTasks
from spikebridge.networks.modulation.evaluation.scores import inference_modes
from spikebridge.networks.modulation.training import trial as trials
from spikebridge.networks.modulation.training.tasks import LabelledInputs
from spikebridge.networks.modulation.training.units import build_gating, initialise_gating, make_gating, task_gates
from spikebridge.training import Run
from spikebridge.training.run.config_io import from_plain

pytestmark = pytest.mark.untyped

QUICK = modulation.PRESETS["quick"]
# a few seconds of it, in two groups
TINY = modulation.Config(
    methods=("hmn",),
    snapshots=True,
    data=modulation.DataConfig(num_train=60, num_test=40),
    tasks=modulation.TaskConfig(num_tasks=4, num_prior=8, group_size=2),
    network=modulation.BranchConfig(num_hidden=60, num_plain=20, rho=0.2),
    units=modulation.UnitConfig(num_pairs=16),
    training=modulation.TrainingConfig(epochs=1, num_fisher=10),
)
FEWER = dataclasses.replace(TINY, snapshots=False, data=modulation.DataConfig(num_train=20, num_test=40))
FLOOR = 0.6  # chance is 0.1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    run = Run.create(tmp_path_factory.mktemp("modulation") / "run", "modulation", QUICK)
    return run, modulation.train(QUICK, run, quiet=True)


def rows(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in results["methods"]}


def test_confusions_hold_the_accuracies(trained: tuple[Run, dict[str, Any]]) -> None:
    first = trained[0].first_child("hmn").results()
    classes = np.array(first["confusions"])
    tasks = np.array(first["task confusions"])

    assert classes.sum() == tasks.sum() > 0

    np.testing.assert_allclose(classes.trace() / classes.sum(), first["modes"]["given"], atol=1e-6)
    np.testing.assert_allclose(tasks.trace() / tasks.sum(), first["modes"]["inferred"]["1"]["right task"], atol=1e-6)


def test_quick_learns_far_above_chance_and_finds_the_gate_from_one_picture(trained: tuple[Run, dict[str, Any]]) -> None:
    table = rows(trained[1])
    assert set(table) == set(QUICK.methods)
    assert min(row["ACC"] for row in table.values()) > FLOOR
    assert table["hmn"]["one picture"] > FLOOR
    assert table["hmn"]["opening"] == QUICK.network.rho == table["xdg_ewc"]["opening"]


def test_learned_gates_transfer_and_random_ones_hardly_do(trained: tuple[Run, dict[str, Any]]) -> None:
    table = rows(trained[1])
    assert table["hmn"]["transfer"] > 1.5 * table["xdg_ewc"]["transfer"]


def test_the_report_is_one_file_with_every_figure(trained: tuple[Run, dict[str, Any]]) -> None:
    page = modulation.report(trained[0]).read_text()
    for words in (
        "number of tasks",
        "Confusions",
        "inferred from one unlabelled image",
        "Memory",
        "XdG, EWC",
    ):
        assert words in page

    assert "http://" not in page.replace("http://www.w3.org", "")


def test_evaluating_again_gives_the_accuracies_of_the_run(
    trained: tuple[Run, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    run, results = trained
    with caplog.at_level("INFO", "spikebridge"):
        found = modulation.evaluate(Run.open(run.path))

    assert "scoring with the gates of known tasks" in caplog.messages
    assert {"acc", "bwt", "fwd", "opening", "modes", "num_tasks", "seed"} <= set(found)
    assert set(found["modes"]) == {"given", "inferred", "nearest_gate", "direct", "per_sample", "two_nearest"}
    assert found["num_tasks"] == QUICK.tasks.num_tasks

    # weights are kept in half precision
    assert found["acc"] == pytest.approx(rows(results)["hmn"]["ACC"], abs=0.01)
    assert found["modes"]["inferred"] == pytest.approx(rows(results)["hmn"]["one picture"], abs=0.02)

    json.dumps(found)


def test_images_of_another_size_are_named_in_the_refusal(trained: tuple[Run, dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.zeros((3, 28, 28), np.uint8), labels=np.array([1, 2, 3]))
    with pytest.raises(ConfigError, match=r"64 pixels, but .* 784"):
        modulation.evaluate(trained[0], path)

    np.savez(path, images=np.zeros((3, 28, 28), np.float32), labels=np.array([1, 2, 3]))
    with pytest.raises(DataError, match="expected bytes"):
        modulation.evaluate(trained[0], path)


def numbers(results: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in results.items() if "seconds" not in key}


def test_a_learning_killed_after_a_task_resumes_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = modulation.recordings(TINY)
    settings = TINY.trial("hmn")
    whole = Run.create(tmp_path / "whole", "modulation", TINY)
    modulation.train_trial(settings, whole, inputs, True)
    killed = Run.create(tmp_path / "killed", "modulation", TINY)
    plain = trials.fit_tasks

    def dies(module: Any, tasks: Any, method: Any, **named: Any) -> Any:
        def watch(module: Any, num_learned: int) -> Any:
            if num_learned == 3:
                raise RuntimeError("killed")
            return method.measure(module, num_learned)

        return plain(module, tasks, dataclasses.replace(method, measure=watch), **named)

    monkeypatch.setattr(trials, "fit_tasks", dies)
    with pytest.raises(RuntimeError, match="killed"):
        modulation.train_trial(settings, killed, inputs, True)

    monkeypatch.setattr(trials, "fit_tasks", plain)
    again = Run.create(tmp_path / "killed", "modulation", TINY, resume=True)
    modulation.train_trial(settings, again, inputs, True)

    assert numbers(again.results()) == numbers(whole.results())

    # sub-networks taken before the kill are there too, and their files are gone
    kept = [(tmp_path / name / "weights_snapshots.safetensors").read_bytes() for name in ("whole", "killed")]
    assert kept[0] == kept[1]
    assert not list(tmp_path.rglob("snapshots"))


def test_snapshots_give_transfer_on_other_pictures_without_training(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", "modulation", TINY)
    modulation.train(TINY, run, quiet=True)
    found = modulation.evaluate(run)
    own = run.children()["hmn/seed-0"].results()

    assert found["bwt_and_fwd_of"] == "these pictures"
    # the same pictures as in training: the measures come out again, up to half precision and bytes
    for key, name in (("bwt", "bwt"), ("fwd", "transfer"), ("fwt", "fwt")):
        assert found[key] == pytest.approx(own[name], abs=0.03)


@pytest.mark.parametrize("name", ["hmn", "xdg_ewc"])
def test_gates_come_from_training_images_alone(name: str) -> None:
    settings = TINY.trial(name)
    train, test = modulation.recordings(TINY)
    noise = torch.rand(test.inputs.shape, generator=torch.Generator().manual_seed(9))
    gates = []

    for scored in (test, LabelledInputs(noise, test.labels.flip(0))):
        sequence = modulation.task_sequence(TINY, 0, train, scored)
        gating = make_gating(settings, sequence)[0] if settings.method.has_unit else None
        gates.append(task_gates(settings, sequence, gating))

    assert all(torch.equal(a, b) for a, b in zip(*gates, strict=True))
    # at equal opening: 12 of 60 in every task and layer
    assert all((layer.sum(1) == 12).all() for layer in gates[0])


def test_gates_do_follow_training_images() -> None:
    train, test = modulation.recordings(TINY)
    other = LabelledInputs(train.inputs.flip(1), train.labels)
    gates = []

    for inputs in (train, other):
        sequence = modulation.task_sequence(TINY, 0, inputs, test)
        gating = initialise_gating(build_gating(TINY.network, sequence.train.inputs.shape[-1]), 0, sequence)
        gates.append(task_gates(TINY.trial("hmn"), sequence, gating))

    assert not torch.equal(gates[0][0], gates[1][0])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_all_tasks(name: str) -> None:
    sequence = modulation.task_sequence(FEWER, 0, *modulation.recordings(FEWER))
    trial = trials.run_trial(FEWER.trial(name), sequence, quiet=True)
    assert trial.result.accuracies.shape == (5, 4)
    assert bool(trial.result.accuracies.isfinite().all())


def test_every_method_has_a_rate_and_a_strength_if_it_protects() -> None:
    for name, method in METHODS.items():
        settings = QUICK.trial(name)
        assert settings.lr > 0
        assert (settings.strength > 0) == method.has_ewc


def test_a_rate_and_a_strength_of_the_command_line_hold_for_every_method() -> None:
    training = dataclasses.replace(QUICK.training, lr=0.3, strength=7.0)
    settings = dataclasses.replace(QUICK, training=training).trial("hmn")
    assert (settings.lr, settings.strength) == (0.3, 7.0)


def test_a_run_of_the_last_release_opens_but_a_method_that_left_is_not_trained(tmp_path: Path) -> None:
    old = dataclasses.replace(FEWER, methods=("hmn", "single"))
    run = Run.create(tmp_path / "run", "modulation", old)
    assert Run.open(run.path).config_as(modulation.Config).methods == ("hmn", "single")

    with pytest.raises(ConfigError, match=r"'single' of modulation left the recipe; research/modulation/variants.py"):
        modulation.train(old, run, quiet=True)


def test_a_run_without_weights_of_the_hybrid_method_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no weights of 'hmn'"):
        modulation.evaluate(Run.create(tmp_path / "run", "modulation", dataclasses.replace(FEWER, methods=("snn",))))


def test_fields_that_left_may_hold_the_value_that_stood_for_their_absence() -> None:
    # the run folder of the shipped weights is flat
    shipped = Run.open(Path(pretrained.__file__).parent / "modulation")
    assert shipped.config_as(modulation.Config) == modulation.PRESETS["shipped"]

    network = {"num_hidden": 10, "num_plain": 5, "rho": 0.5, "num_steps": 3, "branch": "default", "logit_scale": 0.2}
    assert from_plain(modulation.BranchConfig, network).num_steps == 3
    with pytest.raises(ConfigError, match="no field 'branch'"):
        from_plain(modulation.BranchConfig, {**network, "branch": "original"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("hnm",)}, "did you mean 'hmn'"),
        ({"methods": ()}, "at least one"),
        ({"tasks": modulation.TaskConfig(num_tasks=5)}, "whole groups of 4"),
        ({"network": modulation.BranchConfig(rho=0.0)}, "share of open neurons"),
        ({"training": modulation.TrainingConfig(epochs=0)}, "at least 1"),
        ({"methods": ("snn", "hmn", "snn")}, "'snn' is chosen twice"),
        ({"seed": -1}, "seed should be at least 0"),
        ({"data": modulation.DataConfig(num_train=-1)}, "data.num_train should be at least 1"),
        ({"units": modulation.UnitConfig(lr=float("nan"))}, "units.lr should be a number above 0"),
        ({"training": modulation.TrainingConfig(lr=-1.0)}, "training.lr should be a number above 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(QUICK, **settings)


def test_the_presets_can_be_written_down_and_read_back(tmp_path: Path) -> None:
    for name, preset in modulation.PRESETS.items():
        run = Run.create(tmp_path / name, "modulation", preset)
        assert Run.open(run.path).config_as(modulation.Config) == preset


def test_the_shipped_network_classifies_digits_without_training_on_them(
    real_set: Callable[[str], tuple[Path, ...]], tmp_path: Path
) -> None:
    real_set("mnist")
    digits = load_mnist().test
    path = tmp_path / "others.npz"
    images = (digits.images[:100] * 255).round().byte().numpy()
    np.savez(path, images=images, labels=digits.labels[:100].numpy())
    options = modulation.Evaluation(direct_samples=20, per_sample_pictures=2)
    found = modulation.evaluate(Run.open(Path(pretrained.__file__).parent / "modulation"), path, options)

    assert found["num_tasks"] == 40
    assert found["bwt_and_fwd_of"] == "these pictures"
    assert found["acc"] > 0.85
    assert found["modes"]["inferred"] > found["acc"] - 0.005
    assert found["right_task"] > 0.98
    assert found["fwd"] > 0.75
    assert found["opening"] == pytest.approx(0.1)


def test_the_two_nearest_gates_are_the_nearest_one_with_sharp_weights() -> None:
    sequence = modulation.task_sequence(TINY, 0, *modulation.recordings(TINY))
    modes = inference_modes(trials.run_trial(FEWER.trial("hmn"), sequence, quiet=True), sequence)

    assert isinstance(modes, InferredTasks)
    assert modes.two_nearest(sharpness=1e6) == pytest.approx(modes.nearest_gate().accuracy)
    assert modes.nearest_gate(num_samples=20).task >= modes.nearest_gate().task
