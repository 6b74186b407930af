"""A network on a live stream: real time, the rule when it falls behind, memory, bad packets."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikebridge.data.events.events import make_events
from spikebridge.data.recordings.load import load_events
from spikebridge.data.streams.binner import EventBinner
from spikebridge.data.streams.replay import ReplaySource
from spikebridge.deploy.streaming.loop import Latency, Live
from spikebridge.errors import ConfigError


class Clocked:
    """Bins that are complete when a list says so, without any waiting."""

    dt = 0.001

    def __init__(self, complete: list[int], begins: tuple[int, ...] = (0,)) -> None:
        self.complete = complete
        self.begins = begins
        self.asked = []

    def wait(self, done: int) -> int | None:
        return next((number for number in self.complete if number > done), None)

    def ready_at(self, bin_: int) -> float:
        return time.perf_counter()

    def newest_restart(self, first: int, stop: int) -> int | None:
        return max((bin_ for bin_ in self.begins if first <= bin_ < stop), default=None)

    def inputs(self, first: int, stop: int) -> Any:
        self.asked.append((first, stop))
        return list(range(first, stop))


def collect(inputs: list[int], state: list[int] | None) -> tuple[list[int], list[int]]:
    collected = [*(state or []), *inputs]
    return collected, collected


def test_every_bin_gets_a_step_while_few_wait() -> None:
    source = Clocked([1, 2, 4, 5])
    answers = list(Live(source, collect, max_behind=2))
    assert source.asked == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert answers[-1].output == [0, 1, 2, 3, 4]


def test_bins_that_wait_too_long_are_taken_together_and_counted() -> None:
    source = Clocked([1, 7, 8])
    live = Live(source, collect, max_behind=2)
    answers = list(live)

    assert source.asked == [(0, 1), (1, 7), (7, 8)]
    assert [(answer.bin, answer.num_bins) for answer in answers] == [(0, 1), (6, 6), (7, 1)]
    assert answers[-1].output == list(range(8))  # nothing is lost
    assert (live.summary()["num_skipped"], live.summary()["num_steps"], live.summary()["num_bins"]) == (5, 3, 8)


def test_no_state_goes_over_to_a_stream_that_begins_again() -> None:
    source = Clocked([1, 2, 3, 4, 5, 6, 7], begins=(0, 4))
    answers = list(Live(source, collect, max_behind=1))
    assert [answer.output for answer in answers] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [4], [4, 5], [4, 5, 6]]


def test_bins_that_wait_past_the_end_of_a_pass_start_the_network_again_with_the_newest_pass() -> None:
    source = Clocked([1, 12, 13], begins=(0, 4, 8))
    live = Live(source, collect, max_behind=2)
    answers = list(live)

    assert source.asked == [(0, 1), (8, 9), (9, 12), (12, 13)]
    assert [(answer.bin, answer.num_bins, answer.output) for answer in answers][1:3] == [
        (8, 8, [8]),
        (11, 3, [8, 9, 10, 11]),
    ]

    assert (live.summary()["num_skipped"], live.summary()["num_bins"]) == (9, 13)


@pytest.mark.untyped
@pytest.mark.parametrize("seconds", [0.1, 5])
def test_latency_is_bounded_at_a_thousand_times_real_time(tmp_path: Path, seconds: float) -> None:
    # a pass takes 0.1 ms or 5 ms, and a step 2 ms
    (tmp_path / "events.csv").write_text(f"t,x,y,p\n0,1,1,1\n{round(1e6 * seconds)},1,1,1\n")
    recording = load_events(tmp_path / "events.csv", 0.005, 8, 8)
    source = ReplaySource(recording, None, None, loop=True, speed=1000.0, buffer_events=False)

    def step(inputs: Any, state: int | None) -> tuple[None, int]:
        time.sleep(0.002)
        return None, (state or 0) + 1

    live = Live(source, step, max_behind=2, seconds=0.4)
    latencies = [answer.latency for answer in live]

    assert live.num_bins > 40_000  # it keeps up with the recording

    half = len(latencies) // 2
    assert max(latencies[half:]) < 0.1  # a pass and two steps are 9 ms; the machine may be busy


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


def test_no_quantile_lies_above_the_largest_latency() -> None:
    latency = Latency()
    latency.add(0.009087)  # the nearest step of the scale is 9.12 ms
    assert latency.quantile(0.5) == latency.quantile(0.99) == latency.largest


def test_waiting_bins_are_at_least_one() -> None:
    with pytest.raises(ConfigError, match="max_behind needs to be 1 bin or more"):
        Live(Clocked([1]), collect, max_behind=0)
