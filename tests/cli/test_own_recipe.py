"""A run folder names no code to execute: a run of a recipe file of the user's own asks for that file."""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from spikebridge.cli.main import main
from spikebridge.networks.digits.recipe import PRESETS
from spikebridge.training.run.config_io import to_plain

pytestmark = pytest.mark.untyped

Refused = Callable[..., str]
COMMANDS: list[Sequence[str]] = [
    ("report", "run"),
    ("eval", "run"),
    ("eval", "run", "--help"),
    ("doctor", "run"),
    ("draw", "run"),
    ("export", "run"),
    ("quantize", "run", "--calibrate", "1"),
    ("track", "recording", "--network", "run"),
    ("live", "run", "--events", "-"),
    ("train", "digits", "--out", "run", "--resume"),
    ("train", "./copy.py", "--out", "run", "--resume"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe file that leaves a trace when it is executed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPIKEBRIDGE_DEBUG", raising=False)
    text = "from spikebridge.networks.digits.recipe import *\n"
    (tmp_path / "copy.py").write_text(text)
    (tmp_path / "evil.py").write_text(f"from pathlib import Path\nPath('executed').touch()\n{text}")

    return tmp_path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs words that must be refused, and gives the one line that says why."""

    def run(*words: str) -> str:
        code = main(words)
        captured = capsys.readouterr()

        assert (code, captured.out) == (2, "")
        assert captured.err.startswith("spikebridge: error: ")
        assert captured.err.count("\n") == 1

        return captured.err

    return run


def write_run(folder: Path, recipe: object, **more: object) -> None:
    """A run folder that names a recipe."""
    folder.mkdir()
    head = {"format": "spikebridge run", "version": 1, "recipe": recipe, **more}
    (folder / "config.json").write_text(json.dumps({**head, "config": to_plain(PRESETS["quick"])}))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("recipe", ["evil.py", "./run/../evil.py", "evil", "spikebridge.cli.main"])
def test_no_command_imports_what_a_run_folder_names(
    here: Path, refused: Refused, words: Sequence[str], recipe: str
) -> None:
    write_run(here / "run", recipe)
    # `train` is told its recipe already
    assert ("--recipe" in refused(*words)) is (words[0] != "train")
    assert not (here / "executed").exists()


def test_a_full_path_in_a_run_folder_is_not_imported_either(here: Path, refused: Refused) -> None:
    write_run(here / "run", str(here / "evil.py"))
    assert f"run is a run of '{here}/evil.py', which is no recipe of the package" in refused("report", "run")
    assert not (here / "executed").exists()


def test_a_run_is_opened_with_the_file_that_made_it(
    here: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    own = here / "own.py"
    own.write_text((here / "copy.py").read_text())
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    write_run(here / "run", str(own), recipe_sha256=digest)

    assert main(["draw", "run", "--recipe", "own.py"]) == 0

    own.write_text(own.read_text() + "# edited\n")
    capsys.readouterr()

    assert "own.py is not the recipe file that run was started with" in refused("draw", "run", "--recipe", "own.py")
    assert main(["draw", "run", "--recipe", "own.py", "--edited"]) == 0


def test_a_run_without_a_hash_warns(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(here / "run", "old.py")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["draw", "run", "--recipe", "copy.py"]) == 0

    said = "spikebridge: warning: run has no hash of its recipe; copy.py is taken unchecked\n"
    assert capsys.readouterr().err == said


def test_a_recipe_file_where_none_is_needed_is_refused(here: Path, refused: Refused) -> None:
    write_run(here / "run", "digits")
    own = ("--recipe", "evil.py")

    assert "leave --recipe out" in refused("draw", "run", *own)
    assert "digits is no run folder" in refused("draw", "digits", *own)
    assert "there is no run" in refused("doctor", *own)

    (here / "bundle").mkdir()
    (here / "bundle" / "manifest.json").write_text("{}")
    for words in (("draw", "bundle"), ("live", "bundle", "--events", "-")):
        assert "leave --recipe out" in refused(*words, *own)

    write_run(here / "other", "other.py", recipe_sha256=7)
    assert "recipe_sha256 should be text" in refused("draw", "other", *own)
    assert not (here / "executed").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "line 1: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit()", "line 2: SystemExit"),
        ("raise SystemExit('stop')", "line 1: SystemExit: stop"),
        ("raise BaseException('all')", "line 1: BaseException: all"),
        ("def f():\n    f()\nf()", "line 2: RecursionError"),
        ("x = (", "line 1: '(' was never closed"),
        ("x = '\0'", "null byte"),
        ("x = " + "(" * 500, "line 1: too many nested parentheses"),
        ("PRESETS = {}", "its PRESETS should name a Config at least, but is {}"),
        ("PRESETS = 7", "its PRESETS should name a Config at least, but is 7"),
        ("PRESETS = {'default': 7}", "its preset 'default' should be a Config, but is 7"),
        ("Config = 7", "its Config should be a dataclass, but is 7"),
        ("train = 7", "its train should be a function"),
        ("def build(config):\n    raise OverflowError('wide')", "line 2: OverflowError: wide"),
        ("def build(config):\n    import sys\n    sys.exit(3)", "line 3: SystemExit: 3"),
    ],
)
def test_a_mistake_in_a_recipe_file_is_one_line(here: Path, refused: Refused, text: str, message: str) -> None:
    whole = text if text.startswith("x = ") else f"{text}\n{(here / 'copy.py').read_text()}"
    if text.startswith(("PRESETS", "Config", "train", "def build")):
        whole = f"{(here / 'copy.py').read_text()}\n{text}"
        message = message.replace("line 2", "line 4").replace("line 3:", "line 5:") if "def" in text else message

    (here / "my.py").write_text(whole)
    assert message in refused("draw", "./my.py")
