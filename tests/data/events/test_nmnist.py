"""N-MNIST files of digits: bytes worked by hand, damage, and repair."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmnist_files import write_nmnist
from spikebridge.data.events.events import EVENT
from spikebridge.data.events.files import EventFile, read_events
from spikebridge.errors import DataError


def read_nmnist(path: Path, repair: bool = False) -> EventFile:
    return read_events(path, 34, 34, repair)


one_event = st.tuples(st.integers(0, 2**23 - 1), st.integers(0, 33), st.integers(0, 33), st.booleans())
event_lists = st.lists(one_event, min_size=1, max_size=50).map(lambda rows: np.array(sorted(rows), EVENT))
in_one_folder = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@in_one_folder
@given(event_lists)
def test_what_is_written_is_read_again(tmp_path, events):
    path = tmp_path / "digit.bin"
    write_nmnist(path, events)

    assert path.stat().st_size == 5 * len(events)
    assert read_nmnist(path).events.tolist() == events.tolist()


def test_bytes_worked_by_hand(tmp_path):
    """x = 10, y = 33; OFF at 1 us, then ON at 2^23 - 1 us: all 23 bits set, and the polarity bit above them."""
    path = tmp_path / "digit.bin"
    path.write_bytes(bytes.fromhex("0a 21 00 00 01  0a 21 ff ff ff"))
    assert read_nmnist(path).events.tolist() == [(1, 10, 33, False), (8_388_607, 10, 33, True)]


@in_one_folder
@given(st.binary(max_size=60))
def test_any_bytes_are_events_or_one_clear_error(tmp_path, content):
    path = tmp_path / "digit.bin"
    path.write_bytes(content)

    try:
        events = read_nmnist(path).events
    except DataError as error:
        assert str(path) in str(error)
    else:
        write_nmnist(path, events)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a file of events, but the file is empty"),
        (bytes(13), "byte 10: expected an event of 5 bytes, but only 3 are left"),
        (bytes(5) + bytes([34, 0, 0, 0, 0]), "1 outside the sensor of 34 x 34 pixels, first at index 1"),
        (bytes([0, 0, 0, 1, 0]) + bytes(5), "1 earlier than the event before, first at index 1"),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "digit.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_nmnist(path)

    assert str(path) in str(caught.value)


def test_repair_drops_and_sorts(tmp_path):
    path = tmp_path / "digit.bin"
    path.write_bytes(bytes([1, 0, 0, 1, 0]) + bytes([2, 0, 0, 0, 7]) + bytes([99, 0, 0, 2, 0]))
    checked = read_nmnist(path, repair=True)

    assert checked.events.tolist() == [(7, 2, 0, False), (256, 1, 0, False)]
    assert (checked.num_outside, checked.num_backward) == (1, 1)


def test_a_folder_and_a_missing_file_are_reported_apart(tmp_path):
    folder = tmp_path / "digit.bin"
    folder.mkdir()
    with pytest.raises(DataError, match="but this is a folder"):
        read_nmnist(folder)
    with pytest.raises(DataError, match="but there is no such file"):
        read_nmnist(tmp_path / "nothing.bin")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)

    with pytest.raises(DataError, match="below 134217728 bytes, but it has 5368709120"):
        read_nmnist(path)
