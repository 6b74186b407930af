from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.data.events.events import EVENT, check_events, make_events, slice_time
from spikebridge.errors import DataError, ShapeError

HEIGHT = 5
WIDTH = 7
one_event = st.tuples(st.integers(0, 10_000), st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.booleans())
event_lists = st.lists(one_event, max_size=40).map(lambda rows: np.array(sorted(rows), EVENT))


@given(event_lists)
def test_columns_make_the_same_events_again(events):
    again = make_events(events["t"], events["x"], events["y"], events["p"])
    assert again.dtype == EVENT
    assert again.tolist() == events.tolist()


def test_whole_floats_are_numbers_of_microseconds():
    assert make_events([1.0, 2.0], [0, 0], [0, 0], [0.0, 1.0]).tolist() == [(1, 0, 0, False), (2, 0, 0, True)]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ShapeError, match=r"one length, but got shapes .*\(2,\).*\(1,\)"):
        make_events([1, 2], [0], [0, 0], [0, 0])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x", -1, "x of an event must be from 0 to 65535, but 1 are not, first -1 at index 1"),
        ("y", 65536, "first 65536 at index 1"),
        ("p", 2, "p of an event must be from 0 to 1"),
        ("t", 0.5, "integers for t"),
        ("t", float("nan"), "integers for t"),
        ("t", 1e300, "t of an event must be from"),
        ("t", 2**63, "t of an event must be from"),
    ],
)
def test_values_that_the_type_cannot_hold_never_wrap_round(column, value, message):
    columns = {"t": [0, 0], "x": [0, 0], "y": [0, 0], "p": [0, 0]}
    columns[column] = [0, value]
    with pytest.raises(DataError, match=message):
        make_events(**columns)


def test_text_is_no_number():
    with pytest.raises(DataError, match="integers for x"):
        make_events([0], ["a"], [0], [0])


@given(event_lists)
def test_good_events_pass_untouched(events):
    checked = check_events(events, HEIGHT, WIDTH)
    assert checked.events is events
    assert checked[1:] == (0, 0, 0)


def test_every_fault_is_named_with_count_and_first_index():
    events = make_events(t=[5, -3, 7, 6, 8], x=[0, 0, 7, 9, 0], y=[0, 0, 0, 0, 5], p=[1] * 5)
    with pytest.raises(DataError) as caught:
        check_events(events, HEIGHT, WIDTH)

    message = str(caught.value)
    assert "3 outside the sensor of 7 x 5 pixels, first at index 2" in message
    assert "1 with a negative time, first at index 1" in message
    assert "2 earlier than the event before, first at index 1" in message
    assert "repair=True" in message


def test_repair_drops_sorts_and_reports():
    events = make_events(t=[5, -3, 7, 2], x=[0, 0, 7, 1], y=[0, 0, 0, 0], p=[1, 1, 1, 0])
    checked = check_events(events, HEIGHT, WIDTH, repair=True)
    assert checked.events.tolist() == [(2, 1, 0, False), (5, 0, 0, True)]
    assert (checked.num_outside, checked.num_negative, checked.num_backward) == (1, 1, 2)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=30))
def test_what_was_repaired_needs_no_more_repair(rows):
    events = np.array(rows, EVENT)
    checked = check_events(events, HEIGHT, WIDTH, repair=True)

    assert check_events(checked.events, HEIGHT, WIDTH)[1:] == (0, 0, 0)

    good = [row for row in rows if row[0] >= 0 and row[1] < WIDTH and row[2] < HEIGHT]
    assert sorted(checked.events.tolist()) == sorted(good)


def test_another_dtype_is_refused():
    with pytest.raises(DataError, match="make_events"):
        check_events(np.zeros(3), HEIGHT, WIDTH)


@given(event_lists, st.lists(st.integers(-5, 10_005), min_size=1, max_size=6))
def test_slices_partition_the_events(events, cuts):
    edges = [-10, *sorted(cuts), 10_010]
    slices = [slice_time(events, a, b) for a, b in pairwise(edges)]
    assert np.concatenate(slices).tolist() == events.tolist()


@given(event_lists, st.integers(-5, 10_005), st.integers(-5, 10_005))
def test_a_slice_is_half_open(events, start, stop):
    inside = slice_time(events, start, stop)["t"].tolist()
    assert inside == [t for t in events["t"].tolist() if start <= t < stop]


def test_a_slice_is_a_view():
    events = make_events([1, 2, 3], [0] * 3, [0] * 3, [0] * 3)
    assert np.shares_memory(slice_time(events, 1, 3), events)
