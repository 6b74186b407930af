"""Round trips: the bound of every scheme is attained, and none passes it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikebridge.coding import (
    BernoulliEncoder,
    BurstEncoder,
    DeltaEncoder,
    Encoder,
    LatencyEncoder,
    PhaseEncoder,
    PopulationEncoder,
    RateEncoder,
    SynchronyEncoder,
)

in_any_time = settings(deadline=None)
DTYPES = st.sampled_from([torch.float32, torch.float64])
NUMBERS = st.integers(1, 40)
UNIT = st.floats(0, 1)


def round_trip(encoder: Encoder, x: Tensor) -> Tensor:
    """The decoded values of a round trip, in the shape of the values."""
    spikes, _ = encoder(x.reshape(1, 1, -1))
    again, _ = encoder.decoder()(spikes)
    return again.reshape(x.shape)


def error_at(encoder: Encoder, value: float, dtype: torch.dtype = torch.float64) -> float:
    """The distance of a value from its decoded code."""
    x = torch.tensor([value], dtype=dtype)
    return abs(round_trip(encoder, x).double() - x.double()).item()


def within(encoder: Encoder, values: list[float], dtype: torch.dtype, size: float = 1.0) -> bool:
    """True if no value passes the bound by more than a few roundings of numbers of a size."""
    x = torch.tensor(values, dtype=dtype)
    error = (round_trip(encoder, x).double() - x.double()).abs().max().item()
    return error <= encoder.bound + 4 * torch.finfo(dtype).eps * size


def halfway(n: int) -> list[float]:
    """The values beside which `v n` is rounded up or down."""
    return [(k + half) / n for k in range(n) for half in (0.5 - 1e-6, 0.5, 0.5 + 1e-6)]


@in_any_time
@given(st.lists(UNIT, min_size=1, max_size=20), NUMBERS, DTYPES)
def test_no_value_passes_the_bound_of_a_rate(values: list[float], n: int, dtype: torch.dtype) -> None:
    assert within(RateEncoder(n), [*values, *halfway(n)], dtype)


@in_any_time
@given(st.lists(UNIT, min_size=1, max_size=20), NUMBERS, DTYPES)
def test_no_value_passes_the_bound_of_latency(values: list[float], n: int, dtype: torch.dtype) -> None:
    assert within(LatencyEncoder(n), [*values, *(k / n for k in range(n + 1))], dtype)


@in_any_time
@given(st.lists(UNIT, min_size=1, max_size=20), st.integers(1, 23), DTYPES)
def test_no_value_passes_the_bound_of_phase(values: list[float], n: int, dtype: torch.dtype) -> None:
    encoder = PhaseEncoder(n)
    assert within(encoder, [*values, 0.0, 1.0, encoder.bound, 1 - encoder.bound], dtype)


@in_any_time
@given(st.lists(UNIT, min_size=1, max_size=20), NUMBERS, DTYPES)
def test_no_value_passes_the_bound_of_a_burst(values: list[float], n: int, dtype: torch.dtype) -> None:
    assert within(BurstEncoder(n), [*values, *halfway(n)], dtype)


@pytest.mark.untyped
@in_any_time
@given(
    st.lists(UNIT, min_size=1, max_size=20), NUMBERS, st.integers(2, 12), st.floats(-8, 8), st.floats(0.5, 8), DTYPES
)
def test_no_value_passes_the_bound_of_a_population(
    values: list[float], n: int, num_neurons: int, low: float, width: float, dtype: torch.dtype
) -> None:
    encoder = PopulationEncoder(n, num_neurons, low, low + width)
    places = [low + v * width for v in [*values, *(h / (num_neurons - 1) for h in halfway(n))]]
    inside = [min(max(place, low), low + width) for place in places]
    assert within(encoder, inside, dtype, size=16.0)


@pytest.mark.untyped
@in_any_time
@given(st.lists(UNIT, min_size=1, max_size=20), st.integers(1, 20), st.integers(1, 4), DTYPES)
def test_no_value_passes_the_bound_of_synchrony(values: list[float], n: int, width: int, dtype: torch.dtype) -> None:
    assert within(SynchronyEncoder(n, width), [*values, *halfway(n)], dtype)


@in_any_time
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.floats(0.1, 5), DTYPES)
def test_no_step_of_a_signal_passes_the_bound_of_delta(values: list[float], quantum: float, dtype: torch.dtype) -> None:
    encoder = DeltaEncoder(quantum)
    x = torch.tensor(values, dtype=dtype).reshape(-1, 1, 1)
    again, _ = encoder.decoder()(encoder(x)[0])
    assert (again.double() - x.double()).abs().max() <= encoder.bound + 8 * 50 * torch.finfo(dtype).eps


@in_any_time
@given(st.lists(st.integers(-24, 24), min_size=1, max_size=30), st.integers(1, 3))
def test_no_signal_slower_than_the_limit_passes_the_bound_of_delta(changes: list[int], limit: int) -> None:
    # eighths of a quantum, none above the limit: exact numbers, so the bound needs no tolerance
    quantum = 0.5
    steps = torch.tensor([min(max(change, -8 * limit), 8 * limit) for change in changes], dtype=torch.float64)
    x = (steps.cumsum(0) * quantum / 8).reshape(-1, 1, 1)
    encoder = DeltaEncoder(quantum, limit)
    spikes, _ = encoder(x)

    assert spikes.abs().max() <= limit
    assert (encoder.decoder()(spikes)[0] - x).abs().max() <= encoder.bound


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_the_bound_of_a_rate_is_attained_halfway(n: int) -> None:
    encoder = RateEncoder(n)
    assert encoder.bound == 1 / (2 * n)
    assert error_at(encoder, 0.5 / n) == encoder.bound  # half a spike: one is fired
    assert error_at(encoder, 1 - 0.5 / n) == encoder.bound


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_the_bound_of_latency_is_attained_at_zero(n: int) -> None:
    encoder = LatencyEncoder(n)
    assert encoder.bound == 1 / n
    assert error_at(encoder, 0.0) == encoder.bound


@pytest.mark.parametrize("n", [1, 2, 8, 23])
def test_the_bound_of_phase_is_attained_at_one(n: int) -> None:
    encoder = PhaseEncoder(n)
    assert encoder.bound == 2.0**-n
    assert error_at(encoder, 1.0) == error_at(encoder, 1.0, torch.float32) == encoder.bound


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_the_bound_of_a_burst_is_attained_halfway(n: int) -> None:
    encoder = BurstEncoder(n)
    assert encoder.bound == 1 / (2 * n)
    assert error_at(encoder, 0.5 / n) == encoder.bound


def test_the_bound_of_a_population_is_approached_beside_a_halfway_point() -> None:
    encoder = PopulationEncoder(4, num_neurons=5, low=-1.0, high=1.0)
    assert encoder.bound == 0.0625  # centres 1/2 apart, over 2 * 4
    # 1/8 of the way from -1 to -1/2 the right neuron would fire half a spike
    assert encoder.bound * (1 - 1e-5) < error_at(encoder, -1 + 0.5 * (0.125 - 1e-7)) < encoder.bound

    # exactly there both round up: 4 and 1 spikes read as 1/5 of the way, D (n - 1) / (2 n (n + 1)) off
    assert error_at(encoder, -1 + 0.5 * 0.125) == pytest.approx(0.5 * (1 / 5 - 1 / 8))
    assert pytest.approx(0.5 * (1 / 5 - 1 / 8)) == 0.5 * 3 / (2 * 4 * 5)


def test_the_bound_of_delta_is_attained_between_two_quanta() -> None:
    encoder = DeltaEncoder(0.5)
    assert encoder.bound == 0.25
    assert [error_at(encoder, value) for value in (0.25, 0.75, -0.25)] == [0.25, 0.25, 0.25]


def test_a_signal_faster_than_the_limit_passes_the_bound_of_delta_until_it_is_caught_up_with() -> None:
    encoder = DeltaEncoder(0.5, limit=1)
    again, _ = encoder.decoder()(encoder(torch.full((5, 1, 1), 1.75))[0])
    assert again.flatten().tolist() == [0.5, 1.0, 1.5, 1.5, 1.5]


@pytest.mark.parametrize(("n", "width"), [(1, 1), (4, 1), (8, 3)])
def test_the_bound_of_synchrony_is_attained_halfway(n: int, width: int) -> None:
    encoder = SynchronyEncoder(n, width)
    assert encoder.bound == 1 / (2 * n)
    assert error_at(encoder, 0.5 / n) == encoder.bound


@pytest.mark.untyped
@pytest.mark.parametrize(("value", "n"), [(0.5, 40), (0.3, 60), (0.1, 200)])
def test_what_bernoulli_spikes_say_is_right_on_average_and_scatters_as_stated(value: float, n: int) -> None:
    trials = 20_000
    encoder = BernoulliEncoder(n, seed=7).eval()
    error = round_trip(encoder, torch.full((trials,), value, dtype=torch.float64)) - value
    deviation = encoder.deviation(value)

    assert deviation == pytest.approx((value * (1 - value) / n) ** 0.5)
    assert abs(error.mean().item()) < 4 * deviation / trials**0.5
    assert error.std().item() == pytest.approx(deviation, rel=0.02)

    # four deviations are about the largest of so many trials: nearly all lie within them, and some come close
    assert int((error.abs() > 4 * deviation).sum()) <= 12
    assert float(error.abs().max()) > 3.5 * deviation


@pytest.mark.untyped
@pytest.mark.parametrize("n", [4, 25, 100])
def test_hardly_any_value_passes_the_bound_of_bernoulli_spikes(n: int) -> None:
    encoder = BernoulliEncoder(n, seed=11).eval()
    assert encoder.bound == pytest.approx(2 / n**0.5)

    x = torch.linspace(0, 1, 50_000, dtype=torch.float64)
    passed = int(((round_trip(encoder, x) - x).abs() > encoder.bound).sum())

    assert passed <= 2 * 2.718281828**-8 * len(x)
