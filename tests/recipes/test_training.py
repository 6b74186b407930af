"""The folder of a training, and the command that resumes it."""

from pathlib import Path

import pytest

from spikebridge.recipes.training import resume_command, run_folder

pytestmark = pytest.mark.untyped


def test_the_command_that_resumes_a_run_can_be_typed() -> None:
    assert resume_command("digits", "my run") == "spikebridge train digits --out 'my run' --resume"


def test_run_folders_are_numbered_and_the_newest_one_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_folder("./my.py", resume=True) == run_folder("./my.py", resume=False) == Path("runs/my")

    Path("runs/my").mkdir(parents=True)
    Path("runs/my-2").mkdir()

    assert run_folder("./my.py", resume=True) == Path("runs/my-2")
    assert run_folder("./my.py", resume=False) == Path("runs/my-3")
