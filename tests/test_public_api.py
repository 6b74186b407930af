"""The public API keeps the promise of the page "Stability": no name and no parameter goes without a notice."""

import json

import pytest

from research.project import public_api
from spikebridge._moved import moved

pytestmark = pytest.mark.untyped

BEFORE = json.loads(public_api.FILE.read_text(encoding="utf-8"))
WHAT_TO_DO = (
    "keep it for one release, or enter the new name in _moved.json and the changelog; research/project/public_api.py"
)


@pytest.mark.parametrize("package", public_api.PACKAGES)
def test_no_public_name_and_no_parameter_is_gone(package: str) -> None:
    after = public_api.public_names()[package]
    gone = [name for name in BEFORE[package] if name not in after and moved("imports", f"{package}.{name}") is None]

    assert gone == [], WHAT_TO_DO

    broken = [
        line
        for name, parameters in BEFORE[package].items()
        if name in after
        for line in public_api.breaks(f"{package}.{name}", parameters, after[name])
    ]

    assert broken == [], WHAT_TO_DO


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["x", "y="], ["x", "y=", "z="], []),
        (["x", "y="], ["x", "y=", "z*="], []),
        (["x", "y="], ["x"], ["f: 'y' is gone"]),
        (["x", "y="], ["x", "**kwargs"], []),
        (["x", "y*="], ["x", "y="], []),
        (["x", "y="], ["x", "y*="], ["f: the position of 'y' changed"]),
        (["x", "y"], ["y", "x"], ["f: the position of 'x' changed", "f: the position of 'y' changed"]),
        (["x"], ["x", "y*"], ["f: 'y' is new and has no default"]),
        (None, ["x"], []),
    ],
)
def test_a_change_that_breaks_callers_is_found(before: list[str], after: list[str], expected: list[str]) -> None:
    assert public_api.breaks("f", before, after) == expected


def test_the_file_is_not_behind_the_packages() -> None:
    assert set(BEFORE) == set(public_api.PACKAGES)
    assert {"load_pretrained", "set_threads"} <= set(BEFORE["spikebridge"])
    assert BEFORE["spikebridge.training"]["fit"][:2] == ["module", "phases"]
