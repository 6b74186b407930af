"""Import paths of release 0.1 either still work or end in one line that names the new path."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import spikebridge
from spikebridge._moved import moved

ROOT = Path(spikebridge.__file__).parent
TABLE = json.loads((ROOT / "_moved.json").read_text())


def test_a_moved_module_names_the_new_one() -> None:
    for old, new in TABLE["modules"].items():
        with pytest.raises(ImportError) as raised:
            importlib.import_module(old)
        assert str(raised.value).startswith(f"{old} is now {new}")
        assert "\n" not in str(raised.value)
        if new.startswith("spikebridge.") and "NAME" not in new:
            importlib.import_module(new)


def test_a_moved_name_names_the_new_one() -> None:
    for old, target in TABLE["names"].items():
        package, _, name = old.rpartition(".")
        with pytest.raises(ImportError, match="is now"):
            exec(f"from {package} import {name}", {})
        home, _, new = target.rpartition(".")
        assert getattr(importlib.import_module(home), new) is not None
        assert target in str(moved(old))


def test_an_unknown_module_and_a_missing_dependency_stay_ordinary_errors() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'spikebridge.nothing'"):
        importlib.import_module("spikebridge.nothing")
    with pytest.raises(ImportError, match=r"cannot import name 'nothing'"):
        exec("from spikebridge.data import nothing", {})
    assert moved("torch.nothing") is None


def test_the_line_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "try:\n    from spikebridge.networks import sensing_tracker\n"
        "except ImportError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "spikebridge.networks.sensing_tracker is now spikebridge.networks.sensing.tracker.tracker\n"
