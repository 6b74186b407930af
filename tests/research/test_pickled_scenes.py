"""Pickles of plain values are read; all that asks for more is refused before it is done."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.reasoning.pickled_scenes import convert, read_restricted_pickle, restricted_unpickle
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes

pytestmark = pytest.mark.untyped

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
    monkeypatch.setattr("research.reasoning.pickled_scenes.MAX_BYTES", 10)
    (tmp_path / "big.p").write_bytes(pickle.dumps("x" * 50))
    with pytest.raises(DataError, match="at most 10 bytes"):
        read_restricted_pickle(tmp_path / "big.p")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_an_old_scene_is_read_from_a_pickle(tmp_path: Path, protocol: int) -> None:
    objects = [{"id": 0, "color": "red", "material": "metal", "shape": "cube"}]
    runs = [{"what_if": -1, "trajectory": [{"frame_index": 0, "objects": [{"id": 0, "x": 1.0, "y": 2.0}]}],
             "collisions": []}]  # fmt: skip
    (tmp_path / "sim_00005.p").write_bytes(pickle.dumps({"objects": objects, "predictions": runs}, protocol))
    with pytest.raises(DataError, match="pickled scenes are not read"):
        read_scenes(tmp_path)

    assert convert(tmp_path, tmp_path / "scenes.jsonl") == 1

    (scene,) = read_scenes(tmp_path / "scenes.jsonl")
    assert (scene.video, scene.positions.tolist()) == (5, [[[1.0, 2.0]]])


def test_a_roll_out_that_diverged_is_flagged_in_a_pickle_too(tmp_path: Path) -> None:
    objects = [{"id": 0, "color": "red", "material": "metal", "shape": "cube"}]
    runs = [{"what_if": -1, "trajectory": [{"frame_index": 0, "objects": [{"id": 0, "x": 1e37, "y": 2.0}]}],
             "collisions": []}]  # fmt: skip
    (tmp_path / "sim_00005.p").write_bytes(pickle.dumps({"objects": objects, "predictions": runs}))

    convert(tmp_path, tmp_path / "scenes.jsonl")

    with pytest.raises(DataError, match="has diverged"):
        read_scenes(tmp_path / "scenes.jsonl")


def shared(kind: type, depth: int = 40) -> Any:
    """A value of 40 small containers that has 2^40 leaves where it is walked through."""
    value: Any = kind(["x"])
    for _ in range(depth):
        value = kind([value, value])

    return value


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_that_share_their_items_are_refused(kind: type, protocol: int) -> None:
    with pytest.raises(DataError, match="uses the same values this often"):
        restricted_unpickle(pickle.dumps({"objects": shared(kind)}, protocol))


def test_texts_that_are_used_too_often_are_refused() -> None:
    with pytest.raises(DataError, match="uses the same values this often"):
        restricted_unpickle(pickle.dumps(["x" * 1_000_000] * 100))


def test_a_value_that_is_used_twice_is_read() -> None:
    pair = [1, 2]
    assert restricted_unpickle(pickle.dumps([pair, pair, "red", "red"])) == [pair, pair, "red", "red"]


def test_a_tuple_is_no_key() -> None:
    # built by hand: Python itself would take 2^40 steps to hash the key
    key = b"K\x01\x85q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(40))
    with pytest.raises(DataError, match="key that is neither text nor number"):
        restricted_unpickle(b"\x80\x02" + key + b"}h\x28K\x01s.")

    with pytest.raises(DataError, match="key that is neither text nor number"):
        restricted_unpickle(pickle.dumps({(1, 2): 3}))


def test_a_list_that_contains_itself_and_one_that_nests_too_deep_are_refused() -> None:
    itself: list[Any] = []
    itself.append(itself)
    deep = [b"]" * depth + b"a" * (depth - 1) + b"." for depth in (99, 101, 100_000)]

    assert restricted_unpickle(deep[0]) is not None
    for content in (pickle.dumps(itself), *deep[1:]):
        with pytest.raises(DataError, match=r"nests deeper than 100 levels|uses the same values"):
            restricted_unpickle(content)
