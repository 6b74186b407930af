"""Pickles of plain values are read; all that asks for more is refused before it is done."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.data.io.restricted_pickle import read_restricted_pickle, restricted_unpickle
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(plain, st.integers(0, 5))
def test_plain_values_come_back_from_every_protocol(value: Any, protocol: int) -> None:
    assert restricted_unpickle(pickle.dumps(value, protocol)) == value


class Evil:
    """Runs something when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [Evil(), {"a": [Evil()]}, OrderedDict(a=1), np.float64(1.0), np.zeros(2), {1, 2}, print, 1j],
    ids=["evil", "hidden", "ordered", "number", "array", "set", "function", "complex"],
)
def test_everything_else_is_refused(value: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="is no plain value"):
        restricted_unpickle(pickle.dumps(value, protocol))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b".", b"(.", b"\x80\x04", b"a.", b"K\x01a.", b"(K\x01u.", b"h\x00.", b"}K\x01s.", b"}(K\x01u.", b"\x93.",
     b"\x80\x04\x8d" + b"\xff" * 7 + b"\x00ab.", b"]((a.", b"K\x01K\x02."],
)  # fmt: skip
def test_damaged_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"damaged|no end|one value|no plain value"):
        restricted_unpickle(content)


@given(st.binary(max_size=40))
def test_random_bytes_give_a_plain_value_or_one_kind_of_error(content: bytes) -> None:
    try:
        value = restricted_unpickle(b"\x80\x04" + content)
    except DataError:
        return
    assert isinstance(value, dict | list | tuple | str | int | float | bytes | None)


def test_numbers_without_end_are_refused() -> None:
    with pytest.raises(DataError, match="bits"):
        restricted_unpickle(pickle.dumps(1 << 10_000))


def test_a_file_past_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikebridge.data.io.restricted_pickle.MAX_BYTES", 10)
    (tmp_path / "big.p").write_bytes(pickle.dumps("x" * 50))
    with pytest.raises(DataError, match="at most 10 bytes"):
        read_restricted_pickle(tmp_path / "big.p")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_an_old_scene_is_read_from_a_pickle(tmp_path: Path, protocol: int) -> None:
    objects = [{"id": 0, "color": "red", "material": "metal", "shape": "cube"}]
    runs = [{"what_if": -1, "trajectory": [{"frame_index": 0, "objects": [{"id": 0, "x": 1.0, "y": 2.0}]}],
             "collisions": []}]  # fmt: skip
    (tmp_path / "sim_00005.p").write_bytes(pickle.dumps({"objects": objects, "predictions": runs}, protocol))
    (scene,) = read_scenes(tmp_path)
    assert (scene.video, scene.positions.tolist()) == (5, [[[1.0, 2.0]]])


def test_a_roll_out_that_diverged_is_flagged_in_a_pickle_too(tmp_path: Path) -> None:
    objects = [{"id": 0, "color": "red", "material": "metal", "shape": "cube"}]
    runs = [{"what_if": -1, "trajectory": [{"frame_index": 0, "objects": [{"id": 0, "x": 1e37, "y": 2.0}]}],
             "collisions": []}]  # fmt: skip
    (tmp_path / "sim_00005.p").write_bytes(pickle.dumps({"objects": objects, "predictions": runs}))
    with pytest.raises(DataError, match="has diverged"):
        read_scenes(tmp_path)
