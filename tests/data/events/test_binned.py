import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.data.events import binned
from spikebridge.data.events.binned import BinEvents, EventBins, bin_sparse, crop_events
from spikebridge.data.events.binning import bin_events
from spikebridge.data.events.events import EVENT, make_events
from spikebridge.errors import DataError, ShapeError

one_event = st.tuples(st.integers(0, 6000), st.integers(0, 6), st.integers(0, 4), st.booleans())
event_lists = st.lists(one_event, max_size=40).map(lambda rows: np.array(sorted(rows), EVENT))


@given(event_lists, st.booleans())
def test_the_sparse_grid_is_the_dense_one(events, counts):
    bins = bin_sparse(events, 5, 7, dt=0.001, num_bins=5, start=500)
    dense = bin_events(events, 5, 7, dt=0.001, num_bins=5, start=500, counts=counts)
    assert bins.to_dense(0, 5, counts=counts).equal(dense)


@given(event_lists, st.integers(-3, 6), st.integers(-3, 4), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_a_crop_is_cut_from_the_whole_with_nothing_outside(events, left, top, width, height, counts):
    bins = bin_sparse(events, 5, 7, dt=0.002, num_bins=3)
    padded = torch.nn.functional.pad(bins.to_dense(1, 3, counts=counts), (20, 20, 20, 20))
    expected = padded[..., top + 20 : top + 20 + height, left + 20 : left + 20 + width]
    assert bins.to_dense(1, 3, crop=(left, top, width, height), counts=counts).equal(expected)


def test_one_bin_by_itself_is_that_bin_of_the_grid():
    events = make_events(t=[0, 1, 1500, 1501], x=[0, 1, 2, 2], y=[0, 0, 1, 1], p=[1, 0, 1, 1])
    bins = bin_sparse(events, 2, 3, dt=0.001, num_bins=2)
    crop = (1, 0, 2, 2)

    assert crop_events(bins.slice_bins(1, 2), crop, counts=True).equal(bins.to_dense(1, 2, crop, counts=True)[0])
    assert crop_events(bins.slice_bins(1, 2), crop, counts=True)[0, 1, 1] == 2


def test_more_than_255_events_of_a_pixel_are_counted():
    events = make_events(t=[0] * 300, x=[0] * 300, y=[0] * 300, p=[1] * 300)
    assert bin_sparse(events, 1, 1, dt=0.001, num_bins=1).to_dense(0, 1, counts=True).flatten().tolist() == [300, 0]


def test_a_silent_stretch_is_an_empty_grid():
    bins = bin_sparse(make_events([], [], [], []), 2, 2, dt=0.001, num_bins=3)
    assert bins.to_dense(0, 3).shape == (3, 2, 2, 2) and bins.to_dense(0, 3).sum() == 0
    assert bins.to_dense(1, 1).shape == (0, 2, 2, 2)


def test_delayed_events_come_some_bins_later():
    bins = bin_sparse(make_events(t=[0, 1000], x=[0, 1], y=[0, 0], p=[1, 1]), 1, 2, dt=0.001, num_bins=2)
    late = bins.prepend_empty_bins(3)
    assert late.num_bins == 5
    assert late.slice_bins(0, 3).x.tolist() == [] and late.slice_bins(3, 5).x.tolist() == [0, 1]


def test_what_does_not_fit_is_refused():
    x = np.zeros(2, np.uint16)
    on = np.ones(2, bool)
    with pytest.raises(ShapeError, match="columns of one length"):
        EventBins(x, x[:1], on, np.array([0, 2]), 1, 1)

    with pytest.raises(ShapeError, match="edges must grow"):
        EventBins(x, x, on, np.array([0, 2, 1]), 1, 1)

    with pytest.raises(ShapeError, match="edges must grow"):
        EventBins(x, x, on, np.array([0, 3]), 1, 1)

    with pytest.raises(DataError, match="1 outside the sensor of 3 x 1 pixels, first at index 1"):
        EventBins(np.array([0, 3], np.uint16), x, on, np.array([0, 2]), 1, 3)

    with pytest.raises(ShapeError, match="a size of 1 or more"):
        crop_events(BinEvents(x, x, on), (0, 0, 0, 4))


@pytest.mark.parametrize("counts", [False, True])
def test_a_bin_of_many_events_is_added_up_in_chunks(monkeypatch: pytest.MonkeyPatch, counts: bool) -> None:
    x = np.arange(100) % 3
    y = np.arange(100) % 2
    on = np.arange(100) % 5 > 1
    events = BinEvents(x.astype(np.uint16), y.astype(np.uint16), on)
    bins = EventBins(*events, np.array([0, 0, 90, 100]), 2, 3)
    whole = bins.to_dense(0, 3, counts=counts)
    image = crop_events(events, (1, 0, 2, 2), counts)
    monkeypatch.setattr(binned, "CHUNK_ROWS", 7)

    assert bins.to_dense(0, 3, counts=counts).equal(whole)
    assert crop_events(events, (1, 0, 2, 2), counts).equal(image)


def test_more_events_in_a_bin_than_any_camera_gives_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert binned.MAX_EVENTS_PER_BIN > 2**30 / 240
    monkeypatch.setattr(binned, "MAX_EVENTS_PER_BIN", 3)
    with pytest.raises(DataError, match="at most 3 events a bin, but one has 4; are times in microseconds"):
        bin_sparse(make_events(t=[0, 1, 2, 3], x=[0] * 4, y=[0] * 4, p=[1] * 4), 1, 1, dt=0.001, num_bins=1)
