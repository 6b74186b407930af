from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.data.events.binning import bin_edge, bin_edges, bin_events, collate, collate_padded
from spikebridge.data.events.events import EVENT, make_events
from spikebridge.errors import ConfigError, DataError, ShapeError

HEIGHT = 3
WIDTH = 4
one_event = st.tuples(st.integers(0, 20_000), st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.booleans())
event_lists = st.lists(one_event, max_size=40).map(lambda rows: np.array(sorted(rows), EVENT))
bin_lengths = st.sampled_from([1e-3, 1 / 240, 1 / 3000, 0.0007, 1e-4])


@given(event_lists, bin_lengths)
def test_binning_conserves_counts(events, dt):
    grid = bin_events(events, HEIGHT, WIDTH, dt, counts=True)
    assert grid.sum() == len(events)
    assert grid[:, 0].sum() == events["p"].sum()

    per_pixel = np.zeros((HEIGHT, WIDTH))
    np.add.at(per_pixel, (events["y"], events["x"]), 1)

    assert grid.sum((0, 1)).numpy().tolist() == per_pixel.tolist()


@given(event_lists, bin_lengths, st.integers(0, 30))
def test_every_event_is_in_the_bin_of_its_time(events, dt, num_bins):
    grid = bin_events(events, HEIGHT, WIDTH, dt, num_bins, counts=True)
    edges = bin_edges(num_bins, dt)
    expected = [int(((events["t"] >= a) & (events["t"] < b)).sum()) for a, b in pairwise(edges)]
    assert grid.sum((1, 2, 3)).tolist() == expected


@given(event_lists, bin_lengths)
def test_without_a_number_the_last_bin_holds_the_last_event(events, dt):
    grid = bin_events(events, HEIGHT, WIDTH, dt)
    assert len(grid) == 0 if len(events) == 0 else grid[-1].sum() > 0


@given(event_lists, bin_lengths)
def test_marks_are_counts_cut_at_one(events, dt):
    counts = bin_events(events, HEIGHT, WIDTH, dt, counts=True)
    assert bin_events(events, HEIGHT, WIDTH, dt).equal(counts.clamp(max=1))


def test_an_event_on_an_edge_belongs_to_the_later_bin():
    events = make_events(t=[2999, 3000, 3001], x=[0] * 3, y=[0] * 3, p=[1] * 3)
    assert bin_events(events, 1, 1, dt=0.001, counts=True)[:, 0].flatten().tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("dt_us", [1, 3, 7, 100, 1000, 3333])
def test_edges_of_whole_microseconds_are_exact(dt_us):
    assert bin_edges(5000, dt_us * 1e-6).tolist() == [k * dt_us for k in range(5001)]


@given(bin_lengths, st.integers(0, 10**6), st.integers(-9, 9))
def test_one_edge_is_that_of_all(dt, number, start):
    assert bin_edge(number, dt, start) == bin_edges(number, dt, start)[-1]


def test_edges_of_a_240_hz_clock_never_drift():
    assert bin_edges(240 * 3600, 1 / 240)[-1] == 3600 * 10**6


def test_a_later_start_shifts_the_bins():
    events = make_events(t=[999, 1000, 2000], x=[0] * 3, y=[0] * 3, p=[1] * 3)
    grid = bin_events(events, 1, 1, dt=0.001, num_bins=2, start=1000, counts=True)
    assert grid[:, 0].flatten().tolist() == [1, 1]


def test_channels_are_on_then_off_and_rows_before_columns():
    events = make_events(t=[0, 0], x=[3, 1], y=[1, 2], p=[1, 0])
    grid = bin_events(events, HEIGHT, WIDTH, dt=0.001)
    assert grid.shape == (1, 2, HEIGHT, WIDTH) and grid.dtype == torch.float32
    assert grid[0, 0, 1, 3] == 1 and grid[0, 1, 2, 1] == 1 and grid.sum() == 2


def test_one_damaged_time_does_not_take_all_memory():
    events = make_events(t=[0, 2**60], x=[0, 0], y=[0, 0], p=[1, 1])
    with pytest.raises(DataError, match="last event is at 1152921504606846976 us"):
        bin_events(events, HEIGHT, WIDTH, dt=0.001)
    assert bin_events(events, HEIGHT, WIDTH, dt=0.001, num_bins=1).sum() == 1


def test_events_outside_the_sensor_are_refused():
    with pytest.raises(DataError, match="1 outside the sensor of 4 x 3"):
        bin_events(make_events([0], [4], [0], [1]), HEIGHT, WIDTH, dt=0.001)


@pytest.mark.parametrize(("dt", "num_bins"), [(0.0, 1), (-0.001, 1), (float("nan"), 1), (float("inf"), 1), (0.1, -1)])
def test_impossible_bins_are_refused(dt, num_bins):
    with pytest.raises(ConfigError, match="bins need dt"):
        bin_events(make_events([0], [0], [0], [1]), 1, 1, dt, num_bins)


def test_collate_puts_the_batch_second():
    samples = [torch.full((5, 2, 3), float(value)) for value in range(4)]
    batch = collate(samples)
    assert batch.shape == (5, 4, 2, 3)
    assert batch[:, 2].equal(samples[2])


def test_collate_keeps_bytes_as_bytes():
    assert collate([torch.zeros(2, 1, dtype=torch.uint8)]).dtype == torch.uint8


def test_unequal_lengths_are_refused_with_the_way_out():
    with pytest.raises(ShapeError, match=r"lengths \[2, 3\].*collate_padded"):
        collate([torch.zeros(2, 1), torch.zeros(3, 1)])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_padding_is_zeros_after_each_sample(lengths):
    samples = [torch.ones(length, 2) for length in lengths]
    batch, given_lengths = collate_padded(samples)

    assert given_lengths.tolist() == lengths
    assert batch.shape == (max(lengths), len(lengths), 2)
    for place, length in enumerate(lengths):
        assert batch[:length, place].equal(samples[place])
        assert batch[length:, place].sum() == 0


@pytest.mark.parametrize("join", [collate, collate_padded])
def test_samples_that_are_no_tensors_are_named(join) -> None:
    with pytest.raises(ShapeError, match=r"samples as tensors.*a dict.*collate each of its tensors"):
        join([{"events": torch.zeros(3, 40, 40), "label": torch.zeros(2)}])
    with pytest.raises(ShapeError, match=r"samples as tensors.*a nested tensor"):
        join([torch.nested.nested_tensor([torch.zeros(2, 2)], layout=torch.jagged)])
    with pytest.raises(ShapeError, match=r"samples as tensors.*ndarray"):
        join([np.zeros((2, 2))])


@pytest.mark.parametrize("join", [collate, collate_padded])
def test_samples_that_do_not_fit_are_refused(join):
    with pytest.raises(ShapeError, match="at least one sample"):
        join([])

    with pytest.raises(ShapeError, match=r"one shape and dtype"):
        join([torch.zeros(2, 1), torch.zeros(2, 3)])

    with pytest.raises(ShapeError, match=r"one shape and dtype"):
        join([torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.float64)])
