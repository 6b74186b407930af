"""A run folder says what it is and refuses what it is not."""

import enum
import json
import logging
import math
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import nn

from spikebridge.errors import ConfigError, DataError
from spikebridge.neurons import LIF, Sequential
from spikebridge.training import Run, load_weights, save_weights
from spikebridge.training.run.config_io import from_plain, reproduce_command, to_plain
from spikebridge.training.run.metrics import MetricsFile
from spikebridge.training.run.run import train_children


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True)
class Layer:
    size: int = 3
    tau: float = math.inf


@dataclass(frozen=True)
class Config:
    name: str = "a"
    layers: tuple[Layer, ...] = (Layer(), Layer(4, 0.01))
    pair: tuple[int, float] = (1, 2.0)
    clip: float | None = None
    mode: Literal["fast", "slow"] = "fast"
    where: Path = Path("data")
    colour: Colour = Colour.RED
    table: dict[str, list[int]] = field(default_factory=lambda: {"a": [1]})
    on: bool = True


def test_a_config_comes_back_equal_through_its_file(tmp_path: Path) -> None:
    config = Config(clip=0.5)
    Run.create(tmp_path / "r", "digits", config)
    assert Run.open(tmp_path / "r").config_as(Config) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nane": 1}, r"no field 'nane': did you mean 'name'\?"),
        ({"on": "yes"}, "config.on should be bool, but is 'yes'"),
        ({"mode": "quick"}, "config.mode should be .*fast.*, but is 'quick'"),
        ({"pair": [1]}, "config.pair should hold 2 values, but holds 1"),
        ({"layers": [{"size": 1}]}, r"config.layers\[0\] lacks tau, which Layer of this version needs"),
        ({"layers": [5]}, r"config.layers\[0\] should be the fields of Layer, but is 5"),
        ({"clip": "much"}, "config.clip should be float | None, but is 'much'"),
        ({"colour": "BLUE"}, "config.colour should be Colour, but is 'BLUE'"),
    ],
)
def test_a_config_of_another_form_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_plain(Config, {**to_plain(Config()), **change})


@dataclass(frozen=True)
class Grown:
    lr: float = 0.1
    later: float = 0.5

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("later",)


def test_a_config_of_before_a_field_was_added_has_its_default() -> None:
    assert from_plain(Grown, {"lr": 0.2}) == Grown(lr=0.2)
    assert from_plain(Grown, {"lr": 0.2, "later": 1.0}) == Grown(0.2, 1.0)
    with pytest.raises(ConfigError, match="config lacks lr, which Grown of this version needs"):
        from_plain(Grown, {"later": 1.0})


@dataclass(frozen=True)
class Shrunk:
    lr: float = 0.1

    REMOVED_FIELDS: ClassVar[dict[str, Any]] = {"noise": 0.0, "parts": ...}


def test_a_removed_field_is_accepted_only_where_it_was_not_used() -> None:
    assert from_plain(Shrunk, {"lr": 0.2, "noise": 0.0, "parts": ["a"]}) == Shrunk(0.2), "`...` is any value"
    with pytest.raises(ConfigError, match="config has no field 'noise'"):
        from_plain(Shrunk, {"lr": 0.2, "noise": 0.5})


@dataclass(frozen=True)
class Optimization:
    lr: float = 0.1
    num_epochs: int = 5


@dataclass(frozen=True)
class Grouped:
    RENAMED_FIELDS: ClassVar[dict[str, str]] = {"epochs": "training.num_epochs", "name": "title"}
    title: str = "a"
    training: Optimization = Optimization()


@dataclass(frozen=True)
class Flat:
    name: str = "b"
    lr: float = 0.5
    epochs: int = 2


def test_a_run_of_a_flat_config_is_read_and_resumed_as_groups(tmp_path: Path) -> None:
    grouped = Grouped("b", Optimization(0.5, 2))
    old = Run.create(tmp_path / "old", "digits", Flat())
    old.child("net").log({"epoch": 1})

    assert Run.open(tmp_path / "old").config_as(Grouped) == grouped

    resumed = Run.create(tmp_path / "old", "digits", grouped, resume=True)
    assert resumed.child("net").config_as(Grouped) == grouped
    with pytest.raises(ConfigError, match="another config"):
        Run.create(tmp_path / "old", "digits", Grouped("c", Optimization(0.5, 2)), resume=True)

    Run.create(tmp_path / "new", "digits", grouped)
    assert Run.open(tmp_path / "new").config_as(Grouped) == grouped


@dataclass(frozen=True)
class Options:
    networks: tuple[str, ...] = ("hybrid",)
    clips: bool = False
    shuffle: bool = True
    training: Optimization = Optimization()


def test_a_command_reproduces_the_options_that_differ_from_their_defaults() -> None:
    changed = Options(("fixed", "none"), clips=True, shuffle=False, training=Optimization(lr=0.5))
    expected = "spikebridge train sensing --networks fixed none --clips --no-shuffle --training.lr 0.5"

    assert reproduce_command("sensing", Options()) == "spikebridge train sensing"
    assert reproduce_command("sensing", changed) == expected
    assert reproduce_command("sensing", Options(("my own",))) == "spikebridge train sensing --networks 'my own'"


def test_a_value_that_json_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"config.pair\[1\] is a Tensor"):
        to_plain(Config(pair=(1, torch.ones(1))))  # type: ignore[arg-type]


def test_an_existing_run_needs_resume(tmp_path: Path) -> None:
    Run.create(tmp_path, "digits", Layer())
    with pytest.raises(ConfigError, match=r"holds a run already: .*\(--resume\) or take another folder \(--out\)"):
        Run.create(tmp_path, "digits", Layer())
    assert Run.create(tmp_path, "digits", Layer(), resume=True).resumed


def test_resume_begins_a_run_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / ".config.json.12.tmp").write_text("half")
    Run.create(tmp_path, "digits", Layer(), resume=True)
    assert Run.open(tmp_path).recipe == "digits"


def test_a_run_of_another_recipe_or_config_is_refused(tmp_path: Path) -> None:
    Run.create(tmp_path, "digits", Layer())
    with pytest.raises(ConfigError, match="is a run of the recipe 'digits', not of 'sensing'"):
        Run.create(tmp_path, "sensing", Layer(), resume=True)

    with pytest.raises(ConfigError, match=r"another config \(size\): size was 3 and is 4 now"):
        Run.create(tmp_path, "digits", Layer(size=4), resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="is not empty and not a run folder"):
        Run.create(tmp_path, "digits", Layer(), resume=resume)

    with pytest.raises(ConfigError, match="is a file"):
        Run.create(tmp_path / "thesis.tex", "digits", Layer(), resume=resume)

    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_is_no_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run folder: it has no config"):
        Run.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", DataError, "no JSON"),
        ("[]", DataError, "should hold an object"),
        ("{}", ConfigError, "written by another program"),
        ('{"format": "spikebridge run", "version": 9}', ConfigError, "version 9, but this program reads version 1"),
        (
            '{"format": "spikebridge run", "version": 1, "recipe": "a"}',
            DataError,
            "needs a recipe's name and its config",
        ),
    ],
)
def test_a_strange_config_file_is_refused(tmp_path: Path, content: str, error: type[Exception], message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(error, match=message):
        Run.open(tmp_path)


def test_children_are_runs_of_their_own(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "digits", Layer())
    child = run.child("hybrid/seed-0")
    run.child("hybrid/seed-1")
    child.log({"loss": 1.0})

    assert list(run.children()) == ["hybrid/seed-0", "hybrid/seed-1"]
    assert run.metrics.rows() == []
    with pytest.raises(ConfigError, match="holds a run already"):
        run.child("hybrid/seed-0")

    resumed = Run.create(tmp_path, "digits", Layer(), resume=True)
    assert resumed.child("hybrid/seed-0").metrics.rows() == [{"loss": 1.0}]
    assert resumed.first_child("hybrid").path == child.path

    with pytest.raises(DataError, match="holds no trained network 'hyb'; resume its training"):
        resumed.first_child("hyb")


@pytest.mark.parametrize("name", ["", "../other", "/etc"])
def test_a_child_stays_inside_its_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="needs a name like"):
        Run.create(tmp_path, "digits", Layer()).child(name)


def test_a_run_is_taken_back_with_what_has_begun_inside_it_but_not_once_something_was_done(tmp_path: Path) -> None:
    for logs in (False, True):
        run = Run.create(tmp_path / "r", "digits", Layer())
        child = run.child("hybrid/seed-0")
        if logs:
            child.log({"loss": 1.0})
        run.discard()
        assert run.path.exists() == logs


def test_a_run_is_taken_back_with_the_empty_parents_made_for_it(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    Run.create(tmp_path / "there/a/b/run", "digits", Layer()).discard()

    assert not (tmp_path / "there/a").exists()
    assert (tmp_path / "there").exists()

    run = Run.create(tmp_path / "there/a/b/run", "digits", Layer())
    (tmp_path / "there/a/file").touch()
    run.discard()

    assert [file.name for file in (tmp_path / "there/a").iterdir()] == ["file"]


def test_results_finish_a_run(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "digits", Layer())
    with pytest.raises(DataError, match="has no results yet"):
        run.results()

    run.save_results({"accuracy": 0.5})
    assert run.finished
    assert run.results() == {"accuracy": 0.5}


def test_the_environment_names_versions_and_what_is_given(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "digits", Layer())
    run.save_environment(seed=7)
    environment = run.environment()

    assert environment["seed"] == 7
    assert environment["torch"] == version("torch")


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    run = Run.create(tmp_path / "r", "digits", Layer())
    run.log({"loss": 1.0})
    run.save_results({})
    run.save_weights(nn.Linear(1, 1))

    assert not (tmp_path / "r").exists()


def test_weights_come_back_and_another_network_is_refused_untouched(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "digits", Layer())
    saved = nn.Linear(2, 3)
    other = nn.Linear(3, 3)
    run.save_weights(saved)
    same = nn.Linear(2, 3)
    run.load_weights(same)

    assert torch.equal(same.weight, saved.weight)

    before = other.bias.clone()
    with pytest.raises(ConfigError, match=r"'weight' has the shape \(3, 2\), but \(3, 3\) in this Linear"):
        run.load_weights(other)

    assert torch.equal(other.bias, before)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(1, 1)}, "lacks 'bias'"),
        ({"weight": 1, "bias": 1, "a": 1, "b": 1, "c": 1, "d": 1}, "and 1 more"),
    ],
)
def test_weights_with_other_names_are_refused(tmp_path: Path, tensors: dict[str, Any], message: str) -> None:
    save_weights(tmp_path / "w.safetensors", {name: torch.as_tensor(tensor) for name, tensor in tensors.items()})
    with pytest.raises(ConfigError, match=message):
        load_weights(tmp_path / "w.safetensors", nn.Linear(1, 1))


def test_weights_of_release_0_1_lack_the_numbers_of_neurons(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    network = Sequential(fc=nn.Linear(1, 1), lif=LIF(tau=0.03, dt=0.001))
    weights = network.state_dict()
    save_weights(path, {name: weights[name] for name in ("fc.weight", "fc.bias")})
    load_weights(path, network)

    assert network[1].tau == 0.03

    save_weights(path, {name: value for name, value in weights.items() if name != "lif.tau"})
    with pytest.raises(ConfigError, match=r"it lacks 'lif.tau' of this Sequential"):
        load_weights(path, network)

    save_weights(path, {name: value for name, value in weights.items() if name != "fc.bias"})
    with pytest.raises(ConfigError, match=r"it lacks 'fc.bias' of this Sequential"):
        load_weights(path, network)

    save_weights(path, network)
    other = Sequential(fc=nn.Linear(1, 1), lif=LIF(tau=0.02, dt=0.001))
    load_weights(path, other)

    assert other[1].tau == 0.03


def test_tied_weights_are_saved_under_both_names(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    save_weights(tmp_path / "w.safetensors", network)
    load_weights(tmp_path / "w.safetensors", network)


def test_missing_and_damaged_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected weights, but there is no such file"):
        load_weights(tmp_path / "w.safetensors", nn.Linear(1, 1))

    (tmp_path / "w.safetensors").write_bytes((2**62).to_bytes(8, "little"))
    with pytest.raises(DataError, match="are damaged"):
        load_weights(tmp_path / "w.safetensors", nn.Linear(1, 1))


def test_numbers_that_json_lacks_come_back(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "m.jsonl")
    metrics.append({"loss": math.inf, "worst": -math.inf, "gap": math.nan, "phase": "nanny"})
    (row,) = metrics.rows()

    assert (row["loss"], row["worst"], row["phase"]) == (math.inf, -math.inf, "nanny")
    assert math.isnan(row["gap"])

    json.loads((tmp_path / "m.jsonl").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_an_unfinished_last_line_is_left_out_and_a_damaged_one_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = MetricsFile(tmp_path / "m.jsonl")
    metrics.path.write_text('{"epoch": 1}\n{"epo')
    with caplog.at_level(logging.WARNING):
        assert metrics.rows() == [{"epoch": 1}]

    assert "unfinished" in caplog.text

    metrics.truncate(1)
    assert metrics.path.read_text() == '{"epoch": 1}\n'
    for damaged in ("{epoch\n", "3\n"):
        metrics.path.write_text(damaged)
        with pytest.raises(DataError, match="damaged at line 1"):
            metrics.rows()


def test_rows_that_are_gone_are_missed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="should hold 2 rows, but holds 0"):
        MetricsFile(tmp_path / "m.jsonl").truncate(2)


def test_reading_a_run_needs_no_torch(tmp_path: Path) -> None:
    Run.create(tmp_path, "digits", Layer()).save_results({"accuracy": 0.5})
    program = (
        "import sys; from spikebridge.training.run.run import Run; "
        f"print(Run.open({str(tmp_path)!r}).results()['accuracy'], 'torch' in sys.modules)"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["0.5", "False"]


def test_children_that_are_finished_are_not_trained_again(tmp_path: Path) -> None:
    trained = []

    def train(name: str, seed: int, child: Run) -> None:
        trained.append((name, seed))
        child.save_results({"score": 10.0 * seed + len(name)})

    run = Run.create(tmp_path / "r", "digits", Config())
    train("ann", 1, run.child("ann/seed-1"))
    again = Run.create(tmp_path / "r", "digits", Config(), resume=True)
    results = train_children(again, ["hybrid", "ann"], range(1, 3), train)

    assert trained == [("ann", 1), ("hybrid", 1), ("hybrid", 2), ("ann", 2)]  # all networks of a seed first
    assert results == {"hybrid": [{"score": 16.0}, {"score": 26.0}], "ann": [{"score": 13.0}, {"score": 23.0}]}
