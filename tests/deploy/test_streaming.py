"""A network on a live stream: real time, the rule when it falls behind, memory, bad packets."""

import time
from typing import Any

import numpy as np
import pytest

from spikebridge.data.events.events import make_events
from spikebridge.data.streams.binner import EventBinner
from spikebridge.deploy.streaming.loop import Latency, Live
from spikebridge.errors import ConfigError


class Clocked:
    """Bins that are complete when a list says so, without any waiting."""

    dt = 0.001

    def __init__(self, complete: list[int], begins: tuple[int, ...] = (0,)) -> None:
        self.complete, self.begins, self.asked = complete, begins, []

    def wait(self, done: int) -> int | None:
        return next((number for number in self.complete if number > done), None)

    def ready_at(self, bin_: int) -> float:
        return time.perf_counter()

    def is_restart(self, bin_: int) -> bool:
        return bin_ in self.begins

    def inputs(self, first: int, stop: int) -> Any:
        self.asked.append((first, stop))
        return list(range(first, stop))


def collect(inputs: list[int], state: list[int] | None) -> tuple[list[int], list[int]]:
    seen = [*(state or []), *inputs]
    return seen, seen


def test_every_bin_gets_a_step_while_few_wait() -> None:
    source = Clocked([1, 2, 4, 5])
    answers = list(Live(source, collect, most_behind=2))
    assert source.asked == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert answers[-1].output == [0, 1, 2, 3, 4]


def test_bins_that_wait_too_long_are_taken_together_and_counted() -> None:
    source = Clocked([1, 7, 8])
    live = Live(source, collect, most_behind=2)
    answers = list(live)
    assert source.asked == [(0, 1), (1, 7), (7, 8)]
    assert [(answer.bin, answer.num_bins) for answer in answers] == [(0, 1), (6, 6), (7, 1)]
    assert answers[-1].output == list(range(8))  # nothing is lost
    assert (live.summary()["num_skipped"], live.summary()["num_steps"], live.summary()["num_bins"]) == (5, 3, 8)


def test_no_state_goes_over_to_a_stream_that_begins_anew() -> None:
    source = Clocked([7], begins=(0, 4))
    answers = list(Live(source, collect, most_behind=1))
    assert [answer.output for answer in answers] == [[0], [0, 1, 2, 3], [4], [4, 5, 6]]


def test_a_told_box_stays_with_the_first_frame_of_a_stream_that_comes_all_at_once() -> None:
    stream = EventBinner(0.001, height=1, width=1, box=np.array([0.0, 0.0, 1.0, 1.0]))
    for k in range(20):
        if k % 5 == 0:
            stream.add_frame(1000 * k, np.full((1, 1), k, np.uint8))
        stream.add(make_events([1000 * k + 10], [0], [0], [1]))
    stream.end()
    steps = [answer.output for answer in Live(stream, lambda inputs, state: (inputs, state))]
    assert [(int(one["frame"][0, 0]), "box" in one) for one in steps] == [(0, True), (15, False)]


def test_it_stops_after_the_time_that_was_asked_for() -> None:
    live = Live(Clocked(list(range(1, 100_000))), collect_nothing, seconds=0.05)
    list(live)
    assert 0 < live.summary()["num_steps"] < 99_999
    assert live.summary()["seconds"] >= 0.05


def collect_nothing(inputs: list[int], state: Any) -> tuple[None, None]:
    time.sleep(0.001)
    return None, None


def test_latencies_are_told_to_within_a_step_of_the_scale() -> None:
    latency = Latency()
    for k in range(1, 1001):
        latency.add(k * 1e-5)
    assert latency.quantile(0.5) == pytest.approx(0.005, rel=0.03)
    assert latency.quantile(0.99) == pytest.approx(0.0099, rel=0.03)
    assert latency.largest == pytest.approx(0.01)
    assert Latency().quantile(0.5) is None


def test_waiting_bins_are_at_least_one() -> None:
    with pytest.raises(ConfigError, match="most_behind needs to be 1 bin or more"):
        Live(Clocked([1]), collect, most_behind=0)
