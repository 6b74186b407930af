"""Names of the last release that moved or left give one line that says where they are now."""

import importlib
import json
from pathlib import Path

import pytest

import spikebridge
from spikebridge._moved import moved

pytestmark = pytest.mark.untyped

ROOT = Path(spikebridge.__file__).parent
TABLES = json.loads((ROOT / "_moved.json").read_text())


def test_a_moved_import_names_its_place_of_today() -> None:
    for old, line in TABLES["imports"].items():
        package, _, name = old.rpartition(".")

        with pytest.raises(ImportError) as raised:
            exec(f"from {package} import {name}", {})

        assert str(raised.value).startswith(f"{old} {line}")
        assert "\n" not in str(raised.value)


def test_rows_are_named_as_the_command_line_looks_them_up() -> None:
    for kind in ("options", "presets", "networks", "choices"):
        assert [name for name in TABLES[kind] if "." not in name] == [], f"{kind} are named RECIPE.NAME"
    assert [name for name in TABLES["options"] if "_" in name.partition(".")[2]] == [], "options have dashes"


def test_every_named_place_exists() -> None:
    for table in TABLES.values():
        for line in table.values():
            for word in line.replace(",", " ").replace(";", " ").split():
                if word.startswith("research/"):
                    assert (ROOT.parents[1] / word).exists(), word
                if word.startswith("spikebridge."):
                    package, _, name = word.rpartition(".")
                    exec(f"from {package} import {name}", {})


def test_an_unknown_module_and_a_missing_dependency_stay_ordinary_errors() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'spikebridge.nothing'"):
        importlib.import_module("spikebridge.nothing")

    with pytest.raises(ImportError, match=r"cannot import name 'nothing'"):
        exec("from spikebridge.data import nothing", {})

    assert moved("imports", "torch.nothing") is None
