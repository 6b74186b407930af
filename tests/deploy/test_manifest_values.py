"""Values of a manifest are of their type and in their range, wherever they stand."""

import json
from collections.abc import Callable, Iterator
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import edited

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.manifest import Manifest, StageRecord, parse_manifest, write_manifest
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.deploy.stages.kernels import float_kernel
from spikebridge.errors import DataError

pytestmark = pytest.mark.untyped


def numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of the numbers in nested values; the model card is free text."""
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


def changes(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every single value of nested ones, with others of its type."""
    if isinstance(plain, dict | list):
        for key, item in plain.items() if isinstance(plain, dict) else enumerate(plain):
            yield from changes(item, (*path, key))
    elif isinstance(plain, bool):
        yield path, not plain
    elif isinstance(plain, int | float):
        yield from ((path, plain + 1), (path, plain - 1), (path, plain * 2 + 1))
    elif isinstance(plain, str):
        yield from ((path, plain + "_"), (path, "second" if plain == "first" else "first"))
    else:
        yield from ((path, 0), (path, "first"))

    if plain is not None:
        yield path, None


@pytest.mark.parametrize("which", ["small", "spiking", "whole"])
def test_every_changed_value_of_a_manifest_is_refused(which: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(which)
    text = (bundle.path / "manifest.json").read_text()
    plain = json.loads(text)
    manifest = parse_manifest(text)
    count = 0

    for path, value in changes(plain):
        if not path:
            continue

        changed = inner = json.loads(text)
        for key in path[:-1]:
            inner = inner[key]

        inner[path[-1]] = value
        if path == ("sha256",) and value is None:
            # no digest, no change
            assert parse_manifest(json.dumps(changed)) == manifest
            continue

        with pytest.raises(DataError, match=r"^(manifest|a |the |two |link )") as caught:
            parse_manifest(json.dumps(changed))

        assert len(str(caught.value).splitlines()) == 1

        count += 1

    assert count > 300


def test_a_removed_or_added_value_is_refused(spiking: Bundle) -> None:
    plain = json.loads((spiking.path / "manifest.json").read_text())
    # an optional field that has its default value
    changed = {
        **plain,
        "links": [{k: v for k, v in one.items() if k != "by" or v != "multiply"} for one in plain["links"]],
    }
    with pytest.raises(DataError, match=r"manifest\.json was changed after it was written: its SHA-256 .* you meant"):
        parse_manifest(json.dumps(changed))

    with pytest.raises(DataError, match="was changed after it was written"):
        parse_manifest(json.dumps({**plain, "card": {"by": "another"}}))


def test_the_layout_of_a_manifest_as_text_may_change(spiking: Bundle) -> None:
    text = (spiking.path / "manifest.json").read_text()
    plain = json.loads(text)
    shuffled = dict(reversed(plain.items()))

    assert parse_manifest(json.dumps(shuffled, indent=None)) == parse_manifest(text) == spiking.manifest
    assert write_manifest(parse_manifest(text)) == text


def test_a_manifest_without_a_digest_is_another_programs(copied: Callable[[], Path]) -> None:
    def slower(plain: dict[str, Any]) -> None:
        plain["links"][2]["delay"] = 3

    bundle = Bundle.open(edited(copied(), slower))
    assert bundle.manifest.links[2].delay == 3
    assert isinstance(bundle.manifest, Manifest)


@pytest.mark.parametrize(
    ("which", "index", "emits"),
    [
        ("spiking", 1, {"period": 2, "phase": 3}),
        ("spiking", 2, {"period": 4, "phase": 1}),
        ("small", 2, {"period": 4, "phase": 4}),
        ("small", 2, {"period": 2, "phase": 0}),
    ],
)
def test_a_link_emits_by_the_clock_of_its_unit(
    which: str, index: int, emits: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(which)
    plain = json.loads((bundle.path / "manifest.json").read_text())
    plain["links"][index] |= {"emits": emits, "held": True}
    del plain["sha256"]
    changed = Bundle(bundle.path, parse_manifest(json.dumps(plain)))

    with pytest.raises(DataError, match=r"emits ClockRecord\(.*\), but its unit has ClockRecord"):
        Runner(changed)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Exponential", {"tau": inf, "dt": 0.001, "keep": True}, "has tau = inf, which is no finite number"),
        ("Exponential", {"tau": 0, "dt": 0.001, "keep": True}, "has tau = 0; expected a number above 0"),
        ("Alpha", {"tau": -0.01, "dt": 0.001, "keep": True}, "has tau = -0.01; expected a number above 0"),
        ("Alpha", {"tau": True, "dt": 0.001, "keep": True}, "has tau = True; expected a number above 0"),
        ("Gaussian", {"delay": nan, "sigma": 1.0, "dt": 0.001}, "has delay = nan, which is no finite number"),
        ("Sum", {"keep": 1}, "has keep = 1; expected true or false"),
        ("Tumbling", {"length": 0}, "has length = 0; expected an integer from 1 to 1048576"),
        ("Sliding", {"length": 4, "stride": True}, "has stride = True; expected an integer"),
        ("Taps", {"num_taps": 2.5}, "has num_taps = 2.5; expected an integer"),
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
