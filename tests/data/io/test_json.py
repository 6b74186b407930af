"""JSON past the limits of depth, values, lines or size is refused before it takes time or memory."""

import gzip
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.data.io import json_stream, json_text
from spikebridge.data.io.json_stream import json_objects
from spikebridge.data.io.json_text import parse_json, read_json
from spikebridge.errors import DataError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('[]{}"\\a'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('[]{}"\\a'), inner),
    max_leaves=30,
)


def depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + max(map(depth, inner), default=0)


@given(plain, st.booleans())
def test_json_comes_back_and_its_depth_is_that_of_its_brackets(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text, "here") == parse_json(text.encode(), "here") == value
    assert json_text._depth(text.encode()) == depth(value)


def test_depth_is_counted_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_BLOCK_BYTES", 3)
    assert json_text._depth(b'{"[[[[[[": [[], {"a]": [1]}]}') == 4


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101])
def test_json_that_nests_too_deep_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="here: JSON that nests deeper than 100 levels is not read"):
        parse_json(text, "here")


def test_json_of_100_levels_is_read() -> None:
    assert depth(parse_json("[" * 100 + "]" * 100, "here")) == 100


def test_json_of_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MAX_VALUES", 100)
    assert len(parse_json(f"[{','.join(['1'] * 99)}]", "here")) == 99
    with pytest.raises(DataError, match="here: JSON of more than 100 values is not read"):
        parse_json(f"[{','.join(['1'] * 101)}]", "here")


@pytest.mark.parametrize("content", [b"\xff\xfe[\x00]\x00", b"{", b"", b'"\xff"', b"1" * 5000, b'{"a" 1}'])
def test_what_is_no_json_in_utf_8_is_one_kind_of_error(content: bytes) -> None:
    with pytest.raises(DataError, match="here: this is no JSON"):
        parse_json(content, "here")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json", "a number") == {"a": 1}
    with pytest.raises(DataError, match="at most 5 bytes"):
        read_json(tmp_path / "a.json", "a number", max_bytes=5)


def objects(path: Path, content: bytes) -> list[dict[str, object]]:
    path.write_bytes(content)
    return [one for _, one in json_objects(path, "scenes")]


def test_lines_a_list_and_a_document_over_several_lines_are_read_alike(tmp_path: Path) -> None:
    wanted = [{"a": 1}, {"b": [2]}]
    path = tmp_path / "file"

    assert objects(path, b'{"a": 1}\n\n{"b": [2]}') == wanted
    assert objects(path, json.dumps(wanted).encode()) == wanted
    assert objects(path, json.dumps(wanted, indent=1).encode()) == wanted
    assert objects(path, gzip.compress(b'\n\n{"a": 1}\n{"b": [2]}\n')) == wanted
    assert objects(path, b"[]") == []


def test_a_file_of_too_many_objects_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_OBJECTS", 2)
    with pytest.raises(DataError, match="line 3: a file of more than 2 objects is not read"):
        objects(tmp_path / "file", b'{"a": 1}\n' * 3)


@pytest.mark.untyped
@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"\n" * 2**28, 1),
        gzip.compress(b"[" + b"{}," * 2**26 + b"{}]", 1),
        b"\n" * 5_000_000,
        b"[" * 100_000,
    ],
    ids=["packed newlines", "packed objects", "newlines", "brackets"],
)
def test_files_made_to_take_time_or_memory_are_refused_at_once(tmp_path: Path, content: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(DataError, match=r"not read|at most \d+ bytes"):
        objects(tmp_path / "file", content)
    assert time.monotonic() - started < 20  # on a busy machine; a second or two alone
