"""The workflows of a fork with GitHub Actions: they parse, cover what the package promises, and call the Makefile."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".github" / "workflows"


def jobs_of(name: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    # YAML reads the word `on` as a truth value
    assert content["name"] == name
    assert content[True]
    return list(content["jobs"].values())


@pytest.mark.parametrize("name", ["tests", "wheels", "docs"])
def test_each_command_of_a_workflow_is_a_target_of_the_makefile(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = [step["run"].split() for job in jobs_of(name) for step in job["steps"] if "run" in step]

    assert commands
    assert all(words[0] == "make" and words[1] in targets and len(words) == 2 for words in commands)


def test_no_other_workflow_is_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"tests.yml", "wheels.yml", "docs.yml"}


def test_the_tests_cover_every_python_of_the_package_on_linux_and_macos() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = [name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name]
    job, floor = jobs_of("tests")
    matrix = job["strategy"]["matrix"]

    assert matrix["python"] == promised
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"]
    assert {step["run"] for step in job["steps"] if "run" in step} == {
        "make check",
        "make test-types",
        "make test-plain",
    }
    assert [step["run"] for step in floor["steps"] if "run" in step] == ["make test-floor"]


def test_the_floor_is_tested_on_the_oldest_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    _, floor = jobs_of("tests")
    (python,) = [step["with"]["python-version"] for step in floor["steps"] if "setup-python" in step.get("uses", "")]

    assert project["requires-python"] == f">={python}"


def test_wheels_are_built_for_x86_and_arm_on_linux_and_macos() -> None:
    (job,) = jobs_of("wheels")
    assert job["strategy"]["matrix"]["os"] == ["ubuntu-latest", "ubuntu-24.04-arm", "macos-latest", "macos-15-intel"]
