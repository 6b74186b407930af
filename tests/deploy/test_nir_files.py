"""A NIR file is looked through before it is read: cycles, depth and numbers of groups have limits."""

from pathlib import Path
from typing import Any

import h5py
import pytest

from spikebridge.data.io import hdf5
from spikebridge.deploy.nir.file import open_graph
from spikebridge.errors import DataError

KINDS = ("NIRGraph", "Input", "Output")


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_graph(path, KINDS)
    return str(caught.value)


def new_file(path: Path) -> Any:
    return h5py.File(path, "w")


def test_a_group_that_contains_itself_is_refused(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.nir") as file:
        inner = file.create_group("node/inner")
        inner["again"] = inner
    assert "/node/inner/again is a second name of the same group" in refusal(tmp_path / "a.nir")


def test_a_group_that_contains_the_file_is_refused(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.nir") as file:
        file.create_group("node")["root"] = file["/"]
    assert "/node/root is a second name of the same group" in refusal(tmp_path / "a.nir")


def test_groups_that_are_shared_forty_deep_are_refused(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.nir") as file:
        group = file.create_group("node")
        for _ in range(40):
            below = group.create_group("a")
            group["b"] = below
            group = below

    assert "is a second name" in refusal(tmp_path / "a.nir")


def test_groups_that_nest_too_deep_are_refused(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.nir") as file:
        file.create_group("/".join(["node", *"a" * 500]))
    assert "nests deeper than 60 groups" in refusal(tmp_path / "a.nir")


def test_too_many_groups_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MAX_OBJECTS", 20)
    with new_file(tmp_path / "a.nir") as file:
        for number in range(30):
            file.create_group(f"node/{number}")

    assert "more than 20 groups and arrays" in refusal(tmp_path / "a.nir")


def test_a_type_of_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.nir") as file:
        file.create_dataset("node/type", shape=(2**33,), dtype="u1", chunks=(2**20,), compression="gzip")
    assert "more than is read" in refusal(tmp_path / "a.nir")


def test_a_heap_of_texts_without_end_is_refused(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.nir") as file:
        file["node/type"] = "NIRGraph"

    content = (tmp_path / "a.nir").read_bytes()
    heap = content.index(b"GCOL")

    for place, size in ((heap + 24, 2**64 - 16), (heap + 8, 2**40)):
        (tmp_path / "a.nir").write_bytes(content[:place] + size.to_bytes(8, "little") + content[place + 8 :])
        assert f"heap of texts at byte {heap}" in refusal(tmp_path / "a.nir")


def test_the_groups_of_a_file_are_counted_before_they_take_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikebridge.deploy.nir.file._MAX_OBJECTS", 30)
    with new_file(tmp_path / "a.nir") as file:
        for number in range(31):
            file.create_group(f"node/nodes/{number}")
    assert "has more than 30 groups and arrays; join layers, or split the network" in refusal(tmp_path / "a.nir")
