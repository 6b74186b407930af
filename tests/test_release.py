"""The package as an index shows it: version, links, extras, licences, files."""

import fnmatch
import json
import re
import runpy
import tomllib
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
