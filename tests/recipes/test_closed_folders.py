"""Run, sweep and bundle are closed: no command reads or writes through a link that leads out of its folder."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spikebridge.cli.main import main
from spikebridge.data.io.closed_folder import inside
from spikebridge.errors import DataError
from spikebridge.recipes.sweep.sweep import Sweep
from spikebridge.recipes.training import train_recipe
from tests.recipes import tiny_recipe

pytestmark = pytest.mark.untyped

PACKAGE = Path(__file__).parents[2] / "src" / "spikebridge"
# not copied, since runs name its path
RECIPE = tiny_recipe.__file__
# the words of a command, and the folder that it works in
COMMANDS = {
    "train": (f"train {RECIPE} --out run --resume", "run"),
    "train again": (f"train {RECIPE} --out begun --resume", "begun"),
    "sweep": (f"sweep {RECIPE} --set lr=0.1 --out sweep --resume", "sweep"),
    "eval": (f"eval run --recipe {RECIPE}", "run"),
    "report": (f"report run --recipe {RECIPE}", "run"),
    "compare runs": ("report run begun --out page.html", "run"),
    "draw": (f"draw run --recipe {RECIPE}", "run"),
    "replay": (f"replay run --recipe {RECIPE}", "run"),
    "doctor": (f"doctor run --recipe {RECIPE}", "run"),
    "export": (f"export run --recipe {RECIPE} --out new.bundle", "run"),
    "quantize": (f"quantize run --recipe {RECIPE} --out new.integer", "run"),
    "quantize bundle": (f"quantize run --recipe {RECIPE} --bundle plain", "plain"),
    "compare": ("compare bundle", "bundle"),
    "run": ("run bundle --integers", "bundle"),
    "draw bundle": ("draw bundle", "bundle"),
    "place": ("place bundle", "bundle"),
    "export to C": ("export bundle --target c --out c", "bundle"),
}
_opened: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    names = {"open": 0, "os.rename": 1, "os.link": 1, "os.mkdir": 0, "os.listdir": 0, "os.scandir": 0}
    if _opened is not None and event in names and isinstance(arguments[names[event]], str | os.PathLike):
        _opened.append(os.path.realpath(arguments[names[event]]))


sys.addaudithook(_listen)


@contextlib.contextmanager
def opened_paths() -> Iterator[list[str]]:
    """The files and folders that the block opens, reads, makes or replaces."""
    global _opened
    paths: list[str] = []
    _opened = paths
    try:
        yield paths
    finally:
        _opened = None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, one that lacks its end, a sweep, and a bundle with integers."""
    folder = tmp_path_factory.mktemp("made")
    with contextlib.chdir(folder):
        train_recipe(RECIPE, tiny_recipe.Config(), Path("run"))
        shutil.copytree("run", "begun")
        for name in ("results.json", "report.html", "runs/tiny/seed-0/results.json"):
            Path("begun", name).unlink()

        sweep = Sweep(Path("sweep"), RECIPE, {})
        sweep.begin()
        sweep.ended.append({"cell": "lr=0.1", "settings": {}, "seed": None, "state": "finished", "metrics": {}})
        shutil.copytree("run", "sweep/cells/lr=0.1")
        assert main(["export", "run", "--recipe", RECIPE, "--out", "bundle"]) == 0
        shutil.copytree("bundle", "plain")
        assert main(["quantize", "run", "--recipe", RECIPE, "--bundle", "bundle"]) == 0

    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was made, as the current folder."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("spikebridge.recipes.sweep.local.start_server", lambda recipe: None)
    return folder


def touched(folder: Path, paths: list[str]) -> list[Path]:
    """The files of a folder among the paths, with the folders that they are in, as names inside of it."""
    files = {Path(path).relative_to(folder) for path in paths if Path(path).is_relative_to(folder)}
    # temporary names are of this process
    files = {file for file in files if file.parts and not any(part.startswith(".") for part in file.parts)}
    return sorted({*files, *(parent for file in files for parent in file.parents if parent.parts)})


def contents(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of the files in a folder."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_follows_a_link_out_of_its_folder(
    command: str, here: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, name = COMMANDS[command]
    with opened_paths() as paths:
        assert main(words.split()) in (0, 1)

    capsys.readouterr()
    files = touched(here / name, paths)
    assert files

    for number, file in enumerate(files):
        # what a stopped program left of the integers is removed, links and all
        if file.parent.name == "integers" and command == "quantize bundle":
            continue

        again = tmp_path / str(number)
        victim = tmp_path / f"victim of {number}"
        shutil.copytree(made, again)
        os.chdir(again)
        target = again / name / file

        if target.exists():
            target.rename(victim)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            victim.write_text("mine")

        target.symlink_to(victim)
        before = contents(victim)
        with opened_paths() as paths:
            code = main(words.split())

        said = capsys.readouterr()
        *progress, line = said.err.splitlines()
        assert (code, said.out) == (2, "") and not any("error" in one for one in progress), (file, said)
        assert "leads out of" in line and file.name in line
        assert contents(victim) == before
        assert [path for path in paths if path == str(victim) or Path(path).is_relative_to(victim)] == []


def test_a_link_that_stays_inside_works_and_so_does_one_to_the_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = here / "run"
    inner = run / "runs" / "tiny" / "seed-0"
    (run / "kept").mkdir()
    for file in (run / "results.json", run / "report.html", inner / "weights.safetensors", inner / "metrics.jsonl"):
        file.rename(run / "kept" / file.name)
        file.symlink_to(os.path.relpath(run / "kept" / file.name, file.parent))

    run.rename(here / "elsewhere")
    run.symlink_to("elsewhere")
    (here / "again").mkdir()

    for words in ("report run", "eval run", "doctor run", "export run --out new"):
        assert main([*words.split(), "--recipe", RECIPE]) == 0, capsys.readouterr().err

    assert (run / "report.html").is_symlink()
    assert "Tiny" in (run / "kept" / "report.html").read_text()


@pytest.mark.parametrize("name", ["../out.txt", "/etc/hosts", "a/../../out.txt", "a\0b"])
def test_no_name_leads_out_of_a_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"leads out of|no name of a file"):
        inside(tmp_path, name)


def test_a_link_to_itself_is_an_error_of_its_reader(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "run" / "results.json").unlink()
    (here / "run" / "results.json").symlink_to("results.json")
    assert main(["report", "run", "--recipe", RECIPE]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_no_file_of_a_run_is_named_without_the_check() -> None:
    """All of the package ask `Run.file`, or `inside`; in messages a path may be joined."""
    joined = re.compile(r"(?<!\{)\b(run|child|inner|bundle)\.path /")
    found = [
        f"{file.relative_to(PACKAGE)}: {line.strip()}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for line in file.read_text().splitlines()
        if joined.search(line)
    ]
    assert found == []
