"""Results that are read back: a damaged or foreign file is one line that names it, or changes nothing that is read."""

import contextlib
import copy
import importlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from spikebridge.cli.main import main
from spikebridge.errors import DataError, SpikebridgeError
from spikebridge.networks.digits import report as digits
from spikebridge.networks.modulation import report as modulation
from spikebridge.networks.reasoning import _report as reasoning
from spikebridge.networks.sensing.report import report as sensing
from spikebridge.networks.signals import report as signals
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run
from spikebridge.training.run.config_io import read_results
from spikebridge.training.run.metrics import MetricsFile

pytestmark = pytest.mark.untyped

NUMBER = 40  # damages of a recipe
VALUES = [None, "text", "nan", float("nan"), 1e308, -1, 0, 10**400, True, {}, [], [[1]], {"a": 1}]
_DRAWN = ("accuracy_bars", "accuracy_lines", "confusion_matrix", "heat_map", "draw_network", "to_svg")
_HEAVY = ("_replay", "_inside", "_drawn", "_animation", "cost_rows", "time_constants")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def damaged(value: Any, path: tuple[Any, ...], chance: random.Random) -> Any:
    """A copy with one value deleted, exchanged, or of another length."""
    again = copy.deepcopy(value)
    node = again
    for key in path[:-1]:
        node = node[key]

    item = node[path[-1]]
    kind = chance.choice(("delete", "exchange", "exchange", "length"))
    if kind == "delete":
        del node[path[-1]]
    elif kind == "length" and isinstance(item, list):
        node[path[-1]] = chance.choice((item[:-1], item + item[-1:]))
    else:
        node[path[-1]] = chance.choice(VALUES)

    return again


def digits_run(folder: Path) -> None:
    """A run as the recipe writes it, of two networks and seeds."""
    run = Run.create(folder, "digits", {"networks": ["learned", "ann"]})
    score = {
        "accuracy": 0.5,
        "accuracy_by_window": [0.25, 0.5],
        "confusions": [[3, 1], [2, 2]],
        "parameters": 12,
        **dict.fromkeys(("macs", "synops", "updates", "energy_nj", "tick_ms"), 1.0),
    }
    scores: dict[str, list[dict[str, Any]]] = {"learned": [score, score], "ann": [score, score]}
    for name, seeds in scores.items():
        for seed, one in enumerate(seeds):
            run.child(f"{name}/seed-{seed}").save_results(one)

    run.save_results(digits.compare(scores))


def shipped(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        run = shipped_run(name)
        assert run is not None
        shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("*.safetensors"))

    return make


NETWORKS: Any = {"learned": None}


def sensing_page(run: Run) -> None:
    nothing: Any = None
    sensing.write(run, NETWORKS, "", nothing, [nothing], {}, {})


CONFIG = dict.fromkeys(("scenes", "num_validation", "num_features", "epochs", "jitter"))
PAGES: dict[str, tuple[Any, Callable[[Path], None], Callable[[Run], object]]] = {
    "digits": (digits, digits_run, lambda run: digits.write(run, {}, NETWORKS, {}, "")),
    "modulation": (modulation, shipped("modulation"), lambda run: modulation.write(run, {}, NETWORKS, "")),
    "reasoning": (reasoning, shipped("reasoning"), lambda run: reasoning.write(run, CONFIG, "")),
    "sensing": (sensing, shipped("sensing"), sensing_page),
    "signals": (signals, shipped("signals"), lambda run: signals.write(run, {}, NETWORKS, "")),
}


@pytest.mark.parametrize("recipe", PAGES)
def test_a_damaged_file_is_one_line_that_names_it_or_a_whole_page(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, make, write = PAGES[recipe]
    folder = tmp_path / "run"
    make(folder)
    monkeypatch.setattr(Run, "load_weights", lambda run, module: None)
    monkeypatch.setattr("spikebridge.analysis.learning_curves.accuracy_lines", lambda *args: None)
    monkeypatch.setattr("spikebridge.analysis.learning_curves.to_svg", lambda *args: "<svg/>")
    for name in (*_DRAWN, *_HEAVY):
        drawn: Any = "<svg/>" if name in ("to_svg", "draw_network") else [] if name in _HEAVY else MagicMock()
        monkeypatch.setattr(page, name, lambda *args, drawn=drawn: drawn, raising=False)

    monkeypatch.setattr(sensing, "_animation", lambda *args: sensing.Section("Animation"))
    monkeypatch.setattr(digits, "_inside", lambda *args: digits.Section("Inside"))
    monkeypatch.setattr(digits, "_drawn", lambda *args: digits.Section("Drawn"))
    write(Run.open(folder))

    chance = random.Random(recipe)
    files = [file for file in folder.rglob("*.json*") if file.name == "results.json"]
    # of long lists the first two items
    jobs = [
        (file, path)
        for file in files
        for path in places(json.loads(file.read_text()))
        if all(key in (0, 1) for key in path if isinstance(key, int)) and path[0] != "representation"
    ]
    refused = 0

    for file, path in chance.sample(jobs, min(NUMBER, len(jobs))):
        text = file.read_text()
        file.write_text(json.dumps(damaged(json.loads(text), path, chance)))
        try:
            write(Run.open(folder))
        except SpikebridgeError as error:
            refused += 1
            assert file.name in str(error) and "\n" not in str(error), (path, str(error))
        file.write_text(text)

    assert refused


KINDS = {
    "digits": (digits, "NetworkScore"),
    "modulation": (modulation, "MethodScore"),
    "signals": (signals, "WindowScore"),
    "beats": (importlib.import_module("spikebridge.networks.signals.tasks.detect"), "_Score"),
    "sensing": (importlib.import_module("spikebridge.networks.sensing.evaluation.benchmark"), "TrackerScore"),
}


@pytest.mark.parametrize("recipe", KINDS)
def test_every_required_field_of_a_score_is_missed(recipe: str, tmp_path: Path) -> None:
    module, name = KINDS[recipe]
    kind = getattr(module, name)
    if recipe == "digits":
        digits_run(tmp_path / "run")
        run = Run.open(tmp_path / "run")
    else:
        run = shipped_run({"beats": "signals_ecg"}.get(recipe, recipe))  # type: ignore[assignment]

    children = run.children()
    results = next(child for path, child in children.items() if "seed" in path).results()
    assert read_results(kind, results, Path("results.json")) == results

    for field in kind.__required_keys__:
        for wrong in (None, {**results, field: object()}, {key: x for key, x in results.items() if key != field}):
            with pytest.raises(DataError, match=r"^results\.json is damaged, or not of this recipe: results") as caught:
                read_results(kind, wrong, Path("results.json"))
            assert wrong is None or field in str(caught.value)


def test_lengths_of_one_name_agree_in_all_files() -> None:
    sizes: dict[str, int] = {}
    score = {
        "accuracy": 1, "accuracy_by_window": [1.0], "confusions": [[1, 0], [0, 1]], "parameters": 1,
        **dict.fromkeys(("macs", "synops", "updates", "energy_nj", "tick_ms"), "inf"),
    }  # fmt: skip
    assert read_results(digits.NetworkScore, score, Path("a"), sizes)["macs"] == float("inf")
    assert sizes == {"windows": 1, "classes": 2}
    for wrong, words in (
        ({"confusions": [[1, 0]]}, "should have 2 classes, but has 1"),
        ({"confusions": [[1], [1]]}, "should have 2 classes, but has 1"),
        ({"accuracy_by_window": []}, "should have 1 windows, but has 0"),
        ({"accuracy_by_window": [1, 2]}, "should have 1 windows, but has 2"),
    ):
        with pytest.raises(DataError, match=words):
            read_results(digits.NetworkScore, score | wrong, Path("b"), sizes)


@pytest.mark.parametrize(
    "row",
    [
        *('{"cell": 1}', '{"cell": "a", "settings": 3}', "[]", '{"seconds": []}'),
        '{"cell": "a", "settings": {}, "seed": 0, "state": "lost"}',
        '{"cell": "a", "settings": {}, "seed": 0, "state": "finished", "metrics": {"x": "y"}}',
    ],
)
def test_a_damaged_row_of_a_search_is_one_line(row: str, tmp_path: Path) -> None:
    from spikebridge.recipes.sweep.sweep import Sweep

    sweep = Sweep(tmp_path, "digits", {})
    (tmp_path / "cells.jsonl").write_text(row + "\n")
    with pytest.raises(DataError, match=r"cells\.jsonl is damaged"):
        sweep.run_search(None, iter(()), 0, contextlib.nullcontext(None), 0)  # type: ignore[arg-type]


def test_runs_of_any_results_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, results in (
        ("a", {"x": 10**400, "y": [{}, {"z": "nan"}]}),
        ("b", {"x": 0.5, "y": {"z": [[]]}, "": None}),
    ):
        run = Run.create(name, "gone", {})
        (run.path / "results.json").write_text(json.dumps(results))
        MetricsFile(run.path / "metrics.jsonl").append({"$\\frac{$": 0.5, "<b>": "nan", "lr": [1]})

    assert main(["report", "a", "b", "--out", "page.html"]) == 0
