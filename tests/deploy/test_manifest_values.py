"""Values of a manifest are of their type and in their range, wherever they stand."""

import json
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.manifest import StageRecord, parse_manifest
from spikebridge.deploy.stages.kernels import float_kernel
from spikebridge.errors import DataError


def numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where numbers stand in nested values; the model card is free text."""
    if isinstance(value, dict):
        return [one for key, item in value.items() if path or key != "card" for one in numbers(item, (*path, key))]
    if isinstance(value, list):
        return [one for i, item in enumerate(value) for one in numbers(item, (*path, i))]
    return [path] if isinstance(value, int | float) else []


@pytest.mark.parametrize("bad", [inf, -inf, nan, 1e999])
def test_no_number_of_a_manifest_may_be_infinite_or_nan(small: Bundle, bad: float) -> None:
    text = (small.path / "manifest.json").read_text()
    places = numbers(json.loads(text))
    assert len(places) > 30
    for path in places:
        plain = inner = json.loads(text)
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = bad
        with pytest.raises(DataError, match="manifest"):
            parse_manifest(json.dumps(plain))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Exponential", {"tau": inf, "dt": 0.001, "keep": True}, "has tau = inf, which is no finite number"),
        ("Exponential", {"tau": 0, "dt": 0.001, "keep": True}, "has tau = 0; expected a number above 0"),
        ("Alpha", {"tau": -0.01, "dt": 0.001, "keep": True}, "has tau = -0.01; expected a number above 0"),
        ("Alpha", {"tau": True, "dt": 0.001, "keep": True}, "has tau = True; expected a number above 0"),
        ("Gaussian", {"delay": nan, "sigma": 1.0, "dt": 0.001}, "has delay = nan, which is no finite number"),
        ("Sum", {"keep": 1}, "has keep = 1; expected true or false"),
        ("Tumbling", {"length": 0}, "has length = 0; expected a whole number from 1 to 1048576"),
        ("Sliding", {"length": 4, "stride": True}, "has stride = True; expected a whole number"),
        ("Taps", {"num_taps": 2.5}, "has num_taps = 2.5; expected a whole number"),
        ("SignedDelta", {"quantum": 0.0, "limit": None}, "has quantum = 0.0; expected a number above 0"),
        ("Mine", {"tau": inf}, "has tau = inf, which is no finite number"),
    ],
)
def test_a_setting_out_of_range_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"the stage {name!r} {message}"):
        StageRecord(name, settings)


def test_a_setting_of_a_stage_of_ones_own_may_be_anything_finite() -> None:
    assert StageRecord("Mine", {"tau": -1.0, "length": 0, "keep": 2}).settings["tau"] == -1.0


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("Exponential", {"tau": [0.01, inf]}, "numbers in 'tau' that are not finite"),
        ("Exponential", {"tau": [0.01, 0.0]}, "needs tau above 0, but has 0.0"),
        ("Taps", {"weight": [1.0, nan]}, "numbers in 'weight' that are not finite"),
        ("Taps", {"weight": [1.0, 2.0, 3.0]}, "has num_taps = 2, but 3 taps"),
    ],
)
def test_numbers_of_a_kernel_are_finite_and_fit(name: str, tensors: dict[str, Any], message: str) -> None:
    settings = {"keep": True, "dt": 0.001, "num_taps": 2}
    with pytest.raises(DataError, match=message):
        float_kernel(name, settings, {key: np.array(value, np.float32) for key, value in tensors.items()})
