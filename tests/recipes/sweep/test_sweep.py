"""Sweeps: cells of settings and seeds, their table and best one; what fails costs one line, and the rest goes on."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spikebridge.cli.main import main
from spikebridge.cli.sweeps import _option
from spikebridge.errors import ConfigError, DataError
from spikebridge.recipes import load_recipe, train_all
from spikebridge.recipes.sweep import cell
from spikebridge.recipes.sweep.grid import (
    Cell,
    Range,
    Setting,
    cells_of,
    parse_seeds,
    parse_settings,
    values_of_seed,
    with_values,
)
from spikebridge.recipes.sweep.table import CellResult, Objective, metrics_of, summarize_cells
from spikebridge.training import Run
from spikebridge.training.run.config_io import to_plain
from spikebridge.training.run.metrics import MetricsFile

pytestmark = pytest.mark.untyped

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class _Inner:
    noise: float = 0.5


@dataclass(frozen=True)
class _Config:
    lr: float = 0.1
    networks: tuple[str, ...] = ("a",)
    clips: bool = False
    camera: _Inner = _Inner()
    seed: int = 0


def as_typed(setting: Setting, text: str) -> str:
    return text


def test_settings_become_options_of_train() -> None:
    words = ["lr=0.1,0.2", "networks=a b,c", "clips=true,False", "camera.noise=1"]
    settings = parse_settings(words, _Config(), as_typed)
    options = {one.name: [_option(one, text) for text in one.values] for one in settings}

    assert options == {
        "lr": [("--lr", "0.1"), ("--lr", "0.2")],
        "networks": [("--networks", "a", "b"), ("--networks", "c")],
        "clips": [("--clips",), ("--no-clips",)],
        "camera.noise": [("--camera.noise", "1")],
    }


def test_every_combination_of_values_is_a_cell() -> None:
    def read(setting: Setting, text: str) -> Any:
        return text.split() if setting.name == "networks" else float(text)

    settings = parse_settings(["lr=0.1,0.2", "networks=a b,c", "camera.noise=1"], _Config(), read)
    cells = cells_of(settings, {7: values_of_seed(7, _Config(), settings)})

    assert len(cells) == 4
    assert cells[2].settings == {"lr": "0.2", "networks": "a b", "camera.noise": "1"}
    assert with_values(to_plain(_Config()), cells[2].values) == {
        "lr": 0.2,
        "networks": ["a", "b"],
        "clips": False,
        "camera": {"noise": 1.0},
        "seed": 7,
    }


def test_settings_may_be_ranges() -> None:
    assert parse_settings(["lr=0.001:0.1:log", "camera.noise=0:1"], _Config(), as_typed) == [
        Setting("lr", 0.1, {}, Range(0.001, 0.1, True)),
        Setting("camera.noise", 0.5, {}, Range(0, 1, False)),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lr"], "--set takes NAME=VALUE,VALUE"),
        (["lr="], "--set takes NAME=VALUE,VALUE"),
        (["lr=1,,2"], "--set takes NAME=VALUE,VALUE"),
        (["rl=1"], "has no setting 'rl'; Known: lr, networks"),
        (["camera.nose=1"], "did you mean 'camera.noise'"),
        (["seed=1"], "seeds are given with --seeds"),
        (["lr=1", "lr=2"], "--set lr is given twice"),
        (["lr=1,1"], "a value is given twice"),
        (["lr=0:1:log"], "LOW:HIGH:log, log from above 0"),
        (["lr=1:1"], "takes a range as LOW:HIGH"),
    ],
)
def test_wrong_settings_are_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_settings(words, _Config(), as_typed)


@pytest.mark.parametrize("text", ["", "a", "2:2", "3:1", "0,0", "-1:2", "1_0", "0:1:2"])
def test_wrong_seeds_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--seeds takes A:B"):
        parse_seeds(text)


def test_seeds_are_a_range_or_single_numbers() -> None:
    assert [parse_seeds(text) for text in ("0:4", "3", "1,5")] == [[0, 1, 2, 3], [3], [1, 5]]


def test_names_of_cells_are_folders_and_differ() -> None:
    (one,) = cells_of([Setting("lr", 0.1, {"0.01": 0.01}), Setting("networks", (), {"learned ann": []})], {3: {}})
    assert one.name == "lr=0.01,networks=learned+ann,seed=3"

    values = ("a/b", "a%2Fb", "..", "ä", "x" * 300, "x" * 299 + "y")
    names = [one.name for one in cells_of([Setting("data", "", dict.fromkeys(values))], {None: {}})]
    assert len(set(names)) == len(values)
    assert all("/" not in name and len(name.encode()) < 200 and name != ".." for name in names)


def cell_result(lr: str, seed: int, accuracy: float | None) -> CellResult:
    metrics = {} if accuracy is None else {"accuracy %": accuracy}
    return CellResult(f"{lr}-{seed}", {"lr": lr}, seed, "failed" if accuracy is None else "finished", metrics)


def test_the_table_has_means_spreads_and_the_best() -> None:
    cells = [cell_result("1", 0, 2.0), cell_result("1", 1, 4.0), cell_result("2", 0, 9.0), cell_result("2", 1, None)]
    first, second = summarize_cells(cells, Objective("accuracy"))

    assert (first["accuracy"], round(first["sd"], 4), first["lowest"], first["highest"]) == (3.0, 1.4142, 2.0, 4.0)
    assert (second["accuracy"], second["sd"], second["cells"], second["failed"], second["best"]) == (
        9.0,
        None,
        1,
        1,
        "*",
    )

    assert [row["best"] for row in summarize_cells(cells, Objective("accuracy", maximize=False))] == ["*", ""]


def test_numbers_of_results_have_short_names_where_these_differ() -> None:
    row = {"network": "ann", "accuracy %": 90.0, "sd": None, "good": True}
    assert metrics_of({"table": [row], "seed": 3}) == {"accuracy %": 90.0, "seed": 3}

    rows = [{"network": "ann", "px": 2.0}, {"network": "snn", "px": 3.0}]
    assert metrics_of({"table": rows}) == {"table.ann.px": 2.0, "table.snn.px": 3.0}
    assert Objective("accuracy").value({"accuracy %": 90.0, "loss": 0.3}, "the results") == 90.0


def test_a_metric_is_named_by_its_last_words() -> None:
    metrics = metrics_of({"nets": [{"network": "a", "accuracy %": 1.0}, {"network": "b", "accuracy %": 2.0}], "px": 3})
    assert Objective("nets.b.accuracy").value(metrics, "x") == 2.0
    assert Objective("b.accuracy").value(metrics, "x") == 2.0
    assert Objective("px").value(metrics, "x") == 3

    with pytest.raises(ConfigError, match=r"x have several 'accuracy': nets\.a\.accuracy %, nets\.b\.accuracy %"):
        Objective("accuracy").value(metrics, "x")

    with pytest.raises(ConfigError, match="x have no number 'acuracy'; did you mean 'accuracy'"):
        Objective("acuracy").value(metrics, "x")


def sweep(*words: str) -> int:
    return main(["sweep", "tiny.py", *words])


def results(folder: str = "out") -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(Path(folder, "results.json").read_text())
    return plain


@pytest.mark.usefixtures("here")
def test_a_sweep_trains_every_cell_in_a_run_folder(recipe: str, capsys: Capture) -> None:
    words = ["--set", "lr=0.03,0.13", "--set", "group.scale=1", "--seeds", "0:2", "--out", "out"]
    assert sweep(*words) == 0

    out = capsys.readouterr().out
    names = sorted(path.name for path in Path("out/cells").iterdir())

    assert names[0] == "lr=0.03,group.scale=1,seed=0"
    assert len(names) == 4

    config = json.loads(Path("out/cells", names[3], "config.json").read_text())["config"]
    assert (config["lr"], config["seed"], config["num_seeds"]) == (0.13, 1, 1)

    found = results()
    # 100, 99 and 90, 89
    assert [row["accuracy %"] for row in found["table"]] == [99.5, 89.5]
    assert found["best"]["lr"] == "0.03"
    assert out.splitlines()[1].split()[:4] == ["0.03", "1", "2", "99.5"]

    page = Path("out/report.html").read_text()
    assert "Best: lr = 0.03, group.scale = 1" in page
    assert "spikebridge sweep tiny.py --set lr=0.03,0.13" in page
    assert Path("out/figure.svg").read_text().lstrip().startswith("<svg")


@pytest.mark.usefixtures("here")
def test_a_sweep_resumes_and_grows(recipe: str, capsys: Capture) -> None:
    assert sweep("--set", "lr=0.03", "--seeds", "0:2", "--out", "out") == 0

    stamp = Path("out/cells/lr=0.03,seed=0/results.json").stat().st_mtime_ns
    assert sweep("--set", "lr=0.03", "--seeds", "0:2", "--out", "out") == 2
    assert "out holds a sweep: resume it (--resume)" in capsys.readouterr().err
    assert sweep("--set", "lr=0.03,0.04", "--seeds", "0:3", "--out", "out", "--resume", "--minimize", "loss") == 0
    assert "2 of 6 cells are finished already" in capsys.readouterr().err
    assert Path("out/cells/lr=0.03,seed=0/results.json").stat().st_mtime_ns == stamp
    assert [row["cells"] for row in results()["table"]] == [3, 3]
    assert results()["best"]["lr"] == "0.03"
    assert sweep("--set", "lr=0.03", "--preset", "long", "--out", "out", "--resume") == 2
    assert "out is a sweep with preset = None, not 'long'" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("fail", "retry", "line", "attempts"),
    [
        ("disk", "2", "No space left on device", 3),
        ("raise", "0", "RuntimeError: a mistake in two lines", 1),
        ("once", "1", None, 2),
        ("once", "0", "Input/output error", 1),
    ],
)
def test_a_cell_that_fails_is_one_line_and_the_rest_continues(
    fail: str,
    retry: str,
    line: str | None,
    attempts: int,
    recipe: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []
    monkeypatch.setattr(
        "spikebridge.recipes.sweep.executors.train_cell", lambda order: (tried.append(order), cell.train_cell(order))[1]
    )
    code = sweep("--set", f"fail=never,{fail}", "--out", "out", "--retry", retry)
    said = capsys.readouterr()

    assert len(tried) == 1 + attempts

    cells = {one["settings"]["fail"]: one for one in results()["cells"]}
    assert cells["never"]["state"] == "finished"
    if line is None:
        assert (code, cells[fail]["state"]) == (0, "finished")
        return

    assert code == 1
    assert line in cells[fail]["error"]
    assert "\n" not in cells[fail]["error"]
    assert f"failed: fail={fail}" in said.out
    assert "Traceback" not in said.err
    assert "Failed cells" in Path("out/report.html").read_text()


@pytest.mark.usefixtures("here")
def test_a_disk_that_is_full_where_a_cell_ends_does_not_end_the_sweep(
    recipe: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = MetricsFile.append

    def full(file: MetricsFile, row: Any) -> None:
        if row.get("cell") == "lr=0.03":
            raise OSError(28, "No space left on device")
        append(file, row)

    monkeypatch.setattr(MetricsFile, "append", full)
    assert sweep("--set", "lr=0.03,0.04", "--out", "out") == 0
    assert "cells.jsonl: No space left on device; the time that lr=0.03 took is not kept" in capsys.readouterr().err
    assert [one["state"] for one in results()["cells"]] == ["finished", "finished"]
    assert len(Path("out/cells.jsonl").read_text().splitlines()) == 1


@pytest.mark.usefixtures("here")
def test_where_every_cell_fails_there_is_no_table(recipe: str, capsys: Capture) -> None:
    assert sweep("--set", "fail=raise", "--out", "out", "--quiet") == 2
    assert "no cell of out has results; the first, fail=raise: " in capsys.readouterr().err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--set", "lr=0.1,-1"], "--set lr=-1: "),
        (["--set", "lr=0.1,x"], "--set lr=x: "),
        (["--set", "lr=0.1:0.2"], "--set lr is a range, from which only a search draws"),
        (["--seeds", "x"], "--seeds takes A:B"),
        (["--preset", "lnog"], "has no preset 'lnog'"),
        (["--workers", "0"], "--workers is an integer from 1 on, but got 0"),
        (["--retry", "-1"], "--retry is an integer from 0 on"),
        (["--maximize", "a", "--minimize", "b"], "exclude each other"),
        (["--scheduler", "tcp://127.0.0.1:1", "--slurm"], "exclude each other"),
        (["--slurm-option", "a=1"], "is for --slurm"),
        (["--search", "optuna", "--set", "lr=1,2"], "a search needs --maximize NAME"),
        (["--search", "optuna", "--maximize", "x"], "a search needs what it draws"),
        (["--search", "optun", "--maximize", "x"], "optun"),
        (["--out", "file"], "file is not empty and no sweep"),
    ],
)
def test_wrong_options_are_one_line_and_nothing_is_made(
    words: list[str], line: str, recipe: str, capsys: Capture
) -> None:
    Path("file").write_text("text")
    assert sweep(*words) == 2

    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
    assert not Path("runs").exists()


@pytest.mark.usefixtures("here")
def test_two_sweeps_in_one_folder_are_refused(recipe: str, capsys: Capture) -> None:
    assert sweep("--set", "lr=0.03", "--out", "out") == 0

    # a process that lives: the parent of this one
    from spikebridge.training.run import lock

    holder = {**lock._this_process(), "pid": os.getppid(), "started": lock._start_of(os.getppid())}
    Path("out", lock.LOCK_NAME).write_text(json.dumps(holder))
    capsys.readouterr()

    assert sweep("--set", "lr=0.03", "--out", "out", "--resume") == 2

    (said,) = capsys.readouterr().err.splitlines()
    assert "out is in use: process" in said


def test_a_worker_of_another_version_is_one_line() -> None:
    order = cell.Order(Cell("one", {}, None, {}), "digits", {}, "nowhere", "log", version="0.0.1")
    result, is_retryable = cell.train_cell(order)

    assert result.error is not None
    assert "the sweep 0.0.1; install the same on both" in result.error
    assert not is_retryable
    assert not Path("nowhere").exists()


@pytest.mark.usefixtures("here")
def test_a_metric_that_is_not_there_is_told_after_the_first_cell(recipe: str, capsys: Capture) -> None:
    assert sweep("--set", "lr=0.03,0.04", "--maximize", "acuracy", "--out", "out") == 2
    assert "have no number 'acuracy'; did you mean 'accuracy'" in capsys.readouterr().err
    assert len(list(Path("out/cells").iterdir())) == 1


@pytest.mark.usefixtures("here")
def test_settings_that_are_no_grid_are_cells_too(recipe: str, capsys: Capture) -> None:
    settings = load_recipe(recipe).Config
    configs = {"slow": settings(lr=0.03, num_seeds=1), "two words": settings(names=("b", "c d"), fast=False)}
    runs = train_all(recipe, configs, Path("out"))

    assert {name: run.config_as(settings) for name, run in runs.items()} == configs
    assert [run.results()["table"][0]["network"] for run in runs.values()] == ["a", "b/c d"]
    assert "2/2 two words: finished" in capsys.readouterr().err

    # more of them, one of which fails
    with pytest.raises(
        DataError, match=r"1 of 4 cells of out failed; the first, bad: .*: RuntimeError: a mistake in two"
    ):
        train_all(recipe, {**configs, "bad": settings(fail="raise"), "last": settings(lr=0.04)}, Path("out"), retry=0)

    assert "2 of 4 cells are finished already" in capsys.readouterr().err
    assert Run.open("out/cells/last").finished
    with pytest.raises(ConfigError, match=r"slow is a run with another config \(lr\): lr was 0\.03 and is 0\.5 now"):
        train_all(recipe, {"slow": settings(lr=0.5, num_seeds=1)}, Path("out"))

    with pytest.raises(ConfigError, match="named like a folder, without slashes"):
        train_all(recipe, {"../out": settings()}, Path("out"))

    assert sweep("--set", "lr=0.03", "--out", "out", "--resume", "--preset", "long") == 2
