"""Clocks: seconds into ticks, and counting."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import Clock, Every, FirstSpike, Hold, HybridUnit, Sliding, Sum, Tumbling, every
from spikebridge.hybrid import ticks as base_ticks
from spikebridge.hybrid.clock import clocks_in_ticks, count_ticks, delay_in_ticks

clocks = st.builds(Clock, st.integers(1, 12), st.integers(0, 40))
ticks = st.integers(-20, 120)


@given(clocks, ticks, ticks)
def test_counting_is_counting_of_ticks(clock: Clock, start: int, stop: int) -> None:
    samples = [clock.phase + k * clock.period for k in range(200)]
    assert clock.count(stop) == sum(sample < stop for sample in samples)
    assert clock.next(start) == next(sample for sample in samples if sample >= start)
    assert clock.ticks(start, stop) == [sample for sample in samples if start <= sample < stop]

    if start <= stop:
        assert clock.between(start, stop) == len(clock.ticks(start, stop))


@given(clocks, st.integers(0, 50))
def test_a_delayed_clock_starts_with_the_initial_values_that_fill_the_gap(clock: Clock, delay: int) -> None:
    late = clock.delayed(delay)
    initial = delay // clock.period
    assert late.ticks(0, 400)[initial:] == [tick + delay for tick in clock.ticks(0, 400 - delay)]
    assert 0 <= late.phase - clock.phase < clock.period


@given(clocks, st.integers(1, 8), st.data())
def test_a_window_closes_with_its_last_step(clock: Clock, length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, length))
    steps = clock.ticks(0, 300)
    closing = steps[length - 1 :: stride]

    assert HybridUnit(Sliding(length, stride), Sum()).clock(clock).ticks(0, 300) == closing
    assert HybridUnit(Tumbling(length), Sum()).clock(clock).ticks(0, 300) == steps[length - 1 :: length]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 20))
def test_a_hold_divides_its_clock(length: int, period: int, phase: int) -> None:
    source = Clock(length * period, phase)
    assert HybridUnit(Hold(length)).clock(source) == Clock(period, phase)
    assert HybridUnit(Hold(length), None, None, FirstSpike()).clock(source) == Clock(period, phase)

    # what a window of as many steps makes of it is the old period again, one value later
    held = HybridUnit(Hold(length)).clock(source)
    assert HybridUnit(Tumbling(length), Sum()).clock(held) == Clock(length * period, phase + (length - 1) * period)


@pytest.mark.parametrize(
    ("rhythm", "dt", "clock"),
    [
        (every(1 / 40), 1 / 240, Clock(6, 0)),
        (every(0.001, phase=0.0305), 0.0005, Clock(2, 61)),
        (every(1 / 3), 1 / 9, Clock(3, 0)),
        (every(0.1), 0.1, Clock(1, 0)),
    ],
)
def test_seconds_become_ticks(rhythm: Every, dt: float, clock: Clock) -> None:
    assert rhythm.clock(dt, "x") == clock


def test_periods_and_delays_become_ticks() -> None:
    assert clocks_in_ticks({"frames": every(1 / 40)}, dt=1 / 240) == {"frames": Clock(6, 0)}
    assert delay_in_ticks(0.004, 0.001, "the link") == 4
    assert delay_in_ticks(base_ticks(3), 0.001, "the link") == 3


def test_a_call_covers_the_ticks_of_its_samples() -> None:
    periods = {"frames": Clock(6, 0), "events": Clock(1, 0)}
    assert count_ticks(periods, {"frames": 1, "events": 6}, start=0, ticks=None, dt=0.001) == 6
    assert count_ticks(periods, {"frames": 1, "events": 3}, start=6, ticks=None, dt=0.001) == 3
    with pytest.raises(ShapeError, match="input 'frames' has 1 samples in the 6 ticks from tick 0"):
        count_ticks(periods, {"frames": 2, "events": 6}, start=0, ticks=6, dt=0.001)


def test_a_base_step_that_does_not_divide_is_refused_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match=r"the period of 'events' is 0\.00416667 s, which is 4\.16667 base steps of"):
        every(1 / 240).clock(0.001, "events")

    with pytest.raises(ConfigError, match=r"the phase of 'events' is 0\.0005 s, which is 0\.5 base steps"):
        every(0.001, phase=0.0005).clock(0.001, "events")

    with pytest.raises(ConfigError, match=r"'events' is 0\.0001 s.* must be an integer of at least 1"):
        every(0.0001).clock(1000.0, "events")

    with pytest.raises(
        ConfigError, match=r"the period of 'events' is 1e\+308 s, which is too many base steps of 0\.001"
    ):
        every(1e308).clock(0.001, "events")

    with pytest.raises(ConfigError, match=r"which is 0 base steps of 1e\+10 s, but must be an integer"):
        every(1e-320).clock(1e10, "events")


@pytest.mark.parametrize(
    ("period", "ticks"), [(2 / 3, "666666.66667"), (0.5000003, "500000.3"), (1.00000002, "1000000.02")]
)
def test_a_share_of_a_tick_is_refused_however_many_ticks_a_period_has(period: float, ticks: str) -> None:
    with pytest.raises(ConfigError, match=rf"the period of 'x' is .* which is {ticks} base steps of 1e-06 s"):
        every(period).clock(1e-6, "x")
    with pytest.raises(ConfigError, match=rf"the phase of 'x' is .* which is {ticks} base steps of 1e-06 s"):
        every(1.0, phase=period).clock(1e-6, "x")


@pytest.mark.parametrize(
    ("period", "dt", "ticks"),
    [(0.7, 1e-6, 700_000), (3600.0, 1e-6, 3_600_000_000), (1e6 / 3, 1 / 3, 1_000_000), (0.0333333, 0.00833333, 4)],
)
def test_rounded_quotients_and_six_digit_decimals_are_whole(period: float, dt: float, ticks: int) -> None:
    assert every(period).clock(dt, "x") == Clock(ticks, 0)


@pytest.mark.parametrize(
    ("period", "phase"), [(0.0, 0.0), (-1.0, 0.0), (math.nan, 0.0), (math.inf, 0.0), (1.0, -1.0), (1.0, math.inf)]
)
def test_periods_and_phases_that_cannot_be_are_refused(period: float, phase: float) -> None:
    with pytest.raises(ConfigError, match="a clock needs a period > 0 s and a phase >= 0 s, but got a period of"):
        every(period, phase)
