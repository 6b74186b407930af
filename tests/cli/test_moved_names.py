"""Names of the last release that moved or left: the command line says where they are now, without PyTorch."""

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from spikebridge import _moved
from spikebridge.cli.main import main
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.recipes.target import resolve_target
from spikebridge.training.run.config_io import to_plain
from spikebridge.training.run.run import Run

pytestmark = pytest.mark.untyped

TABLES = {
    "imports": {},
    "commands": {"follow": "is now `spikebridge track`"},
    "options": {
        "sensing.model.backbone": "left the package; research/sensing has it",
        "sensing.clips-only": "left with the clips",
        "sensing.shake": "is now --box-noise",
        "quantize.bitwidth": "is now --weights",
    },
    "presets": {"digits.paper": "is now the preset 'five'"},
    "networks": {
        "digits.resnet": "left the package; research/digits has it",
        "sensing.kernel": "left the package; research/sensing has it",
    },
    "choices": {
        "track.detector.template": "left the package",
        "sensing.detector.template": "left the package",
        "modulation.data.dataset.nist": "left with its reader",
    },
}
LINES = {
    "follow recording": "follow is now `spikebridge track`",
    "train sensing --model.backbone resnet": "--model.backbone of sensing left the package; research/sensing has it",
    "train sensing --model.backbone=resnet": "--model.backbone of sensing left the package; research/sensing has it",
    "train sensing --no-clips_only": "--clips-only of sensing left with the clips",
    "eval sensing --shake 1": "--shake of sensing is now --box-noise",
    "train digits --preset paper": "the preset 'paper' of digits is now the preset 'five'",
    "train digits --networks ann resnet": "the network 'resnet' of digits left the package; research/digits has it",
    "draw digits --network resnet": "the network 'resnet' of digits left the package; research/digits has it",
    "quantize sensing --bitwidth 4": "--bitwidth of quantize is now --weights",
    "eval sensing --detector=template": "--detector template of sensing left the package",
    "train modulation --data.dataset nist": "--data.dataset nist of modulation left with its reader",
}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that this release does not have."""
    monkeypatch.setattr(_moved, "_tables", lambda: TABLES)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("words", LINES)
def test_a_name_that_moved_is_one_line_with_its_place(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"spikebridge: error: {LINES[words]}")


def test_the_line_comes_without_pytorch() -> None:
    program = f"""
        import sys
        from spikebridge import _moved
        from spikebridge.cli.main import main
        _moved._tables = lambda: {TABLES}
        for words in {list(LINES)}:
            assert main(words.split()) == 2
            assert "torch" not in sys.modules, words
    """

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("tables")
def test_a_choice_that_left_a_command_is_one_line_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "recording", "--detector", "template"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line == "spikebridge: error: --detector template of track left the package"


@pytest.mark.usefixtures("tables")
def test_a_sweep_over_a_setting_that_left_is_one_line_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "sensing", "--set", "model.backbone=resnet,vgg"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "spikebridge: error: --set model.backbone=resnet,vgg: "
        "--model.backbone of sensing left the package; research/sensing has it"
    )


@pytest.mark.usefixtures("tables")
def test_other_names_are_guessed_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("trian digits", "train sensing --model.sise small", "train digits --preset defualt"):
        assert main(words.split()) == 2
        assert "did you mean " in capsys.readouterr().err


@pytest.mark.usefixtures("tables")
def test_a_run_with_a_network_that_left_opens_with_its_other_networks(tmp_path: Path) -> None:
    config = replace(sensing.PRESETS["quick"], networks=("learned", "kernel"))
    _write_run(tmp_path, "sensing", to_plain(config))

    settings = resolve_target(str(tmp_path)).settings

    assert settings == config and settings.available == ("learned",)
    with pytest.raises(ConfigError, match=r"the network 'kernel' of sensing left the package; research/sensing has it"):
        sensing.train(settings, Run.open(tmp_path))


@pytest.mark.usefixtures("tables")
def test_a_run_that_does_not_open_names_the_network_that_left(tmp_path: Path) -> None:
    _write_run(tmp_path, "digits", {"networks": ["ann", "resnet"]})

    with pytest.raises(ConfigError, match=r"the network 'resnet' of digits left the package; research/digits has it"):
        resolve_target(str(tmp_path))


def _write_run(folder: Path, recipe: str, config: dict[str, object]) -> None:
    """A run folder of a recipe that holds its settings alone."""
    head = {"format": "spikebridge run", "version": 1, "recipe": recipe}
    (folder / "config.json").write_text(json.dumps({**head, "config": config}))
