import copy
import gc
import os
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.data.io import column as columns
from spikebridge.data.io.column import FileColumn, column_searchsorted, concatenate_chunks, iter_chunks
from spikebridge.errors import DataError

lists = st.lists(st.lists(st.integers(-1000, 1000), max_size=7), max_size=6)
sorted_lists = st.lists(st.integers(-20, 20), max_size=30).map(lambda values: np.array(sorted(values), np.int64))


@pytest.mark.parametrize("preads", [True, False], ids=["pread", "as on Windows"])
@given(lists, st.integers(-50, 50), st.integers(-50, 50))
def test_a_column_in_a_file_is_the_array(preads, chunks, start, stop):
    with pytest.MonkeyPatch.context() as patch:
        if not preads:
            patch.delattr(os, "pread")

        column = FileColumn(np.int16)
        for chunk in chunks:
            column.append(np.array(chunk, np.int16))
            # between two chunks, too
            assert column[:2].tolist() == column[:][:2].tolist()

        whole = np.concatenate([np.array(chunk, np.int16) for chunk in [[], *chunks]])
        assert len(column) == len(whole)
        assert column[start:stop].tolist() == whole[start:stop].tolist() and column[:].dtype == np.int16


def test_a_read_that_gives_less_than_asked_for_goes_on_where_it_ended(monkeypatch):
    column = FileColumn(np.int16)
    column.append(np.arange(100, dtype=np.int16))
    whole = column._read
    monkeypatch.setattr(column, "_read", lambda size, place: whole(min(size, 7), place))

    assert column[10:90].tolist() == list(range(10, 90))


def test_rows_may_be_pictures():
    pictures = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    column = FileColumn(np.uint8, (2, 3))
    column.append(pictures[:1])
    column.append(pictures[1:])

    assert np.array_equal(column[1:3], pictures[1:3]) and column[4:].shape == (0, 2, 3)


@given(lists, st.sampled_from([0, 40, 2**24]))
def test_gathered_chunks_are_the_whole_in_memory_or_not(chunks, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "MAX_MEMORY_BYTES", most)
        arrays = [np.array(chunk, np.int64) for chunk in chunks]
        found = concatenate_chunks(({"a": a, "even": a % 2 == 0} for a in arrays), {"a": np.int32, "even": np.bool_})

    whole = np.concatenate([np.empty(0, np.int64), *arrays])
    assert found["a"][:].tolist() == whole.tolist() and found["even"][:].tolist() == (whole % 2 == 0).tolist()
    assert found["a"][:].dtype == np.int32
    # 4 bytes of an int32 and 1 of a bool
    assert isinstance(found["a"], FileColumn) == (5 * len(whole) > most)


@given(sorted_lists, sorted_lists, st.integers(1, 9))
def test_places_are_those_of_the_whole_column(column, values, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "CHUNK_ROWS", chunk)
        assert column_searchsorted(column, values).tolist() == np.searchsorted(column, values).tolist()


def test_chunks_of_several_columns_have_the_same_rows(monkeypatch):
    monkeypatch.setattr(columns, "CHUNK_ROWS", 2)
    found = [(x.tolist(), y.tolist()) for x, y in iter_chunks(np.arange(3), np.arange(3) * 10)]
    assert found == [([0, 1], [0, 10]), ([2], [20])]


def test_a_file_gives_consecutive_rows_only():
    column = FileColumn(np.int16)
    column.append(np.arange(4, dtype=np.int16))
    with pytest.raises(IndexError, match="consecutive rows, but got a step of 2"):
        column[::2]


@pytest.mark.parametrize("preads", [True, False], ids=["pread", "as on Windows"])
def test_threads_read_at_the_same_time(monkeypatch, preads):
    if not preads:
        monkeypatch.delattr(os, "pread")

    column = FileColumn(np.int64)
    column.append(np.arange(5000))

    def reads(seed):
        starts = np.random.default_rng(seed).integers(0, 4000, 300)
        return all(np.array_equal(column[k : k + 1000], np.arange(k, k + 1000)) for k in starts)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(reads, range(4)))


@pytest.mark.untyped
def test_the_file_is_gone_with_its_column(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    column = FileColumn(np.int64)
    column.append(np.arange(100))

    # not even a name
    assert list(tmp_path.iterdir()) == []

    number = column._file.fileno()
    del column
    gc.collect()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_full_disk_is_one_clear_error(monkeypatch):
    column = FileColumn(np.int64)
    column._file.close()
    column._file = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115

    with pytest.raises(DataError, match=r"a temporary file in .* \(No space left on device\); set TMPDIR to a folder"):
        column.append(np.arange(3))

    column._file.close()


def test_no_folder_for_the_file_is_one_clear_error(monkeypatch):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        patch.setattr(tempfile, "_get_default_tempdir", nowhere)
        with pytest.raises(DataError, match=r"a temporary file could not .* \(No usable .*\); set TMPDIR to a folder"):
            FileColumn(np.int64)

    monkeypatch.setattr(tempfile, "tempdir", "/no/such/place")
    with pytest.raises(DataError, match=r"in /no/such/place could not be written \(No such file"):
        concatenate_chunks([{"t": np.zeros(columns.MAX_MEMORY_BYTES, np.int64)}], {"t": np.int64})


@pytest.mark.untyped
def test_copies_share_the_rows_and_outlive_the_column():
    column = FileColumn(np.int64)
    column.append(np.arange(5))
    others = [copy.copy(column), copy.deepcopy({"t": column})["t"]]
    del column
    gc.collect()

    assert [other[1:3].tolist() for other in others] == [[1, 2], [1, 2]]


def test_a_column_in_a_file_is_not_pickled():
    with pytest.raises(DataError, match="cannot be pickled for another process; read them there"):
        pickle.dumps(FileColumn(np.int64))
