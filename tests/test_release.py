"""The package as an index shows it: version, links, extras, licences, files."""

import contextlib
import fnmatch
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.untyped

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE = ROOT / "src" / "spikebridge"


def test_the_citation_names_the_version_of_the_package() -> None:
    assert f"version: {PROJECT['project']['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_long_description_has_no_relative_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["long_description"]()
    targets = re.findall(r"\]\(([^)]+)\)", text)

    assert len(targets) > 15
    assert [target for target in targets if not target.startswith("https://")] == []

    version = PROJECT["project"]["version"]
    assert f"https://raw.githubusercontent.com/spikebridge/spikebridge/v{version}/docs/images/" in text
    assert f"https://github.com/spikebridge/spikebridge/blob/v{version}/docs/how-to/install.md" in text


def test_every_extra_that_a_text_names_is_there() -> None:
    extras = set(PROJECT["project"]["optional-dependencies"])
    texts = [*PACKAGE.rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    groups = [
        group
        for path in texts
        for group in re.findall(r"(?:spikebridge|'\.)\[([a-z, ]+)\]", path.read_text(encoding="utf-8"))
    ]
    names = {name.strip() for group in groups for name in group.split(",")}

    # an example of an unknown extra
    assert names - {"nothing"} <= extras

    # those of developers are not for users
    table = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "how-to" / "install.md").read_text(), re.MULTILINE))
    assert table == extras - {"dev", "bench"}


def test_the_licences_of_the_weights_are_those_of_their_cards() -> None:
    text = (PACKAGE / "pretrained" / "LICENCES.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    cards = {path.parent.name: json.loads(path.read_text()) for path in (PACKAGE / "pretrained").glob("*/card.json")}
    data = {name: "; ".join(f"{one}: {part}" for one, part in card["data"]) for name, card in cards.items()}

    assert rows == {
        name: f"{card['weights_licence']} | {data[name] or 'generated data'}" for name, card in cards.items()
    }


def test_every_file_of_the_package_is_packed() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["spikebridge"]
    ignored = {".py", ".pyc", ".so", ".pyd", ".c", ".h"}
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in ignored]

    def is_packed(name: str) -> bool:
        # `**/` also matches no folder
        return any(fnmatch.fnmatch(name, one) or fnmatch.fnmatch(f"/{name}", one[1:]) for one in patterns)

    names = [path.relative_to(PACKAGE).as_posix() for path in files]
    assert [name for name in names if not is_packed(name)] == []


def test_a_wheel_without_the_native_part_works_without_a_compiler(tmp_path: Path) -> None:
    # neither the sources of this checkout nor a chosen library are seen
    ours = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "SPIKEBRIDGE_NATIVE"}}
    ours["CC"] = "false"
    wheel = build_wheel(tmp_path, ours)
    names = zipfile.ZipFile(wheel).namelist()

    assert wheel.name == f"spikebridge-{PROJECT['project']['version']}-py3-none-any.whl"
    assert [name for name in names if name.endswith((".so", ".pyd", ".dylib", ".c", ".h"))] == []

    programs = install(wheel, tmp_path / "venv", ours)
    ours["PATH"] = str(programs)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    program = f"import torch\ntorch.manual_seed(0)\n{example[1]}\nprint(outputs['what'].tolist())\n"
    report = "import spikebridge, spikebridge.ops.native.library as n\nprint(spikebridge.__file__, n.library().why_not)"
    *_, numbers, facts = run([programs / "python", "-c", program + report], ours, tmp_path).splitlines()

    assert facts.startswith(str(tmp_path / "venv"))
    assert "the native part was not built" in facts
    assert "the native part was not built" in run([programs / "spikebridge", "doctor"], ours, tmp_path)

    # the same numbers as those of this process
    own = io.StringIO()
    with contextlib.redirect_stdout(own):
        exec(program, {})
    assert numbers == own.getvalue().strip()


def build_wheel(folder: Path, environment: dict[str, str]) -> Path:
    """The wheel of a copy of the sources, in which nothing was built yet."""
    sources = folder / "sources"
    shutil.copytree(ROOT / "src", sources / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)

    build = "from setuptools import build_meta; build_meta.build_wheel('..')"
    run([sys.executable, "-c", build], environment, sources)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, environment: dict[str, str]) -> Path:
    """The programs of a new environment with the wheel, which borrows all other packages from this one."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--no-compile"]
    run([*pip, wheel], environment, folder)

    # after its own packages; files .pth of the other environment, such as that of a checkout, are not read
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    return folder / "bin"


def run(command: list[str | Path], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
