"""A NIR file is looked through before it is read: cycles, depth and numbers of groups have limits."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import pytest

from spikebridge.data.io import hdf5
from spikebridge.deploy.nir import graph
from spikebridge.deploy.nir.file import open_graph
from spikebridge.deploy.nir.graph import read_graph
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


def write_graph(path: Path, names: Sequence[str], edges: Sequence[tuple[str, str]], **metadata: Any) -> None:
    with new_file(path) as file:
        file["version"] = "1.0"
        node = file.create_group("node")
        node["type"] = "NIRGraph"
        for name in ("input", "output", *names):
            inner = node.create_group(f"nodes/{name}")
            inner["type"] = "Scale" if name in names else name.title()
            inner["scale" if name in names else "shape"] = [1]

        node.create_dataset("edges", data=[(a.encode(), b.encode()) for a, b in edges], dtype=h5py.string_dtype())
        for name, value in metadata.items():
            node[f"metadata/{name}"] = value


def graph_refusal(path: Path, dt: float | None = 1e-3) -> str:
    with pytest.raises(DataError) as caught:
        read_graph(path, dt=dt)
    return str(caught.value)


def chain(*names: str) -> list[tuple[str, str]]:
    return list(pairwise(("input", *names, "output")))


def test_nodes_run_in_the_order_of_the_edges_and_of_the_file_where_these_leave_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    write_graph(path, ("c", "b", "a", "d"), [*chain("a", "c", "d"), ("a", "b"), ("b", "d")])
    # HDF5 lists names in the order of the alphabet
    assert [node.name for node in read_graph(path, dt=1e-3).nodes] == ["a", "b", "c", "d"]


def test_a_long_loop_without_a_neuron_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{number:02}" for number in range(30)]
    write_graph(tmp_path / "a.nir", names, [*chain(*names), (names[-1], names[0])])
    assert len(read_graph(tmp_path / "a.nir", dt=1e-3).nodes) == 30

    monkeypatch.setattr(graph, "_MAX_LOOP", 20)
    assert "nothing in the NIR graph breaks a loop of 20 nodes with a neuron" in graph_refusal(tmp_path / "a.nir")


def test_too_many_edges_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_graph(tmp_path / "a.nir", ("a", "b", "c"), chain("a", "b", "c"))
    monkeypatch.setattr(graph, "_MAX_EDGES", 3)
    assert "more than 3 edges" in graph_refusal(tmp_path / "a.nir")


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ([*chain("a"), ("output", "a")], "an edge 'output' -> 'a', from its output or to its input"),
        ([*chain("a"), ("a", "input")], "an edge 'a' -> 'input', from its output or to its input"),
        ([*chain("a"), ("b", "a")], "nothing in the NIR graph leads to 'b'"),
        ([*chain("a"), ("b", "c"), ("c", "b")], "nothing in the NIR graph leads to 'b', 'c'"),
    ],
)
def test_edges_that_lead_nowhere_are_refused(tmp_path: Path, edges: Sequence[tuple[str, str]], words: str) -> None:
    names = sorted({name for edge in edges for name in edge} - {"input", "output"})
    write_graph(tmp_path / "a.nir", names, edges)
    assert words in graph_refusal(tmp_path / "a.nir")


@pytest.mark.parametrize("step", ["soon", b"x", [1.0, 2.0]])
def test_a_step_that_is_no_number_is_refused(tmp_path: Path, step: Any) -> None:
    write_graph(tmp_path / "a.nir", ("a",), chain("a"), dt=step)
    assert "the step of the NIR file cannot be read" in graph_refusal(tmp_path / "a.nir", dt=None)


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
