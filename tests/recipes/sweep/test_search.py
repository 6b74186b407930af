"""Searches with Optuna: trials are cells, those that fall behind are pruned, a stopped search continues."""

import json
from pathlib import Path
from typing import Any

import pytest

from spikebridge.cli.main import main

pytest.importorskip("optuna")
pytestmark = [pytest.mark.untyped, pytest.mark.usefixtures("here")]
Capture = pytest.CaptureFixture[str]


def search(*words: str) -> int:
    return main(["sweep", "tiny.py", "--search", "optuna", "--out", "out", *words])


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path("out/results.json").read_text())["cells"]
    return found


RANGE = ["--set", "lr=0.001:1:log", "--set", "width=2:8", "--set", "names=a b,c"]


def test_a_search_draws_from_ranges_and_values_and_finds_the_best(recipe: str, capsys: Capture) -> None:
    assert search(*RANGE, "--trials", "12", "--maximize", "accuracy", "--no-pruning", "--seeds", "1") == 0

    found = cells()
    assert [one["name"] for one in found] == [f"trial-{number:04d}" for number in range(12)]
    assert all(0.001 <= float(one["settings"]["lr"]) <= 1 for one in found)
    assert {one["settings"]["width"] for one in found} <= {str(number) for number in range(2, 9)}
    assert {one["settings"]["names"] for one in found} == {"a b", "c"}
    assert all(one["seed"] == 1 for one in found)

    values = [one["metrics"]["accuracy %"] for one in found]
    best = json.loads(Path("out/results.json").read_text())["best"]

    assert best["accuracy"] == max(values)
    assert capsys.readouterr().out.splitlines()[1].endswith("*")  # the best one comes first


def test_trials_that_fall_behind_are_pruned(recipe: str) -> None:
    assert search("--set", "lr=0.001:1", "--trials", "12", "--maximize", "accuracy", "--preset", "long") == 0

    states = [one["state"] for one in cells()]
    assert states.count("pruned") >= 1

    pruned = next(one for one in cells() if one["state"] == "pruned")
    rows = Path("out/cells", pruned["name"], "metrics.jsonl").read_text().splitlines()

    assert 1 <= len(rows) < 6
    assert not Path("out/cells", pruned["name"], "results.json").exists()


def test_a_search_continues_and_finishes_what_was_begun(recipe: str, capsys: Capture) -> None:
    import optuna

    words = ["--set", "lr=0.001:1:log", "--maximize", "accuracy", "--no-pruning"]
    assert search(*words, "--trials", "3") == 0

    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("out/study.journal"))
    study = optuna.load_study(study_name="sweep", storage=storage)

    assert len(study.trials) == 3

    study.ask({"lr": optuna.distributions.FloatDistribution(0.001, 1, log=True)})  # a program that was killed
    assert search(*words, "--trials", "6", "--resume") == 0
    assert len(cells()) == 6
    assert all(one["state"] == "finished" for one in cells())

    drawn = [one["settings"]["lr"] for one in cells()]
    assert len(set(drawn)) == 6

    capsys.readouterr()
    assert search("--set", "lr=0.01:1:log", "--minimize", "loss", "--trials", "8", "--resume") == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "is to maximize, not to minimize" in line


def test_a_trial_that_fails_does_not_end_the_search(recipe: str) -> None:
    words = ["--set", "fail=never,raise", "--trials", "6", "--maximize", "accuracy", "--retry", "0"]
    assert search(*words) == 1
    states = {one["settings"]["fail"]: one["state"] for one in cells()}
    assert states == {"never": "finished", "raise": "failed"}


def test_a_search_takes_one_seed(recipe: str, capsys: Capture) -> None:
    assert search("--set", "lr=0.1,0.2", "--maximize", "accuracy", "--seeds", "0:2") == 2
    assert "a search trains each trial with one seed" in capsys.readouterr().err
