"""The number of threads: set before PyTorch is loaded, changed later, read from options and variables."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

import spikebridge
from spikebridge.cli.main import main
from spikebridge.errors import ConfigError
from spikebridge.threads import parse_threads

pytestmark = pytest.mark.untyped


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Removes the variables of OpenMP during a test."""
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        # a variable that a test adds is removed afterwards only if it was set before
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    yield monkeypatch
    torch.set_num_threads(before)


def test_auto_is_one_thread(unset: pytest.MonkeyPatch) -> None:
    assert spikebridge.set_threads() == torch.get_num_threads() == 1
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize(("variable", "number"), [("3", 3), ("2,4", 2), ("", 1), ("many", 1), ("0", 1), ("9999999", 1)])
def test_auto_takes_the_variable_of_openmp(unset: pytest.MonkeyPatch, variable: str, number: int) -> None:
    unset.setenv("OMP_NUM_THREADS", variable)
    assert spikebridge.set_threads("auto") == number


def test_a_waiting_policy_of_the_user_stays(unset: pytest.MonkeyPatch) -> None:
    unset.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert spikebridge.set_threads(2) == spikebridge.threads_in_use() == 2
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize("word", ["0", "-1", "1025", "two", "1.5", "", "²", "99999999999999999999"])
def test_a_wrong_number_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="threads is an integer from 1 to 1024 or auto, but got"):
        parse_threads(word)
    assert main(["data", f"--threads={word}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("threads", [True, 2.0, None])
def test_an_argument_of_another_kind_is_refused(threads: object) -> None:
    with pytest.raises(ConfigError):
        spikebridge.set_threads(threads)  # type: ignore[arg-type]


def test_a_command_sets_the_number_of_its_option(unset: pytest.MonkeyPatch) -> None:
    assert main(["data", "--threads", "2"]) == 0
    assert torch.get_num_threads() == 2
    assert main(["data"]) == 0
    assert torch.get_num_threads() == 2, "a process that has loaded PyTorch keeps its number"


def test_both_are_set_before_pytorch_is_loaded() -> None:
    program = """
        import os, sys
        import spikebridge
        assert "torch" not in sys.modules
        assert spikebridge.set_threads(1) == spikebridge.threads_in_use() == 1
        import torch
        assert torch.get_num_threads() == spikebridge.threads_in_use() == 1
        assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    """

    own = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    lines = "\n".join(line.strip() for line in program.splitlines())
    subprocess.run([sys.executable, "-c", lines], check=True, env=own)
