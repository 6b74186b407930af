"""Scores against the newest output that was there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.evaluation.latency import newest_available, streaming_score

TIMES = st.lists(st.integers(0, 20), max_size=8)


def test_the_newest_output_counts_from_the_moment_it_is_there() -> None:
    assert newest_available([0, 1, 1.9, 2, 5], [0, 1, 2], latencies=1.0).tolist() == [-1, 0, 0, 1, 2]


def test_a_straggler_replaces_nothing_newer() -> None:
    # the first output is ready after the second
    assert newest_available([1, 2, 9], [0, 1], latencies=[5, 0.5]).tolist() == [-1, 1, 1]


@given(TIMES, TIMES, st.data())
def test_it_is_the_plain_search(truths: list[int], outputs: list[int], data: st.DataObject) -> None:
    latencies = data.draw(st.lists(st.integers(0, 9), min_size=len(outputs), max_size=len(outputs)))
    found = newest_available(truths, outputs, latencies)
    for time, index in zip(truths, found, strict=True):
        there = [outputs[i] for i in range(len(outputs)) if outputs[i] + latencies[i] <= time]
        assert (outputs[index] if index >= 0 else None) == max(there, default=None)
        if index >= 0:
            assert outputs[index] + latencies[index] <= time


def test_latency_costs_accuracy() -> None:
    times = np.arange(10) / 10
    truths = times * 2.0

    def error(output: float, truth: float) -> float:
        return abs(output - truth)

    assert streaming_score(times, truths, times, truths, 0.0, error) == 0

    late = streaming_score(times, truths, times, truths, 0.11, error, missing=1.0)
    # the first two truths have no output, the others one that is two steps of 0.2 old
    assert late == pytest.approx((2 * 1.0 + 8 * 0.4) / 10)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="got shapes"):
        newest_available([0.0], [0.0, 1.0], latencies=[1.0])

    with pytest.raises(ShapeError, match="0 s or more"):
        newest_available([0.0], [0.0], latencies=-1.0)

    with pytest.raises(ShapeError, match="finite"):
        newest_available([float("nan")], [0.0])

    with pytest.raises(ShapeError, match="needs its time"):
        streaming_score([0.0], [], [0.0], [1.0], 0.0, lambda a, b: 0.0)

    assert newest_available([1.0], []).tolist() == [-1]
