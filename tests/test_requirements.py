"""PyTorch and numpy that are too old: one line at import with both versions and the remedy."""

import importlib.metadata
import json
import subprocess
import sys

import pytest

from spikebridge._requirements import check_versions, unfit_versions
from spikebridge.cli.main import main
from spikebridge.errors import ConfigError

pytestmark = pytest.mark.untyped

# what a process does that finds another version of a package
PRETEND = """
import importlib.metadata
true_version = importlib.metadata.version
importlib.metadata.version = lambda name: {{"torch": "{torch}"}}.get(name) or true_version(name)
import spikebridge
{program}
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions to find in place of the true ones; `requires` is fixed, so that a new bound changes no test."""
    versions: dict[str, str] = {}
    true_version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name) or true_version(name))
    declared = ["torch<4,>=2.11", "numpy>=1.26", 'torchvision>=9; extra == "pictures"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    return versions


def test_the_versions_of_this_environment_fit() -> None:
    assert unfit_versions() == []


@pytest.mark.parametrize("version", ["2.11", "2.11.0+cpu", "2.11.0a0+git1234", "2.15.0", "3.0"])
def test_the_bound_and_what_is_newer_fit(installed: dict[str, str], version: str) -> None:
    installed["torch"] = version
    check_versions()


@pytest.mark.parametrize("version", ["2.10.0+cu128", "2.9", "1.13.1"])
def test_an_older_torch_is_named_with_the_bound_and_the_remedy(installed: dict[str, str], version: str) -> None:
    installed["torch"] = version

    with pytest.raises(ConfigError) as raised:
        check_versions()

    assert str(raised.value) == (
        f"spikebridge needs torch 2.11 or newer, but {version} is installed; pip install --upgrade 'torch>=2.11'"
    )


def test_two_packages_make_one_line(installed: dict[str, str]) -> None:
    installed.update(torch="2.8.0", numpy="1.25.2")

    with pytest.raises(ConfigError, match=r"torch 2\.11 .* numpy 1\.26 or newer, but 1\.25\.2 is") as raised:
        check_versions()

    assert "\n" not in str(raised.value)


def test_the_import_of_a_layer_is_refused_and_the_package_alone_is_not() -> None:
    program = PRETEND.format(torch="1.0.0", program="print('alone', flush=True)\nimport spikebridge.neurons")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stdout == "alone\n"
    assert "ConfigError: spikebridge needs torch" in done.stderr.splitlines()[-1]
    assert "but 1.0.0 is installed" in done.stderr.splitlines()[-1]


def test_the_doctor_says_what_does_not_fit(installed: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    installed["torch"] = "2.8.0"

    assert main(["doctor", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["torch"] == "2.8.0"
    assert facts["unfit"] == unfit_versions()

    assert main(["doctor"]) == 1
    assert "torch 2.11 or newer, but 2.8.0 is installed" in capsys.readouterr().out


def test_a_command_with_a_network_is_refused_in_one_line() -> None:
    program = PRETEND.format(
        torch="1.0.0", program="from spikebridge.cli.main import main\nraise SystemExit(main(['draw', 'digits']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if "importing the recipe" not in line]
    assert line.startswith("spikebridge: error: spikebridge needs torch")
    assert "1.0.0 is installed" in line
