"""The reference has a page for each module of the library, and a package's page links to all of its public names."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.untyped

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("neurons", "hybrid", "coding", "training", "data", "analysis", "deploy", "networks.sensing")


@pytest.fixture(scope="module")
def conf() -> Any:
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
    assert spec is not None
    assert spec.loader is not None

    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    return module


def test_every_public_module_of_the_library_has_a_page(
    conf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conf, "MODULES", tmp_path / "modules")
    conf.MODULES.mkdir()
    (conf.MODULES / "spikebridge.gone.rst").write_text("a page of a module that is gone")
    conf.write_module_pages()
    pages = {path.stem for path in conf.MODULES.iterdir()}

    assert "spikebridge.gone" not in pages
    for package in ("training", "data", "analysis"):
        folder = conf.SOURCES / package
        files = [path for path in folder.rglob("*.py") if not path.name.startswith("_")]
        names = {".".join(("spikebridge", *path.relative_to(conf.SOURCES).with_suffix("").parts)) for path in files}

        assert names
        assert names <= pages

    assert not any(".cli" in name or "._" in name for name in pages)


def test_every_page_but_the_first_is_in_the_tree_of_its_package(conf: Any) -> None:
    names = conf.module_names()
    listed = {line.strip() for name in names for line in conf.module_page(name, names).splitlines()}
    assert set(names) - {"spikebridge"} <= listed


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_links_to_every_public_name(conf: Any, package: str) -> None:
    linked = dict(conf.exported(f"spikebridge.{package}"))
    module = importlib.import_module(f"spikebridge.{package}")

    assert set(module.__all__) <= linked.keys()
    for name, path in linked.items():
        home, _, last = path.rpartition(".")
        assert getattr(importlib.import_module(home), last) is getattr(module, name)


def test_names_have_links_to_their_source(conf: Any) -> None:
    assert "sphinx.ext.viewcode" in conf.extensions
